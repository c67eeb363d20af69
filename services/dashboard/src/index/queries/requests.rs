//! Requests, and what waits.

use std::cmp::Reverse;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Page, QueryError, Total, containing, time, within};
use crate::auth::Scope;
use crate::index::Index;
use crate::index::cursor::{self, Condition, Lane};

/// The name of the list in cursors.
const LIST: &str = "requests";

/// Which requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// In one of these states; in any when empty.
    pub states: Vec<String>,
    /// Of this repository.
    pub repository: Option<String>,
    /// Of this priority: `reactive`, `on-demand` or `scheduled`.
    pub priority: Option<String>,
    /// Whose requester contains this text (ASCII letters of either case).
    pub requester: Option<String>,
}

/// A request in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestRow {
    /// The id.
    pub id: String,
    /// The id of the repository; absent of what was refused.
    pub repository_id: Option<String>,
    /// The name of the repository, or what was asked for.
    pub repository: String,
    /// The state, such as `InProgress`.
    pub state: String,
    /// `reactive`, `on-demand` or `scheduled`.
    pub priority: String,
    /// Who asked, as they say.
    pub requester: String,
    /// `scan`, `verify` or `rescan`.
    pub purpose: String,
    /// The schedule whose run it is.
    pub schedule_id: Option<String>,
    /// When it was asked for.
    pub created: String,
    /// Since when it is in its state.
    pub since: String,
    /// Whether its state is never left.
    pub is_ended: bool,
    /// Batches created.
    pub batches: i64,
    /// Batches ended.
    pub batches_ended: i64,
    /// Commits scanned.
    pub commits: i64,
    /// Bytes scanned.
    pub bytes: i64,
    /// Findings, those known before included.
    pub findings: i64,
    /// What could not be scanned.
    pub not_scanned: i64,
    /// Of a run of a schedule: unknown commits that no push announced.
    pub untold: Option<i64>,
    /// Why it failed, or why its last attempt did.
    pub reason: Option<String>,
    #[serde(skip)]
    position: (i64, String),
}

const COLUMNS: &str = "q.id, q.repository, coalesce(r.name, q.uri), q.state, q.priority, q.requester, q.purpose, q.schedule, \
                       q.created, q.since, q.is_terminal, q.batches, q.batches_ended, q.commits, q.bytes, q.findings, \
                       q.not_scanned, q.untold, q.reason";

impl RequestRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (id, created): (String, i64) = (row.get(0)?, row.get(8)?);
        Ok(Self {
            position: (created, id.clone()),
            id,
            repository_id: row.get(1)?,
            repository: row.get(2)?,
            state: row.get(3)?,
            priority: row.get(4)?,
            requester: row.get(5)?,
            purpose: row.get(6)?,
            schedule_id: row.get(7)?,
            created: time(created),
            since: time(row.get(9)?),
            is_ended: row.get(10)?,
            batches: row.get(11)?,
            batches_ended: row.get(12)?,
            commits: row.get(13)?,
            bytes: row.get(14)?,
            findings: row.get(15)?,
            not_scanned: row.get(16)?,
            untold: row.get(17)?,
            reason: row.get(18)?,
        })
    }
}

/// A page of requests, the newest first.
///
/// # Errors
/// [`QueryError`] when the cursor is wrong, or the database fails.
pub async fn list(
    index: &Index,
    scope: &Scope,
    filter: &RequestFilter,
    limit: usize,
    cursor: Option<&str>,
) -> Result<Page<RequestRow>, QueryError> {
    let after: Option<(i64, String)> = cursor.map(|text| cursor::read(LIST, text)).transpose()?;
    let lanes = lanes(scope, filter, after.as_ref());
    let rows = index.read(move |db| {
        let newest = |row: &RequestRow| Reverse(row.position.clone());
        cursor::merge(db, &lanes, limit + 1, RequestRow::read, |a, b| newest(a).cmp(&newest(b)))
    });
    Ok(Page::of(rows.await?, limit, |row| cursor::write(LIST, &row.position)))
}

fn lanes(scope: &Scope, filter: &RequestFilter, after: Option<&(i64, String)>) -> Vec<Lane> {
    let states: Vec<Option<&String>> = match filter.states.as_slice() {
        [] => vec![None],
        states => states.iter().map(Some).collect(),
    };
    let of_state = |state: Option<&String>| {
        let mut condition = base(scope, filter);
        condition.and_some("q.state = ?", state.cloned());
        if let Some((created, id)) = after {
            condition.and("(q.created, q.id) < (?, ?)", [Value::from(*created), Value::from(id.clone())]);
        }
        let index = index_for(filter, state.is_some());
        let sql = format!(
            "SELECT {COLUMNS} FROM requests q INDEXED BY {index} LEFT JOIN repositories r ON r.id = q.repository WHERE {{}} \
             ORDER BY q.created DESC, q.id DESC"
        );
        Lane { sql, condition }
    };
    states.into_iter().map(of_state).collect()
}

