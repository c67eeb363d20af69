//! This machine: what the commands and services need of it.

mod disk;
mod git;
#[cfg(feature = "local")]
mod nats_server;
mod open_files;

use std::path::PathBuf;

use super::report::Line;

/// What the checks look at.
pub struct Machine {
    /// The directory of the data, which may not be there yet; `None` when nobody says where it is to be.
    pub data: Option<PathBuf>,
}

/// Each says how it stands with one thing.
const CHECKS: &[fn(&Machine) -> Line] = &[
    git::check,
    #[cfg(feature = "local")]
    nats_server::check,
    disk::check,
    open_files::check,
];

/// Checks this machine.
pub fn check(machine: &Machine) -> Vec<Line> {
    CHECKS.iter().map(|check| check(machine)).collect()
}
