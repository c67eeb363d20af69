//! The public door: answers for who asks with a reply subject.
//!
//! A stream does not keep the reply subject of a message. So each controller also listens to the door's subjects without
//! the stream, remembers who asked what, and answers when it has handled the stored copy. Whichever copy comes second
//! completes the pair. Equal messages are interchangeable, so pairing by content is enough; that each question gets one
//! answer, and each answer goes to another question, is settled between controllers by a key that only one can create.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Subject;
use futures::StreamExt;
use secretscan_proto::v1;
use sha2::{Digest, Sha256};

use crate::queue::Delivery;
use crate::requests::json;
use crate::{Bus, BusError, Stop, chain, topology, trace};

/// How long a question is remembered, which may wait in the stream.
const ASKED: Duration = Duration::from_secs(30);
/// How long an answer is remembered, whose question is heard about when it is stored. Most messages ask for none.
const ANSWERED: Duration = Duration::from_secs(5);

/// What is asked at.
const DOORS: [&str; 5] = [
    topology::NEW_SCAN,
    topology::CANCEL_SCAN,
    topology::FORGET_COMMITS,
    topology::NEW_SCHEDULE,
    topology::CHANGE_SCHEDULE,
];

type Digest32 = [u8; 32];

#[derive(Default)]
struct Pairs {
    askers: HashMap<Digest32, Vec<(Subject, Instant)>>,
    answers: HashMap<Digest32, Vec<(v1::Answer, Instant)>>,
    swept: Option<Instant>,
}

impl Pairs {
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now.duration_since(swept) < ANSWERED) {
            return;
        }
        self.swept = Some(now);
        forget(&mut self.askers, now, ASKED);
        forget(&mut self.answers, now, ANSWERED);
    }
}

fn forget<T>(map: &mut HashMap<Digest32, Vec<(T, Instant)>>, now: Instant, after: Duration) {
    map.retain(|_, queue| {
        queue.retain(|(_, at)| now.duration_since(*at) < after);
        !queue.is_empty()
    });
    // The room of a rush is given back.
    map.shrink_to(2 * map.len());
}

/// The newest: whoever asks the same again no longer waits for the answer to the time before, and would never get one if
/// that came first.
fn take<T>(map: &mut HashMap<Digest32, Vec<(T, Instant)>>, digest: &Digest32) -> Option<T> {
    let queue = map.get_mut(digest)?;
    let taken = queue.pop().map(|(value, _)| value);
    if queue.is_empty() {
        map.remove(digest);
    }
    taken
}

fn digest(subject: &str, message_id: Option<&str>, payload: &[u8]) -> Digest32 {
    let mut hash = Sha256::new();
    for part in [subject.as_bytes(), message_id.unwrap_or_default().as_bytes(), payload] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Pairs questions with answers.
pub struct Door {
    bus: Bus,
    pairs: Mutex<Pairs>,
}

impl Door {
    /// A door that knows of no question yet.
    pub fn new(bus: Bus) -> Self {
        Self { bus, pairs: Mutex::default() }
    }

    fn pairs(&self) -> std::sync::MutexGuard<'_, Pairs> {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.sweep(Instant::now());
        pairs
    }

    /// Listens until stopped.
    pub async fn listen(&self, stop: &Stop) {
        while !stop.is_cancelled() {
            let listened = tokio::select! {
                listened = self.listen_once() => listened,
                () = stop.cancelled() => return,
            };
            if let Err(error) = listened {
                tracing::warn!(error = chain(&error), "the door does not hear replies for a moment");
            }
            self.bus.pause(stop).await;
        }
    }

    async fn listen_once(&self) -> Result<(), BusError> {
        let subscribe = async |subject: &'static str| {
            self.bus.client.subscribe(subject).await.map_err(|source| BusError::Publish {
                subject: format!("(subscribe) {subject}"),
                source: Box::new(source),
            })
        };
        let subscribed = DOORS.into_iter().map(subscribe);
        let mut messages = futures::stream::select_all(futures::future::try_join_all(subscribed).await?);
        while let Some(message) = messages.next().await {
            let Some(reply) = message.reply else { continue };
            let message_id = message
                .headers
                .as_ref()
                .and_then(|headers| headers.get(async_nats::header::NATS_MESSAGE_ID))
                .map(|value| value.as_str());
            let digest = digest(&message.subject, message_id, &message.payload);
            let answer = {
                let mut pairs = self.pairs();
                let answer = take(&mut pairs.answers, &digest);
                if answer.is_none() {
                    pairs.askers.entry(digest).or_default().push((reply.clone(), Instant::now()));
                }
                answer
            };
            if let Some(answer) = answer
                && !self.send(reply, &answer).await
            {
                // Another controller was first: this answer is for another question.
                self.pairs().answers.entry(digest).or_default().push((answer, Instant::now()));
            }
        }
        Ok(())
    }

    /// Answers who sent this message, if they asked for an answer.
    pub async fn answer(&self, delivery: &Delivery, answer: v1::Answer) {
        let digest = digest(delivery.subject(), delivery.message_id(), delivery.payload());
        loop {
            let asker = {
                let mut pairs = self.pairs();
                let asker = take(&mut pairs.askers, &digest);
                if asker.is_none() {
                    pairs.answers.entry(digest).or_default().push((answer.clone(), Instant::now()));
                }
                asker
            };
            let Some(reply) = asker else { return };
            if self.send(reply, &answer).await {
                return;
            }
        }
    }

    /// Answers a question, unless another controller has; `false` then.
    async fn send(&self, reply: Subject, answer: &v1::Answer) -> bool {
        let key: String =
            Sha256::digest(reply.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        match self.bus.answered.create(&key, &()).await {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            // Two answers are better than none.
            Err(error) => tracing::warn!(error = chain(&error), "an answer may be sent twice"),
        }
        if let Err(error) = self.bus.client.publish(reply, json(answer).into()).await {
            tracing::warn!(%error, "an answer was not sent");
        }
        true
    }
}

