//! A repository that nobody asks for: a host tells of its pushes, one commit each.

use std::time::Duration;

use anyhow::Context;
use secretscan_bus::Bus;
use secretscan_model::RepositoryId;
use secretscan_proto::v1;

use super::Target;
use super::fleet::wait;

/// Tells of a push of each commit, spread over a time, each until it is stored; gives the repository's id.
pub(super) async fn tell(bus: &Bus, target: &Target, over: Duration) -> anyhow::Result<RepositoryId> {
    let uri = target.uri();
    let lines = String::from_utf8(target.generated.repository.git(&["rev-list", "--all", "--parents"])?)?;
    let pause = over / u32::try_from(lines.lines().count().max(1))?;
    for (number, line) in lines.lines().enumerate() {
        let mut ids = line.split(' ');
        let pushed = v1::PushedRef {
            name: "refs/heads/main".to_owned(),
            after: ids.next().unwrap_or_default().to_owned(),
            before: ids.next().unwrap_or_default().to_owned(),
        };
        let push = v1::PushReceived {
            source: "faults".to_owned(),
            delivery: number.to_string(),
            uri: uri.clone(),
            refs: vec![pushed],
            ..v1::PushReceived::default()
        };
        // No server for a moment.
        while bus.receive_push(&push).await.is_err() {
            wait(Duration::from_millis(200)).await;
        }
        wait(pause).await;
    }
    loop {
        let known = bus.repositories().await.unwrap_or_default();
        if let Some(repository) = known.into_iter().find(|repository| repository.uri == uri) {
            return Ok(repository.id);
        }
        wait(Duration::from_millis(200)).await;
    }
}

/// Whether all that was pushed is scanned, or an error that says what is not.
pub(super) async fn is_scanned(bus: &Bus, target: &Target) -> anyhow::Result<()> {
    let uri = target.uri();
    let scans = bus.scans().await?;
    let of_pushes = scans.iter().filter(|scan| scan.uri == uri);
    let mut joined = 0;
    for scan in of_pushes {
        anyhow::ensure!(scan.state.is_terminal(), "the request {} has not ended", scan.id);
        joined += scan.pushes.len();
    }
    let told = target.generated.repository.git(&["rev-list", "--all"]).context("listing")?;
    let told = told.iter().filter(|byte| **byte == b'\n').count();
    anyhow::ensure!(joined >= told, "{joined} pushes of {told} have joined a request");
    Ok(())
}
