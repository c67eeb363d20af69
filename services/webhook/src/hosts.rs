//! What each kind of Git host sends: its headers, and how its payload tells of a push.
//!
//! Nothing here is trusted before `signature` has checked it, and little after: names and ids are checked, texts are cut.

mod bitbucket;
mod form;
mod github;
mod gitlab;

use std::borrow::Cow;

use hyper::HeaderMap;
use secretscan_proto::v1::PushedRef;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A kind of Git host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Host {
    /// GitHub.
    Github,
    /// GitLab.
    Gitlab,
    /// Gitea.
    Gitea,
    /// Forgejo.
    Forgejo,
    /// Gogs.
    Gogs,
    /// Bitbucket Cloud.
    Bitbucket,
}

/// What a payload tells of a push.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    /// How the repository is fetched over https.
    pub https: Option<String>,
    /// How it is fetched over ssh.
    pub ssh: Option<String>,
    /// What was created or moved; empty when the push only deletes.
    pub refs: Vec<PushedRef>,
    /// Who pushed, for people to read.
    pub pusher: String,
}

/// What is wrong with a payload. The messages repeat nothing of it.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PayloadError {
    #[error("the body is not JSON, at line {line}, column {column}; choose application/json as content type")]
    NotJson { line: usize, column: usize },
    #[error("the body is a form without the field payload; choose application/json as content type")]
    NoPayload,
    #[error("the payload is not that of a push: another type is expected at line {line}, column {column}")]
    WrongType { line: usize, column: usize },
    #[error("the payload lacks the field {field}")]
    Missing { field: &'static str },
    #[error("the field {field} is not an id of 40 or 64 hexadecimal digits")]
    Id { field: &'static str },
    #[error(
        "the field {field} does not name a branch or a tag that Git accepts, of at most {MAX_NAME} bytes"
    )]
    Name { field: &'static str },
    #[error("the push has more than {MAX_REFS} refs; ask for a scan of the repository")]
    TooManyRefs,
}

impl PayloadError {
    /// Whether it is not even readable, as opposed to saying something else than expected.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::NotJson { .. } | Self::NoPayload)
    }
}

/// Refs of one push. What is stored of them stays well below the largest message that nats-server takes (1 MB).
const MAX_REFS: usize = 1_000;
/// Length of the full name of a ref, in bytes.
const MAX_NAME: usize = 512;
/// Length of who pushed, in characters.
const MAX_PUSHER: usize = 100;

impl Host {
    /// Whether the header of the event says that it may be a push.
    pub fn may_tell_push(self, headers: &HeaderMap) -> bool {
        match self {
            Self::Github => header(headers, "x-github-event") == Some("push"),
            Self::Gitlab => gitlab::may_tell_push(headers),
            Self::Gitea => header(headers, "x-gitea-event") == Some("push"),
            Self::Forgejo => any_header(headers, &["x-forgejo-event", "x-gitea-event"]) == Some("push"),
            Self::Gogs => header(headers, "x-gogs-event") == Some("push"),
            Self::Bitbucket => header(headers, "x-event-key") == Some("repo:push"),
        }
    }

    /// The id of a delivery, which stays the same when it is delivered again.
    pub fn delivery(self, headers: &HeaderMap, body: &[u8]) -> Option<String> {
        let id = match self {
            Self::Github => header(headers, "x-github-delivery"),
            Self::Gitlab => return gitlab::delivery(headers, body),
            Self::Gitea => header(headers, "x-gitea-delivery"),
            Self::Forgejo => any_header(headers, &["x-forgejo-delivery", "x-gitea-delivery"]),
            Self::Gogs => header(headers, "x-gogs-delivery"),
            Self::Bitbucket => header(headers, "x-request-uuid"),
        };
        id.filter(|id| is_id_of_delivery(id)).map(str::to_owned)
    }

    /// The field of a payload that says how the repository is fetched over https.
    pub fn https_field(self) -> &'static str {
        match self {
            Self::Github | Self::Gitea | Self::Forgejo | Self::Gogs => "repository.clone_url",
            Self::Gitlab => "project.git_http_url",
            Self::Bitbucket => bitbucket::PAGE,
        }
    }

    /// The field of a payload that says how the repository is fetched over ssh.
    pub fn ssh_field(self) -> &'static str {
        match self {
            Self::Github | Self::Gitea | Self::Forgejo | Self::Gogs => "repository.ssh_url",
            Self::Gitlab => "project.git_ssh_url",
            Self::Bitbucket => "repository.full_name",
        }
    }

    /// Whether no two pushes have the same payload, since it holds the time of the push. On the others a branch that is
    /// moved there and back and there again gives the same payload twice.
    pub fn dates_payloads(self) -> bool {
        match self {
            Self::Github | Self::Gitea | Self::Forgejo => true,
            Self::Gitlab | Self::Gogs | Self::Bitbucket => false,
        }
    }

    /// Reads a payload; `None` when it tells of something else.
    ///
    /// # Errors
    /// [`PayloadError`] says what is wrong.
    pub fn read(self, headers: &HeaderMap, body: &[u8]) -> Result<Option<Push>, PayloadError> {
        let payload = match header(headers, "content-type") {
            Some(kind) if self == Self::Github && form::is_form(kind) => form::payload(body)?,
            _ => Cow::Borrowed(body),
        };
        match self {
            Self::Github | Self::Gitea | Self::Forgejo | Self::Gogs => github::read(&payload).map(Some),
            Self::Gitlab => gitlab::read(&payload),
            Self::Bitbucket => bitbucket::read(&payload).map(Some),
        }
    }
}

