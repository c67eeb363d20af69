//! The state diagrams of `ARCHITECTURE.md` show what the lifecycle does, no more and no less.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;

use secretscan_model::lifecycle::{step_batch, step_scan};
use secretscan_model::{
    AgentId, BatchEvent, BatchId, BatchKey, BatchOutcome, BatchReport, ChosenRules, Claim, CommitBatch,
    Listing, Priority, Purpose, Push, RepositoryScan, Rescan, ScanEvent,
};

use crate::STAMP;

const ARCHITECTURE: &str = include_str!("../../../../ARCHITECTURE.md");
/// Enough for a first claim, another after it, and one too many.
const MAX_ATTEMPTS: u32 = 2;

/// An arrow with one event; an arrow with several is several.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Transition {
    from: String,
    to: String,
    event: String,
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} --> {} : {}", self.from, self.to, self.event)
    }
}

/// The name of the event. A new event fails to compile here: add it to [`scan_events`] too.
fn scan_event_name(event: &ScanEvent) -> &'static str {
    match event {
        ScanEvent::StartValidation => "StartValidation",
        ScanEvent::Refuse { .. } => "Refuse",
        ScanEvent::Aim { .. } => "Aim",
        ScanEvent::Accept { .. } => "Accept",
        ScanEvent::Join { .. } => "Join",
        ScanEvent::StartScheduling => "StartScheduling",
        ScanEvent::Assign => "Assign",
        ScanEvent::Claim { .. } => "Claim",
        ScanEvent::GiveBack { .. } => "GiveBack",
        ScanEvent::Compare { .. } => "Compare",
        ScanEvent::ChooseRules { .. } => "ChooseRules",
        ScanEvent::CutBatch { .. } => "CutBatch",
        ScanEvent::FinishListing { .. } => "FinishListing",
        ScanEvent::EndBatch { .. } => "EndBatch",
        ScanEvent::Fail { .. } => "Fail",
        ScanEvent::Settle => "Settle",
        ScanEvent::Cancel { .. } => "Cancel",
    }
}

/// The name of the event. A new event fails to compile here: add it to [`batch_events`] too.
fn batch_event_name(event: &BatchEvent) -> &'static str {
    match event {
        BatchEvent::StartValidation => "StartValidation",
        BatchEvent::Admit { .. } => "Admit",
        BatchEvent::StartScheduling => "StartScheduling",
        BatchEvent::Assign => "Assign",
        BatchEvent::Claim { .. } => "Claim",
        BatchEvent::GiveBack { .. } => "GiveBack",
        BatchEvent::Finish { .. } => "Finish",
        BatchEvent::Fail { .. } => "Fail",
        BatchEvent::Settle => "Settle",
        BatchEvent::Cancel => "Cancel",
    }
}

fn agent() -> AgentId {
    "a".parse().unwrap()
}

fn claims() -> impl Iterator<Item = Claim> {
    (1..=MAX_ATTEMPTS).map(|attempt| Claim { agent: agent(), attempt })
}

fn push() -> Push {
    Push { name: "refs/heads/main".into(), before: None, after: "12".repeat(20).parse().unwrap() }
}

fn errors() -> [Option<String>; 2] {
    [None, Some("e".to_owned())]
}

/// Every event, with every value that may make a difference.
fn scan_events() -> Vec<ScanEvent> {
    let batches: [BatchId; 2] = ["b1", "b2"].map(|id| id.parse().unwrap());
    let outcomes = [
        BatchOutcome::Completed { commits: 1, blobs: 1, bytes: 1, findings: 0, not_scanned: 0 },
        BatchOutcome::Failed { reason: "f".into() },
        BatchOutcome::Cancelled,
    ];
    let chosen = ChosenRules { rule_set: "v".into(), rules: None };
    let mut events = vec![
        ScanEvent::StartValidation,
        ScanEvent::Refuse { reason: "no".into() },
        ScanEvent::Aim { purpose: Purpose::Verify },
        ScanEvent::Aim { purpose: Purpose::Rescan(Rescan { chosen, from: vec![] }) },
        ScanEvent::Accept { repository: "r".parse().unwrap(), uri: "u".into() },
        ScanEvent::Join { pushes: vec![push()] },
        ScanEvent::StartScheduling,
        ScanEvent::Assign,
        ScanEvent::Claim { agent: agent(), max_attempts: MAX_ATTEMPTS },
        ScanEvent::Settle,
        ScanEvent::Cancel { requester: "me".into() },
    ];
    for batch in &batches {
        let end =
            |outcome: &BatchOutcome| ScanEvent::EndBatch { batch: batch.clone(), outcome: outcome.clone() };
        events.extend(outcomes.iter().map(end));
    }
    for claim in claims() {
        events.extend(errors().map(|error| ScanEvent::GiveBack { claim: claim.clone(), error }));
        events.extend(batches.clone().map(|batch| ScanEvent::CutBatch { claim: claim.clone(), batch }));
        events.push(ScanEvent::ChooseRules { claim: claim.clone(), from: vec![], rules: Some(vec![]) });
        events.push(ScanEvent::Compare { claim: claim.clone(), listing: Listing::default() });
        events.push(ScanEvent::FinishListing { claim: claim.clone(), listing: Listing::default() });
        events.push(ScanEvent::Fail { claim, reason: "f".into() });
    }
    events
}

