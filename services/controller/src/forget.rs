//! Commits that are to be scanned again leave the ledger.

use std::sync::Arc;

use secretscan_bus::chain;
use secretscan_bus::ledger::{ForgetError, Wanted};
use secretscan_bus::queue::{Delivery, Verdict};
use secretscan_model::{CommitId, IdError, RepositoryId};
use secretscan_proto::v1;

use crate::{Controller, Refusal, Trouble};

impl Controller {
    pub(crate) async fn forget(&self, delivery: Arc<Delivery>) -> Verdict {
        let forgotten = self.try_forget(&delivery).await.map(|(repository, commits)| {
            tracing::info!(repo = %repository, commits, "forgotten");
            v1::Answer { repository_id: repository.to_string(), commits, ..v1::Answer::default() }
        });
        self.answered(&delivery, forgotten).await
    }

    async fn try_forget(&self, delivery: &Delivery) -> Result<(RepositoryId, u64), Trouble> {
        self.check_size(delivery)?;
        let forget: v1::ForgetCommits =
            delivery.decode_strictly().map_err(|error| Refusal::from(chain(&error)))?;
        let wrong = |error: IdError| Refusal::from(error.to_string());
        let repository = RepositoryId::parse(&forget.repository_id).map_err(wrong)?;
        let wanted = match (forget.all, forget.commits.as_slice()) {
            (true, []) => Wanted::All,
            (true, _) => {
                return Err(Refusal::from("both all and commits are given; give one".to_owned()).into());
            }
            (false, []) => {
                return Err(Refusal::from("neither all nor commits are given; give one".to_owned()).into());
            }
            (false, commits) => {
                let ids = commits.iter().map(|id| id.parse()).collect::<Result<Vec<CommitId>, _>>();
                Wanted::these(&ids.map_err(wrong)?)
            }
        };
        if self.bus.repository(&repository).await?.is_none() {
            return Err(Refusal::from(format!("there is no repository {repository}")).into());
        }
        match self.bus.ledger(&repository).forget(&wanted, &self.cache).await {
            Ok(commits) => Ok((repository, commits)),
            Err(ForgetError::InFlight { batch }) => {
                let request = &batch.request;
                let reason = format!(
                    "some of the commits are being scanned by the request {request}; forget them when it has ended"
                );
                Err(Refusal::from(reason).into())
            }
            Err(ForgetError::Bus(error)) => Err(error.into()),
        }
    }
}
