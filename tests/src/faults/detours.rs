//! Requests that do not simply complete: refused, failed, given back, cancelled. Nothing of them may be left but their
//! records and dead letters. And commits that are scanned again.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures::StreamExt;
use rustix::process::Signal;
use secretscan_bus::door::AskError;
use secretscan_bus::ledger::LedgerCache;
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, BusError};
use secretscan_model::{
    BatchKey, CommitId, RepositoryId, RepositoryScan, RepositoryUri, RequestId, ScanState, UriPolicy,
};
use secretscan_proto::v1;

use super::Target;
use super::fleet::{Fleet, wait};

/// Nobody listens there.
const UNREACHABLE: &str = "http://127.0.0.1:1/nobody/repository";
/// It is no repository.
const MISSING: &str = "/nowhere/repository";
/// A repository is cancelled so often at most: each time some of it may have been scanned.
const MAX_CANCELLED: u32 = 8;
/// Scanned again so often at most, until a process has crashed at each of these points.
const MAX_RESCANS: u32 = 6;
const POINTS_OF_RESCANS: [&str; 4] =
    ["ledger.forgotten", "scan.ChooseRules.written", "ledger.admitted-again", "ledger.moved"];
/// How long to wait for batches before the agents are looked at.
const LOOK_AFTER: Duration = Duration::from_millis(500);
/// How often a record is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Asks until there is an answer; counts the messages that were sent.
pub(super) async fn answered(
    sent: &mut u64,
    mut ask: impl AsyncFnMut() -> Result<v1::Answer, AskError>,
) -> anyhow::Result<v1::Answer> {
    loop {
        *sent += 1;
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(AskError::NoAnswer { .. }) => {}
            // No server for a moment.
            Err(AskError::Send { .. }) => wait(Duration::from_millis(200)).await,
        }
    }
}

/// What is asked beside the requests that complete.
pub(super) struct Detour<'a> {
    pub(super) bus: &'a Bus,
    /// The ids of its requests begin with it.
    pub(super) name: String,
    /// At most so many messages end as dead letters.
    pub(super) refused: u64,
}

