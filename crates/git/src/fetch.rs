//! One `git fetch`: what it may do, how long, and what its failure means.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use data_encoding::BASE64;
use rustix::process::{Pid, Signal, kill_process_group};
use secretscan_detect::Secret;
use secretscan_model::ids::{CommitId, RepositoryId};
use thiserror::Error;

use crate::command::{ChildLimits, git, is_out_of_memory};
use crate::said::{OwnWords, each_line, keep_tail};

/// How often a running fetch looks at the stop flag and the clock.
const TICK: Duration = Duration::from_millis(100);
/// How often it measures the mirror.
const MEASURE: Duration = Duration::from_secs(1);

/// How long and how big a fetch may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// The fetch, waiting for another one of the same repository included, is ended after this long.
    pub timeout: Duration,
    /// The mirror may take this many bytes on disk.
    pub max_bytes: u64,
    /// Memory in bytes that each process of Git may write to. Not enforced but on Linux.
    pub max_memory_bytes: u64,
}

/// A token for the repositories of one host.
#[derive(Clone, Debug)]
pub struct HostToken {
    /// The host, with `:port` where the URI has one.
    pub host: String,
    /// The user name that goes with the token, such as `x-access-token` or `oauth2`.
    pub user: String,
    /// The token.
    pub token: Secret,
}

/// What a fetch may log in with. Nothing of it is written to disk or put on a command line.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Tokens for `https`, by host.
    pub tokens: Vec<HostToken>,
    /// The private key for `ssh`; without one ssh takes its own defaults.
    pub ssh_key: Option<PathBuf>,
    /// A Git credential helper (the value of `credential.helper`), asked when there is no token for the host.
    pub helper: Option<String>,
}

/// How far a fetch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchProgress {
    /// A line of Git's progress, such as `Receiving objects:  42% (420/1000)`.
    pub line: String,
}

/// Why a fetch failed. Of Git's error output its own words are kept.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum FetchError {
    #[error("the URI is not accepted: {reason}")]
    Refused { reason: &'static str },
    #[error("there is no such repository, or the credentials do not reach it: {stderr}")]
    NotFound { stderr: String },
    #[error("the host asks for credentials, or refuses those that it was given: {stderr}")]
    AuthenticationRequired { stderr: String },
    #[error("the host can't be reached: {stderr}")]
    Unreachable { stderr: String },
    #[error("the host answers with a redirect, which is not followed; give the new URI: {stderr}")]
    Redirected { stderr: String },
    #[error(
        "the repository at {} belongs to another user; if you trust it, run: git config --global --add safe.directory {}",
        path.display(),
        path.display()
    )]
    NotOwned { path: PathBuf },
    #[error("the repository is larger than the limit of {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the fetch took longer than {limit:?}")]
    TimedOut { limit: Duration },
    #[error("git needs more memory than the limit of {limit} bytes to take in what the host sent")]
    TooMuchMemory { limit: u64 },
    #[error("stopped on request")]
    Stopped,
    #[error("the repository has another object format than its mirror")]
    OtherObjectFormat,
    #[error("what the host sent, or the mirror, is damaged: {stderr}")]
    Corrupt { stderr: String },
    #[error("git fetch failed: {stderr}")]
    Git { stderr: String },
    #[error("can't {doing} {}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

impl FetchError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            // A mirror of the other format was made anew, so the repository was replaced at that moment.
            Self::Unreachable { .. } | Self::OtherObjectFormat | Self::Stopped | Self::Io { .. } => true,
            // A host that falls silent is unreachable: who is out of time was sent something all the time.
            Self::TimedOut { .. }
            | Self::TooMuchMemory { .. }
            | Self::Refused { .. }
            | Self::NotFound { .. }
            | Self::AuthenticationRequired { .. }
            | Self::Redirected { .. }
            | Self::NotOwned { .. }
            | Self::TooLarge { .. }
            | Self::Corrupt { .. }
            | Self::Git { .. } => false,
        }
    }

    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

/// What a fetch is bound to.
pub(crate) struct Bounds<'a> {
    pub limits: FetchLimits,
    pub started: Instant,
    pub stop: &'a AtomicBool,
}

