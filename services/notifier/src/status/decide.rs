//! Which status a commit is to have, and what is to be done for it: pure functions.

use std::collections::{BTreeMap, BTreeSet};

use secretscan_bus::notifications::{Notification, Phase};
use secretscan_bus::v1::{PushContent, PushedCommits};
use secretscan_detect::Severity;
use secretscan_model::{CommitId, Finding, Push, RepositoryScan, ScanState};
use secretscan_proto::unpack_commit_ids;

/// A status that its sender has not settled for so long is taken over by the handler of any event, in milliseconds.
const STALE_MS: i64 = 3_600_000;

/// What a status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The scan has not ended.
    Pending,
    /// It found nothing that counts.
    Success,
    /// It found something.
    Failure,
    /// It could not be done.
    Error,
    /// Somebody took it back.
    Cancelled,
}

impl State {
    const ALL: [Self; 5] = [Self::Pending, Self::Success, Self::Failure, Self::Error, Self::Cancelled];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether no other state follows.
    fn is_last(self) -> bool {
        self != Self::Pending
    }
}

/// A status in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) state: State,
    pub(crate) text: String,
}

impl Words {
    fn new(state: State, text: impl Into<String>) -> Self {
        Self { state, text: text.into() }
    }

    /// These, as they are recorded.
    pub(crate) fn notification(&self, phase: Phase) -> Notification {
        Notification { what: self.state.as_str().to_owned(), text: self.text.clone(), phase }
    }

    /// Those that were recorded, if no others follow.
    pub(crate) fn last(notification: &Notification) -> Option<Self> {
        Self::recorded(notification).filter(|words| words.state.is_last())
    }

    /// Those that were recorded.
    fn recorded(notification: &Notification) -> Option<Self> {
        let state = State::ALL.into_iter().find(|state| state.as_str() == notification.what)?;
        Some(Self::new(state, notification.text.clone()))
    }
}

/// A commit that gets a status, for all pushes of a request that end there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) commit: CommitId,
    /// The full name of a ref that was pushed.
    pub(crate) ref_name: String,
    /// The commits whose findings count, itself among them.
    pub(crate) counted: BTreeSet<CommitId>,
    /// Whether older commits were left out because there are too many.
    is_cut: bool,
    /// Whether a push brought it: it may also be a new name for what was there.
    pub(crate) is_new: bool,
}

/// The commits that the pushes of a request give a status to. A push of a tag gives none until its commit is known.
pub(crate) fn targets(scan: &RepositoryScan, pushed: Option<&PushedCommits>) -> Vec<Target> {
    let mut targets: BTreeMap<CommitId, Target> = BTreeMap::new();
    for push in &scan.pushes {
        let content = pushed.and_then(|pushed| content_of(push, pushed));
        let is_cut = content.is_some_and(|content| content.is_cut);
        let brought = content.map(commits).unwrap_or_default();
        // What a tag points at may be the tag itself, and it seldom brings anything.
        let commit = match (push.name.starts_with("refs/tags/"), content) {
            (true, _) => brought.first().copied(),
            (false, None) => Some(push.after),
            // None where the host does not have it any more.
            (false, Some(content)) => content.tip.parse().ok(),
        };
        let Some(commit) = commit else { continue };
        let target = targets.entry(commit).or_insert_with(|| Target {
            commit,
            ref_name: push.name.clone(),
            counted: BTreeSet::from([commit]),
            is_cut: false,
            is_new: false,
        });
        target.is_new |= !brought.is_empty();
        target.counted.extend(brought);
        target.is_cut |= is_cut;
    }
    targets.into_values().collect()
}

fn content_of<'a>(push: &Push, pushed: &'a PushedCommits) -> Option<&'a PushContent> {
    let after = push.after.to_string();
    pushed.pushes.iter().find(|content| content.name == push.name && content.after == after)
}

/// The commits that a push brought, the newest first. What can't be read is taken for none: the head still counts.
fn commits(content: &PushContent) -> Vec<CommitId> {
    unpack_commit_ids(content.commit_id_length, &content.commit_ids).unwrap_or_default()
}

/// Where a request stands, as far as statuses go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The same words for all of its commits.
    Said(Words),
    /// The findings of each commit decide.
    Scanned,
}

