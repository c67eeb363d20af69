//! How many files a process may have open: nats-server keeps its streams in many, and each client is one.

use rustix::process::{Resource, getrlimit};

use super::Machine;
use crate::doctor::report::Line;

/// What a system with some agents needs.
const ENOUGH: u64 = 1_024;

/// Whether that is enough.
pub fn check(_: &Machine) -> Line {
    match getrlimit(Resource::Nofile).current {
        None => Line::ok("open files", "without limit"),
        Some(limit @ ENOUGH..) => Line::ok("open files", format!("up to {limit}")),
        Some(limit) => {
            let advice = format!("`ulimit -n {ENOUGH}` or more before services and nats-server are started");
            Line::warning("open files", format!("a process may have {limit} at most"), advice)
        }
    }
}
