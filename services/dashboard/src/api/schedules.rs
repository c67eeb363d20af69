//! `/schedules`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use secretscan_model::lifecycle::{Missed, OnUnknown};
use secretscan_model::{RepositoryId, ScheduleId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Json, Path, Query, limit};
use super::requests::target;
use super::{List, Problem};
use crate::actions::{self, Actions, Plan, ScheduleChange};
use crate::auth::Actor;
use crate::index::queries::repositories;
use crate::index::queries::schedules::{self, ScheduleRow};
use crate::state::App;

/// Which schedules.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SchedulesQuery {
    /// Of this repository, by its id.
    repository: Option<String>,
    /// Rows of the page.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// Where the page begins: `next` of the page before.
    cursor: Option<String>,
}

/// Schedules, those first that run next
#[utoipa::path(get, path = "/schedules", tag = "schedules", params(SchedulesQuery), responses(
    (status = 200, body = List<ScheduleRow>), (status = 304, description = "As If-None-Match says"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(
    actor: Actor,
    State(app): State<Arc<App>>,
    Query(query): Query<SchedulesQuery>,
) -> Result<axum::Json<List<ScheduleRow>>, Problem> {
    let (repository, cursor) = (query.repository.as_deref(), query.cursor.as_deref());
    let page = schedules::list(&app.index, &actor.scope, repository, limit(query.limit)?, cursor).await?;
    Ok(List::new(page, None))
}

/// A schedule
#[utoipa::path(get, path = "/schedules/{id}", tag = "schedules",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,64}$")),
    responses((status = 200, body = ScheduleRow), (status = 304, description = "As If-None-Match says"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path(id): Path<ScheduleId>,
) -> Result<axum::Json<ScheduleRow>, Problem> {
    let schedule = Actions::new(&app, &actor).schedule(&id).await?;
    let repository = schedule.plan.repository.as_str();
    let known = repositories::get(&app.index, &actor.scope, repository).await?;
    let name = known.map_or_else(|| repository.to_owned(), |repository| repository.name);
    Ok(axum::Json(ScheduleRow::new(&schedule, name)))
}

/// What a run does about commits that the ledger does not know.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnUnknownName {
    /// Tells of those that no push announced, and scans none.
    Alert,
    /// Scans them.
    Scan,
    /// Both.
    #[default]
    Both,
}

impl From<OnUnknownName> for OnUnknown {
    fn from(name: OnUnknownName) -> Self {
        match name {
            OnUnknownName::Alert => Self::Alert,
            OnUnknownName::Scan => Self::Scan,
            OnUnknownName::Both => Self::Both,
        }
    }
}

/// What becomes of runs that nobody was there to make.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum MissedName {
    /// One run makes up for all.
    #[default]
    Once,
    /// The next run is the one that comes next.
    Skip,
}

impl From<MissedName> for Missed {
    fn from(name: MissedName) -> Self {
        match name {
            MissedName::Once => Self::Once,
            MissedName::Skip => Self::Skip,
        }
    }
}

/// A schedule to make
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewSchedule {
    /// Its id; one is made when absent.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$", value_type = Option<String>)]
    id: Option<ScheduleId>,
    /// The URI of the repository ...
    #[schema(max_length = 2000)]
    uri: Option<String>,
    /// ... or the id of a known one.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,128}$", value_type = Option<String>)]
    repository_id: Option<RepositoryId>,
    /// Full names of refs; all when empty.
    #[serde(default)]
    #[schema(max_items = 1000)]
    refs: Vec<String>,
    /// When: five fields, six with seconds before them, or a name such as `@daily`.
    #[schema(max_length = 200)]
    cron: String,
    /// In which time zone, by its name; UTC when empty.
    #[serde(default)]
    #[schema(max_length = 100)]
    time_zone: String,
    /// How late each run may be: `30s`, `10m`, `2h`.
    #[serde(default)]
    #[schema(max_length = 20)]
    jitter: String,
    /// What a run does about commits that the ledger does not know.
    #[serde(default)]
    on_unknown: OnUnknownName,
    /// What becomes of runs that nobody was there to make.
    #[serde(default)]
    missed: MissedName,
}

/// The schedule that was made
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedSchedule {
    /// Its id.
    schedule_id: String,
}

/// Make a schedule
#[utoipa::path(post, path = "/schedules", tag = "schedules", request_body = NewSchedule,
    responses((status = 201, body = CreatedSchedule),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn create(
    actor: Actor,
    State(app): State<Arc<App>>,
    Json(new): Json<NewSchedule>,
) -> Result<(StatusCode, axum::Json<CreatedSchedule>), Problem> {
    let schedule = actions::NewSchedule {
        id: new.id,
        target: target(new.uri, new.repository_id)?,
        refs: new.refs,
        plan: Plan {
            cron: new.cron,
            time_zone: new.time_zone,
            jitter: new.jitter,
            on_unknown: new.on_unknown.into(),
            missed: new.missed.into(),
        },
    };
    let id = Actions::new(&app, &actor).create_schedule(&schedule).await?;
    Ok((StatusCode::CREATED, axum::Json(CreatedSchedule { schedule_id: id.to_string() })))
}

/// Pause a schedule, resume it, run it now, or remove it
#[utoipa::path(post, path = "/schedules/{id}/{change}", tag = "schedules",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,64}$"), ("change" = inline(ScheduleChange), Path)),
    responses((status = 204, description = "Done"),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn change(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path((id, change)): Path<(ScheduleId, ScheduleChange)>,
) -> Result<StatusCode, Problem> {
    Actions::new(&app, &actor).change_schedule(&id, change).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a schedule
#[utoipa::path(delete, path = "/schedules/{id}", tag = "schedules",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,64}$")),
    responses((status = 204, description = "Done"),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn remove(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path(id): Path<ScheduleId>,
) -> Result<StatusCode, Problem> {
    Actions::new(&app, &actor).change_schedule(&id, ScheduleChange::Remove).await?;
    Ok(StatusCode::NO_CONTENT)
}