/// The reason of a failure is not told: those who read statuses need not be those who may know, say, names of hosts.
pub(crate) fn stage(scan: &RepositoryScan) -> Stage {
    match &scan.state {
        ScanState::New
        | ScanState::Validating
        | ScanState::Queued
        | ScanState::Scheduling
        | ScanState::Scheduled
        | ScanState::InProgress { .. } => {
            Stage::Said(Words::new(State::Pending, "looking for secrets in what was pushed"))
        }
        ScanState::Completed => Stage::Scanned,
        ScanState::Failed { .. } => Stage::Said(Words::new(State::Error, "the scan failed")),
        ScanState::Cancelled => Stage::Said(Words::new(State::Cancelled, "the scan was cancelled")),
    }
}

/// How many findings there are of each severity. A finding counts once, however often it is shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    seen: BTreeSet<String>,
    by_severity: BTreeMap<Severity, u64>,
}

impl Counts {
    /// Takes note of a finding, if it is in one of the commits that count.
    pub(crate) fn add(&mut self, finding: &Finding, target: &Target) {
        let is_in = finding.occurrences.iter().any(|occurrence| target.counted.contains(&occurrence.commit));
        if is_in && self.seen.insert(finding.id.0.clone()) {
            *self.by_severity.entry(Severity::of(&finding.severity)).or_default() += 1;
        }
    }

    fn from(&self, least: Severity) -> u64 {
        self.by_severity.range(least..).map(|(_, count)| count).sum()
    }
}

/// The status of a commit after its scan.
pub(crate) fn verdict(
    scan: &RepositoryScan,
    target: &Target,
    counts: &Counts,
    fail_on: Option<Severity>,
) -> Words {
    let (all, failing) = (counts.from(Severity::Low), counts.from(fail_on.unwrap_or(Severity::Low)));
    let commits = match (target.counted.len(), target.is_cut) {
        (1, false) => "1 commit".to_owned(),
        (count, false) => format!("{count} commits"),
        (count, true) => format!("the newest {count} commits"),
    };
    let mut text = match all {
        0 => format!("no secrets in {commits}"),
        1 => format!("1 secret in {commits}: {}", severities(counts)),
        _ => format!("{all} secrets in {commits}: {}", severities(counts)),
    };
    let listing = scan.found.as_ref().map_or(0, |found| found.not_scanned.len() as u64);
    match listing + scan.totals().not_scanned {
        0 => {}
        1 => text += "; 1 thing was not scanned",
        count => text += &format!("; {count} things were not scanned"),
    }
    Words::new(if failing > 0 { State::Failure } else { State::Success }, text)
}

fn severities(counts: &Counts) -> String {
    let each = Severity::ALL.into_iter().filter_map(|severity| {
        let count = counts.by_severity.get(&severity)?;
        Some(format!("{count} {}", severity.as_str()))
    });
    each.collect::<Vec<_>>().join(", ")
}

/// What the handler of an event is to do for a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing: it or a later one was sent, can't be sent, or is in another handler's hand.
    Nothing,
    /// Come back when the earlier one, in another handler's hand, is through.
    Wait,
    /// Send these words; `ask_first` whether they have arrived before.
    Send {
        /// What to say.
        words: Words,
        /// Whether an earlier attempt may have arrived.
        ask_first: bool,
    },
}

/// Decides by what is recorded. The state never goes back, and what was recorded to be said is not said otherwise.
pub(crate) fn plan(known: Option<&Notification>, wanted: &Words, event: u64, now_ms: i64) -> Plan {
    let start = || Plan::Send { words: wanted.clone(), ask_first: false };
    let Some((known, recorded)) = known.and_then(|known| Some((known, Words::recorded(known)?))) else {
        return start();
    };
    let is_ours = |sender: u64, since: i64| sender == event || now_ms.saturating_sub(since) > STALE_MS;
    if recorded.state.is_last() == wanted.state.is_last() {
        return match known.phase {
            Phase::Sent | Phase::Undelivered { .. } => Plan::Nothing,
            Phase::Waiting { may_have_arrived } => {
                Plan::Send { words: recorded, ask_first: may_have_arrived }
            }
            Phase::Sending { event: sender, since } if is_ours(sender, since) => {
                Plan::Send { words: recorded, ask_first: true }
            }
            // Its event comes again if its handler dies.
            Phase::Sending { .. } => Plan::Nothing,
        };
    }
    match known.phase {
        _ if recorded.state.is_last() => Plan::Nothing,
        Phase::Sending { event: sender, since } if !is_ours(sender, since) => Plan::Wait,
        Phase::Sending { .. } | Phase::Waiting { .. } | Phase::Sent | Phase::Undelivered { .. } => start(),
    }
}

