//! The repo-agent: fetches a repository, lists its history, and cuts what the ledger does not know into batches.
//!
//! The only service that talks to Git hosts, and the only one with Git credentials. Git runs on blocking threads; this
//! file drives them and tells the bus. The decision worth knowing: a batch's pack is stored before the batch is told to its
//! request, and told before it is announced, so that an agent which takes over can finish what its predecessor began.

mod config;
mod error;
mod rescan;
mod scheduled;
mod survey;
mod threads;
mod verify;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use secretscan_bus::agents::Presence;
use secretscan_bus::queue::{ANOTHER_AGENT, Delivery, RETRY_AFTER, Settled, Verdict};
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, BusError, Class, Stop, chain};
use secretscan_git::{
    Arrival, BatchCutter, BatchLimits, ChildLimits, CommitEntry, ComparedTrees, CutBatch, Mirror,
    MirrorCache, Order, Refs, Tips,
};
use secretscan_model::{
    BatchId, BatchKey, BatchOutcome, Claim, CommitId, Listing, NotScanned, OnUnknown, Purpose, Push,
    RepositoryId, RepositoryScan, RequestId, Role, ScanEvent,
};
use secretscan_proto::{pack_commit_ids, v1};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tracing::Instrument;

pub use config::{Config, CredentialSettings, SAMPLE};
use error::WorkError;
use survey::Looked;
use threads::{Halt, blocking, blocking_nicely};

/// A batch has at most this many commits, so that its messages stay below the server's limit.
const MAX_BATCH_COMMITS: usize = 30_000;
/// About this many batches are made of a long history: its request lists them all.
const WANTED_BATCHES: usize = 400;

/// So many commits that pushes brought are named for the notifier: they are one message.
const MAX_PUSHED_COMMITS: usize = 20_000;
/// So many things not scanned are named in a request's record; the rest are counted.
const MAX_NOT_SCANNED: usize = 1_000;

/// Runs until stopped.
///
/// # Errors
/// When a credentials file can't be read.
pub async fn run(bus: Bus, config: Config, stop: Stop) -> Result<(), config::CredentialsError> {
    let credentials = config.credentials.read()?;
    let presence = Presence::new(bus.clone(), Role::RepoAgent, config.agent.slots, config.agent.host());
    let bus = bus.renamed(presence.id().as_str());
    let mirrors = MirrorCache::new(&config.mirrors.dir, config.mirrors.max_bytes);
    let agent = Agent {
        mirrors: Arc::new(mirrors.with_indexer(config.mirrors.indexer.clone())),
        bus,
        credentials: Arc::new(credentials),
        config,
        presence,
        stop: stop.clone(),
    };
    let agent = &agent;
    // The agent stays listed until its work is given back.
    let gone = Stop::new();
    let work = async {
        let workers = agent.presence.workers();
        agent.bus.work(Queue::ScheduledScans, workers, &stop, |delivery| agent.handle(delivery)).await;
        gone.cancel();
    };
    tokio::join!(agent.presence.keep(&gone), work);
    Ok(())
}

struct Agent {
    bus: Bus,
    config: Config,
    credentials: Arc<secretscan_git::Credentials>,
    mirrors: Arc<MirrorCache>,
    presence: Arc<Presence>,
    stop: Stop,
}

impl Agent {
    async fn handle(&self, delivery: Arc<Delivery>) -> Settled {
        let id = match delivery.decode::<v1::RepositoryScanReference>() {
            Ok(reference) => match RequestId::parse(&reference.request_id) {
                Ok(id) => id,
                Err(error) => return Verdict::Reject(error.to_string()).into(),
            },
            Err(error) => return Verdict::Reject(chain(&error)).into(),
        };
        // A second copy of the message, while another agent lives and works on the first.
        let scan = match self.unless_held(&id).await {
            Ok(Some(scan)) => scan,
            Ok(None) => return Verdict::RetryAfter(self.bus.sign_of_life_every()).into(),
            Err(error) => return on_bus_error(&error).into(),
        };
        let (priority, attempts) = scan.map(|scan| (scan.priority, scan.attempts)).unwrap_or_default();
        let Some(slot) = self.presence.slot(priority) else {
            return Verdict::RetryAfter(ANOTHER_AGENT).into();
        };
        let held = tokio::select! {
            held = self.presence.hold(id.to_string(), slot, self.config.agent.is_last(attempts)) => held,
            () = self.stop.cancelled() => return Verdict::RetryAfter(Duration::from_millis(1)).into(),
        };
        let verdict = self.take(&id).await.unwrap_or_else(|error| on_bus_error(&error));
        Settled::new(verdict, held)
    }

