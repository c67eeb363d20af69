//! Findings, and secrets that several repositories share.

use std::cmp::{Ordering, Reverse};

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};
use secretscan_model::FindingId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ways::way;
use super::{Page, QueryError, Total, containing, time, within, within_totals};
use crate::auth::Scope;
use crate::index::Index;
use crate::index::apply::{confidence_name, severity_name, severity_rank};
use crate::index::cursor::{self, Condition, Lane, json_list};

/// The order of findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FindingOrder {
    /// The worst first, of these the newest.
    #[default]
    Severity,
    /// The newest first.
    Newest,
    /// The oldest first.
    Oldest,
}

impl FindingOrder {
    fn list(self) -> &'static str {
        match self {
            Self::Severity => "findings-severity",
            Self::Newest => "findings-newest",
            Self::Oldest => "findings-oldest",
        }
    }
}

/// Which findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FindingFilter {
    /// Of this repository.
    pub repository: Option<String>,
    /// Of this rule.
    pub rule: Option<String>,
    /// Of one of these severities; of any when empty.
    pub severities: Vec<String>,
    /// Which stand there (`open`, `only-in-history`, `resolved`, `resolved-by-rules`, `reopened`); anywhere when empty.
    pub standings: Vec<String>,
    /// About which this was decided (`open`, `confirmed`, `revoked`, `false-positive`, `accepted`); anything when empty.
    pub triages: Vec<String>,
    /// Also those that nobody has to look at: gone, or settled.
    pub include_closed: bool,
    /// Whose introducing commit this e-mail address wrote.
    pub email: Option<String>,
    /// First seen before, in milliseconds since the Unix epoch.
    pub before: Option<i64>,
    /// First seen then or after.
    pub after: Option<i64>,
    /// Whose path contains this text (ASCII letters of either case).
    pub path: Option<String>,
    /// With this keyed hash of the secret.
    pub hash: Option<String>,
}

/// A finding in a list.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindingRow {
    /// The id of its repository.
    pub repository_id: String,
    /// The name of its repository.
    pub repository: String,
    /// The identity within the repository: of a secret in a file.
    pub id: String,
    /// What the secret is known by, whichever file holds it.
    pub fingerprint: String,
    /// The rule.
    pub rule_id: String,
    /// `critical`, `high`, `medium` or `low`.
    pub severity: &'static str,
    /// `high`, `medium` or `low`.
    pub confidence: &'static str,
    /// The secret that decisions are about, within the repository.
    pub secret: String,
    /// The keyed hash of the secret, equal over repositories.
    pub secret_hash: String,
    /// The path; what is not UTF-8 is replaced.
    pub path: String,
    /// The commit that introduced it.
    pub commit: String,
    /// The line there, from 1.
    pub line: i64,
    /// The name of who wrote that commit.
    pub author: String,
    /// And the e-mail address.
    pub email: String,
    /// When it was written, by its author.
    pub introduced: String,
    /// The line, shortened, the secret masked.
    pub excerpt: String,
    /// In how many places of history it is.
    pub occurrences: i64,
    /// When it was seen first.
    pub first_seen: String,
    /// `open`, `only-in-history`, `resolved`, `resolved-by-rules` or `reopened`.
    pub standing: String,
    /// Whether a branch ends at a commit that holds it.
    pub is_at_tip: bool,
    /// `open`, `confirmed`, `revoked`, `false-positive` or `accepted`.
    pub triage: String,
    /// Until when it is accepted.
    pub expires: Option<String>,
    /// Whether somebody has to look at it.
    pub is_open: bool,
    #[serde(skip)]
    position: Position,
}

/// What the order goes by: the rank of the severity, when it was seen first, and the tie.
type Position = (i64, i64, i64);

const COLUMNS: &str = "f.repository, coalesce(r.name, f.repository), f.finding, f.rule, f.severity, f.confidence, f.secret, \
                       f.hash, f.path, f.commit_id, f.line, f.author, f.email, f.introduced, f.excerpt, f.occurrences, \
                       f.first_seen, f.standing, f.is_tip, f.triage, f.expires, f.is_open, f.tie";

