//! `/discoveries`

use std::sync::Arc;

use axum::extract::State;
use secretscan_model::calendar::{Calendar, parse_jitter};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;
use super::extract::{Json, Path};
use super::schedules::{MissedName, OnUnknownName};
use crate::actions::{Actions, Discovered, DiscoveredState, Plan, Wanted};
use crate::auth::Actor;
use crate::state::App;

/// Which repositories of an owner, and the schedule that each gets
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewDiscovery {
    /// Archived ones too.
    #[serde(default)]
    archived: bool,
    /// Forks too.
    #[serde(default)]
    forks: bool,
    /// The schedule that each gets; they are only listed when absent.
    #[schema(value_type = Option<PlanOfAll>)]
    schedule: Option<PlanOfAll>,
    /// Where the page begins: `next` of the page before.
    #[schema(max_length = 2000)]
    cursor: Option<String>,
}

/// A schedule for each of many repositories
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PlanOfAll {
    /// When: five fields, six with seconds before them, or a name such as `@daily`.
    #[schema(max_length = 200)]
    cron: String,
    /// In which time zone, by its name; UTC when empty.
    #[serde(default)]
    #[schema(max_length = 100)]
    time_zone: String,
    /// Over how much time the runs are spread: `30s`, `10m`, `2h`; an hour when absent.
    #[serde(default)]
    #[schema(max_length = 20)]
    jitter: Option<String>,
    /// What a run does about commits that the ledger does not know.
    #[serde(default)]
    on_unknown: OnUnknownName,
    /// What becomes of runs that nobody was there to make.
    #[serde(default)]
    missed: MissedName,
}

/// A repository of an owner
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveredRow {
    /// Such as `owner/repository`.
    name: String,
    /// Where to fetch it.
    url: String,
    /// Nobody pushes to it any more.
    is_archived: bool,
    /// It was made as a copy of another one.
    is_fork: bool,
    /// What became of it.
    state: DiscoveredState,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A page of the repositories of an owner
#[derive(Serialize, ToSchema)]
pub struct DiscoveredRows {
    /// Those that are wanted, in the order of the host.
    items: Vec<DiscoveredRow>,
    /// The field `cursor` that asks for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// List a page of the repositories that an owner has at a Git host, and give those a schedule that have none from here. The
/// owner, the host and the token are those of `[discovery.NAME]` in the configuration
#[utoipa::path(post, path = "/discoveries/{name}", tag = "schedules", request_body = NewDiscovery,
    params(("name" = String, Path, pattern = "^[A-Za-z0-9_-]{1,64}$")),
    responses((status = 200, body = DiscoveredRows),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 502, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn create(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Json(new): Json<NewDiscovery>,
) -> Result<axum::Json<DiscoveredRows>, Problem> {
    let plan = new.schedule.map(plan).transpose()?;
    let wanted = Wanted { archived: new.archived, forks: new.forks, plan };
    let page = Actions::new(&app, &actor).discover(&name, &wanted, new.cursor.as_deref()).await?;
    let row = |one: Discovered| DiscoveredRow {
        name: one.listed.name,
        url: one.listed.url,
        is_archived: one.listed.is_archived,
        is_fork: one.listed.is_fork,
        state: one.state,
        error: one.error,
    };
    Ok(axum::Json(DiscoveredRows {
        items: page.repositories.into_iter().map(row).collect(),
        next: page.next,
    }))
}

/// A mistake is told at once, not of each repository.
fn plan(of_all: PlanOfAll) -> Result<Plan, Problem> {
    Calendar::parse(&of_all.cron, &of_all.time_zone)
        .map_err(|error| Problem::bad_request(error.to_string()))?;
    // As the command has it.
    let jitter = of_all.jitter.unwrap_or_else(|| "1h".into());
    parse_jitter(&jitter).map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok(Plan {
        cron: of_all.cron,
        time_zone: of_all.time_zone,
        jitter,
        on_unknown: of_all.on_unknown.into(),
        missed: of_all.missed.into(),
    })
}
