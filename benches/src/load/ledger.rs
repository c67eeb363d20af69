//! Large ledgers, and many: what they take on disk, and what it takes to compare a history with one.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::Context;
use async_nats::jetstream;
use futures::{StreamExt, TryStreamExt};
use secretscan_bus::Bus;
use secretscan_bus::access::Identity;
use secretscan_bus::ledger::LedgerCache;
use secretscan_git::{ChildLimits, Refs};
use secretscan_model::{BatchId, BatchKey, CommitId, RepositoryId, RequestId};
use secretscan_testkit::run_git;
use serde::{Deserialize, Serialize};

use crate::Arguments;
use crate::progress::Progress;
use crate::table::{Row, figures, megabytes, usages};
use secretscan_benches::process::usage;
use secretscan_benches::system::{System, connect, since};

/// The version of the rules of a scan, as long as a real one.
const RULE_SET: &str = "0123456789abcdef0123456789abcdef";
/// Commits of a listing that the ledger does not know.
const NEW_COMMITS: usize = 1_000;

/// Commits in each of many ledgers.
const SMALL_LEDGER: usize = 100;
/// Small ledgers written at once.
const WRITERS: usize = 32;

/// What a comparison took, as the process that did it says.
#[derive(Serialize, Deserialize)]
struct Difference {
    /// Until git had listed the history.
    listed: f64,
    /// Reading the ledger, and comparing.
    compared: f64,
    unknown: usize,
    peak_bytes: u64,
}

/// Measures it.
pub async fn measure(arguments: &Arguments, binaries: &Path) -> anyhow::Result<String> {
    let (commits, ledgers) = (arguments.commits(), arguments.ledgers());
    let system = System::start(binaries).await?;
    let bus = system.connect(Identity::Controller).await?;
    let before = system.usages()?;
    let repository = system.dir().join("history.git");
    let history = {
        let repository = repository.clone();
        tokio::task::spawn_blocking(move || long_history(&repository, commits)).await??
    };
    let started = Instant::now();
    // What git lists: old commits, and new ones that nobody has seen.
    fill(&bus, 0, &history[..history.len() - NEW_COMMITS], arguments.batch as usize).await?;
    let filled = started.elapsed();
    let (stored, on_disk) = (stored(&system).await?, system.bytes_on_disk()?);
    let difference = ask_for_difference(&system, &repository).await?;
    anyhow::ensure!(difference.unknown == NEW_COMMITS, "{} commits are unknown", difference.unknown);
    let next = one_more(&bus, &history).await?;
    let mut rows = vec![
        Row::below("difference: read the ledger, compare a listing", difference.compared, 1.0, " s"),
        Row::new("before that, git lists the history", format!("{:.1} s", difference.listed)),
        Row::below(
            "memory of who lists and compares, peak",
            difference.peak_bytes as f64 / 1e6,
            150.0,
            " MB",
        ),
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
        fill(&bus, repository, &made_up(repository, commits)?, arguments.batch as usize).await?;
    }
    let all = commits * ledgers;
    rows = vec![
        Row::new("stored", megabytes(self::stored(&system).await?)),
        Row::new("the server's files", megabytes(system.bytes_on_disk()?)),
        Row::new("filled in", format!("{:.0} s", started.elapsed().as_secs_f64())),
    ];
    let difference = ask_for_difference(&system, &repository).await?;
    rows.push(Row::below("difference in one of them", difference.compared, 1.0, " s"));
    text.push_str(&figures(&format!("{all} commits in {ledgers} repositories"), &rows));
    text.push('\n');
    text.push_str(&many(&system, &bus, arguments).await?);
    text.push('\n');
    text.push_str(&usages("process", &since(&before, system.usages()?)));
    system.stop().await?;
    Ok(text)
}