impl FindingRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (severity, first_seen): (i64, i64) = (row.get(4)?, row.get(16)?);
        let id: String = row.get(2)?;
        Ok(Self {
            repository_id: row.get(0)?,
            repository: row.get(1)?,
            fingerprint: FindingId(id.clone()).fingerprint().to_owned(),
            id,
            rule_id: row.get(3)?,
            severity: severity_name(severity),
            confidence: confidence_name(row.get(5)?),
            secret: row.get(6)?,
            secret_hash: row.get(7)?,
            path: row.get(8)?,
            commit: row.get(9)?,
            line: row.get(10)?,
            author: row.get(11)?,
            email: row.get(12)?,
            introduced: time(row.get::<_, i64>(13)?.saturating_mul(1_000)),
            excerpt: row.get(14)?,
            occurrences: row.get(15)?,
            first_seen: time(first_seen),
            standing: row.get(17)?,
            is_at_tip: row.get(18)?,
            triage: row.get(19)?,
            expires: row.get::<_, Option<i64>>(20)?.map(time),
            is_open: row.get(21)?,
            position: (severity, first_seen, row.get(22)?),
        })
    }
}

/// A page of findings.
///
/// # Errors
/// [`QueryError`] when the cursor is wrong, or the database fails.
pub async fn list(
    index: &Index,
    scope: &Scope,
    filter: &FindingFilter,
    order: FindingOrder,
    limit: usize,
    cursor: Option<&str>,
) -> Result<Page<FindingRow>, QueryError> {
    let after: Option<Position> = cursor.map(|text| cursor::read(order.list(), text)).transpose()?;
    let (scope, filter) = (scope.clone(), filter.clone());
    let rows = index.read(move |db| rows(db, &scope, &filter, order, limit + 1, after)).await?;
    Ok(Page::of(rows, limit, |row| cursor::write(order.list(), &row.position)))
}

fn rows(
    db: &Connection,
    scope: &Scope,
    filter: &FindingFilter,
    order: FindingOrder,
    limit: usize,
    after: Option<Position>,
) -> rusqlite::Result<Vec<FindingRow>> {
    let newest = |a: &FindingRow, b: &FindingRow| {
        let of = |row: &FindingRow| (row.position.1, row.position.2);
        of(b).cmp(&of(a))
    };
    let all = lanes(db, scope, filter, order, after)?;
    let merged = |lanes: &[Lane], limit: usize, order: &dyn Fn(&FindingRow, &FindingRow) -> Ordering| {
        cursor::merge(db, lanes, limit, FindingRow::read, order)
    };
    let lanes_of = |lanes: Vec<(i64, Lane)>| lanes.into_iter().map(|(_, lane)| lane).collect::<Vec<_>>();
    match order {
        FindingOrder::Newest => merged(&lanes_of(all), limit, &newest),
        FindingOrder::Oldest => merged(&lanes_of(all), limit, &|a, b| newest(b, a)),
        FindingOrder::Severity => {
            // What the worse ones fill needs none of the others.
            let (mut rows, mut rest) = (Vec::new(), all);
            for rank in 0..=3 {
                let (of_rank, others) = rest.into_iter().partition(|(severity, _)| *severity == rank);
                rest = others;
                rows.extend(merged(&lanes_of(of_rank), limit - rows.len(), &newest)?);
                if rows.len() >= limit {
                    break;
                }
            }
            Ok(rows)
        }
    }
}

