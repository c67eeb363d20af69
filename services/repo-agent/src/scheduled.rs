//! What the run of a schedule does beyond other requests: it looks whether there is anything new at all, and tells of commits
//! that no push announced.

use std::collections::HashSet;
use std::sync::Arc;

use secretscan_bus::now;
use secretscan_detect::Scanner;
use secretscan_git::{ChildLimits, CommitEntry, Mirror};
use secretscan_model::ledger::{CommitState, Head};
use secretscan_model::{
    CommitId, Listing, OnUnknown, Push, Repository, RepositoryId, RepositoryScan, ScanState, ScheduledRun,
};
use secretscan_proto::{pack_commit_ids, unpack_commit_ids, v1};
use sha2::{Digest, Sha256};

use crate::Agent;
use crate::error::WorkError;
use crate::threads::{Halt, blocking};

/// So many refs and authors are named in an alert, each so long: it is one message.
const MAX_NAMES: usize = 20;
const MAX_CHARS: usize = 200;
/// So many commits that people were told of are remembered: they are one message.
const MAX_TOLD: usize = 20_000;

impl Agent {
    /// What the run before found, if nothing can have come since: the host has the same refs, and the ledger still knows what
    /// they reach. Nothing is fetched.
    pub(crate) async fn unchanged(
        &self,
        scan: &RepositoryScan,
        repository: &RepositoryId,
        halt: &Arc<Halt>,
    ) -> Result<Option<Listing>, WorkError> {
        // What an earlier attempt has cut is not to be forgotten.
        let Some(run) = scan.scheduled.as_ref().filter(|_| scan.batches.is_empty()) else { return Ok(None) };
        let Some(previous) = self.previous(scan, run).await? else { return Ok(None) };
        let (Some(refs), Some(found)) = (previous.settled_refs(), &previous.found) else { return Ok(None) };
        let left = if run.on_unknown == OnUnknown::Alert { found.unknown } else { 0 };
        let head = self.bus.ledger(repository).head().await?;
        // Not those that were forgotten since.
        if head.count(CommitState::Scanned) + left < found.commits + found.vanished.unwrap_or_default() {
            return Ok(None);
        }
        let now = self.with_order(scan, repository, halt, |order, halt| {
            secretscan_git::remote_refs(order, &halt.flag).map_err(WorkError::Fetch)
        });
        if hash(now.await?) != refs {
            return Ok(None);
        }
        tracing::info!(request_id = %scan.id, "the refs are those of the run before");
        Ok(Some(Listing {
            unknown: left,
            untold: found.untold.map(|_| 0),
            is_unchanged: true,
            ..found.clone()
        }))
    }

    /// The request of the run before, if that looked at the same in the same way.
    async fn previous(
        &self,
        scan: &RepositoryScan,
        run: &ScheduledRun,
    ) -> Result<Option<RepositoryScan>, WorkError> {
        let Some(previous) = &run.previous else { return Ok(None) };
        let is_same = |previous: &RepositoryScan| {
            let before = previous.scheduled.as_ref().map(|before| before.on_unknown);
            previous.repository == scan.repository
                && previous.refs == scan.refs
                && before == Some(run.on_unknown)
        };
        Ok(self.bus.scan(previous).await?.filter(is_same))
    }

    /// A hash of the refs of a mirror, if the ledger says the same of all commits before and after it was compared, and none
    /// of them waits: another request may still fail to scan those.
    pub(crate) async fn refs_if_settled(
        &self,
        repository: &RepositoryId,
        mirror: &Arc<Mirror>,
        before: &Head,
    ) -> Result<Option<String>, WorkError> {
        let after = self.bus.ledger(repository).head().await?;
        if *before != after || after.count(CommitState::WaitingForScan) > 0 {
            return Ok(None);
        }
        let mirror = mirror.clone();
        blocking(move || Ok(Some(hash(secretscan_git::refs(mirror.path())?)))).await
    }

    /// Tells of those of the unknown commits that no push announced, unless people were told before; gives how many. `None`
    /// when nobody is to be told: where not everything was scanned before, everything is unknown.
    pub(crate) async fn tell_of_unknown(
        &self,
        scan: &RepositoryScan,
        repository: &RepositoryId,
        mirror: &Arc<Mirror>,
        halt: &Arc<Halt>,
        unknown: &[CommitEntry],
    ) -> Result<Option<u64>, WorkError> {
        let Some(run) = scan.scheduled.as_ref().filter(|run| run.on_unknown != OnUnknown::Scan) else {
            return Ok(None);
        };
        let Some(record) = self.bus.repository(repository).await? else { return Ok(None) };
        let is_scanned = match self.previous(scan, run).await? {
            _ if record.scanned.is_some() => true,
            Some(previous) => previous.state == ScanState::Completed && run.on_unknown == OnUnknown::Both,
            None => false,
        };
        if !is_scanned {
            return Ok(None);
        }
        let announced = self.announced(&record, mirror, halt).await?;
        let told = self.bus.alerted(repository).await?.unwrap_or_default();
        let ids = unpack_commit_ids(told.commit_id_length.max(20), &told.commit_ids).unwrap_or_default();
        let known: HashSet<CommitId> = ids.into_iter().collect();
        let unannounced: Vec<CommitEntry> =
            unknown.iter().filter(|commit| !announced.contains(&commit.id)).copied().collect();
        let is_new = |commit: &CommitEntry| {
            !known.contains(&commit.id) && (told.before == 0 || commit.corrected_date >= told.before)
        };
        let new: Vec<CommitId> =
            unannounced.iter().filter(|commit| is_new(commit)).map(|commit| commit.id).collect();
        // An attempt that was lost may have told of some.
        let earlier = if told.request_id == scan.id.as_str() { told.count } else { 0 };
        let count = earlier + new.len() as u64;
        if !new.is_empty() {
            let event = self.describe(scan, run, repository, mirror, new).await?;
            let told = v1::ToldCommits { request_id: scan.id.to_string(), count, ..remember(&unannounced) };
            self.bus.alert_unknown_commits(repository, &event, &told).await?;
            tracing::warn!(request_id = %scan.id, repo = %repository, count, "commits that no push announced");
        }
        Ok(Some(count))
    }

