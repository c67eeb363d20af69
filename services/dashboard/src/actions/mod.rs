//! Everything that people do, for the API and for pages alike: one function for each action.
//!
//! An action checks the role and the scope, goes through the door that commands use, and is written to the audit log, refused or
//! done. What is refused for its role is written as well: somebody tried.

mod dead_letters;
mod requests;
mod schedules;
mod triage;

use secretscan_bus::door::AskError;
use secretscan_bus::{BusError, chain, now, v1};
use secretscan_model::{RepositoryId, RepositoryUri, UriPolicy};
use thiserror::Error;

use crate::auth::{Actor, Role, Scope};
use crate::index::IndexError;
use crate::state::App;

pub use requests::{NewScan, Purpose, Target};
pub use schedules::{NewSchedule, ScheduleChange};
pub use triage::{Decided, MAX_DECIDED};

/// Why something is not done.
#[derive(Debug, Error)]
pub enum ActionError {
    /// The role does not suffice.
    #[error("this takes the role {}", needed.as_str())]
    Role {
        /// The least role that does.
        needed: Role,
    },
    /// It is about a repository outside of the scope, or about all of them.
    #[error("this is about repositories that your teams have no access to")]
    Scope,
    /// There is nothing of this id, as far as the scope goes.
    #[error("there is no {what} {id}")]
    Missing {
        /// What.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// What was asked for can't be done as it is.
    #[error("{0}")]
    Refused(String),
    /// The key of another request.
    #[error("the idempotency key was used for another request; use a new one")]
    KeyUsed,
    /// No controller answered, or the door is shut.
    #[error(transparent)]
    Unanswered(#[from] AskError),
    /// NATS does not do what it should.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The index can't be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// It was done, and is not in the audit log.
    #[error("this was done, but the audit log can't be written")]
    Unlogged(#[source] BusError),
}

/// What was done, for the audit log.
struct Done<T> {
    value: T,
    /// How it stood before; empty when there was nothing.
    before: String,
    /// How it stands now, or what was asked for.
    after: String,
}

/// What somebody is about to do.
struct Attempt {
    /// Such as `findings-triage`.
    action: &'static str,
    /// An id.
    target: String,
    /// The repository, where it is about one.
    repository: Option<RepositoryId>,
    /// The least role that may.
    needed: Role,
}

impl Attempt {
    fn new(action: &'static str, target: &str, needed: Role) -> Self {
        Self { action, target: target.to_owned(), repository: None, needed }
    }

    fn of(mut self, repository: Option<&RepositoryId>) -> Self {
        self.repository = repository.cloned();
        self
    }
}

/// What somebody does.
pub struct Actions<'a> {
    app: &'a App,
    actor: &'a Actor,
}

impl<'a> Actions<'a> {
    /// As this person.
    pub fn new(app: &'a App, actor: &'a Actor) -> Self {
        Self { app, actor }
    }

    /// Does it if the role and the scope allow it, and writes down what came of it. What is about no repository needs all of
    /// them.
    async fn audited<T>(
        &self,
        attempt: Attempt,
        work: impl AsyncFnOnce() -> Result<Done<T>, ActionError>,
    ) -> Result<T, ActionError> {
        let is_in_scope = match &attempt.repository {
            Some(repository) => self.actor.scope.holds(repository),
            None => self.actor.scope == Scope::All,
        };
        let done = if self.actor.role < attempt.needed {
            Err(ActionError::Role { needed: attempt.needed })
        } else if is_in_scope {
            work().await
        } else {
            Err(ActionError::Scope)
        };
        let mut entry = v1::AuditEntry {
            at: now().0,
            who: self.actor.name.clone(),
            role: self.actor.role.as_str().to_owned(),
            address: self.actor.address.clone(),
            action: attempt.action.to_owned(),
            target: attempt.target,
            repository_id: attempt.repository.map(|id| id.to_string()).unwrap_or_default(),
            ..v1::AuditEntry::default()
        };
        match &done {
            Ok(done) => (entry.before, entry.after) = (done.before.clone(), done.after.clone()),
            Err(error) => entry.error = chain(error),
        }
        match (self.app.bus.audit(&entry).await, done) {
            (Ok(()), done) => done.map(|done| done.value),
            (Err(error), Ok(_)) => Err(ActionError::Unlogged(error)),
            (Err(error), Err(refused)) => {
                tracing::error!(
                    error = chain(&error),
                    action = entry.action,
                    "a refusal is not in the audit log"
                );
                Err(refused)
            }
        }
    }
}

/// What a controller decides by its own policy passes here.
const ANY_URI: UriPolicy = UriPolicy::ANY;

/// Reads a URI, so that a mistake is told at once, and none with a password goes anywhere.
///
/// # Errors
/// [`ActionError::Refused`] says what is wrong with it.
pub fn check_uri(uri: &str) -> Result<RepositoryUri, ActionError> {
    RepositoryUri::parse(uri.trim(), ANY_URI).map_err(|error| ActionError::Refused(error.to_string()))
}

/// An answer of the door that is no refusal.
fn accepted(answer: v1::Answer) -> Result<v1::Answer, ActionError> {
    match answer.error.as_str() {
        "" => Ok(answer),
        error => Err(ActionError::Refused(error.to_owned())),
    }
}