/// The queries whose rows together are the list, each with the rank of its severity.
fn lanes(
    db: &Connection,
    scope: &Scope,
    filter: &FindingFilter,
    order: FindingOrder,
    after: Option<Position>,
) -> rusqlite::Result<Vec<(i64, Lane)>> {
    let way = way(db, scope, filter)?;
    let (direction, step) = if order == FindingOrder::Oldest { ("ASC", ">") } else { ("DESC", "<") };
    let sql = format!(
        "SELECT {COLUMNS} FROM findings f {} LEFT JOIN repositories r ON r.id = f.repository WHERE {{}} \
         ORDER BY f.first_seen {direction}, f.tie {direction}",
        way.by
    );
    let mut lanes = Vec::new();
    let kinds = kinds(db, scope, filter)?;
    for (severity, is_open) in combinations(filter) {
        if kinds.as_ref().is_some_and(|kinds| !kinds.contains(&(severity, is_open))) {
            continue;
        }
        let is_before = order == FindingOrder::Severity && after.is_some_and(|(rank, ..)| severity < rank);
        if is_before {
            continue;
        }
        let mut condition = base(scope, filter);
        condition.and("f.is_open = ? AND f.severity = ?", [Value::from(is_open), Value::from(severity)]);
        if let Some((rank, first_seen, tie)) = after
            && (order != FindingOrder::Severity || rank == severity)
        {
            let position = [Value::from(first_seen), Value::from(tie)];
            condition.and(&format!("(f.first_seen, f.tie) {step} (?, ?)"), position);
        }
        for lane in &way.lanes {
            lanes.push((severity, Lane { sql: sql.clone(), condition: condition.clone().with(lane) }));
        }
    }
    Ok(lanes)
}

/// The severities and whether open of which there are findings that stand so, or were decided about so, where only some are
/// wanted: to look for what there is none of would be to look at every finding.
fn kinds(
    db: &Connection,
    scope: &Scope,
    filter: &FindingFilter,
) -> rusqlite::Result<Option<Vec<(i64, bool)>>> {
    if filter.standings.is_empty() && filter.triages.is_empty() {
        return Ok(None);
    }
    let FindingFilter { repository, rule, standings, triages, .. } = filter.clone();
    let counted = FindingFilter { repository, rule, standings, triages, ..FindingFilter::default() };
    let (table, mut condition) = counts(scope, &counted);
    condition.and("f.count > 0", []);
    let sql = format!("SELECT DISTINCT f.severity, f.is_open FROM {table} f WHERE {}", condition.sql());
    let mut query = db.prepare_cached(&sql)?;
    let kinds =
        query.query_map(params_from_iter(condition.parameters()), |row| Ok((row.get(0)?, row.get(1)?)))?;
    kinds.collect::<Result<_, _>>().map(Some)
}

/// The table that counts what a filter leaves which names nothing but what is counted, with the condition on it.
fn counts(scope: &Scope, filter: &FindingFilter) -> (&'static str, Condition) {
    let mut condition = base(scope, filter);
    if filter.rule.is_some() {
        return ("finding_counts", condition);
    }
    if filter.repository.is_none() {
        within_totals(&mut condition, "f.repository", scope);
    }
    ("finding_totals", condition)
}

/// The severities and whether open, for which the indexes have the order.
fn combinations(filter: &FindingFilter) -> Vec<(i64, bool)> {
    let ranks: Vec<i64> = filter.severities.iter().map(|name| severity_rank(name)).collect();
    let severities = (0..=3).filter(|rank| ranks.is_empty() || ranks.contains(rank));
    let is_open = |is_open: &bool| *is_open || filter.include_closed;
    severities
        .flat_map(|severity| {
            [true, false].into_iter().filter(is_open).map(move |is_open| (severity, is_open))
        })
        .collect()
}

fn base(scope: &Scope, filter: &FindingFilter) -> Condition {
    let mut condition = Condition::default();
    condition.and_some("f.repository = ?", filter.repository.clone());
    condition.and_some("f.rule = ?", filter.rule.clone());
    condition.and_some("f.email = ?", filter.email.clone());
    condition.and_some("f.hash = ?", filter.hash.clone());
    condition.and_some("f.first_seen < ?", filter.before);
    condition.and_some("f.first_seen >= ?", filter.after);
    for (column, names) in [("f.standing", &filter.standings), ("f.triage", &filter.triages)] {
        if !names.is_empty() {
            let list = json_list(names.iter().map(String::as_str));
            condition.and(&format!("{column} IN (SELECT value FROM json_each(?))"), [list]);
        }
    }
    condition.and_some("f.path LIKE ? ESCAPE '\\'", filter.path.as_deref().map(containing));
    within(&mut condition, "f.repository", scope);
    condition
}

