//! Schedules for all repositories of an owner.

use secretscan_hosts::Listed;
use serde::Serialize;
use utoipa::ToSchema;

use super::requests::Target;
use super::schedules::{NewSchedule, Plan};
use super::{ActionError, Actions, Attempt, Done};
use crate::auth::Role;

/// Which repositories, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Archived ones too.
    pub archived: bool,
    /// Forks too.
    pub forks: bool,
    /// The schedule that each gets; they are only listed when absent.
    pub plan: Option<Plan>,
}

/// What became of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DiscoveredState {
    /// Nothing: no schedule was asked for.
    Listed,
    /// It has a schedule now.
    Scheduled,
    /// It had one from before, which stays as it is.
    Known,
    /// It gets none.
    Refused,
}

/// A repository of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// As the host lists it.
    pub listed: Listed,
    /// What became of it.
    pub state: DiscoveredState,
    /// Why it was refused.
    pub error: Option<String>,
}

/// A page of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveredPage {
    /// Those that are wanted, in the order of the host.
    pub repositories: Vec<Discovered>,
    /// How the next page is asked for; absent on the last one.
    pub next: Option<String>,
}

impl Actions<'_> {
    /// Lists a page of the repositories of an owner that the configuration names, and gives those a schedule that have none
    /// from here.
    ///
    /// # Errors
    /// [`ActionError`] says why not. What has a schedule by then keeps it, and is known the next time.
    pub async fn discover(
        &self,
        name: &str,
        wanted: &Wanted,
        next: Option<&str>,
    ) -> Result<DiscoveredPage, ActionError> {
        let attempt = Attempt::new("discover", name, Role::Admin);
        self.audited(attempt, async || {
            let page = self.app.discovery.page(name, next).await?;
            let missing =
                || ActionError::Missing { what: "owner in the configuration of discovery", id: name.into() };
            let page = page.ok_or_else(missing)?;
            let mut repositories = Vec::new();
            for listed in page.repositories {
                if !listed.is_wanted(wanted.archived, wanted.forks) {
                    continue;
                }
                repositories.push(match &wanted.plan {
                    Some(plan) => self.schedule_listed(listed, plan).await?,
                    None => Discovered { listed, state: DiscoveredState::Listed, error: None },
                });
            }
            let count = |state| repositories.iter().filter(|one| one.state == state).count();
            let after = match &wanted.plan {
                Some(plan) => format!("{}: {} scheduled", plan.cron, count(DiscoveredState::Scheduled)),
                None => format!("{} listed", repositories.len()),
            };
            let value = DiscoveredPage { repositories, next: page.next };
            Ok(Done { value, before: String::new(), after })
        })
        .await
    }

    async fn schedule_listed(&self, listed: Listed, plan: &Plan) -> Result<Discovered, ActionError> {
        let scheduled = match listed.schedule_id() {
            Ok(id) if self.app.bus.schedule(&id).await?.is_some() => {
                return Ok(Discovered { listed, state: DiscoveredState::Known, error: None });
            }
            Ok(id) => {
                let target = Target::Uri(listed.url.clone());
                let new = NewSchedule { id: Some(id), target, refs: Vec::new(), plan: plan.clone() };
                self.create_schedule(&new).await.map(drop)
            }
            Err(error) => Err(ActionError::Refused(error.to_string())),
        };
        match scheduled {
            Ok(()) => Ok(Discovered { listed, state: DiscoveredState::Scheduled, error: None }),
            Err(ActionError::Refused(error)) => {
                Ok(Discovered { listed, state: DiscoveredState::Refused, error: Some(error) })
            }
            Err(error) => Err(error),
        }
    }
}
