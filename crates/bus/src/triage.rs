//! What people decided about secrets: written by operators alone.

use std::collections::HashMap;

use secretscan_model::lifecycle::TriageError;
use secretscan_model::{RepositoryId, SecretIdentity, Stamp, Triage, TriageState};

use crate::metrics::WriteRefusal;
use crate::standings::filter;
use crate::{Bus, BusError, now};

/// A revision race lost this often in a row is given up.
const MAX_RACES: u32 = 100;

/// A decision that is not recorded.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// It is not complete.
    #[error(transparent)]
    Refused(#[from] TriageError),
    /// It can't be written.
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl Bus {
    /// What was decided about a secret of a repository; empty when nothing was.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn triage(
        &self,
        repository: &RepositoryId,
        secret: &SecretIdentity,
    ) -> Result<Triage, BusError> {
        let record = self.triage.get(&key(repository, secret)).await?;
        Ok(record.map(|record| record.value).unwrap_or_default())
    }

    /// All that was decided about secrets of one repository, or of all, by a consumer, so for people's commands.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn triages(
        &self,
        repository: Option<&RepositoryId>,
    ) -> Result<HashMap<(RepositoryId, SecretIdentity), Triage>, BusError> {
        let records = self.triage.list(&filter(repository, "*.*.*")).await?;
        let place = |key: &str| {
            let (repository, secret) = key.split_once('.')?;
            Some((repository.parse().ok()?, SecretIdentity(secret.to_owned())))
        };
        Ok(records.into_iter().filter_map(|(key, triage)| Some((place(&key)?, triage))).collect())
    }

    /// Records a decision, by whom who decides says to be; gives all that was decided. Repeats safely.
    ///
    /// # Errors
    /// [`DecideError::Refused`] says what it lacks.
    pub async fn decide(
        &self,
        repository: &RepositoryId,
        secret: &SecretIdentity,
        state: &TriageState,
        reason: &str,
        by: &str,
    ) -> Result<Triage, DecideError> {
        let key = key(repository, secret);
        for _ in 0..MAX_RACES {
            let record = self.triage.get(&key).await?;
            let revision = record.as_ref().map(|record| record.revision);
            let known = record.map(|record| record.value).unwrap_or_default();
            let Some(next) = known.decide(state.clone(), reason, Stamp { now: now(), by })? else {
                return Ok(known);
            };
            let written = match revision {
                Some(revision) => self.triage.update(&key, &next, revision).await?,
                None => self.triage.create(&key, &next).await?,
            };
            if written.is_some() {
                return Ok(next);
            }
            self.metrics.refused("triage", WriteRefusal::RaceLost);
        }
        Err(BusError::Contended { key, attempts: MAX_RACES }.into())
    }
}

fn key(repository: &RepositoryId, secret: &SecretIdentity) -> String {
    format!("{repository}.{}", secret.0)
}