/// How many findings a filter leaves.
///
/// # Errors
/// [`QueryError::Index`] when the database fails.
pub async fn count(index: &Index, scope: &Scope, filter: &FindingFilter) -> Result<Total, QueryError> {
    let (scope, filter) = (scope.clone(), filter.clone());
    let is_counted = filter.email.is_none()
        && filter.before.is_none()
        && filter.after.is_none()
        && filter.path.is_none()
        && filter.hash.is_none();
    if !is_counted {
        return Ok(Total::capped(index.read(move |db| count_rows(db, &scope, &filter)).await?, COUNTED));
    }
    let count = index.read(move |db| {
        let (table, mut condition) = counts(&scope, &filter);
        let ranks: Vec<String> =
            filter.severities.iter().map(|name| severity_rank(name).to_string()).collect();
        if !ranks.is_empty() {
            condition.and(&format!("f.severity IN ({})", ranks.join(", ")), []);
        }
        if !filter.include_closed {
            condition.and("f.is_open = 1", []);
        }
        let sql = format!("SELECT coalesce(sum(count), 0) FROM {table} f WHERE {}", condition.sql());
        db.prepare_cached(&sql)?
            .query_row(params_from_iter(condition.parameters()), |row| row.get::<_, i64>(0))
    });
    Ok(Total { count: u64::try_from(count.await?).unwrap_or_default(), is_exact: true })
}

/// Counting one by one goes no further.
const COUNTED: i64 = 2_000;

fn count_rows(db: &Connection, scope: &Scope, filter: &FindingFilter) -> rusqlite::Result<i64> {
    let way = way(db, scope, filter)?;
    let mut count = 0;
    let combinations = combinations(filter);
    for ((severity, is_open), lane) in
        combinations.iter().flat_map(|of| way.lanes.iter().map(move |lane| (of, lane)))
    {
        let mut condition = base(scope, filter).with(lane);
        condition.and("f.is_open = ? AND f.severity = ?", [Value::from(*is_open), Value::from(*severity)]);
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM findings f {} WHERE {} LIMIT {})",
            way.by,
            condition.sql(),
            COUNTED + 1 - count,
        );
        let mut query = db.prepare_cached(&sql)?;
        count += query.query_row(params_from_iter(condition.parameters()), |row| row.get::<_, i64>(0))?;
        if count > COUNTED {
            break;
        }
    }
    Ok(count)
}

/// The ids of what a filter leaves, by repository, in the order of the database, for exports: at most so many.
///
/// # Errors
/// [`QueryError::Index`] when the database fails.
pub async fn keys(
    index: &Index,
    scope: &Scope,
    filter: &FindingFilter,
    limit: usize,
) -> Result<Vec<(String, String)>, QueryError> {
    let (scope, filter) = (scope.clone(), filter.clone());
    let rows = index.read(move |db| rows(db, &scope, &filter, FindingOrder::Severity, limit, None)).await?;
    Ok(rows.into_iter().map(|row| (row.repository_id, row.id)).collect())
}

/// One finding, if it is in the scope.
///
/// # Errors
/// [`QueryError::Index`] when the database fails.
pub async fn get(
    index: &Index,
    scope: &Scope,
    repository: &str,
    id: &str,
) -> Result<Option<FindingRow>, QueryError> {
    let mut condition = Condition::default();
    condition
        .and("f.repository = ? AND f.finding = ?", [repository, id].map(|text| Value::from(text.to_owned())));
    within(&mut condition, "+f.repository", scope);
    let sql = format!(
        "SELECT {COLUMNS} FROM findings f LEFT JOIN repositories r ON r.id = f.repository WHERE {{}}"
    );
    let lane = Lane { sql, condition };
    let rows = index.read(move |db| cursor::merge(db, &[lane], 1, FindingRow::read, |_, _| Ordering::Equal));
    Ok(rows.await?.pop())
}

