//! Dead letters. They may be about any repository, so they are for who may see all.

use secretscan_bus::dead_letters::{DeadLetter, Retry};
use secretscan_bus::v1;
use secretscan_model::RequestId;

use super::{ActionError, Actions, Attempt, Done, accepted};
use crate::auth::{Role, Scope};

impl Actions<'_> {
    /// Dead letters from a number on, the oldest first.
    ///
    /// # Errors
    /// [`ActionError`] says why not.
    pub async fn dead_letters(&self, from: u64, limit: usize) -> Result<Vec<DeadLetter>, ActionError> {
        if self.actor.scope != Scope::All {
            return Err(ActionError::Scope);
        }
        Ok(self.app.bus.dead_letters(from, limit).await?)
    }

    /// One dead letter.
    ///
    /// # Errors
    /// [`ActionError::Missing`] when there is none of this number.
    pub async fn dead_letter(&self, number: u64) -> Result<DeadLetter, ActionError> {
        let found = self.dead_letters(number, 1).await?.pop().filter(|letter| letter.number == number);
        found.ok_or_else(|| missing(number))
    }

    /// Asks again for what a dead letter asked for, and forgets the letter; gives the id of the request.
    ///
    /// # Errors
    /// [`ActionError`] says why not; the letter stays.
    pub async fn retry_dead_letter(&self, number: u64) -> Result<RequestId, ActionError> {
        let attempt = Attempt::new("dead-letter-retry", &number.to_string(), Role::Admin);
        self.audited(attempt, async || {
            let letter = self.dead_letter(number).await?;
            let requester = self.actor.name.clone();
            let answer = match letter.retry() {
                Some(Retry::Scan(request)) => {
                    let request = v1::NewRepositoryScan { requester, ..*request };
                    self.app.bus.request_scan(&request).await?
                }
                Some(Retry::Cancel(cancel)) => {
                    let cancel = v1::CancelRepositoryScan { requester, ..cancel };
                    self.app.bus.cancel_scan(&cancel).await?
                }
                None => {
                    let message = "what it asked for can't be read; ask anew, and drop it";
                    return Err(ActionError::Refused(message.into()));
                }
            };
            let id = accepted(answer)?.request_id.parse();
            let value: RequestId =
                id.map_err(|_| ActionError::Refused("the answer names no request".into()))?;
            self.app.bus.drop_dead_letter(number).await?;
            let after = format!("request {value}");
            Ok(Done { value, before: letter.reason, after })
        })
        .await
    }

    /// Forgets a dead letter.
    ///
    /// # Errors
    /// [`ActionError`] says why not.
    pub async fn drop_dead_letter(&self, number: u64) -> Result<(), ActionError> {
        let attempt = Attempt::new("dead-letter-drop", &number.to_string(), Role::Admin);
        self.audited(attempt, async || {
            let letter = self.dead_letter(number).await?;
            if !self.app.bus.drop_dead_letter(number).await? {
                return Err(missing(number));
            }
            Ok(Done { value: (), before: letter.reason, after: "dropped".into() })
        })
        .await
    }
}

fn missing(number: u64) -> ActionError {
    ActionError::Missing { what: "dead letter", id: number.to_string() }
}
