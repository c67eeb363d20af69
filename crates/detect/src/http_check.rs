//! How to ask a provider whether a secret is in use: what a rule says of it. Nothing here sends anything.
//!
//! Rules decide where secrets go, so what could lead one astray is refused when they load: anything but https, a host
//! that is not there in plain letters, headers that change where a request ends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::error::RuleError;
use crate::secret::Secret;
use crate::syntax::Source;

const SCHEME: &str = "https://";
const OPEN: &str = "{{";
const CLOSE: &str = "}}";
const SECRET: &str = "secret";
/// The client sets these itself.
const RESERVED_HEADERS: [&str; 4] = ["connection", "content-length", "host", "transfer-encoding"];
/// A provider that answers so says nothing about the secret.
const TOO_MANY_REQUESTS: u16 = 429;

/// One HTTP request with the secret in it, and what the answers mean. An answer that means both or neither says
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpCheck {
    /// How it is sent.
    pub method: Method,
    /// The host, in lower case and without the port, as the url has it.
    pub host: String,
    /// Where it is sent: an https URL, its host without a placeholder.
    pub url: Template,
    /// Header names and values.
    pub headers: Vec<(String, Template)>,
    /// What is sent with [`Method::Post`].
    pub body: Option<Template>,
    /// When not empty, only secrets that start with one of these are asked for.
    pub prefixes: Vec<String>,
    /// The secret is in use.
    pub valid: Answer,
    /// The provider does not know it, or no longer.
    pub revoked: Option<Answer>,
}

impl HttpCheck {
    /// Whether the provider can be asked about this secret.
    pub fn is_for(&self, secret: &Secret) -> bool {
        let has = |prefix: &String| secret.expose().starts_with(prefix.as_bytes());
        self.prefixes.is_empty() || self.prefixes.iter().any(has)
    }
}

/// How a request is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Without a body; the default.
    #[default]
    Get,
    /// With a body, which may be empty.
    Post,
}

/// An answer of one meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// It has one of these.
    pub status: Vec<u16>,
    /// When not empty, its body has one of these texts. White space counts on neither side.
    pub contains: Vec<String>,
}

/// A text with places for the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template(pub Vec<Piece>);

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    /// A text that stays as it is.
    Text(String),
    /// `{{secret}}`: the secret, as the place needs it.
    Secret,
    /// `{{basic:secret:PASSWORD}}` or `{{basic:USER:secret}}`, in headers only: Base64 of user, colon and password,
    /// for HTTP basic authentication (RFC 7617).
    Basic {
        /// What stands before the secret.
        before: String,
        /// What stands after it.
        after: String,
    },
}

impl Template {
    /// Why it can't be read is told in words that follow the name of a key.
    fn parse(text: &str) -> Result<Self, String> {
        if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err("has characters that are not printable ASCII".into());
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, opened)) = rest.split_once(OPEN) {
            let (name, after) = opened.split_once(CLOSE).ok_or("has {{ without }}")?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            pieces.push(
                placeholder(name).ok_or_else(|| format!("has the unknown placeholder {{{{{name}}}}}"))?,
            );
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        Ok(Self(pieces))
    }

    fn has_secret(&self) -> bool {
        self.0.iter().any(|piece| !matches!(piece, Piece::Text(_)))
    }

    fn has_basic(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Basic { .. }))
    }
}

fn placeholder(name: &str) -> Option<Piece> {
    if name == SECRET {
        return Some(Piece::Secret);
    }
    let (user, password) = name.strip_prefix("basic:")?.split_once(':')?;
    match (user == SECRET, password == SECRET) {
        (true, false) => Some(Piece::Basic { before: String::new(), after: format!(":{password}") }),
        (false, true) => Some(Piece::Basic { before: format!("{user}:"), after: String::new() }),
        _ => None,
    }
}

