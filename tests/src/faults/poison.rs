//! Requests that end every agent that touches them, beside others.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use secretscan_bus::Bus;
use secretscan_bus::dead_letters::{DeadLetter, Retry};
use secretscan_model::{BatchState, RepositoryScan, ScanState};

use super::{Options, Stage, StageOptions, ask, check};

/// What became of the poisoned requests.
#[derive(Clone, Debug)]
pub struct Poisoned {
    /// Why the request failed that ends repo-agents.
    pub of_repo_agents: String,
    /// Why the request failed whose batch ends batch-agents.
    pub of_batch_agents: String,
    /// How many agents were lost.
    pub lost: u64,
}

/// Scans repositories of which the first ends each repo-agent that takes its request, and the second each batch-agent that
/// takes its batch. Others must complete and nothing be left; what can't be done must be kept as dead letters.
///
/// # Errors
/// When something could not be started, or the system did not do what it must.
pub async fn poison(options: &Options, say: impl Fn(&str)) -> anyhow::Result<Poisoned> {
    let id = |number: usize| format!("s{}-{number}-0", options.seed);
    let points = [format!("scan.Claim.written@{}", id(0)), format!("batch.Claim.written@{}", id(1))];
    let stage = StageOptions {
        run: options,
        ack_wait: Duration::from_secs(1),
        fail_points: BTreeSet::new(),
        poison: Some(points.into()),
    };
    let mut stage = Stage::set(stage, &say).await?;
    // One request each: a second one for the same repository would be another request.
    stage.targets.iter_mut().for_each(|target| target.requests.truncate(1));
    let (poisoned, healthy) = stage.targets.split_at(2);
    let worked = async {
        let (repositories, _) = ask(&stage.bus, &stage.targets, options.duration).await?;
        check::ended(&stage.bus, healthy.iter(), options.patience).await?;
        let mut failed = Vec::new();
        for target in poisoned {
            failed.push(check::failed(&stage.bus, &target.requests[0], options.patience).await?);
        }
        Ok((repositories, failed))
    };
    let (_, failed) = stage.supervised(options.limit(), worked).await?;
    let jetstream = async_nats::jetstream::new(stage.client.clone());
    stage.supervised(options.limit(), check::drained(&stage.bus, &jetstream, options.patience)).await?;
    let lost = stage.fleet.ended().values().sum();
    let letters = stage.bus.dead_letters(1, 100).await?;
    for scan in &failed {
        is_kept(&letters, scan)?;
    }
    let batch = the_batch(&stage.bus, &failed[1]).await?;
    ensure!(letters.iter().any(|letter| letter.reason == batch), "no dead letter says {batch}: {letters:?}");
    ensure!(letters.len() == 3, "{letters:?}");
    stage.fleet.stop().await?;
    let reason = |scan: &RepositoryScan| match &scan.state {
        ScanState::Failed { reason } => reason.clone(),
        state => state.name().to_owned(),
    };
    Ok(Poisoned { of_repo_agents: reason(&failed[0]), of_batch_agents: reason(&failed[1]), lost })
}

/// There is a dead letter with the reason and the request as it was asked, which can be asked again.
fn is_kept(letters: &[DeadLetter], scan: &RepositoryScan) -> anyhow::Result<()> {
    let ScanState::Failed { reason } = &scan.state else { anyhow::bail!("{} has not failed", scan.id) };
    let letter = letters.iter().find(|letter| letter.reason == *reason);
    let letter = letter.with_context(|| format!("no dead letter says {reason}: {letters:?}"))?;
    let Some(Retry::Scan(again)) = letter.retry() else { anyhow::bail!("{letter:?} can't be asked again") };
    ensure!(again.uri == scan.uri && again.request_id.is_empty(), "{again:?}");
    Ok(())
}

/// Why the only batch of a request failed.
async fn the_batch(bus: &Bus, scan: &RepositoryScan) -> anyhow::Result<String> {
    let batches = bus.batches_of(&scan.id).await?;
    match batches.as_slice() {
        [batch] => match &batch.state {
            BatchState::Failed { reason } => Ok(reason.clone()),
            state => anyhow::bail!("the batch is {}", state.name()),
        },
        batches => anyhow::bail!("{} batches", batches.len()),
    }
}