impl Detour<'_> {
    fn id(&self, name: &str) -> anyhow::Result<RequestId> {
        RequestId::parse(&format!("{}-{name}", self.name)).context("an id")
    }

    async fn ask(&mut self, id: &RequestId, uri: &str) -> anyhow::Result<v1::Answer> {
        let request = v1::NewRepositoryScan {
            request_id: id.to_string(),
            uri: uri.to_owned(),
            ..v1::NewRepositoryScan::default()
        };
        let mut sent = 0;
        let answer = answered(&mut sent, async || self.bus.request_scan(&request).await).await?;
        self.refused += if answer.error.is_empty() { 0 } else { sent };
        Ok(answer)
    }

    /// Cancels, and waits until it has ended.
    async fn cancel(&mut self, id: &RequestId) -> anyhow::Result<ScanState> {
        let cancel = v1::CancelRepositoryScan { request_id: id.to_string(), requester: "detour".into() };
        // A second message may be refused, as the first did it.
        answered(&mut self.refused, async || self.bus.cancel_scan(&cancel).await).await?;
        Ok(self.when(id, |scan| scan.state.is_terminal()).await?.state)
    }

    pub(super) async fn when(
        &self,
        id: &RequestId,
        is_wanted: impl Fn(&RepositoryScan) -> bool,
    ) -> anyhow::Result<RepositoryScan> {
        loop {
            // No server for a moment: asked again.
            if let Ok(Some(scan)) = self.bus.scan(id).await
                && is_wanted(&scan)
            {
                return Ok(scan);
            }
            wait(LOOK).await;
        }
    }

    /// Has commits of a repository forgotten, all that are scanned when none are named, and waits until that is settled:
    /// one that is redelivered later would forget what is scanned by then.
    async fn forget(&self, repository: &str, commits: Vec<String>) {
        let forget = v1::ForgetCommits {
            repository_id: repository.to_owned(),
            all: commits.is_empty(),
            commits,
            ..v1::ForgetCommits::default()
        };
        // What is in flight can't be forgotten, and what was is gone: both are answered with an error.
        let _ = answered(&mut 0, async || self.bus.forget_commits(&forget).await).await;
        let is_settled = async || Ok(self.bus.unfinished(Queue::Forgets).await? == 0);
        while !patiently(is_settled).await {
            wait(LOOK).await;
        }
    }

    async fn refusal(&mut self, name: &str) -> anyhow::Result<()> {
        let refused = self.id(name)?;
        let answer = self.ask(&refused, "ftp://127.0.0.1/repository").await?;
        ensure!(!answer.error.is_empty(), "it was accepted");
        Ok(())
    }

    /// Refusals until a process has crashed at each point of one: only its first delivery comes to them.
    pub(super) async fn refusals(&mut self, fleet: &Fleet) -> anyhow::Result<()> {
        for number in 0.. {
            if !fleet.fail_points_left().iter().any(|point| point.starts_with("scan.Refuse")) {
                break;
            }
            self.refusal(&format!("refused-{number}")).await?;
        }
        Ok(())
    }

    /// One that is refused, one that fails, and one that is given back and then cancelled.
    pub(super) async fn without_history(&mut self) -> anyhow::Result<()> {
        self.refusal("refused").await?;
        let failed = self.id("failed")?;
        self.ask(&failed, MISSING).await?;
        // Its dead letter.
        self.refused += 1;
        let scan = self.when(&failed, |scan| scan.state.is_terminal()).await?;
        ensure!(matches!(scan.state, ScanState::Failed { .. }), "{:?}", scan.state);
        let given_back = self.id("given-back")?;
        self.ask(&given_back, UNREACHABLE).await?;
        let claims =
            |scan: &RepositoryScan| scan.trail.iter().filter(|entry| entry.state == "InProgress").count();
        self.when(&given_back, |scan| claims(scan) >= 2).await?;
        let state = self.cancel(&given_back).await?;
        ensure!(state == ScanState::Cancelled, "{state:?}");
        Ok(())
    }

    /// Some that are cancelled with batches on their way, until a process has crashed at each point of that: one that
    /// crashes at another point may take a write along. Then the same repository once more, to its end.
    pub(super) async fn with_batches(
        &mut self,
        target: &Target,
        fleet: &Fleet,
    ) -> anyhow::Result<RepositoryId> {
        let uri = target.uri();
        for round in 0..MAX_CANCELLED {
            let is_needed = fleet.fail_points_left().iter().any(|point| point.starts_with("batch.Cancel"));
            if round > 0 && !is_needed {
                break;
            }
            // Nobody else stops them or starts them meanwhile.
            let mut agents = fleet.hold("batch-agent").await;
            let cancelled = self.id(&format!("cancelled-{round}"))?;
            let answer = self.ask(&cancelled, &uri).await?;
            let has_batches = |scan: &RepositoryScan| scan.batches.len() >= 2 || scan.state.is_terminal();
            loop {
                let scan = tokio::time::timeout(LOOK_AFTER, self.when(&cancelled, has_batches));
                if scan.await.is_ok() {
                    break;
                }
                agents.start_again().await?;
            }
            if is_needed {
                // Else it may complete before anybody has read of the cancellation. Not earlier: other requests would wait
                // for the frozen, and this one for them.
                agents.send(Signal::STOP)?;
            }
            let state = self.cancel(&cancelled).await?;
            agents.send(Signal::CONT)?;
            drop(agents);
            ensure!(matches!(state, ScanState::Cancelled | ScanState::Completed), "{state:?}");
            // So that the next one has batches, too.
            self.forget(&answer.repository_id, Vec::new()).await;
        }
        let [again] = target.requests.as_slice() else { anyhow::bail!("one request completes") };
        let answer = self.ask(again, &uri).await?;
        ensure!(answer.error.is_empty(), "refused: {}", answer.error);
        Ok(answer.repository_id.parse()?)
    }
}