    /// The request; `None` when another agent lives and works on it.
    async fn unless_held(&self, id: &RequestId) -> Result<Option<Option<RepositoryScan>>, BusError> {
        let scan = self.bus.scan(id).await?;
        let claim = scan.as_ref().and_then(RepositoryScan::claim);
        let is_held = self.presence.is_held_by_another(claim, id.as_str()).await?;
        Ok((!is_held).then_some(scan))
    }

    #[tracing::instrument(skip_all, fields(request_id = %id))]
    async fn take(&self, id: &RequestId) -> Result<Verdict, BusError> {
        let max_attempts = self.config.agent.max_attempts;
        let event = ScanEvent::Claim { agent: self.presence.id(), max_attempts };
        let scan = self.bus.apply_scan(id, &[event]).await?;
        if scan.was_claimed_before() {
            self.bus.delete_stray_packs(&scan).await?;
        }
        let claim = Claim { agent: self.presence.id(), attempt: scan.attempts };
        if !scan.is_claimed_by(&claim) {
            tracing::info!(request_id = %id, state = scan.state.name(), "nothing to do");
            return Ok(Verdict::Done);
        }
        tracing::info!(request_id = %id, uri = scan.uri, attempt = claim.attempt, "taken");
        match self.work(&scan, &claim).await {
            Ok(listing) => {
                tracing::info!(request_id = %id, commits = listing.commits, unknown = listing.unknown, "listed");
                self.bus.apply_scan(id, &[ScanEvent::FinishListing { claim, listing }]).await?;
                Ok(Verdict::Done)
            }
            Err(error) => self.give_up(id, claim, &error).await,
        }
    }

    async fn give_up(&self, id: &RequestId, claim: Claim, error: &WorkError) -> Result<Verdict, BusError> {
        let mut reason = chain(error);
        if let Some(key) = error.limiting_key() {
            reason.push_str(&format!("; {key} of the repo-agent allows more"));
        }
        let attempt = claim.attempt;
        match error.class() {
            _ if matches!(error, WorkError::Stopped) => {
                self.bus.apply_scan(id, &[ScanEvent::GiveBack { claim, error: None }]).await?;
                Ok(Verdict::RetryAfter(Duration::from_millis(1)))
            }
            Class::Transient => {
                tracing::warn!(request_id = %id, attempt, error = reason, "given back");
                let error = (!error.is_outage()).then_some(reason);
                self.bus.apply_scan(id, &[ScanEvent::GiveBack { claim, error }]).await?;
                Ok(Verdict::RetryAfter(RETRY_AFTER * attempt))
            }
            Class::Permanent => {
                tracing::warn!(request_id = %id, attempt, error = reason, "failed");
                self.bus.apply_scan(id, &[ScanEvent::Fail { claim, reason }]).await?;
                Ok(Verdict::Done)
            }
            Class::LeaseLost => {
                // An acknowledgement by the one who lost the work would take it from the one who has it.
                let is_live = self.bus.is_live(id).await?;
                tracing::info!(request_id = %id, attempt, is_live, "lost");
                Ok(if is_live { Verdict::Leave } else { Verdict::Done })
            }
        }
    }

