//! What the lists show: one module for each, used by the API and by pages alike.
//!
//! Each query takes the [`Scope`] of who asks, and shows nothing of repositories outside of it. Times are RFC 3339 in UTC.

pub mod agents;
pub mod alerts;
pub mod audit;
pub mod findings;
pub mod overview;
pub mod repositories;
pub mod requests;
pub mod schedules;
mod ways;

use rusqlite::types::Value;
use secretscan_model::{RepositoryId, Timestamp};
use serde::Serialize;
use thiserror::Error;
use utoipa::ToSchema;

use super::IndexError;
use super::cursor::{BadCursor, Condition, json_list};
use crate::auth::Scope;

pub use super::cursor::{MAX_LIMIT, Page};

/// A list that can't be shown.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The cursor is wrong.
    #[error(transparent)]
    Cursor(#[from] BadCursor),
    /// The database fails.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// How many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Total {
    /// The number, or the least that it is.
    pub count: u64,
    /// Whether it is exact; there may be more otherwise.
    pub is_exact: bool,
}

impl Total {
    /// Of a count that stops just above `most`.
    fn capped(count: i64, most: i64) -> Self {
        Self { count: count.clamp(0, most).unsigned_abs(), is_exact: count <= most }
    }
}

/// How many findings there are of each severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Severities {
    /// Critical ones.
    pub critical: i64,
    /// High ones.
    pub high: i64,
    /// Medium ones.
    pub medium: i64,
    /// Low ones.
    pub low: i64,
}

impl Severities {
    /// The number of those of a rank.
    pub(crate) fn of_rank(&mut self, rank: i64) -> &mut i64 {
        match rank {
            0 => &mut self.critical,
            1 => &mut self.high,
            2 => &mut self.medium,
            _ => &mut self.low,
        }
    }

    /// All of them.
    pub fn sum(&self) -> i64 {
        self.critical + self.high + self.medium + self.low
    }
}

/// A time in milliseconds since the Unix epoch, as people and programs read it.
pub(crate) fn time(at: i64) -> String {
    Timestamp(at).to_rfc3339()
}

/// Leaves only what the scope holds, by a column of repository ids.
fn within(condition: &mut Condition, column: &str, scope: &Scope) {
    if let Some(list) = ids(scope) {
        condition.and(&format!("{column} IN (SELECT value FROM json_each(?))"), [list]);
    }
}

/// The same of `finding_totals`, where all repositories together stand as one.
fn within_totals(condition: &mut Condition, column: &str, scope: &Scope) {
    match scope {
        Scope::All => condition.and(&format!("{column} = ''"), []),
        Scope::Only(_) => within(condition, column, scope),
    }
}

/// The ids of a scope that does not hold all, as a parameter.
fn ids(scope: &Scope) -> Option<Value> {
    match scope {
        Scope::All => None,
        Scope::Only(repositories) => Some(json_list(repositories.iter().map(RepositoryId::as_str))),
    }
}

/// The pattern of LIKE, with `\` as escape, for what contains a text.
fn containing(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
pub(super) mod tests {
    use rusqlite::Connection;

    use crate::index::cursor::Lane;
    use crate::index::{Index, make_lists};

    /// An empty database.
    pub fn database() -> (Connection, tempfile::TempDir) {
        let (writer, dir) = without_lists();
        make_lists(&writer).unwrap();
        (writer, dir)
    }

    /// One that does not know all records yet.
    pub fn without_lists() -> (Connection, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let (_, writer) = Index::create(dir.path()).unwrap();
        (writer, dir)
    }

    /// How SQLite goes about a query.
    pub fn plan(db: &Connection, lane: &Lane) -> String {
        let sql = format!("EXPLAIN QUERY PLAN {} LIMIT 50", lane.sql.replace("{}", &lane.condition.sql()));
        let mut query = db.prepare(&sql).unwrap();
        let parameters = rusqlite::params_from_iter(lane.condition.parameters());
        let steps = query.query_map(parameters, |row| row.get::<_, String>(3)).unwrap();
        steps.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
    }
}
