//! The streams, consumers and buckets of secretscan: their names, their settings, and how they come into being.
//!
//! Start-up creates what is missing and refuses to run on what differs; it never deletes and never changes.

use std::num::NonZeroU64;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, PriorityPolicy, pull};
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};
use secretscan_model::{Priority, ScheduleId};

use crate::BusError;

pub mod compare;

/// Repository scan requests that wait for the scheduler or an agent.
pub const REPOSITORY_SCANS: &str = "REPOSITORY_SCANS";
/// New requests, cancellations, commits to forget: the public door. A stream of its own because it must not acknowledge: the reply to
/// a publisher is the controller's answer, not the server's.
pub const REPOSITORY_SCAN_DOOR: &str = "REPOSITORY_SCAN_DOOR";
/// Commit batches that wait for the controller, the scheduler or an agent.
pub const COMMIT_BATCHES: &str = "COMMIT_BATCHES";
/// Pushes that Git hosts told of.
pub const PUSHES: &str = "PUSHES";
/// New schedules and what is asked of them: a door as [`REPOSITORY_SCAN_DOOR`] is one.
pub const SCHEDULE_DOOR: &str = "SCHEDULE_DOOR";
/// The timers of schedules, which the server keeps, and what comes of them. No service may make a consumer of it: whoever
/// may set a timer chooses which of the stream's subjects it fires to.
pub const SCHEDULES_STREAM: &str = "SCHEDULES";
/// Everything that happened.
pub const EVENTS: &str = "EVENTS";
/// What could not be done, with the reason, for people to read.
pub const DEAD_LETTERS: &str = "DEAD_LETTERS";

/// What people did in the dashboard.
pub const AUDIT: &str = "AUDIT";

/// Bucket: repository scan requests by id.
pub const REQUESTS: &str = "requests";
/// Bucket: commit batches by `request.batch`.
pub const BATCHES: &str = "batches";
/// Bucket: repositories by id.
pub const REPOSITORIES: &str = "repositories";
/// Bucket: the ledger: `repository.head` and `repository.segment.key`.
pub const HISTORY: &str = "history";
/// Bucket: what each version of the rules consists of, by version.
pub const RULE_SETS: &str = "rule-sets";
/// Bucket: findings by `repository.fingerprint.file`.
pub const FINDINGS: &str = "findings";
/// Bucket: where findings stand, by `repository.fingerprint.file`, and the last look at all refs of a repository, by
/// `repository`.
pub const STANDINGS: &str = "standings";
/// Bucket: what people decided about secrets, by `repository.rule.hash`.
pub const TRIAGE: &str = "triage";
/// Bucket: living agents by `role.id`.
pub const AGENTS: &str = "agents";
/// Bucket: which questions at the door have their answer, by hash of the reply subject.
pub const ANSWERED: &str = "answered";
/// Bucket: deliveries of Git hosts that were taken, by `source.hash of the delivery's id`.
pub const DELIVERIES: &str = "deliveries";
/// Bucket: which commits the pushes of a request brought, by `repository.request`.
pub const PUSHED: &str = "pushed";
/// Bucket: what was told to the world, by a key that each message has of its own.
pub const NOTIFICATIONS: &str = "notifications";
/// Bucket: schedules by id.
pub const SCHEDULES: &str = "schedules";
/// Bucket: commits that people were told of though no push announced them, by repository.
pub const ALERTED: &str = "alerted";
/// Object store: packs by `request.batch`.
pub const PACKS: &str = "packs";

/// The public door: a new request.
pub const NEW_SCAN: &str = "secretscan.repository-scan.new";
/// The public door: a cancellation.
pub const CANCEL_SCAN: &str = "secretscan.repository-scan.cancel";
/// The public door: commits that are to be scanned again.
pub const FORGET_COMMITS: &str = "secretscan.history.forget";
/// A push that a Git host told of.
pub const PUSH_RECEIVED: &str = "secretscan.push.received";
/// The public door: a new schedule.
pub const NEW_SCHEDULE: &str = "secretscan.schedule.new";
/// The door of operators: what is asked of a schedule.
pub const CHANGE_SCHEDULE: &str = "secretscan.schedule.change";
/// A timer has fired.
pub const SCHEDULE_DUE: &str = "secretscan.schedule.due";
/// The run of a schedule, for the controller.
pub const SCHEDULE_RUN: &str = "secretscan.schedule.run";
/// A new commit batch.
pub const NEW_BATCH: &str = "secretscan.commit-batch.new";
/// A repository scan that an agent has listed or ended, for the controller.
pub const REPORTED_SCAN: &str = "secretscan.repository-scan.reported";
/// A commit batch that an agent has ended, for the controller.
pub const REPORTED_BATCH: &str = "secretscan.commit-batch.reported";
/// A repository scan for an agent.
pub const SCHEDULED_SCAN: &str = "secretscan.repository-scan.scheduled";
/// A commit batch for an agent.
pub const SCHEDULED_BATCH: &str = "secretscan.commit-batch.scheduled";

