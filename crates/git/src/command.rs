//! The `git` program as a child process that no environment, configuration or hook of others can steer.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::error::GitError;

/// How often the stop flag is looked at while a child runs.
const LOOK: Duration = Duration::from_millis(50);

/// What a child process may take.
#[derive(Clone, Copy, Debug)]
pub struct ChildLimits<'a> {
    /// Set from elsewhere to end it early, with [`GitError::Stopped`].
    pub stop: &'a AtomicBool,
    /// Memory in bytes that it may write to, in each process. Not enforced but on Linux.
    pub max_memory_bytes: u64,
    /// Bytes of each file that it writes. Not enforced but on Linux.
    pub max_file_bytes: u64,
}

static NEVER: AtomicBool = AtomicBool::new(false);

impl ChildLimits<'static> {
    /// None at all: for children whose work does not depend on what a repository holds.
    pub const NONE: Self = Self { stop: &NEVER, max_memory_bytes: u64::MAX, max_file_bytes: u64::MAX };
}

impl ChildLimits<'_> {
    /// Puts the limits on a child that was just started, and so on those that it will start.
    ///
    /// From outside and not before `exec`, which would need unsafe code: Git has not read a byte of a repository by then.
    #[cfg(target_os = "linux")]
    pub(crate) fn hold(&self, child: &Child) {
        use rustix::process::{Resource, Rlimit, prlimit};
        for (resource, limit) in
            [(Resource::Data, self.max_memory_bytes), (Resource::Fsize, self.max_file_bytes)]
        {
            if limit < u64::MAX {
                let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
                // Fails when it has ended already, or where a stricter limit holds.
                let _ = prlimit(Some(Pid::from_child(child)), resource, limit);
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn hold(&self, _child: &Child) {}
}

/// A child that runs, for who reads its output.
pub(crate) struct Running {
    pid: Pid,
    is_ended: AtomicBool,
}

impl Running {
    /// Ends the child: its output is not wanted any more, and its end is no failure.
    pub fn end(&self) {
        self.is_ended.store(true, Ordering::Relaxed);
        self.kill();
    }

    fn kill(&self) {
        // Fails only when it has ended already; until it is waited for, its id is nobody else's.
        let _ = kill_process(self.pid, Signal::KILL);
    }
}

/// How much of a child's error output is kept: its end.
const STDERR_TAIL: usize = 4096;

/// `git` with a clean environment: nothing of the caller's `GIT_*` variables (a hook has several), no configuration but
/// the repository's own, no prompts, no hooks, no fetching of missing objects, no replaced objects, English messages.
pub(crate) fn git() -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"GIT_") {
            command.env_remove(name);
        }
    }
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_OPTIONAL_LOCKS", "0")
        // Grafts would change what a commit's parents are; a path that can't exist means that there are none.
        .env("GIT_GRAFT_FILE", "/dev/null/none")
        .env("LC_ALL", "C")
        .env_remove("LANGUAGE")
        .args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// `git` on an opened repository: the path is that of its Git directory, whose owner [`crate::repository`] checked.
pub(crate) fn git_in(git_dir: &Path) -> Command {
    let mut command = git();
    command.arg("--git-dir").arg(git_dir);
    command
}

/// Ends and reaps the child when dropped early.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // Fails only when the child has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a child: `write` feeds its input from a thread of its own while `read` takes its output.
pub(crate) fn pipe<T>(
    mut command: Command,
    name: &'static str,
    limits: &ChildLimits<'_>,
    write: impl FnOnce(&mut io::BufWriter<ChildStdin>) -> io::Result<()> + Send,
    read: impl FnOnce(BufReader<ChildStdout>, &Running) -> Result<T, GitError>,
) -> Result<T, GitError> {
    let spawn = |source| GitError::Spawn { command: name, source };
    let mut child = Reaped(command.stdin(Stdio::piped()).spawn().map_err(spawn)?);
    limits.hold(&child.0);
    let running = Running { pid: Pid::from_child(&child.0), is_ended: AtomicBool::new(false) };
    let input = child.0.stdin.take().expect("stdin is piped");
    let output = child.0.stdout.take().expect("stdout is piped");
    let errors = child.0.stderr.take().expect("stderr is piped");
    let is_read = AtomicBool::new(false);
    let (value, written, stderr) = thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut input = io::BufWriter::with_capacity(1 << 16, input);
            write(&mut input).and_then(|()| input.flush())
        });
        let stderr = scope.spawn(move || read_tail(errors));
        let watch = scope.spawn(|| {
            while !is_read.load(Ordering::Relaxed) {
                if limits.stop.load(Ordering::Relaxed) {
                    running.kill();
                }
                thread::park_timeout(LOOK);
            }
        });
        let value = read(BufReader::with_capacity(1 << 16, output), &running);
        let written = writer.join().expect("the writer does not panic");
        let stderr = stderr.join().expect("the reader does not panic");
        is_read.store(true, Ordering::Relaxed);
        watch.thread().unpark();
        (value, written, stderr)
    });
    let status = child.0.wait().map_err(spawn)?;
    if limits.stop.load(Ordering::Relaxed) {
        return Err(GitError::Stopped);
    }
    if running.is_ended.load(Ordering::Relaxed) {
        return value;
    }
    if !status.success() {
        // A child that failed says more than the broken pipe or the short output that followed from it. One that died
        // because its output was no longer wanted has nothing to say.
        return match value {
            Err(error) if stderr.is_empty() && status.signal().is_none() => Err(error),
            _ => Err(failure(name, status, stderr, limits)),
        };
    }
    written.map_err(spawn)?;
    value
}

/// Runs a child without input and gives its whole output.
pub(crate) fn output(command: Command, name: &'static str) -> Result<Vec<u8>, GitError> {
    pipe(
        command,
        name,
        &ChildLimits::NONE,
        |_| Ok(()),
        |mut output, _| {
            let mut bytes = Vec::new();
            output.read_to_end(&mut bytes).map_err(|source| GitError::Spawn { command: name, source })?;
            Ok(bytes)
        },
    )
}

/// What Git says when it gets no memory.
pub(crate) fn is_out_of_memory(stderr: &str) -> bool {
    let lower = stderr.to_ascii_lowercase();
    ["out of memory", "cannot allocate memory", "unable to create thread"]
        .iter()
        .any(|text| lower.contains(text))
}

fn failure(command: &'static str, status: ExitStatus, stderr: String, limits: &ChildLimits<'_>) -> GitError {
    if is_out_of_memory(&stderr) {
        return GitError::TooMuchMemory { command, limit: limits.max_memory_bytes };
    }
    if status.signal() == Some(Signal::XFSZ.as_raw()) {
        return GitError::TooMuchDisk { limit: limits.max_file_bytes };
    }
    // Git says only in words that an object is missing.
    let missing =
        ["unable to read tree", "unable to read sha1", "bad object", "Could not read", "could not fetch"];
    if missing.iter().any(|text| stderr.contains(text)) {
        return GitError::MissingObject { detail: stderr };
    }
    GitError::Child { command, status: status.to_string(), stderr }
}

/// Reads to the end and keeps the last bytes.
fn read_tail(mut errors: impl Read) -> String {
    let mut tail = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(n @ 1..) = errors.read(&mut buffer) {
        tail.extend_from_slice(&buffer[..n]);
        if tail.len() > 2 * STDERR_TAIL {
            tail.drain(..tail.len() - STDERR_TAIL);
        }
    }
    String::from_utf8_lossy(&tail).trim().to_owned()
}