impl Bounds<'_> {
    /// An error once the time is over or the stop flag is set.
    pub fn check(&self) -> Result<(), FetchError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(FetchError::Stopped);
        }
        if self.started.elapsed() > self.limits.timeout {
            return Err(FetchError::TimedOut { limit: self.limits.timeout });
        }
        Ok(())
    }

    fn check_size(&self, mirror: &Path) -> Result<(), FetchError> {
        let limit = self.limits.max_bytes;
        if disk_usage(mirror) > limit { Err(FetchError::TooLarge { limit }) } else { Ok(()) }
    }
}

/// The bytes of all files below a directory; what vanishes meanwhile counts nothing.
pub(crate) fn disk_usage(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_usage(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// A file may become larger than a mirror by so many bytes before its writer is ended, so that the look at the size comes first:
/// a clone removes what it has written when it fails, and does not say why.
const ROOM: u64 = 256 << 20;

/// Refuses what Git would take for an option or for a transport that runs a program.
pub(crate) fn check_uri(uri: &str, allow_local: bool) -> Result<(), FetchError> {
    let refused = |reason| Err(FetchError::Refused { reason });
    if uri.is_empty() || uri.starts_with('-') || uri.chars().any(char::is_control) {
        return refused("it is empty, starts with a dash or has control characters");
    }
    match uri.split_once("://") {
        Some(("https" | "http" | "ssh", _)) => Ok(()),
        Some(("file", _)) if allow_local => Ok(()),
        Some(_) => refused("its scheme is not https, http or ssh"),
        None if uri.starts_with('/') && allow_local => Ok(()),
        None if uri.starts_with('/') => refused("it is a local path"),
        // `user@host:path`; `transport::address` would run a program.
        None => match uri.split_once(':') {
            Some((host, path)) if !path.starts_with(':') && !host.contains('/') => Ok(()),
            _ => refused("it is no URI and no host:path"),
        },
    }
}

/// The path of a local repository's URI.
pub(crate) fn local_path(uri: &str) -> Option<&Path> {
    let path = uri.strip_prefix("file://").unwrap_or(uri);
    path.starts_with('/').then(|| Path::new(path))
}

/// What a mirror is to have.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Which repository it is.
    pub repository: &'a RepositoryId,
    /// Where it is fetched from.
    pub uri: &'a str,
    /// Commits or tags that are wanted besides what refs reach, as far as the host still has them: a push may have been
    /// overwritten since.
    pub wanted: &'a [CommitId],
    /// What to log in with.
    pub credentials: &'a Credentials,
    /// How long and how big the fetch may be.
    pub limits: FetchLimits,
    /// Whether local paths may be fetched from.
    pub allow_local: bool,
}

/// Everything, as it is there.
pub(crate) const ALL_REFS: &str = "+refs/*:refs/*";

/// `git fetch` of refs into a bare repository, or of objects by their ids, without whatever else a fetch can set off.
///
/// Objects are not checked with `transfer.fsckObjects`: it refuses old histories over faults that harm only
/// check-outs, which never happen here. Every object is still hashed.
pub(crate) fn command(mirror: &Path, uri: &str, order: &Order<'_>, what: &[String]) -> Command {
    let mut command = connection(mirror, uri, order);
    command.args(["fetch", "--prune", "--force", "--progress", "--no-auto-maintenance"]);
    command.args(["--no-write-fetch-head", "--no-recurse-submodules", "--no-show-forced-updates", "--", uri]);
    command.args(what).stdout(Stdio::null());
    command
}

/// `git clone` of all refs into a new bare repository, in the same way. Unlike a fetch into an empty one it learns the object
/// format from the host, and does not walk through all objects once more when whoever indexes the pack says that none is missing.
pub(crate) fn clone_command(mirror: &Path, uri: &str, order: &Order<'_>) -> Command {
    let mut command = talk_to(uri, order);
    command.args(["clone", "--mirror", "--no-local", "--template=", "--progress", "--", uri]);
    command.arg(mirror).stdout(Stdio::null());
    command
}

/// `git` in a repository, that may talk to this URI and to nothing else, and log in there. Its arguments are to follow.
pub(crate) fn connection(git_dir: &Path, uri: &str, order: &Order<'_>) -> Command {
    let mut command = talk_to(uri, order);
    command.arg("--git-dir").arg(git_dir);
    command
}

fn talk_to(uri: &str, order: &Order<'_>) -> Command {
    let Order { credentials, allow_local, .. } = *order;
    let mut command = git();
    let settings = [
        "protocol.allow=never",
        "protocol.https.allow=always",
        "protocol.http.allow=always",
        "protocol.ssh.allow=always",
        // A redirect would leave what the caller's policy allowed.
        "http.followRedirects=false",
        "http.lowSpeedLimit=1000",
        "http.lowSpeedTime=60",
        "gc.auto=0",
        "maintenance.auto=false",
        // Packs are kept as packs.
        "fetch.unpackLimit=1",
        "transfer.unpackLimit=1",
        "fetch.writeCommitGraph=false",
        "fetch.recurseSubmodules=false",
    ];
    for setting in settings {
        command.args(["-c", setting]);
    }
    if allow_local {
        command.args(["-c", "protocol.file.allow=always"]);
    }
    // Empty: forgets every helper configured before. Not by `-c`, which Git reads after the environment: it would forget
    // ours too.
    let mut configured = vec![("credential.helper".to_owned(), String::new())];
    if let Some(helper) = &credentials.helper {
        configured.push(("credential.helper".to_owned(), helper.clone()));
    }
    if let Some(token) = token_for(uri, credentials) {
        let login = [token.user.as_bytes(), b":", token.token.expose()].concat();
        let header = format!("Authorization: Basic {}", BASE64.encode(&login));
        configured.push((format!("http.https://{}/.extraHeader", token.host), header));
    }
    // By environment, which only the same user can read.
    command.env("GIT_CONFIG_COUNT", configured.len().to_string());
    for (n, (name, value)) in configured.iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{n}"), name).env(format!("GIT_CONFIG_VALUE_{n}"), value);
    }
    command.env("GIT_ASKPASS", "").env_remove("SSH_ASKPASS").env("GIT_SSH_VARIANT", "ssh");
    command.env("GIT_SSH_COMMAND", ssh_command(credentials.ssh_key.as_deref()));
    command
}

