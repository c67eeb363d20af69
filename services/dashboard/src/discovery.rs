//! Owners at Git hosts whose repositories can be listed, each with its address and token, as the configuration names them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secretscan_hosts::{ListError, OwnerKind, Page, Source};
use secretscan_http::{Http, TlsError, TokenError, UrlError, check_url, read_token};
use serde::Deserialize;
use thiserror::Error;

/// An answer of the host takes no longer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Somebody waits for the answer.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// One of `[discovery.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscoverySettings {
    /// What the owner is, and of which kind of host.
    pub kind: OwnerKind,
    /// The owner, as the host calls it.
    pub owner: String,
    /// Where the host's interface is; by kind when absent.
    pub api: Option<String>,
    /// A file with a token that may list the repositories.
    pub token_file: Option<PathBuf>,
}

/// Why discovery can't be set up.
#[derive(Debug, Error)]
pub enum DiscoveryError {
    /// The URL can't be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// This kind of host has no usual address.
    #[error("this kind of host has no usual address; set discovery.{name}.api")]
    NoAddress {
        /// Of which owner.
        name: String,
    },
    /// The token can't be used.
    #[error("the token of discovery.{name} can't be used")]
    Token {
        /// Of which owner.
        name: String,
        /// Why not.
        #[source]
        source: TokenError,
    },
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Owners by their names in the configuration.
pub struct Discovery {
    http: Http,
    sources: BTreeMap<String, Source>,
}

impl Discovery {
    /// Reads the tokens.
    ///
    /// # Errors
    /// [`DiscoveryError`] for an address or a token that can't be used.
    pub fn new(settings: &BTreeMap<String, DiscoverySettings>) -> Result<Self, DiscoveryError> {
        let source = |(name, settings): (&String, &DiscoverySettings)| {
            let no_address = || DiscoveryError::NoAddress { name: name.clone() };
            let api = settings.api.as_deref().or(settings.kind.default_api()).ok_or_else(no_address)?;
            let unread = |source| DiscoveryError::Token { name: name.clone(), source };
            let source = Source {
                kind: settings.kind,
                api: check_url(&format!("discovery.{name}.api"), api, false)?,
                owner: settings.owner.clone(),
                token: settings.token_file.as_deref().map(read_token).transpose().map_err(unread)?,
                max_wait: MAX_WAIT,
            };
            Ok((name.clone(), source))
        };
        let sources = settings.iter().map(source).collect::<Result<_, DiscoveryError>>()?;
        Ok(Self { http: Http::new(TIMEOUT)?, sources })
    }

    /// A page of what an owner has: the first, or the one that another page calls its next. `None` when no owner has this
    /// name.
    ///
    /// # Errors
    /// [`ListError`] when the host does not list it.
    pub async fn page(&self, name: &str, next: Option<&str>) -> Result<Option<Page>, ListError> {
        match self.sources.get(name) {
            Some(source) => source.page(&self.http, next).await.map(Some),
            None => Ok(None),
        }
    }
}
