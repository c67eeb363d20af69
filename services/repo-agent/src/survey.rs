//! The look at all refs of a repository: which of the known findings stand at the tip of a branch, which only in history,
//! and which no ref reaches any more.
//!
//! Of findings the agent reads hashes, paths and ids, and of the repository only which content stands where, so it needs
//! neither rules nor the key of the hashes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use secretscan_bus::{Bus, BusError, now};
use secretscan_git::{CommitEntry, Mirror, Tips};
use secretscan_model::finding::{Seen, ShortId, ShortOccurrence};
use secretscan_model::ledger::CommitState;
use secretscan_model::lifecycle::{Sight, survey};
use secretscan_model::{
    CommitId, Finding, FindingId, Look, Place, RepositoryId, RepositoryScan, RequestId, ScanState, Standing,
    Survey, Timestamp,
};

use crate::error::WorkError;
use crate::threads::blocking;

/// Findings written at once.
const CONCURRENCY: usize = 32;
/// The member of an archive has a path `archive!member`; so many of the exclamation marks in it are tried as that one.
const MAX_ARCHIVES: usize = 16;

/// What is asked about one finding.
struct Question {
    id: FindingId,
    seen: Option<Seen>,
    commits: BTreeSet<ShortId>,
    /// Whether it had more occurrences than are kept.
    is_cut: bool,
    blobs: BTreeSet<ShortId>,
    /// The files that may hold it.
    paths: Vec<Vec<u8>>,
}

/// Which contents stand at the tips of branches, by path.
type AtTips = HashMap<Vec<u8>, BTreeSet<ShortId>>;

impl Question {
    fn new(finding: &Finding) -> Self {
        let occurrences = || {
            let first = finding.occurrences.iter().map(ShortOccurrence::from);
            first.chain(finding.later.places.iter().copied())
        };
        let archives = finding.path.iter().enumerate().filter(|(_, byte)| **byte == b'!').take(MAX_ARCHIVES);
        let archives = archives.map(|(end, _)| finding.path[..end].to_vec());
        Self {
            id: finding.id.clone(),
            seen: finding.seen.clone(),
            commits: occurrences().map(|occurrence| occurrence.commit).collect(),
            is_cut: finding.later.is_cut,
            blobs: occurrences().filter_map(|occurrence| occurrence.blob).collect(),
            paths: archives.chain([finding.path.clone()]).collect(),
        }
    }

    /// Whether a ref reaches one of its commits; those that refs reach are in the order of their ids.
    fn is_reachable(&self, reached: &[CommitId]) -> bool {
        let is_reached =
            |short: &ShortId| reached.binary_search_by(|id| ShortId::from(id).cmp(short)).is_ok();
        self.is_cut || self.commits.iter().any(is_reached)
    }

    fn sight(&self, reached: &[CommitId], at_tips: &AtTips, is_settled: bool) -> Sight {
        let mut files = self.paths.iter().filter_map(|path| at_tips.get(path));
        let is_at_tip = match files.clone().any(|blobs| !blobs.is_disjoint(&self.blobs)) {
            true => Some(true),
            // What is not kept may be what stands there.
            false if self.blobs.is_empty() || (self.is_cut && files.next().is_some()) => None,
            false => Some(false),
        };
        Sight { is_reachable: self.is_reachable(reached), is_at_tip, is_settled }
    }
}

/// A look, and where the branches ended then, if that was looked at.
pub(crate) struct Looked {
    pub look: Look,
    pub tips: Option<Tips>,
}

/// The look at the refs for which the batches of a request are cut: later than that at all refs of its repository.
pub(crate) async fn look(
    bus: &Bus,
    scan: &RepositoryScan,
    repository: &RepositoryId,
) -> Result<Looked, BusError> {
    let last = bus.last_survey(repository).await?;
    Ok(Looked { look: later(scan, last.iter().map(|survey| &survey.look)), tips: None })
}

/// Now, or just after all these looks: the clocks of agents differ.
fn later<'a>(scan: &RepositoryScan, looks: impl Iterator<Item = &'a Look>) -> Look {
    let after = looks.map(|look| look.at.0.saturating_add(1)).max();
    Look { at: Timestamp(now().0.max(after.unwrap_or_default())), request: scan.id.clone() }
}

/// What a look at all refs needs besides their commits, which may be listed meanwhile.
pub(crate) struct Asked {
    last: Option<Survey>,
    questions: Vec<Question>,
    standings: HashMap<FindingId, Standing>,
    tips: Tips,
    at_tips: AtTips,
}

