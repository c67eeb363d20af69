//! Living agents.

use secretscan_model::{Agent, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{QueryError, time};
use crate::auth::Scope;
use crate::index::Index;

/// An agent whose last sign of life is older is gone, though nobody told: its record expired while the server did not run. Ten
/// times the default of `nats.ack_wait_s`.
const GONE_AFTER_MS: i64 = 5 * 60 * 1_000;

/// A living agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentRow {
    /// The id, new at each start.
    pub id: String,
    /// `repo-agent` or `batch-agent`.
    pub role: &'static str,
    /// How many pieces of work it does at once.
    pub slots: u32,
    /// What it works on: ids of requests, or `request.batch`.
    pub holds: Vec<String>,
    /// The version of secretscan.
    pub version: String,
    /// The version of the rules that it scans with; empty of a repo-agent.
    pub rule_set: String,
    /// The machine or pod.
    pub host: String,
    /// When it started.
    pub started: String,
    /// When it last gave a sign of life.
    pub seen: String,
}

impl AgentRow {
    fn new(agent: Agent) -> Self {
        Self {
            id: agent.id.to_string(),
            role: agent.role.as_str(),
            slots: agent.slots,
            holds: agent.holds,
            version: agent.version,
            rule_set: agent.rule_set,
            host: agent.host,
            started: time(agent.started.0),
            seen: time(agent.seen.0),
        }
    }
}

/// All living agents by role and id. They belong to no repository, so who sees only some sees none.
///
/// # Errors
/// [`QueryError::Index`] when the database fails.
pub async fn list(index: &Index, scope: &Scope, now: Timestamp) -> Result<Vec<AgentRow>, QueryError> {
    if *scope != Scope::All {
        return Ok(Vec::new());
    }
    Ok(index.read(move |db| rows(db, now)).await?.into_iter().map(AgentRow::new).collect())
}

pub(super) fn rows(db: &rusqlite::Connection, now: Timestamp) -> rusqlite::Result<Vec<Agent>> {
    let mut query = db.prepare_cached("SELECT record FROM agents ORDER BY key")?;
    let records: Vec<String> = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let agents = records.iter().filter_map(|record| serde_json::from_str::<Agent>(record).ok());
    Ok(agents.filter(|agent| now.0.saturating_sub(agent.seen.0) < GONE_AFTER_MS).collect())
}
