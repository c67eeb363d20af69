//! Looking at a server, changing nothing: for `secretscan doctor`, `secretscan top` and `secretscan nats-config migrate`.
//!
//! The decision worth knowing: everything is asked for by requests whose refusal is heard. A server tells a client of a subject that
//! it may not use by an error of its own, not by an answer, so that a plain request would wait for its whole time.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::consumer;
use async_nats::jetstream::stream::{self, ClusterInfo};
use futures::future::join_all;
use secretscan_model::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::access::{Permissions, inbox};
use crate::topology::compare::{self, Difference, covers, overlaps};
use crate::topology::{DEAD_LETTERS, Queue, REQUESTS, kv_stream, streams};
use crate::{Bus, BusError, NatsConfig, chain, connect, now};

/// The oldest version of nats-server (major, minor) that has what the bus needs.
pub const OLDEST_SERVER: (u32, u32) = (2, 14);

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why the server did not say something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The key may not ask.
    #[error("this key may not ask for it")]
    Refused,
    /// Nobody answers.
    #[error("the server does not answer within 5 s")]
    Silent,
    /// JetStream is off, or has no leader.
    #[error("nobody answers for JetStream: it is off, or its cluster has no leader")]
    NobodyThere,
    /// Something else.
    #[error("{0}")]
    Other(String),
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether it has JetStream, though perhaps not for this account.
    pub has_jetstream: bool,
    /// Whether clients must use TLS.
    pub is_tls_required: bool,
    /// Whether clients must say who they are.
    pub is_login_required: bool,
}

/// What a key may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// The account on the server.
    pub account: String,
    /// The subjects that it may use; `None`: all.
    pub allowed: Option<Permissions>,
    /// Subjects that it may not publish to, whatever is allowed.
    pub denied: Vec<String>,
}

impl Rights {
    /// Those of the needed subjects, to publish to or to subscribe to, that the key may not use.
    pub fn lacks(&self, needed: &Permissions) -> Vec<String> {
        let is_allowed = |allowed: Option<&Vec<String>>, subject: &String| {
            allowed.is_none_or(|allowed| allowed.iter().any(|pattern| covers(pattern, subject)))
        };
        let publish = needed.publish.iter().filter(|subject| {
            !is_allowed(self.allowed.as_ref().map(|allowed| &allowed.publish), subject)
                || self.denied.iter().any(|pattern| overlaps(pattern, subject))
        });
        let subscribe = needed
            .subscribe
            .iter()
            .filter(|subject| !is_allowed(self.allowed.as_ref().map(|allowed| &allowed.subscribe), subject));
        publish.chain(subscribe).cloned().collect()
    }
}

/// What the streams of the account take of what they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// On disk.
    pub bytes: u64,
    /// What may be on disk; `None`: as much as the disk holds.
    pub max_bytes: Option<u64>,
}

/// The server's clock beside that of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockSkew {
    /// How far the server's is ahead.
    pub ahead_ms: i64,
    /// It may be so much more or less: half of what the answer took.
    pub uncertainty_ms: i64,
}

/// A stream, by what it is for those who use it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A stream.
    Stream(String),
    /// A bucket.
    Bucket(String),
    /// An object store.
    Store(String),
    /// A consumer of a stream.
    Consumer(String, String),
}

impl Part {
    /// What a stream is.
    pub fn of_stream(name: &str) -> Self {
        match (name.strip_prefix("KV_"), name.strip_prefix("OBJ_")) {
            (Some(bucket), _) => Self::Bucket(bucket.to_owned()),
            (_, Some(store)) => Self::Store(store.to_owned()),
            (None, None) => Self::Stream(name.to_owned()),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(name) => write!(f, "stream {name}"),
            Self::Bucket(name) => write!(f, "bucket {name}"),
            Self::Store(name) => write!(f, "object store {name}"),
            Self::Consumer(stream, name) => write!(f, "consumer {name} of {stream}"),
        }
    }
}