    /// Does the work, watching the request: when the claim is lost or the service stops, the threads stop too.
    async fn work(&self, scan: &RepositoryScan, claim: &Claim) -> Result<Listing, WorkError> {
        let halt = Arc::new(Halt::default());
        let (open_batches, open) = watch::channel(0);
        let watching = async {
            loop {
                let followed = self.bus.follow_scan(&scan.id, |now| {
                    let Some(now) = now else { return ControlFlow::Break(()) };
                    let count =
                        now.batches.values().filter(|outcome| **outcome == BatchOutcome::Open).count();
                    open_batches.send_replace(count);
                    match now.is_claimed_by(claim) {
                        true => ControlFlow::Continue(()),
                        false => ControlFlow::Break(()),
                    }
                });
                match followed.await {
                    Ok(()) => return WorkError::LeaseLost,
                    Err(error) => tracing::warn!(error = chain(&error), "can't see the request"),
                }
                self.bus.pause(&self.stop).await;
            }
        };
        tokio::select! {
            listing = self.list_and_cut(scan, claim, &halt, open) => listing,
            () = halt.overrun(self.config.agent.timeout()) => {
                halt.now();
                Err(WorkError::TimedOut { limit: self.config.agent.timeout() })
            }
            error = watching => { halt.now(); Err(error) }
            () = self.stop.cancelled() => { halt.now(); Err(WorkError::Stopped) }
        }
    }

    async fn list_and_cut(
        &self,
        scan: &RepositoryScan,
        claim: &Claim,
        halt: &Arc<Halt>,
        mut open: watch::Receiver<usize>,
    ) -> Result<Listing, WorkError> {
        let repository = scan.repository.clone().ok_or(WorkError::NoRepository)?;
        if scan.was_claimed_before() {
            self.announce_again(scan, &repository).await?;
        }
        if let Some(listing) = self.unchanged(scan, &repository, halt).await? {
            return Ok(listing);
        }
        let mirror = Arc::new(self.fetch(scan, &repository, halt).await?);
        let worked = self.list_and_cut_mirror(scan, claim, &repository, &mirror, halt, &mut open).await;
        if let Err(WorkError::Git(error)) = &worked
            && error::is_damage(error)
            && let Some(mirror) = Arc::into_inner(mirror)
        {
            tracing::warn!(request_id = %scan.id, error = chain(error), "the mirror seems damaged and is thrown away");
            let mirrors = self.mirrors.clone();
            blocking(move || mirrors.discard(mirror).map_err(WorkError::Fetch)).await?;
        }
        worked
    }

    #[tracing::instrument(skip_all)]
    async fn fetch(
        &self,
        scan: &RepositoryScan,
        repository: &RepositoryId,
        halt: &Arc<Halt>,
    ) -> Result<Mirror, WorkError> {
        let (mirrors, id) = (self.mirrors.clone(), scan.id.clone());
        let fetched = self.with_order(scan, repository, halt, move |order, halt| {
            let mut progress = |progress: secretscan_git::FetchProgress| {
                tracing::debug!(request_id = %id, progress = progress.line, "fetching");
            };
            mirrors.fetch(order, &halt.flag, &mut progress).map_err(WorkError::Fetch)
        });
        let mirror = fetched.await?;
        self.bus.metrics().fetched(mirror.was_there());
        Ok(mirror)
    }

    /// Talks to the host of a repository.
    async fn with_order<T: Send + 'static>(
        &self,
        scan: &RepositoryScan,
        repository: &RepositoryId,
        halt: &Arc<Halt>,
        work: impl FnOnce(&Order<'_>, &Halt) -> Result<T, WorkError> + Send + 'static,
    ) -> Result<T, WorkError> {
        let credentials = self.credentials.clone();
        let (uri, repository, halt) = (scan.uri.clone(), repository.clone(), halt.clone());
        let (limits, allow_local) = (self.config.fetch.limits(), self.config.fetch.allow_local);
        let wanted: Vec<CommitId> = scan.pushes.iter().map(|push| push.after).collect();
        blocking_nicely(scan.priority, move || {
            let order = Order {
                repository: &repository,
                uri: &uri,
                wanted: &wanted,
                credentials: &credentials,
                limits,
                allow_local,
            };
            work(&order, &halt)
        })
        .await
    }

