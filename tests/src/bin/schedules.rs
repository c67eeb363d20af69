//! Many schedules under faults, from the command line. See `secretscan_tests::schedules`.
#![allow(clippy::print_stdout, reason = "a program for people")]

use std::time::Duration;

use clap::Parser;
use secretscan_tests::schedules::{Options, run};

/// Lets schedules run while schedulers and controllers are killed and their clocks are wrong; every run must come once.
#[derive(Parser)]
struct Arguments {
    /// Makes the plan of the kills
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Schedules
    #[arg(long, default_value_t = 10_000)]
    schedules: usize,
    /// Their pattern; S stands for a second of the minute, another for each of sixty schedules
    #[arg(long, default_value = "S * * * * *")]
    cron: String,
    /// Processes of each service
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Seconds with kills
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// What is killed rests so many seconds at most
    #[arg(long, default_value_t = 4)]
    down: u64,
    /// Seconds to come to rest afterwards
    #[arg(long, default_value_t = 120)]
    patience: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let options = Options {
        seed: arguments.seed,
        schedules: arguments.schedules,
        cron: arguments.cron,
        replicas: arguments.replicas,
        duration: Duration::from_secs(arguments.seconds),
        down: Duration::from_secs(arguments.down),
        patience: Duration::from_secs(arguments.patience),
    };
    println!("{}", run(&options, |line| println!("{line}")).await?);
    Ok(())
}
