//! Pulling work, keeping it while it is worked on, acknowledging it, and dead letters.

mod pull;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind, RawMessageErrorKind};
use async_nats::jetstream::{AckKind, ErrorCode, Message};
use futures::{Stream, StreamExt};
use secretscan_model::Timestamp;
use secretscan_proto::{DecodeError, Readable};
use tracing::Instrument;

use self::pull::Place;
pub use self::pull::Workers;
use crate::topology::{Queue, dead_letter, is_without_stream};
use crate::{Bus, BusError, Stop, chain, fail, trace};

/// What a handler says of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done, or no longer needed.
    Done,
    /// Not now: bring it again after this time.
    RetryAfter(Duration),
    /// Never: keep it as a dead letter with this reason.
    Reject(String),
    /// Never, and its bytes hold something that must not be kept.
    RejectWithoutBody(String),
    /// Somebody else works on it and will settle it.
    Leave,
}

impl Verdict {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::RetryAfter(_) => "retry",
            Self::Reject(_) | Self::RejectWithoutBody(_) => "rejected",
            Self::Leave => "left",
        }
    }
}

/// A verdict, and what the agent shows to hold until the verdict is carried out: the scheduler must see the slot freed
/// after the message is settled, not before.
pub struct Settled {
    verdict: Verdict,
    held: Option<crate::agents::Held>,
}

impl Settled {
    /// A verdict on work that the agent shows to hold.
    pub fn new(verdict: Verdict, held: crate::agents::Held) -> Self {
        Self { verdict, held: Some(held) }
    }
}

impl From<Verdict> for Settled {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, held: None }
    }
}

/// Why a dead letter is one.
pub(crate) const REASON_HEADER: &str = "Secretscan-Reason";
/// The subject that a dead letter came by.
pub(crate) const ORIGIN_HEADER: &str = "Secretscan-Origin-Subject";

/// How long work rests after an error that may go by.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What an agent without a free slot was given is brought again after this time, to another: it has taken it with the worker
/// that it has for urgent work.
pub const ANOTHER_AGENT: Duration = Duration::from_millis(50);

/// A pull that goes on waits this long for a message at a time.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// While a pull that goes on waits, the server says this often that it is there.
const PULL_HEARTBEAT: Duration = Duration::from_secs(10);
/// So many messages are pulled ahead of work that may take long.
const PULLED_AHEAD: usize = 64;
/// How long a puller rests after an error.
const PULL_BACK_OFF: Duration = Duration::from_secs(1);

/// A message in hand. Dropped without a verdict, it comes back after the ack deadline.
pub struct Delivery {
    message: Message,
    sequence: u64,
    published_ms: i64,
    deliveries: i64,
    /// In the names of fail points.
    consumer: String,
}

impl Delivery {
    fn new(message: Message) -> Result<Self, BusError> {
        let (sequence, published_ms, deliveries, consumer) = {
            let info = message
                .info()
                .map_err(|source| BusError::Pull { consumer: message.subject.to_string(), source })?;
            let published_ms = (info.published.unix_timestamp_nanos() / 1_000_000) as i64;
            (info.stream_sequence, published_ms, info.delivered, info.consumer.to_owned())
        };
        fail::point(format_args!("{consumer}.delivered"));
        Ok(Self { message, sequence, published_ms, deliveries, consumer })
    }

    /// The subject that it was published to.
    pub fn subject(&self) -> &str {
        &self.message.subject
    }

    /// The bytes.
    pub fn payload(&self) -> &[u8] {
        &self.message.payload
    }

    /// Its place in the stream.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When the server stored it, in milliseconds since the Unix epoch.
    pub fn published_ms(&self) -> i64 {
        self.published_ms
    }

    /// Whether it came before, by the count of the server, which is not exact after a crash.
    pub fn is_redelivered(&self) -> bool {
        self.deliveries > 1
    }

    /// How often it was delivered, by the same count, from 1.
    pub fn deliveries(&self) -> u64 {
        self.deliveries.unsigned_abs()
    }

    /// The header `Nats-Msg-Id`.
    pub fn message_id(&self) -> Option<&str> {
        self.header(async_nats::header::NATS_MESSAGE_ID.as_ref())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.message.headers.as_ref()?.get(name).map(|value| value.as_str())
    }

    /// Reads a message that a service wrote.
    ///
    /// # Errors
    /// [`DecodeError`] when it is not `M`.
    pub fn decode<M: Readable>(&self) -> Result<M, DecodeError> {
        secretscan_proto::decode(&self.message.payload)
    }

