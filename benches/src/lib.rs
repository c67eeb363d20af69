//! What the benchmark programs share: which programs are compared, where the peers come from, how each is asked to do a
//! task, what it used, and what it reported.
//!
//! The inputs, and what a result is worth, belong to each benchmark. The peers run with their defaults, but for live
//! validation and update check; the price is that a peer which does more when asked looks smaller than it is.
#![expect(clippy::print_stderr, reason = "benchmarks tell people what they wait for")]

pub mod measure;
pub mod peers;
pub mod programs;
pub mod report;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// Runs a command and returns what it writes.
pub fn succeed(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the workspace")
}
