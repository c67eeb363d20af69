//! Alerts: unknown commits, and hooks that were skipped.

use rusqlite::types::Value;
use rusqlite::{Connection, Row};
use secretscan_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Page, QueryError, time, within};
use crate::auth::Scope;
use crate::index::Index;
use crate::index::cursor::{self, Condition, Lane};

/// The name of the list in cursors.
const LIST: &str = "alerts";

/// What somebody should know of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertRow {
    /// When.
    pub at: String,
    /// `unknown-commits` or `hook-skipped`.
    pub kind: String,
    /// The id of the repository.
    pub repository_id: String,
    /// The name of the repository.
    pub repository: String,
    /// How many commits nobody announced, or how many findings a skipped hook let through.
    pub count: u64,
    /// The refs that reach the commits, or the branch: some of them.
    pub refs: Vec<String>,
    /// Who wrote the commits, or who skipped the hook, as they say: some of them.
    pub people: Vec<String>,
    /// When the first of the commits was written, as it says.
    pub first_written: Option<String>,
    /// When the last of them was.
    pub last_written: Option<String>,
    /// The request that found the commits.
    pub request_id: Option<String>,
    /// The hook that was skipped.
    pub hook: Option<String>,
    #[serde(skip)]
    place: i64,
}

impl AlertRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Option<Self>> {
        let (kind, record): (String, String) = (row.get(2)?, row.get(5)?);
        let alert = Self {
            place: row.get(0)?,
            at: time(row.get(1)?),
            repository_id: row.get(3)?,
            repository: row.get(4)?,
            count: 0,
            refs: Vec::new(),
            people: Vec::new(),
            first_written: None,
            last_written: None,
            request_id: None,
            hook: None,
            kind,
        };
        Ok(match alert.kind.as_str() {
            "hook-skipped" => serde_json::from_str(&record).ok().map(|skipped| alert.of_hook(skipped)),
            _ => serde_json::from_str(&record).ok().map(|unknown| alert.of_commits(unknown)),
        })
    }

    fn of_hook(self, skipped: v1::HookSkipped) -> Self {
        Self {
            count: skipped.findings.into(),
            refs: Some(skipped.r#ref).into_iter().filter(|name| !name.is_empty()).collect(),
            people: vec![format!("{} <{}>", skipped.user_name, skipped.user_email)],
            hook: Some(skipped.hook),
            ..self
        }
    }

    fn of_commits(self, unknown: v1::UnknownCommits) -> Self {
        // Events of before do not tell.
        let written = |seconds: i64| (seconds != 0).then(|| time(seconds.saturating_mul(1_000)));
        Self {
            count: unknown.count,
            refs: unknown.refs,
            people: unknown.authors,
            first_written: written(unknown.first_written),
            last_written: written(unknown.last_written),
            request_id: Some(unknown.request_id),
            ..self
        }
    }
}

/// A page of alerts, the newest first.
///
/// # Errors
/// [`QueryError`] when the cursor is wrong, or the database fails.
pub async fn list(
    index: &Index,
    scope: &Scope,
    repository: Option<&str>,
    limit: usize,
    cursor: Option<&str>,
) -> Result<Page<AlertRow>, QueryError> {
    let after: Option<i64> = cursor.map(|text| cursor::read(LIST, text)).transpose()?;
    let (scope, repository) = (scope.clone(), repository.map(str::to_owned));
    let rows = index.read(move |db| rows(db, &scope, repository, limit + 1, after)).await?;
    Ok(Page::of(rows, limit, |row| cursor::write(LIST, &row.place)))
}

pub(super) fn rows(
    db: &Connection,
    scope: &Scope,
    repository: Option<String>,
    limit: usize,
    after: Option<i64>,
) -> rusqlite::Result<Vec<AlertRow>> {
    let mut condition = Condition::default();
    condition.and_some("a.place < ?", after.map(Value::from));
    condition.and_some("a.repository = ?", repository);
    within(&mut condition, "a.repository", scope);
    let sql = "SELECT a.place, a.at, a.kind, a.repository, coalesce(r.name, a.repository), a.record FROM alerts a \
               LEFT JOIN repositories r ON r.id = a.repository WHERE {} ORDER BY a.place DESC";
    let lane = Lane { sql: sql.to_owned(), condition };
    let order = |row: &Option<AlertRow>| std::cmp::Reverse(row.as_ref().map(|row| row.place));
    let rows = cursor::merge(db, &[lane], limit, AlertRow::read, |a, b| order(a).cmp(&order(b)))?;
    Ok(rows.into_iter().flatten().collect())
}
