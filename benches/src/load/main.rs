//! The services under load: requests per second, a long queue, a large ledger, pushes; and what each takes of time and
//! memory.
//!
//! ```text
//! cargo run --release -p secretscan-benches --bin load -- [--quick] [--part PART]...
//! ```
//!
//! Every part starts a nats-server of its own, with its store on disk and the users and permissions that `secretscan up`
//! gives it, and one controller and one scheduler as processes of their own. Nothing is tuned: the server syncs its files
//! as often as it does by default (every two minutes, and when it stops).
//!
//! What the figures are, and are not:
//! - Requests are published as `nats pub` does, by this program, which keeps a few hundred of them at the door.
//! - The agents are stand-ins, in this program: they announce themselves, pull, claim, list and settle by the same calls as
//!   repo-agents, but fetch nothing and find no commit, so each request is complete when it is listed.
//! - Everything shares this machine's cores: this program, nats-server, the services. What this program takes is shown too.
//! - The times are those in the trails of the requests, which a service takes just before it writes the record.
//! - Pushes are delivered by this program over the loopback, each signed and of 7 KB, to a webhook that is alone with
//!   nats-server: a push is done when it is stored. Latencies count from when a delivery was due.
//! - The history of the first ledger is one of empty commits, which git lists as a repo-agent has it listed, in a process of
//!   its own whose memory is measured; that of git, its child, is not in it.
//! - A ledger is filled by the calls with which the controller admits a batch and marks it scanned, one after the other.
//! - "stored" is what the server counts; "on disk" is the size of its files, in which old versions of a record stay until
//!   the server compacts them.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod alone;
mod delivery;
mod ledger;
mod progress;
mod queue;
mod requests;
mod stand_in;
mod table;
mod throughput;
mod webhook;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use secretscan_benches::{exit_code, system};
use secretscan_bus::access::Identity;

/// The services under load.
const SERVICES: [Identity; 3] = [Identity::Controller, Identity::Scheduler, Identity::Webhook];

/// Puts the services under load: requests per second, a long queue, a large ledger, pushes
#[derive(Parser)]
pub struct Arguments {
    /// What to measure; may be given several times [default: all]
    #[arg(long = "part", value_name = "PART")]
    parts: Vec<Part>,

    /// A twentieth of everything
    #[arg(long)]
    quick: bool,

    /// Requests of the throughput [default: 20000]
    #[arg(long)]
    requests: Option<usize>,

    /// Repositories that requests are for [default: 10000]
    #[arg(long)]
    repositories: Option<usize>,

    /// Requests that wait in the queue at once [default: 100000]
    #[arg(long)]
    queued: Option<usize>,

    /// Requests per second that are offered to measure latencies
    #[arg(long, default_value_t = 1_000)]
    rate: usize,

    /// Deliveries of each measurement of the webhook [default: 40000]
    #[arg(long)]
    deliveries: Option<usize>,

    /// Commits in the ledger of one repository [default: 1000000]
    #[arg(long)]
    commits: Option<usize>,

    /// Repositories with a ledger of that size [default: 20]
    #[arg(long)]
    ledgers: Option<usize>,

    /// Commits in a batch
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,

    /// Where the services are, instead of building them now
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,

    /// Compares a listing with the ledger that the server has, and prints what that takes; the program starts itself so
    #[arg(long, hide = true, value_name = "URL", requires = "keys", requires = "repository")]
    difference: Option<String>,

    /// The folder of the keys of the identities
    #[arg(long, hide = true, value_name = "DIR")]
    keys: Option<PathBuf>,

    /// The repository whose history is compared
    #[arg(long, hide = true, value_name = "DIR")]
    repository: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What nats-server does alone
    Server,
    /// Requests per second, and how long each state takes
    Throughput,
    /// Many requests that wait
    Queue,
    /// Many commits
    Ledger,
    /// Pushes that Git hosts tell of
    Webhook,
}

impl Arguments {
    fn size(&self, given: Option<usize>, full: usize) -> usize {
        given.unwrap_or(if self.quick { full / 20 } else { full }).max(1)
    }

    fn requests(&self) -> usize {
        self.size(self.requests, 20_000)
    }

    fn repositories(&self) -> usize {
        self.size(self.repositories, 10_000)
    }

    fn queued(&self) -> usize {
        self.size(self.queued, 100_000)
    }

    fn deliveries(&self) -> usize {
        self.size(self.deliveries, 40_000)
    }

    fn commits(&self) -> usize {
        self.size(self.commits, 1_000_000)
    }

    fn ledgers(&self) -> usize {
        self.ledgers.unwrap_or(20).max(1)
    }
}

fn main() -> ExitCode {
    exit_code("load", &start(&Arguments::parse()))
}

fn start(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(arguments))
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let (Some(url), Some(keys), Some(repository)) =
        (&arguments.difference, &arguments.keys, &arguments.repository)
    {
        println!("{}", ledger::difference(url, keys, repository).await?);
        return Ok(());
    }
    let binaries = match &arguments.binaries {
        Some(dir) => dir.clone(),
        None => system::build(&SERVICES)?,
    };
    let parts = if arguments.parts.is_empty() { Part::value_variants() } else { &arguments.parts };
    println!("{}\n", system::describe()?);
    for part in parts {
        let table = match part {
            Part::Server => alone::measure(arguments).await?,
            Part::Throughput => throughput::measure(arguments, &binaries).await?,
            Part::Queue => queue::measure(arguments, &binaries).await?,
            Part::Ledger => ledger::measure(arguments, &binaries).await?,
            Part::Webhook => webhook::measure(arguments, &binaries).await?,
        };
        println!("{table}");
    }
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

    #[test]
    fn quick_is_smaller_and_what_is_given_wins() {
        let quick = Arguments::parse_from(["load", "--quick", "--queued", "7"]);
        assert_eq!((quick.requests(), quick.queued()), (1_000, 7));
        assert_eq!(Arguments::parse_from(["load"]).commits(), 1_000_000);
    }
}
