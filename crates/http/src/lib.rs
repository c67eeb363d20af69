//! The HTTP client: to configured URLs only, without redirects, with bounds of time and size.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secretscan_bus::{chain, now};
use secretscan_detect::Secret;
use thiserror::Error;
use url::Url;

/// More of an answer is not read.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Who asks, which GitHub insists on.
const USER_AGENT: &str = concat!("secretscan/", env!("CARGO_PKG_VERSION"));

/// A URL that can't be used.
#[derive(Debug, Error)]
#[error("{what} is no URL that can be used: {reason}")]
pub struct UrlError {
    /// Which one, without what it holds.
    what: String,
    /// Why not.
    reason: &'static str,
}

/// Checks a URL that tokens or findings are sent to. It may be a secret, so it is not told.
///
/// # Errors
/// When it has no host, holds credentials, or is not https, which it must be unless it is of this machine.
pub fn check_url(what: &str, text: &str, allow_plaintext: bool) -> Result<Url, UrlError> {
    let wrong = |reason| UrlError { what: what.to_owned(), reason };
    let url = Url::parse(text.trim()).map_err(|_| wrong("write https://host/path"))?;
    let is_here = match url.host() {
        Some(url::Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(url::Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => return Err(wrong("it has no host")),
    };
    match url.scheme() {
        "https" => {}
        "http" if is_here || allow_plaintext => {}
        "http" => return Err(wrong("use https, or set delivery.allow_plaintext")),
        _ => return Err(wrong("use https")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("credentials belong into a file of their own"));
    }
    Ok(url)
}

/// A token that can't be read from its file.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The file can't be read.
    #[error("{} can't be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("{} holds no token; write the token into it, and nothing else", .path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a token from a file, without the white space around it.
///
/// # Errors
/// [`TokenError`] when it can't be read, or is none.
pub fn read_token(path: &Path) -> Result<Secret, TokenError> {
    let read = |source| TokenError::Read { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(read)?;
    let token = text.trim();
    if token.is_empty() || token.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(TokenError::NoToken { path: path.to_owned() });
    }
    Ok(Secret::new(token))
}

/// A request to be sent. It may hold secrets anywhere.
pub struct Call {
    method: Method,
    url: String,
    headers: Vec<(&'static str, Secret)>,
    body: Option<Vec<u8>>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Call {
    /// A GET.
    pub fn get(url: String) -> Self {
        Self { method: Method::GET, url, headers: Vec::new(), body: None }
    }

    /// A POST of JSON.
    pub fn post(url: String, body: Vec<u8>) -> Self {
        Self { method: Method::POST, url, headers: Vec::new(), body: Some(body) }
            .with("content-type", "application/json")
    }

    /// A POST of a form.
    pub fn post_form(url: String, body: Vec<u8>) -> Self {
        Self { method: Method::POST, url, headers: Vec::new(), body: Some(body) }
            .with("content-type", "application/x-www-form-urlencoded")
    }

    /// With a header, whose name is in lower case.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name, Secret::new(value)));
        self
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// How long the host asks to wait before the next request.
    pub wait: Option<Duration>,
    /// The next page of a list: what the header `Link` calls `next` (RFC 8288).
    pub next: Option<String>,
    /// The body; empty when it is too long or was cut.
    pub body: Vec<u8>,
}

/// Why nothing came back, in words that hold no secret.
#[derive(Debug)]
pub enum Trouble {
    /// The request was not sent.
    NotSent(String),
    /// It was, or may have been.
    NoAnswer(String),
}

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

/// The certificates of the system can't be used.
#[derive(Debug, Error)]
#[error("TLS can't be set up with the certificates of this system")]
pub struct TlsError {
    #[source]
    source: rustls::Error,
}

impl Http {
    /// A client that waits so long for an answer.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn new(timeout: Duration) -> Result<Self, TlsError> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError { source })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        // A connection that is kept may be cut just when it is used again, and then nobody knows whether it arrived.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, timeout })
    }

    /// Sends, once.
    ///
    /// # Errors
    /// When no answer came, and whether it was sent.
    pub async fn send(&self, call: Call) -> Result<Answer, Trouble> {
        let request = request(call)?;
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(exchanged) => exchanged,
            Err(_) => Err(Trouble::NoAnswer(format!("no answer within {} s", self.timeout.as_secs()))),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, Trouble> {
        let response = self.client.request(request).await.map_err(|error| match error.is_connect() {
            true => Trouble::NotSent(chain(&error)),
            false => Trouble::NoAnswer(chain(&error)),
        })?;
        let status = response.status().as_u16();
        let (wait, next) = (wait(response.headers(), now().0), next(response.headers()));
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
        Ok(Answer { status, wait, next, body })
    }
}

fn request(call: Call) -> Result<Request<Full<Bytes>>, Trouble> {
    let wrong = |what: &str| Trouble::NotSent(format!("the {what} can't be sent"));
    let uri: Uri = call.url.parse().map_err(|_| wrong("URL"))?;
    let mut request = Request::new(Full::new(Bytes::from(call.body.unwrap_or_default())));
    *request.method_mut() = call.method;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert("user-agent", HeaderValue::from_static(USER_AGENT));
    for (name, value) in call.headers {
        let mut value = HeaderValue::from_bytes(value.expose()).map_err(|_| wrong(name))?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(request)
}

/// How long a host asks to wait: `Retry-After` in seconds or as a date (RFC 9110), else when the limit of a rate begins
/// anew, in seconds since the Unix epoch (GitHub and Gitea with `X-`, GitLab without).
fn wait(headers: &HeaderMap, now_ms: i64) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let until = |time_ms: i64| Duration::from_millis(u64::try_from(time_ms - now_ms).unwrap_or_default());
    if let Some(after) = text("retry-after") {
        let seconds = after.parse().ok().map(Duration::from_secs);
        let date = || jiff::fmt::rfc2822::parse(after).ok();
        return seconds.or_else(|| date().map(|date| until(date.timestamp().as_millisecond())));
    }
    ["x-ratelimit", "ratelimit"].into_iter().find_map(|prefix| {
        let is_used_up = text(&format!("{prefix}-remaining")) == Some("0");
        let reset: i64 = text(&format!("{prefix}-reset"))?.parse().ok()?;
        is_used_up.then(|| until(reset.saturating_mul(1_000)))
    })
}

fn next(headers: &HeaderMap) -> Option<String> {
    headers.get_all("link").iter().filter_map(|value| value.to_str().ok()).find_map(|links| {
        links.split('<').find_map(|link| {
            let (url, parameters) = link.split_once('>')?;
            let is_next = |parameter: &str| {
                let (name, value) = parameter.split_once('=').unwrap_or_default();
                let value = value.trim().trim_end_matches(',').trim().trim_matches('"');
                name.trim() == "rel" && value.split(' ').any(|relation| relation == "next")
            };
            parameters.split(';').any(is_next).then(|| url.to_owned())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_says_how_long_to_wait_in_several_ways() {
        let of = |pairs: &[(&'static str, &str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
                .collect();
            wait(&headers, 784_111_700_000).map(|wait| wait.as_secs())
        };
        assert_eq!(of(&[("retry-after", "120")]), Some(120));
        assert_eq!(of(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]), Some(77));
        assert_eq!(of(&[("retry-after", "Sun, 06 Nov 1994 08:40:00 GMT")]), Some(0));
        assert_eq!(of(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "784111800")]), Some(100));
        assert_eq!(of(&[("ratelimit-remaining", "0"), ("ratelimit-reset", "784111800")]), Some(100));
        assert_eq!(of(&[("x-ratelimit-remaining", "9"), ("x-ratelimit-reset", "784111800")]), None);
        assert_eq!(of(&[("retry-after", "soon")]), None);
    }

    #[test]
    fn the_next_page_is_what_the_header_calls_so() {
        let of = |text: &str| next(&HeaderMap::from_iter([(hyper::header::LINK, text.parse().unwrap())]));
        let pages = "<https://h/r?page=1>; rel=\"prev\", <https://h/r?a=1,2&page=3>; rel=\"next\", <https://h/r?page=9>; rel=\"last\"";
        assert_eq!(of(pages).as_deref(), Some("https://h/r?a=1,2&page=3"));
        assert_eq!(of("<https://h/2>; title=x; rel=next").as_deref(), Some("https://h/2"));
        assert_eq!(of("<https://h/1>; rel=\"first\", <https://h/9>; rel=\"last\""), None);
        assert_eq!(of("nonsense"), None);
    }

    #[test]
    fn tokens_leave_this_machine_by_https_only() {
        let check = |text, allow| check_url("status.api", text, allow);
        for good in ["https://api.example.org/v1", "http://127.0.0.1:8080", "http://localhost/x"] {
            assert!(check(good, false).is_ok(), "{good}");
        }
        assert!(check("http://api.example.org", true).is_ok());
        let password = concat!("sesame", "-open");
        let with_password = format!("https://user:{password}@example.org");
        for bad in ["http://api.example.org", "ftp://example.org", "example.org", with_password.as_str()] {
            let error = check(bad, false).unwrap_err().to_string();
            assert!(error.starts_with("status.api is no URL") && !error.contains(password), "{error}");
        }
    }

    #[test]
    fn debug_output_has_no_secret() {
        let call = Call::get("https://example.org/abcdefgh".into()).with("authorization", "abcdefgh");
        assert!(!format!("{call:?}").contains("abcdefgh"));
        assert!(!format!("{:?}", request(call).unwrap().headers()).contains("abcdefgh"));
    }
}
