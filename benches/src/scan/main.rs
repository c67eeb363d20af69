//! Full-history scans of one repository: secretscan, its peers, and `git cat-file` as the reference for decoding.
//!
//! ```text
//! cargo run --release -p secretscan-benches --bin scan -- [--rounds N] [PATH]
//! ```
//!
//! Every program scans the same fresh mirror of PATH: bare, one pack, what the refs reach. After one round that is not
//! counted (it fills the file cache and kingfisher's cache of compiled rules) they run in turn, N rounds, each alone.
//! Without PATH the input is a generated repository of 20,000 commits, the same each time.
//!
//! What the columns are, and are not:
//! - `seconds` and `cpu` are medians; `cpu` is user and system time, with that of child processes.
//! - `peak MB` is the largest round, and in it the largest single process: the `git log` that betterleaks and gitleaks
//!   start is not added to them.
//! - `findings` are counted as each program reports them: with other rules, and merged by other notions of what
//!   is one finding. Finding more is not finding better.
//! - `x decode` compares with `git cat-file --batch-all-objects`, which inflates every object on one thread and looks at
//!   nothing. It is a reference, not a bound: two threads, or better order, can be faster.
//!
//! The peers come from PyPI, pinned, each into a folder of its own under `.tools/peers`; the native programs are run. They
//! run with their defaults, but for: secrets redacted in reports, and no live validation and no update check by kingfisher.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod measure;
mod programs;
mod table;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use clap::Parser;

use crate::measure::Usage;

/// Times full-history scans of one repository by secretscan and its peers
#[derive(Parser)]
struct Arguments {
    /// The repository; a generated one when not given
    path: Option<PathBuf>,

    /// How many rounds count
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,

    /// Only writes the mirror of a generated repository to this folder
    #[arg(long, hide = true, conflicts_with = "path")]
    generate: Option<PathBuf>,
}

/// What the generated repository is made of.
const SEED: u64 = 1;
const COMMITS: usize = 20_000;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scan: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(target) = &arguments.generate {
        let generated = secretscan_testkit::generate(SEED, COMMITS)?;
        return mirror(&generated.repository.path(), target);
    }
    let programs = programs::all()?;
    let scratch = tempfile::tempdir().context("making a temporary directory")?;
    let repository = scratch.path().join("repository.git");
    match &arguments.path {
        Some(path) => mirror(path, &repository)?,
        None => {
            // In a process of its own: the peak memory of a child starts at that of the parent.
            let this = env::current_exe().context("finding this program")?;
            succeed(Command::new(this).arg("--generate").arg(&repository))?;
        }
    }
    println!("{}\n", describe(&repository, arguments.path.is_none())?);

    let mut usages: Vec<Vec<Usage>> = programs.iter().map(|_| Vec::new()).collect();
    for round in 0..=arguments.rounds {
        for (program, usages) in programs.iter().zip(&mut usages) {
            eprintln!("round {round} of {}: {}", arguments.rounds, program.label);
            let usage = program.run(&repository, scratch.path())?;
            if round > 0 {
                usages.push(usage);
            }
        }
    }
    // Only now: reading the reports would raise the memory of this process, at which the next child would start.
    let findings: Vec<Option<usize>> = programs
        .iter()
        .map(|program| program.count_findings(scratch.path()))
        .collect::<anyhow::Result<_>>()?;
    println!("{}", table::render(&programs, &usages, &findings));
    Ok(())
}

fn mirror(from: &Path, to: &Path) -> anyhow::Result<()> {
    // Not by hard links, which would bring along what no ref reaches.
    succeed(Command::new("git").args(["clone", "--quiet", "--mirror", "--no-local"]).arg(from).arg(to))?;
    Ok(())
}

fn describe(repository: &Path, is_generated: bool) -> anyhow::Result<String> {
    let git = |arguments: &[&str]| succeed(Command::new("git").arg("-C").arg(repository).args(arguments));
    let commits = git(&["rev-list", "--all", "--count"])?;
    let counted = git(&["count-objects", "-v"])?;
    let count = |name: &str| -> anyhow::Result<u64> {
        let value = counted.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.and_then(|value| value.parse().ok()).with_context(|| format!("git counts no {name}"))
    };
    let what = if is_generated { "generated repository" } else { "repository" };
    Ok(format!(
        "{what}: {} commits, {} objects, pack of {:.1} MB",
        commits.trim(),
        count("in-pack")?,
        count("size-pack")? as f64 * 1024.0 / 1e6
    ))
}

/// Runs a command and returns what it writes.
fn succeed(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The root of the workspace.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the workspace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