#[cfg(test)]
mod tests {
    use secretscan_model::{Listing, NotScanned, Priority, Stamp, Timestamp};

    use super::*;

    fn known(state: State, phase: Phase) -> Notification {
        Notification { what: state.as_str().into(), text: "recorded".into(), phase }
    }

    fn send(state: State, text: &str, ask_first: bool) -> Plan {
        Plan::Send { words: Words::new(state, text), ask_first }
    }

    #[test]
    fn what_was_not_counted_or_not_scanned_is_said() {
        let stamp = Stamp { now: Timestamp(0), by: "test" };
        let mut scan =
            RepositoryScan::new("r".parse().unwrap(), vec![], Priority::Reactive, String::new(), stamp);
        let commit = |number: u32| -> CommitId { format!("{number:040x}").parse().unwrap() };
        let target = |count, is_cut| Target {
            commit: commit(0),
            ref_name: "refs/heads/main".into(),
            counted: (0..count).map(commit).collect(),
            is_cut,
            is_new: true,
        };
        let text = |scan: &RepositoryScan, target: &Target, counts: &Counts, fail_on| {
            let words = verdict(scan, target, counts, fail_on);
            (words.state, words.text)
        };
        let none = Counts::default();
        let expected = (State::Success, "no secrets in the newest 9 commits".to_owned());
        assert_eq!(text(&scan, &target(9, true), &none, None), expected);
        let skipped = NotScanned { what: "w".into(), reason: "r".into() };
        scan.found = Some(Listing {
            commits: 1,
            unknown: 1,
            not_scanned: vec![skipped.clone(), skipped],
            ..Listing::default()
        });
        let expected = (State::Success, "no secrets in 1 commit; 2 things were not scanned".to_owned());
        assert_eq!(text(&scan, &target(1, false), &none, None), expected);
        scan.found = None;
        let some = Counts { by_severity: [(Severity::Low, 2), (Severity::High, 1)].into(), ..none };
        let said = "3 secrets in 1 commit: 1 high, 2 low".to_owned();
        for (fail_on, state) in [
            (None, State::Failure),
            (Some(Severity::High), State::Failure),
            (Some(Severity::Critical), State::Success),
        ] {
            assert_eq!(text(&scan, &target(1, false), &some, fail_on), (state, said.clone()), "{fail_on:?}");
        }
    }

    #[test]
    fn a_state_is_sent_once_and_never_goes_back() {
        let pending = Words::new(State::Pending, "wanted");
        let success = Words::new(State::Success, "wanted");
        let sending = |event, since| Phase::Sending { event, since };
        let undelivered = Phase::Undelivered { reason: String::new() };
        let plan = |state, phase, wanted| plan(Some(&known(state, phase)), wanted, 7, 10_000_000);
        assert_eq!(super::plan(None, &pending, 7, 0), send(State::Pending, "wanted", false));

        for phase in [Phase::Sent, undelivered.clone(), sending(8, 9_999_999)] {
            assert_eq!(plan(State::Pending, phase.clone(), &pending), Plan::Nothing, "{phase:?}");
            assert_eq!(plan(State::Failure, phase.clone(), &success), Plan::Nothing, "{phase:?}");
            assert_eq!(plan(State::Success, phase.clone(), &pending), Plan::Nothing, "{phase:?}");
        }
        for phase in [sending(7, 9_999_999), sending(8, 0), Phase::Waiting { may_have_arrived: true }] {
            assert_eq!(plan(State::Pending, phase.clone(), &pending), send(State::Pending, "recorded", true));
            assert_eq!(plan(State::Failure, phase.clone(), &success), send(State::Failure, "recorded", true));
            assert_eq!(plan(State::Pending, phase.clone(), &success), send(State::Success, "wanted", false));
            assert_eq!(plan(State::Success, phase, &pending), Plan::Nothing);
        }
        let waiting = Phase::Waiting { may_have_arrived: false };
        assert_eq!(plan(State::Success, waiting, &success), send(State::Success, "recorded", false));
        assert_eq!(plan(State::Pending, sending(8, 9_999_999), &success), Plan::Wait);
        for phase in [Phase::Sent, undelivered] {
            assert_eq!(plan(State::Pending, phase, &success), send(State::Success, "wanted", false));
        }
    }
}
