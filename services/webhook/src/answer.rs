//! What a delivery is answered with. No answer repeats anything of the request.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use crate::hosts::PayloadError;

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The push is stored.
    Taken,
    /// It tells of no push, or of one that only deletes.
    Nothing,
    /// It was taken before.
    Replayed,
    /// There is no such page.
    NotFound,
    /// Deliveries are posted.
    Method,
    /// The secret is not proved.
    Unauthorized,
    /// The delivery has no id.
    NoDelivery,
    /// The body is larger than accepted.
    TooLarge { max: u32 },
    /// The body did not come in time.
    Slow,
    /// The connection broke in the body.
    Broken,
    /// The payload is wrong.
    Payload(PayloadError),
    /// The repository's URI is not accepted by the policy.
    Uri,
    /// The source may not speak for the repository.
    Foreign,
    /// The repository is not known.
    Unknown,
    /// Too many bodies are being received.
    Busy,
    /// The push could not be stored.
    Unavailable,
}

/// When a host may try again, in seconds.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("10");

impl Outcome {
    /// For metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Nothing => "nothing",
            Self::Replayed => "replayed",
            Self::NotFound => "not-found",
            Self::Method => "method",
            Self::Unauthorized => "unauthorized",
            Self::NoDelivery => "no-delivery-id",
            Self::TooLarge { .. } => "too-large",
            Self::Slow => "slow",
            Self::Broken => "broken",
            Self::Payload(_) => "payload",
            Self::Uri => "uri",
            Self::Foreign => "foreign-repository",
            Self::Unknown => "unknown-repository",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Taken => StatusCode::ACCEPTED,
            Self::Nothing => StatusCode::NO_CONTENT,
            Self::Replayed => StatusCode::CONFLICT,
            Self::NotFound | Self::Unknown => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NoDelivery | Self::Broken => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Payload(error) if error.is_unreadable() => StatusCode::BAD_REQUEST,
            Self::Payload(_) | Self::Uri => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Foreign => StatusCode::FORBIDDEN,
            Self::Busy | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// For people, at the host and in the log.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Taken => "accepted".into(),
            Self::Nothing => String::new(),
            Self::Replayed => "this delivery was taken before".into(),
            Self::NotFound => "not found".into(),
            Self::Method => "deliveries are sent by POST".into(),
            Self::Unauthorized => "unauthorized".into(),
            Self::NoDelivery => "the header with the id of the delivery is missing or wrong".into(),
            Self::TooLarge { max } => format!("the body is larger than {max} bytes (webhook.max_body_bytes)"),
            Self::Slow => "the body did not come in time (webhook.body_timeout_s)".into(),
            Self::Broken => "the body is incomplete".into(),
            Self::Payload(error) => error.to_string(),
            Self::Uri => "the clone URL of the repository is not accepted (policy); the log says why".into(),
            Self::Foreign => "the repository is not below base_url of this source".into(),
            Self::Unknown => "unknown repository (policy.unknown_repositories)".into(),
            Self::Busy => "too many deliveries at a time; try again later".into(),
            Self::Unavailable => "the push could not be stored; try again later".into(),
        }
    }

    /// Whether the rest of the request may still be under way, so that nothing more can come on its connection.
    fn is_last(&self) -> bool {
        matches!(
            self,
            Self::NotFound
                | Self::Method
                | Self::Unauthorized
                | Self::TooLarge { .. }
                | Self::Slow
                | Self::Broken
                | Self::Busy
        )
    }

    /// The answer to the request.
    pub(crate) fn response(&self, must_close: bool) -> Response<Full<Bytes>> {
        let mut text = self.text();
        if !text.is_empty() {
            text.push('\n');
        }
        let mut response = Response::new(Full::new(text.into()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, RETRY_AFTER_S);
        }
        if *self == Self::Method {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if must_close || self.is_last() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
