//! Who may do what: the permissions of each role on a NATS server.
//!
//! Each role has a user of its own, which may use just the subjects that the role's code uses. The decision worth knowing:
//! no service may create a consumer, but that of its own queues, which hold what it can't write. The server does not ask
//! whether the creator may publish to the subject that a consumer delivers to, so who may write a bucket and read it by
//! consumers may write anywhere. What services read, they read with gets and plain subscriptions; see [`crate::Bucket`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use async_nats::jetstream::stream;
use nkeys::KeyPair;
use secretscan_model::Priority;
use serde_json::{Value, json};

use crate::topology::{
    AGENTS, ALERTED, ANSWERED, AUDIT, AUDIT_SUBJECTS, BATCHES, CANCEL_SCAN, CHANGE_SCHEDULE, DEAD_LETTERS,
    DELIVERIES, EVENT_SUBJECTS, EVENTS, FINDINGS, FORGET_COMMITS, HISTORY, NEW_BATCH, NEW_SCAN, NEW_SCHEDULE,
    NOTIFICATIONS, PACKS, PUSH_RECEIVED, PUSHED, Queue, REPORTED_BATCH, REPORTED_SCAN, REPOSITORIES,
    REQUESTS, RULE_SETS, SCHEDULE_RUN, SCHEDULE_TIMERS, SCHEDULED_BATCH, SCHEDULED_SCAN, SCHEDULES,
    SCHEDULES_STREAM, STANDINGS, TRIAGE, streams,
};

/// An identity on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// Sets up streams, consumers and buckets, and may do everything.
    Setup,
    /// The service `controller`.
    Controller,
    /// The service `scheduler`.
    Scheduler,
    /// The service `repo-agent`.
    RepoAgent,
    /// The service `batch-agent`.
    BatchAgent,
    /// The service `webhook`, which the internet may talk to: may store a push, and ask whether a repository is known.
    Webhook,
    /// The service `notifier`, which talks to Git hosts and people: may read, and remember what it has told.
    Notifier,
    /// People's commands: may read everything but packs, see what waits in queues, ask at the public door, have commits
    /// forgotten, and drop dead letters.
    Cli,
    /// People who decide about findings: may read them, and write what was decided.
    Operator,
    /// The service `dashboard`: may read everything but packs, ask at the door for people who are logged in, write what
    /// they decide about findings and that they did it, and drop dead letters.
    Dashboard,
    /// The service `operator` of a Kubernetes cluster: may ask at the door for who makes resources there, and read requests and
    /// schedules.
    Kubernetes,
    /// The public door: may publish a request or a cancellation and read the answer, and tell of a skipped hook.
    Requester,
}

/// Subjects that an identity may use. All others are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// To publish to.
    pub publish: Vec<String>,
    /// To subscribe to.
    pub subscribe: Vec<String>,
    /// Whether it may answer the questions that it hears.
    pub answers: bool,
}

/// The buckets that people are shown.
const SHOWN: [&str; 10] =
    [REQUESTS, BATCHES, REPOSITORIES, HISTORY, RULE_SETS, FINDINGS, STANDINGS, TRIAGE, AGENTS, SCHEDULES];

/// Where clients that nobody configured expect answers, such as the `nats` command. No service does.
const ANY_INBOX: &str = "_INBOX.>";
/// A question at the door may be answered for this long.
const ANSWER_WITHIN: &str = "60s";

/// What the subjects of a connection's answers begin with: only who has the name may subscribe to them.
pub(crate) fn inbox(name: &str) -> String {
    format!("_INBOX_{name}")
}

