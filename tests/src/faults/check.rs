//! What must hold once the faults are over.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_nats::jetstream::Context;
use futures::TryStreamExt;
use secretscan_bus::Bus;
use secretscan_bus::topology::{self, Queue};
use secretscan_detect::{HashKey, RuleSet};
use secretscan_model::ledger::CommitState;
use secretscan_model::{CommitId, RepositoryId, RepositoryScan, RequestId, ScanState};

use super::Target;
use super::fleet::wait;
use super::pushes::Host;
use crate::standing::{standing, where_all_stands};
use crate::{expected_by, keys};

/// What was compared, and was equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checked {
    /// Requests that were Completed.
    pub requests: usize,
    /// Batches that had ended.
    pub batches: usize,
    /// Commits that were in the ledger exactly once.
    pub commits: usize,
    /// Findings that were equal to the oracle's.
    pub findings: usize,
    /// Statuses that the host of pushes was told, each once.
    pub statuses: usize,
}

/// Waits until there is no complaint, or says the last one.
async fn until<T>(patience: Duration, mut look: impl AsyncFnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let started = Instant::now();
    loop {
        match look().await {
            Ok(value) => return Ok(value),
            Err(complaint) if started.elapsed() > patience => {
                return Err(complaint.context(format!("not within {patience:?}")));
            }
            Err(_) => wait(Duration::from_millis(200)).await,
        }
    }
}

/// Waits until every request has ended, and says of the first that has not where it stands.
pub(super) async fn ended(
    bus: &Bus,
    targets: impl Iterator<Item = &Target>,
    patience: Duration,
) -> anyhow::Result<()> {
    for id in targets.flat_map(|target| &target.requests) {
        let ended = until(patience, async || {
            let scan = bus.scan(id).await?.context("there is no record")?;
            ensure!(scan.state.is_terminal(), "{}", standing(&scan));
            Ok(scan)
        });
        let scan = match ended.await {
            Ok(scan) => scan,
            Err(error) => {
                return Err(
                    error.context(format!("request {id} has not ended; {}", where_all_stands(bus).await))
                );
            }
        };
        ensure!(scan.state == ScanState::Completed, "request {id} is not Completed: {}", standing(&scan));
    }
    Ok(())
}

/// Waits until every push has joined a request, that has ended, and the host shows it.
pub(super) async fn pushed(
    bus: &Bus,
    host: &Host,
    target: &Target,
    patience: Duration,
) -> anyhow::Result<()> {
    until(patience, async || host.is_scanned(bus, target).await).await
}

/// Waits until a request has failed.
pub(super) async fn failed(bus: &Bus, id: &RequestId, patience: Duration) -> anyhow::Result<RepositoryScan> {
    until(patience, async || {
        let scan = bus.scan(id).await?.context("there is no record")?;
        ensure!(matches!(scan.state, ScanState::Failed { .. }), "{}", standing(&scan));
        Ok(scan)
    })
    .await
}