/// A stream as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundStream {
    /// How it differs from what this version wants.
    pub differences: Vec<Difference>,
    /// Messages in it.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The most messages that it takes, if somebody has set a limit.
    pub max_messages: Option<u64>,
    /// The most bytes that it takes, if somebody has set a limit.
    pub max_bytes: Option<u64>,
    /// Whether what is over a limit is refused; else the oldest goes.
    pub is_new_refused: bool,
    /// On how many servers it is.
    pub replicas: usize,
    /// Those servers.
    pub group: Group,
}

/// The servers that keep a stream or a consumer, where there are several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Whether nobody leads it, so that it takes and gives nothing.
    pub is_leaderless: bool,
    /// Those that are away or behind.
    pub lagging: Vec<String>,
}

/// A consumer as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundConsumer {
    /// How it differs from what this version wants.
    pub differences: Vec<Difference>,
    /// Messages that nobody has.
    pub waiting: u64,
    /// Messages that somebody works on.
    pub in_hand: u64,
    /// When the oldest of both came; `None` when there is none, and of queues that are no work.
    pub oldest: Option<Timestamp>,
    /// The servers that keep it.
    pub group: Group,
}

/// What was looked for and where it was; `None` where there is no such thing.
pub type Found<T> = Result<Option<T>, Unknown>;

#[derive(Deserialize)]
pub(crate) struct StreamInfo {
    pub(crate) config: stream::Config,
    pub(crate) state: StreamState,
    cluster: Option<ClusterInfo>,
}

#[derive(Deserialize)]
pub(crate) struct StreamState {
    pub(crate) messages: u64,
    bytes: u64,
    last_seq: u64,
    #[serde(default)]
    pub(crate) subjects: HashMap<String, u64>,
}

#[derive(Deserialize)]
pub(crate) struct ConsumerInfo {
    pub(crate) config: consumer::Config,
    num_pending: u64,
    num_ack_pending: u64,
    cluster: Option<ClusterInfo>,
}

impl Bus {
    /// Connects, and neither creates nor looks for anything.
    ///
    /// # Errors
    /// [`BusError::Connect`] when no server answers.
    pub async fn attach(config: &NatsConfig) -> Result<Self, BusError> {
        Ok(Self::new(connect(config).await?, config))
    }

    /// What the server says of itself.
    pub fn server(&self) -> Server {
        let info = self.client.server_info();
        Server {
            name: info.server_name,
            version: info.version,
            has_jetstream: info.jetstream,
            is_tls_required: info.tls_required,
            is_login_required: info.auth_required,
        }
    }

    /// What the key of this connection may do.
    ///
    /// # Errors
    /// [`Unknown`] when the server does not say so.
    pub async fn rights(&self) -> Result<Rights, Unknown> {
        #[derive(Deserialize)]
        struct Answer {
            data: User,
        }
        #[derive(Deserialize)]
        struct User {
            account: String,
            permissions: Option<Granted>,
        }
        #[derive(Deserialize)]
        struct Granted {
            publish: Option<Subjects>,
            subscribe: Option<Subjects>,
        }
        #[derive(Default, Deserialize)]
        struct Subjects {
            allow: Option<Vec<String>>,
            #[serde(default)]
            deny: Vec<String>,
        }
        let answer: Answer = self.request("$SYS.REQ.USER.INFO", String::new()).await?;
        let Some(granted) = answer.data.permissions else {
            return Ok(Rights { account: answer.data.account, allowed: None, denied: Vec::new() });
        };
        let publish = granted.publish.unwrap_or_default();
        let all = || vec![">".to_owned()];
        let allowed = Permissions {
            publish: publish.allow.unwrap_or_else(all),
            subscribe: granted.subscribe.unwrap_or_default().allow.unwrap_or_else(all),
            answers: false,
        };
        Ok(Rights { account: answer.data.account, allowed: Some(allowed), denied: publish.deny })
    }

    /// What the account takes of what it may; `None` when it has no JetStream.
    ///
    /// # Errors
    /// [`Unknown`] when the server does not say so.
    pub async fn usage(&self) -> Found<Usage> {
        #[derive(Deserialize)]
        struct Account {
            storage: u64,
            limits: Limits,
        }
        #[derive(Deserialize)]
        struct Limits {
            max_storage: i64,
        }
        let account: Option<Account> = self.api("INFO", String::new()).await?;
        Ok(account.map(|account| Usage {
            bytes: account.storage,
            max_bytes: u64::try_from(account.limits.max_storage).ok(),
        }))
    }

