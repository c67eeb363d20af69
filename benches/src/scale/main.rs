//! More batch-agents, more done: one large repository and many small ones, with ever more processes that each have the same
//! slice of the processor; and what a push waits for while the large one is scanned.
//!
//! ```text
//! cargo run --release -p secretscan-benches --bin scale -- [--slice CORES] [--agents 1,2,4,8]
//! ```
//!
//! Slices stand for machines: as long as all of them fit onto this one, the agents share what a cluster's agents share, which
//! is nats-server, controller and scheduler, and nothing else. For the throughput, everything is fetched and cut before the first
//! agent starts, so that only the agents and what is between them is measured: over the whole time, and while all agents are warm and
//! have work (a new process makes its automata first, and in the end some find nothing more to do). For the push, one small repository is asked
//! for with the urgency of a push, on an idle system and while the large one is scanned.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod round;
mod slices;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use secretscan_benches::measure::middle;
use secretscan_benches::{exit_code, system};
use secretscan_bus::access::Identity;
use secretscan_testkit::{GeneratedRepository, generate};

use crate::round::Throughput;

const SERVICES: [Identity; 4] =
    [Identity::Controller, Identity::Scheduler, Identity::RepoAgent, Identity::BatchAgent];

/// Measures how the throughput grows with the batch-agents, and what a push waits for beside a large repository
#[derive(Parser)]
struct Arguments {
    /// How many batch-agents, one round for each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8])]
    agents: Vec<usize>,

    /// How often all of that is done; the ratios are medians
    #[arg(long, default_value_t = 1)]
    rounds: usize,

    /// Cores that each batch-agent has
    #[arg(long, default_value_t = 0.15)]
    slice: f64,

    /// Commits of the large repository
    #[arg(long, default_value_t = 20_000)]
    commits: usize,

    /// Commits in a batch; the large repository needs many more of them than there are agents
    #[arg(long, default_value_t = 100)]
    batch: usize,

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
        "\n| batch-agents | time | commits/s | steady commits/s | their cores | cores of the rest |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    let mut rounds: Vec<Vec<Throughput>> = Vec::new();
    for _ in 0..arguments.rounds {
        let mut round = Vec::new();
        for agents in &arguments.agents {
            let throughput = round::throughput(&binaries, &input, *agents, arguments).await?;
            println!("{}", row(&throughput));
            round.push(throughput);
        }
        rounds.push(round);
    }
    println!("\n| batch-agents | of linear | steady, of linear |\n| ---: | ---: | ---: |");
    for (place, agents) in arguments.agents.iter().enumerate() {
        let of_linear = |rate: &dyn Fn(&Throughput) -> f64| {
            // Of one round, since the machine may be faster in another.
            let ratios = rounds.iter().filter_map(|round| {
                let of_each = |throughput: &Throughput| rate(throughput) / throughput.agents as f64;
                Some(of_each(round.get(place)?) / of_each(round.first()?))
            });
            middle(ratios.collect(), f64::total_cmp).unwrap_or(f64::NAN)
        };
        println!(
            "| {agents} | {:.2} | {:.2} |",
            of_linear(&Throughput::rate),
            of_linear(&|throughput| throughput.steady)
        );
    }
    let waits = round::pushes(&binaries, &input, arguments).await?;
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

fn row(of: &Throughput) -> String {
    let cores = |used: Duration| used.as_secs_f64() / of.time.as_secs_f64();
    format!(
        "| {} | {:.1} s | {:.0} | {:.0} | {:.2} | {:.2} |",
        of.agents,
        of.time.as_secs_f64(),
        of.rate(),
        of.steady,
        cores(of.used),
        cores(of.rest)
    )
}
