//! What the benchmark programs share: which programs are compared, where the peers come from, how each is asked to do a
//! task, what it used, and what it reported.
//!
//! The inputs, and what a result is worth, belong to each benchmark. The peers run with their defaults, but for live
//! validation and update check; the price is that a peer which does more when asked looks smaller than it is.
#![expect(clippy::print_stderr, reason = "benchmarks tell people what they wait for")]

pub mod measure;
pub mod peers;
pub mod process;
pub mod programs;
pub mod report;
pub mod requests;
pub mod system;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

/// How a benchmark ends; an error is told under its name.
pub fn exit_code(name: &str, result: &anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Builds with the release profile, by these arguments of `cargo build`; gives the programs.
pub fn build(arguments: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    eprintln!("building secretscan");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--message-format=json-render-diagnostics"]);
    let messages = succeed(cargo.args(arguments).current_dir(workspace()))?;
    let executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    Ok(executables.collect())
}

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