    /// How far the clocks are apart; `None` when there is no secretscan.
    ///
    /// # Errors
    /// [`Unknown`] when the server does not say so.
    pub async fn clock_skew(&self) -> Found<ClockSkew> {
        #[derive(Deserialize)]
        struct Stamped {
            ts: String,
        }
        let asked = now();
        let info: Option<Stamped> =
            self.api(&format!("STREAM.INFO.{}", kv_stream(REQUESTS)), String::new()).await?;
        let answered = now();
        let Some(info) = info else { return Ok(None) };
        let server = Timestamp::parse_rfc3339(&info.ts)
            .ok_or_else(|| Unknown::Other(format!("its time {:?} is no time", info.ts)))?;
        Ok(Some(ClockSkew {
            ahead_ms: server.0 - (asked.0 + answered.0) / 2,
            uncertainty_ms: (answered.0 - asked.0) / 2 + 1,
        }))
    }

    /// All streams that this version wants, compared with it; in the number of replicas if there are to be so many.
    pub async fn inspect_streams(&self, replicas: Option<usize>) -> Vec<(Part, Found<FoundStream>)> {
        let inspected = streams(1).into_iter().map(async |wanted| {
            let info = self.stream_info(&wanted.name).await;
            let found = info.map(|info| info.map(|info| FoundStream::new(info, &wanted, replicas)));
            (Part::of_stream(&wanted.name), found)
        });
        join_all(inspected).await
    }

    /// All queues, compared with what this version wants. Their ack deadline is that of most of them.
    pub async fn inspect_queues(&self) -> Vec<(Queue, Found<FoundConsumer>)> {
        let infos =
            join_all(Queue::all().into_iter().map(async |queue| (queue, self.consumer_info(queue).await)))
                .await;
        let ack_wait = usual_ack_wait(infos.iter().filter_map(|(_, info)| info.as_ref().ok()?.as_ref()))
            .unwrap_or(self.ack_wait);
        let inspected = infos.into_iter().map(async |(queue, info)| {
            let found = match info {
                Ok(Some(info)) => Ok(Some(self.found_consumer(queue, info, ack_wait).await)),
                Ok(None) => Ok(None),
                Err(unknown) => Err(unknown),
            };
            (queue, found)
        });
        join_all(inspected).await
    }

    /// How many dead letters there are, and the number of the last.
    ///
    /// # Errors
    /// [`Unknown`] when the server does not say so.
    pub async fn dead_letter_count(&self) -> Found<(u64, u64)> {
        let info = self.stream_info(DEAD_LETTERS).await?;
        Ok(info.map(|info| (info.state.messages, info.state.last_seq)))
    }

    async fn found_consumer(&self, queue: Queue, info: ConsumerInfo, ack_wait: Duration) -> FoundConsumer {
        let has_messages = info.num_pending + info.num_ack_pending > 0;
        // The streams of events and dead letters keep what was read.
        let oldest = match has_messages && queue.is_work() {
            true => self.oldest_unfinished(queue).await.ok().flatten(),
            false => None,
        };
        FoundConsumer {
            differences: compare::consumer(&info.config, queue.config(ack_wait)),
            waiting: info.num_pending,
            in_hand: info.num_ack_pending,
            oldest,
            group: Group::new(info.cluster.as_ref()),
        }
    }

    pub(crate) async fn stream_info(&self, name: &str) -> Found<StreamInfo> {
        self.api(&format!("STREAM.INFO.{name}"), String::new()).await
    }

    pub(crate) async fn consumer_info(&self, queue: Queue) -> Found<ConsumerInfo> {
        self.api(&format!("CONSUMER.INFO.{}.{}", queue.stream(), queue.consumer()), String::new()).await
    }

