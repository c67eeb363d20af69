//! What belongs to no repository: agents, dead letters, and the log of what people did.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{Redirect, Response};
use minijinja::{Value, context};
use secretscan_bus::dead_letters::DeadLetter;
use secretscan_bus::now;

use super::chart::slots;
use super::error::PageError;
use super::form::{Form, Params};
use super::render::{page, shown};
use crate::actions::Actions;
use crate::auth::{Role, Visitor};
use crate::index::queries::{agents, audit};
use crate::state::App;

const ROWS: usize = 50;
/// So much of the bytes of a dead letter is shown.
const SHOWN_BYTES: usize = 2_000;

pub(super) async fn agents(visitor: Visitor, State(app): State<Arc<App>>) -> Result<Response, PageError> {
    let found = agents::list(&app.index, &visitor.actor.scope, now()).await?;
    let rows: Vec<Value> = found
        .iter()
        .map(|agent| {
            let says = format!("{} of {} slots are busy", agent.holds.len(), agent.slots);
            context! {
                chart => slots(agent.holds.len() as u64, agent.slots.into(), &says),
                work => agent.holds.iter().map(|what| work(what)).collect::<Vec<_>>(),
                agent => shown(agent),
            }
        })
        .collect();
    let about = context! { section => "agents", topics => "agents", rows };
    Ok(page(Some(&visitor), "agents.html", "Agents", about))
}

/// A request, or `request.batch`, with the page of the request.
fn work(what: &str) -> Value {
    let request = what.split('.').next().unwrap_or(what);
    context! { what, request }
}

pub(super) async fn dead_letters(
    visitor: Visitor,
    State(app): State<Arc<App>>,
    Params(params): Params,
) -> Result<Response, PageError> {
    let from: u64 = params.text("cursor").parse().unwrap_or(1);
    let mut found = Actions::new(&app, &visitor.actor).dead_letters(from, ROWS + 1).await?;
    let next = found.get(ROWS).map(|letter| letter.number.to_string());
    found.truncate(ROWS);
    let about = context! {
        section => "dead-letters",
        topics => "requests,events,audit",
        rows => found.iter().map(letter).collect::<Vec<_>>(),
        pages => params.pages("/dead-letters", next.as_deref()),
    };
    Ok(page(Some(&visitor), "dead_letters.html", "Dead letters", about))
}

fn letter(letter: &DeadLetter) -> Value {
    let body = &letter.body[..letter.body.len().min(SHOWN_BYTES)];
    context! {
        number => letter.number,
        at => letter.at.0,
        origin => letter.origin.as_str(),
        reason => letter.reason.as_str(),
        // Protobuf is not for reading.
        body => std::str::from_utf8(body).ok().filter(|text| text.starts_with('{')),
        size => letter.body.len() as i64,
        can_retry => letter.retry().is_some(),
    }
}

pub(super) async fn change_dead_letter(
    State(app): State<Arc<App>>,
    Path((number, verb)): Path<(u64, String)>,
    form: Form,
) -> Result<Redirect, PageError> {
    let actions = Actions::new(&app, &form.visitor.actor);
    match verb.as_str() {
        "retry" => {
            let request = actions.retry_dead_letter(number).await?;
            Ok(Redirect::to(&format!("/requests/{request}")))
        }
        "drop" => {
            actions.drop_dead_letter(number).await?;
            Ok(Redirect::to("/dead-letters"))
        }
        _ => Err(PageError::not_found("page")),
    }
}

pub(super) async fn audit(
    visitor: Visitor,
    State(app): State<Arc<App>>,
    Params(params): Params,
) -> Result<Response, PageError> {
    visitor.require(Role::Admin)?;
    let filter = audit::AuditFilter {
        who: params.some("who"),
        action: params.some("action"),
        repository: params.some("repository"),
    };
    let cursor = params.some("cursor");
    let found = audit::list(&app.index, &visitor.actor.scope, &filter, ROWS, cursor.as_deref()).await?;
    let about = context! {
        section => "audit",
        topics => "audit",
        rows => shown(&found.rows),
        is_filtered => filter != audit::AuditFilter::default(),
        pages => params.pages("/audit", found.next.as_deref()),
        fields => shown(&params.values()),
    };
    Ok(page(Some(&visitor), "audit.html", "Audit log", about))
}
