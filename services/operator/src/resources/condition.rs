//! Conditions, as all of Kubernetes has them.

use secretscan_model::Timestamp;

use super::time;

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// More of a message is left out, in characters. Kubernetes takes 32,768.
const MAX_MESSAGE: usize = 1_024;

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl Truth {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// The conditions of a resource, made anew: one that holds as before keeps the time since when it does.
pub struct Conditions<'a> {
    before: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    all: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// None yet, after those of before.
    pub fn after(before: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { before, generation, now, all: Vec::new() }
    }

    /// The same with one more. `reason` is a word in camel case.
    #[must_use]
    pub fn with(mut self, kind: &str, truth: impl Into<Truth>, reason: &str, message: &str) -> Self {
        let status = truth.into().as_str();
        let same = find(self.before, kind).filter(|before| before.status == status);
        self.all.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.chars().take(MAX_MESSAGE).collect(),
            observed_generation: self.generation,
            last_transition_time: same
                .map_or_else(|| time(self.now), |same| same.last_transition_time.clone()),
        });
        self
    }

    /// All of them.
    pub fn into_vec(self) -> Vec<Condition> {
        self.all
    }
}

/// The condition of a type.
pub(crate) fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}
