//! What saturates first at 10,000 repositories and 200 agents: a simulation of the system at the service times that were measured.
//!
//! ```text
//! cargo run --release -p secretscan-benches --bin model -- [--repositories N] [--agents 10,50,200] [--plot FILE]
//! ```
//!
//! Two loads. First all repositories are scanned for the first time, asked for at once; then each has a schedule that runs once an
//! hour, and one of ten has a new commit. Sizes are drawn from a distribution like that of a large organisation: half of
//! the repositories have fewer than 300 commits, a few have hundreds of thousands. What nats-server takes for packs is measured when the
//! program starts; the other times are those of `load` and `cold` (see `measured.rs`). The model has no network but the fetch, no
//! disk that fills up and no failures: it tells where the limits are, not what a given cluster does.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod measured;
mod plot;
mod simulation;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use secretscan_benches::exit_code;
use secretscan_testkit::Random;

use crate::measured::Measured;
use crate::simulation::{Outcome, Repository, Size, Station, run};

/// Simulates the system at the scale of a large organisation
#[derive(Parser)]
struct Arguments {
    /// How many repositories
    #[arg(long, default_value_t = 10_000)]
    repositories: usize,

    /// How many batch-agents, one simulation for each; there is one repo-agent for each of them
    #[arg(long, value_delimiter = ',', default_values_t = [10, 25, 50, 100, 200, 400])]
    agents: Vec<usize>,

    /// MB that one fetch gets from a Git host in a second
    #[arg(long, default_value_t = Measured::FIGURES.fetch_mb_per_s)]
    fetch_mb_per_s: f64,

    /// Servers that share the packs, as a stream for each would
    #[arg(long, default_value_t = 1)]
    pack_servers: u32,

    /// Draw it
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code("model", &model(&Arguments::parse()).await)
}

async fn model(arguments: &Arguments) -> anyhow::Result<()> {
    let pack_per_mb = measured::pack_per_mb().await?;
    println!("nats-server takes or gives {:.0} MB of packs in a second, on this machine", 1.0 / pack_per_mb);
    let measured = Measured {
        fetch_mb_per_s: arguments.fetch_mb_per_s,
        pack_per_mb: pack_per_mb / f64::from(arguments.pack_servers.max(1)),
        ..Measured::FIGURES
    };
    let first: Vec<Repository> = sizes(arguments.repositories)
        .map(|(commits, stored_mb)| Repository { commits, stored_mb, is_fetched: true, asked: 0.0 })
        .collect();
    let commits: u64 = first.iter().map(|repository| repository.commits).sum();
    let stored: f64 = first.iter().map(|repository| repository.stored_mb).sum();
    println!(
        "{} repositories, {:.1} million commits, {:.0} GB stored by Git",
        first.len(),
        commits as f64 / 1e6,
        stored / 1e3
    );

    println!("\nThe first scan of all of them:\n");
    let outcomes = table(&arguments.agents, &first, &measured);
    println!("\nAn hour of schedules, each once, one of ten with a new commit:\n");
    let hour = 3_600.0 / first.len() as f64;
    let again: Vec<Repository> = (0..first.len())
        .map(|n| Repository {
            commits: u64::from(n % 10 == 0),
            stored_mb: 0.01,
            is_fetched: n % 10 == 0,
            asked: n as f64 * hour,
        })
        .collect();
    table(&arguments.agents, &again, &measured);
    if let Some(file) = &arguments.plot {
        std::fs::write(file, plot::render(&outcomes)).context("writing the plot")?;
        eprintln!("drawn to {}", file.display());
    }
    Ok(())
}

/// Commits and stored MB of repositories, the same in each run.
fn sizes(count: usize) -> impl Iterator<Item = (u64, f64)> {
    let mut random = Random::new(11);
    std::iter::repeat_with(move || {
        // The sum of twelve is close to a normal distribution, with a deviation of 1.
        let normal: f64 = (0..12).map(|_| random.below(1_000_000) as f64 / 1e6).sum::<f64>() - 6.0;
        let commits = (300.0 * (1.9 * normal).exp()).clamp(1.0, 1e6);
        // 4 kB for a commit, as in the histories that were measured.
        (commits as u64, commits * 4e-3)
    })
    .take(count)
}

fn table(agents: &[usize], repositories: &[Repository], measured: &Measured) -> Vec<(usize, Outcome)> {
    let names: Vec<&str> = Station::ALL.iter().map(|station| station.name()).collect();
    println!(
        "| agents of each kind | time | commits/s | {} | fullest; longest wait for it |",
        names.join(" | ")
    );
    println!("| ---: | ---: | ---: |{} --- |", " ---: |".repeat(names.len()));
    let mut outcomes = Vec::new();
    for agents in agents {
        let size =
            Size { repo_agents: *agents, batch_agents: *agents, slots: 2, controllers: 2, nats_cores: 2 };
        let outcome = run(repositories, size, measured);
        let busy: Vec<String> = outcome.busy.iter().map(|share| format!("{:.0}%", 100.0 * share)).collect();
        let stations = Station::ALL.iter().zip(outcome.busy).zip(outcome.longest_wait);
        let fullest = stations.max_by(|a, b| a.0.1.total_cmp(&b.0.1));
        let fullest = fullest.map(|((station, _), wait)| format!("{}; {wait:.1} s", station.name()));
        println!(
            "| {agents} | {:.0} s | {:.0} | {} | {} |",
            outcome.time,
            outcome.commits as f64 / outcome.time,
            busy.join(" | "),
            fullest.unwrap_or_default()
        );
        outcomes.push((*agents, outcome));
    }
    outcomes
}