    /// The commits that the request is about, and what of it has none. What pushes brought is put down for the notifier.
    #[tracing::instrument(skip_all)]
    async fn list(
        &self,
        scan: &RepositoryScan,
        repository: &RepositoryId,
        mirror: &Arc<Mirror>,
        halt: &Arc<Halt>,
    ) -> Result<(Vec<CommitEntry>, Vec<NotScanned>), WorkError> {
        let max_memory_bytes = self.config.fetch.max_memory_bytes;
        let (mirror, halt, refs) = (mirror.clone(), halt.clone(), scan.refs.clone());
        if scan.pushes.is_empty() {
            return blocking_nicely(scan.priority, move || {
                let children = ChildLimits { max_memory_bytes, ..halt.children() };
                if !refs.is_empty() {
                    return Ok((secretscan_git::list(mirror.path(), &Refs::Named(refs), &children)?, vec![]));
                }
                Ok(secretscan_git::list_mirror(mirror.path(), &children)?)
            })
            .await;
        }
        let pushes = scan.pushes.clone();
        let arrived = blocking(move || {
            let children = ChildLimits { max_memory_bytes, ..halt.children() };
            Ok(secretscan_git::arrivals(mirror.path(), &pushes, MAX_PUSHED_COMMITS, &children)?)
        })
        .await?;
        let content = |(push, arrival): (&Push, &Arrival)| {
            let (commit_id_length, commit_ids) = pack_commit_ids(&arrival.commits);
            v1::PushContent {
                name: push.name.clone(),
                after: push.after.to_string(),
                tip: arrival.tip.map(|tip| tip.to_string()).unwrap_or_default(),
                commit_id_length,
                commit_ids,
                is_cut: arrival.is_cut,
            }
        };
        let pushes = scan.pushes.iter().zip(&arrived.each).map(content).collect();
        self.bus.put_pushed(repository, &scan.id, &v1::PushedCommits { pushes }).await?;
        Ok((arrived.history, arrived.not_scanned))
    }

    /// Compares the history with the ledger.
    #[tracing::instrument(skip_all)]
    async fn compare(
        &self,
        scan: &RepositoryScan,
        repository: &RepositoryId,
        mirror: &Arc<Mirror>,
        halt: &Arc<Halt>,
    ) -> Result<Compared, WorkError> {
        let ledger = self.bus.ledger(repository);
        let asked = async {
            match scan.lists_everything() {
                true => survey::ask(&self.bus, repository, mirror).await.map(Some),
                false => Ok(None),
            }
        };
        let known = async {
            let known = ledger.known().await?;
            // All that is listed will be cut then, so nobody waits for the list.
            let is_first = known.is_empty() && scan.lists_everything() && !only_tells(scan);
            let trees = if is_first { Some(self.gather(scan, mirror, halt).await?) } else { None };
            Ok::<_, WorkError>((known, trees))
        };
        // All to their end, whatever comes of one: a mirror that proves damaged is thrown away when nobody reads it any more.
        let (listed, known, asked) = tokio::join!(self.list(scan, repository, mirror, halt), known, asked);
        let ((commits, outside), (known, trees), asked) = (listed?, known?, asked?);
        let head = if scan.scheduled.is_some() { Some(ledger.head().await?) } else { None };
        if commits.first().is_some_and(|commit| !known.are_of_format_of(&commit.id)) {
            return Err(WorkError::OtherObjectFormat { repository: repository.clone() });
        }
        let looked = match asked {
            Some(asked) => survey::survey_all(&self.bus, scan, repository, asked, &commits).await?,
            None => survey::look(&self.bus, scan, repository).await?,
        };
        let mut listing = Listing {
            commits: commits.len() as u64,
            not_scanned: NotScanned::at_most(outside, MAX_NOT_SCANNED),
            ..Listing::default()
        };
        let unknown: Vec<CommitEntry> =
            commits.into_iter().filter(|commit| !known.contains(&commit.id)).collect();
        listing.unknown = unknown.len() as u64;
        if scan.lists_everything() {
            listing.vanished = Some((known.len() as u64).saturating_sub(listing.commits - listing.unknown));
        }
        drop(known);
        if let Some(head) = head {
            listing.refs = self.refs_if_settled(repository, mirror, &head).await?;
        }
        if !unknown.is_empty() {
            listing.untold = self.tell_of_unknown(scan, repository, mirror, halt, &unknown).await?;
        }
        Ok(Compared { listing, unknown, looked, trees })
    }

