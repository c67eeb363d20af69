//! The directory of one server: its lock, its files, and the server that a killed process left on it.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tracing::warn;

use crate::EmbeddedError;

/// How long a server may take to end after a signal.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// How often a condition of another process is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// A store directory that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    /// The system unlocks it when this process ends, however it ends.
    lock: File,
}

impl Drop for Store {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that another thread is starting holds a copy of it until its exec.
        if let Err(error) = self.lock.unlock() {
            warn!(%error, store = %self.dir.display(), "the store stays locked until this process ends");
        }
    }
}

impl Store {
    /// Creates the directory if needed, and locks it.
    pub(crate) fn open(dir: &Path) -> Result<Self, EmbeddedError> {
        // The store holds findings and packs of private repositories: for nobody else.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(EmbeddedError::file("creating", dir))?;
        // Absolute, because the command line of a left server is compared with it.
        let dir = dir.canonicalize().map_err(EmbeddedError::file("resolving", dir))?;
        let lock_path = dir.join("lock");
        let lock = File::create(&lock_path).map_err(EmbeddedError::file("creating", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir, lock }),
            Err(TryLockError::WouldBlock) => Err(EmbeddedError::StoreInUse { store_dir: dir }),
            Err(TryLockError::Error(source)) => Err(EmbeddedError::file("locking", &lock_path)(source)),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.dir.join("nats-server.conf")
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.dir.join("nats-server.pid")
    }

    pub(crate) fn default_log_file(&self) -> PathBuf {
        self.dir.join("nats-server.log")
    }

    /// Where the server writes `nats-server_<pid>.ports`.
    pub(crate) fn ports_dir(&self) -> PathBuf {
        self.dir.join("ports")
    }

    /// Writes the configuration, for the owner only: it may hold the token.
    pub(crate) fn write_config(&self, text: &str) -> Result<(), EmbeddedError> {
        let path = self.config_file();
        let write = || {
            fs::write(&path, "")?;
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            fs::write(&path, text)
        };
        write().map_err(EmbeddedError::file("writing", &path))
    }

    /// Empties the ports directory, so that a port found there is of this start.
    pub(crate) fn clear_ports_dir(&self) -> Result<(), EmbeddedError> {
        let path = self.ports_dir();
        let clear = || match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir(&path),
        };
        clear().map_err(EmbeddedError::file("clearing", &path))
    }

    /// Stops the server that a killed process left on this store. That process is gone: the lock is ours.
    pub(crate) async fn stop_predecessor(&self) -> Result<(), EmbeddedError> {
        let left = fs::read_to_string(self.pid_file()).ok().and_then(|text| text.trim().parse().ok());
        let Some(pid) = left else { return Ok(()) };
        for signal in [Signal::TERM, Signal::KILL] {
            if !self.is_server(pid) {
                return Ok(());
            }
            warn!(pid, ?signal, store = %self.dir.display(), "stopping the nats-server that a killed process left");
            send(pid, signal)?;
            if tokio::time::timeout(GRACE, self.until_gone(pid)).await.is_ok() {
                return Ok(());
            }
        }
        Err(EmbeddedError::Predecessor { pid, store_dir: self.dir.clone() })
    }

    async fn until_gone(&self, pid: i32) {
        let mut ticks = tokio::time::interval(POLL);
        while self.is_server(pid) {
            ticks.tick().await;
        }
    }

    /// Whether the process lives and its command line names the configuration of this store: process ids are used
    /// again. On a system without Linux's `/proc` the answer is no.
    fn is_server(&self, pid: i32) -> bool {
        let config_file = self.config_file();
        let names_config = |line: &[u8]| {
            line.split(|byte| *byte == 0).any(|argument| argument == config_file.as_os_str().as_bytes())
        };
        // The command line of a process that has ended but was not waited for is empty.
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| names_config(&line))
    }
}

/// Sends a signal; that the process is gone already is no error.
pub(crate) fn send(pid: i32, signal: Signal) -> Result<(), EmbeddedError> {
    let process = Pid::from_raw(pid).expect("a process id is not 0");
    match kill_process(process, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(EmbeddedError::process("signalling", pid)(errno.into())),
    }
}