fn index_for(filter: &RequestFilter, has_state: bool) -> &'static str {
    match (&filter.repository, has_state) {
        (Some(_), _) => "requests_by_repository",
        (None, true) => "requests_by_state",
        (None, false) => "requests_by_time",
    }
}

fn base(scope: &Scope, filter: &RequestFilter) -> Condition {
    let mut condition = Condition::default();
    condition.and_some("q.repository = ?", filter.repository.clone());
    condition.and_some("q.priority = ?", filter.priority.clone());
    condition.and_some("q.requester LIKE ? ESCAPE '\\'", filter.requester.as_deref().map(containing));
    // The plus keeps the order of the index that was chosen.
    within(&mut condition, "+q.repository", scope);
    condition
}

/// Counting goes no further.
const COUNTED: i64 = 10_000;

/// How many requests a filter leaves.
///
/// # Errors
/// [`QueryError::Index`] when the database fails.
pub async fn count(index: &Index, scope: &Scope, filter: &RequestFilter) -> Result<Total, QueryError> {
    let lanes = lanes(scope, filter, None);
    let has_state = !filter.states.is_empty();
    let index_name = index_for(filter, has_state);
    let count = index.read(move |db| {
        let of_lane = |lane: &Lane| {
            let sql = format!(
                "SELECT count(*) FROM (SELECT 1 FROM requests q INDEXED BY {index_name} WHERE {} LIMIT {})",
                lane.condition.sql(),
                COUNTED + 1
            );
            let mut query = db.prepare_cached(&sql)?;
            query.query_row(params_from_iter(lane.condition.parameters()), |row| row.get::<_, i64>(0))
        };
        lanes.iter().map(of_lane).sum::<rusqlite::Result<i64>>()
    });
    Ok(Total::capped(count.await?, COUNTED))
}

/// Requests that have not ended, of one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// The state.
    pub state: String,
    /// How many there are.
    pub requests: i64,
    /// Since when the one is in it that came first.
    pub oldest: String,
}

/// What has not ended, by state.
///
/// # Errors
/// [`QueryError::Index`] when the database fails.
pub async fn stages(index: &Index, scope: &Scope) -> Result<Vec<Stage>, QueryError> {
    let scope = scope.clone();
    Ok(index.read(move |db| stage_rows(db, &scope)).await?)
}

pub(super) fn stage_rows(db: &Connection, scope: &Scope) -> rusqlite::Result<Vec<Stage>> {
    let mut condition = Condition::default();
    condition.and("q.is_terminal = 0", []);
    within(&mut condition, "+q.repository", scope);
    let sql = format!(
        "SELECT q.state, count(*), min(q.since) FROM requests q INDEXED BY requests_by_end WHERE {} GROUP BY q.state",
        condition.sql()
    );
    let mut query = db.prepare_cached(&sql)?;
    let stages = query.query_map(params_from_iter(condition.parameters()), |row| {
        Ok(Stage { state: row.get(0)?, requests: row.get(1)?, oldest: time(row.get(2)?) })
    })?;
    stages.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::queries::tests::{database, plan};

    #[test]
    fn requests_are_read_in_the_order_of_an_index() {
        let (db, _dir) = database();
        let after = (1, "id".to_owned());
        let some = |text: &str| Some(text.to_owned());
        let only = Scope::Only(std::sync::Arc::new(["r".parse().unwrap()].into()));
        let filters = [
            RequestFilter::default(),
            RequestFilter { states: vec!["Failed".into(), "Completed".into()], ..RequestFilter::default() },
            RequestFilter { repository: some("r"), requester: some("x"), ..RequestFilter::default() },
            RequestFilter { priority: some("scheduled"), ..RequestFilter::default() },
        ];
        for filter in &filters {
            for scope in [&Scope::All, &only] {
                for after in [None, Some(&after)] {
                    for lane in lanes(scope, filter, after) {
                        let plan = plan(&db, &lane);
                        assert!(!plan.contains("TEMP B-TREE"), "{filter:?}: {plan}");
                        assert!(plan.contains("INDEX requests_by_"), "{filter:?}: {plan}");
                    }
                }
            }
        }
    }
}
