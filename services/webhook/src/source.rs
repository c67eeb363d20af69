//! A configured source: who may deliver, and for which repositories.

use std::path::{Path, PathBuf};

use secretscan_model::{RepositoryUri, UriError, UriPolicy};

use crate::config::{SourceSettings, Transport};
use crate::hosts::{Host, PayloadError, Push};
use crate::signature::Secret;

/// Shorter secrets are guessed.
const MIN_SECRET_BYTES: usize = 16;

/// A section `[sources.NAME]`, checked, with its secrets.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) host: Host,
    /// One, or two while the secret is replaced.
    pub(crate) secrets: Vec<Secret>,
    transport: Transport,
    /// What the URIs of its repositories begin with, as they are fetched.
    base: String,
}

/// Why a source can't be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SourceError {
    #[error(
        "no source is configured; add a section [sources.NAME] for each host that may deliver (see --help)"
    )]
    None,
    #[error("the source name {name:?} is not 1 to 64 of A-Z, a-z, 0-9, _ and -")]
    Name { name: String },
    #[error("sources.{name}: the secret file {} can't be read", path.display())]
    Secret { name: String, path: PathBuf, source: std::io::Error },
    #[error(
        "sources.{name}: the secret in {} has fewer than {MIN_SECRET_BYTES} bytes; make one with `openssl rand -hex 32`",
        path.display()
    )]
    ShortSecret { name: String, path: PathBuf },
    #[error("sources.{name}: the signing token in {} is not whsec_ and base64", path.display())]
    SigningToken { name: String, path: PathBuf },
    #[error("sources.{name}.base_url is not what a clone URL begins with, up to and with a / (or : for ssh)")]
    Base { name: String, source: Option<UriError> },
}

impl Source {
    /// Reads the secrets of a source.
    pub(crate) fn load(
        name: &str,
        settings: &SourceSettings,
        policy: UriPolicy,
    ) -> Result<Self, SourceError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !(1..=64).contains(&name.len()) || !name.bytes().all(is_plain) {
            return Err(SourceError::Name { name: name.to_owned() });
        }
        let files = [Some(&settings.secret_file), settings.previous_secret_file.as_ref()];
        let secrets = files.into_iter().flatten().map(|path| secret(name, settings.kind, path));
        Ok(Self {
            name: name.to_owned(),
            host: settings.kind,
            secrets: secrets.collect::<Result<_, _>>()?,
            transport: settings.clone,
            base: base(name, &settings.base_url, policy)?,
        })
    }

    /// The clone URL of a push that this source uses.
    pub(crate) fn clone_url<'p>(&self, push: &'p Push) -> Result<&'p str, PayloadError> {
        let (url, field) = match self.transport {
            Transport::Https => (&push.https, self.host.https_field()),
            Transport::Ssh => (&push.ssh, self.host.ssh_field()),
        };
        url.as_deref().ok_or(PayloadError::Missing { field })
    }

    /// Whether pushes to a repository may come from it.
    pub(crate) fn may_tell_of(&self, uri: &RepositoryUri) -> bool {
        uri.fetch().starts_with(&self.base)
    }
}

fn secret(name: &str, host: Host, path: &Path) -> Result<Secret, SourceError> {
    let (name, path) = (name.to_owned(), path.to_owned());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(SourceError::Secret { name, path, source }),
    };
    let text = text.trim();
    if text.len() < MIN_SECRET_BYTES {
        return Err(SourceError::ShortSecret { name, path });
    }
    Secret::new(host, text).ok_or(SourceError::SigningToken { name, path })
}

/// A base URL in the form that URIs are compared in: as that of a repository right below it, without its name.
fn base(name: &str, url: &str, policy: UriPolicy) -> Result<String, SourceError> {
    let failed = |source| SourceError::Base { name: name.to_owned(), source };
    if !url.ends_with(['/', ':']) {
        return Err(failed(None));
    }
    let below = RepositoryUri::parse(&format!("{url}x"), policy).map_err(|error| failed(Some(error)))?;
    let base = below.fetch().strip_suffix('x').filter(|base| base.ends_with('/'));
    base.map(str::to_owned).ok_or_else(|| failed(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base_of(url: &str) -> Result<String, SourceError> {
        base("s", url, UriPolicy::default())
    }

    #[test]
    fn a_base_is_that_of_whole_parts_of_a_path() {
        assert_eq!(base_of("https://Git.Example:443/").unwrap(), "https://git.example/");
        assert_eq!(base_of("https://git.example/owner/").unwrap(), "https://git.example/owner/");
        assert_eq!(base_of("git@git.example:").unwrap(), "ssh://git@git.example/");
        assert_eq!(base_of("git@git.example:owner/").unwrap(), "ssh://git@git.example/owner/");
        assert_eq!(base_of("ssh://git@git.example:2222/").unwrap(), "ssh://git@git.example:2222/");
        for wrong in ["https://git.example", "https://git.example/owner", "http://git.example/", "/srv/", ""]
        {
            assert!(base_of(wrong).is_err(), "{wrong}");
        }
    }
}
