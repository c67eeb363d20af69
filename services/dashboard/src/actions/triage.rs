//! Decisions about secrets.

use secretscan_bus::now;
use secretscan_bus::triage::DecideError;
use secretscan_model::{FindingId, RepositoryId, Triage, TriageState};

use super::{ActionError, Actions, Attempt, Done};
use crate::auth::Role;

/// At most this many findings are decided about at once.
pub const MAX_DECIDED: usize = 500;

/// What came of one of several decisions.
#[derive(Debug)]
pub struct Decided {
    /// The repository.
    pub repository: RepositoryId,
    /// The finding.
    pub id: FindingId,
    /// Everything that was decided about its secret, or why this was not.
    pub outcome: Result<Triage, ActionError>,
}

impl Actions<'_> {
    /// Decides about the secret of a finding, in whichever files of the repository it stands; gives all that was decided.
    ///
    /// # Errors
    /// [`ActionError`] says why not.
    pub async fn decide(
        &self,
        repository: &RepositoryId,
        id: &FindingId,
        state: &TriageState,
        reason: &str,
    ) -> Result<Triage, ActionError> {
        let target = format!("{repository}.{}", id.0);
        let attempt = Attempt::new("findings-triage", &target, Role::Triager).of(Some(repository));
        self.audited(attempt, async || {
            let missing = || ActionError::Missing { what: "finding", id: target.clone() };
            let finding = self.app.bus.finding(repository, id).await?.ok_or_else(missing)?;
            let secret = finding.secret();
            let before = self.app.bus.triage(repository, &secret).await?.state(now());
            let decided = self.app.bus.decide(repository, &secret, state, reason, &self.actor.name).await;
            let value = decided.map_err(|error| match error {
                DecideError::Refused(reason) => ActionError::Refused(reason.to_string()),
                DecideError::Bus(error) => ActionError::Bus(error),
            })?;
            let why = if reason.trim().is_empty() { String::new() } else { format!(": {}", reason.trim()) };
            let after = format!("{}{why}", state.name());
            Ok(Done { value, before: before.name().to_owned(), after })
        })
        .await
    }

    /// Decides the same about several, each for itself.
    ///
    /// # Errors
    /// [`ActionError::Refused`] when they are more than [`MAX_DECIDED`].
    pub async fn decide_all(
        &self,
        findings: Vec<(RepositoryId, FindingId)>,
        state: &TriageState,
        reason: &str,
    ) -> Result<Vec<Decided>, ActionError> {
        if findings.len() > MAX_DECIDED {
            let message = format!("at most {MAX_DECIDED} findings are decided about at once");
            return Err(ActionError::Refused(message));
        }
        let mut decided = Vec::with_capacity(findings.len());
        for (repository, id) in findings {
            let outcome = self.decide(&repository, &id, state, reason).await;
            decided.push(Decided { repository, id, outcome });
        }
        Ok(decided)
    }
}
