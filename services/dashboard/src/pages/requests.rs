//! Requests: the list, a new one, and one of them on its way.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use minijinja::{Value, context};
use secretscan_bus::now;
use secretscan_model::lifecycle::BatchOutcome;
use secretscan_model::{Priority, RepositoryScan, RequestId, ScanState};
use serde_json::json;

use super::error::PageError;
use super::form::{Fields, Form, Params};
use super::render::{page, shown};
use super::repositories;
use crate::actions::{Actions, NewScan, Purpose, Target, check_uri};
use crate::auth::{Role, Visitor};
use crate::index::queries::requests::{RequestFilter, count, list};
use crate::state::App;

const ROWS: usize = 50;
/// Batches that are named one by one.
const BATCHES: usize = 500;

pub(super) async fn index(
    visitor: Visitor,
    State(app): State<Arc<App>>,
    Params(params): Params,
) -> Result<Response, PageError> {
    let scope = &visitor.actor.scope;
    let repository = match params.some("repository") {
        Some(text) => Some(repositories::find(&app, scope, &text).await?.unwrap_or(text)),
        None => None,
    };
    let filter = RequestFilter {
        states: params.all("state"),
        repository,
        priority: params.some("priority"),
        requester: params.some("requester"),
    };
    let cursor = params.some("cursor");
    let found = list(&app.index, scope, &filter, ROWS, cursor.as_deref()).await?;
    let about = context! {
        section => "requests",
        topics => "requests",
        rows => shown(&found.rows),
        total => shown(&count(&app.index, scope, &filter).await?),
        is_filtered => filter != RequestFilter::default(),
        pages => params.pages("/requests", found.next.as_deref()),
        states => ScanState::NAMES.to_vec(),
        repositories => repositories::names(&app, scope).await?,
        fields => shown(&params.values()),
    };
    Ok(page(Some(&visitor), "requests.html", "Requests", about))
}

pub(super) async fn new(
    visitor: Visitor,
    State(app): State<Arc<App>>,
    Params(params): Params,
) -> Result<Response, PageError> {
    visitor.require(Role::Triager)?;
    form(&app, &visitor, &params, None).await
}

async fn form(
    app: &App,
    visitor: &Visitor,
    fields: &Fields,
    error: Option<String>,
) -> Result<Response, PageError> {
    let about = context! {
        section => "requests",
        error,
        repositories => repositories::names(app, &visitor.actor.scope).await?,
        fields => shown(&fields.values()),
    };
    Ok(page(Some(visitor), "request_new.html", "New scan", about))
}

/// What a text in a form names: a repository that is known, by its id or name, or a URI.
pub(super) async fn target(app: &App, visitor: &Visitor, text: &str) -> Result<Target, PageError> {
    Ok(match repositories::find(app, &visitor.actor.scope, text).await? {
        Some(id) => Target::Repository(id.parse().map_err(|_| PageError::not_found("repository"))?),
        None => Target::Uri(text.to_owned()),
    })
}

pub(super) async fn create(State(app): State<Arc<App>>, form_sent: Form) -> Result<Response, PageError> {
    let Form { visitor, fields } = form_sent;
    let scan = NewScan {
        target: target(&app, &visitor, fields.text("repository")).await?,
        refs: fields.words("refs"),
        priority: Priority::OnDemand,
        purpose: match fields.text("purpose") {
            "verify" => Purpose::Verify,
            "rescan" => Purpose::Rescan,
            _ => Purpose::Scan,
        },
    };
    match Actions::new(&app, &visitor.actor).request_scan(&scan, None).await {
        Ok((id, _)) => Ok(Redirect::to(&format!("/requests/{id}")).into_response()),
        Err(error) => {
            let error = PageError::from(error);
            let (status, text) = error.into_parts();
            Ok((status, form(&app, &visitor, &fields, Some(text)).await?).into_response())
        }
    }
}