impl Detour<'_> {
    /// One whose ledger says that it was scanned with rules that nobody knows; some of it is forgotten, the rest scanned
    /// again with all rules, and then what was forgotten. All of it until a process has crashed at each point of that: one
    /// that crashes at another point may take a write along.
    pub(super) async fn with_other_rules(
        &mut self,
        target: &Target,
        version: &str,
        fleet: &Fleet,
    ) -> anyhow::Result<RepositoryId> {
        let [rescan, scan] = target.requests.as_slice() else { anyhow::bail!("two requests complete") };
        let mut repository = self.rescanned_once(target, version, rescan).await?;
        for round in 1..MAX_RESCANS {
            let left = fleet.fail_points_left();
            if !left.iter().any(|point| POINTS_OF_RESCANS.contains(&point.as_str())) {
                break;
            }
            self.forget(repository.as_str(), Vec::new()).await;
            let again = self.id(&format!("rescan-{round}"))?;
            repository = self.rescanned_once(target, version, &again).await?;
        }
        let answer = self.ask(scan, &target.uri()).await?;
        ensure!(answer.error.is_empty(), "refused: {}", answer.error);
        Ok(repository)
    }

    /// Puts the commits into the ledger as scanned with other rules, has some forgotten, and the rest scanned again.
    async fn rescanned_once(
        &self,
        target: &Target,
        version: &str,
        request: &RequestId,
    ) -> anyhow::Result<RepositoryId> {
        let policy = UriPolicy { allow_local: true, allow_http: false, allow_private_hosts: false };
        let uri = RepositoryUri::parse(&target.uri(), policy)?;
        let commits: Vec<CommitId> = (target.generated.repository.commits_and_parents()?.iter())
            .map(|(id, _)| id.parse())
            .collect::<Result<_, _>>()?;
        let batch: BatchKey = format!("{request}-before.before").parse()?;
        let repository = patiently(async || {
            let repository = self.bus.know_repository(&uri).await?;
            let ledger = self.bus.ledger(&repository);
            ledger.admit(&batch, &commits, &LedgerCache::default(), true).await?;
            ledger.mark_scanned(&batch, "r0-unknown").await?;
            Ok(repository)
        })
        .await;
        let some = commits.iter().step_by(7).map(CommitId::to_string).collect();
        self.forget(repository.as_str(), some).await;
        // As soon as an agent has said what the version consists of.
        while patiently(async || self.bus.rule_set(version).await).await.is_none() {
            wait(LOOK).await;
        }
        let new = v1::NewRepositoryScan {
            request_id: request.to_string(),
            uri: target.uri(),
            rescan: version.to_owned(),
            ..v1::NewRepositoryScan::default()
        };
        let answer = answered(&mut 0, async || self.bus.request_scan(&new).await).await?;
        ensure!(answer.error.is_empty(), "refused: {}", answer.error);
        self.when(request, |scan| scan.state.is_terminal()).await?;
        Ok(repository)
    }
}

/// Does it again while there is no server for a moment.
async fn patiently<T>(mut work: impl AsyncFnMut() -> Result<T, BusError>) -> T {
    loop {
        match work().await {
            Ok(done) => return done,
            Err(_) => wait(Duration::from_millis(200)).await,
        }
    }
}

/// Stops batch-agents in order each time that one has just taken a batch, so that it is given back, until a process has
/// crashed at each point of that.
pub(super) async fn give_batches_back(fleet: &Fleet, client: &async_nats::Client) -> anyhow::Result<()> {
    let mut events = client.subscribe("secretscan.event.commit-batch.>").await?;
    while let Some(event) = events.next().await {
        if !fleet.fail_points_left().iter().any(|point| point.starts_with("batch.GiveBack")) {
            return Ok(());
        }
        if memchr::memmem::find(&event.payload, b"InProgress").is_some() {
            fleet.replace("batch-agent").await?;
        }
    }
    Ok(())
}