/// Where timers wait, one for each schedule.
pub(crate) const SCHEDULE_TIMERS: &str = "secretscan.schedule.timer.*";
pub(crate) const EVENT_SUBJECTS: &str = "secretscan.event.>";
pub(crate) const AUDIT_SUBJECTS: &str = "secretscan.audit.>";
const DEAD_LETTER_SUBJECTS: &str = "secretscan.dead-letter.>";

/// Where the timer of a schedule waits.
pub(crate) fn schedule_timer(schedule: &ScheduleId) -> String {
    format!("secretscan.schedule.timer.{schedule}")
}

/// A repository scan for the scheduler.
pub fn queued_scan(priority: Priority) -> String {
    format!("secretscan.repository-scan.queued.{}", priority.as_str())
}

/// A commit batch for the scheduler.
pub fn waiting_batch(priority: Priority) -> String {
    format!("secretscan.commit-batch.waiting.{}", priority.as_str())
}

/// Where a message of a subject goes when it can't be done.
pub fn dead_letter(origin: &str) -> String {
    format!("secretscan.dead-letter.{}", origin.trim_start_matches("secretscan."))
}

/// Work in hand comes back so many seconds after its holder has died, unless configured otherwise.
pub(crate) const ACK_WAIT_S: NonZeroU64 = NonZeroU64::new(30).expect("30 is not 0");
/// The same message id is stored once within this time.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(60 * 60);
/// Events are kept this long.
const EVENTS_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Records of batches are kept this long after their last change; their requests say how they ended.
const BATCHES_MAX_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A delivery is refused for this long when it comes again. Hosts deliver again within hours, people within days.
const DELIVERIES_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// What a push brought is kept this long: until it is told.
const PUSHED_MAX_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A message is told once within this time; longer than events are kept.
const NOTIFICATIONS_MAX_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Longer than anybody waits for an answer.
const ANSWERED_MAX_AGE: Duration = Duration::from_secs(5 * 60);
/// Messages that the scheduler considers at a time, by kind and priority: beyond it, first come, first considered.
pub const SCHEDULER_WINDOW: i64 = 4_096;
/// Work in hand at a time, over all agents of a role.
const MAX_ACK_PENDING: i64 = 10_000;
/// What the notifier could not tell yet: more, so that a chat that is down does not hold up statuses.
const MAX_UNTOLD: i64 = 100_000;

/// Pulls that wait at a time, over all agents of a role: each has one more than it has slots. The server's own limit is 512.
const MAX_WAITING: i64 = 10_000;
/// The name that pulls of agents go by, where their order counts.
pub(crate) const AGENTS_GROUP: &str = "agents";

/// A durable consumer and what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// New requests, for the controller.
    NewScans,
    /// Cancellations, for the controller.
    Cancellations,
    /// Commits to forget, for the controller.
    Forgets,
    /// Pushes, for the controller.
    Pushes,
    /// New schedules, for the controller.
    NewSchedules,
    /// What is asked of schedules, for the controller.
    ScheduleChanges,
    /// Timers that have fired, for the scheduler.
    DueSchedules,
    /// Runs of schedules, for the controller.
    ScheduleRuns,
    /// Requests of one priority, for the scheduler.
    QueuedScans(Priority),
    /// Requests for the repo-agents.
    ScheduledScans,
    /// Requests that an agent has listed or ended, for the controller.
    ReportedScans,
    /// New batches, for the controller.
    NewBatches,
    /// Batches that an agent has ended, for the controller.
    ReportedBatches,
    /// Batches of one priority, for the scheduler.
    WaitingBatches(Priority),
    /// Batches for the batch-agents.
    ScheduledBatches,
    /// What happened, for the notifier. The stream keeps what was read.
    Events,
    /// What could not be done, for the notifier. The stream keeps what was read.
    DeadLetters,
}

