//! Sessions: all of a session stands in its cookie, signed, so that every replica knows it and none has to keep it.

use std::time::Duration;

use axum::http::HeaderMap;
use axum_extra::extract::cookie::{Cookie, Key, SameSite, SignedCookieJar};
use secretscan_model::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Role;

/// A session is signed anew when its last click is that long ago: not with each answer.
const RENEW_AFTER_MS: i64 = 60_000;

/// How somebody has logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Login {
    /// With the token of this name: what it may do is what the configuration says now.
    Token(String),
    /// At the identity provider, which is not asked again before the session ends.
    Person { name: String, role: Role, teams: Vec<String> },
    /// With the link that the start of this process has shown.
    Local,
}

/// Somebody who has logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    pub login: Login,
    /// What each form of the session brings back, since a cookie is sent along whoever made the form.
    pub csrf: String,
    pub started: Timestamp,
    pub last_click: Timestamp,
}

impl Session {
    pub fn new(login: Login, now: Timestamp) -> Self {
        Self { login, csrf: random(), started: now, last_click: now }
    }
}

/// Reads and writes cookies.
pub(super) struct Cookies {
    pub key: Key,
    /// Whether they only go over TLS.
    pub is_secure: bool,
    pub lifetime: Duration,
    pub idle: Duration,
}

impl Cookies {
    fn session_name(&self) -> &'static str {
        // With this prefix browsers insist on Secure, on the path and on the host alone (RFC 6265bis).
        if self.is_secure { "__Host-secretscan" } else { "secretscan" }
    }

    pub fn jar(&self, headers: &HeaderMap) -> SignedCookieJar {
        SignedCookieJar::from_headers(headers, self.key.clone())
    }

    /// The session that a request shows, unless it has ended.
    pub fn session(&self, headers: &HeaderMap, now: Timestamp) -> Option<Session> {
        let cookie = self.jar(headers).get(self.session_name())?;
        let session: Session = serde_json::from_str(cookie.value()).ok()?;
        let is_within =
            |since: Timestamp, limit: Duration| i128::from(now.0 - since.0) < limit.as_millis() as i128;
        (is_within(session.started, self.lifetime) && is_within(session.last_click, self.idle))
            .then_some(session)
    }

    /// The session with its new last click, when it is time to write that down.
    pub fn renewed(&self, session: Session, now: Timestamp) -> Option<Session> {
        (now.0 - session.last_click.0 >= RENEW_AFTER_MS).then_some(Session { last_click: now, ..session })
    }

    pub fn with_session(&self, jar: SignedCookieJar, session: &Session) -> SignedCookieJar {
        jar.add(self.cookie(self.session_name(), json(session)))
    }

    pub fn without_session(&self, jar: SignedCookieJar) -> SignedCookieJar {
        jar.remove(self.cookie(self.session_name(), String::new()))
    }

    /// A cookie of ours. It lives as long as the browser, and what it says not even that long.
    pub fn cookie(&self, name: &'static str, value: String) -> Cookie<'static> {
        Cookie::build((name, value))
            .http_only(true)
            // Not strict: a link in a chat, or the way back from the identity provider, must find the session.
            .same_site(SameSite::Lax)
            .secure(self.is_secure)
            .path("/")
            .build()
    }
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a session is text and numbers")
}

/// 244 random bits in hexadecimal.
pub(super) fn random() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};
    use axum::response::IntoResponse;

    use super::*;

    fn cookies(is_secure: bool) -> Cookies {
        let (lifetime, idle) = (Duration::from_secs(100), Duration::from_secs(10));
        Cookies { key: Key::from(&[7; 64]), is_secure, lifetime, idle }
    }

    /// What a browser sends back, and what it was told.
    fn sent_back(cookies: &Cookies, session: &Session) -> (HeaderMap, String) {
        let jar = cookies.with_session(cookies.jar(&HeaderMap::new()), session);
        let told = jar.into_response().headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_str(told.split(';').next().unwrap()).unwrap());
        (headers, told)
    }

    #[test]
    fn a_session_ends_after_its_life_and_when_idle() {
        let cookies = cookies(true);
        let mut session = Session::new(Login::Token("ada".into()), Timestamp(0));
        let (headers, told) = sent_back(&cookies, &session);
        assert!(told.starts_with("__Host-secretscan="));
        for attribute in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
            assert!(told.contains(attribute), "{told} lacks {attribute}");
        }
        assert_eq!(cookies.session(&headers, Timestamp(9_999)), Some(session.clone()));
        assert_eq!(cookies.session(&headers, Timestamp(10_000)), None, "idle");
        session.last_click = Timestamp(99_000);
        let (headers, _) = sent_back(&cookies, &session);
        assert!(cookies.session(&headers, Timestamp(99_999)).is_some());
        assert_eq!(cookies.session(&headers, Timestamp(100_000)), None, "over");
    }

    #[test]
    fn what_is_not_signed_here_is_no_session() {
        let cookies = cookies(false);
        let session = Session::new(Login::Local, Timestamp(0));
        let (mut headers, told) = sent_back(&cookies, &session);
        assert!(!told.contains("Secure"));
        let of_another = Cookies { key: Key::from(&[8; 64]), ..self::cookies(false) };
        assert_eq!(of_another.session(&headers, Timestamp(0)), None);
        let changed = headers[header::COOKIE].to_str().unwrap().replace("local", "lokal");
        headers.insert(header::COOKIE, HeaderValue::from_str(&changed).unwrap());
        assert_eq!(cookies.session(&headers, Timestamp(0)), None);
    }
}
