//! From a request to who sent it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use secretscan_bus::{chain, now};
use subtle::ConstantTimeEq;

use super::Actor;
use crate::state::App;

/// Where scripts that write put the token of their session.
const CSRF_HEADER: &str = "x-csrf-token";
/// What the pages' script reads by itself says so: it is no click.
const LIVE_HEADER: &str = "x-live";

/// Where a request comes from.
pub struct ClientAddress(pub String);

impl FromRequestParts<Arc<App>> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        // The last entry is what the proxy in front says; those before are what the client says.
        let forwarded = parts.headers.get_all("x-forwarded-for").iter().next_back();
        let forwarded = forwarded.and_then(|value| value.to_str().ok()?.rsplit(',').next());
        if let Some(address) = forwarded.filter(|_| app.is_behind_proxy) {
            return Ok(Self(address.trim().to_owned()));
        }
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(peer.map(|peer| peer.0.ip().to_string()).unwrap_or_default()))
    }
}

/// Who is asking can't be told, or did not ask himself.
#[derive(Debug)]
pub enum Unauthorized {
    /// There is neither a token nor a session that is valid.
    Nobody,
    /// It writes with a cookie, and without the token of its session.
    NoCsrfToken,
    /// The repositories of the teams can't be read.
    Index(String),
}

impl Unauthorized {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Nobody => StatusCode::UNAUTHORIZED,
            Self::NoCsrfToken => StatusCode::FORBIDDEN,
            Self::Index(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What to tell, and what to do about it.
    pub fn detail(&self) -> &str {
        match self {
            Self::Nobody => "show a valid token: Authorization: Bearer TOKEN, or log in",
            Self::NoCsrfToken => "what writes with a session must send its token in the header X-CSRF-Token",
            Self::Index(reason) => reason,
        }
    }
}

impl IntoResponse for Unauthorized {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = serde_json::json!({
            "type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(),
            "detail": self.detail(),
        });
        let headers =
            [(header::CONTENT_TYPE, "application/problem+json"), (header::WWW_AUTHENTICATE, "Bearer")];
        (status, headers, body.to_string()).into_response()
    }
}

/// Somebody who looks at pages, or a script of theirs.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Who it is.
    pub actor: Actor,
    /// What each form must bring back.
    pub csrf: String,
}

impl Visitor {
    async fn of(headers: &HeaderMap, address: &str, app: &App) -> Result<Self, Unauthorized> {
        let session = app.auth.cookies.session(headers, now()).ok_or(Unauthorized::Nobody)?;
        let actor = app.auth.of_session(&session, address, &app.index).await;
        let actor = actor.map_err(|error| Unauthorized::Index(chain(&error)))?.ok_or(Unauthorized::Nobody)?;
        Ok(Self { actor, csrf: session.csrf })
    }

    /// Whether this is the token of the session.
    pub fn has_csrf(&self, shown: &str) -> bool {
        self.csrf.as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

impl FromRequestParts<Arc<App>> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let Ok(ClientAddress(address)) = ClientAddress::from_request_parts(parts, app).await;
        Self::of(&parts.headers, &address, app).await.map_err(|refused| match refused {
            // After the login people are where they wanted to go; what they wanted to send they send again.
            Unauthorized::Nobody
                if parts.method == Method::GET && !parts.headers.contains_key(LIVE_HEADER) =>
            {
                let wanted = parts.uri.path_and_query().map_or("/", |path| path.as_str());
                let next: String = url::form_urlencoded::byte_serialize(wanted.as_bytes()).collect();
                Redirect::to(&format!("/login?next={next}")).into_response()
            }
            Unauthorized::Nobody if parts.method != Method::GET => Redirect::to("/login").into_response(),
            other => other.into_response(),
        })
    }
}

impl FromRequestParts<Arc<App>> for Actor {
    type Rejection = Unauthorized;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Unauthorized> {
        let Ok(ClientAddress(address)) = ClientAddress::from_request_parts(parts, app).await;
        let shown = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some(shown) = shown {
            let token = shown.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let (_, token) = token.ok_or(Unauthorized::Nobody)?;
            let actor = app.auth.of_token(token, &address, &app.index).await;
            return actor.map_err(|error| Unauthorized::Index(chain(&error)))?.ok_or(Unauthorized::Nobody);
        }
        let visitor = Visitor::of(&parts.headers, &address, app).await?;
        let csrf = parts.headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !parts.method.is_safe() && !visitor.has_csrf(csrf) {
            return Err(Unauthorized::NoCsrfToken);
        }
        Ok(visitor.actor)
    }
}

/// Writes down that somebody is still there, as a layer of the pages.
pub async fn keep_session(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let is_click = !headers.contains_key(LIVE_HEADER) && !request.uri().path().starts_with("/live");
    let cookies = &app.auth.cookies;
    let session = cookies.session(headers, now()).filter(|_| is_click);
    let renewed = session.and_then(|session| cookies.renewed(session, now()));
    let jar = renewed.map(|session| cookies.with_session(cookies.jar(headers), &session));
    let response = next.run(request).await;
    // A login or a logout has the last word.
    match jar {
        Some(jar) if !response.headers().contains_key(header::SET_COOKIE) => (jar, response).into_response(),
        _ => response,
    }
}