impl Identity {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Setup,
        Self::Controller,
        Self::Scheduler,
        Self::RepoAgent,
        Self::BatchAgent,
        Self::Webhook,
        Self::Notifier,
        Self::Cli,
        Self::Operator,
        Self::Dashboard,
        Self::Kubernetes,
        Self::Requester,
    ];

    /// The name of its user, and of its connections (see [`crate::NatsConfig::name`]).
    pub fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Controller => "controller",
            Self::Scheduler => "scheduler",
            Self::RepoAgent => "repo-agent",
            Self::BatchAgent => "batch-agent",
            Self::Webhook => "webhook",
            Self::Notifier => "notifier",
            Self::Cli => "cli",
            Self::Operator => "operator",
            Self::Dashboard => "dashboard",
            Self::Kubernetes => "kubernetes",
            Self::Requester => "requester",
        }
    }

    /// What it may do; `None`: everything.
    pub fn permissions(self) -> Option<Permissions> {
        let mut may = Permissions {
            publish: Vec::new(),
            subscribe: vec![format!("{}.>", inbox(self.name()))],
            answers: false,
        };
        match self {
            Self::Setup => return None,
            Self::Controller => {
                may.pull(&[Queue::NewScans, Queue::Cancellations, Queue::Forgets, Queue::Pushes]);
                may.pull(&[Queue::NewBatches, Queue::ReportedScans, Queue::ReportedBatches]);
                may.pull(&[Queue::NewSchedules, Queue::ScheduleChanges]);
                may.take(&[Queue::ScheduleRuns]);
                may.keep_time();
                may.subscribe(&[NEW_SCAN, CANCEL_SCAN, FORGET_COMMITS, NEW_SCHEDULE, CHANGE_SCHEDULE]);
                may.answers = true;
                for bucket in [REQUESTS, BATCHES, REPOSITORIES, HISTORY, ANSWERED, SCHEDULES] {
                    may.read(bucket);
                    may.write(bucket, ">");
                }
                may.look_at_packs();
                may.purge_packs();
                may.publish(&["secretscan.repository-scan.queued.*", "secretscan.commit-batch.waiting.*"]);
                may.publish(&["secretscan.event.repository-scan.>", "secretscan.event.commit-batch.>"]);
                may.publish(&["secretscan.dead-letter.>"]);
            }
            Self::Scheduler => {
                for priority in Priority::ALL {
                    may.pull(&[Queue::QueuedScans(priority), Queue::WaitingBatches(priority)]);
                }
                may.look_at(&[Queue::ScheduledScans, Queue::ScheduledBatches]);
                may.take(&[Queue::DueSchedules]);
                may.keep_time();
                may.read_few(SCHEDULES);
                for bucket in [REQUESTS, BATCHES, REPOSITORIES, SCHEDULES] {
                    may.read(bucket);
                    may.write(bucket, ">");
                }
                may.read(AGENTS);
                may.read_few(AGENTS);
                may.subscribe.push(format!("$KV.{AGENTS}.>"));
                may.publish(&[SCHEDULED_SCAN, SCHEDULED_BATCH]);
                may.publish(&["secretscan.event.repository-scan.>", "secretscan.event.commit-batch.>"]);
                may.publish(&["secretscan.dead-letter.>"]);
            }
            Self::RepoAgent => {
                may.pull(&[Queue::ScheduledScans]);
                may.read(REQUESTS);
                may.write(REQUESTS, "*");
                may.subscribe.push(format!("$KV.{REQUESTS}.*"));
                may.read(BATCHES);
                may.read(HISTORY);
                may.read(REPOSITORIES);
                may.read(RULE_SETS);
                for bucket in [PUSHED, ALERTED] {
                    may.read(bucket);
                    may.write(bucket, ">");
                }
                may.read_few(PUSHED);
                may.publish(&["secretscan.event.alert.unknown-commits.*"]);
                for bucket in [FINDINGS, STANDINGS] {
                    may.read(bucket);
                    may.read_few(bucket);
                }
                may.write(STANDINGS, ">");
                may.live("repo-agent");
                may.read_packs();
                may.write_packs();
                may.purge_packs();
                may.publish(&[NEW_BATCH, REPORTED_SCAN, "secretscan.event.repository-scan.>"]);
                may.publish(&["secretscan.dead-letter.repository-scan.>"]);
            }
            Self::BatchAgent => {
                may.pull(&[Queue::ScheduledBatches]);
                for bucket in [BATCHES, FINDINGS] {
                    may.read(bucket);
                    may.write(bucket, ">");
                }
                may.subscribe.push(format!("$KV.{BATCHES}.>"));
                may.read(HISTORY);
                may.read(RULE_SETS);
                may.write(RULE_SETS, "*");
                may.live("batch-agent");
                may.read_packs();
                may.publish(&[
                    REPORTED_BATCH,
                    "secretscan.event.commit-batch.>",
                    "secretscan.event.finding.>",
                ]);
                may.publish(&["secretscan.dead-letter.commit-batch.>"]);
            }
            Self::Webhook => {
                may.publish(&[PUSH_RECEIVED]);
                may.read(DELIVERIES);
                may.write(DELIVERIES, ">");
                may.read(REPOSITORIES);
            }
            Self::Notifier => {
                may.pull(&[Queue::Events, Queue::DeadLetters]);
                for bucket in [REQUESTS, BATCHES, REPOSITORIES, FINDINGS, TRIAGE, PUSHED, NOTIFICATIONS] {
                    may.read(bucket);
                }
                may.read_few(FINDINGS);
                may.write(NOTIFICATIONS, ">");
            }
            Self::Cli => {
                for task in [Task::Ask, Task::Read, Task::Follow, Task::SortDeadLetters, Task::Inspect] {
                    may.do_task(task);
                }
                may.subscribe(&[ANY_INBOX]);
            }
            Self::Operator => may.do_task(Task::Decide),
            Self::Dashboard => {
                may.publish(&[NEW_SCAN, CANCEL_SCAN, FORGET_COMMITS, NEW_SCHEDULE, CHANGE_SCHEDULE]);
                for bucket in SHOWN {
                    may.read(bucket);
                    may.read_few(bucket);
                    may.subscribe.push(format!("$KV.{bucket}.>"));
                }
                may.write(TRIAGE, ">");
                for stream in [EVENTS, AUDIT] {
                    may.publish.push(format!("$JS.API.DIRECT.GET.{stream}"));
                }
                may.publish(&[AUDIT_SUBJECTS]);
                may.subscribe(&[EVENT_SUBJECTS, AUDIT_SUBJECTS]);
                may.sort_dead_letters();
                may.look_at(&Queue::all());
                may.look_into_work();
            }
            Self::Kubernetes => {
                may.publish(&[NEW_SCAN, CANCEL_SCAN, NEW_SCHEDULE, CHANGE_SCHEDULE]);
                for bucket in [REQUESTS, SCHEDULES] {
                    may.read(bucket);
                    may.subscribe.push(format!("$KV.{bucket}.*"));
                }
            }
            Self::Requester => {
                may.publish(&[NEW_SCAN, CANCEL_SCAN, NEW_SCHEDULE, "secretscan.event.hook-skipped.*"]);
                may.subscribe(&[ANY_INBOX]);
            }
        }
        Some(may)
    }
}

