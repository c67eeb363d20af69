//! Errors, as RFC 9457 (problem details) writes them.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use secretscan_bus::chain;
use serde::Serialize;
use utoipa::ToSchema;

use crate::actions::ActionError;
use crate::index::IndexError;
use crate::index::queries::QueryError;

/// Why a request was not done. Its media type is `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of problem it is: `/problems/` and a name that stays.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// What was wrong this time, and what to do.
    pub detail: String,
}

impl Problem {
    fn new(status: StatusCode, name: &str, title: &'static str, detail: impl Into<String>) -> Self {
        let kind = format!("/problems/{name}");
        Self { kind, title, status: status.as_u16(), detail: detail.into() }
    }

    /// What was sent can't be read.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request can't be read", detail)
    }

    /// It is not known who asks.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "It is not known who asks", detail)
    }

    /// Who asks may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "This is not allowed", detail)
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing", detail)
    }

    /// The path takes other methods.
    pub fn method_not_allowed() -> Self {
        let detail = "this path takes other methods: see the header Allow, and /api/v1/openapi.json";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "The path takes other methods",
            detail,
        )
    }

    /// The dashboard failed.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The dashboard failed", detail)
    }

    fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "This can't be done now", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

impl From<ActionError> for Problem {
    fn from(error: ActionError) -> Self {
        let detail = chain(&error);
        match error {
            ActionError::Role { .. } | ActionError::Scope => Self::forbidden(detail),
            ActionError::Missing { .. } => Self::not_found(detail),
            ActionError::Refused(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", "This can't be done as it is", detail)
            }
            ActionError::KeyUsed => {
                Self::new(StatusCode::CONFLICT, "idempotency-key-used", "The key was used before", detail)
            }
            ActionError::Host { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, "host", "The Git host does not list it", detail)
            }
            ActionError::Index(error) => error.into(),
            ActionError::Unanswered(_) | ActionError::Bus(_) | ActionError::Unlogged(_) => {
                tracing::warn!(error = detail, "an action can't be done");
                Self::unavailable(detail)
            }
        }
    }
}

impl From<IndexError> for Problem {
    fn from(error: IndexError) -> Self {
        if matches!(error, IndexError::Building) {
            return Self::unavailable(error.to_string());
        }
        tracing::error!(error = chain(&error), "a list can't be shown");
        Self::internal(error.to_string())
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Cursor(error) => Self::bad_request(error.to_string()),
            QueryError::Index(error) => error.into(),
        }
    }
}

impl From<secretscan_bus::BusError> for Problem {
    fn from(error: secretscan_bus::BusError) -> Self {
        ActionError::Bus(error).into()
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let status = rejection.status();
        let title = "The body can't be read";
        match status {
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                Self::new(status, "bad-body", title, rejection.body_text())
            }
            _ => Self::bad_request(rejection.body_text()),
        }
    }
}
