//! Where findings stand, by looks at all refs of their repositories: written by repo-agents alone.

use std::collections::HashMap;

use secretscan_model::{FindingId, RepositoryId, Standing, Survey};

use crate::metrics::WriteRefusal;
use crate::{Bus, BusError, fail};

/// A revision race lost this often in a row is given up; the message comes back later.
const MAX_RACES: u32 = 100;

impl Bus {
    /// The last look at all refs of a repository; `None` when there was none.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn last_survey(&self, repository: &RepositoryId) -> Result<Option<Survey>, BusError> {
        Ok(self.surveys.get(repository.as_str()).await?.map(|record| record.value))
    }

    /// Records a look at all refs whose findings are all recorded, unless a later one is. Repeats safely.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be written.
    pub async fn end_survey(&self, repository: &RepositoryId, survey: Survey) -> Result<(), BusError> {
        for _ in 0..MAX_RACES {
            let written = match self.surveys.get(repository.as_str()).await? {
                Some(last) if last.value.look >= survey.look => return Ok(()),
                Some(last) => self.surveys.update(repository.as_str(), &survey, last.revision).await?,
                None => self.surveys.create(repository.as_str(), &survey).await?,
            };
            if written.is_some() {
                fail::point(format_args!("survey.written"));
                return Ok(());
            }
            self.metrics.refused("standing", WriteRefusal::RaceLost);
        }
        Err(BusError::Contended { key: repository.to_string(), attempts: MAX_RACES })
    }

    /// What looks at all refs said of a finding, if it was not what its batches did.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn standing(
        &self,
        repository: &RepositoryId,
        id: &FindingId,
    ) -> Result<Option<Standing>, BusError> {
        Ok(self.standings.get(&key(repository, id)).await?.map(|record| record.value))
    }

    /// The same of all findings of one repository, or of all, by a consumer, so for people's commands.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn standings(
        &self,
        repository: Option<&RepositoryId>,
    ) -> Result<HashMap<(RepositoryId, FindingId), Standing>, BusError> {
        let records = self.standings.list(&filter(repository, "*.*.*")).await?;
        let place = |key: &str| Some((key.split_once('.')?.0.parse().ok()?, id(key)?));
        Ok(records.into_iter().filter_map(|(key, standing)| Some((place(&key)?, standing))).collect())
    }

    /// The last look at all refs of each repository, by a consumer, so for people's commands.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn surveys(&self) -> Result<HashMap<RepositoryId, Survey>, BusError> {
        let records = self.surveys.list("*").await?;
        Ok(records.into_iter().filter_map(|(key, survey)| Some((key.parse().ok()?, survey))).collect())
    }

    /// Shows what looks said of the findings of a repository, one by one, without a consumer, so for services.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn each_standing(
        &self,
        repository: &RepositoryId,
        mut seen: impl FnMut(FindingId, Standing),
    ) -> Result<(), BusError> {
        let show = |key: &str, standing| {
            if let Some(id) = id(key) {
                seen(id, standing);
            }
        };
        self.standings.walk(&format!("{repository}.>"), show).await
    }

    /// Changes what is recorded of a finding to what `step` makes of it, which gives `None` when it is to stay; gives whether
    /// it changed.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be written.
    pub async fn move_finding(
        &self,
        repository: &RepositoryId,
        id: &FindingId,
        step: impl Fn(Option<&Standing>) -> Option<Standing>,
    ) -> Result<bool, BusError> {
        let key = key(repository, id);
        for _ in 0..MAX_RACES {
            let known = self.standings.get(&key).await?;
            let Some(next) = step(known.as_ref().map(|record| &record.value)) else { return Ok(false) };
            let written = match known {
                Some(known) => self.standings.update(&key, &next, known.revision).await?,
                None => self.standings.create(&key, &next).await?,
            };
            if written.is_some() {
                fail::point(format_args!("standing.written"));
                return Ok(true);
            }
            self.metrics.refused("standing", WriteRefusal::RaceLost);
        }
        Err(BusError::Contended { key, attempts: MAX_RACES })
    }
}

fn key(repository: &RepositoryId, id: &FindingId) -> String {
    format!("{repository}.{}", id.0)
}

/// The keys below one repository, or all with so many tokens.
pub(crate) fn filter(repository: Option<&RepositoryId>, all: &str) -> String {
    let (_, below) = all.split_once('.').unwrap_or_default();
    repository.map_or_else(|| all.to_owned(), |id| format!("{id}.{below}"))
}

fn id(key: &str) -> Option<FindingId> {
    key.split_once('.').map(|(_, id)| FindingId(id.to_owned()))
}
