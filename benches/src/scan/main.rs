//! Scans by secretscan and its peers, timed, and checked against what was hidden.
//!
//! ```text
//! cargo run --release -p secretscan-benches --bin scan -- [--rounds N] [--task TASK]... [--plot FILE] [PATH]
//! ```
//!
//! Three tasks: the full history of a mirror of PATH (bare, one pack, what the refs reach); one changed file staged in a
//! checkout of it; and its files as a plain directory. Without PATH the input is a generated repository, the same each
//! time, with secrets hidden at known places. After one round that is not counted (it fills the file cache and
//! kingfisher's cache of compiled rules) the programs run in turn, N rounds, each alone and in a new process.
//!
//! What the columns are, and are not:
//! - `seconds` and `cpu` are medians; `cpu` is user and system time, with that of child processes.
//! - `peak MB` is the largest round, and in it the largest single process: the `git log` that betterleaks and gitleaks
//!   start is not added to them.
//! - `findings` are counted as each program reports them: with other rules, and merged by other notions of what
//!   is one finding. Finding more is not finding better.
//! - `planted found` are those hidden secrets whose value stands in what a finding shows; `others` are the findings that
//!   show none. The hidden secrets have the forms that their providers document, with random content.
//! - The last column compares with a program that reads the same and looks at nothing: `git cat-file
//!   --batch-all-objects` inflates every object on one thread, `git diff --cached`, `cat` of every file. It is a
//!   reference, not a bound: two threads, or better order, can be faster.
//!
//! The peers come from PyPI, pinned, each into a folder of its own under `.tools/peers`; the native programs are run. They
//! run with their defaults, but for live validation and update check, which kingfisher is told to leave. So gitleaks
//! opens no archives and betterleaks reads no messages, which both do when asked.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod generate;
mod input;
mod outcome;
mod planted;
mod plot;
mod table;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::Context;
use clap::{Parser, ValueEnum};
use secretscan_benches::measure::Usage;
use secretscan_benches::programs::{self, Program, Task};
use secretscan_benches::{exit_code, succeed};

use crate::input::Input;
use crate::outcome::{Outcome, Report, Results};
use crate::planted::{Found, Planted};

/// Times scans by secretscan and its peers: a full history, one staged file, a directory
#[derive(Parser)]
struct Arguments {
    /// The repository; a generated one with hidden secrets when not given
    path: Option<PathBuf>,

    /// How many rounds count
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,

    /// What to do; may be given several times [default: all]
    #[arg(long = "task", value_name = "TASK")]
    tasks: Vec<Task>,

    /// Draws the results into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// The secretscan to measure, instead of one that is built now
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,

    /// Only writes the generated repository, and the list of what is hidden in it, into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "path")]
    generate: Option<PathBuf>,
}

fn main() -> ExitCode {
    exit_code("scan", &run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(folder) = &arguments.generate {
        return write_generated(folder);
    }
    if let Some(folder) = arguments.plot.as_deref().and_then(Path::parent) {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let programs = programs::all(arguments.program.as_deref())?;
    let scratch = tempfile::tempdir().context("making a temporary directory")?;
    let scratch = scratch.path();
    match &arguments.path {
        Some(path) => mirror(path, &scratch.join("repository.git"))?,
        None => {
            eprintln!("generating a repository");
            // In a process of its own: the peak memory of a child starts at that of the parent.
            let this = env::current_exe().context("finding this program")?;
            succeed(Command::new(this).arg("--generate").arg(scratch))?;
        }
    }
    let tasks = if arguments.tasks.is_empty() { Task::value_variants() } else { &arguments.tasks };
    let (input, staged) = Input::prepare(scratch, tasks)?;
    let description = input.describe()?;
    println!("{description}\n");

    let mut usages: Vec<Vec<Vec<Usage>>> = Vec::new();
    for task in tasks {
        usages.push(measure_all(&programs, *task, arguments.rounds, &input, scratch)?);
    }

    // Only now: reading the reports would raise the memory of this process, at which the next child would start.
    let mut planted = read_planted(scratch)?;
    planted.extend(staged);
    let mut all = Vec::new();
    for (task, usages) in tasks.iter().zip(usages) {
        let planted: Vec<Planted> =
            planted.iter().filter(|planted| planted.place.is_seen_at(*task)).cloned().collect();
        let results = compare(&programs, *task, usages, &planted, scratch)?;
        println!("{}", table::render(&results));
        if *task == Task::History && !planted.is_empty() {
            println!("{}", table::by_place(&results.outcomes, &planted));
            println!("{}", table::missed_kinds(&results.outcomes, &planted));
        }
        all.push(results);
    }
    if let Some(file) = &arguments.plot {
        fs::write(file, plot::render(&all, &description))
            .with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// For each program, what each round used.
fn measure_all(
    programs: &[Program],
    task: Task,
    rounds: u8,
    input: &Input,
    scratch: &Path,
) -> anyhow::Result<Vec<Vec<Usage>>> {
    let mut usages: Vec<Vec<Usage>> = programs.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for (program, usages) in programs.iter().zip(&mut usages) {
            eprintln!("{}, round {round} of {rounds}: {}", task.title(), program.label(task));
            let usage = program.run(task, input.folder(task), &[], scratch)?;
            if round > 0 {
                usages.push(usage);
            }
        }
    }
    Ok(usages)
}

/// Reads the reports and compares them with what was hidden.
fn compare(
    programs: &[Program],
    task: Task,
    usages: Vec<Vec<Usage>>,
    planted: &[Planted],
    scratch: &Path,
) -> anyhow::Result<Results> {
    let mut outcomes = Vec::new();
    for (program, usages) in programs.iter().zip(usages) {
        let findings = program.findings(task, scratch)?;
        let report = findings
            .map(|findings| Report { findings: findings.len(), found: Found::new(planted, &findings) });
        outcomes.push(Outcome { tool: program.tool, label: program.label(task), usages, report });
    }
    Ok(Results { task, outcomes })
}

fn write_generated(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let planted = generate::generate(&folder.join("repository.git"), &generate::LARGE)?;
    let planted = serde_json::to_vec_pretty(&planted).context("listing what is hidden")?;
    fs::write(folder.join("planted.json"), planted).context("writing what is hidden")
}

/// What is hidden in a generated repository; in another one, nothing that we know of.
fn read_planted(folder: &Path) -> anyhow::Result<Vec<Planted>> {
    let list = folder.join("planted.json");
    if !list.is_file() {
        return Ok(Vec::new());
    }
    let list = fs::read(list).context("reading what is hidden")?;
    serde_json::from_slice(&list).context("parsing what is hidden")
}

fn mirror(from: &Path, to: &Path) -> anyhow::Result<()> {
    // Not by hard links, which would bring along what no ref reaches.
    succeed(Command::new("git").args(["clone", "--quiet", "--mirror", "--no-local"]).arg(from).arg(to))?;
    Ok(())
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
