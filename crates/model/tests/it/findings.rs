//! Findings over time: what batches say in any order, where a finding stands, and what people decide.

use std::collections::BTreeSet;

use proptest::prelude::*;
use secretscan_model::finding::{LaterOccurrences, MAX_LATER, MAX_OCCURRENCES};
use secretscan_model::lifecycle::{
    Look, MAX_DECISIONS, MAX_MOVES, Place, Sight, Standing, Survey, TriageError, survey, whereabouts,
};
use secretscan_model::{
    Author, BlobId, CommitId, Finding, FindingId, FindingState, Occurrence, RequestId, SecretHash, Seen,
    Stamp, Timestamp, Triage, TriageState,
};

fn look(at: i64, request: &str) -> Look {
    Look { at: Timestamp(at), request: request.parse().unwrap() }
}

fn id(number: u16) -> [u8; 20] {
    let mut id = [0; 20];
    // Spread, as ids are.
    id[..2].copy_from_slice(&number.wrapping_mul(40_503).to_be_bytes());
    id[2..4].copy_from_slice(&number.to_be_bytes());
    id
}

fn occurrence(number: u16) -> Occurrence {
    Occurrence {
        corrected_date: i64::from(number / 2),
        commit: CommitId::from_bytes(&id(number)).unwrap(),
        line: 1,
        column: 1,
        end_line: 1,
        end_column: 9,
        author: Author::default(),
        excerpt: String::new(),
        decoded_from: None,
        blob: Some(BlobId::from_bytes(&id(number / 3)).unwrap()),
    }
}

/// What one batch says.
fn finding(occurrences: Vec<Occurrence>, seen: Seen) -> Finding {
    let mut finding = Finding {
        id: FindingId("v2-0.0".into()),
        rule_id: "rule".parse().unwrap(),
        description: String::new(),
        severity: "high".into(),
        confidence: "high".into(),
        tags: vec![],
        secret_hash: SecretHash("00".repeat(32)),
        path: b"a".to_vec(),
        matched_by: BTreeSet::default(),
        occurrences: vec![],
        later: LaterOccurrences::default(),
        seen: None,
    };
    finding.add(occurrences, Some(seen));
    finding
}

