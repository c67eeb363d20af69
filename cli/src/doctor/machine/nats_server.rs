//! The nats-server that `secretscan run` and `secretscan up` start.

use std::path::{Path, PathBuf};

use secretscan_embedded::{INSTALLED_VERSION, can_install, find};

use super::Machine;
use crate::doctor::report::Line;

/// Whether there is one, or one can be installed.
pub fn check(machine: &Machine) -> Line {
    let explicit = std::env::var_os("SECRETSCAN_NATS_SERVER").map(PathBuf::from);
    let tools = machine.data.as_deref().unwrap_or(Path::new("")).join("tools");
    let error = match find(explicit.as_deref(), &tools) {
        Ok(Some(path)) => return Line::ok("nats-server", format!("{} will do", path.display())),
        Ok(None) => match can_install() {
            Ok(()) => {
                let says = format!("none here; `run` and `up` install {INSTALLED_VERSION} with Python's pip");
                return Line::ok("nats-server", says);
            }
            Err(error) => error,
        },
        Err(error) => error,
    };
    let says = format!("`run` and `up` can't start one: {error}");
    Line::warning("nats-server", says, error.hint().unwrap_or("set SECRETSCAN_NATS_SERVER to one"))
}
