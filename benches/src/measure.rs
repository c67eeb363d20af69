//! What a process used.

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
