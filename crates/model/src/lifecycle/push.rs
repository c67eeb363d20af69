//! What a push to a repository brought.

use serde::{Deserialize, Serialize};

use crate::ids::CommitId;

/// So many pushes join one request; the next begins another. Its record holds them all, and is written again with each.
pub const MAX_PUSHES: usize = 250;

/// A ref that a push created or moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Push {
    /// The full name of the ref.
    pub name: String,
    /// What it pointed at before; `None` when it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<CommitId>,
    /// What it points at now: a commit, or an annotated tag.
    pub after: CommitId,
}

/// Pushes in a few words, for the trail.
pub(super) fn describe(pushes: &[Push]) -> String {
    let first = pushes.first().map_or("", |push| push.name.as_str());
    match pushes.len() {
        1 => format!("push of {first}"),
        count => format!("push of {first} and {} more", count - 1),
    }
}
