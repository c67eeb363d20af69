//! What an agent says of itself in the `agents` bucket.

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, Timestamp};

/// Which kind of work an agent takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Fetches repositories and cuts commit batches.
    RepoAgent,
    /// Scans commit batches.
    BatchAgent,
}

impl Role {
    /// The name as it stands in KV keys and in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RepoAgent => "repo-agent",
            Self::BatchAgent => "batch-agent",
        }
    }
}

/// A living agent. The record expires when its heartbeats stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// New at each start of the process.
    pub id: AgentId,
    /// Which work it takes.
    pub role: Role,
    /// How many pieces of work it does at once.
    pub slots: u32,
    /// What it works on: request ids (repo-agent) or `request.batch` keys (batch-agent).
    pub holds: Vec<String>,
    /// The version of secretscan.
    pub version: String,
    /// The version of the rules that a batch-agent scans with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule_set: String,
    /// The name of the machine or pod.
    pub host: String,
    /// When the process started.
    pub started: Timestamp,
    /// When it last gave a sign of life.
    pub seen: Timestamp,
}
