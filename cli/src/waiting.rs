//! Why a request does not move.

use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, BusError};
use secretscan_model::{AgentId, RepositoryScan, RequestId, Role, ScanState};

use crate::lists::counted;

/// What a request waits for, in words for its requester; `None` when it is worked on or has ended.
pub async fn reason(bus: &Bus, scan: &RepositoryScan) -> Result<Option<String>, BusError> {
    match &scan.state {
        ScanState::New | ScanState::Validating => Ok(Some("the controller has to check it".to_owned())),
        ScanState::Queued | ScanState::Scheduling => queued(bus, scan).await.map(Some),
        ScanState::Scheduled => match slots(bus, Role::RepoAgent).await? {
            0 => Ok(Some("no repo-agent is running".to_owned())),
            _ => Ok(Some("a repo-agent has to take it".to_owned())),
        },
        ScanState::InProgress { claim, is_listed: false } => Ok((!is_alive(bus, &claim.agent).await?)
            .then(|| "its repo-agent is gone; another has to take it".to_owned())),
        ScanState::InProgress { is_listed: true, .. } => {
            Ok((slots(bus, Role::BatchAgent).await? == 0).then(|| "no batch-agent is running".to_owned()))
        }
        ScanState::Completed | ScanState::Failed { .. } | ScanState::Cancelled => Ok(None),
    }
}

async fn queued(bus: &Bus, scan: &RepositoryScan) -> Result<String, BusError> {
    if let Some(other) = fetcher(bus, scan).await? {
        return Ok(format!("the repository is being fetched by request {other}"));
    }
    let slots = slots(bus, Role::RepoAgent).await?;
    if slots == 0 {
        return Ok("no repo-agent is running".to_owned());
    }
    // Free slots are counted as the scheduler does.
    if bus.unfinished(Queue::ScheduledScans).await? >= slots {
        let slots = counted(slots, "slot", "slots");
        return Ok(format!("no free slot: the repo-agents have {slots} in all"));
    }
    Ok("the scheduler has to assign it".to_owned())
}

/// The other request that fetches the repository now.
async fn fetcher(bus: &Bus, scan: &RepositoryScan) -> Result<Option<RequestId>, BusError> {
    let Some(id) = &scan.repository else { return Ok(None) };
    let fetching = bus.repository(id).await?.and_then(|repository| repository.fetching);
    let Some(other) = fetching.filter(|other| *other != scan.id) else { return Ok(None) };
    let is_fetching = bus.scan(&other).await?.is_some_and(|scan| match scan.state {
        ScanState::InProgress { is_listed, .. } => !is_listed,
        state => !state.is_terminal(),
    });
    Ok(is_fetching.then_some(other))
}

async fn slots(bus: &Bus, role: Role) -> Result<u64, BusError> {
    let agents = bus.agents().await?;
    Ok(agents.iter().filter(|agent| agent.role == role).map(|agent| u64::from(agent.slots)).sum())
}

async fn is_alive(bus: &Bus, id: &AgentId) -> Result<bool, BusError> {
    Ok(bus.agents().await?.iter().any(|agent| agent.id == *id))
}
