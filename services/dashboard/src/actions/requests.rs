//! Requests: to scan, to cancel, to try again; and commits that are to be scanned again.

use data_encoding::HEXLOWER;
use secretscan_bus::repositories::repository_id;
use secretscan_bus::{now, v1};
use secretscan_model::{Priority, RepositoryId, RepositoryScan, RequestId, ScanState};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ActionError, Actions, Attempt, Done, accepted, check_uri};
use crate::auth::{Role, Scope};
use crate::index::queries::agents;

/// What is to be scanned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// What a URI names, known or not.
    Uri(String),
    /// A repository that is known.
    Repository(RepositoryId),
}

/// What a request is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// To scan the commits that the ledger does not know.
    #[default]
    Scan,
    /// To name the commits that are not scanned, and scan nothing.
    Verify,
    /// To scan those again that were scanned with other rules than the batch-agents have now.
    Rescan,
}

/// A request for a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewScan {
    /// What is to be scanned.
    pub target: Target,
    /// Full names of refs; all when empty.
    pub refs: Vec<String>,
    /// The urgency.
    pub priority: Priority,
    /// What it is for.
    pub purpose: Purpose,
}

impl Actions<'_> {
    /// Asks for a scan; gives its id and that of the repository. With an idempotency key it is the same request however often it
    /// is asked for.
    ///
    /// # Errors
    /// [`ActionError`] says why not.
    pub async fn request_scan(
        &self,
        scan: &NewScan,
        key: Option<&str>,
    ) -> Result<(RequestId, RepositoryId), ActionError> {
        let (repository, shown) = match &scan.target {
            Target::Uri(uri) => {
                let uri = check_uri(uri)?;
                (repository_id(uri.name()), uri.name().to_owned())
            }
            Target::Repository(id) => (id.clone(), id.to_string()),
        };
        let attempt = Attempt::new("request-create", &shown, Role::Triager).of(Some(&repository));
        self.audited(attempt, async || {
            let id = self.request_id(scan, key).await?;
            let mut message = v1::NewRepositoryScan {
                request_id: id.to_string(),
                refs: scan.refs.clone(),
                priority: v1::Priority::from(scan.priority).into(),
                requester: self.actor.name.clone(),
                verify: scan.purpose == Purpose::Verify,
                ..v1::NewRepositoryScan::default()
            };
            match &scan.target {
                Target::Uri(uri) => uri.trim().clone_into(&mut message.uri),
                Target::Repository(id) => message.repository_id = id.to_string(),
            }
            if scan.purpose == Purpose::Rescan {
                message.rescan = self.rule_set_in_use().await?;
            }
            let answer = accepted(self.app.bus.request_scan(&message).await?)?;
            let request: RequestId = answer.request_id.parse().unwrap_or(id);
            let value = (request.clone(), answer.repository_id.parse().unwrap_or(repository.clone()));
            Ok(Done { value, before: String::new(), after: format!("request {request}") })
        })
        .await
    }

    /// An id that is made of the key and of what is asked for, if there is a key.
    async fn request_id(&self, scan: &NewScan, key: Option<&str>) -> Result<RequestId, ActionError> {
        let made = |text: &str| text.parse().expect("hexadecimal digits and hyphens are an id");
        let Some(key) = key else { return Ok(made(&Uuid::now_v7().to_string())) };
        let hash = |text: &str, length: usize| HEXLOWER.encode(&Sha256::digest(text.as_bytes())[..length]);
        // Debug formatting keeps the parts apart.
        let prefix = format!("key-{}-", hash(&format!("{:?}", (&self.actor.name, key)), 12));
        let id = format!("{prefix}{}", hash(&format!("{scan:?}"), 8));
        let other = (prefix.clone(), format!("{prefix}~"), id.clone());
        let is_used = self.app.index.read(move |db| {
            db.prepare_cached("SELECT 1 FROM requests WHERE id > ?1 AND id < ?2 AND id <> ?3")?.exists(other)
        });
        if is_used.await? { Err(ActionError::KeyUsed) } else { Ok(made(&id)) }
    }

    /// The version of the rules that all batch-agents have.
    async fn rule_set_in_use(&self) -> Result<String, ActionError> {
        let all = agents::list(&self.app.index, &Scope::All, now()).await;
        let agents = all.map_err(|error| ActionError::Refused(error.to_string()))?;
        let mut versions: Vec<String> = agents
            .into_iter()
            .filter(|agent| agent.role == "batch-agent")
            .map(|agent| agent.rule_set)
            .collect();
        versions.sort();
        versions.dedup();
        match versions.as_slice() {
            [version] if !version.is_empty() => Ok(version.clone()),
            [] | [_] => Err(ActionError::Refused("no batch-agent says which rules it has; start one".into())),
            several => {
                let message = "the batch-agents have different rules; ask again when all have the new ones";
                Err(ActionError::Refused(format!("{message}: {}", several.join(", "))))
            }
        }
    }

    /// A request, if it is in the scope. What was refused before its repository was known belongs to none.
    ///
    /// # Errors
    /// [`ActionError::Missing`] when there is none.
    pub async fn scan(&self, id: &RequestId) -> Result<RepositoryScan, ActionError> {
        let scan = self.app.bus.scan(id).await?.filter(|scan| match &scan.repository {
            Some(repository) => self.actor.scope.holds(repository),
            None => self.actor.scope == Scope::All,
        });
        scan.ok_or_else(|| ActionError::Missing { what: "request", id: id.to_string() })
    }

    /// Cancels a request.
    ///
    /// # Errors
    /// [`ActionError`] says why not.
    pub async fn cancel(&self, id: &RequestId) -> Result<(), ActionError> {
        let scan = self.scan(id).await?;
        let attempt = Attempt::new("request-cancel", id.as_str(), Role::Triager).of(scan.repository.as_ref());
        self.audited(attempt, async || {
            let message =
                v1::CancelRepositoryScan { request_id: id.to_string(), requester: self.actor.name.clone() };
            accepted(self.app.bus.cancel_scan(&message).await?)?;
            Ok(Done { value: (), before: scan.state.name().to_owned(), after: "cancelled".into() })
        })
        .await
    }

    /// Asks again for what a request asked for that has failed or was cancelled; gives the id of the new one.
    ///
    /// # Errors
    /// [`ActionError`] says why not.
    pub async fn retry(&self, id: &RequestId) -> Result<RequestId, ActionError> {
        let scan = self.scan(id).await?;
        let attempt = Attempt::new("request-retry", id.as_str(), Role::Triager).of(scan.repository.as_ref());
        self.audited(attempt, async || {
            let is_over = matches!(scan.state, ScanState::Failed { .. } | ScanState::Cancelled);
            if !is_over {
                let message =
                    format!("it is {}; only what failed or was cancelled is tried again", scan.state.name());
                return Err(ActionError::Refused(message));
            }
            let repository_id = scan.repository.as_ref().map(ToString::to_string).unwrap_or_default();
            let purpose = &scan.purpose;
            let message = v1::NewRepositoryScan {
                request_id: Uuid::now_v7().to_string(),
                uri: if repository_id.is_empty() { scan.uri.clone() } else { String::new() },
                repository_id,
                refs: scan.refs.clone(),
                priority: v1::Priority::from(scan.priority).into(),
                requester: self.actor.name.clone(),
                verify: *purpose == secretscan_model::Purpose::Verify,
                rescan: purpose.rescan().map(|rescan| rescan.chosen.rule_set.clone()).unwrap_or_default(),
            };
            let answer = accepted(self.app.bus.request_scan(&message).await?)?;
            let new: RequestId = answer.request_id.parse().unwrap_or(id.clone());
            let after = format!("request {new}");
            Ok(Done { value: new, before: scan.state.name().to_owned(), after })
        })
        .await
    }

    /// Makes commits unknown to the ledger, so that the next request scans them again: these, or all when there are none named.
    /// Gives how many.
    ///
    /// # Errors
    /// [`ActionError`] says why not.
    pub async fn forget(&self, repository: &RepositoryId, commits: &[String]) -> Result<u64, ActionError> {
        let attempt = Attempt::new("history-forget", repository.as_str(), Role::Admin).of(Some(repository));
        self.audited(attempt, async || {
            let message = v1::ForgetCommits {
                repository_id: repository.to_string(),
                commits: commits.to_vec(),
                all: commits.is_empty(),
                requester: self.actor.name.clone(),
            };
            let answer = accepted(self.app.bus.forget_commits(&message).await?)?;
            let after = format!("{} commits are unknown", answer.commits);
            Ok(Done { value: answer.commits, before: String::new(), after })
        })
        .await
    }
}