/// What people's commands do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Ask for scans and schedules, take them back, have commits forgotten.
    Ask,
    /// Read requests, repositories, findings, agents.
    Read,
    /// Follow what happens.
    Follow,
    /// Read dead letters and drop them.
    SortDeadLetters,
    /// See streams and queues, how long they are, and what the key may do.
    Inspect,
    /// Decide about findings.
    Decide,
}

impl Task {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Ask, Self::Read, Self::Follow, Self::SortDeadLetters, Self::Inspect, Self::Decide];

    /// In words.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Ask => "ask for scans",
            Self::Read => "read requests and findings",
            Self::Follow => "follow what happens",
            Self::SortDeadLetters => "sort dead letters",
            Self::Inspect => "look at streams and queues",
            Self::Decide => "decide about findings",
        }
    }

    /// The subjects that it takes.
    pub fn needs(self) -> Permissions {
        let mut may = Permissions { publish: Vec::new(), subscribe: Vec::new(), answers: false };
        may.do_task(self);
        may
    }
}

/// The keys of all identities.
pub struct Keys(BTreeMap<Identity, KeyPair>);

/// A file of keys that can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{action} the key file {} failed", path.display())]
pub struct KeyFileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The file of an identity's key: an nkey seed.
pub fn seed_file(dir: &Path, identity: Identity) -> PathBuf {
    dir.join(format!("{}.nk", identity.name()))
}

impl Keys {
    /// The keys in the files of a directory, for the owner only; those that are missing are made.
    ///
    /// # Errors
    /// [`KeyFileError`] when a file can't be written or holds no key of a user.
    pub fn in_dir(dir: &Path) -> Result<Self, KeyFileError> {
        let of = |identity| Ok((identity, key_in(&seed_file(dir, identity))?));
        Identity::ALL.into_iter().map(of).collect::<Result<_, _>>().map(Self)
    }

    /// What a nats-server is told of the identities: accounts, users and their permissions. As JSON, which it reads as
    /// well as its own syntax; to be merged with addresses, JetStream's store, and certificates.
    pub fn accounts(&self, limits: &Limits) -> Value {
        let users: Vec<Value> =
            self.0.iter().map(|(identity, key)| user(*identity, &key.public_key())).collect();
        json!({
            "accounts": {
                "SYS": { "users": [] },
                "SECRETSCAN": {
                    "jetstream": { "max_mem": limits.max_memory_bytes, "max_file": limits.max_store_bytes },
                    "users": users,
                },
            },
            "system_account": "SYS",
        })
    }
}