/// Many small ledgers beside the large ones.
async fn many(system: &System, bus: &Bus, arguments: &Arguments) -> anyhow::Result<String> {
    let (first, count) = (arguments.ledgers(), arguments.repositories());
    let (before, started) = (stored(system).await?, Instant::now());
    let filled = futures::stream::iter(first..first + count)
        .map(|number| async move { fill(bus, number, &made_up(number, SMALL_LEDGER)?, SMALL_LEDGER).await });
    filled.buffer_unordered(WRITERS).try_collect::<()>().await?;
    let seconds = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let known = bus.ledger(&repository_id(first + count / 2)?).known().await?;
    anyhow::ensure!(known.len() == SMALL_LEDGER, "{} commits are known", known.len());
    let read = started.elapsed().as_secs_f64() * 1e3;
    let rows = [
        Row::new("stored", megabytes(stored(system).await?.saturating_sub(before))),
        Row::new("batches admitted and marked", format!("{:.0}/s", count as f64 / seconds)),
        Row::new("one of them read", format!("{read:.1} ms")),
    ];
    Ok(figures(&format!("{count} repositories more, {SMALL_LEDGER} commits in each"), &rows))
}

/// A repository with so many commits, one after the other, and nothing in them; gives their ids in order.
fn long_history(path: &Path, commits: usize) -> anyhow::Result<Vec<CommitId>> {
    std::fs::create_dir(path)?;
    run_git(path, &["init", "--quiet", "--bare"], b"")?;
    let mut stream = String::new();
    for number in 0..commits {
        let time = 1_000_000_000 + number;
        stream += &format!("commit refs/heads/main\ncommitter A <a@example.org> {time} +0000\ndata 0\n\n");
    }
    run_git(path, &["fast-import", "--quiet"], stream.as_bytes())?;
    // As after a clone.
    run_git(path, &["commit-graph", "write", "--reachable"], b"")?;
    let listed = secretscan_git::list(path, &Refs::All, &ChildLimits::NONE)?;
    Ok(listed.into_iter().map(|commit| commit.id).collect())
}

/// The ids of a repository that nobody lists.
fn made_up(repository: usize, commits: usize) -> anyhow::Result<Vec<CommitId>> {
    (0..commits).map(|number| commit_id(repository, number)).collect()
}

/// Fills the ledger of a repository, batch after batch.
async fn fill(bus: &Bus, repository: usize, commits: &[CommitId], batch: usize) -> anyhow::Result<()> {
    let (id, cache) = (repository_id(repository)?, LedgerCache::default());
    let is_long = commits.len() > batch;
    let mut progress = is_long.then(|| Progress::new(format!("ledger {repository}, commits"), commits.len()));
    let mut done = 0;
    for (number, ids) in commits.chunks(batch).enumerate() {
        admit(bus, &id, &format!("1-{number:032x}"), ids, &cache).await?;
        done += ids.len();
        if let Some(progress) = &mut progress {
            progress.at(done);
        }
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
async fn one_more(bus: &Bus, history: &[CommitId]) -> anyhow::Result<(f64, f64)> {
    let (id, cache) = (repository_id(0)?, LedgerCache::default());
    let mut took = [0.0; 2];
    let batches = history[history.len() - NEW_COMMITS..].chunks(NEW_COMMITS / took.len());
    for ((number, ids), took) in batches.enumerate().zip(&mut took) {
        let started = Instant::now();
        admit(bus, &id, &format!("2-{number:032x}"), ids, &cache).await?;
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
async fn ask_for_difference(system: &System, repository: &Path) -> anyhow::Result<Difference> {
    let this = std::env::current_exe().context("finding this program")?;
    let output = tokio::process::Command::new(this)
        .args(["--difference", &system.url(), "--keys"])
        .arg(system.keys())
        .arg("--repository")
        .arg(repository)
        .stderr(Stdio::inherit())
        .output()
        .await
        .context("starting this program once more")?;
    anyhow::ensure!(output.status.success(), "comparing failed");
    serde_json::from_slice(&output.stdout).context("reading what a comparison took")
}

/// Lists a repository and compares it with the ledger of the first as a repo-agent does; what it took, as JSON.
pub async fn difference(url: &str, keys: &Path, repository: &Path) -> anyhow::Result<String> {
    let bus = connect(url, keys, Identity::RepoAgent).await?;
    let started = Instant::now();
    let listing = secretscan_git::list(repository, &Refs::All, &ChildLimits::NONE)?;
    let listed = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let known = bus.ledger(&repository_id(0)?).known().await?;
    let unknown = listing.iter().filter(|commit| !known.contains(&commit.id)).count();
    let compared = started.elapsed().as_secs_f64();
    let peak_bytes = usage(std::process::id())?.peak;
    Ok(serde_json::to_string(&Difference { listed, compared, unknown, peak_bytes })?)
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
