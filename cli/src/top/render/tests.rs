use ratatui::Terminal;
use ratatui::backend::TestBackend;
use secretscan_bus::topology::Queue;
use secretscan_model::{Agent, Priority, Role, Timestamp};

use super::super::snapshot::{Notice, QueueRow, RequestRow, place};
use super::super::throughput::{Counters, Throughput};
use super::*;

/// 2026-05-28 20:26:40 UTC.
const NOW: i64 = 1_780_000_000_000;

fn before(seconds: i64) -> Timestamp {
    Timestamp(NOW - seconds * 1_000)
}

fn agent(role: Role, host: &str, holds: &[&str], seen: i64) -> Agent {
    Agent {
        id: format!("{}-0198f3c2a1b27c3d8e4f5a6b7c8d{:04}", role.as_str(), seen).parse().unwrap(),
        role,
        slots: 2,
        holds: holds.iter().map(|held| (*held).to_owned()).collect(),
        version: "0.1.0".into(),
        rule_set: String::new(),
        host: host.into(),
        started: before(3_600),
        seen: before(seen),
    }
}

fn request(id: &str, repository: &str, progress: Option<(u64, u64)>, attempts: u32) -> RequestRow {
    let (commits, unknown) = progress.map_or((0, None), |(commits, unknown)| (commits, Some(unknown)));
    RequestRow {
        id: id.into(),
        repository: repository.into(),
        state: if progress.is_some() { "scanning" } else { "Queued" },
        created: before(300),
        commits,
        unknown,
        batches: 4,
        ended: 2,
        findings: commits / 500,
        attempts,
    }
}

/// A system at work.
fn busy() -> Snapshot {
    let mut queues: Vec<QueueRow> = Queue::all()
        .into_iter()
        .map(|queue| QueueRow { queue, waiting: 0, in_hand: 0, oldest: None })
        .collect();
    queues.sort_by_key(|row| place(row.queue));
    for (queue, waiting, in_hand, age) in [
        (Queue::QueuedScans(Priority::OnDemand), 12, 1, 95),
        (Queue::ScheduledScans, 0, 1, 40),
        (Queue::WaitingBatches(Priority::Reactive), 3, 0, 5),
        (Queue::WaitingBatches(Priority::Scheduled), 4_000, 96, 1_200),
        (Queue::ScheduledBatches, 1, 4, 12),
        (Queue::Events, 7, 2, 0),
    ] {
        let row = queues.iter_mut().find(|row| row.queue == queue).unwrap();
        *row = QueueRow { queue, waiting, in_hand, oldest: queue.is_work().then(|| before(age)) };
    }
    let mut throughput = Throughput::default();
    let mut counters = Counters::default();
    for second in 0..120_i64 {
        counters.commits += 100 + (second as u64 * 37) % 400;
        counters.batches += u64::from(second % 3 == 0);
        counters.requests += u64::from(second % 20 == 0);
        throughput.record(before(120 - second), counters);
    }
    Snapshot {
        at: Timestamp(NOW),
        since: before(120),
        url: "nats://nats.example.org".into(),
        server: "n1".into(),
        version: "2.15.1".into(),
        is_connected: true,
        trouble: None,
        queues,
        agents: vec![
            agent(Role::RepoAgent, "scan-1", &["0198f3c2-a1b2"], 3),
            agent(Role::BatchAgent, "scan-1", &["0198f3c2-a1b2.1-1", "0198f3c2-a1b2.1-2"], 2),
            agent(Role::BatchAgent, "scan-2", &[], 25),
        ],
        requests: vec![
            request("r1", "github.com/nats-io/nats-server", Some((4_200, 9_000)), 1),
            request(
                "r2",
                "git.example.org/a-group-with-a-long-name/and-a-subgroup/the-project",
                Some((0, 800)),
                2,
            ),
            request("r3", "git.example.org/team/日本", None, 0),
        ],
        notices: vec![
            Notice { at: before(90), kind: "dead letter", text: "the host does not know it".into() },
            Notice {
                at: before(7_500),
                kind: "unknown commits",
                text: "3 commits that no push announced, by Ada".into(),
            },
        ],
        dead_letters: 2,
        throughput,
    }
}

fn shown(snapshot: &Snapshot, view: &View, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| render(snapshot, view, frame.area(), frame.buffer_mut())).unwrap();
    terminal.backend().to_string()
}

#[test]
fn busy_on_80_by_24() {
    insta::assert_snapshot!(shown(&busy(), &View::default(), 80, 24));
}

#[test]
fn busy_on_140_by_40() {
    insta::assert_snapshot!(shown(&busy(), &View::default(), 140, 40));
}

#[test]
fn idle_and_cut_off() {
    let snapshot = Snapshot {
        at: Timestamp(NOW),
        since: before(5),
        url: "nats://127.0.0.1:4222".into(),
        version: "2.15.1".into(),
        trouble: Some("the server does not answer within 5 s".into()),
        ..Snapshot::default()
    };
    let view = View { panel: Panel::Notices, is_paused: true, ..View::default() };
    insta::assert_snapshot!(shown(&snapshot, &view, 80, 24));
}

#[test]
fn no_size_is_too_small_or_too_large() {
    let snapshot = busy();
    for width in [1, 5, 39, 40, 41, 79, 119, 120, 121, 400] {
        for height in [1, 5, 11, 12, 13, 23, 29, 30, 31, 200] {
            for panel in [Panel::Queues, Panel::Notices] {
                shown(&snapshot, &View { panel, ..View::default() }, width, height);
            }
        }
    }
}
