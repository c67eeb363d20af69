//! A history of a million commits through all services, which are killed half-way: what memory each needs, and whether the scan
//! goes on where it was.
//!
//! ```text
//! cargo run --release -p secretscan-benches --bin huge -- [--commits 1000000] [--repository PATH]
//! ```
//!
//! nats-server and the services are processes of their own, with the permissions that `secretscan up` gives them and their default
//! configuration. When half of the commits are scanned, all services are killed and started again. In the end every commit must
//! be in the ledger as scanned once.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod repository;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use secretscan_benches::requests::ask;
use secretscan_benches::system::System;
use secretscan_benches::{exit_code, succeed, system};
use secretscan_bus::access::Identity;
use secretscan_bus::{Bus, v1};
use secretscan_model::ledger::CommitState;
use secretscan_model::{RepositoryScan, RequestId, ScanState};

const SERVICES: [Identity; 4] =
    [Identity::Controller, Identity::Scheduler, Identity::RepoAgent, Identity::BatchAgent];
/// What each may take, in MB.
const GOALS: [(Identity, u64); 4] = [
    (Identity::RepoAgent, 400),
    (Identity::BatchAgent, 250),
    (Identity::Controller, 60),
    (Identity::Scheduler, 60),
];
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Measures the memory of all services during the scan of a huge history, and kills them half-way
#[derive(Parser)]
struct Arguments {
    /// Commits of the repository that is made
    #[arg(long, default_value_t = 1_000_000)]
    commits: usize,

    /// A repository to scan instead; made there if it does not exist
    #[arg(long, value_name = "PATH")]
    repository: Option<PathBuf>,

    /// Where the services are, instead of building them now
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code("huge", &run(&Arguments::parse()).await)
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let binaries = match &arguments.binaries {
        Some(binaries) => binaries.clone(),
        None => system::build(&SERVICES)?,
    };
    let dir = tempfile::tempdir()?;
    let path = arguments.repository.clone().unwrap_or_else(|| dir.path().join("huge.git"));
    if !path.exists() {
        eprintln!("making a repository of {} commits", arguments.commits);
        let planted = repository::make(&path, arguments.commits)?;
        eprintln!("{planted} passwords are hidden in it");
    }
    let commits: u64 = git(&path, &["rev-list", "--all", "--count"])?.parse()?;
    println!(
        "{commits} commits, {}; {}",
        git(&path, &["count-objects", "-vH"])?.replace('\n', ", "),
        system::describe()?
    );

    let mut system = System::start_server().await?;
    start(&mut system, &binaries)?;
    let bus = system.connect(Identity::Cli).await?;
    // Who asks before the controller listens gets no answer; it is up before the agents are.
    while bus.agents().await?.len() < 2 {
        rest().await;
    }
    let started = Instant::now();
    let id = ask(&bus, &path.to_string_lossy(), v1::Priority::OnDemand).await?;

    let mut peaks = Peaks::default();
    let half = watch(&bus, &id, &system, &mut peaks, |scan| scan.totals().commits * 2 >= commits).await?;
    ensure!(!half.state.is_terminal(), "it ended before it could be killed: {:?}", half.state);
    let ended = half.totals().ended;
    println!(
        "\nkilled after {:.0} s, with {} of {} batches ended",
        started.elapsed().as_secs_f64(),
        ended,
        half.batches.len()
    );
    system.kill_services().await?;
    start(&mut system, &binaries)?;
    let scan = watch(&bus, &id, &system, &mut peaks, |scan| scan.state.is_terminal()).await?;
    let time = started.elapsed().as_secs_f64();
    ensure!(scan.state == ScanState::Completed, "the scan is {:?}: {:?}", scan.state, scan.trail.last());

    let repository = scan.repository.clone().context("the scan has a repository")?;
    let head = bus.ledger(&repository).head().await?;
    let (scanned, waiting) = (head.count(CommitState::Scanned), head.count(CommitState::WaitingForScan));
    ensure!((scanned, waiting) == (commits, 0), "{scanned} commits are scanned, {waiting} wait");
    let totals = scan.totals();
    let again = bus.batches_of(&id).await?.iter().filter(|batch| batch.attempts > 1).count();
    println!(
        "completed after {time:.0} s: {:.0} commits/s, {:.1} GB of contents, {} batches of which {again} were begun twice, {} findings",
        commits as f64 / time,
        totals.bytes as f64 / 1e9,
        totals.batches,
        totals.findings,
    );
    println!("every commit is in the ledger as scanned, once\n");
    println!("| process | memory at the peak | goal |\n| --- | ---: | ---: |");
    for (name, peak) in &peaks.0 {
        let goal = GOALS.iter().find(|(identity, _)| identity.name() == name);
        let goal = goal.map_or_else(|| "-".to_owned(), |(_, goal)| format!("{goal} MB"));
        println!("| {name} | {:.0} MB | {goal} |", *peak as f64 / 1e6);
    }
    system.stop().await
}

/// The most memory that any process of a name had.
#[derive(Default)]
struct Peaks(BTreeMap<String, u64>);

fn start(system: &mut System, binaries: &Path) -> anyhow::Result<()> {
    let key = system.write("key", "a key of thirty-two bytes or more")?;
    let mirrors = system.dir().join("mirrors").to_string_lossy().into_owned();
    for identity in SERVICES {
        let variables = match identity {
            Identity::Controller => vec![("SECRETSCAN_POLICY__ALLOW_LOCAL", "true".to_owned())],
            Identity::RepoAgent => vec![
                ("SECRETSCAN_FETCH__ALLOW_LOCAL", "true".to_owned()),
                ("SECRETSCAN_MIRRORS__DIR", mirrors.clone()),
            ],
            Identity::BatchAgent => vec![("SECRETSCAN_SCAN__KEY_FILE", key.to_string_lossy().into_owned())],
            _ => vec![],
        };
        system.start_service(binaries, identity, &variables)?;
    }
    Ok(())
}

/// Looks at memory and progress until the scan is as it should be.
async fn watch(
    bus: &Bus,
    id: &RequestId,
    system: &System,
    peaks: &mut Peaks,
    is_so: impl Fn(&RepositoryScan) -> bool,
) -> anyhow::Result<RepositoryScan> {
    let mut told = Instant::now();
    loop {
        for (name, usage) in system.usages()? {
            if name != "this program" {
                let peak = peaks.0.entry(name).or_default();
                *peak = usage.peak.max(*peak);
            }
        }
        let scan = bus.scan(id).await?.context("the request is gone")?;
        if is_so(&scan) || scan.state.is_terminal() {
            return Ok(scan);
        }
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            let totals = scan.totals();
            eprintln!(
                "  {}: {} of {} batches, {} commits",
                scan.state.name(),
                totals.ended,
                totals.batches,
                totals.commits
            );
        }
        rest().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing tells of memory, nor of all that start")]
async fn rest() {
    tokio::time::sleep(LOOK_AGAIN).await;
}

fn git(repository: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    Ok(succeed(Command::new("git").arg("-C").arg(repository).args(arguments))?.trim().to_owned())
}
