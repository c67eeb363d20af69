//! What was told to Git hosts and people, so that nothing is told twice.

use serde::{Deserialize, Serialize};

use crate::{Bus, BusError, Versioned, fail};

/// A message to the outside: the memory of the notifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// What it says: the state of a commit status, or the kind of a message to people.
    pub what: String,
    /// The words of a commit status; empty for messages to people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// How far it is.
    #[serde(flatten)]
    pub phase: Phase,
}

/// How far a message to the outside is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "camelCase")]
pub enum Phase {
    /// It could not be sent yet.
    #[serde(rename_all = "camelCase")]
    Waiting {
        /// Whether the last attempt may have arrived all the same.
        may_have_arrived: bool,
    },
    /// It is on its way, or its sender died while it was.
    #[serde(rename_all = "camelCase")]
    Sending {
        /// The event, by its place in the stream, whose handler sends it: who gets that event again takes over.
        event: u64,
        /// When the sending began, in milliseconds since the Unix epoch.
        since: i64,
    },
    /// It arrived.
    Sent,
    /// It can't be sent.
    Undelivered {
        /// Why, in words that hold no secret.
        reason: String,
    },
}

impl Phase {
    fn name(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Sending { .. } => "sending",
            Self::Sent => "sent",
            Self::Undelivered { .. } => "undelivered",
        }
    }
}

impl Bus {
    /// What is known of a message. The key is made of tokens of `A-Z a-z 0-9 _ -` with dots in between.
    ///
    /// # Errors
    /// [`BusError`] when it can't be read.
    pub async fn notification(&self, key: &str) -> Result<Option<Versioned<Notification>>, BusError> {
        self.notifications.get(key).await
    }

    /// Records a message that must be new (`None`), or as it was at a revision; gives the new revision, `None` when
    /// another was faster.
    ///
    /// # Errors
    /// [`BusError`] when it can't be written.
    pub async fn put_notification(
        &self,
        key: &str,
        notification: &Notification,
        revision: Option<u64>,
    ) -> Result<Option<u64>, BusError> {
        let written = match revision {
            Some(revision) => self.notifications.update(key, notification, revision).await?,
            None => self.notifications.create(key, notification).await?,
        };
        if written.is_some() {
            let (what, phase) = (&notification.what, notification.phase.name());
            fail::point(format_args!("notification.{what}.{phase}.written"));
        }
        Ok(written)
    }
}
