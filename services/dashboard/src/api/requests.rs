//! `/requests`

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use secretscan_model::lifecycle::{BatchOutcome, TrailEntry};
use secretscan_model::{
    BatchState, CommitBatch, NotScanned, Priority, RepositoryId, RepositoryScan, RequestId,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Json, Path, Query, commas, limit};
use super::{List, Problem};
use crate::actions::{Actions, NewScan, Purpose, Target};
use crate::auth::Actor;
use crate::index::queries::requests::{self, RequestFilter, RequestRow};
use crate::state::App;

/// The longest idempotency key.
const MAX_KEY: usize = 128;
/// So many refs may be named.
const MAX_REFS: usize = 1_000;

/// Where a request stands.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
enum StateName {
    New,
    Validating,
    Queued,
    Scheduling,
    Scheduled,
    InProgress,
    Completed,
    Failed,
    Cancelled,
}

/// How urgent a request is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Urgency {
    /// Somebody may be waiting for the answer.
    Reactive,
    /// A person asked.
    #[default]
    OnDemand,
    /// After all others.
    Scheduled,
}

impl From<Urgency> for Priority {
    fn from(urgency: Urgency) -> Self {
        match urgency {
            Urgency::Reactive => Self::Reactive,
            Urgency::OnDemand => Self::OnDemand,
            Urgency::Scheduled => Self::Scheduled,
        }
    }
}

/// Which requests.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RequestsQuery {
    /// In one of these states, with commas between them.
    #[serde(default, deserialize_with = "commas")]
    #[param(inline, style = Form, explode = false, min_items = 1)]
    state: Vec<StateName>,
    /// Of this repository, by its id.
    repository: Option<String>,
    /// Of this priority.
    #[param(inline)]
    priority: Option<Urgency>,
    /// Whose requester contains this.
    requester: Option<String>,
    /// Rows of the page.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// Where the page begins: `next` of the page before.
    cursor: Option<String>,
}

/// Requests, the newest first
#[utoipa::path(get, path = "/requests", tag = "requests", params(RequestsQuery), responses(
    (status = 200, body = List<RequestRow>), (status = 304, description = "As If-None-Match says"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(
    actor: Actor,
    State(app): State<Arc<App>>,
    Query(query): Query<RequestsQuery>,
) -> Result<axum::Json<List<RequestRow>>, Problem> {
    let filter = RequestFilter {
        states: query.state.iter().map(|state| format!("{state:?}")).collect(),
        repository: query.repository,
        priority: query.priority.map(|priority| Priority::from(priority).as_str().to_owned()),
        requester: query.requester,
    };
    let limit = limit(query.limit)?;
    let page = requests::list(&app.index, &actor.scope, &filter, limit, query.cursor.as_deref()).await?;
    let total = requests::count(&app.index, &actor.scope, &filter).await?;
    Ok(List::new(page, Some(total)))
}

/// A request to make
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewRequest {
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
    /// The urgency.
    #[serde(default)]
    priority: Urgency,
    /// What it is for.
    #[serde(default)]
    purpose: Purpose,
}

/// Either of the two ways to name a repository.
///
/// # Errors
/// When both or none are used.
pub fn target(uri: Option<String>, repository: Option<RepositoryId>) -> Result<Target, Problem> {
    match (uri, repository) {
        (Some(uri), None) => Ok(Target::Uri(uri)),
        (None, Some(id)) => Ok(Target::Repository(id)),
        _ => Err(Problem::bad_request("name the repository by either uri or repositoryId")),
    }
}

/// What was made
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    /// The id of the request.
    request_id: String,
    /// The id of its repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    repository_id: Option<String>,
}

impl Created {
    /// A new request.
    pub fn new(request: &RequestId, repository: Option<&RepositoryId>) -> (StatusCode, axum::Json<Self>) {
        let repository_id = repository.map(ToString::to_string);
        (StatusCode::ACCEPTED, axum::Json(Self { request_id: request.to_string(), repository_id }))
    }
}

