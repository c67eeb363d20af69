//! Properties of the lifecycle and of the ledger, under random and repeated events.
#![allow(clippy::unwrap_used, reason = "tests")]

mod findings;
mod schedules;
mod states;

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use secretscan_model::ledger::{CommitState, Cut, Head, Segment, drop_known, sorted};
use secretscan_model::lifecycle::{step_batch, step_scan};
use secretscan_model::{
    BatchEvent, BatchId, BatchKey, BatchOutcome, BatchReport, BatchState, Claim, CommitBatch, CommitId,
    Listing, Priority, Purpose, RepositoryScan, ScanEvent, ScanState, Stamp, Timestamp,
};

const STAMP: Stamp<'static> = Stamp { now: Timestamp(1), by: "test" };

fn claim() -> impl Strategy<Value = Claim> {
    (0..2_u8, 1..4_u32)
        .prop_map(|(agent, attempt)| Claim { agent: format!("a{agent}").parse().unwrap(), attempt })
}

fn batch_id() -> impl Strategy<Value = BatchId> {
    (0..3_u8).prop_map(|n| format!("b{n}").parse().unwrap())
}

fn scan_event() -> impl Strategy<Value = ScanEvent> {
    let completed = BatchOutcome::Completed { commits: 1, blobs: 1, bytes: 1, findings: 0, not_scanned: 0 };
    let outcome = prop_oneof![Just(completed), Just(BatchOutcome::Failed { reason: "x".into() })];
    prop_oneof![
        Just(ScanEvent::StartValidation),
        Just(ScanEvent::Refuse { reason: "no".into() }),
        Just(ScanEvent::Aim { purpose: Purpose::Verify }),
        Just(ScanEvent::Accept { repository: "r".parse().unwrap(), uri: "u".into() }),
        Just(ScanEvent::StartScheduling),
        Just(ScanEvent::Assign),
        (0..2_u8).prop_map(|n| ScanEvent::Claim { agent: format!("a{n}").parse().unwrap(), max_attempts: 3 }),
        (claim(), any::<bool>()).prop_map(|(claim, is_error)| ScanEvent::GiveBack {
            claim,
            error: is_error.then(|| "e".to_owned())
        }),
        (claim(), batch_id()).prop_map(|(claim, batch)| ScanEvent::CutBatch { claim, batch }),
        claim().prop_map(|claim| ScanEvent::FinishListing { claim, listing: Listing::default() }),
        (batch_id(), outcome).prop_map(|(batch, outcome)| ScanEvent::EndBatch { batch, outcome }),
        claim().prop_map(|claim| ScanEvent::Fail { claim, reason: "f".into() }),
        Just(ScanEvent::Settle),
        Just(ScanEvent::Cancel { requester: "me".into() }),
    ]
}

fn batch_event() -> impl Strategy<Value = BatchEvent> {
    prop_oneof![
        Just(BatchEvent::StartValidation),
        (0..3_u64).prop_map(|commits| BatchEvent::Admit { commits }),
        Just(BatchEvent::StartScheduling),
        Just(BatchEvent::Assign),
        (0..2_u8)
            .prop_map(|n| BatchEvent::Claim { agent: format!("a{n}").parse().unwrap(), max_attempts: 3 }),
        claim().prop_map(|claim| BatchEvent::GiveBack { claim, error: None }),
        claim().prop_map(|claim| BatchEvent::Finish { claim, report: BatchReport::default() }),
        claim().prop_map(|claim| BatchEvent::Fail { claim, reason: "f".into() }),
        Just(BatchEvent::Settle),
        Just(BatchEvent::Cancel),
    ]
}

fn is_terminal(state: &BatchState) -> bool {
    matches!(state, BatchState::Completed { .. } | BatchState::Failed { .. } | BatchState::Cancelled)
}

