//! How long a commit waits for its hook, in a repository of many files.
//!
//! ```text
//! cargo run --release -p secretscan-benches --bin hook -- [--files N] [--rounds N] [--program FILE]
//! ```
//!
//! Generates a repository, stages a change to one file and then to a thousand, and runs each program in turn, several times
//! over, each time as a new process. Times are of whole processes, as the one who commits waits for them. Nothing that
//! is staged holds a secret: the peers write an empty report.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use secretscan_benches::measure::measure;
use secretscan_benches::programs::{self, Program, Task, Tool};
use secretscan_benches::{exit_code, succeed};

/// Compares how long a commit waits for the hooks of secretscan and its peers
#[derive(Parser)]
struct Arguments {
    /// Files in the repository
    #[arg(long, default_value_t = 50_000)]
    files: usize,

    /// Times that each program runs
    #[arg(long, default_value_t = 15)]
    rounds: usize,

    /// The secretscan to measure, instead of one that is built now
    #[arg(long, value_name = "FILE")]
    program: Option<std::path::PathBuf>,
}

/// What is measured.
enum Way<'a> {
    /// A program asked for a report on what is staged.
    Scan(&'a Program),
    /// Our hook, as Git runs it.
    Hook(&'a Program),
}

impl Way<'_> {
    fn label(&self) -> String {
        match self {
            Self::Scan(program) => program.label(Task::Staged),
            Self::Hook(program) => program.label(Task::Staged) + ", hook pre-commit",
        }
    }

    fn run(&self, folder: &Path, scratch: &Path) -> anyhow::Result<Duration> {
        match self {
            Self::Scan(program) => Ok(program.run(Task::Staged, folder, &[], scratch)?.elapsed),
            Self::Hook(program) => {
                let mut command = Command::new(program.executable());
                command.args(["hook", "pre-commit"]).current_dir(folder).stdin(Stdio::null());
                let (status, usage) = measure(&mut command)?;
                ensure!(status.success(), "the hook ended with {status}");
                Ok(usage.elapsed)
            }
        }
    }
}

fn main() -> ExitCode {
    exit_code("hook", &run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir().context("making a temporary directory")?;
    let folder = scratch.path().join("repository");
    eprintln!("making a repository of {} files", arguments.files);
    make(&folder, arguments.files)?;
    let programs = programs::all(arguments.program.as_deref())?;
    let ours = programs.iter().filter(|program| program.tool == Tool::Secretscan).map(Way::Hook);
    let ways: Vec<Way<'_>> = ours.chain(programs.iter().map(Way::Scan)).collect();
    println!("{} files in the index; {} runs each, in turn; ms\n", arguments.files, arguments.rounds);
    println!("{:>7}  {:<34} {:>7} {:>7} {:>7}", "staged", "program", "least", "median", "most");
    for staged in [1, 1_000.min(arguments.files)] {
        stage(&folder, arguments.files, staged)?;
        let mut times = vec![Vec::new(); ways.len()];
        for round in 0..arguments.rounds {
            eprintln!("{staged} staged, round {} of {}", round + 1, arguments.rounds);
            for (way, times) in ways.iter().zip(&mut times) {
                times.push(way.run(&folder, scratch.path())?);
            }
        }
        for (way, times) in ways.iter().zip(&mut times) {
            times.sort_unstable();
            let [least, median, most] =
                [0, times.len() / 2, times.len() - 1].map(|at| times[at].as_secs_f64() * 1e3);
            println!("{staged:>7}  {:<34} {least:>7.1} {median:>7.1} {most:>7.1}", way.label());
        }
    }
    Ok(())
}

/// Of a file in the repository.
fn path(number: usize) -> String {
    format!("d{:03}/s{:02}/f{number:05}.rs", number / 500, number / 50 % 10)
}

/// A repository with one commit, its files in the working tree.
fn make(folder: &Path, files: usize) -> anyhow::Result<()> {
    succeed(Command::new("git").args(["init", "--quiet", "--initial-branch=main"]).arg(folder))?;
    let mut import = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .context("starting git fast-import")?;
    let mut stream = std::io::BufWriter::new(import.stdin.take().context("its standard input")?);
    write!(stream, "commit refs/heads/main\ncommitter B <b@example.org> 1700000000 +0000\ndata 1\nm\n")?;
    for number in 0..files {
        let text = format!("// file {number}\nfn f{number}() -> usize {{\n    {number}\n}}\n");
        write!(stream, "M 100644 inline {}\ndata {}\n{text}\n", path(number), text.len())?;
    }
    stream.flush()?;
    drop(stream);
    ensure!(import.wait()?.success(), "git fast-import failed");
    succeed(Command::new("git").arg("-C").arg(folder).args(["reset", "--quiet", "--hard"]))?;
    Ok(())
}

/// Changes so many files, all over the repository, and stages them.
fn stage(folder: &Path, files: usize, count: usize) -> anyhow::Result<()> {
    for index in 0..count {
        let path = folder.join(path(index * (files / count)));
        let file = fs::OpenOptions::new().append(true).open(&path);
        writeln!(file.with_context(|| format!("changing {}", path.display()))?, "fn more() {{}}")?;
    }
    succeed(Command::new("git").arg("-C").arg(folder).args(["add", "--all"]))?;
    Ok(())
}
