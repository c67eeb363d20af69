//! Pulls of one message, each of an idle worker.
//!
//! The decision worth knowing: pulls have an order. Agents have workers beyond their slots, which are for urgent work; without an order,
//! work that needs a slot came to those as often, and was given back until it came to one that had a slot. These pulls are our own,
//! since those of async-nats 0.51 that ask once can't say it.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::{StatusCode, Subscriber};
use futures::StreamExt;

use super::{Delivery, give_back};
use crate::topology::{AGENTS_GROUP, Queue};
use crate::{Bus, BusError, Stop};

/// The server says that nothing came; what comes so long after that was lost.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// How many workers somebody has for a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// Those that work is for.
    pub slots: usize,
    /// Those that get what waits for no slot anywhere.
    pub beyond: usize,
}

impl Workers {
    /// A single one.
    pub const ONE: Self = Self { slots: 1, beyond: 0 };

    /// The place of each of them.
    pub(super) fn places(self) -> impl Iterator<Item = Place> {
        let slots = std::iter::repeat_n(Place(0), self.slots);
        slots.chain(std::iter::repeat_n(Place(1), self.beyond))
    }
}

/// A message goes to a pull of the lowest place, to the one that has waited longest.
#[derive(Clone, Copy)]
pub(super) struct Place(usize);

impl Bus {
    /// Waits for a message; `None` when none came for a while, or it is time to stop. A consumer that may not be there is looked
    /// up first.
    pub(super) async fn pull_one(
        &self,
        queue: Queue,
        place: Place,
        is_there: bool,
        stop: &Stop,
    ) -> Result<Option<Delivery>, BusError> {
        let mut connections = self.connections.clone();
        connections.mark_unchanged();
        let asked = async {
            if !is_there {
                self.consumer(queue).await?;
            }
            self.ask_for_one(queue, place).await
        };
        let mut answers = tokio::select! {
            answers = asked => answers?,
            () = stop.cancelled() => return Ok(None),
        };
        let answered = tokio::time::timeout(self.sign_of_life_every() + LOST_AFTER, answers.next());
        tokio::select! {
            biased;
            answer = answered => match answer {
                Ok(Some(answer)) => self.read(queue, answer)?.map(Delivery::new).transpose(),
                Ok(None) | Err(_) => Ok(None),
            },
            // The server has forgotten a pull of an earlier connection.
            _ = connections.changed() => Ok(None),
            () = stop.cancelled() => {
                // Ends it; what is on its way still comes.
                if answers.drain().await.is_ok() {
                    let messages = answers.map(|answer| self.read(queue, answer));
                    give_back(messages.filter_map(async |message| message.transpose())).await;
                }
                Ok(None)
            }
        }
    }

    async fn ask_for_one(&self, queue: Queue, place: Place) -> Result<Subscriber, BusError> {
        let failed = |source| BusError::Pull { consumer: queue.consumer(), source };
        let (group, priority) = match queue.is_for_agents() {
            true => (Some(AGENTS_GROUP.to_owned()), Some(place.0)),
            false => (None, None),
        };
        let expires = Some(self.sign_of_life_every());
        let pull = BatchConfig { batch: 1, expires, group, priority, ..BatchConfig::default() };
        let pull = serde_json::to_vec(&pull).map_err(|error| failed(Box::new(error)))?;
        let inbox = self.client.new_inbox();
        let answers = self.client.subscribe(inbox.clone()).await;
        let answers = answers.map_err(|error| failed(Box::new(error)))?;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", queue.stream(), queue.consumer());
        let asked = self.client.publish_with_reply(subject, inbox, pull.into()).await;
        asked.map_err(|error| failed(Box::new(error)))?;
        Ok(answers)
    }

    /// An answer: a message, that there was none, or why there will be none.
    fn read(&self, queue: Queue, answer: async_nats::Message) -> Result<Option<Message>, BusError> {
        match answer.status {
            None | Some(StatusCode::OK) => {
                Ok(Some(Message { message: answer, context: self.jetstream.clone() }))
            }
            Some(StatusCode::TIMEOUT) => Ok(None),
            Some(status) => {
                let why = answer.description.as_deref().unwrap_or_default();
                let source = format!("the server ended the pull: {status} {why}").into();
                Err(BusError::Pull { consumer: queue.consumer(), source })
            }
        }
    }
}