proptest! {
    #[test]
    fn a_scan_never_leaves_its_end_nor_loses_a_batch(events in prop::collection::vec(scan_event(), 0..60)) {
        let mut scan = RepositoryScan::new("r1".parse().unwrap(), vec![], Priority::OnDemand, String::new(), STAMP);
        for event in events {
            let Ok(step) = step_scan(&scan, &event, STAMP) else { continue };
            let next = step.next.unwrap_or_else(|| scan.clone());
            prop_assert!(!scan.state.is_terminal() || next == scan, "left {:?} by {event:?}", scan.state);
            for (batch, outcome) in &scan.batches {
                let after = next.batches.get(batch);
                prop_assert!(*outcome == BatchOutcome::Open || after == Some(outcome), "lost {batch}");
                prop_assert!(after.is_some());
            }
            prop_assert!(next.state != ScanState::Completed || !next.has_open_batches());
            prop_assert_eq!(next.trail.last().map(|entry| entry.state.as_str()), Some(next.state.name()));
            // Delivered twice is done once, but for claims and what they give back, which count.
            let counts = matches!(event, ScanEvent::Claim { .. } | ScanEvent::GiveBack { .. });
            if !counts && let Ok(again) = step_scan(&next, &event, STAMP) {
                prop_assert_eq!(again.next, None, "{:?} twice", event);
            }
            scan = next;
        }
    }

    #[test]
    fn a_batch_never_leaves_its_end(events in prop::collection::vec(batch_event(), 0..60)) {
        let key = BatchKey { request: "r1".parse().unwrap(), batch: "b1".parse().unwrap() };
        let mut batch = CommitBatch::new(key, "r".parse().unwrap(), Priority::OnDemand, 3, 0, STAMP);
        for event in events {
            let Ok(step) = step_batch(&batch, &event, STAMP) else { continue };
            let next = step.next.unwrap_or_else(|| batch.clone());
            prop_assert!(!is_terminal(&batch.state) || next == batch, "left {:?} by {event:?}", batch.state);
            // The end, once entered, tells the request.
            prop_assert!(!is_terminal(&next.state) || is_terminal(&batch.state) || !step.effects.is_empty());
            prop_assert!(next.attempts <= 3);
            batch = next;
        }
    }

    #[test]
    fn a_commit_is_in_one_segment(steps in prop::collection::vec((0..7_u8, 0..6_u8, 0..40_u8, 0..20_u8), 0..40)) {
        let mut head = Head::default();
        let mut contents: BTreeMap<String, Vec<CommitId>> = BTreeMap::new();
        for (step, (action, batch, start, length)) in steps.into_iter().enumerate() {
            let batch = BatchKey { request: "r1".parse().unwrap(), batch: format!("b{batch}").parse().unwrap() };
            match action {
                0 | 1 if head.segment(&batch).is_none() => {
                    let offered: Vec<CommitId> =
                        (start..start + length).map(|n| CommitId::from_bytes(&[n; 20]).unwrap()).collect();
                    let mut ids = sorted(&offered);
                    for segment in contents.values() {
                        drop_known(&mut ids, segment);
                    }
                    head.admit(Segment {
                        key: batch.to_string(),
                        batch: batch.clone(),
                        commits: ids.len() as u64,
                        state: CommitState::WaitingForScan,
                        is_rescanned: false,
                        rule_set: String::new(),
                        at: Timestamp(0),
                    });
                    contents.insert(batch.to_string(), ids);
                }
                2 => {
                    let is_again = head.segment(&batch).is_some_and(|segment| segment.is_rescanned);
                    head.mark_scanned(&batch, if is_again { "v2" } else { "v" }, Timestamp(1));
                }
                3 => if let Some(segment) = head.release(&batch)
                    && segment.state == CommitState::WaitingForScan
                {
                    contents.remove(&segment.key);
                },
                4 => {
                    // Whatever is scanned, were it enough or not.
                    let is_scanned = |segment: &&Segment| !segment.is_in_flight();
                    let parts: Vec<Segment> = head.segments.iter().filter(is_scanned).cloned().collect();
                    let ids = parts.iter().flat_map(|part| contents.remove(&part.key).unwrap()).collect::<Vec<_>>();
                    if !parts.is_empty() {
                        let key = format!("m{step}");
                        head.merge(&parts, key.clone());
                        contents.insert(key, sorted(&ids));
                    }
                }
                5 | 6 => {
                    // Some commits are to be scanned again, or are scanned again now, and what is left of their segments goes by other names.
                    let wanted: HashSet<CommitId> =
                        (start..start + length).map(|n| CommitId::from_bytes(&[n; 20]).unwrap()).collect();
                    let is_wanted = |segment: &Segment| {
                        contents[&segment.key].iter().any(|id| wanted.contains(id))
                            && (action == 5 || segment.is_outdated("v2"))
                    };
                    let touched: Vec<Segment> = head.segments.iter().filter(|s| is_wanted(s)).cloned().collect();
                    let mut rests = BTreeMap::new();
                    let mut cuts = Vec::new();
                    for segment in &touched {
                        let rest: Vec<CommitId> =
                            contents[&segment.key].iter().filter(|id| !wanted.contains(id)).copied().collect();
                        let rest_key = (!rest.is_empty()).then(|| format!("{}-{step}", segment.key));
                        let count = rest.len() as u64;
                        cuts.push(Cut { key: segment.key.clone(), rest: rest_key.clone().map(|key| (key, count)) });
                        rests.extend(rest_key.map(|key| (key, rest)));
                    }
                    if action == 6 {
                        if head.segment(&batch).is_some() || cuts.is_empty() {
                            continue;
                        }
                        let old = touched.iter().flat_map(|segment| contents.remove(&segment.key).unwrap());
                        let ids: Vec<CommitId> = old.filter(|id| wanted.contains(id)).collect();
                        head.admit_again(&cuts, Segment {
                            key: batch.to_string(),
                            batch: batch.clone(),
                            commits: ids.len() as u64,
                            state: CommitState::Scanned,
                            is_rescanned: true,
                            rule_set: "v".into(),
                            at: Timestamp(0),
                        });
                        contents.extend(rests);
                        contents.insert(batch.to_string(), sorted(&ids));
                        continue;
                    }
                    let before = head.clone();
                    let is_in_flight = touched.iter().any(Segment::is_in_flight);
                    match head.forget(&cuts) {
                        Ok(_) => {
                            prop_assert!(!is_in_flight);
                            touched.iter().for_each(|segment| drop(contents.remove(&segment.key)));
                            contents.extend(rests);
                        }
                        Err(batch) => {
                            prop_assert!(is_in_flight && touched.iter().any(|segment| segment.batch == batch));
                            prop_assert_eq!(&head, &before);
                        }
                    }
                }
                _ => {}
            }
            let all: Vec<CommitId> = contents.values().flatten().copied().collect();
            let distinct: HashSet<CommitId> = all.iter().copied().collect();
            prop_assert_eq!(all.len(), distinct.len());
            for segment in &head.segments {
                prop_assert_eq!(segment.commits as usize, contents[&segment.key].len());
            }
            let counted = head.count(CommitState::Scanned) + head.count(CommitState::WaitingForScan);
            prop_assert_eq!(counted, all.len() as u64);
        }
    }
}
