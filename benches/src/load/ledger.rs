//! A large ledger: what it takes on disk, and how long it takes to compare a history with it.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::Context;
use async_nats::jetstream;
use secretscan_bus::Bus;
use secretscan_bus::access::Identity;
use secretscan_bus::ledger::LedgerCache;
use secretscan_model::{BatchId, BatchKey, CommitId, RepositoryId, RequestId};
use serde::{Deserialize, Serialize};

use crate::Arguments;
use crate::process::usage;
use crate::progress::Progress;
use crate::system::{System, connect, since};
use crate::table::{Row, figures, megabytes, usages};

/// The version of the rules of a scan, as long as a real one.
const RULE_SET: &str = "0123456789abcdef0123456789abcdef";
/// Commits of a listing that the ledger does not know.
const NEW_COMMITS: usize = 1_000;

/// What a comparison took, as the process that did it says.
#[derive(Serialize, Deserialize)]
struct Difference {
    seconds: f64,
    unknown: usize,
    peak_bytes: u64,
}

/// Measures it.
pub async fn measure(arguments: &Arguments, binaries: &Path) -> anyhow::Result<String> {
    let (commits, ledgers) = (arguments.commits(), arguments.ledgers());
    let system = System::start(binaries).await?;
    let bus = system.connect(Identity::Controller).await?;
    let before = system.usages()?;
    let started = Instant::now();
    fill(&bus, 0, commits, arguments.batch as usize).await?;
    let filled = started.elapsed();
    let (stored, on_disk) = (stored(&system).await?, system.bytes_on_disk()?);
    let difference = ask_for_difference(&system, commits).await?;
    anyhow::ensure!(difference.unknown == NEW_COMMITS, "{} commits are unknown", difference.unknown);
    let next = one_more(&bus, commits).await?;
    let mut rows = vec![
        Row::below("difference: read the ledger, compare a listing", difference.seconds, 1.0, " s"),
        Row::new("memory of the process that compares, peak", megabytes(difference.peak_bytes)),
        Row::below("stored", stored as f64 / 1e6, 30.0 * commits as f64 / 1e6, " MB"),
        Row::new("the server's files", megabytes(on_disk)),
        Row::new(
            "one more batch admitted and marked: by a controller that starts",
            format!("{:.2} s", next.0),
        ),
        Row::new("by one that has the ledger in memory", format!("{:.3} s", next.1)),
        Row::new("filled in", format!("{:.0} s", filled.as_secs_f64())),
    ];
    let title = format!("{commits} commits in one repository, {} in a batch", arguments.batch);
    let mut text = format!("Ledger.\n\n{}\n", figures(&title, &rows));

    for repository in 1..ledgers {
        fill(&bus, repository, commits, arguments.batch as usize).await?;
    }
    let all = commits * ledgers;
    rows = vec![
        Row::new("stored", megabytes(self::stored(&system).await?)),
        Row::new("the server's files", megabytes(system.bytes_on_disk()?)),
        Row::new("filled in", format!("{:.0} s", started.elapsed().as_secs_f64())),
    ];
    let difference = ask_for_difference(&system, commits).await?;
    rows.push(Row::below("difference in one of them", difference.seconds, 1.0, " s"));
    text.push_str(&figures(&format!("{all} commits in {ledgers} repositories"), &rows));
    text.push('\n');
    text.push_str(&usages("process", &since(&before, system.usages()?)));
    system.stop().await?;
    Ok(text)
}

/// Fills the ledger of a repository, batch after batch.
async fn fill(bus: &Bus, repository: usize, commits: usize, batch: usize) -> anyhow::Result<()> {
    let (id, cache) = (repository_id(repository)?, LedgerCache::default());
    let mut progress = Progress::new(format!("ledger {repository}, commits"), commits);
    for first in (0..commits).step_by(batch) {
        let ids: Vec<CommitId> = (first..(first + batch).min(commits))
            .map(|number| commit_id(repository, number))
            .collect::<anyhow::Result<_>>()?;
        admit(bus, &id, &format!("1-{first:032x}"), &ids, &cache).await?;
        progress.at(first + ids.len());
    }
    Ok(())
}

