//! How the system runs: `/overview`, `/agents`, `/queues`, `/dead-letters`, `/alerts` and `/audit`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use secretscan_bus::dead_letters::DeadLetter;
use secretscan_bus::now;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Path, Query, limit};
use super::requests::Created;
use super::{List, Problem};
use crate::actions::{ActionError, Actions};
use crate::auth::{Actor, Role, Scope};
use crate::index::queries::agents::{self, AgentRow};
use crate::index::queries::alerts::{self, AlertRow};
use crate::index::queries::audit::{self, AuditFilter, AuditRow};
use crate::index::queries::overview::{self, Overview};
use crate::queues::QueueView;
use crate::state::App;

/// How things stand, and how they came to
#[utoipa::path(get, path = "/overview", tag = "operations", responses(
    (status = 200, body = Overview), (status = 304, description = "As If-None-Match says"),
    (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn overview(actor: Actor, State(app): State<Arc<App>>) -> Result<axum::Json<Overview>, Problem> {
    Ok(axum::Json(overview::overview(&app.index, &actor.scope, now()).await?))
}

/// Living agents; none for who sees only some repositories
#[utoipa::path(get, path = "/agents", tag = "operations", responses(
    (status = 200, body = List<AgentRow>), (status = 304, description = "As If-None-Match says"),
    (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn agents(
    actor: Actor,
    State(app): State<Arc<App>>,
) -> Result<axum::Json<List<AgentRow>>, Problem> {
    Ok(List::whole(agents::list(&app.index, &actor.scope, now()).await?))
}

/// How much is in the queues between the services
#[utoipa::path(get, path = "/queues", tag = "operations", responses(
    (status = 200, body = List<QueueView>), (status = 304, description = "As If-None-Match says"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn queues(
    actor: Actor,
    State(app): State<Arc<App>>,
) -> Result<axum::Json<List<QueueView>>, Problem> {
    if actor.scope != Scope::All {
        return Err(ActionError::Scope.into());
    }
    Ok(List::whole(app.queues.read(&app.bus).await?.to_vec()))
}

/// What could not be done
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterView {
    /// Its number.
    number: u64,
    /// When it was kept.
    at: String,
    /// The subject that it came by.
    origin: String,
    /// Why it could not be done.
    reason: String,
    /// Whether it can be tried again.
    can_retry: bool,
    /// Its bytes as text, what is no text replaced; empty when they were not kept.
    body: String,
}

impl DeadLetterView {
    fn new(letter: DeadLetter) -> Self {
        Self {
            number: letter.number,
            at: letter.at.to_rfc3339(),
            can_retry: letter.retry().is_some(),
            body: String::from_utf8_lossy(&letter.body).into_owned(),
            origin: letter.origin,
            reason: letter.reason,
        }
    }
}

/// Which dead letters.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LettersQuery {
    /// From this number on; `next` of the page before.
    #[param(minimum = 0)]
    cursor: Option<i64>,
    /// How many.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
}

/// What could not be done, the oldest first; for who sees all repositories
#[utoipa::path(get, path = "/dead-letters", tag = "operations", params(LettersQuery), responses(
    (status = 200, body = List<DeadLetterView>), (status = 304, description = "As If-None-Match says"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn dead_letters(
    actor: Actor,
    State(app): State<Arc<App>>,
    Query(query): Query<LettersQuery>,
) -> Result<axum::Json<List<DeadLetterView>>, Problem> {
    let limit = limit(query.limit)?;
    let from = u64::try_from(query.cursor.unwrap_or(1))
        .map_err(|_| Problem::bad_request("cursor is the number of a dead letter"))?;
    let mut letters = Actions::new(&app, &actor).dead_letters(from, limit + 1).await?;
    let next = letters.get(limit).map(|letter| letter.number.to_string());
    letters.truncate(limit);
    let items = letters.into_iter().map(DeadLetterView::new).collect();
    Ok(axum::Json(List { items, next, total: None }))
}

/// What could not be done
#[utoipa::path(get, path = "/dead-letters/{number}", tag = "operations", params(("number" = u64, Path)), responses(
    (status = 200, body = DeadLetterView), (status = 304, description = "As If-None-Match says"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn dead_letter(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path(number): Path<u64>,
) -> Result<axum::Json<DeadLetterView>, Problem> {
    let letter = Actions::new(&app, &actor).dead_letter(number).await?;
    Ok(axum::Json(DeadLetterView::new(letter)))
}

/// Ask again for what a dead letter asked for, and forget the letter
#[utoipa::path(post, path = "/dead-letters/{number}/retry", tag = "operations", params(("number" = u64, Path)),
    responses((status = 202, body = Created),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn retry_dead_letter(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path(number): Path<u64>,
) -> Result<(StatusCode, axum::Json<Created>), Problem> {
    let request = Actions::new(&app, &actor).retry_dead_letter(number).await?;
    Ok(Created::new(&request, None))
}

/// Forget a dead letter
#[utoipa::path(delete, path = "/dead-letters/{number}", tag = "operations", params(("number" = u64, Path)),
    responses((status = 204, description = "Done"),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn drop_dead_letter(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path(number): Path<u64>,
) -> Result<StatusCode, Problem> {
    Actions::new(&app, &actor).drop_dead_letter(number).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which alerts.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AlertsQuery {
    /// About this repository, by its id.
    repository: Option<String>,
    /// Rows of the page.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// Where the page begins: `next` of the page before.
    cursor: Option<String>,
}

/// Unknown commits and skipped hooks, the newest first
#[utoipa::path(get, path = "/alerts", tag = "operations", params(AlertsQuery), responses(
    (status = 200, body = List<AlertRow>), (status = 304, description = "As If-None-Match says"),
    (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn alerts(
    actor: Actor,
    State(app): State<Arc<App>>,
    Query(query): Query<AlertsQuery>,
) -> Result<axum::Json<List<AlertRow>>, Problem> {
    let (repository, cursor) = (query.repository.as_deref(), query.cursor.as_deref());
    Ok(List::new(
        alerts::list(&app.index, &actor.scope, repository, limit(query.limit)?, cursor).await?,
        None,
    ))
}

/// Which entries.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Of this person.
    who: Option<String>,
    /// Of this action, such as `findings-triage`.
    action: Option<String>,
    /// About this repository, by its id.
    repository: Option<String>,
    /// Rows of the page.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// Where the page begins: `next` of the page before.
    cursor: Option<String>,
}

/// What people did, the latest first; for admins
#[utoipa::path(get, path = "/audit", tag = "operations", params(AuditQuery), responses(
    (status = 200, body = List<AuditRow>), (status = 304, description = "As If-None-Match says"),
    (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn audit(
    actor: Actor,
    State(app): State<Arc<App>>,
    Query(query): Query<AuditQuery>,
) -> Result<axum::Json<List<AuditRow>>, Problem> {
    if actor.role < Role::Admin {
        return Err(ActionError::Role { needed: Role::Admin }.into());
    }
    let filter = AuditFilter { who: query.who, action: query.action, repository: query.repository };
    let (limit, cursor) = (limit(query.limit)?, query.cursor.as_deref());
    Ok(List::new(audit::list(&app.index, &actor.scope, &filter, limit, cursor).await?, None))
}
