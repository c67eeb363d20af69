//! One round: a system of its own, a cold scan, one pushed commit, no news.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use secretscan_benches::process::Usage;
use secretscan_benches::requests::{ask, completed};
use secretscan_benches::system::System;
use secretscan_bus::Bus;
use secretscan_bus::access::Identity;
use secretscan_bus::v1;
use secretscan_model::{BatchState, CommitBatch, RepositoryScan};
use secretscan_tests::collector::{Collector, Span};

use crate::{SERVICES, git};

/// The last spans arrive so long after the work.
const SPANS_ARRIVE: Duration = Duration::from_secs(2);

/// So often it is looked whether the agents are there.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What was measured.
pub struct Round {
    /// From the request until all is scanned.
    pub cold: Duration,
    /// After one commit was pushed, each time; after the first scan, all branches are looked at for its findings.
    pushed: Vec<Again>,
    /// When nothing has changed.
    no_news: Again,
    /// What each process has used, after the cold scan.
    usages: Vec<(String, Usage)>,
    /// Contents scanned in the cold scan, in bytes.
    bytes: u64,
    /// Of the cold scan.
    pub spans: Vec<Span>,
}

/// A later request for the same repository.
struct Again {
    /// From the request until its end.
    time: Duration,
    /// The fetch in it.
    fetch: Duration,
    /// What took the longest, in order of time.
    spans: Vec<Span>,
}

/// So many commits are pushed, one after the other.
const PUSHES: usize = 5;
/// Shorter spans are not shown.
const SHOWN: Duration = Duration::from_millis(3);

impl Again {
    fn new(time: Duration, all: &[Span], seen: usize) -> Self {
        let mut spans: Vec<Span> = all[seen..].to_vec();
        spans.sort_by_key(|span| span.times.0);
        let fetch = spans.iter().find(|span| span.name == "fetch").map(length).unwrap_or_default();
        Self { time, fetch, spans }
    }

    fn rest(&self) -> Duration {
        self.time.saturating_sub(self.fetch)
    }

    fn show(&self, what: &str) {
        let rest = self.rest();
        println!(
            "\n{what}: {} ms, of which the fetch {} ms, the rest {} ms",
            ms(self.time),
            ms(self.fetch),
            ms(rest)
        );
        let first = self.spans.first().map_or(0, |span| span.times.0);
        println!("\n| {what} | begins | takes |\n| --- | --- | --- |");
        for span in self.spans.iter().filter(|span| length(span) >= SHOWN) {
            let (service, begins) =
                (span.service.trim_start_matches("secretscan-"), (span.times.0 - first) / 1_000_000);
            println!("| {service}: {} | {begins} ms | {} ms |", span.name, ms(length(span)));
        }
    }
}

impl Round {
    /// Starts everything, measures, and stops everything.
    pub async fn run(
        binaries: &Path,
        uri: &str,
        repository: &Path,
        batch_agents: usize,
    ) -> anyhow::Result<Self> {
        let collector = Collector::start().await?;
        let mut system = System::start_server().await?;
        let key = system.write("key", "a key of thirty-two bytes or more")?;
        let path = |name: &str| system.dir().join(name).to_string_lossy().into_owned();
        let (mirrors, endpoint) = (path("mirrors"), collector.endpoint());
        for identity in SERVICES {
            let mut variables = vec![
                ("SECRETSCAN_SERVICE__OTLP_ENDPOINT", endpoint.clone()),
                // Milliseconds between two exports.
                ("OTEL_BSP_SCHEDULE_DELAY", "500".to_owned()),
            ];
            match identity {
                Identity::Controller => variables.extend([
                    ("SECRETSCAN_POLICY__ALLOW_HTTP", "true".to_owned()),
                    ("SECRETSCAN_POLICY__ALLOW_PRIVATE_HOSTS", "true".to_owned()),
                ]),
                Identity::RepoAgent => variables.push(("SECRETSCAN_MIRRORS__DIR", mirrors.clone())),
                Identity::BatchAgent => {
                    variables.push(("SECRETSCAN_SCAN__KEY_FILE", key.to_string_lossy().into_owned()));
                }
                _ => {}
            }
            let processes = if identity == Identity::BatchAgent { batch_agents } else { 1 };
            for _ in 0..processes {
                system.start_service(binaries, identity, &variables)?;
            }
        }
        let bus = system.connect(Identity::Cli).await?;
        while bus.agents().await?.len() < batch_agents + 1 {
            rest(LOOK_AGAIN).await;
        }

        let (cold, scan) = request(&bus, uri).await?;
        let usages = system.usages()?;
        let batches = bus.batches_of(&scan.id).await?;
        let bytes = batches.iter().map(scanned).sum();
        let spans = spans_of(&collector).await;

        let mut seen = spans.len();
        let mut pushed = Vec::new();
        for number in 0..PUSHES {
            push(repository, number)?;
            pushed.push(again(&bus, uri, &collector, &mut seen).await?);
        }
        let no_news = again(&bus, uri, &collector, &mut seen).await?;
        system.stop().await?;
        Ok(Self { cold, pushed, no_news, usages, bytes, spans })
    }