    /// What JetStream's API answers; `None` when it knows no such thing.
    pub(crate) async fn api<T: DeserializeOwned>(&self, subject: &str, body: String) -> Found<T> {
        #[derive(Deserialize)]
        struct Refusal {
            code: u16,
            description: String,
        }
        let mut answer: serde_json::Value = self.request(&format!("$JS.API.{subject}"), body).await?;
        let wrong = |error: serde_json::Error| Unknown::Other(format!("the answer can't be read: {error}"));
        match answer.get_mut("error").map(serde_json::Value::take) {
            Some(error) => match serde_json::from_value(error).map_err(wrong)? {
                Refusal { code: 404, .. } => Ok(None),
                Refusal { description, .. } => Err(Unknown::Other(description)),
            },
            None => serde_json::from_value(answer).map(Some).map_err(wrong),
        }
    }

    async fn request<T: DeserializeOwned>(&self, subject: &str, body: String) -> Result<T, Unknown> {
        let mut refusals = self.refusals.clone();
        let (published, answers) =
            (format!("Publish to \"{subject}\""), format!("Subscription to \"{}.", inbox(&self.name)));
        let is_refused = |all: &Vec<String>| {
            all.iter().any(|refusal| refusal.contains(&published) || refusal.contains(&answers))
        };
        let request = self.client.request(subject.to_owned(), body.into());
        let answer = tokio::select! {
            answer = tokio::time::timeout(ANSWER_WITHIN, request) => answer,
            Ok(_) = refusals.wait_for(is_refused) => return Err(Unknown::Refused),
        };
        match answer {
            Ok(Ok(answer)) => serde_json::from_slice(&answer.payload)
                .map_err(|error| Unknown::Other(format!("the answer can't be read: {error}"))),
            Ok(Err(error)) => Err(match error.kind() {
                RequestErrorKind::NoResponders => Unknown::NobodyThere,
                RequestErrorKind::TimedOut => Unknown::Silent,
                _ => Unknown::Other(chain(&error)),
            }),
            Err(_) => Err(Unknown::Silent),
        }
    }
}

/// The ack deadline of most consumers.
pub(crate) fn usual_ack_wait<'a>(infos: impl Iterator<Item = &'a ConsumerInfo>) -> Option<Duration> {
    let mut counts: HashMap<Duration, usize> = HashMap::new();
    for info in infos {
        *counts.entry(info.config.ack_wait).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(ack_wait, count)| (*count, *ack_wait)).map(|(ack_wait, _)| ack_wait)
}

impl FoundStream {
    fn new(info: StreamInfo, wanted: &stream::Config, replicas: Option<usize>) -> Self {
        let limit = |limit: i64| u64::try_from(limit).ok().filter(|limit| *limit > 0);
        Self {
            differences: compare::stream(&info.config, wanted, replicas),
            messages: info.state.messages,
            bytes: info.state.bytes,
            max_messages: limit(info.config.max_messages),
            max_bytes: limit(info.config.max_bytes),
            is_new_refused: info.config.discard == stream::DiscardPolicy::New,
            replicas: info.config.num_replicas,
            group: Group::new(info.cluster.as_ref()),
        }
    }
}

impl Group {
    fn new(cluster: Option<&ClusterInfo>) -> Self {
        let Some(cluster) = cluster else { return Self::default() };
        let lagging = cluster.replicas.iter().filter(|peer| peer.offline || !peer.current);
        Self {
            is_leaderless: cluster.leader.as_deref().unwrap_or_default().is_empty(),
            lagging: lagging.map(|peer| peer.name.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_lacks_is_named() {
        let allow = |subjects: &[&str]| subjects.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let needed = Permissions {
            publish: allow(&["a.b", "a.c.*", "d"]),
            subscribe: allow(&["_INBOX_cli.>"]),
            answers: false,
        };
        let mut rights = Rights { account: "A".into(), allowed: None, denied: Vec::new() };
        assert_eq!(rights.lacks(&needed), [""; 0]);
        rights.denied = allow(&["a.c.secret"]);
        assert_eq!(rights.lacks(&needed), ["a.c.*"]);
        rights.allowed = Some(Permissions {
            publish: allow(&["a.>"]),
            subscribe: allow(&["_INBOX_operator.>"]),
            answers: false,
        });
        assert_eq!(rights.lacks(&needed), ["a.c.*", "d", "_INBOX_cli.>"]);
    }
}
