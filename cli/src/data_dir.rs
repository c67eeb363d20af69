//! Where the system on this machine keeps its things.

use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The directory of the data of the user: see the XDG Base Directory Specification.
pub fn default() -> Result<PathBuf, Failure> {
    let base = match std::env::var_os("XDG_DATA_HOME").filter(|dir| Path::new(dir).is_absolute()) {
        Some(dir) => Some(PathBuf::from(dir)),
        None => std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share")),
    };
    base.map(|base| base.join("secretscan")).ok_or_else(|| {
        Failure::new(
            "there is no place for the data: neither XDG_DATA_HOME nor HOME is set",
            "give one with --data",
        )
    })
}

/// The directory of the keys with which the identities of a running system log in to its nats-server.
#[cfg(feature = "remote")]
pub fn nats_keys(data: &Path) -> PathBuf {
    data.join("nats-keys")
}

/// The file in which a running system says where its nats-server is.
#[cfg(feature = "remote")]
pub fn url_file(data: &Path) -> PathBuf {
    data.join("nats.url")
}
