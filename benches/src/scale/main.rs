//! More batch-agents, more done: one large repository and many small ones, with ever more processes that each have the same
//! slice of the processor; and what a push waits for while the large one is scanned.
//!
//! ```text
//! cargo run --release -p secretscan-benches --bin scale -- [--slice CORES] [--agents 1,2,4,8]
//! ```
//!
//! Slices stand for machines: as long as all of them fit onto this one, the agents share what a cluster's agents share, which
//! is nats-server, controller and scheduler, and nothing else. For the throughput, everything is fetched and cut before the first
//! agent starts, so that only the agents and what is between them is measured. For the push, one small repository is asked
//! for with the urgency of a push, on an idle system and while the large one is scanned.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod round;
mod slices;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use secretscan_benches::{exit_code, system};
use secretscan_bus::access::Identity;
use secretscan_testkit::{GeneratedRepository, generate};

const SERVICES: [Identity; 4] =
    [Identity::Controller, Identity::Scheduler, Identity::RepoAgent, Identity::BatchAgent];

/// Measures how the throughput grows with the batch-agents, and what a push waits for beside a large repository
#[derive(Parser)]
struct Arguments {
    /// How many batch-agents, one round for each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8])]
    agents: Vec<usize>,

    /// Cores that each batch-agent has
    #[arg(long, default_value_t = 0.15)]
    slice: f64,

    /// Commits of the large repository
    #[arg(long, default_value_t = 20_000)]
    commits: usize,

    /// How many small repositories there are, of 50 commits each
    #[arg(long, default_value_t = 100)]
    small: u64,

    /// How often a push is measured
    #[arg(long, default_value_t = 20)]
    pushes: u64,

    /// Where the services are, instead of building them now
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code("scale", &run(&Arguments::parse()).await)
}

/// What is scanned.
struct Input {
    large: GeneratedRepository,
    small: Vec<GeneratedRepository>,
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let binaries = match &arguments.binaries {
        Some(binaries) => binaries.clone(),
        None => system::build(&SERVICES)?,
    };
    eprintln!("making {} repositories", arguments.small + 1);
    let small: Result<_, _> = (0..arguments.small).map(|seed| generate(100 + seed, 50)).collect();
    let input = Input { large: generate(7, arguments.commits)?, small: small? };
    println!("{}; each batch-agent has {} of a core", system::describe()?, arguments.slice);
    println!(
        "\n| batch-agents | time | commits/s | of linear | their cores | cores of the rest |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    let mut one = None;
    for agents in &arguments.agents {
        let round = round::throughput(&binaries, &input, *agents, arguments.slice).await?;
        let rate = round.commits as f64 / round.time.as_secs_f64();
        let cores = |used: Duration| used.as_secs_f64() / round.time.as_secs_f64();
        let of_one = *one.get_or_insert(rate / *agents as f64);
        println!(
            "| {agents} | {:.1} s | {rate:.0} | {:.2} | {:.2} | {:.2} |",
            round.time.as_secs_f64(),
            rate / (of_one * *agents as f64),
            cores(round.agents),
            cores(round.rest),
        );
    }
    let waits = round::pushes(&binaries, &input, arguments.pushes).await?;
    println!("\n| a push to a small repository | median | the worst |\n| --- | ---: | ---: |");
    for (what, times) in [("on an idle system", &waits.idle), ("while the large one is scanned", &waits.busy)]
    {
        println!(
            "| {what} | {} ms | {} ms |",
            round::median(times).as_millis(),
            times.iter().max().map_or(0, |time| time.as_millis())
        );
    }
    for (what, times) in [("idle", &waits.idle), ("busy", &waits.busy)] {
        let times: Vec<String> = times.iter().map(|time| time.as_millis().to_string()).collect();
        println!("{what}, in their order: {} ms", times.join(" "));
    }
    let ratio = round::median(&waits.busy).as_secs_f64() / round::median(&waits.idle).as_secs_f64();
    println!("\nthe medians: {ratio:.2} times; the large one had {} batches left in the end", waits.left);
    Ok(())
}
