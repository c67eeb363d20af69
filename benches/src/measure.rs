//! What a process used.

use std::cmp::Ordering;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context;
use wait4::Wait4;

/// What a process and those of its children that it waited for used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// From start to end.
    pub elapsed: Duration,
    /// User and system time.
    pub cpu: Duration,
    /// The peak resident memory of the largest of the processes, in bytes.
    pub peak_bytes: u64,
}

/// The one in the middle; of an even number, the upper of the two.
pub fn middle<T: Copy>(mut all: Vec<T>, order: impl FnMut(&T, &T) -> Ordering) -> Option<T> {
    all.sort_unstable_by(order);
    all.get(all.len() / 2).copied()
}

/// Runs a command to its end.
pub fn measure(command: &mut Command) -> anyhow::Result<(ExitStatus, Usage)> {
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
    let used = child.wait4().with_context(|| format!("waiting for {command:?}"))?;
    let usage = Usage {
        elapsed: started.elapsed(),
        cpu: used.rusage.utime + used.rusage.stime,
        peak_bytes: used.rusage.maxrss,
    };
    Ok((used.status, usage))
}