impl Queue {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let mut all = vec![
            Self::NewScans,
            Self::Cancellations,
            Self::Forgets,
            Self::Pushes,
            Self::NewSchedules,
            Self::ScheduleChanges,
            Self::DueSchedules,
            Self::ScheduleRuns,
            Self::ScheduledScans,
            Self::ReportedScans,
            Self::NewBatches,
            Self::ReportedBatches,
            Self::ScheduledBatches,
            Self::Events,
            Self::DeadLetters,
        ];
        for priority in Priority::ALL {
            all.push(Self::QueuedScans(priority));
            all.push(Self::WaitingBatches(priority));
        }
        all
    }

    /// Whether it is work that somebody must do, so that it is empty when all is done.
    pub fn is_work(self) -> bool {
        !matches!(self, Self::Events | Self::DeadLetters)
    }

    /// Whether agents pull it: work that needs a slot goes to whoever has one.
    pub(crate) fn is_for_agents(self) -> bool {
        matches!(self, Self::ScheduledScans | Self::ScheduledBatches)
    }

    /// The stream that it reads.
    pub fn stream(self) -> &'static str {
        match self {
            Self::NewScans | Self::Cancellations | Self::Forgets => REPOSITORY_SCAN_DOOR,
            Self::Pushes => PUSHES,
            Self::NewSchedules | Self::ScheduleChanges => SCHEDULE_DOOR,
            Self::DueSchedules | Self::ScheduleRuns => SCHEDULES_STREAM,
            Self::Events => EVENTS,
            Self::DeadLetters => DEAD_LETTERS,
            Self::QueuedScans(_) | Self::ScheduledScans | Self::ReportedScans => REPOSITORY_SCANS,
            Self::NewBatches | Self::ReportedBatches | Self::WaitingBatches(_) | Self::ScheduledBatches => {
                COMMIT_BATCHES
            }
        }
    }

    /// The name of the durable consumer.
    pub fn consumer(self) -> String {
        match self {
            Self::NewScans => "controller-new".into(),
            Self::Cancellations => "controller-cancel".into(),
            Self::Forgets => "controller-forget".into(),
            Self::Pushes => "controller-pushes".into(),
            Self::NewSchedules => "controller-new-schedules".into(),
            Self::ScheduleChanges => "controller-schedule-changes".into(),
            Self::DueSchedules => "scheduler-due".into(),
            Self::ScheduleRuns => "controller-schedule-runs".into(),
            Self::QueuedScans(priority) => format!("scheduler-queued-{}", priority.as_str()),
            Self::ScheduledScans => "repo-agents".into(),
            Self::ReportedScans => "controller-reported-scans".into(),
            Self::NewBatches => "controller-batches".into(),
            Self::ReportedBatches => "controller-reported-batches".into(),
            Self::WaitingBatches(priority) => format!("scheduler-waiting-{}", priority.as_str()),
            Self::ScheduledBatches => "batch-agents".into(),
            Self::Events => "notifier-events".into(),
            Self::DeadLetters => "notifier-dead-letters".into(),
        }
    }

    /// The subject that it reads.
    pub fn subject(self) -> String {
        match self {
            Self::NewScans => NEW_SCAN.into(),
            Self::Cancellations => CANCEL_SCAN.into(),
            Self::Forgets => FORGET_COMMITS.into(),
            Self::Pushes => PUSH_RECEIVED.into(),
            Self::NewSchedules => NEW_SCHEDULE.into(),
            Self::ScheduleChanges => CHANGE_SCHEDULE.into(),
            Self::DueSchedules => SCHEDULE_DUE.into(),
            Self::ScheduleRuns => SCHEDULE_RUN.into(),
            Self::QueuedScans(priority) => queued_scan(priority),
            Self::ScheduledScans => SCHEDULED_SCAN.into(),
            Self::ReportedScans => REPORTED_SCAN.into(),
            Self::NewBatches => NEW_BATCH.into(),
            Self::ReportedBatches => REPORTED_BATCH.into(),
            Self::WaitingBatches(priority) => waiting_batch(priority),
            Self::ScheduledBatches => SCHEDULED_BATCH.into(),
            Self::Events => EVENT_SUBJECTS.into(),
            Self::DeadLetters => DEAD_LETTER_SUBJECTS.into(),
        }
    }

    /// What is in it, for people.
    pub fn holds(self) -> String {
        match self {
            Self::NewScans => "requests that a controller has not read".into(),
            Self::Cancellations => "cancellations".into(),
            Self::Forgets => "commits to scan again".into(),
            Self::Pushes => "pushes".into(),
            Self::NewSchedules => "new schedules".into(),
            Self::ScheduleChanges => "changes of schedules".into(),
            Self::DueSchedules => "schedules that are due".into(),
            Self::ScheduleRuns => "runs of schedules".into(),
            Self::QueuedScans(priority) => format!("requests to schedule, {}", priority.as_str()),
            Self::ScheduledScans => "requests for repo-agents".into(),
            Self::ReportedScans => "reports of repo-agents".into(),
            Self::NewBatches => "new batches of commits".into(),
            Self::ReportedBatches => "reports of batch-agents".into(),
            Self::WaitingBatches(priority) => format!("batches to schedule, {}", priority.as_str()),
            Self::ScheduledBatches => "batches for batch-agents".into(),
            Self::Events => "events for the notifier".into(),
            Self::DeadLetters => "dead letters for the notifier".into(),
        }
    }

    pub(crate) fn config(self, ack_wait: Duration) -> pull::Config {
        let max_ack_pending = match self {
            Self::QueuedScans(_) | Self::WaitingBatches(_) => SCHEDULER_WINDOW,
            Self::NewScans
            | Self::Cancellations
            | Self::Forgets
            | Self::Pushes
            | Self::NewSchedules
            | Self::ScheduleChanges
            | Self::DueSchedules
            | Self::ScheduleRuns
            | Self::ScheduledScans
            | Self::ReportedScans
            | Self::NewBatches
            | Self::ReportedBatches
            | Self::ScheduledBatches => MAX_ACK_PENDING,
            Self::Events | Self::DeadLetters => MAX_UNTOLD,
        };
        let for_agents = match self.is_for_agents() {
            true => pull::Config {
                priority_policy: PriorityPolicy::Prioritized,
                priority_groups: vec![AGENTS_GROUP.to_owned()],
                max_waiting: MAX_WAITING,
                ..pull::Config::default()
            },
            false => pull::Config::default(),
        };
        pull::Config {
            durable_name: Some(self.consumer()),
            filter_subject: self.subject(),
            ack_policy: AckPolicy::Explicit,
            ack_wait,
            // Attempts are counted in the record: the server's count is not exact after a crash.
            max_deliver: -1,
            max_ack_pending,
            ..for_agents
        }
    }
}

