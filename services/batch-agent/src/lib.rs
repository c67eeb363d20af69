//! The batch-agent: scans one commit batch from its pack and records findings.
//!
//! Stateless, and without access to any repository. Secrets stay in the thread that found them: what leaves is a
//! keyed hash and a masked excerpt. The decision worth knowing: findings are written before the batch is finished,
//! by writes that bear repetition, so a crash anywhere costs a second scan and nothing else. What follows from the end, such
//! as the commits marked scanned, is the controller's: an agent reads hostile content, and may write as little as it can.

mod config;
mod error;
mod rules;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secretscan_bus::agents::Presence;
use secretscan_bus::queue::{ANOTHER_AGENT, Delivery, RETRY_AFTER, Settled, Verdict};
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, BusError, Class, Stop, chain};
use secretscan_detect::{HashKey, RuleSet, Scanner};
use secretscan_git::{ScanOptions, ScanReport, scan_archive};
use secretscan_model::{
    BatchEvent, BatchKey, BatchReport, Claim, CommitBatch, CommitId, IdError, NotScanned, Role,
};
use secretscan_proto::v1;
use secretscan_service::nicely;

pub use config::{Config, SAMPLE, ScanSettings};
pub use error::StartError;
use error::WorkError;
use rules::AgentRules;

/// So many things not scanned are named in a batch's record; the rest are counted.
const MAX_NOT_SCANNED: usize = 1_000;

/// Runs until stopped.
///
/// # Errors
/// [`StartError`] when the key or the rules can't be read.
pub async fn run(bus: Bus, config: Config, stop: Stop) -> Result<(), StartError> {
    let rules = match &config.scan.rules {
        Some(path) => Arc::new(RuleSet::load(path, Some(&secretscan_rules::builtin()))?),
        None => secretscan_rules::builtin(),
    };
    for warning in rules.warnings() {
        tracing::warn!(warning, "the rules of scan.rules");
    }
    let presence = Presence::new(bus.clone(), Role::BatchAgent, config.agent.slots, config.agent.host());
    let bus = bus.renamed(presence.id().as_str());
    let rules = AgentRules::new(Scanner::new(rules).with_depth(config.scan.depth()));
    // Servers that are about to start or to choose their leader, and buckets that are about to be made, are waited for.
    while let Err(error) = bus.know_rule_set(&rules.version(), rules.hashes()).await {
        tracing::warn!(error = chain(&error), "the version of the rules is not put down yet, trying again");
        bus.pause(&stop).await;
        if stop.is_cancelled() {
            return Ok(());
        }
    }
    presence.scans_with(&rules.version());
    let agent =
        Agent { key: Arc::new(config.scan.read_key()?), rules, bus, config, presence, stop: stop.clone() };
    let agent = &agent;
    // The agent stays listed until its work is given back.
    let gone = Stop::new();
    let work = async {
        let workers = agent.presence.workers();
        agent.bus.work(Queue::ScheduledBatches, workers, &stop, |delivery| agent.handle(delivery)).await;
        gone.cancel();
    };
    tokio::join!(agent.presence.keep(&gone), work);
    Ok(())
}

struct Agent {
    bus: Bus,
    config: Config,
    key: Arc<HashKey>,
    rules: AgentRules,
    presence: Arc<Presence>,
    stop: Stop,
}

fn read(delivery: &Delivery) -> Result<BatchKey, String> {
    let reference: v1::CommitBatchReference = delivery.decode().map_err(|error| chain(&error))?;
    let id = |error: IdError| error.to_string();
    Ok(BatchKey {
        request: reference.request_id.parse().map_err(id)?,
        batch: reference.batch_id.parse().map_err(id)?,
    })
}