/// Why a question at the door got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody answered in time. The message is stored and will be handled.
    #[error("no controller answered within {seconds} s; the message is stored and waits for one")]
    NoAnswer {
        /// How long it waited.
        seconds: u64,
    },
    /// The message could not be sent.
    #[error("the message could not be sent: {reason}")]
    Send {
        /// Why.
        reason: String,
    },
}

/// How long a question waits for its answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

impl Bus {
    /// Sends a new request to the door and waits for the answer.
    ///
    /// # Errors
    /// [`AskError`]; a refusal is an answer, not an error.
    pub async fn request_scan(&self, request: &v1::NewRepositoryScan) -> Result<v1::Answer, AskError> {
        self.ask(topology::NEW_SCAN, json(request)).await
    }

    /// Asks the door to cancel a request and waits for the answer.
    ///
    /// # Errors
    /// [`AskError`]; a refusal is an answer, not an error.
    pub async fn cancel_scan(&self, cancel: &v1::CancelRepositoryScan) -> Result<v1::Answer, AskError> {
        self.ask(topology::CANCEL_SCAN, json(cancel)).await
    }

    /// Sends a new schedule to the door and waits for the answer.
    ///
    /// # Errors
    /// [`AskError`]; a refusal is an answer, not an error.
    pub async fn request_schedule(&self, schedule: &v1::NewSchedule) -> Result<v1::Answer, AskError> {
        self.ask(topology::NEW_SCHEDULE, json(schedule)).await
    }

    /// Asks something of a schedule and waits for the answer.
    ///
    /// # Errors
    /// [`AskError`]; a refusal is an answer, not an error.
    pub async fn change_schedule(&self, change: &v1::ChangeSchedule) -> Result<v1::Answer, AskError> {
        self.ask(topology::CHANGE_SCHEDULE, json(change)).await
    }

    /// Asks the door to forget commits, so that the next request scans them again, and waits for the answer.
    ///
    /// # Errors
    /// [`AskError`]; a refusal is an answer, not an error.
    pub async fn forget_commits(&self, forget: &v1::ForgetCommits) -> Result<v1::Answer, AskError> {
        self.ask(topology::FORGET_COMMITS, json(forget)).await
    }

    async fn ask(&self, subject: &'static str, body: Vec<u8>) -> Result<v1::Answer, AskError> {
        let mut headers = async_nats::HeaderMap::new();
        trace::inject(&mut headers);
        let mut request = async_nats::Request::new().payload(body.into()).timeout(Some(ASK_TIMEOUT));
        if !headers.is_empty() {
            request = request.headers(headers);
        }
        let reply = self.client.send_request(subject, request).await.map_err(|error| match error.kind() {
            async_nats::RequestErrorKind::TimedOut => AskError::NoAnswer { seconds: ASK_TIMEOUT.as_secs() },
            async_nats::RequestErrorKind::NoResponders
            | async_nats::RequestErrorKind::InvalidSubject
            | async_nats::RequestErrorKind::MaxPayloadExceeded
            | async_nats::RequestErrorKind::Other => AskError::Send { reason: error.to_string() },
        })?;
        serde_json::from_slice(&reply.payload)
            .map_err(|error| AskError::Send { reason: format!("the answer can't be read: {error}") })
    }

    /// A short rest before something is tried again.
    #[expect(clippy::disallowed_methods, reason = "the back-off of watches")]
    pub async fn pause(&self, stop: &Stop) {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = stop.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_again_is_answered_before_the_time_before() {
        let (mut askers, question) = (HashMap::new(), digest("door", None, b"the same"));
        for reply in ["lost", "waiting"] {
            askers.entry(question).or_insert_with(Vec::new).push((reply, Instant::now()));
        }
        assert_eq!(take(&mut askers, &question), Some("waiting"));
        assert_eq!(take(&mut askers, &question), Some("lost"));
        assert_eq!(take(&mut askers, &question), None);
        assert!(askers.is_empty());
    }
}
