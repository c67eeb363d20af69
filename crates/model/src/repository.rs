//! A repository as the `repositories` bucket keeps it.

use serde::{Deserialize, Serialize};

use crate::ids::{RepositoryId, RequestId, Timestamp};

/// A known repository. Its id is derived from its canonical name, so creating it twice is creating it once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repository {
    /// The id.
    pub id: RepositoryId,
    /// The canonical name: `host/path` without scheme, user and `.git`, or `file:///path`.
    pub name: String,
    /// How it is fetched when a request names only the id.
    pub uri: String,
    /// When it was first asked for.
    pub created: Timestamp,
    /// Which request fetches it now. Held by at most one request; whoever finds that the holder is past fetching may
    /// take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetching: Option<RequestId>,
    /// The request that pushes join while it waits: the latest one that was made for pushes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<RequestId>,
    /// When a scan of all of it completed first: from then on, what the ledger does not know is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scanned: Option<Timestamp>,
}
