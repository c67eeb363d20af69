//! Asking a running system for scans.

use std::ops::ControlFlow;

use anyhow::{Context, ensure};
use secretscan_bus::{Bus, v1};
use secretscan_model::{RepositoryScan, RequestId, ScanState};

/// Asks for a scan of a repository; gives the id of the request.
pub async fn ask(bus: &Bus, uri: &str, priority: v1::Priority) -> anyhow::Result<RequestId> {
    let new = v1::NewRepositoryScan {
        uri: uri.to_owned(),
        priority: priority.into(),
        ..v1::NewRepositoryScan::default()
    };
    let answer = bus.request_scan(&new).await?;
    ensure!(answer.error.is_empty(), "the request is refused: {}", answer.error);
    Ok(RequestId::parse(&answer.request_id)?)
}

/// Waits until a scan is completed; an error when it ends in another way.
pub async fn completed(bus: &Bus, id: &RequestId) -> anyhow::Result<RepositoryScan> {
    let mut ended = None;
    bus.follow_scan(id, |scan| match scan {
        Some(scan) if scan.state.is_terminal() => {
            ended = Some(scan);
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })
    .await?;
    let scan = ended.context("the request has no end")?;
    ensure!(scan.state == ScanState::Completed, "the scan is {:?}: {:?}", scan.state, scan.trail.last());
    Ok(scan)
}
