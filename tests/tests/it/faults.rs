//! A short fault run, and a crash at every beat of every handler.

use std::collections::BTreeSet;
use std::time::Duration;

use secretscan_tests::faults::{Options, crash_at, poison, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_run_of_faults_loses_repeats_and_leaves_nothing() {
    let options =
        Options { seed: 1, repositories: 20, duration: Duration::from_secs(25), ..Options::default() };
    let outcome = run(&options, |line| println!("{line}")).await.unwrap();
    println!("{outcome}");
    assert_eq!(outcome.faults.values().sum::<u64>(), 35);
}

/// The consumers that have messages.
const CONSUMERS: [&str; 16] = [
    "controller-new",
    "controller-cancel",
    "controller-forget",
    "controller-pushes",
    "controller-new-schedules",
    "controller-schedule-changes",
    "controller-schedule-runs",
    "scheduler-due",
    "notifier-events",
    "scheduler-queued-on-demand",
    "repo-agents",
    "controller-batches",
    "scheduler-waiting-on-demand",
    "batch-agents",
    "controller-reported-scans",
    "controller-reported-batches",
];

/// What happens to a request and to a batch, by the last event of each write, and how many effects follow.
const EVENTS: [(&str, usize); 15] = [
    ("scan.Refuse", 0),
    ("scan.Accept", 1),
    ("scan.Join", 1),
    ("scan.Assign", 1),
    ("scan.Claim", 0),
    ("scan.FinishListing", 1),
    ("scan.GiveBack", 0),
    ("scan.Fail", 1),
    ("scan.Cancel", 2),
    ("batch.Admit", 1),
    ("batch.Assign", 1),
    ("batch.Claim", 0),
    ("batch.GiveBack", 0),
    ("batch.Finish", 1),
    ("batch.Cancel", 3),
];

/// Writes between the beats.
const BETWEEN: [&str; 47] = [
    "scan.created",
    "repository.held",
    "push.stored",
    "repository.joined",
    "pushed.written",
    "repository.released",
    "scan.Compare.written",
    "pack.stored",
    "scan.CutBatch.written",
    "batch.announced",
    "batch.created",
    "batch.StartValidation.written",
    "ledger.segment-written",
    "ledger.admitted",
    "finding.written",
    "survey.written",
    "scan.Settle.told",
    "scan.Settle.performed.0",
    "scan.Settle.performed.1",
    "scan.Settle.performed.2",
    "batch.Settle.told",
    "batch.Settle.performed.0",
    "batch.Settle.performed.1",
    "batch.Settle.performed.2",
    "ledger.marked",
    "ledger.forgotten",
    "scan.ChooseRules.written",
    "ledger.admitted-again",
    "ledger.moved",
    "scan.EndBatch.written",
    "scan.EndBatch.told",
    "scan.EndBatch.performed.0",
    "pack.pieces-deleted",
    "schedule.created",
    "schedule.Recover.performed.0",
    "schedule.Fire.written",
    "schedule.Fire.performed.0",
    "schedule.Fire.performed.1",
    "schedule.Pause.written",
    "schedule.Resume.written",
    "schedule.Resume.performed.0",
    "schedule.RunNow.written",
    "schedule.RunNow.performed.0",
    "alert.told",
    "notification.pending.sending.written",
    "notification.pending.answered",
    "notification.pending.sent.written",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_after_any_beat_of_any_handler_changes_nothing() {
    let beats = CONSUMERS
        .into_iter()
        .flat_map(|consumer| ["delivered", "handled", "settled"].map(|beat| format!("{consumer}.{beat}")));
    let events = EVENTS.into_iter().flat_map(|(event, effects)| {
        let performed = (0..effects).map(move |index| format!("{event}.performed.{index}"));
        [format!("{event}.written"), format!("{event}.told")].into_iter().chain(performed)
    });
    let points: BTreeSet<String> =
        beats.chain(events).chain(BETWEEN.into_iter().map(str::to_owned)).collect();
    let options = Options {
        seed: 2,
        repositories: 12,
        replicas: 1,
        duration: Duration::from_secs(10),
        ..Options::default()
    };
    let crashes = crash_at(points.clone(), &options, |line| println!("{line}")).await.unwrap();
    println!("{} crash points; {:?}", crashes.reached.len(), crashes.checked);
    let missed: Vec<_> = points.difference(&crashes.reached).collect();
    assert!(missed.is_empty(), "no process came to {missed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_third_agent_that_is_lost_to_a_request_fails_it_and_no_other() {
    let options = Options {
        seed: 3,
        repositories: 6,
        replicas: 2,
        duration: Duration::from_secs(1),
        ..Options::default()
    };
    let poisoned = poison(&options, |line| println!("{line}")).await.unwrap();
    println!("{poisoned:?}");
    for reason in [&poisoned.of_repo_agents, &poisoned.of_batch_agents] {
        assert!(reason.contains("gave up after 3 attempts; the last: its agent "), "{reason}");
        assert!(reason.contains(" was lost"), "{reason}");
    }
    // For each of the two: three that tried, and the fourth, which crashed just after it had written the failure.
    assert_eq!(poisoned.lost, 8);
}