/// A check as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpCheckSyntax {
    #[serde(default)]
    method: Method,
    url: Spanned<String>,
    #[serde(default)]
    headers: BTreeMap<String, Spanned<String>>,
    body: Option<Spanned<String>>,
    #[serde(default)]
    prefixes: Vec<String>,
    valid: Spanned<AnswerSyntax>,
    revoked: Option<Spanned<AnswerSyntax>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerSyntax {
    status: Vec<u16>,
    #[serde(default)]
    contains: OneOrMany,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl HttpCheckSyntax {
    pub(crate) fn build(self, source: &Source<'_>, rule: &str) -> Result<HttpCheck, RuleError> {
        let refuse = |at: usize, key, problem: String| RuleError::Value {
            place: source.place(at, Some(rule.into())),
            key,
            problem,
        };
        let start = self.url.span().start;
        let in_url = |problem: String| refuse(start, "verify.url", problem);
        let host = host(self.url.get_ref()).map_err(in_url)?;
        let url = Template::parse(self.url.get_ref()).map_err(in_url)?;
        if url.has_basic() {
            return Err(in_url("has a placeholder that only headers may have".into()));
        }
        let mut headers = Vec::with_capacity(self.headers.len());
        for (name, value) in self.headers {
            let in_header = |problem| refuse(value.span().start, "verify.headers", problem);
            check_header_name(&name).map_err(in_header)?;
            headers.push((name, Template::parse(value.get_ref()).map_err(in_header)?));
        }
        let mut body = None;
        if let Some(text) = self.body {
            let in_body = |problem: String| refuse(text.span().start, "verify.body", problem);
            if self.method != Method::Post {
                return Err(in_body("needs the method POST".into()));
            }
            let template = Template::parse(text.get_ref()).map_err(in_body)?;
            if template.has_basic() {
                return Err(in_body("has a placeholder that only headers may have".into()));
            }
            body = Some(template);
        }
        let values = headers.iter().map(|(_, value)| value);
        let has_secret = values.chain(&body).chain([&url]).any(Template::has_secret);
        if !has_secret {
            return Err(refuse(start, "verify", "has {{secret}} nowhere".into()));
        }
        if self.prefixes.iter().any(String::is_empty) {
            return Err(refuse(start, "verify.prefixes", "has an empty text".into()));
        }
        let answer = |answer: Spanned<AnswerSyntax>, key| {
            let at = answer.span().start;
            answer.into_inner().build().map_err(|problem| refuse(at, key, problem))
        };
        Ok(HttpCheck {
            method: self.method,
            host,
            url,
            headers,
            body,
            prefixes: self.prefixes,
            valid: answer(self.valid, "verify.valid")?,
            revoked: self.revoked.map(|revoked| answer(revoked, "verify.revoked")).transpose()?,
        })
    }
}

impl AnswerSyntax {
    fn build(self) -> Result<Answer, String> {
        let says_something =
            |status: &u16| matches!(status, 200..=299 | 400..=499) && *status != TOO_MANY_REQUESTS;
        if self.status.is_empty() || !self.status.iter().all(says_something) {
            return Err("needs a list of statuses, each 2xx or 4xx but 429".into());
        }
        let contains = match self.contains {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        };
        if contains.iter().any(|text| text.trim_ascii().is_empty()) {
            return Err("has an empty text".into());
        }
        Ok(Answer { status: self.status, contains })
    }
}

/// The host of a URL, when it is plain to see where the URL leads.
fn host(url: &str) -> Result<String, String> {
    let rest = url.strip_prefix(SCHEME).ok_or("does not start with https://")?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (host, port) = authority.split_once(':').unwrap_or((authority, "443"));
    let is_host = host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if !is_host || port.parse::<u16>().is_err() {
        return Err("needs a host of letters, digits, dots and hyphens, and no placeholder in it".into());
    }
    let is_in_url = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>\\^`|".contains(&byte);
    if !rest.bytes().all(is_in_url) {
        return Err("has characters that can't stand in a URL".into());
    }
    Ok(host.to_ascii_lowercase())
}

fn check_header_name(name: &str) -> Result<(), String> {
    let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || !name.bytes().all(is_in_name) {
        return Err("has a name that is none".into());
    }
    if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("may not set {name}"));
    }
    Ok(())
}