/// The value of a header that is given once and is visible ASCII.
pub(crate) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The first of these headers that is there.
pub(crate) fn any_header<'h>(headers: &'h HeaderMap, names: &[&str]) -> Option<&'h str> {
    names.iter().find(|name| headers.contains_key(**name)).and_then(|name| header(headers, name))
}

/// Hosts send UUIDs. It is logged and stored, so it may hold nothing that means something there.
fn is_id_of_delivery(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:{}".contains(&byte);
    (1..=128).contains(&id.len()) && id.bytes().all(is_plain)
}

fn parse<P: DeserializeOwned>(payload: &[u8]) -> Result<P, PayloadError> {
    // What serde_json says may repeat the payload.
    serde_json::from_slice(payload).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        match error.is_data() {
            true => PayloadError::WrongType { line, column },
            false => PayloadError::NotJson { line, column },
        }
    })
}

fn present<T>(value: Option<T>, field: &'static str) -> Result<T, PayloadError> {
    value.ok_or(PayloadError::Missing { field })
}

/// The fields of a payload that tell of a ref, for messages.
struct Fields {
    name: &'static str,
    before: &'static str,
    after: &'static str,
}

/// A ref that was pushed; `None` when it was deleted, which hosts say with an id of zeros.
fn moved(
    fields: &Fields,
    name: String,
    before: &str,
    after: &str,
) -> Result<Option<PushedRef>, PayloadError> {
    if !is_name(&name) {
        return Err(PayloadError::Name { field: fields.name });
    }
    let before = id(before).ok_or(PayloadError::Id { field: fields.before })?;
    let after = id(after).ok_or(PayloadError::Id { field: fields.after })?;
    Ok((!after.is_empty()).then_some(PushedRef { name, before, after }))
}

/// An id of SHA-1 or SHA-256; empty for zeros.
fn id(text: &str) -> Option<String> {
    let is_id = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_none = text.bytes().all(|byte| byte == b'0');
    is_id.then(|| if is_none { String::new() } else { text.to_ascii_lowercase() })
}

/// Whether it is the full name of a branch or a tag by the rules of git-check-ref-format(1).
fn is_name(name: &str) -> bool {
    let is_forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let short = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"));
    name.len() <= MAX_NAME
        && !name.contains(is_forbidden)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && short.is_some_and(|short| {
            short
                .split('/')
                .all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
        })
}

/// Who pushed, fit to be shown.
fn pusher(name: Option<String>) -> String {
    let name = name.unwrap_or_default();
    name.chars().filter(|c| !c.is_control()).take(MAX_PUSHER).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_git_accepts() {
        for name in
            ["refs/heads/main", "refs/tags/v1.0", "refs/heads/a/b@c", "refs/heads/ünï", "refs/heads/@"]
        {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "main",
            "refs/heads/",
            "refs/heads//a",
            "refs/heads/a/",
            "refs/heads/.a",
            "refs/heads/a..b",
            "refs/heads/a.lock",
            "refs/heads/a.lock/b",
            "refs/heads/a b",
            "refs/heads/a\n",
            "refs/heads/a@{b",
            "refs/heads/a.",
            "refs/notes/a",
            "--upload-pack=x",
        ] {
            assert!(!is_name(name), "{name}");
        }
        assert!(!is_name(&format!("refs/heads/{}", "a".repeat(MAX_NAME))));
    }

    #[test]
    fn ids_are_hexadecimal_and_zeros_are_none() {
        assert_eq!(id(&"AB".repeat(20)), Some("ab".repeat(20)));
        assert_eq!(id(&"1".repeat(64)), Some("1".repeat(64)));
        assert_eq!(id(&"0".repeat(40)), Some(String::new()));
        assert_eq!(id(&"0".repeat(64)), Some(String::new()));
        assert_eq!((id(""), id("0"), id(&"g".repeat(40)), id(&"1".repeat(41))), (None, None, None, None));
    }

    #[test]
    fn a_header_that_is_given_twice_counts_as_none() {
        let mut headers = HeaderMap::new();
        headers.append("x-github-delivery", "a".parse().unwrap());
        assert_eq!(Host::Github.delivery(&headers, b"").as_deref(), Some("a"));
        headers.append("x-github-delivery", "b".parse().unwrap());
        assert_eq!(Host::Github.delivery(&headers, b""), None);
    }

    #[test]
    fn an_id_of_a_delivery_has_no_spaces_and_an_end() {
        assert!(is_id_of_delivery("{72d3162e-cc78-11e3-81ab-4c9367dc0958}"));
        assert!(!is_id_of_delivery("a b") && !is_id_of_delivery("") && !is_id_of_delivery(&"a".repeat(129)));
    }
}
