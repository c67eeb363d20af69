//! Who is asking, and what they may do.
//!
//! Programs show a bearer token. People log in, with a token, at an identity provider or by a link that works once, and
//! have a session in a signed cookie from then on. Both become an [`Actor`] for the time of one request. A cookie goes
//! along whoever made the request, so what writes with one must also bring the token of its session
//! ([`Visitor::csrf`]).

mod access;
mod extract;
mod limit;
mod oidc;
mod once;
mod session;
mod settings;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum_extra::extract::cookie::{Key, SignedCookieJar};
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use secretscan_bus::now;
use secretscan_model::RepositoryId;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use thiserror::Error;
use url::Url;

use access::{Teams, Tokens};
pub use extract::{ClientAddress, Unauthorized, Visitor, keep_session};
use limit::LoginLimit;
pub use oidc::{Callback, OidcError};
use oidc::{Flow, Oidc};
use once::OnceCodes;
use session::{Cookies, Login, Session, json, random};
pub use settings::{AuthSettings, GroupSettings, OidcSettings, TeamSettings, TokenSettings};

use crate::index::{Index, IndexError};

/// Keeps a login at the provider while the person is there.
const FLOW_COOKIE: &str = "secretscan-login";
/// Of a badge's key.
const BADGE_KEY_BYTES: usize = 16;
/// Less can be guessed.
const MIN_KEY_BYTES: usize = 32;

/// What somebody may do. Each may do what those before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May see.
    Viewer,
    /// May decide about findings, and ask for scans.
    Triager,
    /// May do everything.
    Admin,
}

impl Role {
    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Triager => "triager",
            Self::Admin => "admin",
        }
    }
}

/// Which repositories somebody may see and act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every one, and what belongs to none, such as agents and dead letters.
    All,
    /// Those of the person's teams.
    Only(Arc<BTreeSet<RepositoryId>>),
}

impl Scope {
    /// Whether this repository is among them.
    pub fn holds(&self, repository: &RepositoryId) -> bool {
        match self {
            Self::All => true,
            Self::Only(repositories) => repositories.contains(repository),
        }
    }
}

/// Who is asking, for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The name that the login gives.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Where.
    pub scope: Scope,
    /// The address of the client.
    pub address: String,
}

/// The configuration of logins can't be used.
#[derive(Debug, Error)]
pub enum AuthError {
    /// A key has a value that makes no sense.
    #[error("{key} can't be used: {reason}")]
    Setting {
        /// Which one.
        key: String,
        /// Why not, and what to write.
        reason: String,
    },
    /// A file can't be read.
    #[error("{} can't be read; it is named in [auth]", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// Why somebody is not logged in.
#[derive(Debug, Error)]
pub enum LoginError {
    /// There have been too many failures.
    #[error("too many failed logins; wait a minute")]
    TooMany,
    /// There is no such token.
    #[error("nobody has this token; check it for missing characters, or ask who runs the dashboard")]
    NoSuchToken,
    /// The link was used, or is too old.
    #[error("this link was used or is older than ten minutes; start the dashboard again for a new one")]
    UsedLink,
    /// There is no identity provider.
    #[error("there is no identity provider; set auth.oidc")]
    NoProvider,
    /// The login at the provider failed.
    #[error(transparent)]
    Oidc(#[from] OidcError),
}

/// Logins and sessions.
pub struct Auth {
    tokens: Tokens,
    teams: Teams,
    cookies: Cookies,
    limit: LoginLimit,
    once: OnceCodes,
    oidc: Option<Oidc>,
}

impl Auth {
    /// Checks the configuration.
    ///
    /// # Errors
    /// [`AuthError`] names the key or the file that can't be used.
    pub fn new(settings: &AuthSettings, public_url: &str) -> Result<Self, AuthError> {
        let oidc = settings.oidc.clone().map(|oidc| Oidc::new(oidc, public_url)).transpose()?;
        let cookies = Cookies {
            key: signing_key(settings)?,
            is_secure: public_url.starts_with("https://"),
            lifetime: Duration::from_secs(settings.session_s),
            idle: Duration::from_secs(settings.idle_s),
        };
        Ok(Self {
            tokens: Tokens::new(settings)?,
            teams: Teams::new(settings)?,
            cookies,
            limit: LoginLimit::new(settings.failures_per_address, settings.failures_in_all),
            once: OnceCodes::default(),
            oidc,
        })
    }

    /// Whether there are tokens to log in with.
    pub fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Whether there is an identity provider.
    pub fn has_provider(&self) -> bool {
        self.oidc.is_some()
    }

    /// A code that logs in once within ten minutes, as an admin of everything.
    pub fn issue_once(&self) -> String {
        self.once.issue(now())
    }

    /// Logs in with a token.
    ///
    /// # Errors
    /// [`LoginError`] says why not.
    pub fn log_in(
        &self,
        headers: &HeaderMap,
        address: &str,
        token: &str,
    ) -> Result<SignedCookieJar, LoginError> {
        let known = self.checked(address, || {
            self.tokens.find(token).map(|token| token.name.clone()).ok_or(LoginError::NoSuchToken)
        })?;
        Ok(self.logged_in(headers, Login::Token(known)))
    }

    /// Logs in with the code of a link.
    ///
    /// # Errors
    /// [`LoginError`] says why not.
    pub fn log_in_once(
        &self,
        headers: &HeaderMap,
        address: &str,
        code: &str,
    ) -> Result<SignedCookieJar, LoginError> {
        self.checked(address, || self.once.redeem(code, now()).then_some(()).ok_or(LoginError::UsedLink))?;
        Ok(self.logged_in(headers, Login::Local))
    }

