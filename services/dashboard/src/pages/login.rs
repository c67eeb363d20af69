//! The way in and out.

use std::sync::Arc;

use axum::extract::{Query, RawForm, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::cookie::SignedCookieJar;
use minijinja::context;
use serde::Deserialize;

use super::error::PageError;
use super::form::{Form, local_path};
use super::render::page;
use crate::auth::{Callback, ClientAddress, LoginError};
use crate::state::App;

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    next: String,
    #[serde(default)]
    code: String,
}

pub(super) async fn show(State(app): State<Arc<App>>, Query(asked): Query<Asked>) -> Response {
    form(&app, &asked.next, None).into_response()
}

fn form(app: &App, next: &str, error: Option<&LoginError>) -> impl IntoResponse + use<> {
    let about = context! {
        next => local_path(next, "/"),
        error => error.map(ToString::to_string),
        has_tokens => app.auth.has_tokens(),
        has_provider => app.auth.has_provider(),
    };
    page(None, "login.html", "Log in", about)
}

pub(super) async fn with_token(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    RawForm(body): RawForm,
) -> Response {
    // There is no session yet whose token the form could bring back. Browsers say where a form stands.
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if site.is_some_and(|site| !["same-origin", "none"].contains(&site)) {
        let text = "This login comes from a page of somebody else.";
        return PageError::new(StatusCode::FORBIDDEN, "Not from here", text).into_response();
    }
    let (mut token, mut next) = (String::new(), String::new());
    for (name, value) in url::form_urlencoded::parse(&body) {
        match &*name {
            "token" => token = value.into_owned(),
            "next" => next = value.into_owned(),
            _ => {}
        }
    }
    match app.auth.log_in(&headers, &address, &token) {
        Ok(jar) => welcome(jar, &next),
        Err(error) => refused(&app, &address, &next, &error),
    }
}

pub(super) async fn once(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Response {
    match app.auth.log_in_once(&headers, &address, &asked.code) {
        Ok(jar) => welcome(jar, "/"),
        Err(error) => refused(&app, &address, "", &error),
    }
}

pub(super) async fn begin_oidc(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Response {
    match app.auth.begin_oidc(&headers, local_path(&asked.next, "/")).await {
        Ok((jar, url)) => (jar, Redirect::to(url.as_str())).into_response(),
        Err(error) => refused(&app, &address, &asked.next, &error),
    }
}

pub(super) async fn finish_oidc(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    Query(back): Query<Callback>,
) -> Response {
    match app.auth.finish_oidc(&headers, &address, back).await {
        Ok((jar, next)) => welcome(jar, &next),
        Err(error) => refused(&app, &address, "", &error),
    }
}

pub(super) async fn out(State(app): State<Arc<App>>, headers: HeaderMap, _: Form) -> Response {
    (app.auth.log_out(&headers), Redirect::to("/login")).into_response()
}

fn welcome(jar: SignedCookieJar, next: &str) -> Response {
    (jar, Redirect::to(&local_path(next, "/"))).into_response()
}

fn refused(app: &App, address: &str, next: &str, error: &LoginError) -> Response {
    tracing::warn!(address, %error, "a login failed");
    let status = match error {
        LoginError::TooMany => StatusCode::TOO_MANY_REQUESTS,
        LoginError::NoSuchToken | LoginError::UsedLink | LoginError::Oidc(_) => StatusCode::UNAUTHORIZED,
        LoginError::NoProvider => StatusCode::NOT_FOUND,
    };
    (status, [(header::RETRY_AFTER, "60")], form(app, next, Some(error))).into_response()
}
