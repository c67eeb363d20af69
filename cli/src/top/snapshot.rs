//! What the view shows: plain data, without a server or a terminal.

use secretscan_bus::topology::Queue;
use secretscan_model::{Agent, Timestamp};

use super::throughput::Throughput;

/// The system at one time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When.
    pub at: Timestamp,
    /// When the view began to look.
    pub since: Timestamp,
    /// Where the server is, without passwords.
    pub url: String,
    /// The server's name.
    pub server: String,
    /// The server's version.
    pub version: String,
    /// Whether the connection is up.
    pub is_connected: bool,
    /// Why not everything is as of now.
    pub trouble: Option<String>,
    /// In the order of the flow.
    pub queues: Vec<QueueRow>,
    /// By role.
    pub agents: Vec<Agent>,
    /// Those that have not ended, the furthest first.
    pub requests: Vec<RequestRow>,
    /// The newest first.
    pub notices: Vec<Notice>,
    /// What could not be done.
    pub dead_letters: u64,
    /// What is done in a second.
    pub throughput: Throughput,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRow {
    /// Which.
    pub queue: Queue,
    /// Messages that nobody has.
    pub waiting: u64,
    /// Messages that somebody works on.
    pub in_hand: u64,
    /// When the oldest of them came.
    pub oldest: Option<Timestamp>,
}

/// A request that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRow {
    /// Its id.
    pub id: String,
    /// The name of its repository, or what it was asked for by.
    pub repository: String,
    /// Its state, in a word or two.
    pub state: &'static str,
    /// When it was made.
    pub created: Timestamp,
    /// Commits that were scanned.
    pub commits: u64,
    /// Commits to scan; `None` until the history is listed.
    pub unknown: Option<u64>,
    /// Batches.
    pub batches: u64,
    /// Batches that have ended.
    pub ended: u64,
    /// Findings.
    pub findings: u64,
    /// How often an agent has begun it.
    pub attempts: u32,
}

/// What somebody should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// When.
    pub at: Timestamp,
    /// Of what kind.
    pub kind: &'static str,
    /// In words.
    pub text: String,
}

impl RequestRow {
    /// How far it is, from 0 to 1; `None` until that can be said.
    pub fn progress(&self) -> Option<f64> {
        let unknown = self.unknown?;
        match (unknown, self.batches) {
            (0, 0) => Some(1.0),
            (0, batches) => Some(self.ended as f64 / batches as f64),
            (unknown, _) => Some((self.commits as f64 / unknown as f64).min(1.0)),
        }
    }
}

/// The part of the flow that a queue belongs to.
pub fn stage(queue: Queue) -> &'static str {
    match queue {
        Queue::NewScans | Queue::Cancellations | Queue::Forgets | Queue::Pushes => "door",
        Queue::NewSchedules | Queue::ScheduleChanges | Queue::DueSchedules | Queue::ScheduleRuns => {
            "schedules"
        }
        Queue::QueuedScans(_) | Queue::ScheduledScans | Queue::ReportedScans => "scans",
        Queue::NewBatches | Queue::WaitingBatches(_) | Queue::ScheduledBatches | Queue::ReportedBatches => {
            "batches"
        }
        Queue::Events | Queue::DeadLetters => "notifier",
    }
}

/// The place of a queue in the flow.
pub fn place(queue: Queue) -> usize {
    match queue {
        Queue::NewScans => 0,
        Queue::Cancellations => 1,
        Queue::Forgets => 2,
        Queue::Pushes => 3,
        Queue::NewSchedules => 4,
        Queue::ScheduleChanges => 5,
        Queue::DueSchedules => 6,
        Queue::ScheduleRuns => 7,
        Queue::QueuedScans(_) => 8,
        Queue::ScheduledScans => 9,
        Queue::ReportedScans => 10,
        Queue::NewBatches => 11,
        Queue::WaitingBatches(_) => 12,
        Queue::ScheduledBatches => 13,
        Queue::ReportedBatches => 14,
        Queue::Events => 15,
        Queue::DeadLetters => 16,
    }
}
