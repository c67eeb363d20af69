//! What a stream or a bucket holds, from the beginning, and then each change: for who keeps a copy.
//!
//! Without a consumer, as all that services read (see [`crate::Bucket`]): pages by place in the stream, each time that a plain
//! subscription hints at a write, and now and then without a hint. So a reader that was away goes on where it was.

use std::time::Duration;

use async_nats::Client;
use async_nats::Subscriber;
use bytes::Bytes;
use futures::{Stream, StreamExt};

use crate::bucket::{LIST_PAGE, ask_for_page};
use crate::hints::Hints;
use crate::topology::{AUDIT, AUDIT_SUBJECTS, EVENT_SUBJECTS, EVENTS};
use crate::{Bus, BusError};

/// Hints come in bursts: a page is read when so much time has passed since the first.
const GATHER: Duration = Duration::from_millis(50);

/// A record or message as it was written last, or that it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key in the bucket, or the subject in the stream.
    pub key: String,
    /// What is there now: JSON; `None` when it is gone.
    pub value: Option<Bytes>,
    /// The place in the stream, ever higher.
    pub place: u64,
}

/// Reads a bucket or a stream in the order in which it was written.
pub struct Changes {
    client: Client,
    stream: String,
    subject: String,
    prefix: String,
    next: u64,
    hints: Hints,
}

impl Bus {
    /// The records of a bucket (a name of [`crate::topology`]) whose keys match the filter.
    ///
    /// # Errors
    /// [`BusError`] when the server can't be asked.
    pub async fn changes(&self, bucket: &str, filter: &str) -> Result<Changes, BusError> {
        let prefix = format!("$KV.{bucket}.");
        self.changes_of(format!("KV_{bucket}"), format!("{prefix}{filter}"), prefix, 1).await
    }

    /// The keys of a bucket, each time that one is written from now on. Only hints to read them: while the connection is lost,
    /// they are too.
    ///
    /// # Errors
    /// [`BusError`] when the server can't be asked.
    pub async fn written(
        &self,
        bucket: &str,
    ) -> Result<impl Stream<Item = String> + Unpin + use<>, BusError> {
        let prefix = format!("$KV.{bucket}.");
        let messages = self.hints(bucket, format!("{prefix}*")).await?;
        Ok(messages.map(move |message| message.subject.strip_prefix(&prefix).unwrap_or_default().to_owned()))
    }

    /// What happened, as far as it is kept, from a place in the stream on: the payloads are those of `events.proto`.
    ///
    /// # Errors
    /// [`BusError`] when the server can't be asked.
    pub async fn events(&self, from: u64) -> Result<Changes, BusError> {
        self.changes_of(EVENTS.into(), EVENT_SUBJECTS.into(), String::new(), from).await
    }

    /// What people should know of, as far as it is kept: commits that no push announced ([`crate::v1::UnknownCommits`]), and hooks that
    /// were skipped ([`crate::v1::HookSkipped`]).
    ///
    /// # Errors
    /// [`BusError`] when the server can't be asked.
    pub async fn alerts(&self) -> Result<[Changes; 2], BusError> {
        let of = |subject: &str| self.changes_of(EVENTS.into(), subject.into(), String::new(), 1);
        Ok([
            of("secretscan.event.alert.unknown-commits.*").await?,
            of("secretscan.event.hook-skipped.*").await?,
        ])
    }

    /// The place of the last event; 0 when none is kept.
    ///
    /// # Errors
    /// [`BusError`] when the server can't be asked.
    pub async fn last_event(&self) -> Result<u64, BusError> {
        let failed = |source| BusError::Bucket { bucket: EVENTS.into(), action: "reading", source };
        let ask = serde_json::json!({ "last_by_subj": EVENT_SUBJECTS }).to_string();
        let answer = self.client.request(format!("$JS.API.DIRECT.GET.{EVENTS}"), ask.into()).await;
        let answer = answer.map_err(|error| failed(Box::new(error)))?;
        let header = |name| answer.headers.as_ref().and_then(|headers| headers.get(name));
        match header(async_nats::header::NATS_SEQUENCE).and_then(|place| place.as_str().parse().ok()) {
            Some(place) => Ok(place),
            None if answer.status == Some(async_nats::StatusCode::NOT_FOUND) => Ok(0),
            None => Err(failed("the server's answer names no place".into())),
        }
    }

    /// What people did, from a place in the stream on: the payloads are [`crate::v1::AuditEntry`].
    ///
    /// # Errors
    /// [`BusError`] when the server can't be asked.
    pub async fn audit_entries(&self, from: u64) -> Result<Changes, BusError> {
        self.changes_of(AUDIT.into(), AUDIT_SUBJECTS.into(), String::new(), from).await
    }

    async fn hints(&self, bucket: &str, subject: String) -> Result<Subscriber, BusError> {
        self.client.subscribe(subject).await.map_err(|source| BusError::Bucket {
            bucket: bucket.to_owned(),
            action: "following",
            source: Box::new(source),
        })
    }

    async fn changes_of(
        &self,
        stream: String,
        subject: String,
        prefix: String,
        from: u64,
    ) -> Result<Changes, BusError> {
        let hints = Hints::new(self.hints(&stream, subject.clone()).await?);
        Ok(Changes { client: self.client.clone(), stream, subject, prefix, next: from.max(1), hints })
    }
}

impl Changes {
    /// What was written since the last call, at most about a thousand; empty when that is all for now.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when the server can't be asked; the next call goes on at the same place.
    pub async fn next(&mut self) -> Result<Vec<Change>, BusError> {
        let ask = serde_json::json!({ "seq": self.next, "next_by_subj": self.subject, "batch": LIST_PAGE });
        let mut changes = Vec::new();
        let page = ask_for_page(&self.client, &self.stream, &ask, |message| {
            changes.push(Change {
                key: message.subject.strip_prefix(&self.prefix).unwrap_or(message.subject).to_owned(),
                value: message.payload.cloned(),
                place: message.sequence,
            });
        });
        let page = page.await.map_err(|source| BusError::Bucket {
            bucket: self.stream.clone(),
            action: "reading",
            source,
        })?;
        if let Some(last) = page.last {
            self.next = last + 1;
        }
        Ok(changes)
    }

    /// Waits until there may be more.
    #[expect(clippy::disallowed_methods, reason = "it paces reads and decides nothing")]
    pub async fn wait(&mut self) {
        if self.hints.wait().await {
            tokio::time::sleep(GATHER).await;
        }
        self.forget_hints();
    }

    /// For who reads now and then, whether there is a hint or not.
    pub fn forget_hints(&mut self) {
        self.hints.gather();
    }
}