    /// Prints it.
    pub fn show(&self, commits: u64) {
        let (seconds, bytes) = (self.cold.as_secs_f64(), self.bytes as f64 / 1e6);
        println!(
            "\ncold scan: {seconds:.2} s, {:.0} commits/s, {:.0} MB/s",
            commits as f64 / seconds,
            bytes / seconds
        );
        println!("\n| process | CPU | memory at the peak |\n| --- | --- | --- |");
        for (name, usage) in &self.usages {
            println!("| {name} | {:.2} s | {:.0} MB |", usage.cpu.as_secs_f64(), usage.peak as f64 / 1e6);
        }
        println!("\n| where the time goes | spans | in all |\n| --- | --- | --- |");
        let mut names: BTreeMap<(&str, &str), (usize, Duration)> = BTreeMap::new();
        for span in &self.spans {
            let all = names.entry((&span.service, &span.name)).or_default();
            *all = (all.0 + 1, all.1 + length(span));
        }
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_by_key(|(_, (_, length))| std::cmp::Reverse(*length));
        for ((service, name), (count, length)) in names.into_iter().take(16) {
            println!(
                "| {}: {name} | {count} | {:.2} s |",
                service.trim_start_matches("secretscan-"),
                length.as_secs_f64()
            );
        }
        let rests: Vec<String> = self.pushed.iter().map(|again| ms(again.rest()).to_string()).collect();
        println!("\n{PUSHES} pushes of one commit, without the fetch: {} ms", rests.join(", "));
        if let Some(last) = self.pushed.last() {
            last.show("the last pushed commit");
        }
        self.no_news.show("no news");
    }
}

fn scanned(batch: &CommitBatch) -> u64 {
    match &batch.state {
        BatchState::Completed { report } => report.bytes,
        _ => 0,
    }
}

fn ms(time: Duration) -> u128 {
    time.as_millis()
}

fn length(span: &Span) -> Duration {
    Duration::from_nanos(span.times.1.saturating_sub(span.times.0))
}

#[expect(clippy::disallowed_methods, reason = "nothing says that all agents, or all spans, are there")]
async fn rest(time: Duration) {
    tokio::time::sleep(time).await;
}

async fn spans_of(collector: &Collector) -> Vec<Span> {
    rest(SPANS_ARRIVE).await;
    collector.spans()
}

/// Asks for a scan, and waits until it is completed.
async fn request(bus: &Bus, uri: &str) -> anyhow::Result<(Duration, RepositoryScan)> {
    let started = Instant::now();
    let id = ask(bus, uri, v1::Priority::OnDemand).await?;
    let scan = completed(bus, &id).await?;
    Ok((started.elapsed(), scan))
}

async fn again(bus: &Bus, uri: &str, collector: &Collector, seen: &mut usize) -> anyhow::Result<Again> {
    let (time, _) = request(bus, uri).await?;
    let spans = spans_of(collector).await;
    let again = Again::new(time, &spans, *seen);
    *seen = spans.len();
    Ok(again)
}

/// A commit that adds a file, on the branch of HEAD.
fn push(repository: &Path, number: usize) -> anyhow::Result<()> {
    let file = repository.join("pushed");
    std::fs::write(&file, format!("nothing to see in {number}\n"))?;
    let blob = git(repository, &["hash-object", "-w", "pushed"])?;
    std::fs::remove_file(&file)?;
    git(repository, &["read-tree", "HEAD"])?;
    git(
        repository,
        &["update-index", "--add", "--cacheinfo", &format!("100644,{blob},pushed-{number}.txt")],
    )?;
    let tree = git(repository, &["write-tree"])?;
    let commit = git(repository, &["commit-tree", &tree, "-p", "HEAD", "-m", "pushed"])?;
    git(repository, &["update-ref", "HEAD", &commit]).map(drop)
}