    /// Reads a message that came to the door, and may be written by people.
    ///
    /// # Errors
    /// [`DecodeError`] when it is not `M`, or has fields that `M` does not have.
    pub fn decode_strictly<M: Readable>(&self) -> Result<M, DecodeError> {
        secretscan_proto::decode_strictly(&self.message.payload)
    }

    pub(crate) fn headers(&self) -> Option<&async_nats::HeaderMap> {
        self.message.headers.as_ref()
    }

    /// The span of the work on it, which what is published meanwhile belongs to.
    pub fn span(&self) -> tracing::Span {
        trace::span_of(self, &self.consumer)
    }

    async fn progress(&self) {
        if let Err(error) = self.message.ack_with(AckKind::Progress).await {
            tracing::warn!(subject = %self.message.subject, %error, "can't extend the ack deadline");
        }
    }
}

/// What the server has sent to a pull is here after so long.
const STILL_COMES: Duration = Duration::from_millis(50);

/// Gives back what was delivered to a pull that nobody reads on, which would come to another only after its ack deadline. Not
/// before the pull has ended: it would get the same again.
async fn give_back<E>(messages: impl Stream<Item = Result<Message, E>>) {
    let mut left = Vec::new();
    {
        let mut messages = Box::pin(messages);
        let rest = async {
            while let Some(Ok(message)) = messages.next().await {
                left.push(message);
            }
        };
        // Ends with the time: a pull that goes on asks for more.
        let _ = tokio::time::timeout(STILL_COMES, rest).await;
    }
    for message in left {
        if let Err(error) = message.ack_with(AckKind::Nak(None)).await {
            tracing::warn!(subject = %message.subject, %error, "can't give it back; it comes after its ack deadline");
        }
    }
}

fn is_absent(error: &ConsumerError) -> bool {
    match error.kind() {
        ConsumerErrorKind::JetStream(reason) => reason.error_code() == ErrorCode::CONSUMER_NOT_FOUND,
        _ => false,
    }
}

impl Bus {
    async fn consumer(&self, queue: Queue) -> Result<PullConsumer, BusError> {
        let failed = |source| BusError::Pull { consumer: queue.consumer(), source };
        match self.jetstream.get_consumer_from_stream(queue.consumer(), queue.stream()).await {
            Ok(consumer) => Ok(consumer),
            Err(error) if is_absent(&error) => {
                tracing::warn!(consumer = queue.consumer(), "somebody deleted it; it is made again");
                let stream = self.jetstream.get_stream_no_info(queue.stream()).await;
                let stream = stream.map_err(|error| failed(Box::new(error)))?;
                let made = stream.create_consumer_strict(queue.config(self.ack_wait)).await;
                made.map_err(|error| failed(Box::new(error)))
            }
            Err(error) => Err(failed(Box::new(error))),
        }
    }

    /// Makes all work that is in hand waiting again, instead of after its ack deadline, and consumers what this version wants. Only
    /// for who knows that nobody works: the whole system on one machine, at its start. Streams that are not there are left out.
    ///
    /// # Errors
    /// [`BusError::Pull`] when the server can't be asked.
    pub async fn take_back_work(&self) -> Result<(), BusError> {
        for queue in Queue::all() {
            let failed = |source| BusError::Pull { consumer: queue.consumer(), source };
            let stream = match self.jetstream.get_stream(queue.stream()).await {
                Ok(stream) => stream,
                Err(error) if is_without_stream(&error) => continue,
                Err(error) => return Err(failed(Box::new(error))),
            };
            match stream.delete_consumer(&queue.consumer()).await {
                Ok(_) => {}
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(failed(Box::new(error))),
            }
            let made = stream.create_consumer(queue.config(self.ack_wait)).await;
            made.map_err(|error| failed(Box::new(error)))?;
        }
        Ok(())
    }

    /// Messages of a queue that nobody has finished: waiting, and in hand.
    ///
    /// # Errors
    /// [`BusError::Pull`] when the server can't be asked.
    pub async fn unfinished(&self, queue: Queue) -> Result<u64, BusError> {
        let consumer = self.consumer(queue).await?;
        let info = consumer.cached_info();
        Ok(info.num_pending + info.num_ack_pending as u64)
    }

