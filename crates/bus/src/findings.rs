//! The store of findings.

use futures::{StreamExt, TryStreamExt};
use secretscan_model::{Finding, FindingId, RepositoryId};
use secretscan_proto::v1;

use crate::requests::json;
use crate::{Bus, BusError};

/// Findings written at once by one batch.
const CONCURRENCY: usize = 32;

impl Bus {
    /// Merges findings into the store; gives how many are new. Repeats safely.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be written; what was written stays.
    #[tracing::instrument(skip_all)]
    pub async fn record_findings(
        &self,
        repository: &RepositoryId,
        findings: Vec<Finding>,
    ) -> Result<u64, BusError> {
        futures::stream::iter(findings)
            .map(|finding| self.record_finding(repository, finding))
            .buffer_unordered(CONCURRENCY)
            .try_fold(0, |sum, is_new| std::future::ready(Ok(sum + u64::from(is_new))))
            .await
    }

    async fn record_finding(&self, repository: &RepositoryId, finding: Finding) -> Result<bool, BusError> {
        let key = format!("{repository}.{}", finding.id.0);
        let mut merged = finding.clone();
        let is_new = loop {
            match self.findings.get(&key).await? {
                None => {
                    if self.findings.create(&key, &finding).await?.is_some() {
                        break true;
                    }
                }
                Some(known) => {
                    merged = known.value.clone().merge(finding.clone());
                    if merged == known.value {
                        // Just as it was found here: it may have been written before a crash, and not told.
                        if merged == finding {
                            self.tell_finding(repository, &key, &merged, true).await?;
                        }
                        return Ok(false);
                    }
                    if self.findings.update(&key, &merged, known.revision).await?.is_some() {
                        break false;
                    }
                }
            }
        };
        crate::fail::point(format_args!("finding.written"));
        self.tell_finding(repository, &key, &merged, is_new).await?;
        Ok(is_new)
    }

    /// Publishes that a finding was recorded; once for each state of it, however often.
    async fn tell_finding(
        &self,
        repository: &RepositoryId,
        key: &str,
        finding: &Finding,
        is_new: bool,
    ) -> Result<(), BusError> {
        let introduced = finding.introduced();
        let event = v1::FindingRecorded {
            repository_id: repository.to_string(),
            finding_id: finding.id.0.clone(),
            fingerprint: finding.id.fingerprint().to_owned(),
            rule_id: finding.rule_id.to_string(),
            severity: finding.severity.clone(),
            confidence: finding.confidence.clone(),
            path: finding.display_path().into_owned(),
            commit: introduced.commit.to_string(),
            line: introduced.line,
            is_new,
        };
        let subject = format!("secretscan.event.finding.{repository}");
        let message_id = format!("{key}.{}.{}", introduced.commit, finding.occurrences.len());
        self.publish(subject, message_id, async_nats::HeaderMap::new(), json(&event).into()).await
    }

    /// The findings of one repository, or all, with the id of their repository.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn findings(
        &self,
        repository: Option<&RepositoryId>,
    ) -> Result<Vec<(RepositoryId, Finding)>, BusError> {
        let filter = repository.map_or_else(|| ">".to_owned(), |id| format!("{id}.>"));
        let records = self.findings.list(&filter).await?;
        Ok(records
            .into_iter()
            .filter_map(|(key, finding)| {
                let id = key.split_once('.')?.0.parse().ok()?;
                Some((id, finding))
            })
            .collect())
    }

    /// Shows each finding of a repository, without a consumer, so for services. One that changes meanwhile may be shown
    /// again.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn each_finding(
        &self,
        repository: &RepositoryId,
        mut seen: impl FnMut(Finding),
    ) -> Result<(), BusError> {
        self.findings.walk(&format!("{repository}.>"), |_, finding| seen(finding)).await
    }

    /// One finding of a repository.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn finding(
        &self,
        repository: &RepositoryId,
        id: &FindingId,
    ) -> Result<Option<Finding>, BusError> {
        let key = format!("{repository}.{}", id.0);
        Ok(self.findings.get(&key).await?.map(|record| record.value))
    }

    /// One finding of a repository by its id, or one of those with a fingerprint.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn finding_known_as(
        &self,
        repository: &RepositoryId,
        known: &str,
    ) -> Result<Option<Finding>, BusError> {
        // Any file will do.
        let (id, filter) = match known.contains('.') {
            true => (known.to_owned(), known.to_owned()),
            false => (format!("{known}.0"), format!("{known}.*")),
        };
        if id.parse::<FindingId>().is_err() {
            return Ok(None);
        }
        let mut found = None;
        let mut take = |_: &str, finding| {
            found.get_or_insert(finding);
        };
        self.findings.walk(&format!("{repository}.{filter}"), &mut take).await?;
        Ok(found)
    }
}