    /// The commits that pushes announced, as far as they are remembered.
    async fn announced(
        &self,
        repository: &Repository,
        mirror: &Arc<Mirror>,
        halt: &Arc<Halt>,
    ) -> Result<HashSet<CommitId>, WorkError> {
        let (mut announced, mut tips) = (HashSet::new(), Vec::new());
        self.bus
            .each_pushed(&repository.id, |content| {
                let ids = unpack_commit_ids(content.commit_id_length, &content.commit_ids);
                announced.extend(ids.unwrap_or_default());
                // There were more than are named.
                if let Some(after) = content.after.parse().ok().filter(|_| content.is_cut) {
                    tips.push(Push { name: content.name, before: None, after });
                }
            })
            .await?;
        // Those that wait are listed after this request.
        if let Some(joined) = &repository.joined
            && let Some(waiting) = self.bus.scan(joined).await?
            && self.bus.pushed(&repository.id, joined).await?.is_none()
        {
            tips.extend(waiting.pushes);
        }
        if !tips.is_empty() {
            let (mirror, halt) = (mirror.clone(), halt.clone());
            let max_memory_bytes = self.config.fetch.max_memory_bytes;
            let reached = blocking(move || {
                let children = ChildLimits { max_memory_bytes, ..halt.children() };
                Ok(secretscan_git::arrivals(mirror.path(), &tips, 0, &children)?.history)
            });
            announced.extend(reached.await?.into_iter().map(|commit| commit.id));
        }
        Ok(announced)
    }

    async fn describe(
        &self,
        scan: &RepositoryScan,
        run: &ScheduledRun,
        repository: &RepositoryId,
        mirror: &Arc<Mirror>,
        new: Vec<CommitId>,
    ) -> Result<v1::UnknownCommits, WorkError> {
        let mirror = mirror.clone();
        let named = blocking(move || {
            let scanner = Scanner::new(secretscan_rules::builtin());
            let shown = |name: &str| -> String {
                let (_, masked) = scanner.scan_name(name.as_bytes());
                let name = masked.map_or(name.into(), |masked| String::from_utf8_lossy(&masked).into_owned());
                name.chars().take(MAX_CHARS).collect()
            };
            let written = secretscan_git::authorship(mirror.path(), &new, MAX_NAMES)?;
            let full = |(name, address): &(String, String)| format!("{} <{}>", shown(name), shown(address));
            let authors = written.authors.iter().map(full).collect();
            let tips: HashSet<String> = new.iter().map(CommitId::to_string).collect();
            let refs = secretscan_git::refs(mirror.path())?.into_iter();
            let refs = refs.filter(|(_, id)| tips.contains(id)).take(MAX_NAMES);
            Ok(v1::UnknownCommits {
                count: new.len() as u64,
                refs: refs.map(|(name, _)| shown(&name)).collect(),
                authors,
                first_written: written.first,
                last_written: written.last,
                ..v1::UnknownCommits::default()
            })
        });
        Ok(v1::UnknownCommits {
            repository_id: repository.to_string(),
            request_id: scan.id.to_string(),
            schedule_id: run.schedule.to_string(),
            at: now().0,
            ..named.await?
        })
    }
}

/// What is kept of the commits that people were told of: the last ones, and a date before which all count as told.
fn remember(commits: &[CommitEntry]) -> v1::ToldCommits {
    let cut = commits.len().saturating_sub(MAX_TOLD);
    let (left_out, kept) = commits.split_at(cut);
    let ids: Vec<CommitId> = kept.iter().map(|commit| commit.id).collect();
    let (commit_id_length, commit_ids) = pack_commit_ids(&ids);
    let before = left_out.last().map_or(0, |commit| commit.corrected_date);
    v1::ToldCommits { commit_id_length, commit_ids, before, ..v1::ToldCommits::default() }
}

/// A hash of refs, in whatever order they come.
fn hash(mut refs: Vec<(String, String)>) -> String {
    refs.sort_unstable();
    let mut hash = Sha256::new();
    for (name, id) in refs {
        hash.update(format!("{id} {name}\n"));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