/// Says of a form that is being filled in what it lacks.
pub(super) async fn check(
    visitor: Visitor,
    State(app): State<Arc<App>>,
    Params(params): Params,
) -> Result<Response, PageError> {
    let text = params.text("repository");
    let said = match target(&app, &visitor, text).await? {
        _ if text.is_empty() => json!({}),
        Target::Repository(id) => {
            let known = app.bus.repository(&id).await?;
            let name = known.map_or_else(|| id.to_string(), |repository| repository.name);
            json!({ "hint": format!("{name} is known: only what is new is scanned") })
        }
        Target::Uri(uri) => match check_uri(&uri) {
            Ok(uri) => {
                json!({ "hint": format!("{} is new here: all of its history is scanned", uri.name()) })
            }
            Err(error) => json!({ "error": error.to_string() }),
        },
    };
    Ok(Json(said).into_response())
}

fn id(text: &str) -> Result<RequestId, PageError> {
    text.parse().map_err(|_| PageError::not_found("request"))
}

pub(super) async fn show(
    visitor: Visitor,
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
) -> Result<Response, PageError> {
    let scan = Actions::new(&app, &visitor.actor).scan(&id(&text)?).await?;
    let name = match &scan.repository {
        Some(repository) => app.bus.repository(repository).await?.map(|repository| repository.name),
        None => None,
    };
    let totals = scan.totals();
    let about = context! {
        section => "requests",
        topics => "requests",
        scan => shown(&scan),
        state => scan.state.name(),
        is_ended => scan.state.is_terminal(),
        is_listed => !matches!(&scan.state, ScanState::InProgress { is_listed: false, .. }),
        can_retry => matches!(&scan.state, ScanState::Failed { .. } | ScanState::Cancelled),
        reason => reason(&scan),
        name => name.unwrap_or_else(|| scan.uri.clone()),
        batches => totals.batches,
        ended => totals.ended,
        commits => totals.commits,
        bytes => totals.bytes as i64,
        findings => totals.findings,
        trail => trail(&scan),
        rows => batches(&scan),
        not_scanned => scan.found.as_ref().map(|found| shown(&found.not_scanned)),
        found => scan.found.as_ref().map(shown),
    };
    Ok(page(Some(&visitor), "request.html", "Request", about))
}

fn reason(scan: &RepositoryScan) -> Option<&str> {
    match &scan.state {
        ScanState::Failed { reason } => Some(reason),
        _ => scan.last_error.as_deref(),
    }
}

/// The lines of the trail, each with how long its state has lasted.
fn trail(scan: &RepositoryScan) -> Vec<Value> {
    let ends = scan.trail.iter().skip(1).map(|entry| entry.at.0);
    let last = if scan.state.is_terminal() { None } else { Some(now().0) };
    let ends = ends.map(Some).chain([last]);
    scan.trail
        .iter()
        .zip(ends)
        .map(|(entry, end)| {
            context! {
                entry => shown(entry),
                lasted => end.map(|end| (end - entry.at.0).max(0)),
                tone => match entry.state.as_str() {
                    "Completed" => "good",
                    "Failed" | "Cancelled" => "bad",
                    _ => "",
                },
            }
        })
        .collect()
}

fn batches(scan: &RepositoryScan) -> Vec<Value> {
    let rows = scan.batches.iter().take(BATCHES).map(|(id, outcome)| match outcome {
        BatchOutcome::Open => context! { id => id.as_str(), state => "InProgress" },
        BatchOutcome::Completed { commits, bytes, findings, .. } => context! {
            id => id.as_str(), state => "Completed", commits => *commits, bytes => *bytes as i64,
            findings => *findings,
        },
        BatchOutcome::Failed { reason } => {
            context! { id => id.as_str(), state => "Failed", reason => reason.as_str() }
        }
        BatchOutcome::Cancelled => context! { id => id.as_str(), state => "Cancelled" },
    });
    rows.collect()
}

pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    form: Form,
) -> Result<Redirect, PageError> {
    let id = id(&text)?;
    Actions::new(&app, &form.visitor.actor).cancel(&id).await?;
    Ok(Redirect::to(&format!("/requests/{id}")))
}

pub(super) async fn retry(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    form: Form,
) -> Result<Redirect, PageError> {
    let new = Actions::new(&app, &form.visitor.actor).retry(&id(&text)?).await?;
    Ok(Redirect::to(&format!("/requests/{new}")))
}