    /// When the oldest message of a queue came to it that nobody has finished; `None` when it is empty. Of queues that keep what
    /// was read, the oldest that is kept.
    ///
    /// # Errors
    /// [`BusError::Pull`] when the server can't be asked.
    pub async fn oldest_unfinished(&self, queue: Queue) -> Result<Option<Timestamp>, BusError> {
        let failed = |source| BusError::Pull { consumer: queue.consumer(), source };
        let stream = self.jetstream.get_stream_no_info(queue.stream()).await;
        let stream = stream.map_err(|error| failed(Box::new(error)))?;
        let subject = queue.subject();
        match stream.raw_message_builder().sequence(1).next_by_subject(subject.as_str()).send().await {
            Ok(message) => Ok(Some(Timestamp((message.time.unix_timestamp_nanos() / 1_000_000) as i64))),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(Box::new(error))),
        }
    }

    /// Carries out a verdict.
    ///
    /// # Errors
    /// [`BusError`] when the server did not confirm it; the message then comes back.
    pub async fn settle(&self, delivery: &Delivery, verdict: Verdict) -> Result<(), BusError> {
        fail::point(format_args!("{}.handled", delivery.consumer));
        let subject = delivery.message.subject.to_string();
        let failed = |reason: String| BusError::Acknowledge { subject: subject.clone(), reason };
        match verdict {
            Verdict::Done => {
                // Not `double_ack`: that takes the server's "no responders" for an answer.
                let Some(reply) = delivery.message.reply.clone() else {
                    return Err(failed("it has no ack subject".into()));
                };
                self.client.request(reply, "+ACK".into()).await.map_err(|error| failed(error.to_string()))?;
            }
            Verdict::RetryAfter(delay) => {
                let ack = AckKind::Nak(Some(delay));
                delivery.message.ack_with(ack).await.map_err(|error| failed(error.to_string()))?;
            }
            Verdict::Leave => {}
            Verdict::Reject(reason) => {
                self.reject(delivery, &reason, delivery.message.payload.clone()).await?;
            }
            Verdict::RejectWithoutBody(reason) => self.reject(delivery, &reason, bytes::Bytes::new()).await?,
        }
        fail::point(format_args!("{}.settled", delivery.consumer));
        Ok(())
    }

    async fn reject(&self, delivery: &Delivery, reason: &str, body: bytes::Bytes) -> Result<(), BusError> {
        let subject = delivery.message.subject.to_string();
        tracing::warn!(subject, reason, "rejected");
        let message_id = format!("{subject}.{}", delivery.sequence);
        self.dead_letter(&subject, &message_id, reason, body).await?;
        delivery
            .message
            .ack_with(AckKind::Term)
            .await
            .map_err(|error| BusError::Acknowledge { subject, reason: error.to_string() })
    }

    /// Keeps a message that can't be done.
    pub(crate) async fn dead_letter(
        &self,
        origin: &str,
        message_id: &str,
        reason: &str,
        body: bytes::Bytes,
    ) -> Result<(), BusError> {
        let mut headers = async_nats::HeaderMap::new();
        // A header value is one line.
        let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        headers.insert(REASON_HEADER, reason.as_str());
        headers.insert(ORIGIN_HEADER, origin);
        self.publish(dead_letter(origin), message_id.to_owned(), headers, body).await?;
        self.metrics.dead_letter();
        Ok(())
    }

    /// Works on a queue with these workers until stopped, each on one message at a time, and pulls only for idle workers:
    /// long work never holds messages that another could do.
    pub async fn work<H, F>(&self, queue: Queue, workers: Workers, stop: &Stop, handler: H)
    where
        H: Fn(Arc<Delivery>) -> F,
        F: Future<Output: Into<Settled>>,
    {
        let workers = workers.places().map(|place| self.worker(queue, place, stop, &handler));
        futures::future::join_all(workers).await;
    }

    async fn worker<H, F>(&self, queue: Queue, place: Place, stop: &Stop, handler: &H)
    where
        H: Fn(Arc<Delivery>) -> F,
        F: Future<Output: Into<Settled>>,
    {
        let mut is_there = false;
        while !stop.is_cancelled() {
            match self.pull_one(queue, place, is_there, stop).await {
                Ok(Some(delivery)) => {
                    is_there = true;
                    self.handle(queue, Arc::new(delivery), handler).await;
                }
                // Nothing came; a consumer that somebody deleted does not say so, it is looked up again.
                Ok(None) => is_there = false,
                Err(error) => {
                    is_there = false;
                    self.rest_after(&error, stop).await;
                }
            }
        }
    }

    async fn handle<H, F>(&self, queue: Queue, delivery: Arc<Delivery>, handler: &H)
    where
        H: Fn(Arc<Delivery>) -> F,
        F: Future<Output: Into<Settled>>,
    {
        let span = delivery.span();
        let work = span.in_scope(|| handler(delivery.clone())).instrument(span.clone());
        let mut work = std::pin::pin!(work);
        let mut progress = tokio::time::interval(self.sign_of_life_every());
        progress.tick().await;
        let started = Instant::now();
        let settled: Settled = loop {
            tokio::select! {
                settled = &mut work => break settled.into(),
                _ = progress.tick() => delivery.progress().await,
            }
        };
        span.record("verdict", settled.verdict.name());
        self.metrics.handled(queue, &delivery, &settled.verdict, started.elapsed());
        if let Err(error) = self.settle(&delivery, settled.verdict).await {
            tracing::warn!(error = chain(&error), "a message was not settled and will come back");
        }
        drop(settled.held);
    }

    #[expect(clippy::disallowed_methods, reason = "the back-off of the pullers")]
    async fn rest_after(&self, error: &BusError, stop: &Stop) {
        tracing::warn!(error = chain(error), "pulling rests for a moment");
        tokio::select! {
            () = tokio::time::sleep(PULL_BACK_OFF) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Handles a queue of short work: many messages at once, pulled ahead.
    pub async fn work_ahead<H, F>(&self, queue: Queue, concurrency: usize, stop: &Stop, handler: H)
    where
        H: Fn(Arc<Delivery>) -> F,
        F: Future<Output: Into<Settled>>,
    {
        self.work_at_once(queue, concurrency, concurrency, stop, handler).await;
    }

    /// Handles many messages at once that may each wait long, such as for company, and pulls few ahead: nobody extends
    /// the ack deadline of those.
    pub async fn work_together<H, F>(&self, queue: Queue, at_once: usize, stop: &Stop, handler: H)
    where
        H: Fn(Arc<Delivery>) -> F,
        F: Future<Output: Into<Settled>>,
    {
        self.work_at_once(queue, PULLED_AHEAD, at_once, stop, handler).await;
    }

    async fn work_at_once<H, F>(&self, queue: Queue, ahead: usize, at_once: usize, stop: &Stop, handler: H)
    where
        H: Fn(Arc<Delivery>) -> F,
        F: Future<Output: Into<Settled>>,
    {
        let deliveries = std::pin::pin!(self.deliveries(queue, ahead, stop));
        let handler = &handler;
        deliveries
            .for_each_concurrent(at_once, |delivery| self.handle(queue, Arc::new(delivery), handler))
            .await;
    }

    /// The messages of a queue as they come, without verdicts: the caller settles them. Ends when stopped.
    pub fn deliveries<'a>(
        &'a self,
        queue: Queue,
        ahead: usize,
        stop: &'a Stop,
    ) -> impl Stream<Item = Delivery> + Send + 'a {
        futures::stream::unfold(None, move |mut messages| async move {
            loop {
                let next = tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    next = self.next_of(queue, ahead, &mut messages) => next,
                };
                match next {
                    Ok(delivery) => return Some((delivery, messages)),
                    Err(error) => {
                        messages = None;
                        self.rest_after(&error, stop).await;
                    }
                }
            }
            if let Some(messages) = messages {
                give_back(messages).await;
            }
            None
        })
    }

    async fn next_of(
        &self,
        queue: Queue,
        ahead: usize,
        messages: &mut Option<async_nats::jetstream::consumer::pull::Stream>,
    ) -> Result<Delivery, BusError> {
        let pull = |source| BusError::Pull { consumer: queue.consumer(), source };
        let messages = match messages {
            Some(messages) => messages,
            None => messages.insert(
                self.consumer(queue)
                    .await?
                    .stream()
                    .max_messages_per_batch(ahead)
                    .expires(PULL_EXPIRES)
                    .heartbeat(PULL_HEARTBEAT)
                    .messages()
                    .await
                    .map_err(|source| pull(Box::new(source)))?,
            ),
        };
        match messages.next().await {
            Some(Ok(message)) => Delivery::new(message),
            Some(Err(source)) => Err(pull(Box::new(source))),
            None => Err(pull("the server ended the pull".into())),
        }
    }
}