impl Agent {
    async fn handle(&self, delivery: Arc<Delivery>) -> Settled {
        let key = match read(&delivery) {
            Ok(key) => key,
            Err(reason) => return Verdict::Reject(reason).into(),
        };
        let name = key.to_string();
        // A second copy of the message, while another agent lives and works on the first.
        let batch = match self.unless_held(&key, &name).await {
            Ok(Some(batch)) => batch,
            Ok(None) => return Verdict::RetryAfter(self.bus.sign_of_life_every()).into(),
            Err(error) => return on_bus_error(&error).into(),
        };
        let (priority, attempts) = batch.map(|batch| (batch.priority, batch.attempts)).unwrap_or_default();
        let Some(slot) = self.presence.slot(priority) else {
            return Verdict::RetryAfter(ANOTHER_AGENT).into();
        };
        let held = tokio::select! {
            held = self.presence.hold(name, slot, self.config.agent.is_last(attempts)) => held,
            () = self.stop.cancelled() => return Verdict::RetryAfter(Duration::from_millis(1)).into(),
        };
        let verdict = self.take(&key).await.unwrap_or_else(|error| on_bus_error(&error));
        Settled::new(verdict, held)
    }

    /// The batch; `None` when another agent lives and works on it.
    async fn unless_held(&self, key: &BatchKey, name: &str) -> Result<Option<Option<CommitBatch>>, BusError> {
        let batch = self.bus.batch(key).await?;
        let is_held =
            self.presence.is_held_by_another(batch.as_ref().and_then(CommitBatch::claim), name).await?;
        Ok((!is_held).then_some(batch))
    }

    #[tracing::instrument(skip_all, fields(batch_id = %key))]
    async fn take(&self, key: &BatchKey) -> Result<Verdict, BusError> {
        let max_attempts = self.config.agent.max_attempts;
        let event = BatchEvent::Claim { agent: self.presence.id(), max_attempts };
        let batch = self.bus.apply_batch(key, &[event]).await?;
        let claim = Claim { agent: self.presence.id(), attempt: batch.attempts };
        if !batch.is_claimed_by(&claim) {
            tracing::info!(batch_id = %key, state = batch.state.name(), "nothing to do");
            return Ok(Verdict::Done);
        }
        tracing::debug!(batch_id = %key, attempt = claim.attempt, "taken");
        match self.work(&batch, &claim).await {
            Ok(report) => {
                tracing::info!(
                    batch_id = %key, commits = report.commits, blobs = report.blobs, bytes = report.bytes,
                    findings = report.findings, "scanned"
                );
                self.bus.metrics().scanned(&report);
                match self.bus.apply_batch(key, &[BatchEvent::Finish { claim: claim.clone(), report }]).await
                {
                    Ok(_) => Ok(Verdict::Done),
                    Err(error) if error.class() == Class::LeaseLost => {
                        self.give_up(key, claim, &WorkError::LeaseLost).await
                    }
                    Err(error) => Err(error),
                }
            }
            Err(error) => self.give_up(key, claim, &error).await,
        }
    }

    async fn give_up(&self, key: &BatchKey, claim: Claim, error: &WorkError) -> Result<Verdict, BusError> {
        let mut reason = chain(error);
        if let Some(key) = error.limiting_key() {
            reason.push_str(&format!("; {key} of the batch-agent allows more"));
        }
        let attempt = claim.attempt;
        match error.class() {
            _ if matches!(error, WorkError::Stopped) => {
                self.bus.apply_batch(key, &[BatchEvent::GiveBack { claim, error: None }]).await?;
                Ok(Verdict::RetryAfter(Duration::from_millis(1)))
            }
            Class::Transient => {
                tracing::warn!(batch_id = %key, attempt, error = reason, "given back");
                let error = (!error.is_outage()).then_some(reason);
                self.bus.apply_batch(key, &[BatchEvent::GiveBack { claim, error }]).await?;
                Ok(Verdict::RetryAfter(RETRY_AFTER * attempt))
            }
            Class::Permanent => {
                tracing::warn!(batch_id = %key, attempt, error = reason, "failed");
                self.bus.apply_batch(key, &[BatchEvent::Fail { claim, reason }]).await?;
                Ok(Verdict::Done)
            }
            Class::LeaseLost => {
                // An acknowledgement by the one who lost the work would take it from the one who has it.
                let has_ended = self.bus.batch(key).await?.is_none_or(|batch| Bus::has_ended(&batch));
                tracing::info!(batch_id = %key, attempt, has_ended, "lost");
                Ok(if has_ended { Verdict::Done } else { Verdict::Leave })
            }
        }
    }