/// All streams, those of buckets and the object store among them, as they are created.
pub(crate) fn streams(replicas: usize) -> Vec<stream::Config> {
    let work_queue = |name: &str, subjects: &[&str]| stream::Config {
        name: name.to_owned(),
        subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
        retention: RetentionPolicy::WorkQueue,
        // If somebody sets a limit: what is new waits at its publisher, and what is stored is never thrown away.
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        duplicate_window: DUPLICATE_WINDOW,
        num_replicas: replicas,
        ..Default::default()
    };
    // As clients make them: see ADR-8 of the NATS architecture decisions.
    let bucket = |name: &str, max_age: Duration| stream::Config {
        name: kv_stream(name),
        subjects: vec![format!("$KV.{name}.>")],
        max_messages_per_subject: 1,
        max_age,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        num_replicas: replicas,
        ..Default::default()
    };
    let kept = Duration::ZERO;
    vec![
        stream::Config {
            no_ack: true,
            ..work_queue(REPOSITORY_SCAN_DOOR, &[NEW_SCAN, CANCEL_SCAN, FORGET_COMMITS])
        },
        work_queue(PUSHES, &[PUSH_RECEIVED]),
        stream::Config { no_ack: true, ..work_queue(SCHEDULE_DOOR, &[NEW_SCHEDULE, CHANGE_SCHEDULE]) },
        stream::Config {
            allow_message_schedules: true,
            // The server wants these two so where it keeps timers. There is no limit that would throw anything away.
            allow_rollup: true,
            discard: DiscardPolicy::Old,
            ..work_queue(SCHEDULES_STREAM, &[SCHEDULE_TIMERS, SCHEDULE_DUE, SCHEDULE_RUN])
        },
        work_queue(REPOSITORY_SCANS, &["secretscan.repository-scan.queued.*", SCHEDULED_SCAN, REPORTED_SCAN]),
        work_queue(
            COMMIT_BATCHES,
            &[NEW_BATCH, "secretscan.commit-batch.waiting.*", SCHEDULED_BATCH, REPORTED_BATCH],
        ),
        stream::Config {
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            max_age: EVENTS_MAX_AGE,
            // Who keeps a copy reads it in pages.
            allow_direct: true,
            ..work_queue(EVENTS, &[EVENT_SUBJECTS])
        },
        stream::Config {
            retention: RetentionPolicy::Limits,
            allow_direct: true,
            ..work_queue(AUDIT, &[AUDIT_SUBJECTS])
        },
        stream::Config {
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            ..work_queue(DEAD_LETTERS, &[DEAD_LETTER_SUBJECTS])
        },
        bucket(REQUESTS, kept),
        bucket(BATCHES, BATCHES_MAX_AGE),
        bucket(REPOSITORIES, kept),
        bucket(HISTORY, kept),
        bucket(RULE_SETS, kept),
        bucket(FINDINGS, kept),
        bucket(STANDINGS, kept),
        bucket(TRIAGE, kept),
        stream::Config {
            // On disk too: the services, which may not create buckets, need them after a restart of the server.
            allow_message_ttl: true,
            subject_delete_marker_ttl: Some(Duration::from_secs(60)),
            ..bucket(AGENTS, kept)
        },
        bucket(ANSWERED, ANSWERED_MAX_AGE),
        bucket(DELIVERIES, DELIVERIES_MAX_AGE),
        bucket(PUSHED, PUSHED_MAX_AGE),
        bucket(NOTIFICATIONS, NOTIFICATIONS_MAX_AGE),
        bucket(SCHEDULES, kept),
        bucket(ALERTED, kept),
        stream::Config {
            name: format!("OBJ_{PACKS}"),
            subjects: vec![format!("$O.{PACKS}.C.>"), format!("$O.{PACKS}.M.>")],
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            allow_rollup: true,
            allow_direct: true,
            num_replicas: replicas,
            ..Default::default()
        },
    ]
}

