//! Schedules.

use rusqlite::Row;
use rusqlite::types::Value;
use secretscan_model::Schedule;
use secretscan_model::lifecycle::Run;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Page, QueryError, time, within};
use crate::auth::Scope;
use crate::index::Index;
use crate::index::cursor::{self, Condition, Lane};

/// The name of the list in cursors.
const LIST: &str = "schedules";

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleRow {
    /// The id.
    pub id: String,
    /// The id of the repository.
    pub repository_id: String,
    /// The name of the repository.
    pub repository: String,
    /// The cron pattern, as it was given.
    pub cron: String,
    /// The name of the time zone that the pattern is read in; UTC when empty.
    pub time_zone: String,
    /// Each run is late by up to so many seconds.
    pub jitter_s: u64,
    /// The refs that are scanned; all when empty.
    pub refs: Vec<String>,
    /// What a run does about unknown commits: `alert`, `scan` or `both`.
    pub on_unknown: &'static str,
    /// What becomes of runs that nobody was there to make: `once` or `skip`.
    pub missed: &'static str,
    /// Who asked for it, as they say.
    pub requester: String,
    /// When it was made.
    pub created: String,
    /// Whether its runs are left out for now.
    pub is_paused: bool,
    /// When the next run is.
    pub next: Option<String>,
    /// The run that came last.
    pub last: Option<RunView>,
    #[serde(skip)]
    position: (i64, String),
}

/// A run that has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// Its number; 0 when somebody asked for it out of turn.
    pub number: u64,
    /// When it came.
    pub at: String,
    /// The request that it made; absent when it was missed and left out.
    pub request_id: Option<String>,
}

impl RunView {
    fn new(run: &Run) -> Self {
        let request_id = run.request.as_ref().map(ToString::to_string);
        Self { number: run.number, at: time(run.at.0), request_id }
    }
}

impl ScheduleRow {
    /// From its record.
    pub fn new(schedule: &Schedule, repository: String) -> Self {
        let plan = &schedule.plan;
        let due = schedule.due.filter(|_| !schedule.is_paused).map(|due| due.at.0);
        let last = [&schedule.last, &schedule.asked].into_iter().flatten().max_by_key(|run| run.at);
        Self {
            id: schedule.id.to_string(),
            repository_id: plan.repository.to_string(),
            repository,
            cron: plan.cron.clone(),
            time_zone: plan.time_zone.clone(),
            jitter_s: plan.jitter_s,
            refs: plan.refs.clone(),
            on_unknown: plan.on_unknown.as_str(),
            missed: plan.missed.as_str(),
            requester: plan.requester.clone(),
            created: time(schedule.created.0),
            is_paused: schedule.is_paused,
            next: due.map(time),
            last: last.map(RunView::new),
            position: (due.unwrap_or(i64::MAX), schedule.id.to_string()),
        }
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Option<Self>> {
        let (record, name): (String, String) = (row.get(0)?, row.get(1)?);
        Ok(serde_json::from_str(&record).ok().map(|schedule| Self::new(&schedule, name)))
    }
}

/// A page of schedules by their next run, those without one last.
///
/// # Errors
/// [`QueryError`] when the cursor is wrong, or the database fails.
pub async fn list(
    index: &Index,
    scope: &Scope,
    repository: Option<&str>,
    limit: usize,
    cursor: Option<&str>,
) -> Result<Page<ScheduleRow>, QueryError> {
    let after: Option<(i64, String)> = cursor.map(|text| cursor::read(LIST, text)).transpose()?;
    let mut condition = Condition::default();
    let next = "coalesce(s.next, 9223372036854775807)";
    if let Some((at, id)) = after {
        condition.and(&format!("({next}, s.id) > (?, ?)"), [Value::from(at), Value::from(id)]);
    }
    condition.and_some("s.repository = ?", repository.map(str::to_owned));
    within(&mut condition, "+s.repository", scope);
    let sql = format!(
        "SELECT s.record, coalesce(r.name, s.repository) FROM schedules s LEFT JOIN repositories r ON r.id = s.repository \
         WHERE {{}} ORDER BY {next}, s.id"
    );
    let lane = Lane { sql, condition };
    let order = |row: &Option<ScheduleRow>| row.as_ref().map(|row| row.position.clone());
    let rows = index.read(move |db| {
        cursor::merge(db, &[lane], limit + 1, ScheduleRow::read, |a, b| order(a).cmp(&order(b)))
    });
    let rows = rows.await?.into_iter().flatten().collect();
    Ok(Page::of(rows, limit, |row: &ScheduleRow| cursor::write(LIST, &row.position)))
}
