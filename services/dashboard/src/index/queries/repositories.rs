//! Repositories: how much of their history is scanned, and what was found.

use rusqlite::{Connection, Row, params_from_iter};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Page, QueryError, Severities, containing, time, within};
use crate::auth::Scope;
use crate::index::Index;
use crate::index::cursor::{self, Condition, Lane};

/// The name of the list in cursors.
const LIST: &str = "repositories";

/// A repository in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryRow {
    /// The id.
    pub id: String,
    /// The canonical name: `host/path`.
    pub name: String,
    /// How it is fetched.
    pub uri: String,
    /// When it was first asked for.
    pub created: String,
    /// When a scan of all of it completed first.
    pub scanned: Option<String>,
    /// Commits that the ledger knows.
    pub commits: i64,
    /// Those of them that are scanned.
    pub commits_scanned: i64,
    /// The version of the rules that scanned last; empty before.
    pub rule_set: String,
    /// How many commits it has scanned.
    pub commits_current: i64,
    /// When commits were scanned last.
    pub last_scan: Option<String>,
    /// Open findings.
    pub open: Severities,
    /// How many schedules it has.
    pub schedules: i64,
    /// When the next of them runs.
    pub next_run: Option<String>,
}

const QUERY: &str = "SELECT r.id, r.name, r.uri, r.created, r.scanned, coalesce(l.commits, 0), coalesce(l.scanned, 0), \
                     coalesce(l.rule_set, ''), coalesce(l.current, 0), l.newest, \
                     (SELECT count(*) FROM schedules s WHERE s.repository = r.id), \
                     (SELECT min(s.next) FROM schedules s WHERE s.repository = r.id) \
                     FROM repositories r LEFT JOIN ledgers l ON l.repository = r.id WHERE {} ORDER BY r.name";

impl RepositoryRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let at = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(time));
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            uri: row.get(2)?,
            created: time(row.get(3)?),
            scanned: at(4)?,
            commits: row.get(5)?,
            commits_scanned: row.get(6)?,
            rule_set: row.get(7)?,
            commits_current: row.get(8)?,
            last_scan: at(9)?,
            open: Severities::default(),
            schedules: row.get(10)?,
            next_run: at(11)?,
        })
    }
}

/// A page of repositories by name, of those whose name contains a text (ASCII letters of either case) if there is one.
///
/// # Errors
/// [`QueryError`] when the cursor is wrong, or the database fails.
pub async fn list(
    index: &Index,
    scope: &Scope,
    text: Option<&str>,
    limit: usize,
    cursor: Option<&str>,
) -> Result<Page<RepositoryRow>, QueryError> {
    let after: Option<String> = cursor.map(|text| cursor::read(LIST, text)).transpose()?;
    let mut condition = Condition::default();
    condition.and_some("r.name > ?", after);
    condition.and_some("r.name LIKE ? ESCAPE '\\'", text.map(containing));
    within(&mut condition, "+r.id", scope);
    let rows = index.read(move |db| rows(db, condition, limit + 1)).await?;
    Ok(Page::of(rows, limit, |row| cursor::write(LIST, &row.name)))
}

/// One repository, if it is in the scope.
///
/// # Errors
/// [`QueryError::Index`] when the database fails.
pub async fn get(index: &Index, scope: &Scope, id: &str) -> Result<Option<RepositoryRow>, QueryError> {
    let mut condition = Condition::default();
    condition.and_some("r.id = ?", Some(id.to_owned()));
    within(&mut condition, "+r.id", scope);
    Ok(index.read(move |db| rows(db, condition, 1)).await?.pop())
}

fn rows(db: &Connection, condition: Condition, limit: usize) -> rusqlite::Result<Vec<RepositoryRow>> {
    let lane = Lane { sql: QUERY.to_owned(), condition };
    let mut rows = cursor::merge(db, &[lane], limit, RepositoryRow::read, |a, b| a.name.cmp(&b.name))?;
    for row in &mut rows {
        row.open = open_of(db, &row.id)?;
    }
    Ok(rows)
}

/// The open findings of a repository.
fn open_of(db: &Connection, repository: &str) -> rusqlite::Result<Severities> {
    let mut condition = Condition::default();
    condition.and_some("repository = ?", Some(repository.to_owned()));
    open(db, condition)
}

/// The open findings that a condition on `finding_totals` leaves.
pub(super) fn open(db: &Connection, mut condition: Condition) -> rusqlite::Result<Severities> {
    condition.and("is_open = 1", []);
    let sql = format!(
        "SELECT severity, sum(count) FROM finding_totals WHERE {} GROUP BY severity",
        condition.sql()
    );
    let mut query = db.prepare_cached(&sql)?;
    let counts =
        query.query_map(params_from_iter(condition.parameters()), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut severities = Severities::default();
    for count in counts {
        let (rank, count): (i64, i64) = count?;
        *severities.of_rank(rank) += count;
    }
    Ok(severities)
}