/// What is known of the findings of a repository, and what stands at the tips where they are.
#[tracing::instrument(skip_all)]
pub(crate) async fn ask(
    bus: &Bus,
    repository: &RepositoryId,
    mirror: &Arc<Mirror>,
) -> Result<Asked, WorkError> {
    let last = async { Ok::<_, WorkError>(bus.last_survey(repository).await?) };
    let findings = async {
        let mut questions = Vec::new();
        bus.each_finding(repository, |finding| questions.push(Question::new(&finding))).await?;
        let (tips, at_tips) = at_tips(mirror, &questions).await?;
        Ok((questions, tips, at_tips))
    };
    let standings = async {
        let mut standings = HashMap::new();
        bus.each_standing(repository, |id, standing| {
            standings.insert(id, standing);
        })
        .await?;
        Ok(standings)
    };
    let (last, (questions, tips, at_tips), standings) = tokio::try_join!(last, findings, standings)?;
    Ok(Asked { last, questions, standings, tips, at_tips })
}

/// Looks at all refs, for a request that lists all of them, and records what became of the known findings.
#[tracing::instrument(skip_all)]
pub(crate) async fn survey_all(
    bus: &Bus,
    scan: &RepositoryScan,
    repository: &RepositoryId,
    asked: Asked,
    commits: &[CommitEntry],
) -> Result<Looked, WorkError> {
    let Asked { last, questions, standings, tips, at_tips } = asked;
    let mut reached: Vec<CommitId> = commits.iter().map(|commit| commit.id).collect();
    reached.sort_unstable();
    let looks = questions.iter().filter_map(|question| question.seen.as_ref()).map(|seen| &seen.last);
    let look = later(scan, looks.chain(last.iter().map(|survey| &survey.look)));
    let is_settled = is_settled(bus, scan, repository).await?;
    let complete = complete(bus, standings.values()).await?;
    let is_complete = |request: &RequestId| complete.contains(request);
    let step = |question: &Question, standing: Option<&Standing>| {
        let sight = question.sight(&reached, &at_tips, is_settled);
        survey(question.seen.as_ref(), standing, last.as_ref(), sight, &look, &is_complete)
    };
    let is_moved = |asked: &Question| step(asked, standings.get(&asked.id)).is_some();
    let moved: Vec<Question> = questions.into_iter().filter(is_moved).collect();
    let step = &step;
    futures::stream::iter(moved)
        .map(|asked| async move {
            bus.move_finding(repository, &asked.id, |standing| step(&asked, standing)).await
        })
        .buffer_unordered(CONCURRENCY)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    bus.end_survey(repository, Survey { look: look.clone() }).await?;
    Ok(Looked { look, tips: Some(tips) })
}

/// Whether no other request has commits of the repository in hand: what was rewritten may stand in them.
async fn is_settled(bus: &Bus, scan: &RepositoryScan, repository: &RepositoryId) -> Result<bool, BusError> {
    let head = bus.ledger(repository).head().await?;
    let is_of_others = |batch: &RequestId| *batch != scan.id;
    Ok(!head
        .segments
        .iter()
        .any(|part| part.state == CommitState::WaitingForScan && is_of_others(&part.batch.request)))
}

/// The requests for which findings were gone, and all whose commits are scanned.
async fn complete<'a>(
    bus: &Bus,
    standings: impl Iterator<Item = &'a Standing>,
) -> Result<HashSet<RequestId>, BusError> {
    let gone = standings.flat_map(|standing| &standing.moves).filter(|moved| moved.place == Place::Gone);
    let requests: HashSet<RequestId> = gone.map(|moved| moved.look.request.clone()).collect();
    let mut complete = HashSet::new();
    for request in requests {
        if bus.scan(&request).await?.is_some_and(|scan| scan.state == ScanState::Completed) {
            complete.insert(request);
        }
    }
    Ok(complete)
}

async fn at_tips(mirror: &Arc<Mirror>, questions: &[Question]) -> Result<(Tips, AtTips), WorkError> {
    let paths: BTreeSet<Vec<u8>> = questions.iter().flat_map(|asked| asked.paths.iter().cloned()).collect();
    let mirror = mirror.clone();
    blocking(move || {
        let paths: Vec<&[u8]> = paths.iter().map(Vec::as_slice).collect();
        let (tips, mut at_tips) = (Tips::of(mirror.path())?, AtTips::new());
        for (place, blob) in tips.contents_again(&paths)? {
            at_tips.entry(paths[place].to_vec()).or_default().insert(ShortId::from(&blob));
        }
        Ok((tips, at_tips))
    })
    .await
}