/// What the account may hold on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In memory: what listings remember.
    pub max_memory_bytes: u64,
    /// On disk: streams and buckets, with the packs in flight.
    pub max_store_bytes: u64,
}

fn user(identity: Identity, key: &str) -> Value {
    let Some(Permissions { publish, subscribe, answers }) = identity.permissions() else {
        return json!({ "nkey": key });
    };
    let mut permissions = json!({ "publish": { "allow": publish }, "subscribe": { "allow": subscribe } });
    if answers {
        permissions["allow_responses"] = json!({ "max": 1, "expires": ANSWER_WITHIN });
    }
    json!({ "nkey": key, "permissions": permissions })
}

fn key_in(path: &Path) -> Result<KeyPair, KeyFileError> {
    let failed = |action| move |source| KeyFileError { action, path: path.to_owned(), source };
    let invalid = |error: nkeys::error::Error| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let key = KeyPair::new_user();
            let seed = key.seed().map_err(invalid).map_err(failed("making"))?;
            writeln!(file, "{seed}").map_err(failed("writing"))?;
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let seed = fs::read_to_string(path).map_err(failed("reading"))?;
            KeyPair::from_seed(seed.trim()).map_err(invalid).map_err(failed("reading"))
        }
        Err(error) => Err(failed("writing")(error)),
    }
}

impl Permissions {
    fn publish(&mut self, subjects: &[&str]) {
        self.publish.extend(subjects.iter().map(|subject| (*subject).to_owned()));
    }

    fn subscribe(&mut self, subjects: &[&str]) {
        self.subscribe.extend(subjects.iter().map(|subject| (*subject).to_owned()));
    }

    fn do_task(&mut self, task: Task) {
        match task {
            Task::Ask => {
                self.publish(&[NEW_SCAN, CANCEL_SCAN, FORGET_COMMITS, NEW_SCHEDULE, CHANGE_SCHEDULE])
            }
            Task::Read => {
                for bucket in SHOWN {
                    self.read(bucket);
                    self.read_few(bucket);
                    self.list(&format!("KV_{bucket}"));
                    self.subscribe.push(format!("$KV.{bucket}.>"));
                }
            }
            Task::Follow => {
                self.publish.push(format!("$JS.API.STREAM.INFO.{EVENTS}"));
                self.publish.push(format!("$JS.API.DIRECT.GET.{EVENTS}"));
                self.list(EVENTS);
                self.subscribe(&[EVENT_SUBJECTS]);
            }
            Task::SortDeadLetters => self.sort_dead_letters(),
            Task::Inspect => {
                self.publish(&["$SYS.REQ.USER.INFO", "$JS.API.INFO"]);
                let info = |stream: stream::Config| format!("$JS.API.STREAM.INFO.{}", stream.name);
                self.publish.extend(streams(1).into_iter().map(info));
                self.look_at(&Queue::all());
                self.look_into_work();
            }
            Task::Decide => {
                // Whether there is a system at all.
                self.publish.push(format!("$JS.API.STREAM.INFO.KV_{REQUESTS}"));
                for bucket in [REPOSITORIES, FINDINGS, TRIAGE] {
                    self.read(bucket);
                }
                self.read_few(FINDINGS);
                self.write(TRIAGE, ">");
            }
        }
    }

    /// To take messages of queues and settle them, and to make the consumer again when somebody has deleted it: what
    /// it delivers, the role can't write.
    fn pull(&mut self, queues: &[Queue]) {
        self.take(queues);
        for queue in queues {
            let (stream, consumer) = (queue.stream(), queue.consumer());
            self.publish.push(format!("$JS.API.CONSUMER.CREATE.{stream}.{consumer}.{}", queue.subject()));
        }
    }

