//! The overview: how things stand, and how they came to.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use secretscan_model::{Role, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::alerts::{self, AlertRow};
use super::repositories;
use super::requests::{self, Stage};
use super::{QueryError, Severities, agents, time, within, within_totals};
use crate::auth::Scope;
use crate::index::Index;
use crate::index::cursor::Condition;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
const HOUR_MS: i64 = 60 * 60 * 1_000;
/// How many days the findings are shown over.
const DAYS: i64 = 30;
/// How many hours the scans are shown over.
const HOURS: i64 = 24;
/// So many alerts are shown.
const ALERTS: usize = 5;

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// Open findings now.
    pub open: Severities,
    /// Open findings at the end of each of the last 30 days, the last of which is today.
    pub days: Vec<Day>,
    /// Scans that ended in each of the last 24 hours, the last of which is this one.
    pub hours: Vec<Hour>,
    /// Requests that have not ended, by state.
    pub stages: Vec<Stage>,
    /// The newest alerts.
    pub alerts: Vec<AlertRow>,
    /// Agents by role; none for who sees only some repositories.
    pub agents: Vec<Slots>,
    /// How many repositories are known.
    pub repositories: i64,
    /// How many secrets have open findings in several repositories; absent for who sees only some.
    pub shared_secrets: Option<i64>,
}

/// The findings of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Day {
    /// Its beginning, in UTC.
    pub at: String,
    /// Open findings at its end.
    pub open: Severities,
}

/// The scans of an hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hour {
    /// Its beginning, in UTC.
    pub at: String,
    /// Requests that completed.
    pub completed: i64,
    /// Requests that failed.
    pub failed: i64,
}

/// What the agents of a role do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Slots {
    /// `repo-agent` or `batch-agent`.
    pub role: &'static str,
    /// How many agents there are.
    pub agents: u64,
    /// How many pieces of work they can do at once.
    pub slots: u64,
    /// How many they do.
    pub busy: u64,
}

/// How things stand at a time.
///
/// # Errors
/// [`QueryError::Index`] when the database fails.
pub async fn overview(index: &Index, scope: &Scope, now: Timestamp) -> Result<Overview, QueryError> {
    let scope = scope.clone();
    Ok(index.read(move |db| read(db, &scope, now)).await?)
}

fn read(db: &Connection, scope: &Scope, now: Timestamp) -> rusqlite::Result<Overview> {
    let mut condition = Condition::default();
    within_totals(&mut condition, "repository", scope);
    let open = repositories::open(db, condition)?;
    let shared = "SELECT count(*) FROM secrets INDEXED BY secrets_shared WHERE repositories > 1";
    let shared_secrets = match scope {
        Scope::All => Some(db.prepare_cached(shared)?.query_row([], |row| row.get(0))?),
        Scope::Only(_) => None,
    };
    Ok(Overview {
        days: days(db, scope, open, now)?,
        open,
        hours: hours(db, scope, now)?,
        stages: requests::stage_rows(db, scope)?,
        alerts: alerts::rows(db, scope, None, ALERTS, None)?,
        agents: slots(db, scope, now)?,
        repositories: known(db, scope)?,
        shared_secrets,
    })
}

fn known(db: &Connection, scope: &Scope) -> rusqlite::Result<i64> {
    let mut condition = Condition::default();
    within(&mut condition, "id", scope);
    let sql = format!("SELECT count(*) FROM repositories WHERE {}", condition.sql());
    db.prepare_cached(&sql)?.query_row(params_from_iter(condition.parameters()), |row| row.get(0))
}

/// From what is open now, back through what was opened and closed: so only the days shown are read.
fn days(db: &Connection, scope: &Scope, now_open: Severities, now: Timestamp) -> rusqlite::Result<Vec<Day>> {
    let today = now.0.div_euclid(DAY_MS);
    let mut condition = Condition::default();
    condition.and("day > ?", [Value::from(today - DAYS)]);
    within_totals(&mut condition, "repository", scope);
    let sql = format!(
        "SELECT day, severity, sum(opened - closed) FROM finding_days WHERE {} GROUP BY day, severity ORDER BY day DESC",
        condition.sql()
    );
    let mut query = db.prepare_cached(&sql)?;
    let rows = query.query_map(params_from_iter(condition.parameters()), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    })?;
    let changes: Vec<(i64, i64, i64)> = rows.collect::<Result<_, _>>()?;
    let (mut open, mut days) = (now_open, Vec::new());
    for day in (today - DAYS + 1..=today).rev() {
        // Another machine's clock may be ahead.
        let is_of = |of: i64| of == day || (day == today && of > today);
        days.push(Day { at: time(day * DAY_MS), open });
        for (_, rank, change) in changes.iter().filter(|(of, ..)| is_of(*of)) {
            *open.of_rank(*rank) -= change;
        }
    }
    days.reverse();
    Ok(days)
}

fn hours(db: &Connection, scope: &Scope, now: Timestamp) -> rusqlite::Result<Vec<Hour>> {
    let this = now.0.div_euclid(HOUR_MS);
    let first = this - HOURS + 1;
    let mut condition = Condition::default();
    condition.and("is_terminal = 1 AND since >= ?", [Value::from(first * HOUR_MS)]);
    within(&mut condition, "+repository", scope);
    let sql = format!(
        "SELECT since / {HOUR_MS}, sum(state = 'Completed'), sum(state = 'Failed') FROM requests INDEXED BY requests_by_end \
         WHERE {} GROUP BY 1",
        condition.sql()
    );
    let mut hours: Vec<Hour> =
        (first..=this).map(|hour| Hour { at: time(hour * HOUR_MS), completed: 0, failed: 0 }).collect();
    let mut query = db.prepare_cached(&sql)?;
    let rows = query.query_map(params_from_iter(condition.parameters()), |row| {
        Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?))
    })?;
    for row in rows {
        let (hour, completed, failed): (i64, i64, i64) = row?;
        let place = usize::try_from(hour - first).unwrap_or_default().min(hours.len() - 1);
        hours[place].completed += completed;
        hours[place].failed += failed;
    }
    Ok(hours)
}

fn slots(db: &Connection, scope: &Scope, now: Timestamp) -> rusqlite::Result<Vec<Slots>> {
    if *scope != Scope::All {
        return Ok(Vec::new());
    }
    let agents = agents::rows(db, now)?;
    let of_role = |role: Role| {
        let of = agents.iter().filter(|agent| agent.role == role);
        Slots {
            role: role.as_str(),
            agents: of.clone().count() as u64,
            slots: of.clone().map(|agent| u64::from(agent.slots)).sum(),
            busy: of.map(|agent| agent.holds.len() as u64).sum(),
        }
    };
    Ok(vec![of_role(Role::RepoAgent), of_role(Role::BatchAgent)])
}
