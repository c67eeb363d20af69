//! What people did.

use rusqlite::Row;
use rusqlite::types::Value;
use secretscan_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Page, QueryError, time, within};
use crate::auth::Scope;
use crate::index::Index;
use crate::index::cursor::{self, Condition, Lane};

/// The name of the list in cursors.
const LIST: &str = "audit";

/// Which entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this person.
    pub who: Option<String>,
    /// Of this action, such as `findings-triage`.
    pub action: Option<String>,
    /// About this repository.
    pub repository: Option<String>,
}

/// One thing that somebody did, or was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditRow {
    /// When.
    pub at: String,
    /// Who, by the name that the login gives.
    pub who: String,
    /// With which role.
    pub role: String,
    /// From which address.
    pub address: String,
    /// What, such as `findings-triage`.
    pub action: String,
    /// To what: an id.
    pub target: String,
    /// The repository that it is about; empty when there is none.
    pub repository_id: String,
    /// How it stood before.
    pub before: String,
    /// How it stands now, or what was asked for.
    pub after: String,
    /// Why it was refused; empty when it was done.
    pub error: String,
    #[serde(skip)]
    place: i64,
}

impl AuditRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Option<Self>> {
        let (place, record): (i64, String) = (row.get(0)?, row.get(1)?);
        let of = |entry: v1::AuditEntry| Self {
            at: time(entry.at),
            who: entry.who,
            role: entry.role,
            address: entry.address,
            action: entry.action,
            target: entry.target,
            repository_id: entry.repository_id,
            before: entry.before,
            after: entry.after,
            error: entry.error,
            place,
        };
        Ok(serde_json::from_str(&record).ok().map(of))
    }
}

/// A page of what people did, the latest first.
///
/// # Errors
/// [`QueryError`] when the cursor is wrong, or the database fails.
pub async fn list(
    index: &Index,
    scope: &Scope,
    filter: &AuditFilter,
    limit: usize,
    cursor: Option<&str>,
) -> Result<Page<AuditRow>, QueryError> {
    let after: Option<i64> = cursor.map(|text| cursor::read(LIST, text)).transpose()?;
    let mut condition = Condition::default();
    condition.and_some("place < ?", after.map(Value::from));
    condition.and_some("who = ?", filter.who.clone());
    condition.and_some("action = ?", filter.action.clone());
    condition.and_some("repository = ?", filter.repository.clone());
    within(&mut condition, "repository", scope);
    let sql = "SELECT place, record FROM audit WHERE {} ORDER BY place DESC".to_owned();
    let lane = Lane { sql, condition };
    let order = |row: &Option<AuditRow>| std::cmp::Reverse(row.as_ref().map(|row| row.place));
    let rows = index.read(move |db| {
        cursor::merge(db, &[lane], limit + 1, AuditRow::read, |a, b| order(a).cmp(&order(b)))
    });
    let rows = rows.await?.into_iter().flatten().collect();
    Ok(Page::of(rows, limit, |row: &AuditRow| cursor::write(LIST, &row.place)))
}
