//! What became of something that was sent, and when it may be tried again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use secretscan_bus::now;
use tokio::sync::Semaphore;

use crate::config::DeliverySettings;
use secretscan_http::{Answer, Trouble};

/// No host may silence the notifier for longer at a time.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// What became of something that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It arrived.
    Arrived,
    /// It may be tried again.
    Again {
        /// Not before this time, if the other side said so.
        after: Option<Duration>,
        /// Whether it may have arrived all the same.
        may_have_arrived: bool,
        /// Why, in words that hold no secret.
        reason: String,
    },
    /// Trying again can't help.
    Never {
        /// Why, in words that hold no secret.
        reason: String,
    },
}

impl Outcome {
    /// What a host's answer means. The text of the answer is never repeated: it may hold what was sent.
    pub(crate) fn of(answer: &Answer) -> Self {
        let status = answer.status;
        let reason = format!("answered {status}");
        let is_limited = status == 429 || (status == 403 && answer.wait.is_some());
        match status {
            200..=299 => Self::Arrived,
            _ if is_limited => Self::Again { after: answer.wait, may_have_arrived: false, reason },
            408 | 425 => Self::Again { after: answer.wait, may_have_arrived: true, reason },
            503 => Self::Again { after: answer.wait, may_have_arrived: false, reason },
            500..=599 => Self::Again { after: answer.wait, may_have_arrived: true, reason },
            300..=399 => Self::Never { reason: format!("{reason}: redirects are not followed") },
            _ => Self::Never { reason },
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Arrived => "sent",
            Self::Again { .. } => "again",
            Self::Never { .. } => "undelivered",
        }
    }
}

impl From<Trouble> for Outcome {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NotSent(reason) => Self::Again { after: None, may_have_arrived: false, reason },
            Trouble::NoAnswer(reason) => Self::Again { after: None, may_have_arrived: true, reason },
        }
    }
}

/// How long to wait after so many failures in a row: twice as long each time, up to a bound, and up to half of it less, so
/// that what failed together does not come back together.
pub(crate) fn pause(failures: u64, settings: &DeliverySettings) -> Duration {
    let longest = Duration::from_secs(settings.longest_pause_s.get());
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(30);
    let full =
        Duration::from_millis(settings.first_pause_ms.get()).saturating_mul(1 << doublings).min(longest);
    let random = RandomState::new().build_hasher().finish() % 1_024;
    full.mul_f64(1.0 - random as f64 / 2_048.0)
}

/// Whether something that was said at a time, in milliseconds since the Unix epoch, is too old to be tried again.
pub(crate) fn is_given_up(said_ms: i64, settings: &DeliverySettings) -> bool {
    now().0.saturating_sub(said_ms) > i64::try_from(settings.give_up_after().as_millis()).unwrap_or(i64::MAX)
}

/// The way to one host or channel: one message at a time, and none while the other side has asked for a pause or has
/// failed a moment ago.
pub(crate) struct Gate {
    /// Who has the permit sends.
    pub(crate) turn: Semaphore,
    closed: Mutex<Closed>,
}

#[derive(Default)]
struct Closed {
    failures: u64,
    until: Option<Instant>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { turn: Semaphore::new(1), closed: Mutex::default() }
    }

    fn closed(&self) -> MutexGuard<'_, Closed> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it stays closed.
    pub(crate) fn closed_for(&self) -> Option<Duration> {
        let left = self.closed().until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Closes it, as a host asks that has taken a message and no more for now.
    pub(crate) fn close(&self, wait: Duration) {
        self.closed().until = Instant::now().checked_add(wait.min(LONGEST_WAIT));
    }

    /// Takes note of an outcome; says after which time to try again, if at all.
    pub(crate) fn note(
        &self,
        outcome: &Outcome,
        deliveries: u64,
        settings: &DeliverySettings,
    ) -> Option<Duration> {
        let mut closed = self.closed();
        let Outcome::Again { after, .. } = outcome else {
            closed.failures = 0;
            return None;
        };
        closed.failures += 1;
        let wait = after.map(|after| after.min(LONGEST_WAIT));
        let shut = wait.unwrap_or_else(|| pause(closed.failures, settings));
        closed.until = Instant::now().checked_add(shut);
        Some(wait.unwrap_or_else(|| shut.max(pause(deliveries, settings))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, wait: Option<u64>) -> Answer {
        Answer { status, wait: wait.map(Duration::from_secs), next: None, body: Vec::new() }
    }

    #[test]
    fn answers_are_told_apart() {
        let again = |status, wait| match Outcome::of(&answer(status, wait)) {
            Outcome::Again { after, may_have_arrived, .. } => {
                Some((after.map(|after| after.as_secs()), may_have_arrived))
            }
            Outcome::Arrived | Outcome::Never { .. } => None,
        };
        assert_eq!(Outcome::of(&answer(201, None)), Outcome::Arrived);
        assert_eq!(again(429, Some(60)), Some((Some(60), false)));
        assert_eq!(again(403, Some(7)), Some((Some(7), false)), "a rate limit of GitHub");
        assert_eq!(again(403, None), None, "a token without the right");
        assert_eq!(again(503, None), Some((None, false)));
        assert_eq!(again(500, None), Some((None, true)));
        for status in [301, 400, 401, 404, 422] {
            assert_eq!(again(status, None), None, "{status}");
        }
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let settings = DeliverySettings::default();
        for (failures, full_s) in [(1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (u64::MAX, 300)] {
            let pause = pause(failures, &settings);
            let full = Duration::from_secs(full_s);
            assert!(pause <= full && pause >= full / 2, "{failures}: {pause:?}");
        }
    }

    #[test]
    fn a_gate_stays_closed_as_long_as_it_was_told() {
        let (gate, settings) = (Gate::new(), DeliverySettings::default());
        let limited = Outcome::of(&answer(429, Some(100)));
        assert_eq!(gate.note(&limited, 1, &settings), Some(Duration::from_secs(100)));
        assert!(gate.closed_for().is_some_and(|left| left > Duration::from_secs(90)));
        gate.note(&Outcome::of(&answer(429, Some(u64::MAX))), 1, &settings);
        assert!(gate.closed_for().is_some_and(|left| left <= LONGEST_WAIT));
        let gate = Gate::new();
        assert_eq!(gate.note(&Outcome::Arrived, 1, &settings), None);
        assert_eq!(gate.closed_for(), None);
    }
}
