//! A repository that nobody has scanned yet, through all services, beside `git clone --mirror` and a peer's scan of the clone; then
//! what one pushed commit, and no news, take.
//!
//! ```text
//! cargo run --release -p secretscan-benches --bin cold -- [REPOSITORY] [--rounds N] [--batch-agents N] [--gantt FILE]
//! ```
//!
//! A Git host on the loopback address serves a bare copy of the repository by smart HTTP, to the repo-agent and to `git clone` alike.
//! nats-server and the services are processes of their own, started anew for each round, with the permissions that `secretscan
//! up` gives them. Times are from the moment a request is published until its record says Completed. Everything shares
//! this machine. Where the time goes is read from the spans of the services, which go to a collector in this program.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod gantt;
mod round;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use secretscan_benches::programs::{self, Program, Task};
use secretscan_benches::{exit_code, succeed, system};
use secretscan_bus::access::Identity;
use secretscan_testkit::{HttpRemote, generate};
use tempfile::TempDir;

use crate::round::Round;

const SERVICES: [Identity; 4] =
    [Identity::Controller, Identity::Scheduler, Identity::RepoAgent, Identity::BatchAgent];

/// Measures a cold scan through all services, and what follows a push
#[derive(Parser)]
struct Arguments {
    /// The repository [default: one is made]
    repository: Option<PathBuf>,

    /// Commits of the repository that is made
    #[arg(long, default_value_t = 20_000)]
    commits: usize,

    /// How often everything is measured; the least counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Processes of the batch-agent
    #[arg(long, default_value_t = 1)]
    batch_agents: usize,

    /// Where the services are, instead of building them now
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,

    /// Leave the peers out
    #[arg(long)]
    alone: bool,

    /// Write the spans of the last round as a picture
    #[arg(long, value_name = "FILE")]
    gantt: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code("cold", &run(&Arguments::parse()).await)
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let binaries = match &arguments.binaries {
        Some(binaries) => binaries.clone(),
        None => system::build(&SERVICES)?,
    };
    let dir = tempfile::tempdir()?;
    let repository = copy(arguments, dir.path())?;
    let commits: u64 = git(&repository, &["rev-list", "--all", "--count"])?.parse()?;
    println!("{commits} commits, {}", system::describe()?);
    let remote = HttpRemote::serve(&repository).await?;
    let peers = if arguments.alone { Vec::new() } else { peers()? };

    let mut best: Option<Round> = None;
    let mut theirs: Vec<(String, Duration)> = Vec::new();
    for number in 1..=arguments.rounds {
        eprintln!("round {number} of {}", arguments.rounds);
        let round = Round::run(&binaries, &remote.url(), &repository, arguments.batch_agents).await?;
        if best.as_ref().is_none_or(|best| round.cold < best.cold) {
            best = Some(round);
        }
        if !peers.is_empty() {
            measure_peers(&remote.url(), &peers, &mut theirs).await?;
        }
    }
    let best = best.context("there was no round")?;
    best.show(commits);
    show_peers(&theirs, best.cold);
    if let Some(file) = &arguments.gantt {
        std::fs::write(file, gantt::render(&best.spans)).context("writing the picture")?;
    }
    Ok(())
}

/// A bare copy, as a host has it, so that what is pushed to it leaves the repository as it is.
fn copy(arguments: &Arguments, dir: &Path) -> anyhow::Result<PathBuf> {
    let made = match arguments.repository {
        Some(_) => None,
        None => {
            eprintln!("making a repository of {} commits", arguments.commits);
            Some(generate(7, arguments.commits)?)
        }
    };
    let source = match (&arguments.repository, &made) {
        (Some(path), _) => path.clone(),
        (None, made) => made.as_ref().context("a repository")?.repository.path(),
    };
    let copy = dir.join("repository.git");
    succeed(Command::new("git").args(["clone", "--quiet", "--mirror", "--no-local"]).arg(source).arg(&copy))?;
    Ok(copy)
}

/// Runs git in a repository; gives what it says.
fn git(repository: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).args(arguments);
    for (name, value) in [("AUTHOR", "bench"), ("COMMITTER", "bench")] {
        command.env(format!("GIT_{name}_NAME"), value).env(format!("GIT_{name}_EMAIL"), "bench@example.org");
    }
    Ok(succeed(&mut command)?.trim().to_owned())
}

fn peers() -> anyhow::Result<Vec<Program>> {
    // What is ours is not asked for here, so any program stands for it.
    let all = programs::all(Some(Path::new("git")))?;
    let peers: Vec<Program> = all.into_iter().filter(|program| program.tool.is_peer()).collect();
    ensure!(!peers.is_empty(), "no peer could be installed; see --alone");
    Ok(peers)
}

/// Clones, and lets each peer scan the clone; keeps the least time of each.
async fn measure_peers(
    url: &str,
    peers: &[Program],
    least: &mut Vec<(String, Duration)>,
) -> anyhow::Result<()> {
    let dir: TempDir = tempfile::tempdir()?;
    let clone = dir.path().join("clone.git");
    let started = Instant::now();
    let cloning =
        tokio::process::Command::new("git").args(["clone", "--quiet", "--mirror", url]).arg(&clone).status();
    ensure!(cloning.await?.success(), "git clone failed");
    let mut times = vec![("git clone --mirror".to_owned(), started.elapsed())];
    for peer in peers {
        eprintln!("  {}", peer.label(Task::History));
        let usage = tokio::task::block_in_place(|| peer.run(Task::History, &clone, &[], dir.path()))?;
        times.push((peer.label(Task::History), usage.elapsed));
    }
    if least.is_empty() {
        *least = times;
    } else {
        for ((_, least), (_, time)) in least.iter_mut().zip(times) {
            *least = time.min(*least);
        }
    }
    Ok(())
}

/// The first is the clone, which each peer needs.
fn show_peers(theirs: &[(String, Duration)], ours: Duration) {
    let Some(((_, clone), peers)) = theirs.split_first() else { return };
    println!(
        "\n| `git clone --mirror`, then a scan | clone | scan | ours / theirs |\n| --- | --- | --- | --- |"
    );
    for (name, scan) in peers {
        let ratio = ours.as_secs_f64() / (*clone + *scan).as_secs_f64();
        println!("| {name} | {:.2} s | {:.2} s | {ratio:.2} |", clone.as_secs_f64(), scan.as_secs_f64());
    }
}