fn token_for<'a>(uri: &str, credentials: &'a Credentials) -> Option<&'a HostToken> {
    let host = uri.strip_prefix("https://")?.split('/').next()?;
    credentials.tokens.iter().find(|token| token.host.eq_ignore_ascii_case(host))
}

fn ssh_command(key: Option<&Path>) -> String {
    let mut command = "ssh -oBatchMode=yes -oConnectTimeout=30 -oServerAliveInterval=30".to_owned();
    if let Some(key) = key {
        // Git gives the command to a shell.
        let quoted = key.display().to_string().replace('\'', r"'\''");
        command += &format!(" -oIdentitiesOnly=yes -i '{quoted}'");
    }
    command
}

/// Ends and reaps the whole process group when dropped early.
struct Group(Child);

impl Group {
    fn kill(&self) {
        // Fails only when all have ended already.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.kill();
            let _ = self.0.wait();
        }
    }
}

/// Runs a fetch, or what else talks to a host, within its bounds. Its standard output goes where the command says.
pub(crate) fn run(
    mut command: Command,
    mirror: &Path,
    bounds: &Bounds<'_>,
    mut words: OwnWords<'_>,
    progress: &mut dyn FnMut(FetchProgress),
) -> Result<(), FetchError> {
    let spawned = command.process_group(0).spawn();
    let mut group = Group(spawned.map_err(FetchError::io("run git in", mirror))?);
    let FetchLimits { max_bytes, max_memory_bytes, .. } = bounds.limits;
    let max_file_bytes = max_bytes.saturating_add(ROOM);
    ChildLimits { stop: bounds.stop, max_memory_bytes, max_file_bytes }.hold(&group.0);
    let stderr = group.0.stderr.take().expect("stderr is piped");
    let (mut all, mut kept) = (String::new(), String::new());
    let mut failure = None;
    thread::scope(|scope| {
        let (sender, lines) = mpsc::channel();
        scope.spawn(move || each_line(stderr, |line| drop(sender.send(line))));
        let mut measured = Instant::now();
        loop {
            match lines.recv_timeout(TICK) {
                Ok(line) => {
                    keep_tail(&mut all, &line);
                    if let Some(line) = words.of(&line) {
                        keep_tail(&mut kept, &line);
                        progress(FetchProgress { line });
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if failure.is_some() {
                continue;
            }
            let mut checked = bounds.check();
            if checked.is_ok() && measured.elapsed() >= MEASURE {
                measured = Instant::now();
                checked = bounds.check_size(mirror);
            }
            if let Err(error) = checked {
                failure = Some(error);
                group.kill();
            }
        }
    });
    let status = group.0.wait().map_err(FetchError::io("wait for git in", mirror))?;
    if let Some(error) = failure {
        return Err(error);
    }
    if !status.success() {
        // A file that may not grow ends its writer, and then Git blames the host.
        if disk_usage(mirror) >= max_bytes {
            return Err(FetchError::TooLarge { limit: max_bytes });
        }
        let is_silent = kept.is_empty();
        let told = if is_silent { "Git gives no reason".to_owned() } else { kept };
        return Err(classify(&all, told, &bounds.limits));
    }
    // Git gets over a damaged pack by fetching again what was in it, but the pack stays.
    if all.contains("error: packfile") {
        return Err(FetchError::Corrupt { stderr: kept });
    }
    bounds.check_size(mirror)
}

/// Git says only in words why it failed; they are English because of `LC_ALL=C`. The order matters: a cut connection
/// also makes for a damaged pack, and a refused key for an unreadable repository. `stderr` is what may be told of it.
fn classify(all: &str, stderr: String, limits: &FetchLimits) -> FetchError {
    let lower = all.to_ascii_lowercase();
    let says = |texts: &[&str]| texts.iter().any(|text| lower.contains(text));
    if is_out_of_memory(all) {
        FetchError::TooMuchMemory { limit: limits.max_memory_bytes }
    } else if says(&["mismatched algorithms", "does not support this repository's object format"]) {
        FetchError::OtherObjectFormat
    } else if says(&["returned error: 30", "unable to update url base from redirection"]) {
        FetchError::Redirected { stderr }
    } else if says(&[
        "authentication failed",
        "could not read username",
        "could not read password",
        "permission denied (",
        "returned error: 401",
        "returned error: 403",
        "invalid credentials",
        "access denied",
    ]) {
        FetchError::AuthenticationRequired { stderr }
    } else if says(&[
        "could not resolve host",
        "failed to connect",
        "couldn't connect",
        "connection refused",
        "connection timed out",
        "connection reset",
        "connection closed",
        "network is unreachable",
        "no route to host",
        "operation timed out",
        "operation too slow",
        "early eof",
        "unexpected disconnect",
        "rpc failed",
        "returned error: 429",
        "returned error: 5",
    ]) {
        FetchError::Unreachable { stderr }
    } else if says(&[
        "repository not found",
        "' not found",
        "returned error: 404",
        "does not appear to be a git repository",
        "' does not exist",
        "could not be found",
        "project not found",
    ]) {
        FetchError::NotFound { stderr }
    } else if says(&[
        "not a git repository",
        "index-pack failed",
        "invalid index-pack output",
        "bad object",
        "corrupt",
        "did not send all necessary objects",
        "missing necessary objects",
        "is empty",
        "bad config",
        "packed-refs",
        "inflate",
        "bad signature",
        "unable to parse object",
        "unable to read tree",
        "unresolved deltas",
        "died of signal",
        "maximum allowed tree depth",
        "bad tree object",
        "pack has bad",
        "packfile",
        "bogus commit",
        "failed to traverse",
    ]) {
        FetchError::Corrupt { stderr }
    } else {
        FetchError::Git { stderr }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_transports_are_accepted() {
        for good in ["https://h/r", "http://h/r", "ssh://git@h/r", "git@h:o/r.git", "h:r"] {
            assert!(check_uri(good, false).is_ok(), "{good}");
        }
        for local in ["/srv/r.git", "file:///srv/r.git"] {
            assert!(check_uri(local, true).is_ok() && check_uri(local, false).is_err(), "{local}");
        }
        for bad in
            ["", "-u", "--upload-pack=x", "ext::sh -c x", "git://h/r", "fd::3", "r", "./r", "https://h/\nr"]
        {
            assert!(check_uri(bad, true).is_err(), "{bad}");
        }
    }

    fn with_token() -> Credentials {
        let token = HostToken {
            host: "git.example.com".to_owned(),
            user: "oauth2".to_owned(),
            token: Secret::new("swordfish"),
        };
        Credentials { tokens: vec![token], ssh_key: Some("/keys/it's".into()), helper: None }
    }

    fn variables(uri: &str) -> Vec<(String, String)> {
        let order = Order {
            repository: &RepositoryId::parse("r").unwrap(),
            uri,
            wanted: &[],
            credentials: &with_token(),
            limits: FetchLimits { timeout: Duration::MAX, max_bytes: 7, max_memory_bytes: 8 },
            allow_local: false,
        };
        let command = command(Path::new("/m"), uri, &order, &[]);
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        assert!(!args.iter().any(|arg| arg.contains("swordfish") || arg.contains("b2F1dGgy")), "{args:?}");
        let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
        command.get_envs().filter_map(|(name, value)| Some((text(name), text(value?)))).collect()
    }

    #[test]
    fn a_token_goes_to_its_host_alone_and_through_the_environment() {
        let has_header =
            |uri| variables(uri).iter().any(|(_, value)| value.starts_with("Authorization: Basic "));
        assert!(has_header("https://git.example.com/o/r"));
        for other in
            ["http://git.example.com/o/r", "https://git.example.com.evil/o/r", "https://x/git.example.com/"]
        {
            assert!(!has_header(other), "{other}");
        }
        let ssh = variables("git@h:r").into_iter().find(|(name, _)| name == "GIT_SSH_COMMAND").unwrap().1;
        assert!(ssh.ends_with(r"-i '/keys/it'\''s'"), "{ssh}");
    }

    #[test]
    fn failures_are_told_apart() {
        let limits = FetchLimits { timeout: Duration::MAX, max_bytes: 7, max_memory_bytes: 8 };
        let of = |text: &str| classify(text, text.to_owned(), &limits);
        let memory =
            "fatal: Out of memory, malloc failed (tried to allocate 5 bytes)\nfatal: index-pack failed";
        assert!(matches!(of(memory), FetchError::TooMuchMemory { limit: 8 }));
        assert!(matches!(of("error: rev-list died of signal 11"), FetchError::Corrupt { .. }));
        assert!(of("fatal: unable to access 'https://h/': Could not resolve host: h").is_transient());
        assert!(
            of("fatal: unable to access 'https://h/': The requested URL returned error: 503").is_transient()
        );
        assert!(
            of("error: RPC failed\nfatal: early EOF\nfatal: fetch-pack: invalid index-pack output")
                .is_transient()
        );
        let auth = "fatal: could not read Username for 'https://h': terminal prompts disabled";
        assert!(matches!(of(auth), FetchError::AuthenticationRequired { .. }));
        let key = "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.";
        assert!(matches!(of(key), FetchError::AuthenticationRequired { .. }));
        assert!(matches!(of("fatal: repository 'https://h/r/' not found"), FetchError::NotFound { .. }));
        assert!(matches!(of("fatal: bad object refs/heads/main"), FetchError::Corrupt { .. }));
        let moved = "fatal: unable to access 'https://h/r/': The requested URL returned error: 301";
        assert!(matches!(of(moved), FetchError::Redirected { .. }));
        // The second one by the first version of the protocol.
        for format in [
            "fatal: mismatched algorithms: client sha1; server sha256",
            "fatal: Server does not support this repository's object format",
        ] {
            assert!(matches!(of(format), FetchError::OtherObjectFormat));
        }
        assert!(matches!(of("fatal: something else"), FetchError::Git { .. }));
    }
}
