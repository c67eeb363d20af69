//! What people decide about a secret of a repository.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Stamp;
use crate::ids::Timestamp;

/// At most this many decisions are kept: the last ones.
pub const MAX_DECISIONS: usize = 50;
/// The longest reason, in characters.
pub const MAX_REASON: usize = 1_000;

/// What is thought of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum TriageState {
    /// Nothing was decided, or what was decided holds no more.
    Open,
    /// It is a secret, and must be dealt with.
    Confirmed,
    /// It is of no use any more.
    Revoked,
    /// It is no secret.
    FalsePositive,
    /// It may stay for a time.
    Accepted {
        /// From then on it is open again.
        expires: Timestamp,
    },
}

impl TriageState {
    /// The name, as in records.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Confirmed => "confirmed",
            Self::Revoked => "revoked",
            Self::FalsePositive => "false-positive",
            Self::Accepted { .. } => "accepted",
        }
    }

    /// Whether nobody needs to be told of the secret again.
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Revoked | Self::FalsePositive | Self::Accepted { .. } => true,
            Self::Open | Self::Confirmed => false,
        }
    }
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// What was decided.
    #[serde(flatten)]
    pub state: TriageState,
    /// Why, in people's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// Who, as they say.
    pub by: String,
}

/// What was decided about a secret of a repository, as the bucket `triage` keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Triage {
    /// The decisions, the last of which holds; at most [`MAX_DECISIONS`].
    pub decisions: Vec<Decision>,
}

/// Why a decision is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TriageError {
    /// Accepted without a reason.
    #[error("what is accepted needs a reason")]
    NoReason,
    /// Accepted until a time that is not ahead.
    #[error("what is accepted needs a time of expiry that is ahead")]
    Expired,
    /// A reason that is too long for a record.
    #[error("a reason has at most {MAX_REASON} characters")]
    LongReason,
}

impl Triage {
    /// What holds at a time.
    pub fn state(&self, now: Timestamp) -> TriageState {
        match self.decisions.last().map(|decision| &decision.state) {
            Some(TriageState::Accepted { expires }) if *expires <= now => TriageState::Open,
            Some(state) => state.clone(),
            None => TriageState::Open,
        }
    }

    /// Adds a decision. One that says the same as the last and by the same person is that one.
    ///
    /// # Errors
    /// [`TriageError`] when it is not complete.
    pub fn decide(
        &self,
        state: TriageState,
        reason: &str,
        stamp: Stamp<'_>,
    ) -> Result<Option<Self>, TriageError> {
        let reason = reason.trim();
        if reason.chars().count() > MAX_REASON {
            return Err(TriageError::LongReason);
        }
        if let TriageState::Accepted { expires } = &state {
            if reason.is_empty() {
                return Err(TriageError::NoReason);
            }
            if *expires <= stamp.now {
                return Err(TriageError::Expired);
            }
        }
        let is_repeated = self
            .decisions
            .last()
            .is_some_and(|last| last.state == state && last.reason == reason && last.by == stamp.by);
        if is_repeated {
            return Ok(None);
        }
        let mut next = self.clone();
        next.decisions.push(Decision {
            state,
            reason: reason.to_owned(),
            at: stamp.now,
            by: stamp.by.to_owned(),
        });
        let first_kept = next.decisions.len().saturating_sub(MAX_DECISIONS);
        next.decisions.drain(..first_kept);
        Ok(Some(next))
    }
}