/// Admits a batch and marks it scanned, as a controller does.
async fn admit(
    bus: &Bus,
    repository: &RepositoryId,
    batch: &str,
    ids: &[CommitId],
    cache: &LedgerCache,
) -> anyhow::Result<()> {
    let key = BatchKey { request: RequestId::parse(repository.as_str())?, batch: BatchId::parse(batch)? };
    let ledger = bus.ledger(repository);
    let admitted = ledger.admit(&key, ids, cache, false).await?;
    anyhow::ensure!(admitted == ids.len() as u64, "{admitted} of {} commits were admitted", ids.len());
    Ok(ledger.mark_scanned(&key, RULE_SET).await?)
}

/// How long a batch of the first repository takes, in seconds: with an empty cache, and with the cache of the one before.
async fn one_more(bus: &Bus, commits: usize) -> anyhow::Result<(f64, f64)> {
    let (id, cache) = (repository_id(0)?, LedgerCache::default());
    let mut took = [0.0; 2];
    for (number, took) in took.iter_mut().enumerate() {
        let first = commits + NEW_COMMITS * (1 + number);
        let ids: Vec<CommitId> =
            (first..first + NEW_COMMITS).map(|number| commit_id(0, number)).collect::<anyhow::Result<_>>()?;
        let started = Instant::now();
        admit(bus, &id, &format!("2-{number:032x}"), &ids, &cache).await?;
        *took = started.elapsed().as_secs_f64();
    }
    Ok((took[0], took[1]))
}

/// Bytes of the ledgers, as the server counts them.
async fn stored(system: &System) -> anyhow::Result<u64> {
    let jetstream = jetstream::new(system.client().await?);
    let stream = jetstream.get_stream("KV_history").await.context("looking at the ledger's bucket")?;
    Ok(stream.cached_info().state.bytes)
}

/// Compares in a process of its own, whose memory is that of the comparison.
async fn ask_for_difference(system: &System, commits: usize) -> anyhow::Result<Difference> {
    let this = std::env::current_exe().context("finding this program")?;
    let output = tokio::process::Command::new(this)
        .args(["--difference", &system.url(), "--commits", &commits.to_string(), "--keys"])
        .arg(system.keys())
        .stderr(Stdio::inherit())
        .output()
        .await
        .context("starting this program once more")?;
    anyhow::ensure!(output.status.success(), "comparing failed");
    serde_json::from_slice(&output.stdout).context("reading what a comparison took")
}

/// Compares a listing with the ledger of the first repository as a repo-agent does; what it took, as JSON.
pub async fn difference(url: &str, keys: &Path, commits: usize) -> anyhow::Result<String> {
    let bus = connect(url, keys, Identity::RepoAgent).await?;
    let repository = repository_id(0)?;
    // What git lists: old commits, and new ones that nobody has seen.
    let listing: Vec<CommitId> = (NEW_COMMITS..commits)
        .map(|number| commit_id(0, number))
        .chain((0..NEW_COMMITS).map(|number| commit_id(usize::MAX, number)))
        .collect::<anyhow::Result<_>>()?;
    let started = Instant::now();
    let known = bus.ledger(&repository).known().await?;
    let unknown = listing.into_iter().filter(|id| !known.contains(id)).count();
    let seconds = started.elapsed().as_secs_f64();
    let peak_bytes = usage(std::process::id())?.peak;
    Ok(serde_json::to_string(&Difference { seconds, unknown, peak_bytes })?)
}

fn repository_id(number: usize) -> anyhow::Result<RepositoryId> {
    Ok(RepositoryId::parse(&format!("00000000-0000-5000-8000-{number:012x}"))?)
}

/// An id that looks like a hash: the mixing function of SplitMix64 (Steele, Lea, Flood 2014) on a counter.
fn commit_id(repository: usize, number: usize) -> anyhow::Result<CommitId> {
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let seed = mix((repository as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(number as u64);
    let words = [1, 2, 3].map(|part: u64| mix(seed.wrapping_add(part << 40)).to_le_bytes()).concat();
    Ok(CommitId::from_bytes(&words[..20])?)
}
