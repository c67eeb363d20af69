//! The `git` program as a child process that no environment, configuration or hook of others can steer.

use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use crate::error::GitError;

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
    write: impl FnOnce(&mut io::BufWriter<ChildStdin>) -> io::Result<()> + Send,
    read: impl FnOnce(BufReader<ChildStdout>) -> Result<T, GitError>,
) -> Result<T, GitError> {
    let spawn = |source| GitError::Spawn { command: name, source };
    let mut child = Reaped(command.stdin(Stdio::piped()).spawn().map_err(spawn)?);
    let input = child.0.stdin.take().expect("stdin is piped");
    let output = child.0.stdout.take().expect("stdout is piped");
    let errors = child.0.stderr.take().expect("stderr is piped");
    let (value, written, stderr) = thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut input = io::BufWriter::with_capacity(1 << 16, input);
            write(&mut input).and_then(|()| input.flush())
        });
        let stderr = scope.spawn(move || read_tail(errors));
        let value = read(BufReader::with_capacity(1 << 16, output));
        let written = writer.join().expect("the writer does not panic");
        (value, written, stderr.join().expect("the reader does not panic"))
    });
    let status = child.0.wait().map_err(spawn)?;
    if !status.success() {
        // A child that failed says more than the broken pipe or the short output that followed from it. One that died
        // because its output was no longer wanted has nothing to say.
        return match value {
            Err(error) if stderr.is_empty() => Err(error),
            _ => Err(failure(name, &status.to_string(), stderr)),
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
        |_| Ok(()),
        |mut output| {
            let mut bytes = Vec::new();
            output.read_to_end(&mut bytes).map_err(|source| GitError::Spawn { command: name, source })?;
            Ok(bytes)
        },
    )
}

fn failure(command: &'static str, status: &str, stderr: String) -> GitError {
    // Git says only in words that an object is missing.
    let missing =
        ["unable to read tree", "unable to read sha1", "bad object", "Could not read", "could not fetch"];
    if missing.iter().any(|text| stderr.contains(text)) {
        return GitError::MissingObject { detail: stderr };
    }
    GitError::Child { command, status: status.to_owned(), stderr }
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