/// Ask for a scan
///
/// With an `Idempotency-Key` of your own, sending it again makes no second request.
#[utoipa::path(post, path = "/requests", tag = "requests", request_body = NewRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters",
        pattern = "^[!-~]{1,128}$")),
    responses((status = 202, body = Created),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn create(
    actor: Actor,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Json(new): Json<NewRequest>,
) -> Result<(StatusCode, axum::Json<Created>), Problem> {
    let key = headers.get("idempotency-key").map(|key| key.to_str().unwrap_or_default());
    if key.is_some_and(|key| {
        key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(|b| b.is_ascii_graphic())
    }) {
        return Err(Problem::bad_request(format!(
            "Idempotency-Key is 1 to {MAX_KEY} visible ASCII characters"
        )));
    }
    if new.refs.len() > MAX_REFS {
        return Err(Problem::bad_request(format!("at most {MAX_REFS} refs; leave them out to scan all")));
    }
    let scan = NewScan {
        target: target(new.uri, new.repository_id)?,
        refs: new.refs,
        priority: new.priority.into(),
        purpose: new.purpose,
    };
    let (request, repository) = Actions::new(&app, &actor).request_scan(&scan, key).await?;
    Ok(Created::new(&request, Some(&repository)))
}

/// A line of a trail
#[derive(Serialize, ToSchema)]
pub struct TrailView {
    /// The state that was entered.
    state: String,
    /// When.
    at: String,
    /// Which service or agent did it.
    by: String,
    /// How many claims there had been.
    attempt: u32,
    /// Why.
    note: Option<String>,
}

impl TrailView {
    fn new(entry: &TrailEntry) -> Self {
        let TrailEntry { state, at, by, attempt, note } = entry.clone();
        Self { state, at: at.to_rfc3339(), by, attempt, note }
    }
}

/// What could not be scanned
#[derive(Serialize, ToSchema)]
pub struct NotScannedView {
    /// A path, an object id or a ref.
    what: String,
    /// Why not.
    reason: String,
}

impl NotScannedView {
    fn list(all: &[NotScanned]) -> Vec<Self> {
        all.iter().map(|one| Self { what: one.what.clone(), reason: one.reason.clone() }).collect()
    }
}

/// A request with all that is known of it
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestView {
    /// The id.
    id: String,
    /// The id of the repository; absent of what was refused.
    repository_id: Option<String>,
    /// What is fetched.
    uri: String,
    /// The refs that are scanned; all when empty.
    refs: Vec<String>,
    /// `scan`, `verify` or `rescan`.
    purpose: &'static str,
    /// `reactive`, `on-demand` or `scheduled`.
    priority: &'static str,
    /// Who asked, as they say.
    requester: String,
    /// The schedule whose run it is.
    schedule_id: Option<String>,
    /// The state.
    state: &'static str,
    /// Whether its state is never left.
    is_ended: bool,
    /// Why it failed, or why its last attempt did.
    reason: Option<String>,
    /// How many claims there were.
    attempts: u32,
    /// Commits that its refs reach; absent before its history is listed.
    commits_listed: Option<u64>,
    /// Those of them that the ledger did not know.
    commits_unknown: Option<u64>,
    /// Commits scanned.
    commits_scanned: u64,
    /// Bytes scanned.
    bytes: u64,
    /// Findings, those known before included.
    findings: u64,
    /// Batches created.
    batches: u64,
    /// Batches scanned.
    batches_completed: u64,
    /// Batches that failed or were cancelled.
    batches_failed: u64,
    /// What could not be listed; that of its batches is with them.
    not_scanned: Vec<NotScannedView>,
    /// Every state it was in.
    trail: Vec<TrailView>,
}

impl RequestView {
    fn new(scan: &RepositoryScan) -> Self {
        let totals = scan.totals();
        let is = |wanted: fn(&BatchOutcome) -> bool| {
            scan.batches.values().filter(|one| wanted(one)).count() as u64
        };
        let completed = is(|outcome| matches!(outcome, BatchOutcome::Completed { .. }));
        let reason = match &scan.state {
            secretscan_model::ScanState::Failed { reason } => Some(reason.clone()),
            _ => scan.last_error.clone(),
        };
        Self {
            id: scan.id.to_string(),
            repository_id: scan.repository.as_ref().map(ToString::to_string),
            uri: scan.uri.clone(),
            refs: scan.refs.clone(),
            purpose: scan.purpose.as_str(),
            priority: scan.priority.as_str(),
            requester: scan.requester.clone(),
            schedule_id: scan.scheduled.as_ref().map(|run| run.schedule.to_string()),
            state: scan.state.name(),
            is_ended: scan.state.is_terminal(),
            reason,
            attempts: scan.attempts,
            commits_listed: scan.found.as_ref().map(|found| found.commits),
            commits_unknown: scan.found.as_ref().map(|found| found.unknown),
            commits_scanned: totals.commits,
            bytes: totals.bytes,
            findings: totals.findings,
            batches: totals.batches,
            batches_completed: completed,
            batches_failed: totals.ended.saturating_sub(completed),
            not_scanned: NotScannedView::list(scan.found.as_ref().map_or(&[], |found| &found.not_scanned)),
            trail: scan.trail.iter().map(TrailView::new).collect(),
        }
    }
}

/// A request
#[utoipa::path(get, path = "/requests/{id}", tag = "requests",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,128}$")),
    responses((status = 200, body = RequestView), (status = 304, description = "As If-None-Match says"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path(id): Path<RequestId>,
) -> Result<axum::Json<RequestView>, Problem> {
    Ok(axum::Json(RequestView::new(&Actions::new(&app, &actor).scan(&id).await?)))
}

/// A batch of a request
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchView {
    /// The id within the request.
    id: String,
    /// The state.
    state: &'static str,
    /// The agent that scans it.
    agent: Option<String>,
    /// Commits that it was cut of.
    commits: u64,
    /// How many claims there were.
    attempts: u32,
    /// Findings in it, those known before included; absent before it is scanned.
    findings: Option<u64>,
    /// Why it failed, or why its last attempt did.
    reason: Option<String>,
    /// What of it could not be scanned.
    not_scanned: Vec<NotScannedView>,
    /// Every state it was in.
    trail: Vec<TrailView>,
}

impl BatchView {
    fn new(batch: &CommitBatch) -> Self {
        let report = match &batch.state {
            BatchState::Completed { report } => Some(report),
            _ => None,
        };
        let reason = match &batch.state {
            BatchState::Failed { reason } => Some(reason.clone()),
            _ => batch.last_error.clone(),
        };
        Self {
            id: batch.key.batch.to_string(),
            state: batch.state.name(),
            agent: batch.claim().map(|claim| claim.agent.to_string()),
            commits: batch.offered,
            attempts: batch.attempts,
            findings: report.map(|report| report.findings),
            reason,
            not_scanned: NotScannedView::list(report.map_or(&[], |report| &report.not_scanned)),
            trail: batch.trail.iter().map(TrailView::new).collect(),
        }
    }
}

/// The batches of a request, as long as their records are kept
#[utoipa::path(get, path = "/requests/{id}/batches", tag = "requests",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,128}$")),
    responses((status = 200, body = List<BatchView>), (status = 304, description = "As If-None-Match says"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn batches(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path(id): Path<RequestId>,
) -> Result<axum::Json<List<BatchView>>, Problem> {
    let scan = Actions::new(&app, &actor).scan(&id).await?;
    // One that changes meanwhile may be shown again: the last counts.
    let mut batches = std::collections::BTreeMap::new();
    let seen = |batch: CommitBatch| drop(batches.insert(batch.key.batch.clone(), BatchView::new(&batch)));
    app.bus.each_batch(&scan.id, seen).await?;
    Ok(List::whole(batches.into_values().collect()))
}

/// Cancel a request
#[utoipa::path(post, path = "/requests/{id}/cancel", tag = "requests",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,128}$")),
    responses((status = 204, description = "It will end as Cancelled"),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn cancel(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path(id): Path<RequestId>,
) -> Result<StatusCode, Problem> {
    Actions::new(&app, &actor).cancel(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ask again for what a request asked for that has failed or was cancelled
#[utoipa::path(post, path = "/requests/{id}/retry", tag = "requests",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,128}$")),
    responses((status = 202, body = Created),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn retry(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path(id): Path<RequestId>,
) -> Result<(StatusCode, axum::Json<Created>), Problem> {
    let new = Actions::new(&app, &actor).retry(&id).await?;
    Ok(Created::new(&new, None))
}
