//! One round: a system of its own, a cold scan, one pushed commit, no news.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use secretscan_benches::process::Usage;
use secretscan_benches::system::System;
use secretscan_bus::Bus;
use secretscan_bus::access::Identity;
use secretscan_bus::v1;
use secretscan_model::{BatchState, CommitBatch, RepositoryScan, RequestId, ScanState};
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
    /// The same after one commit was pushed, and the fetch of that.
    pushed: (Duration, Duration),
    /// The same when nothing has changed.
    no_news: (Duration, Duration),
    /// What each process has used, after the cold scan.
    usages: Vec<(String, Usage)>,
    /// Contents scanned in the cold scan, in bytes.
    bytes: u64,
    /// Of the cold scan.
    pub spans: Vec<Span>,
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

        push(repository)?;
        let (pushed, _) = request(&bus, uri).await?;
        let pushed = (pushed, fetch(&spans_of(&collector).await));
        let (no_news, _) = request(&bus, uri).await?;
        let no_news = (no_news, fetch(&spans_of(&collector).await));
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
        for (what, (all, fetch)) in [("one pushed commit", self.pushed), ("no news", self.no_news)] {
            let rest = all.saturating_sub(fetch);
            println!("{what}: {} ms, of which the fetch {} ms, the rest {} ms", ms(all), ms(fetch), ms(rest));
        }
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

/// How long the last fetch took.
fn fetch(spans: &[Span]) -> Duration {
    let last = spans.iter().filter(|span| span.name == "fetch").max_by_key(|span| span.times.0);
    last.map(length).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "nothing says that all agents, or all spans, are there")]
async fn rest(time: Duration) {
    tokio::time::sleep(time).await;
}

async fn spans_of(collector: &Collector) -> Vec<Span> {
    rest(SPANS_ARRIVE).await;
    collector.spans()
}

/// Asks for a scan, and waits until it has ended.
async fn request(bus: &Bus, uri: &str) -> anyhow::Result<(Duration, RepositoryScan)> {
    let started = Instant::now();
    let new = v1::NewRepositoryScan { uri: uri.to_owned(), ..v1::NewRepositoryScan::default() };
    let answer = bus.request_scan(&new).await?;
    ensure!(answer.error.is_empty(), "the request is refused: {}", answer.error);
    let id = RequestId::parse(&answer.request_id)?;
    let mut ended = None;
    bus.follow_scan(&id, |scan| match scan {
        Some(scan) if scan.state.is_terminal() => {
            ended = Some((started.elapsed(), scan));
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })
    .await?;
    let (time, scan) = ended.context("the request has no end")?;
    ensure!(scan.state == ScanState::Completed, "the scan is {:?}: {:?}", scan.state, scan.trail.last());
    Ok((time, scan))
}

/// A commit that adds a file, on the branch of HEAD.
fn push(repository: &Path) -> anyhow::Result<()> {
    let file = repository.join("pushed");
    std::fs::write(&file, "nothing to see\n")?;
    let blob = git(repository, &["hash-object", "-w", "pushed"])?;
    std::fs::remove_file(&file)?;
    git(repository, &["read-tree", "HEAD"])?;
    git(repository, &["update-index", "--add", "--cacheinfo", &format!("100644,{blob},pushed.txt")])?;
    let tree = git(repository, &["write-tree"])?;
    let commit = git(repository, &["commit-tree", &tree, "-p", "HEAD", "-m", "pushed"])?;
    git(repository, &["update-ref", "HEAD", &commit]).map(drop)
}
