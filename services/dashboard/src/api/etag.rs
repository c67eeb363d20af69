//! Tags of answers: who has the same already gets none.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use super::Problem;

/// Larger answers get no tag, and go out as they are made; so do streams, which have no end.
const MAX_TAGGED: u64 = 4 << 20;

/// Tags what a GET gives with 200, by what it holds.
pub async fn answer(request: Request, next: Next) -> Response {
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
    let response = next.run(request).await;
    let size = axum::body::HttpBody::size_hint(response.body()).upper();
    if !is_read || response.status() != StatusCode::OK || size.is_none_or(|size| size > MAX_TAGGED) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, MAX_TAGGED as usize).await else {
        return Problem::not_found("the answer was broken off").into_response();
    };
    let digest = BASE64URL_NOPAD.encode(&Sha256::digest(&bytes)[..16]);
    let Ok(tag) = HeaderValue::from_str(&format!("\"{digest}\"")) else {
        return (parts, bytes).into_response();
    };
    let is_known = known.as_ref().and_then(|known| known.to_str().ok()).is_some_and(|known| {
        known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag || known.trim() == "*")
    });
    parts.headers.insert(header::ETAG, tag);
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if is_known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.remove(header::CONTENT_TYPE);
        return (parts, Body::empty()).into_response();
    }
    (parts, bytes).into_response()
}