    /// What all commits of the mirror are compared by.
    async fn gather(
        &self,
        scan: &RepositoryScan,
        mirror: &Arc<Mirror>,
        halt: &Arc<Halt>,
    ) -> Result<ComparedTrees, WorkError> {
        let max_memory_bytes = self.config.fetch.max_memory_bytes;
        let (mirror, halt) = (mirror.clone(), halt.clone());
        blocking_nicely(scan.priority, move || {
            let children = ChildLimits { max_memory_bytes, ..halt.children() };
            Ok(ComparedTrees::gather(mirror.path(), usize::MAX, &children)?)
        })
        .await
    }

    async fn list_and_cut_mirror(
        &self,
        scan: &RepositoryScan,
        claim: &Claim,
        repository: &RepositoryId,
        mirror: &Arc<Mirror>,
        halt: &Arc<Halt>,
        open: &mut watch::Receiver<usize>,
    ) -> Result<Listing, WorkError> {
        let memory = self.config.fetch.max_memory_bytes;
        let Compared { listing, unknown, looked, trees } = match &scan.purpose {
            Purpose::Scan => self.compare(scan, repository, mirror, halt).await?,
            Purpose::Verify => {
                let (commits, _) = self.list(scan, repository, mirror, halt).await?;
                return self.verify(repository, &commits).await;
            }
            Purpose::Rescan(rescan) => {
                let (listed, asked) = tokio::join!(
                    self.list(scan, repository, mirror, halt),
                    survey::ask(&self.bus, repository, mirror)
                );
                let ((commits, outside), asked) = (listed?, asked?);
                let count = commits.len() as u64;
                let looked = survey::survey_all(&self.bus, scan, repository, asked, &commits).await?;
                let outdated = self.outdated(scan, claim, repository, rescan, commits).await?;
                let not_scanned = NotScanned::at_most(outside, MAX_NOT_SCANNED);
                let unknown = outdated.len() as u64;
                let listing = Listing { commits: count, unknown, not_scanned, ..Listing::default() };
                Compared { listing, unknown: outdated, looked, trees: None }
            }
        };
        let compare = ScanEvent::Compare { claim: claim.clone(), listing: listing.clone() };
        self.bus.apply_scan(&scan.id, &[compare]).await?;
        if unknown.is_empty() || only_tells(scan) {
            return Ok(listing);
        }
        let (cut, mut batches) = mpsc::channel(1);
        let limits = self.batch_limits(unknown.len());
        let (mirror, cutting_halt, scratch) = (mirror.clone(), halt.clone(), self.config.agent.scratch());
        // A pack, and its copy in an archive.
        let max_file_bytes = self.config.agent.max_scratch_bytes / 2;
        let cutting = blocking_nicely(scan.priority, move || {
            let children =
                ChildLimits { max_memory_bytes: memory, max_file_bytes, ..cutting_halt.children() };
            let trees = match trees {
                Some(trees) => trees,
                None => ComparedTrees::gather(mirror.path(), unknown.len(), &children)?,
            };
            let cutter = BatchCutter::new(mirror.path(), trees, unknown, limits, &scratch, &children)?;
            let tips = match looked.tips {
                Some(tips) => tips,
                None => Tips::of(mirror.path())?,
            };
            let mut batches = cutter.with_tips(looked.look, tips);
            while let Some(batch) = tracing::info_span!("cut").in_scope(|| batches.next()) {
                let is_wanted = !cutting_halt.is_set() && cut.blocking_send(batch?).is_ok();
                if !is_wanted {
                    break;
                }
            }
            Ok(())
        });
        let cutting = tokio::spawn(cutting.in_current_span());
        while let Some(batch) = batches.recv().await {
            self.hand_over(scan, claim, repository, batch).await?;
            let max_open = self.config.batches.max_open;
            // Waits for room; the sender lives as long as this future.
            let waiting = halt.pause();
            let _ = open.wait_for(|count| *count < max_open).await;
            drop(waiting);
        }
        cutting.await??;
        Ok(listing)
    }