/// Every event, with every value that may make a difference.
fn batch_events() -> Vec<BatchEvent> {
    let mut events = vec![
        BatchEvent::StartValidation,
        BatchEvent::Admit { commits: 0 },
        BatchEvent::Admit { commits: 1 },
        BatchEvent::StartScheduling,
        BatchEvent::Assign,
        BatchEvent::Claim { agent: agent(), max_attempts: MAX_ATTEMPTS },
        BatchEvent::Settle,
        BatchEvent::Cancel,
    ];
    for claim in claims() {
        events.extend(errors().map(|error| BatchEvent::GiveBack { claim: claim.clone(), error }));
        events.push(BatchEvent::Finish { claim: claim.clone(), report: BatchReport::default() });
        events.push(BatchEvent::Fail { claim, reason: "f".into() });
    }
    events
}

/// Every transition that events can cause from the first record on, breadth first. `step` gives the record after the
/// event and whether a state was entered; `key` tells records apart.
fn reachable<R: Clone, E>(
    first: R,
    events: &[E],
    step: impl Fn(&R, &E) -> Option<R>,
    key: impl Fn(&R) -> String,
    transition: impl Fn(&R, &R, &E) -> Option<Transition>,
) -> BTreeSet<Transition> {
    let mut transitions = BTreeSet::new();
    let mut seen = HashSet::from([key(&first)]);
    let mut queue = VecDeque::from([first]);
    while let Some(record) = queue.pop_front() {
        for event in events {
            let Some(next) = step(&record, event) else { continue };
            transitions.extend(transition(&record, &next, event));
            if seen.insert(key(&next)) {
                queue.push_back(next);
            }
        }
    }
    transitions
}

/// The transitions that the diagram below the heading shows.
fn drawn(heading: &str) -> BTreeSet<Transition> {
    let (_, section) = ARCHITECTURE
        .split_once(&format!("\n### {heading}\n"))
        .unwrap_or_else(|| panic!("ARCHITECTURE.md has no section `### {heading}`"));
    let (_, diagram) = section.split_once("```mermaid\nstateDiagram-v2\n").expect("a state diagram follows");
    let (diagram, _) = diagram.split_once("```").expect("the diagram ends");
    let mut transitions = BTreeSet::new();
    for line in diagram.lines().filter(|line| !line.trim().is_empty()) {
        let parsed = line.split_once("-->").and_then(|(from, rest)| Some((from, rest.split_once(':')?)));
        let (from, (to, events)) =
            parsed.unwrap_or_else(|| panic!("{heading}: not of the form `A --> B : Event, Event`: {line}"));
        for event in events.split(',') {
            let [from, to, event] = [from, to, event].map(|part| part.trim().to_owned());
            let transition = Transition { from, to, event };
            assert!(!transitions.contains(&transition), "{heading}: drawn twice: {transition}");
            transitions.insert(transition);
        }
    }
    transitions
}

fn assert_drawn(heading: &str, actual: &BTreeSet<Transition>) {
    let drawn = drawn(heading);
    let missing = actual.difference(&drawn).map(|transition| format!("  add     {transition}\n"));
    let surplus = drawn.difference(actual).map(|transition| format!("  remove  {transition}\n"));
    let changes: String = missing.chain(surplus).collect();
    assert!(
        changes.is_empty(),
        "the diagram \"{heading}\" in ARCHITECTURE.md is not what the lifecycle does. Unless the lifecycle is wrong:\n{changes}"
    );
}

#[test]
fn the_diagram_of_a_repository_scan_is_true() {
    let first = RepositoryScan::new("r1".parse().unwrap(), vec![], Priority::OnDemand, String::new(), STAMP);
    let actual = reachable(
        first,
        &scan_events(),
        |scan, event| step_scan(scan, event, STAMP).ok()?.next,
        |scan| serde_json::to_string(&RepositoryScan { trail: vec![], ..scan.clone() }).unwrap(),
        |from, to, event| {
            (to.trail.len() > from.trail.len()).then(|| Transition {
                from: from.state.name().to_owned(),
                to: to.state.name().to_owned(),
                event: scan_event_name(event).to_owned(),
            })
        },
    );
    assert_drawn("Repository scan", &actual);
}

#[test]
fn the_diagram_of_a_commit_batch_is_true() {
    let key = BatchKey { request: "r1".parse().unwrap(), batch: "b1".parse().unwrap() };
    let first = CommitBatch::new(key, "r".parse().unwrap(), Priority::OnDemand, 3, 0, STAMP);
    let actual = reachable(
        first,
        &batch_events(),
        |batch, event| step_batch(batch, event, STAMP).ok()?.next,
        |batch| serde_json::to_string(&CommitBatch { trail: vec![], ..batch.clone() }).unwrap(),
        |from, to, event| {
            (to.trail.len() > from.trail.len()).then(|| Transition {
                from: from.state.name().to_owned(),
                to: to.state.name().to_owned(),
                event: batch_event_name(event).to_owned(),
            })
        },
    );
    assert_drawn("Commit batch", &actual);
}
