//! A KV bucket of one type of record, stored as JSON.

use std::marker::PhantomData;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::kv::{CreateErrorKind, Operation, Store, UpdateErrorKind};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures::{Stream, StreamExt, TryStreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::BusError;

/// A record and the revision that a conditional write must name.
#[derive(Clone, Debug)]
pub struct Versioned<T> {
    /// The record.
    pub value: T,
    /// Its revision.
    pub revision: u64,
}

/// A KV bucket of one type of record. Cheap to clone.
pub struct Bucket<T> {
    store: Store,
    record: PhantomData<fn() -> T>,
}

impl<T> Clone for Bucket<T> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), record: PhantomData }
    }
}

/// Whether a message says that its key is gone.
fn is_marker(headers: &HeaderMap) -> bool {
    headers.get("KV-Operation").is_some() || headers.get("Nats-Marker-Reason").is_some()
}

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

/// How long the next record of a listing may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// How many messages one pull of a listing brings.
const LIST_PAGE: usize = 1_000;

impl<T: Serialize + DeserializeOwned + Send> Bucket<T> {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, record: PhantomData }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    fn failed(
        &self,
        action: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> BusError {
        BusError::Bucket { bucket: self.store.name.clone(), action, source: Box::new(source) }
    }

    fn decode(&self, key: &str, bytes: &[u8]) -> Result<T, BusError> {
        serde_json::from_slice(bytes).map_err(|source| BusError::Record {
            bucket: self.store.name.clone(),
            key: key.to_owned(),
            source,
        })
    }

    fn encode(&self, key: &str, value: &T) -> Result<bytes::Bytes, BusError> {
        serde_json::to_vec(value).map(Into::into).map_err(|source| BusError::Record {
            bucket: self.store.name.clone(),
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
        if self.store.stream.cached_info().config.num_replicas > 1 {
            let subject = format!("{}{key}", self.store.prefix);
            return match self.store.stream.get_last_raw_message_by_subject(&subject).await {
                Ok(message) if is_marker(&message.headers) => Ok(None),
                Ok(message) => Ok(Some((message.payload, message.sequence))),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(self.failed("reading", error)),
            };
        }
        let entry = self.store.entry(key).await.map_err(|error| self.failed("reading", error))?;
        Ok(entry.filter(|entry| entry.operation == Operation::Put).map(|entry| (entry.value, entry.revision)))
    }

    /// Writes a record that must not exist; `None` when it does.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when the server can't be asked.
    pub async fn create(&self, key: &str, value: &T) -> Result<Option<u64>, BusError> {
        match self.store.create(key, self.encode(key, value)?).await {
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
        match self.store.update(key, self.encode(key, value)?, revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision || is_lost_race(&error) => {
                Ok(None)
            }
            Err(error) => Err(self.failed("writing", error)),
        }
    }

    /// All records whose key matches the filter (`*` one token, `>` the rest), one page after the other.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when the server can't be asked, [`BusError::Record`] when a value is not the record.
    pub async fn list(&self, filter: &str) -> Result<Vec<(String, T)>, BusError> {
        let consumer = self
            .store
            .stream
            .create_consumer(pull::Config {
                deliver_policy: DeliverPolicy::LastPerSubject,
                ack_policy: AckPolicy::None,
                filter_subject: format!("{}{filter}", self.store.prefix),
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
            while let Some(message) = tokio::time::timeout(LIST_TIMEOUT, page.next())
                .await
                .map_err(|error| self.failed("listing", error))?
            {
                let message = message.map_err(|source| BusError::Bucket {
                    bucket: self.store.name.clone(),
                    action: "listing",
                    source,
                })?;
                pending = message
                    .info()
                    .map_err(|source| BusError::Bucket {
                        bucket: self.store.name.clone(),
                        action: "listing",
                        source,
                    })?
                    .pending;
                let is_marker = message.headers.as_ref().is_some_and(is_marker);
                if let Some(key) = message.subject.strip_prefix(&self.store.prefix)
                    && !is_marker
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
        let _ = self.store.stream.delete_consumer(&consumer.cached_info().name).await;
        Ok(records)
    }

    /// The record of a key as it is now and each time it changes; `None` when it is deleted.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when the server can't be asked.
    pub async fn watch(
        &self,
        filter: &str,
    ) -> Result<impl Stream<Item = Result<(String, Option<T>), BusError>> + Send + use<'_, T>, BusError> {
        let watch =
            self.store.watch_with_history(filter).await.map_err(|error| self.failed("watching", error))?;
        Ok(watch.map_err(|error| self.failed("watching", error)).and_then(move |entry| {
            let item = match entry.operation {
                Operation::Put => self.decode(&entry.key, &entry.value).map(|value| (entry.key, Some(value))),
                Operation::Delete | Operation::Purge => Ok((entry.key, None)),
            };
            std::future::ready(item)
        }))
    }
}