    /// To take messages of queues and settle them. Should somebody delete the consumer, set-up makes it again.
    fn take(&mut self, queues: &[Queue]) {
        self.look_at(queues);
        for queue in queues {
            let (stream, consumer) = (queue.stream(), queue.consumer());
            self.publish.push(format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"));
            // The second form has the domain and the account before the stream: newer servers use it.
            self.publish.push(format!("$JS.ACK.{stream}.{consumer}.>"));
            self.publish.push(format!("$JS.ACK.*.*.{stream}.{consumer}.>"));
        }
    }

    /// To set timers and ask for runs, to see which timers there are, and to know the time of who keeps them.
    fn keep_time(&mut self) {
        self.publish(&[SCHEDULE_TIMERS, SCHEDULE_RUN]);
        self.publish.push(format!("$JS.API.STREAM.INFO.{SCHEDULES_STREAM}"));
    }

    /// To see how much is in queues.
    fn look_at(&mut self, queues: &[Queue]) {
        let info = |queue: &Queue| format!("$JS.API.CONSUMER.INFO.{}.{}", queue.stream(), queue.consumer());
        self.publish.extend(queues.iter().map(info));
    }

    /// To read what waits in the queues of work, one by one.
    fn look_into_work(&mut self) {
        let work = Queue::all().into_iter().filter(|queue| queue.is_work());
        let streams: BTreeSet<&str> = work.map(Queue::stream).collect();
        self.publish.extend(streams.iter().map(|stream| format!("$JS.API.STREAM.MSG.GET.{stream}")));
    }

    /// To read the keys of a bucket, one by one.
    fn read(&mut self, bucket: &str) {
        self.publish.push(format!("$JS.API.STREAM.INFO.KV_{bucket}"));
        self.publish.push(format!("$JS.API.DIRECT.GET.KV_{bucket}.$KV.{bucket}.>"));
        // The same from the leader of a cluster.
        self.publish.push(format!("$JS.API.STREAM.MSG.GET.KV_{bucket}"));
    }

    /// To read many keys of a bucket at once.
    fn read_few(&mut self, bucket: &str) {
        self.publish.push(format!("$JS.API.DIRECT.GET.KV_{bucket}"));
    }

    fn write(&mut self, bucket: &str, keys: &str) {
        self.publish.push(format!("$KV.{bucket}.{keys}"));
    }

    /// To read a stream by consumers. Only for who may write no stream but the door's: see the module.
    fn list(&mut self, stream: &str) {
        for action in ["CREATE", "DELETE", "INFO", "MSG.NEXT"] {
            self.publish.push(format!("$JS.API.CONSUMER.{action}.{stream}"));
            self.publish.push(format!("$JS.API.CONSUMER.{action}.{stream}.>"));
        }
    }

    /// To read dead letters and to drop them.
    fn sort_dead_letters(&mut self) {
        for action in ["INFO", "MSG.GET", "MSG.DELETE"] {
            self.publish.push(format!("$JS.API.STREAM.{action}.{DEAD_LETTERS}"));
        }
    }

    /// To give signs of life and to see those of agents of the same role.
    fn live(&mut self, role: &str) {
        self.publish.push(format!("$JS.API.STREAM.INFO.KV_{AGENTS}"));
        self.publish.push(format!("$JS.API.DIRECT.GET.KV_{AGENTS}.$KV.{AGENTS}.{role}.*"));
        self.publish.push(format!("$JS.API.STREAM.MSG.GET.KV_{AGENTS}"));
        self.write(AGENTS, &format!("{role}.*"));
    }

    /// To see which packs there are. The server can't tell their entries from their pieces here.
    fn look_at_packs(&mut self) {
        self.publish.push(format!("$JS.API.STREAM.INFO.OBJ_{PACKS}"));
        self.publish.push(format!("$JS.API.STREAM.MSG.GET.OBJ_{PACKS}"));
    }

    fn read_packs(&mut self) {
        self.look_at_packs();
        self.publish.push(format!("$JS.API.DIRECT.GET.OBJ_{PACKS}"));
    }

    fn write_packs(&mut self) {
        self.publish.push(format!("$O.{PACKS}.>"));
        // The client's store asks for the entry that it replaces.
        self.publish.push(format!("$JS.API.DIRECT.GET.OBJ_{PACKS}.$O.{PACKS}.M.>"));
    }

    fn purge_packs(&mut self) {
        self.publish.push(format!("$JS.API.STREAM.PURGE.OBJ_{PACKS}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_publish(permissions: &Permissions, subject: &str) -> bool {
        permissions.publish.iter().any(|allowed| match allowed.strip_suffix(['*', '>']) {
            Some(prefix) => subject.starts_with(prefix),
            None => subject == allowed,
        })
    }

    #[test]
    fn nobody_writes_what_its_own_consumers_deliver() {
        for permissions in Identity::ALL.into_iter().filter_map(Identity::permissions) {
            for queue in Queue::all() {
                let (stream, consumer, subject) = (queue.stream(), queue.consumer(), queue.subject());
                let create = format!("$JS.API.CONSUMER.CREATE.{stream}.{consumer}.{subject}");
                // A timer writes to any subject of its stream.
                let is_written = may_publish(&permissions, &subject) || stream == SCHEDULES_STREAM;
                assert!(!is_written || !may_publish(&permissions, &create), "{queue:?}");
            }
        }
    }
}