fn reports() -> impl Strategy<Value = Vec<Finding>> {
    let report = (prop::collection::vec(0..900_u16, 1..400), 1..9_i64, any::<bool>()).prop_map(
        |(numbers, at, is_at_tip)| {
            finding(numbers.into_iter().map(occurrence).collect(), Seen::at(look(at, "r"), is_at_tip))
        },
    );
    prop::collection::vec(report, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn batches_may_report_in_any_order_and_any_number_of_times(
        reports in reports(),
        order in any::<prop::sample::Index>(),
    ) {
        let merge = |reports: &[Finding]| reports.iter().cloned().reduce(Finding::merge).unwrap();
        let merged = merge(&reports);
        let mut turned = reports.clone();
        turned.rotate_left(order.index(reports.len()));
        turned.push(reports[0].clone());
        prop_assert_eq!(&merge(&turned), &merged);
        let (left, right) = reports.split_at(order.index(reports.len()));
        let apart = left.iter().cloned().reduce(Finding::merge).into_iter();
        let apart = apart.chain(right.iter().cloned().reduce(Finding::merge)).collect::<Vec<_>>();
        prop_assert_eq!(&merge(&apart), &merged);
        let json = serde_json::to_string(&merged).unwrap();
        prop_assert_eq!(serde_json::from_str::<Finding>(&json).unwrap(), merged);
    }

    #[test]
    fn a_survey_that_is_repeated_or_overtaken_changes_nothing(
        sights in prop::collection::vec((0..3_u8, 0..4_u8, any::<bool>()), 1..60),
    ) {
        let seen = Seen::at(look(1, "r0"), true);
        let mut standing: Option<Standing> = None;
        for (at, (tip, request, is_reachable)) in (2..).zip(sights) {
            let look = look(at, &format!("r{request}"));
            let is_at_tip = [None, Some(false), Some(true)][usize::from(tip)];
            let sight = Sight { is_reachable, is_at_tip, is_settled: request != 3 };
            let is_complete = |request: &RequestId| request.as_str() != "r2";
            let step = |standing: Option<&Standing>| {
                survey(Some(&seen), standing, None, sight, &look, &is_complete)
            };
            standing = step(standing.as_ref()).or(standing);
            let now = whereabouts(Some(&seen), standing.as_ref(), None, &is_complete);
            prop_assert!(now.moves.len() <= MAX_MOVES);
            prop_assert!(now.place != Place::Gone || (!is_reachable && is_at_tip != Some(true)));
            prop_assert!(request != 0 || now.place == Place::Tip, "a batch of this request found it at a tip");
            prop_assert_eq!(step(standing.as_ref()), None);
        }
    }
}

#[test]
fn of_many_occurrences_the_later_ones_are_kept_in_short() {
    let numbers = 0..(MAX_OCCURRENCES + MAX_LATER) as u16;
    let all = finding(numbers.clone().map(occurrence).collect(), Seen::at(look(1, "r"), false));
    assert_eq!((all.occurrences.len(), all.later.places.len()), (MAX_OCCURRENCES, MAX_LATER));
    assert!(!all.later.is_cut);
    let last = occurrence(numbers.end - 1);
    assert!(all.later.places.contains(&(&last).into()));
    assert_eq!(all.later.last.map(|(date, _)| date), Some(last.corrected_date));
    let more = all.clone().merge(finding(vec![occurrence(numbers.end)], Seen::at(look(2, "r"), false)));
    assert!(more.later.is_cut && more.later.places.len() == MAX_LATER);
    assert_eq!(more.occurrences, all.occurrences);
}

#[test]
fn a_record_of_an_earlier_version_is_not_doubled() {
    let seen = || Seen::at(look(1, "r"), false);
    let old = Occurrence { blob: None, ..occurrence(1) };
    let merged = finding(vec![old], seen()).merge(finding(vec![occurrence(1)], seen()));
    assert_eq!(merged.occurrences, [occurrence(1)]);
}

/// A finding through looks at all refs.
struct Story {
    seen: Seen,
    standing: Option<Standing>,
    survey: Option<Survey>,
    complete: BTreeSet<&'static str>,
}

const TIP: Sight = Sight { is_reachable: true, is_at_tip: Some(true), is_settled: true };
const HISTORY: Sight = Sight { is_reachable: true, is_at_tip: Some(false), is_settled: true };
const GONE: Sight = Sight { is_reachable: false, is_at_tip: Some(false), is_settled: true };

impl Story {
    fn begin() -> Self {
        let seen = Seen::at(look(1, "r1"), true);
        Self { seen, standing: None, survey: None, complete: BTreeSet::from(["r1"]) }
    }

    fn look(&mut self, at: i64, request: &'static str, sight: Sight) {
        let is_complete = |request: &RequestId| self.complete.contains(request.as_str());
        let look = look(at, request);
        let next = survey(
            Some(&self.seen),
            self.standing.as_ref(),
            self.survey.as_ref(),
            sight,
            &look,
            &is_complete,
        );
        self.standing = next.or_else(|| self.standing.take());
        self.survey = Some(Survey { look });
    }

    /// State, since when, last seen when.
    fn now(&self) -> (FindingState, i64, i64) {
        let is_complete = |request: &RequestId| self.complete.contains(request.as_str());
        let now = whereabouts(Some(&self.seen), self.standing.as_ref(), self.survey.as_ref(), &is_complete);
        (now.state, now.since.unwrap().at.0, now.last_seen.unwrap().at.0)
    }
}

#[test]
fn a_finding_goes_and_comes_back() {
    let mut story = Story::begin();
    assert_eq!(story.now(), (FindingState::Open, 1, 1));
    story.look(2, "r2", TIP);
    assert_eq!((story.now(), &story.standing), ((FindingState::Open, 1, 2), &None));
    story.look(3, "r3", HISTORY);
    assert_eq!(story.now(), (FindingState::OnlyInHistory, 3, 3));
    story.look(4, "r4", GONE);
    assert_eq!(story.now().0, FindingState::OnlyInHistory, "not all of it is scanned");
    story.complete.insert("r4");
    assert_eq!(story.now(), (FindingState::Resolved, 4, 3));
    story.look(5, "r5", GONE);
    assert_eq!(story.now(), (FindingState::Resolved, 4, 3));
    story.look(6, "r6", TIP);
    assert_eq!(story.now(), (FindingState::Reopened, 6, 6));
    story.look(7, "r7", HISTORY);
    assert_eq!(story.now(), (FindingState::Reopened, 7, 7));
}

#[test]
fn what_a_rewritten_history_still_holds_was_never_gone() {
    let mut story = Story::begin();
    story.look(2, "r2", GONE);
    story.complete.insert("r2");
    assert_eq!(story.now().0, FindingState::Resolved);
    // A batch of the same request finds it in a commit that replaced the old one, whenever it reports.
    story.seen.last = look(2, "r2");
    story.seen.at_tip = Some(look(2, "r2"));
    assert_eq!(story.now().0, FindingState::Open);
    // Nor later, when that batch is no longer the last.
    story.look(3, "r3", TIP);
    story.seen.last = look(4, "push");
    assert_eq!(story.now().0, FindingState::Open);
}

#[test]
fn nothing_is_gone_for_a_request_that_did_not_scan_all() {
    let mut story = Story::begin();
    story.look(2, "failed", GONE);
    assert_eq!(story.now(), (FindingState::Open, 1, 2));
    story.look(3, "unsettled", Sight { is_settled: false, ..GONE });
    story.complete.insert("unsettled");
    assert_eq!(story.now().0, FindingState::Open);
    story.look(4, "r4", GONE);
    story.complete.insert("r4");
    assert_eq!(story.now().0, FindingState::Resolved);
}

#[test]
fn a_push_that_brings_it_back_reopens_it() {
    let mut story = Story::begin();
    story.look(2, "r2", GONE);
    story.complete.insert("r2");
    story.seen.last = look(3, "push");
    assert_eq!(story.now().0, FindingState::Reopened);
    story.seen.at_tip = Some(look(3, "push"));
    assert_eq!((story.now().0, story.now().1), (FindingState::Reopened, 3));
    story.look(4, "r4", GONE);
    story.complete.insert("r4");
    assert_eq!(story.now(), (FindingState::Resolved, 4, 3));
}

#[test]
fn what_can_not_be_told_stays_as_it_was() {
    let mut story = Story::begin();
    story.look(2, "r2", Sight { is_at_tip: None, ..HISTORY });
    assert_eq!(story.now().0, FindingState::Open);
    story.look(3, "r3", HISTORY);
    story.look(4, "r4", Sight { is_at_tip: None, ..HISTORY });
    assert_eq!(story.now().0, FindingState::OnlyInHistory);
}

#[test]
fn a_decision_holds_until_the_next_or_until_it_expires() {
    let stamp = |at| Stamp { now: Timestamp(at), by: "ada" };
    let accepted = TriageState::Accepted { expires: Timestamp(20) };
    let open = Triage::default();
    assert_eq!(open.state(Timestamp(1)), TriageState::Open);
    assert_eq!(open.decide(accepted.clone(), " ", stamp(10)), Err(TriageError::NoReason));
    assert_eq!(open.decide(accepted.clone(), "x", stamp(20)), Err(TriageError::Expired));
    assert_eq!(open.decide(TriageState::Open, &"x".repeat(1_001), stamp(1)), Err(TriageError::LongReason));
    let decided = open.decide(accepted.clone(), "test system", stamp(10)).unwrap().unwrap();
    assert_eq!(decided.state(Timestamp(19)), accepted);
    assert_eq!(decided.state(Timestamp(20)), TriageState::Open);
    assert_eq!(decided.decide(accepted, "test system", stamp(11)), Ok(None), "it comes twice");
    let mut last = decided;
    for at in 0..100 {
        last = last.decide(TriageState::Confirmed, &at.to_string(), stamp(at)).unwrap().unwrap();
    }
    assert_eq!(last.decisions.len(), MAX_DECISIONS);
    let json = serde_json::to_string(&last).unwrap();
    assert_eq!(serde_json::from_str::<Triage>(&json).unwrap(), last);
}
