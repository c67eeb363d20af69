//! Fault runs from the command line. See `secretscan_tests::faults`.
#![allow(clippy::print_stdout, reason = "a program for people")]

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use secretscan_tests::faults::{Options, run};

/// Scans repositories while the system is broken all the time, and compares what comes out with what must.
#[derive(Parser)]
struct Arguments {
    /// Makes the repositories and the plan of the faults; of several runs the first
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs, each with the next seed
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Seconds with faults
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Repositories
    #[arg(long, default_value_t = 200)]
    repositories: usize,
    /// Processes of each service
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Seconds to come to rest afterwards
    #[arg(long, default_value_t = 300)]
    patience: u64,
    /// Where the binaries of the services are [default: they are built]
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Where the logs of the services stay [default: nowhere]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What the services log
    #[arg(long, default_value = "info")]
    log: String,
    /// Tells of every fault
    #[arg(long)]
    verbose: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    for seed in arguments.seed..arguments.seed + arguments.runs {
        println!("seed {seed}");
        let options = Options {
            seed,
            repositories: arguments.repositories,
            duration: Duration::from_secs(arguments.seconds),
            replicas: arguments.replicas,
            patience: Duration::from_secs(arguments.patience),
            binaries: arguments.binaries.clone(),
            dir: arguments.dir.as_ref().map(|dir| dir.join(seed.to_string())),
            log: arguments.log.clone(),
        };
        let outcome = run(&options, |line| {
            if arguments.verbose {
                println!("{line}");
            }
        });
        println!("{}", outcome.await?);
    }
    Ok(())
}
