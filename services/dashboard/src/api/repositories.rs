//! `/repositories`

use std::sync::Arc;

use axum::extract::State;
use secretscan_model::ledger::Total;
use secretscan_model::{CommitId, RepositoryId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Json, Path, Query, limit};
use super::{List, Problem};
use crate::actions::Actions;
use crate::auth::{Actor, Scope};
use crate::index::queries::repositories::{self, RepositoryRow};
use crate::state::App;

/// So many commits may be named.
const MAX_FORGOTTEN: usize = 1_000;

/// Which repositories.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RepositoriesQuery {
    /// Whose name contains this.
    name: Option<String>,
    /// Rows of the page.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// Where the page begins: `next` of the page before.
    cursor: Option<String>,
}

/// Repositories by name
#[utoipa::path(get, path = "/repositories", tag = "repositories", params(RepositoriesQuery), responses(
    (status = 200, body = List<RepositoryRow>), (status = 304, description = "As If-None-Match says"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(
    actor: Actor,
    State(app): State<Arc<App>>,
    Query(query): Query<RepositoriesQuery>,
) -> Result<axum::Json<List<RepositoryRow>>, Problem> {
    let (name, cursor) = (query.name.as_deref(), query.cursor.as_deref());
    let page = repositories::list(&app.index, &actor.scope, name, limit(query.limit)?, cursor).await?;
    Ok(List::new(page, None))
}

/// A repository of the scope.
///
/// # Errors
/// When there is none.
pub async fn known(scope: &Scope, app: &App, id: &RepositoryId) -> Result<RepositoryRow, Problem> {
    let known = repositories::get(&app.index, scope, id.as_str()).await?;
    known.ok_or_else(|| Problem::not_found(format!("there is no repository {id}")))
}

/// A repository
#[utoipa::path(get, path = "/repositories/{id}", tag = "repositories",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,128}$")),
    responses((status = 200, body = RepositoryRow), (status = 304, description = "As If-None-Match says"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path(id): Path<RepositoryId>,
) -> Result<axum::Json<RepositoryRow>, Problem> {
    Ok(axum::Json(known(&actor.scope, &app, &id).await?))
}

/// Commits that share their state and their rules
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TotalView {
    /// `WaitingForScan` or `Scanned`.
    state: &'static str,
    /// The version of the rules; empty before they are scanned.
    rule_set: String,
    /// How many.
    commits: u64,
    /// When the first of them came into this state.
    oldest: String,
    /// When the last of them did.
    newest: String,
}

impl TotalView {
    fn new(total: Total) -> Self {
        let (oldest, newest) = (total.oldest.to_rfc3339(), total.newest.to_rfc3339());
        Self { state: total.state.name(), rule_set: total.rule_set, commits: total.commits, oldest, newest }
    }
}

/// How much of the history of a repository is scanned, and with which rules
#[utoipa::path(get, path = "/repositories/{id}/history", tag = "repositories",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,128}$")),
    responses((status = 200, body = List<TotalView>), (status = 304, description = "As If-None-Match says"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn history(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path(id): Path<RepositoryId>,
) -> Result<axum::Json<List<TotalView>>, Problem> {
    known(&actor.scope, &app, &id).await?;
    let totals = app.bus.ledger(&id).head().await?.totals();
    Ok(List::whole(totals.into_iter().map(TotalView::new).collect()))
}

/// What is known of a commit
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommitView {
    /// Its id.
    commit: String,
    /// `WaitingForScan` or `Scanned`.
    state: &'static str,
    /// The batch that it was, or is to be, scanned in.
    batch: String,
    /// The version of the rules; empty before it is scanned.
    rule_set: String,
    /// Since when it is in this state.
    at: String,
}

/// What the ledger says of a commit
#[utoipa::path(get, path = "/repositories/{id}/commits/{commit}", tag = "repositories",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,128}$"),
        ("commit" = String, Path, description = "The whole id, in hexadecimal", pattern = "^([0-9a-f]{40}|[0-9a-f]{64})$")),
    responses((status = 200, body = CommitView), (status = 304, description = "As If-None-Match says"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn commit(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path((id, text)): Path<(RepositoryId, String)>,
) -> Result<axum::Json<CommitView>, Problem> {
    known(&actor.scope, &app, &id).await?;
    let commit: CommitId =
        text.parse().map_err(|_| Problem::bad_request("a commit is 40 or 64 hexadecimal digits"))?;
    let holder = app.bus.ledger(&id).holders(&[commit]).await?.remove(&commit);
    let segment =
        holder.ok_or_else(|| Problem::not_found(format!("the ledger does not know the commit {commit}")))?;
    Ok(axum::Json(CommitView {
        commit: commit.to_string(),
        state: segment.state.name(),
        batch: segment.batch.to_string(),
        rule_set: segment.rule_set.clone(),
        at: segment.at.to_rfc3339(),
    }))
}

/// What to forget
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Forget {
    /// Ids of commits in hexadecimal ...
    #[serde(default)]
    #[schema(max_items = 1000)]
    commits: Vec<String>,
    /// ... or all of them.
    #[serde(default)]
    all: bool,
}

/// What was forgotten
#[derive(Serialize, ToSchema)]
pub struct Forgotten {
    /// How many commits.
    commits: u64,
}

/// Make commits unknown, so that the next request scans them again
#[utoipa::path(post, path = "/repositories/{id}/forget", tag = "repositories", request_body = Forget,
    params(("id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,128}$")),
    responses((status = 200, body = Forgotten),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn forget(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path(id): Path<RepositoryId>,
    Json(forget): Json<Forget>,
) -> Result<axum::Json<Forgotten>, Problem> {
    if forget.all != forget.commits.is_empty() {
        return Err(Problem::bad_request("name some commits, or say all: true"));
    }
    if forget.commits.len() > MAX_FORGOTTEN {
        return Err(Problem::bad_request(format!("at most {MAX_FORGOTTEN} commits; or say all: true")));
    }
    let commits = Actions::new(&app, &actor).forget(&id, &forget.commits).await?;
    Ok(axum::Json(Forgotten { commits }))
}
