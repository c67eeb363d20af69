//! A KV bucket of one type of record, stored as JSON.
//!
//! The decision worth knowing: the services read with direct gets and follow with plain subscriptions, never with consumers.
//! Who may create a consumer may name the subject that it delivers to, and so write wherever it likes; only
//! [`Bucket::list`] creates one, for people's commands.

use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::kv::{CreateErrorKind, Operation, Store, UpdateErrorKind};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageErrorKind};
use async_nats::{Client, HeaderMap, Subscriber, jetstream};
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use crate::BusError;
use crate::hints::Hints;

/// A record and the revision that a conditional write must name.
#[derive(Clone, Debug)]
pub struct Versioned<T> {
    /// The record.
    pub value: T,
    /// Its revision.
    pub revision: u64,
}

/// A KV bucket of one type of record, opened when it is first used: not every role may use each. Cheap to clone.
pub struct Bucket<T> {
    client: Client,
    jetstream: jetstream::Context,
    name: &'static str,
    store: Arc<OnceCell<Store>>,
    record: PhantomData<fn() -> T>,
}

impl<T> Clone for Bucket<T> {
    fn clone(&self) -> Self {
        let Self { client, jetstream, name, store, record } = self;
        let (client, jetstream, store) = (client.clone(), jetstream.clone(), store.clone());
        Self { client, jetstream, name, store, record: *record }
    }
}

/// How long the server may be silent in the midst of an answer of several messages.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// And how often it is looked whether the connection is still that on which it was asked.
const LOOK_AT_CONNECTION: Duration = Duration::from_millis(250);

/// How often a listing that failed is begun again, and after how long. An election takes a second or two.
const LIST_TRIES: u32 = 10;
const LIST_AGAIN: Duration = Duration::from_millis(500);

/// Whether a conditional write was refused because of its condition. A cluster says so with a code of its own, that
/// async-nats 0.51 does not know, while the write that won is not applied yet.
pub(crate) fn is_lost_race(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<async_nats::jetstream::Error>() {
            let code = error.error_code();
            return code == ErrorCode::STREAM_WRONG_LAST_SEQUENCE
                || code == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT;
        }
        next = error.source();
    }
    false
}

/// How many messages one pull of a listing brings.
pub(crate) const LIST_PAGE: usize = 1_000;

/// What the end of several messages says.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The place of the last message in the stream.
    pub(crate) last: Option<u64>,
    /// Messages that match and did not come.
    pub(crate) pending: u64,
}

/// One of several messages of a stream.
pub(crate) struct Paged<'a> {
    /// Its subject.
    pub(crate) subject: &'a str,
    /// Its place in the stream.
    pub(crate) sequence: u64,
    /// What it says; `None` where it says that a record is gone.
    pub(crate) payload: Option<&'a bytes::Bytes>,
}