/// Waits until no queue holds a message, and what lost agents left of packs is gone.
pub(super) async fn drained(bus: &Bus, jetstream: &Context, patience: Duration) -> anyhow::Result<()> {
    until(patience, async || {
        let packs = jetstream.get_stream(format!("OBJ_{}", topology::PACKS)).await?;
        let left: Vec<_> = packs.info_with_subjects(">").await?.try_collect().await?;
        ensure!(left.is_empty(), "pieces and entries of packs are left: {left:?}");
        let timers = jetstream.get_stream(topology::SCHEDULES_STREAM).await?;
        let left = timers.cached_info().state.messages;
        ensure!(left == 0, "{left} timers of schedules are left");
        Ok(())
    })
    .await?;
    for queue in Queue::all().into_iter().filter(|queue| queue.is_work()) {
        until(patience, async || {
            let count = bus.unfinished(queue).await?;
            ensure!(count == 0, "{count} messages are left in {}", queue.consumer());
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Requests, ledgers and findings, all services stopped.
pub(super) async fn everything(
    bus: &Bus,
    targets: &[(&Target, &RepositoryId)],
    (rules, key): (&Arc<RuleSet>, &HashKey),
) -> anyhow::Result<Checked> {
    let mut checked = Checked::default();
    for (target, repository) in targets {
        let path: &Path = &target.generated.repository.path();
        let context = || format!("repository {} ({repository})", path.display());
        for id in &target.requests {
            checked.requests += 1;
            checked.batches += batches_have_ended(bus, id).await.with_context(context)?;
        }
        checked.commits += ledger_is_exact(bus, path, repository).await.with_context(context)?;
        let found = bus.findings(Some(repository)).await?;
        let found = keys(found.into_iter().map(|(_, finding)| finding).collect::<Vec<_>>().as_slice());
        let (path, key, rules) = (path.to_owned(), key.clone(), rules.clone());
        let expected = tokio::task::spawn_blocking(move || expected_by(&rules, &key, &path)).await?;
        let lost: Vec<_> = expected.difference(&found).collect();
        let invented: Vec<_> = found.difference(&expected).collect();
        ensure!(
            lost.is_empty() && invented.is_empty(),
            "{}: findings lost: {lost:?}; not in the oracle: {invented:?}",
            context()
        );
        checked.findings += found.len();
    }
    Ok(checked)
}

async fn batches_have_ended(bus: &Bus, id: &secretscan_model::RequestId) -> anyhow::Result<usize> {
    let scan = bus.scan(id).await?.context("there is no record")?;
    let batches = bus.batches_of(id).await?;
    ensure!(
        batches.len() == scan.batches.len(),
        "request {id} tells of {} batches, {} have a record",
        scan.batches.len(),
        batches.len()
    );
    for batch in &batches {
        ensure!(Bus::has_ended(batch), "batch {} has not ended: {:?}", batch.key, batch.state);
    }
    Ok(batches.len())
}

/// Each commit of the repository is in exactly one segment, and scanned.
async fn ledger_is_exact(bus: &Bus, path: &Path, repository: &RepositoryId) -> anyhow::Result<usize> {
    let ledger = bus.ledger(repository);
    let head = ledger.head().await?;
    let mut listed: Vec<CommitId> = Vec::new();
    for segment in &head.segments {
        ensure!(segment.state == CommitState::Scanned, "{} waits for its scan", segment.batch);
        ensure!(!segment.is_rescanned, "{} waits to be scanned again", segment.batch);
        ensure!(segment.rule_set != "r0-unknown", "{} was not scanned again", segment.batch);
        let commits = ledger.commits_of(&segment.batch).await?;
        let commits = commits.with_context(|| format!("the segment of {} is gone", segment.batch))?;
        ensure!(commits.len() as u64 == segment.commits, "the segment of {} is another", segment.batch);
        listed.extend(commits);
    }
    let count = listed.len();
    let listed: BTreeSet<CommitId> = listed.into_iter().collect();
    ensure!(listed.len() == count, "{} commits are in the ledger twice", count - listed.len());
    let refs = secretscan_git::Refs::All;
    let path = path.to_owned();
    let commits = tokio::task::spawn_blocking(move || {
        secretscan_git::list(&path, &refs, &secretscan_git::ChildLimits::NONE)
    })
    .await?
    .context("listing")?;
    let commits: BTreeSet<CommitId> = commits.into_iter().map(|commit| commit.id).collect();
    ensure!(
        listed == commits,
        "{} commits are not in the ledger, {} in it are not in the repository",
        commits.difference(&listed).count(),
        listed.difference(&commits).count()
    );
    Ok(count)
}

/// What no push announced was told of once.
pub(super) async fn alerts(jetstream: &Context) -> anyhow::Result<()> {
    let events = jetstream.get_stream(topology::EVENTS).await?;
    let subjects = events.info_with_subjects("secretscan.event.alert.>").await?;
    let told: Vec<(String, usize)> = subjects.try_collect().await?;
    ensure!(told.iter().map(|(_, count)| count).sum::<usize>() == 1, "alerts: {told:?}");
    Ok(())
}

/// No record without an end, no message of a work queue, no consumer that dies with its reader, no pack, no agent; and no
/// more dead letters than messages that were to be refused.
pub(super) async fn nothing_is_left(
    bus: &Bus,
    jetstream: &Context,
    refused: u64,
    patience: Duration,
) -> anyhow::Result<()> {
    for scan in bus.scans().await? {
        ensure!(scan.state.is_terminal(), "request {} has not ended: {}", scan.id, standing(&scan));
        for batch in bus.batches_of(&scan.id).await? {
            ensure!(Bus::has_ended(&batch), "batch {} has not ended: {:?}", batch.key, batch.state);
        }
    }
    until(patience, async || streams_are_empty(jetstream, refused).await).await
}

async fn streams_are_empty(jetstream: &Context, refused: u64) -> anyhow::Result<()> {
    let durable: BTreeSet<String> = Queue::all().into_iter().map(Queue::consumer).collect();
    let mut streams = jetstream.streams();
    while let Some(info) = streams.try_next().await? {
        let name = info.config.name.clone();
        let stream = jetstream.get_stream(&name).await?;
        let mut consumers = stream.consumer_names();
        while let Some(consumer) = consumers.try_next().await? {
            ensure!(durable.contains(&consumer), "the consumer {consumer} of {name} is left");
        }
        let messages = info.state.messages;
        match name.as_str() {
            topology::REPOSITORY_SCAN_DOOR
            | topology::SCHEDULE_DOOR
            | topology::SCHEDULES_STREAM
            | topology::REPOSITORY_SCANS
            | topology::COMMIT_BATCHES
            | topology::PUSHES => {
                ensure!(messages == 0, "{messages} messages are left in {name}");
            }
            topology::DEAD_LETTERS => {
                ensure!(messages <= refused, "there are {messages} dead letters, {refused} may be");
            }
            "OBJ_packs" => ensure!(messages == 0, "{messages} pieces and entries of packs are left"),
            "KV_agents" => {
                let agents = jetstream.get_key_value(topology::AGENTS).await?;
                let left: Vec<String> = agents.keys().await?.try_collect().await?;
                ensure!(left.is_empty(), "agents are left: {left:?}");
            }
            _ => {}
        }
    }
    Ok(())
}

/// No process panicked.
pub(super) fn logs(dir: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let log = std::fs::read_to_string(&path)?;
        if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
            anyhow::bail!("{}: {line}", path.display());
        }
    }
    Ok(())
}
