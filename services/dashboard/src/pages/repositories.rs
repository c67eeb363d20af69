//! Repositories: how much of their history is scanned, and with which rules.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{Redirect, Response};
use minijinja::{Value, context};
use rusqlite::OptionalExtension;
use secretscan_model::RepositoryId;

use super::error::PageError;
use super::form::{Form, Params};
use super::render::{page, shown};
use crate::actions::Actions;
use crate::auth::{Scope, Visitor};
use crate::index::queries::repositories::{get, list};
use crate::index::queries::requests::{self, RequestFilter};
use crate::index::queries::{alerts, schedules};
use crate::state::App;

const ROWS: usize = 50;
/// So many names are offered while somebody types one.
const OFFERED: usize = 200;
/// Of the requests, schedules and alerts of a repository.
const NEWEST: usize = 10;

pub(super) async fn index(
    visitor: Visitor,
    State(app): State<Arc<App>>,
    Params(params): Params,
) -> Result<Response, PageError> {
    let (text, cursor) = (params.some("q"), params.some("cursor"));
    let found = list(&app.index, &visitor.actor.scope, text.as_deref(), ROWS, cursor.as_deref()).await?;
    let about = context! {
        section => "repositories",
        topics => "repositories,ledgers,findings,triage,schedules,requests",
        rows => shown(&found.rows),
        q => text,
        pages => params.pages("/repositories", found.next.as_deref()),
    };
    Ok(page(Some(&visitor), "repositories.html", "Repositories", about))
}

pub(super) async fn show(
    visitor: Visitor,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let scope = &visitor.actor.scope;
    let missing = || PageError::not_found("repository");
    let row = get(&app.index, scope, &id).await?.ok_or_else(missing)?;
    let repository: RepositoryId = id.parse().map_err(|_| missing())?;
    let head = app.bus.ledger(&repository).head().await?;
    let totals: Vec<Value> = head
        .totals()
        .iter()
        .map(|total| {
            context! {
                state => total.state.name(), rule_set => total.rule_set.as_str(), commits => total.commits,
                oldest => total.oldest.0, newest => total.newest.0,
            }
        })
        .collect();
    let of_it = RequestFilter { repository: Some(id.clone()), ..RequestFilter::default() };
    let about = context! {
        section => "repositories",
        topics => "repositories,ledgers,findings,triage,schedules,requests,events",
        totals,
        requests => shown(&requests::list(&app.index, scope, &of_it, NEWEST, None).await?.rows),
        schedules => shown(&schedules::list(&app.index, scope, Some(&id), NEWEST, None).await?.rows),
        alerts => shown(&alerts::list(&app.index, scope, Some(&id), NEWEST, None).await?.rows),
        row => shown(&row),
        badge => format!("{}/api/v1/repositories/{id}/badge.svg?key={}", app.public_url, app.auth.badge_key(&repository)),
        page_url => format!("{}/repositories/{id}", app.public_url),
    };
    Ok(page(Some(&visitor), "repository.html", &row.name, about))
}

/// Makes commits unknown to the ledger, so that the next request scans them again.
pub(super) async fn forget(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    form: Form,
) -> Result<Redirect, PageError> {
    let id: RepositoryId = text.parse().map_err(|_| PageError::not_found("repository"))?;
    let commits = form.fields.words("commits");
    let is_all = form.fields.text("all") == "1";
    if commits.is_empty() != is_all {
        return Err(PageError::bad("Name commits, or choose all of them: one of the two."));
    }
    Actions::new(&app, &form.visitor.actor).forget(&id, &commits).await?;
    Ok(Redirect::to(&format!("/repositories/{id}")))
}

/// Some names, to choose from.
pub(super) async fn names(app: &App, scope: &Scope) -> Result<Vec<String>, PageError> {
    let scope = scope.clone();
    let names = app.index.read(move |db| {
        let mut query = db.prepare_cached("SELECT id, name FROM repositories ORDER BY name")?;
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let is_seen = |row: &rusqlite::Result<(String, String)>| match row {
            Ok((id, _)) => id.parse().is_ok_and(|id| scope.holds(&id)),
            Err(_) => true,
        };
        rows.filter(is_seen).take(OFFERED).map(|row| row.map(|(_, name)| name)).collect()
    });
    Ok(names.await?)
}

/// The id of the repository with this id or name, if it is one of the scope's.
pub(super) async fn find(app: &App, scope: &Scope, text: &str) -> Result<Option<String>, PageError> {
    let text = text.to_owned();
    let found = app.index.read(move |db| {
        let mut query = db.prepare_cached(
            "SELECT id FROM repositories WHERE id = ?1 UNION ALL SELECT id FROM repositories WHERE name = ?1 LIMIT 1",
        )?;
        query.query_row([&text], |row| row.get::<_, String>(0)).optional()
    });
    Ok(found.await?.filter(|id| id.parse().is_ok_and(|id| scope.holds(&id))))
}