/// Asks a stream for several messages at once and shows them.
/// Source: ADR-31 of the NATS architecture decisions, "batched requests" and "multi-subject requests".
pub(crate) async fn ask_for_page(
    client: &Client,
    stream: &str,
    ask: &serde_json::Value,
    mut seen: impl FnMut(Paged<'_>),
) -> Result<Page, crate::error::Source> {
    let inbox = client.new_inbox();
    let connection = connections(client);
    let mut answers = client.subscribe(inbox.clone()).await?;
    let subject = format!("$JS.API.DIRECT.GET.{stream}");
    client.publish_with_reply(subject, inbox, ask.to_string().into()).await?;
    let mut page = Page::default();
    loop {
        let message = next_answer(client, connection, &mut answers).await?;
        let headers = message.headers.as_ref();
        let header = |name: &str| headers.and_then(|headers| headers.get(name)).map(|value| value.as_str());
        let number = |name: &str| header(name).and_then(|value| value.parse::<u64>().ok());
        match message.status.map(|status| status.as_u16()) {
            // Nothing there.
            Some(404) => return Ok(page),
            Some(204) => {
                page.pending = number("Nats-Num-Pending").unwrap_or_default();
                return Ok(page);
            }
            Some(status) => {
                let text = message.description.unwrap_or_default();
                return Err(format!("{status} {text}").into());
            }
            None => {}
        }
        page.last = number("Nats-Sequence").or(page.last);
        if let (Some(subject), Some(sequence)) = (header("Nats-Subject"), number("Nats-Sequence")) {
            let payload = (!is_marker(headers)).then_some(&message.payload);
            seen(Paged { subject, sequence, payload });
        }
    }
}

/// How often this client was connected.
fn connections(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}

/// The next message of an answer. What was asked on an earlier connection has none any more.
async fn next_answer(
    client: &Client,
    connection: u64,
    answers: &mut Subscriber,
) -> Result<async_nats::Message, crate::error::Source> {
    let started = Instant::now();
    loop {
        match tokio::time::timeout(LOOK_AT_CONNECTION, answers.next()).await {
            Ok(answer) => return answer.ok_or_else(|| "the connection is closed".into()),
            Err(_) if connections(client) != connection => {
                return Err("the connection was lost meanwhile".into());
            }
            Err(_) if started.elapsed() > ANSWER_TIMEOUT => return Err("no answer".into()),
            Err(_) => {}
        }
    }
}

impl<T: Serialize + DeserializeOwned + Send> Bucket<T> {
    pub(crate) fn new(client: &Client, jetstream: &jetstream::Context, name: &'static str) -> Self {
        let (client, jetstream) = (client.clone(), jetstream.clone());
        Self { client, jetstream, name, store: Arc::default(), record: PhantomData }
    }

    pub(crate) async fn store(&self) -> Result<&Store, BusError> {
        let open = || self.jetstream.get_key_value(self.name);
        self.store.get_or_try_init(open).await.map_err(|error| self.failed("opening", error))
    }

    /// The subject of a key.
    pub(crate) fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }

    fn failed(&self, action: &'static str, source: impl Into<crate::error::Source>) -> BusError {
        BusError::Bucket { bucket: self.name.to_owned(), action, source: source.into() }
    }

    fn decode(&self, key: &str, bytes: &[u8]) -> Result<T, BusError> {
        serde_json::from_slice(bytes).map_err(|source| BusError::Record {
            bucket: self.name.to_owned(),
            key: key.to_owned(),
            source,
        })
    }

    fn encode(&self, key: &str, value: &T) -> Result<bytes::Bytes, BusError> {
        serde_json::to_vec(value).map(Into::into).map_err(|source| BusError::Record {
            bucket: self.name.to_owned(),
            key: key.to_owned(),
            source,
        })
    }

    /// The record of a key with its revision.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when the server can't be asked, [`BusError::Record`] when the value is not the record.
    pub async fn get(&self, key: &str) -> Result<Option<Versioned<T>>, BusError> {
        match self.read(key).await? {
            Some((bytes, revision)) => Ok(Some(Versioned { value: self.decode(key, &bytes)?, revision })),
            None => Ok(None),
        }
    }

    /// The bytes of a key with their revision. On a cluster its leader is asked: any other replica may answer a direct
    /// request, with what it knew a moment ago, and a record that seems to be missing, or to be in a state that it has
    /// left, is an error that no attempt would mend.
    pub(crate) async fn read(&self, key: &str) -> Result<Option<(bytes::Bytes, u64)>, BusError> {
        let store = self.store().await?;
        if store.stream.cached_info().config.num_replicas > 1 {
            return match store.stream.get_last_raw_message_by_subject(&self.subject(key)).await {
                Ok(message) if is_marker(Some(&message.headers)) => Ok(None),
                Ok(message) => Ok(Some((message.payload, message.sequence))),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(self.failed("reading", error)),
            };
        }
        let entry = store.entry(key).await.map_err(|error| self.failed("reading", error))?;
        Ok(entry.filter(|entry| entry.operation == Operation::Put).map(|entry| (entry.value, entry.revision)))
    }

    /// Writes a record that must not exist; `None` when it does.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when the server can't be asked.
    pub async fn create(&self, key: &str, value: &T) -> Result<Option<u64>, BusError> {
        match self.store().await?.create(key, self.encode(key, value)?).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists || is_lost_race(&error) => Ok(None),
            Err(error) => Err(self.failed("creating a record in", error)),
        }
    }

    /// Writes a record on condition that its revision is still this one; `None` when it is not.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when the server can't be asked.
    pub async fn update(&self, key: &str, value: &T, revision: u64) -> Result<Option<u64>, BusError> {
        match self.store().await?.update(key, self.encode(key, value)?, revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision || is_lost_race(&error) => {
                Ok(None)
            }
            Err(error) => Err(self.failed("writing", error)),
        }
    }

    /// Writes a record, whatever stood there.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when the server can't be asked.
    pub(crate) async fn put(&self, key: &str, value: &T) -> Result<u64, BusError> {
        let body = self.encode(key, value)?;
        self.store().await?.put(key, body).await.map_err(|error| self.failed("writing", error))
    }

    /// Takes a record away and leaves only a mark that it was there.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when the server can't be asked.
    pub(crate) async fn purge(&self, key: &str) -> Result<(), BusError> {
        self.store().await?.purge(key).await.map_err(|error| self.failed("deleting from", error))
    }

    /// All records whose key matches the filter (`*` one token, `>` the rest), one page after the other, by a consumer.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when the server can't be asked, [`BusError::Record`] when a value is not the record.
    #[expect(clippy::disallowed_methods, reason = "the time that an election takes")]
    pub async fn list(&self, filter: &str) -> Result<Vec<(String, T)>, BusError> {
        let mut tries = 0;
        loop {
            match self.list_once(filter).await {
                // While a cluster chooses a leader it has no consumer, or has lost it.
                Err(BusError::Bucket { .. }) if tries < LIST_TRIES => tries += 1,
                listed => return listed,
            }
            tokio::time::sleep(LIST_AGAIN).await;
        }
    }

    async fn list_once(&self, filter: &str) -> Result<Vec<(String, T)>, BusError> {
        let store = self.store().await?;
        let consumer = store
            .stream
            .create_consumer(pull::Config {
                deliver_policy: DeliverPolicy::LastPerSubject,
                ack_policy: AckPolicy::None,
                filter_subject: self.subject(filter),
                inactive_threshold: Duration::from_secs(30),
                memory_storage: true,
                num_replicas: 1,
                ..Default::default()
            })
            .await
            .map_err(|error| self.failed("listing", error))?;
        let mut pending = consumer.cached_info().num_pending;
        let mut records = Vec::new();
        while pending > 0 {
            let mut page = consumer
                .fetch()
                .max_messages(LIST_PAGE)
                .messages()
                .await
                .map_err(|error| self.failed("listing", error))?;
            let before = pending;
            // A server that restarts forgets the listing, and never says so.
            while let Some(message) = tokio::time::timeout(ANSWER_TIMEOUT, page.next())
                .await
                .map_err(|error| self.failed("listing", error))?
            {
                let message = message.map_err(|source| self.failed("listing", source))?;
                pending = message.info().map_err(|source| self.failed("listing", source))?.pending;
                if let Some(key) = message.subject.strip_prefix(&store.prefix)
                    && !is_marker(message.headers.as_ref())
                {
                    records.push((key.to_owned(), self.decode(key, &message.payload)?));
                }
            }
            if pending == before {
                // Nothing came: what was pending has been deleted meanwhile.
                break;
            }
        }
        // It would go by itself after its inactive threshold.
        let _ = store.stream.delete_consumer(&consumer.cached_info().name).await;
        Ok(records)
    }

    /// The records whose key matches the filter, at most about a thousand, without a consumer.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when there are more, or the server can't be asked.
    pub(crate) async fn few(&self, filter: &str) -> Result<Vec<(String, T)>, BusError> {
        let ask = serde_json::json!({ "multi_last": [self.subject(filter)], "batch": LIST_PAGE });
        let mut records = Vec::new();
        self.ask_for_page(&ask, |key, record| records.push((key.to_owned(), record))).await?;
        Ok(records)
    }

    /// Shows each record whose key matches the filter, however many there are, without a consumer. One that is written
    /// meanwhile may be shown again; none is missed that was there before.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when the server can't be asked, [`BusError::Record`] when a value is not the record.
    pub(crate) async fn walk(&self, filter: &str, mut seen: impl FnMut(&str, T)) -> Result<(), BusError> {
        let store = self.store().await?;
        if store.stream.cached_info().config.num_replicas > 1 {
            return self.walk_at_leader(store, filter, seen).await;
        }
        let mut from = 1;
        loop {
            let subject = self.subject(filter);
            let ask = serde_json::json!({ "seq": from, "next_by_subj": subject, "batch": LIST_PAGE });
            let page = self.ask_for_page(&ask, &mut seen).await?;
            // The server may end a page early: what is in it has a limit of bytes as well.
            match page {
                Page { last: Some(last), pending } if pending > 0 => from = last + 1,
                Page { .. } => return Ok(()),
            }
        }
    }

    /// The same on a cluster, one record after the other: a page may come from a replica that lags.
    async fn walk_at_leader(
        &self,
        store: &Store,
        filter: &str,
        mut seen: impl FnMut(&str, T),
    ) -> Result<(), BusError> {
        let (subject, mut from) = (self.subject(filter), 1);
        loop {
            let next = store.stream.raw_message_builder().sequence(from).next_by_subject(subject.as_str());
            let message = match next.send().await {
                Ok(message) => message,
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(()),
                Err(error) => return Err(self.failed("listing", error)),
            };
            from = message.sequence + 1;
            if let Some(key) = message.subject.strip_prefix(&store.prefix)
                && !is_marker(Some(&message.headers))
            {
                seen(key, self.decode(key, &message.payload)?);
            }
        }
    }

    /// Asks for several messages at once and shows their records.
    async fn ask_for_page(
        &self,
        ask: &serde_json::Value,
        mut seen: impl FnMut(&str, T),
    ) -> Result<Page, BusError> {
        let (stream, prefix) = (format!("KV_{}", self.name), self.subject(""));
        let mut wrong = None;
        let page = ask_for_page(&self.client, &stream, ask, |message| {
            if let (Some(key), Some(payload)) = (message.subject.strip_prefix(&prefix), message.payload) {
                match self.decode(key, payload) {
                    Ok(record) => seen(key, record),
                    Err(error) => wrong = wrong.take().or(Some(error)),
                }
            }
        });
        let page = page.await.map_err(|source| self.failed("listing", source))?;
        wrong.map_or(Ok(page), Err)
    }

    /// Shows the record of a key as it is now and after each change, `None` when there is none, until `seen` says to end.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when the server can't be asked.
    pub(crate) async fn follow(
        &self,
        key: &str,
        mut seen: impl FnMut(Option<T>) -> ControlFlow<()>,
    ) -> Result<(), BusError> {
        // A write that the bucket refused is heard too.
        let subscribed = self.client.subscribe(self.subject(key)).await;
        let mut hints = Hints::new(subscribed.map_err(|error| self.failed("following", error))?);
        let mut shown = None;
        loop {
            hints.gather();
            let record = self.get(key).await?;
            let revision = record.as_ref().map(|record| record.revision);
            if shown != Some(revision) {
                if seen(record.map(|record| record.value)).is_break() {
                    return Ok(());
                }
                shown = Some(revision);
            }
            // Whether a hint came or none: both times it is read.
            hints.wait().await;
        }
    }

    /// Each record as it is written, with its key; `None` when it is deleted. For records that nobody writes on
    /// condition: a write that the bucket refused is heard too.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when the server can't be asked.
    pub(crate) async fn written(
        &self,
    ) -> Result<impl futures::Stream<Item = (String, Option<T>)> + Send + use<'_, T>, BusError> {
        let subscribed = self.client.subscribe(self.subject(">")).await;
        let messages = subscribed.map_err(|error| self.failed("following", error))?;
        Ok(messages.filter_map(|message| {
            let written = || {
                let key = message.subject.strip_prefix(&self.subject(""))?;
                if is_marker(message.headers.as_ref()) {
                    return Some((key.to_owned(), None));
                }
                match self.decode(key, &message.payload) {
                    Ok(record) => Some((key.to_owned(), Some(record))),
                    Err(error) => {
                        tracing::warn!(error = crate::chain(&error), "passed over");
                        None
                    }
                }
            };
            std::future::ready(written())
        }))
    }
}

/// Whether a message says that a record is gone.
fn is_marker(headers: Option<&HeaderMap>) -> bool {
    headers.is_some_and(|headers| {
        headers.get("KV-Operation").is_some() || headers.get("Nats-Marker-Reason").is_some()
    })
}
