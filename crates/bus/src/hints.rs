//! Hints of writes, which say when to read again what somebody follows.
//!
//! A hint is the message of the write itself, as a plain subscriber hears it: it may come before the server has stored what it says, and
//! then reading gives what was there before. So after the last hint it is read again, after ever longer times, whatever was read
//! before: that may have been told of by an earlier one. While the connection is lost, hints are too: it is read now and then without any.

use std::time::Duration;

use async_nats::Subscriber;
use futures::{FutureExt, StreamExt};

/// A change that no hint told of is seen after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// What a hint told of is looked for again after this long, and then after twice as long each time.
const FIRST: Duration = Duration::from_millis(5);

/// Hints of the writes to a subject.
pub(crate) struct Hints {
    messages: Subscriber,
    patience: Patience,
}

impl Hints {
    /// Those that this subscription hears.
    pub(crate) fn new(messages: Subscriber) -> Self {
        Self { messages, patience: Patience::default() }
    }

    /// Waits until it is time to read; `true` when a hint came.
    pub(crate) async fn wait(&mut self) -> bool {
        let is_hinted = tokio::time::timeout(self.patience.next(), self.messages.next()).await.is_ok();
        self.patience.after_wait(is_hinted);
        is_hinted
    }

    /// Takes those that have come as one.
    pub(crate) fn gather(&mut self) {
        while self.messages.next().now_or_never().flatten().is_some() {
            self.patience.after_wait(true);
        }
    }
}

/// How long nobody looks.
#[derive(Default)]
struct Patience {
    /// How long the next look after a hint is away.
    after_hint: Option<Duration>,
}

impl Patience {
    fn next(&self) -> Duration {
        self.after_hint.unwrap_or(LOOK_AGAIN)
    }

    fn after_wait(&mut self, is_hinted: bool) {
        self.after_hint = match self.after_hint {
            _ if is_hinted => Some(FIRST),
            Some(waited) if waited < LOOK_AGAIN => Some(waited * 2),
            Some(_) | None => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_hint_it_is_looked_soon_and_then_ever_later() {
        let mut patience = Patience::default();
        assert_eq!(patience.next(), LOOK_AGAIN);
        patience.after_wait(true);
        let mut waits = vec![];
        while patience.next() < LOOK_AGAIN {
            waits.push(patience.next().as_millis());
            patience.after_wait(false);
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1280]);
        patience.after_wait(false);
        patience.after_wait(false);
        assert_eq!(patience.next(), LOOK_AGAIN);
    }
}
