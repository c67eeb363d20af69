//! What an answer means.

use std::io::{self, ErrorKind, Read};

use secretscan_detect::{Answer, HttpCheck};
use secretscan_model::Verification;
use ureq::Body;
use ureq::http::header::CONTENT_TYPE;
use ureq::http::{HeaderMap, Response, StatusCode};

use crate::address::NotPublic;
use crate::unknown;

/// What of a body is read.
const MAX_BODY_LEN: u64 = 64 * 1024;
/// How web pages begin, white space left out.
const PAGE_STARTS: [&[u8]; 2] = [b"<!doctypehtml", b"<html"];

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// An answer, whatever it means.
    Answer(Verification),
    /// The host wants to be asked less.
    TooManyRequests,
    /// No answer came, for this reason.
    Failed(&'static str),
}

impl From<Reply> for Verification {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Answer(verification) => verification,
            Reply::TooManyRequests => unknown("too many requests (status 429)"),
            Reply::Failed(reason) => unknown(reason),
        }
    }
}

/// Reads an answer, a body of any length no further than is needed.
pub(crate) fn read(check: &HttpCheck, answer: Result<Response<Body>, ureq::Error>) -> Reply {
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Reply::Failed(reason(&error)),
    };
    if answer.status() == StatusCode::TOO_MANY_REQUESTS {
        return Reply::TooManyRequests;
    }
    let mut body = Vec::new();
    match answer.body_mut().as_reader().take(MAX_BODY_LEN).read_to_end(&mut body) {
        Ok(_) => Reply::Answer(meaning(check, answer.status(), answer.headers(), &body)),
        Err(error) => Reply::Failed(reason(&error.into())),
    }
}

fn meaning(check: &HttpCheck, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Verification {
    let number = status.as_u16();
    let body: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if status.is_redirection() {
        return unknown(format!("the host leads elsewhere (status {number})"));
    }
    // Firewalls and portals answer in the place of the provider.
    if is_page(headers, &body) {
        return unknown(format!("the answer is a web page (status {number})"));
    }
    let is_valid = matches(&check.valid, number, &body);
    let is_revoked = check.revoked.as_ref().is_some_and(|revoked| matches(revoked, number, &body));
    match (is_valid, is_revoked) {
        (true, false) => Verification::Valid,
        (false, true) => Verification::Revoked,
        _ => unknown(format!("the answer tells nothing (status {number})")),
    }
}

fn is_page(headers: &HeaderMap, body: &[u8]) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(|value| value.as_bytes().to_ascii_lowercase());
    let is_html = |kind: Vec<u8>| kind.starts_with(b"text/html") || kind.starts_with(b"application/xhtml");
    let begins =
        |start: &[u8]| body.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start));
    kind.is_some_and(is_html) || PAGE_STARTS.into_iter().any(begins)
}

/// Of the body, only what is no white space.
fn matches(answer: &Answer, status: u16, body: &[u8]) -> bool {
    let has = |text: &String| {
        let text: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        body.windows(text.len()).any(|part| part == text)
    };
    answer.status.contains(&status) && (answer.contains.is_empty() || answer.contains.iter().any(has))
}

/// In words of our own: an error may quote the URL, and the URL may hold the secret.
fn reason(error: &ureq::Error) -> &'static str {
    match error {
        ureq::Error::Timeout(_) => "the host did not answer in time",
        ureq::Error::HostNotFound => "the host is not found",
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => NOT_TRUSTED,
        ureq::Error::Other(error) if error.is::<NotPublic>() => "the host has an address that is not public",
        ureq::Error::Io(error) => io_reason(error),
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => "the answer can't be read",
        _ => "the request failed",
    }
}

const NOT_TRUSTED: &str = "the host can't prove that it is the one";

fn io_reason(error: &io::Error) -> &'static str {
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return NOT_TRUSTED;
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => "the host refused the connection",
        ErrorKind::TimedOut => "the host did not answer in time",
        _ => "the connection failed",
    }
}