    /// Does the work, watching the batch: when the claim is lost or the service stops, the threads stop too.
    async fn work(&self, batch: &CommitBatch, claim: &Claim) -> Result<BatchReport, WorkError> {
        let halt = Arc::new(AtomicBool::new(false));
        let watching = async {
            loop {
                let is_ours = |now: Option<CommitBatch>| now.is_some_and(|now| now.is_claimed_by(claim));
                let followed = self.bus.follow_batch(&batch.key, |now| match is_ours(now) {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                });
                match followed.await {
                    Ok(()) => return WorkError::LeaseLost,
                    Err(error) => tracing::warn!(error = chain(&error), "can't see the batch"),
                }
                self.bus.pause(&self.stop).await;
            }
        };
        tokio::select! {
            report = self.scan(batch, &halt) => report,
            () = self.timeout() => {
                halt.store(true, Ordering::Relaxed);
                Err(WorkError::TimedOut { limit: self.config.agent.timeout() })
            }
            error = watching => { halt.store(true, Ordering::Relaxed); Err(error) }
            () = self.stop.cancelled() => { halt.store(true, Ordering::Relaxed); Err(WorkError::Stopped) }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the time that a batch may take")]
    async fn timeout(&self) {
        tokio::time::sleep(self.config.agent.timeout()).await;
    }

    async fn scan(&self, batch: &CommitBatch, halt: &Arc<AtomicBool>) -> Result<BatchReport, WorkError> {
        let key = &batch.key;
        let ledger = self.bus.ledger(&batch.repository);
        let admitted: HashSet<CommitId> =
            ledger.commits_of(key).await?.ok_or(WorkError::NotInLedger)?.into_iter().collect();
        let (scratch, limit) = (self.config.agent.scratch(), self.config.agent.max_scratch_bytes);
        // The archive, and what is in it.
        if batch.pack_bytes.saturating_mul(2) > limit {
            return Err(WorkError::TooMuchDisk { bytes: batch.pack_bytes, limit });
        }
        let archive = tempfile::NamedTempFile::new_in(&scratch).map_err(WorkError::Scratch)?;
        if !self.bus.get_pack(key, archive.path()).await? {
            return Err(WorkError::NoPack);
        }
        let scanner = self.rules.scanner(batch.rescan.as_ref())?;
        let running = scanner.running() as u64;
        let (hash_key, halt) = (self.key.clone(), halt.clone());
        let ScanSettings { max_blob_bytes, max_memory_bytes, .. } = self.config.scan;
        let threads = self.config.scan.threads();
        let span = tracing::info_span!("scan", commits = admitted.len(), bytes = batch.pack_bytes);
        let niceness = batch.priority.niceness();
        let report = tokio::task::spawn_blocking(move || {
            let _scanning = span.enter();
            let options =
                ScanOptions { threads, max_blob_bytes, max_memory_bytes, stop: &halt, scratch: &scratch };
            let is_admitted = |commit: &CommitId| admitted.contains(commit);
            nicely(niceness, || scan_archive(archive.path(), &is_admitted, &scanner, &hash_key, &options))
        })
        .await??;
        self.record(batch, report, running).await
    }

    /// Writes the findings; `rules` ran.
    async fn record(
        &self,
        batch: &CommitBatch,
        report: ScanReport,
        rules: u64,
    ) -> Result<BatchReport, WorkError> {
        let rule_set = self.rules.version();
        let findings = report.findings.into_iter().map(|located| self.rules.mark(located.finding));
        let findings: Vec<_> = findings.collect();
        let count = findings.len() as u64;
        self.bus.record_findings(&batch.repository, findings).await?;
        let not_scanned = NotScanned::at_most(report.not_scanned, MAX_NOT_SCANNED);
        Ok(BatchReport {
            commits: report.commits,
            blobs: report.blobs,
            bytes: report.bytes,
            findings: count,
            rules,
            rule_set,
            not_scanned,
        })
    }
}

fn on_bus_error(error: &BusError) -> Verdict {
    match error.class() {
        Class::Transient => {
            tracing::warn!(error = chain(error), "trying again");
            Verdict::RetryAfter(RETRY_AFTER)
        }
        Class::Permanent => Verdict::Reject(chain(error)),
        Class::LeaseLost => Verdict::Leave,
    }
}
