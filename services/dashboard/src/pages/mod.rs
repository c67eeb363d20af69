//! Web pages, made here and not in the browser: each works without its script, which only keeps them up to date.
//!
//! A module per page, its markup in `templates/`. Nothing comes from another host, and nothing runs that is not in
//! `assets/`: the browser is told so.

mod assets;
mod chart;
mod error;
mod findings;
mod form;
mod live;
mod login;
mod operations;
mod overview;
mod render;
mod repositories;
mod requests;
mod schedules;

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Router, middleware};
use secretscan_bus::Stop;

use crate::auth::keep_session;
use crate::state::App;

/// A form of a page is small; a bulk decision names at most a page of findings.
const MAX_FORM_BYTES: usize = 256 << 10;

const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// All pages.
pub(crate) fn router(app: &Arc<App>, stop: &Stop) -> Router<Arc<App>> {
    Router::new()
        .route("/", get(overview::show))
        .route("/findings", get(findings::index))
        .route("/findings/shared", get(findings::groups))
        .route("/findings/triage", post(findings::decide))
        .route("/findings/{repository}/{id}", get(findings::show))
        .route("/requests", get(requests::index).post(requests::create))
        .route("/requests/new", get(requests::new))
        .route("/requests/check", get(requests::check))
        .route("/requests/{id}", get(requests::show))
        .route("/requests/{id}/cancel", post(requests::cancel))
        .route("/requests/{id}/retry", post(requests::retry))
        .route("/repositories", get(repositories::index))
        .route("/repositories/{id}", get(repositories::show))
        .route("/repositories/{id}/forget", post(repositories::forget))
        .route("/schedules", get(schedules::index).post(schedules::create))
        .route("/schedules/check", get(schedules::check))
        .route("/schedules/{id}/{verb}", post(schedules::change))
        .route("/agents", get(operations::agents))
        .route("/dead-letters", get(operations::dead_letters))
        .route("/dead-letters/{number}/{verb}", post(operations::change_dead_letter))
        .route("/audit", get(operations::audit))
        .route("/login", get(login::show).post(login::with_token))
        .route("/login/once", get(login::once))
        .route("/login/oidc", get(login::begin_oidc))
        .route("/login/oidc/callback", get(login::finish_oidc))
        .route("/logout", post(login::out))
        .route("/live", get(live::stream))
        .fallback(error::not_found)
        .layer(axum::extract::DefaultBodyLimit::max(MAX_FORM_BYTES))
        .layer(axum::Extension(stop.clone()))
        .layer(middleware::from_fn_with_state(app.clone(), keep_session))
        .layer(middleware::map_response(keep_private))
        .route("/assets/{version}/{name}", get(assets::get))
        .layer(middleware::map_response_with_state(app.clone(), protect))
}

/// What one person sees is kept by no cache.
async fn keep_private(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn protect(
    axum::extract::State(app): axum::extract::State<Arc<App>>,
    mut response: Response,
) -> Response {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if app.public_url.starts_with("https://") {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    response
}
