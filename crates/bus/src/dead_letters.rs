//! What could not be done: messages that were refused or given up, with the reason.

use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use bytes::Bytes;
use secretscan_model::Timestamp;
use secretscan_proto::v1;

use crate::queue::{Delivery, ORIGIN_HEADER, REASON_HEADER};
use crate::topology::{CANCEL_SCAN, DEAD_LETTERS, FORGET_COMMITS, NEW_SCAN, SCHEDULE_RUN};
use crate::{Bus, BusError};

/// A message that could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number, which stays.
    pub number: u64,
    /// When it was kept.
    pub at: Timestamp,
    /// The subject that it came by.
    pub origin: String,
    /// Why it could not be done.
    pub reason: String,
    /// Its bytes; none of a message that held something that must not be kept.
    pub body: Bytes,
}

/// How to try a dead letter again.
#[derive(Clone, Debug, PartialEq)]
pub enum Retry {
    /// Ask for the scan again, or for one of the repository whose batch was given up.
    Scan(Box<v1::NewRepositoryScan>),
    /// Ask for the cancellation again.
    Cancel(v1::CancelRepositoryScan),
}

impl DeadLetter {
    /// The dead letter that a delivery of [`crate::topology::Queue::DeadLetters`] is.
    pub fn of(delivery: &Delivery) -> Self {
        let header = |name| delivery.header(name).map(str::to_owned).unwrap_or_default();
        Self {
            number: delivery.sequence(),
            at: Timestamp(delivery.published_ms()),
            origin: header(ORIGIN_HEADER),
            reason: header(REASON_HEADER),
            body: delivery.payload().to_vec().into(),
        }
    }

    /// How to try it again; `None` when its bytes say nothing that could be asked for.
    pub fn retry(&self) -> Option<Retry> {
        if self.origin == CANCEL_SCAN {
            return secretscan_proto::decode_strictly(&self.body).ok().map(Retry::Cancel);
        }
        if self.origin == NEW_SCAN {
            let request: v1::NewRepositoryScan = secretscan_proto::decode_strictly(&self.body).ok()?;
            // The id belongs to the request that has failed.
            return Some(Retry::Scan(Box::new(v1::NewRepositoryScan {
                request_id: String::new(),
                ..request
            })));
        }
        if self.origin == FORGET_COMMITS {
            return None;
        }
        let repository_id = if self.origin.starts_with("secretscan.commit-batch.") {
            secretscan_proto::decode::<v1::CommitBatchReference>(&self.body).ok()?.repository_id
        } else if self.origin == SCHEDULE_RUN {
            secretscan_proto::decode::<v1::ScheduleRun>(&self.body).ok()?.repository_id
        } else if self.origin.starts_with("secretscan.schedule.") {
            return None;
        } else {
            secretscan_proto::decode::<v1::RepositoryScanReference>(&self.body).ok()?.repository_id
        };
        let is_known = !repository_id.is_empty();
        let request = v1::NewRepositoryScan { repository_id, ..v1::NewRepositoryScan::default() };
        is_known.then(|| Retry::Scan(Box::new(request)))
    }
}

impl Bus {
    async fn dead_letter_stream(&self) -> Result<Stream<()>, BusError> {
        self.jetstream.get_stream_no_info(DEAD_LETTERS).await.map_err(|error| failed("opening", error))
    }

    /// The dead letters from this number on, the oldest first, at most so many.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when the server can't be asked.
    pub async fn dead_letters(&self, from: u64, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        let stream = self.dead_letter_stream().await?;
        let mut letters: Vec<DeadLetter> = Vec::new();
        let mut next = from.max(1);
        while letters.len() < limit {
            let ask = stream.raw_message_builder().sequence(next).next_by_subject("secretscan.dead-letter.>");
            let message = match ask.send().await {
                Ok(message) => message,
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => break,
                Err(error) => return Err(failed("reading", error)),
            };
            let header = |name: &str| {
                message.headers.get(name).map(|value| value.as_str().to_owned()).unwrap_or_default()
            };
            next = message.sequence + 1;
            letters.push(DeadLetter {
                number: message.sequence,
                at: Timestamp((message.time.unix_timestamp_nanos() / 1_000_000) as i64),
                origin: header(ORIGIN_HEADER),
                reason: header(REASON_HEADER),
                body: message.payload,
            });
        }
        Ok(letters)
    }

    /// Forgets a dead letter; `false` when there is none of this number.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when the server can't be asked.
    pub async fn drop_dead_letter(&self, number: u64) -> Result<bool, BusError> {
        let letters = self.dead_letters(number, 1).await?;
        if letters.first().is_none_or(|letter| letter.number != number) {
            return Ok(false);
        }
        let stream = self.dead_letter_stream().await?;
        stream.delete_message(number).await.map_err(|error| failed("deleting from", error))
    }
}

fn failed(action: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> BusError {
    BusError::Bucket { bucket: DEAD_LETTERS.to_owned(), action, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(origin: &str, body: &str) -> DeadLetter {
        let (origin, body) = (origin.to_owned(), body.to_owned().into());
        DeadLetter { number: 1, at: Timestamp(0), origin, reason: "why".into(), body }
    }

    #[test]
    fn what_is_tried_again_is_a_new_request() {
        let Some(Retry::Scan(request)) =
            letter(NEW_SCAN, r#"{"requestId":"old","uri":"https://h.example/a/b","refs":["refs/heads/m"]}"#)
                .retry()
        else {
            panic!("a request is tried again")
        };
        assert_eq!((request.request_id.as_str(), request.uri.as_str()), ("", "https://h.example/a/b"));
        assert_eq!(request.refs, ["refs/heads/m"]);
        let batch = r#"{"requestId":"r","batchId":"b","repositoryId":"x"}"#;
        let Some(Retry::Scan(request)) = letter("secretscan.commit-batch.scheduled", batch).retry() else {
            panic!("the repository of a batch is scanned again")
        };
        assert_eq!(request.repository_id, "x");
        assert!(matches!(letter(CANCEL_SCAN, r#"{"requestId":"r"}"#).retry(), Some(Retry::Cancel(_))));
        assert_eq!(letter(NEW_SCAN, "hello").retry(), None);
        assert_eq!(letter(NEW_SCAN, "").retry(), None, "its bytes were not kept");
        assert_eq!(letter("secretscan.repository-scan.scheduled", "{}").retry(), None);
    }
}
