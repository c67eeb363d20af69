//! Why the notifier does not start.

use std::path::{Path, PathBuf};

use secretscan_detect::Secret;
use thiserror::Error;

use crate::message::{RouteError, TemplateError};
use secretscan_http::{TlsError, UrlError};

/// Why the notifier does not start.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum StartError {
    #[error("{what} can't be read from {}", path.display())]
    Secret { what: String, path: PathBuf, source: std::io::Error },
    #[error("{what} is empty: {}", path.display())]
    Empty { what: String, path: PathBuf },
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("the name of a channel has the characters A-Z a-z 0-9 _ -, found {name:?}")]
    ChannelName { name: String },
    #[error("{what} is configured twice: {name:?}")]
    Twice { what: &'static str, name: String },
    #[error(
        "the secret of the channel {name} is not whsec_ and base64 of 24 to 64 bytes; make one with: \
         echo whsec_$(head -c 32 /dev/urandom | base64)"
    )]
    SigningKey { name: String },
    #[error("the mail channel {name} is configured wrongly: {what}")]
    Mail { name: String, what: String },
    #[error("Bitbucket takes no status without a link; set link.base")]
    NoLink,
}

/// Reads a secret from a file, without the white space around it.
pub(crate) fn read_secret(what: &str, path: &Path) -> Result<Secret, StartError> {
    let failed = |source| StartError::Secret { what: what.to_owned(), path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    match text.trim() {
        "" => Err(StartError::Empty { what: what.to_owned(), path: path.to_owned() }),
        secret => Ok(Secret::new(secret.as_bytes())),
    }
}