    fn batch_limits(&self, commits: usize) -> BatchLimits {
        let batches = &self.config.batches;
        let max_commits = batches.max_commits.max(commits / WANTED_BATCHES).min(MAX_BATCH_COMMITS);
        BatchLimits {
            max_commits,
            max_bytes: batches.max_bytes,
            max_stored_bytes: batches.max_stored_bytes,
            max_blob_bytes: batches.max_blob_bytes,
        }
    }

    #[tracing::instrument(skip_all)]
    async fn hand_over(
        &self,
        scan: &RepositoryScan,
        claim: &Claim,
        repository: &RepositoryId,
        batch: CutBatch,
    ) -> Result<(), WorkError> {
        let commits: Vec<CommitId> = batch.commits.iter().map(|commit| commit.id).collect();
        let key = BatchKey { request: scan.id.clone(), batch: batch_id(scan, &commits) };
        self.bus.put_pack(&key, batch.archive.path()).await?;
        let event = ScanEvent::CutBatch { claim: claim.clone(), batch: key.batch.clone() };
        self.bus.apply_scan(&scan.id, &[event]).await?;
        self.announce(scan, repository, &key, &commits, batch.archive_bytes).await?;
        tracing::debug!(
            batch_id = %key, commits = commits.len(), blobs = batch.blobs, bytes = batch.inflated_bytes, "cut"
        );
        Ok(())
    }

    async fn announce(
        &self,
        scan: &RepositoryScan,
        repository: &RepositoryId,
        key: &BatchKey,
        commits: &[CommitId],
        pack_bytes: u64,
    ) -> Result<(), WorkError> {
        let (commit_id_length, commit_ids) = pack_commit_ids(commits);
        let message = v1::NewCommitBatch {
            request_id: key.request.to_string(),
            batch_id: key.batch.to_string(),
            repository_id: repository.to_string(),
            priority: v1::Priority::from(scan.priority).into(),
            pack_bytes,
            commit_id_length,
            commit_ids,
        };
        Ok(self.bus.announce_batch(&message).await?)
    }

    /// Announces the batches of an earlier attempt that was lost between telling its request of a batch and announcing it.
    async fn announce_again(
        &self,
        scan: &RepositoryScan,
        repository: &RepositoryId,
    ) -> Result<(), WorkError> {
        for (batch, outcome) in &scan.batches {
            let key = BatchKey { request: scan.id.clone(), batch: batch.clone() };
            if *outcome != BatchOutcome::Open || self.bus.batch(&key).await?.is_some() {
                continue;
            }
            let file =
                tempfile::NamedTempFile::new_in(self.config.agent.scratch()).map_err(WorkError::Scratch)?;
            if self.bus.get_pack(&key, file.path()).await? {
                let bytes = file.as_file().metadata().map_err(WorkError::Scratch)?.len();
                let commits = blocking(move || Ok(secretscan_git::archive_commits(file.path())?)).await?;
                self.announce(scan, repository, &key, &commits, bytes).await?;
            } else {
                let outcome =
                    BatchOutcome::Failed { reason: "its pack is gone from the object store".into() };
                let event = ScanEvent::EndBatch { batch: batch.clone(), outcome };
                self.bus.apply_scan(&scan.id, &[event]).await?;
            }
        }
        Ok(())
    }
}

/// Whether people are told of what is new, and nothing is scanned.
fn only_tells(scan: &RepositoryScan) -> bool {
    scan.scheduled.as_ref().is_some_and(|run| run.on_unknown == OnUnknown::Alert)
}

/// What came of comparing a history with the ledger.
struct Compared {
    listing: Listing,
    /// The commits that the ledger does not know.
    unknown: Vec<CommitEntry>,
    looked: Looked,
    /// What they are compared by, on a first scan.
    trees: Option<ComparedTrees>,
}

/// The same commits of the same claim are the same batch.
fn batch_id(scan: &RepositoryScan, commits: &[CommitId]) -> BatchId {
    let mut hash = Sha256::new();
    for commit in commits {
        hash.update(commit.as_bytes());
    }
    let text: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    scan.batch_id(&text).expect("hexadecimal digits are part of an id")
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
