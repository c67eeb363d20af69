//! `secretscan run`: the main job in one command: start the system, scan, report, stop.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context;
use secretscan_bus::{Bus, v1};
use secretscan_model::{RepositoryId, RequestId};
use uuid::Uuid;

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::local::LocalArguments;
use crate::output::{ReportArguments, ReportWriter};
use crate::rules::ConfidenceArgument;
use crate::{findings, watch};

/// Scan whole repositories with a system of its own: start it, scan, report, stop it
///
/// What was scanned before, with the same data directory, is not scanned again; its findings are reported all the same.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  secretscan run https://github.com/owner/project
  secretscan run ~/src/project --format sarif > findings.sarif

Exit codes: 0 no findings, 1 findings, 2 error")]
pub struct Arguments {
    /// URIs of repositories, or paths on this machine
    #[arg(value_name = "URI|PATH", required = true)]
    repositories: Vec<String>,

    #[command(flatten)]
    report: ReportArguments,

    #[command(flatten)]
    local: LocalArguments,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let writer = arguments.report.open(None)?;
    writer.check(arguments.repositories.len())?;
    let uris: Vec<String> =
        arguments.repositories.iter().map(|text| uri(text)).collect::<anyhow::Result<_>>()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut system = arguments.local.start(0).await?;
        let bus = system.bus.clone();
        let scanned = tokio::select! {
            scanned = scan_all(&bus, &uris) => scanned,
            error = system.failed() => Err(error),
            () = secretscan_service::asked_to_stop() => Err(interrupted().into()),
        };
        let reported = match scanned {
            Ok(repositories) => report(&bus, &repositories, writer).await,
            Err(error) => Err(error),
        };
        system.stop().await?;
        reported
    })
}

/// A path as it stands, so that it means the same to the services; a URI as it is.
fn uri(text: &str) -> anyhow::Result<String> {
    if !Path::new(text).exists() {
        return Ok(text.to_owned());
    }
    let path = fs::canonicalize(text).with_context(|| format!("looking at {text}"))?;
    let path = path.into_os_string().into_string();
    path.map_err(|_| Failure::new(format!("the path {text} is not UTF-8"), "move the repository").into())
}

async fn scan_all(bus: &Bus, uris: &[String]) -> anyhow::Result<BTreeSet<RepositoryId>> {
    let mut repositories = BTreeSet::new();
    let mut requests = Vec::new();
    for uri in uris {
        let request = v1::NewRepositoryScan {
            request_id: Uuid::now_v7().to_string(),
            uri: uri.clone(),
            requester: "secretscan run".into(),
            ..v1::NewRepositoryScan::default()
        };
        let answer = bus.request_scan(&request).await?;
        if !answer.error.is_empty() {
            let message = format!("{uri} can't be scanned: {}", answer.error);
            return Err(Failure::new(message, "give a URI, or the path of a repository that exists").into());
        }
        requests.push(answer.request_id.parse()?);
        repositories.insert(answer.repository_id.parse()?);
    }
    for id in &requests {
        finish(bus, id).await?;
    }
    // Commits may be in flight for a request that an earlier run did not finish.
    for scan in bus.scans().await? {
        let is_ours = scan.repository.as_ref().is_some_and(|id| repositories.contains(id));
        if is_ours && !scan.state.is_terminal() {
            finish(bus, &scan.id).await?;
        }
    }
    Ok(repositories)
}

async fn finish(bus: &Bus, id: &RequestId) -> anyhow::Result<()> {
    let ended = watch::until_end(bus, id).await?;
    watch::ended_badly(&ended).map_or(Ok(()), |failure| Err(failure.into()))
}

async fn report(bus: &Bus, ids: &BTreeSet<RepositoryId>, writer: ReportWriter) -> anyhow::Result<Outcome> {
    let mut repositories = Vec::with_capacity(ids.len());
    for id in ids {
        repositories.push(bus.repository(id).await?.context("the repository is gone")?);
    }
    findings::report(bus, &repositories, ConfidenceArgument::Low, writer).await
}

fn interrupted() -> Failure {
    Failure::new("interrupted", "run it again: it goes on where it was")
}