/// The stream of a bucket.
pub(crate) fn kv_stream(bucket: &str) -> String {
    format!("KV_{bucket}")
}

const WHAT_TO_DO: &str =
    "`secretscan nats-config migrate` shows what can be done; or use another NATS account";

/// Creates what is missing and checks what exists.
pub(crate) async fn ensure(jetstream: &Context, replicas: usize, ack_wait: Duration) -> Result<(), BusError> {
    for config in streams(replicas) {
        ensure_stream(jetstream, &config).await?;
    }
    for queue in Queue::all() {
        let stream = jetstream
            .get_stream_no_info(queue.stream())
            .await
            .map_err(|error| wrong("the stream", queue.stream(), error))?;
        stream
            .create_consumer_strict(queue.config(ack_wait))
            .await
            .map_err(|error| wrong("the consumer", &queue.consumer(), format!("{error}. {WHAT_TO_DO}")))?;
    }
    Ok(())
}

/// Whether secretscan ever ran there: its buckets are there, or at least the first of them.
pub(crate) async fn exists(jetstream: &Context) -> Result<bool, BusError> {
    match jetstream.get_stream(kv_stream(REQUESTS)).await {
        Ok(_) => Ok(true),
        Err(error) if is_without_stream(&error) => Ok(false),
        Err(error) => {
            let (bucket, source) = (REQUESTS.to_owned(), Box::new(error));
            Err(BusError::Bucket { bucket, action: "opening", source })
        }
    }
}

/// Whether there is no such stream.
pub(crate) fn is_without_stream(error: &GetStreamError) -> bool {
    match error.kind() {
        GetStreamErrorKind::JetStream(reason) => reason.error_code() == ErrorCode::STREAM_NOT_FOUND,
        GetStreamErrorKind::EmptyName
        | GetStreamErrorKind::InvalidStreamName
        | GetStreamErrorKind::Request => false,
    }
}

fn wrong(kind: &'static str, name: &str, error: impl std::fmt::Display) -> BusError {
    BusError::Topology { kind, name: name.to_owned(), reason: error.to_string() }
}

async fn ensure_stream(jetstream: &Context, config: &stream::Config) -> Result<(), BusError> {
    let stream = jetstream
        .get_or_create_stream(config.clone())
        .await
        .map_err(|error| wrong("the stream", &config.name, error))?;
    let mut differences = compare::stream(&stream.cached_info().config, config, None);
    // The others change how it works, and not what it is.
    differences.retain(|difference| ["subjects", "retention", "no_ack"].contains(&difference.field));
    if differences.is_empty() {
        return Ok(());
    }
    let differences: Vec<String> = differences.iter().map(ToString::to_string).collect();
    Err(wrong("the stream", &config.name, format!("{}. {WHAT_TO_DO}", differences.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_reads_a_subject_of_its_stream() {
        for queue in Queue::all() {
            let stream = streams(1).into_iter().find(|stream| stream.name == queue.stream()).unwrap();
            let subject = queue.subject();
            let prefix = subject.rsplit_once('.').unwrap().0;
            assert!(
                stream.subjects.iter().any(|known| *known == subject || *known == format!("{prefix}.*")),
                "{subject}"
            );
        }
    }
}
