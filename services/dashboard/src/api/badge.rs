//! `/repositories/{id}/badge.svg`: how a repository stands, for its README.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use secretscan_model::RepositoryId;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Problem;
use super::extract::{Path, Query};
use super::repositories::known;
use crate::auth::{Actor, Scope, Unauthorized};
use crate::index::queries::Severities;
use crate::state::App;

const LABEL: &str = "secrets";
/// The width of a character of the font, roughly, and of what is left and right of a text, in pixels.
const CHARACTER: usize = 7;
const PADDING: usize = 10;

/// Who may see it without a token.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BadgeQuery {
    /// The key of this badge, as its repository's page shows it.
    key: Option<String>,
}

/// A picture of how many open findings a repository has
#[utoipa::path(get, path = "/repositories/{id}/badge.svg", tag = "repositories",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,128}$"), BadgeQuery),
    responses((status = 200, body = String, content_type = "image/svg+xml"),
        (status = 304, description = "As If-None-Match says"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn badge(
    actor: Result<Actor, Unauthorized>,
    State(app): State<Arc<App>>,
    Path(id): Path<RepositoryId>,
    Query(query): Query<BadgeQuery>,
) -> Result<Response, Response> {
    let has_key = query.key.is_some_and(|key| app.auth.is_badge_key(&id, &key));
    let scope = if has_key { Scope::All } else { actor.map_err(IntoResponse::into_response)?.scope };
    let repository = known(&scope, &app, &id).await.map_err(IntoResponse::into_response)?;
    let (text, colour) = match repository.last_scan {
        None => ("not scanned".to_owned(), "#666"),
        Some(_) => words(repository.open),
    };
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], picture(&text, colour)).into_response())
}

/// What the badge says, and its colour: white on it has a contrast of 4.5 at least.
fn words(open: Severities) -> (String, &'static str) {
    match (open.sum(), open.critical + open.high) {
        (0, _) => ("none open".to_owned(), "#2a7a2a"),
        (sum, 0) => (format!("{sum} open"), "#96590a"),
        (sum, _) => (format!("{sum} open"), "#b3261e"),
    }
}

fn picture(text: &str, colour: &str) -> String {
    let (left, right) = (LABEL.len() * CHARACTER + PADDING, text.len() * CHARACTER + PADDING);
    let (width, middle_left, middle_right) = (left + right, left / 2, left + right / 2);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{LABEL}: {text}">
<title>{LABEL}: {text}</title>
<rect width="{width}" height="20" rx="3" fill="{colour}"/><rect width="{left}" height="20" rx="3" fill="#444"/>
<g fill="#fff" text-anchor="middle" font-family="Verdana,Geneva,sans-serif" font-size="11">
<text x="{middle_left}" y="14">{LABEL}</text><text x="{middle_right}" y="14">{text}</text></g></svg>
"##
    )
}