    /// Begins a login at the provider; gives where to go.
    ///
    /// # Errors
    /// [`LoginError`] says why not.
    pub async fn begin_oidc(
        &self,
        headers: &HeaderMap,
        next: String,
    ) -> Result<(SignedCookieJar, Url), LoginError> {
        let oidc = self.oidc.as_ref().ok_or(LoginError::NoProvider)?;
        let (url, flow) = oidc.begin(next, now()).await?;
        let cookie = self.cookies.cookie(FLOW_COOKIE, json(&flow));
        Ok((self.cookies.jar(headers).add(cookie), url))
    }

    /// Ends a login at the provider; gives the page to show.
    ///
    /// # Errors
    /// [`LoginError`] says why not.
    pub async fn finish_oidc(
        &self,
        headers: &HeaderMap,
        address: &str,
        back: Callback,
    ) -> Result<(SignedCookieJar, String), LoginError> {
        let oidc = self.oidc.as_ref().ok_or(LoginError::NoProvider)?;
        if !self.limit.allows(address, now()) {
            return Err(LoginError::TooMany);
        }
        let jar = self.cookies.jar(headers);
        let flow = jar.get(FLOW_COOKIE).and_then(|flow| serde_json::from_str::<Flow>(flow.value()).ok());
        let finished = match flow {
            Some(flow) => {
                let next = flow.next.clone();
                oidc.finish(flow, back, now()).await.map(|login| (login, next))
            }
            None => Err(OidcError::NotBegun),
        };
        let (login, next) = finished.inspect_err(|_| self.limit.failed(address, now()))?;
        let jar = jar.remove(self.cookies.cookie(FLOW_COOKIE, String::new()));
        Ok((self.cookies.with_session(jar, &Session::new(login, now())), next))
    }

    /// What the address of a repository's badge holds, so that a README can show it without a token: it opens nothing else. It
    /// lives as long as the key of the sessions.
    pub fn badge_key(&self, repository: &RepositoryId) -> String {
        BASE64URL_NOPAD.encode(&self.badge_mac(repository).finalize().into_bytes()[..BADGE_KEY_BYTES])
    }

    /// Whether this is it.
    pub fn is_badge_key(&self, repository: &RepositoryId, shown: &str) -> bool {
        let shown = BASE64URL_NOPAD.decode(shown.as_bytes()).unwrap_or_default();
        shown.len() == BADGE_KEY_BYTES && self.badge_mac(repository).verify_truncated_left(&shown).is_ok()
    }

    fn badge_mac(&self, repository: &RepositoryId) -> Hmac<Sha256> {
        let key = self.cookies.key.signing();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.update(b"badge ");
        mac.update(repository.as_str().as_bytes());
        mac
    }

    /// Ends the session of this browser.
    pub fn log_out(&self, headers: &HeaderMap) -> SignedCookieJar {
        self.cookies.without_session(self.cookies.jar(headers))
    }

    fn logged_in(&self, headers: &HeaderMap, login: Login) -> SignedCookieJar {
        self.cookies.with_session(self.cookies.jar(headers), &Session::new(login, now()))
    }

    fn checked<T>(
        &self,
        address: &str,
        check: impl FnOnce() -> Result<T, LoginError>,
    ) -> Result<T, LoginError> {
        if !self.limit.allows(address, now()) {
            return Err(LoginError::TooMany);
        }
        check().inspect_err(|_| self.limit.failed(address, now()))
    }

    /// Who has shown this token.
    async fn of_token(&self, token: &str, address: &str, index: &Index) -> Result<Option<Actor>, IndexError> {
        if !self.limit.allows(address, now()) {
            return Ok(None);
        }
        let Some(known) = self.tokens.find(token) else {
            self.limit.failed(address, now());
            return Ok(None);
        };
        self.actor(known.name.clone(), known.role, &known.teams, address, index).await.map(Some)
    }

    /// Whose session this is.
    async fn of_session(
        &self,
        session: &Session,
        address: &str,
        index: &Index,
    ) -> Result<Option<Actor>, IndexError> {
        let (name, role, teams) = match &session.login {
            Login::Token(name) => match self.tokens.named(name) {
                Some(token) => (token.name.clone(), token.role, token.teams.as_slice()),
                None => return Ok(None),
            },
            Login::Person { name, role, teams } => (name.clone(), *role, teams.as_slice()),
            Login::Local => ("local".to_owned(), Role::Admin, [].as_slice()),
        };
        self.actor(name, role, teams, address, index).await.map(Some)
    }

    async fn actor(
        &self,
        name: String,
        role: Role,
        teams: &[String],
        address: &str,
        index: &Index,
    ) -> Result<Actor, IndexError> {
        let scope = self.teams.scope(teams, index).await?;
        Ok(Actor { name, role, scope, address: address.to_owned() })
    }
}

/// The key of the file, or a random one: then a session ends with the process.
fn signing_key(settings: &AuthSettings) -> Result<Key, AuthError> {
    let bytes = match &settings.session_key_file {
        Some(path) => fs::read(path).map_err(|source| AuthError::File { path: path.clone(), source })?,
        None => random().into_bytes(),
    };
    if bytes.len() < MIN_KEY_BYTES {
        let reason =
            format!("it has {} bytes and needs {MIN_KEY_BYTES}: head -c 32 /dev/urandom > FILE", bytes.len());
        return Err(AuthError::Setting { key: "auth.session_key_file".into(), reason });
    }
    let part = |label: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(&bytes).expect("HMAC takes keys of any length");
        mac.update(label);
        mac.finalize().into_bytes().to_vec()
    };
    Ok(Key::from(&[part(b"secretscan session 1"), part(b"secretscan session 2")].concat()))
}
