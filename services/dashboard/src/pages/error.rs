//! Pages that say what went wrong, and what to do.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use minijinja::context;
use secretscan_bus::{BusError, chain};

use super::render::page;
use crate::actions::ActionError;
use crate::auth::{Role, Visitor};
use crate::index::IndexError;
use crate::index::queries::QueryError;
use crate::state::App;

/// So many seconds later a page that comes by itself is asked for again.
const AGAIN_AFTER_S: &str = "2";

/// A page that can't be shown, or something that can't be done.
#[derive(Debug)]
pub(super) struct PageError {
    status: StatusCode,
    title: &'static str,
    text: String,
    /// Whether the page comes by itself in a moment.
    is_soon: bool,
}

impl PageError {
    pub fn new(status: StatusCode, title: &'static str, text: impl Into<String>) -> Self {
        Self { status, title, text: text.into(), is_soon: false }
    }

    pub fn not_found(what: &str) -> Self {
        let text = format!("There is no {what} here, or it is not of your teams.");
        Self::new(StatusCode::NOT_FOUND, "Not found", text)
    }

    pub fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "That can't be done", text)
    }

    fn needs(role: Role) -> Self {
        let text = format!("This needs the role {}. Ask who runs this dashboard for it.", role.as_str());
        Self::new(StatusCode::FORBIDDEN, "Not with your role", text)
    }

    /// The status, and what to say, to say it beside the form that was sent.
    pub fn into_parts(self) -> (StatusCode, String) {
        (self.status, self.text)
    }
}

impl Visitor {
    /// Who may less gets a page that says what is needed.
    pub(super) fn require(&self, role: Role) -> Result<(), PageError> {
        if self.actor.role.may(role) { Ok(()) } else { Err(PageError::needs(role)) }
    }
}

impl From<IndexError> for PageError {
    fn from(error: IndexError) -> Self {
        if matches!(error, IndexError::Building) {
            let text = "The dashboard has just started and reads the records of the system. This page shows as soon as it has.";
            return Self { is_soon: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "In a moment", text) };
        }
        tracing::error!(error = chain(&error), "a page can't be made");
        let text = "The lists of the dashboard can't be read; its log says why.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Something is broken", text)
    }
}

impl From<QueryError> for PageError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Cursor(error) => Self::bad(error.to_string()),
            QueryError::Index(error) => error.into(),
        }
    }
}

impl From<BusError> for PageError {
    fn from(error: BusError) -> Self {
        tracing::warn!(error = chain(&error), "a record can't be read or written");
        let text = "NATS does not answer as it should; try again. The log of the dashboard says more.";
        Self::new(StatusCode::BAD_GATEWAY, "NATS can't be reached", text)
    }
}

impl From<ActionError> for PageError {
    fn from(error: ActionError) -> Self {
        let text = chain(&error);
        match error {
            ActionError::Role { needed } => Self::needs(needed),
            ActionError::Scope => Self::new(StatusCode::FORBIDDEN, "Not of your teams", text),
            ActionError::Missing { what, .. } => Self::not_found(what),
            ActionError::Refused(_) | ActionError::KeyUsed => Self::bad(text),
            ActionError::Unanswered(_) => Self::new(StatusCode::BAD_GATEWAY, "No answer", text),
            ActionError::Unlogged(_) => Self::new(StatusCode::BAD_GATEWAY, "Not in the audit log", text),
            ActionError::Host { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, "The Git host does not answer", text)
            }
            ActionError::Bus(error) => error.into(),
            ActionError::Index(error) => error.into(),
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let shown = page(None, "error.html", self.title, context! { text => self.text });
        let again = self.is_soon.then_some([("refresh", AGAIN_AFTER_S)]);
        (self.status, again, shown).into_response()
    }
}

pub(super) async fn not_found(State(_): State<Arc<App>>) -> PageError {
    PageError::not_found("page")
}