/// A secret that has open findings in several repositories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SharedSecret {
    /// The keyed hash.
    pub secret_hash: String,
    /// A rule that finds it.
    pub rule_id: String,
    /// The worst severity.
    pub severity: &'static str,
    /// How many open findings there are.
    pub findings: i64,
    /// In how many repositories.
    pub repositories: i64,
    /// The names of some of them.
    pub names: Vec<String>,
    #[serde(skip)]
    position: (i64, String),
}

/// So many repositories of a secret are named.
const NAMED: usize = 5;

/// A page of secrets that several repositories share, those in the most repositories first.
///
/// # Errors
/// [`QueryError`] when the cursor is wrong, or the database fails.
pub async fn shared(
    index: &Index,
    scope: &Scope,
    limit: usize,
    cursor: Option<&str>,
) -> Result<Page<SharedSecret>, QueryError> {
    let after: Option<(i64, String)> = cursor.map(|text| cursor::read("shared", text)).transpose()?;
    let scope = scope.clone();
    let rows = index.read(move |db| shared_rows(db, &scope, limit + 1, after)).await?;
    Ok(Page::of(rows, limit, |row| cursor::write("shared", &row.position)))
}

fn shared_rows(
    db: &Connection,
    scope: &Scope,
    limit: usize,
    after: Option<(i64, String)>,
) -> rusqlite::Result<Vec<SharedSecret>> {
    let mut condition = Condition::default();
    condition.and("s.repositories > 1", []);
    if let Some((repositories, hash)) = after {
        condition.and("(s.repositories, s.hash) < (?, ?)", [Value::from(repositories), Value::from(hash)]);
    }
    if let Some(list) = super::ids(scope) {
        // Who sees one of the repositories only must not learn that there are others.
        condition.and(
            "(SELECT count(*) FROM secret_places p WHERE p.hash = s.hash AND p.repository IN (SELECT value FROM json_each(?))) > 1",
            [list],
        );
    }
    let sql = "SELECT s.hash, s.repositories FROM secrets s INDEXED BY secrets_shared WHERE {} \
               ORDER BY s.repositories DESC, s.hash DESC";
    let lane = Lane { sql: sql.to_owned(), condition };
    let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
    let order = |row: &(String, i64)| Reverse((row.1, row.0.clone()));
    let hashes = cursor::merge(db, &[lane], limit, read, |a, b| order(a).cmp(&order(b)))?;
    hashes.into_iter().map(|position| shared_row(db, scope, position)).collect()
}

fn shared_row(db: &Connection, scope: &Scope, (hash, all): (String, i64)) -> rusqlite::Result<SharedSecret> {
    let mut condition = Condition::default();
    condition.and("p.hash = ?", [Value::from(hash.clone())]);
    within(&mut condition, "p.repository", scope);
    let sql = format!(
        "SELECT coalesce(r.name, p.repository), p.open FROM secret_places p LEFT JOIN repositories r ON r.id = p.repository \
         WHERE {} ORDER BY 1",
        condition.sql()
    );
    let mut query = db.prepare_cached(&sql)?;
    let places =
        query.query_map(params_from_iter(condition.parameters()), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let places: Vec<(String, i64)> = places.collect::<Result<_, _>>()?;
    let (rule_id, severity) = db
        .prepare_cached(
            "SELECT rule, severity FROM findings INDEXED BY findings_by_hash WHERE hash = ?1 AND is_open = 1 \
             ORDER BY severity LIMIT 1",
        )?
        .query_row(params![hash], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(SharedSecret {
        rule_id,
        severity: severity_name(severity),
        findings: places.iter().map(|(_, open)| open).sum(),
        repositories: places.len() as i64,
        names: places.into_iter().take(NAMED).map(|(name, _)| name).collect(),
        position: (all, hash.clone()),
        secret_hash: hash,
    })
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
