//! Scans repositories of sizes that are too large for the test suite, by all services in this process, and prints how long
//! each took and the most memory that the process had meanwhile; children of git are not counted.

#![expect(clippy::print_stdout, reason = "it reports to people")]

use std::time::Instant;

use anyhow::Context;
use secretscan_testkit::hostile::{BLOB, PackEntry, RawRepository, object_id, repeating_delta};
use secretscan_testkit::{Change, RepositoryBuilder};
use secretscan_tests::{Size, System};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let system = System::start(Size::default()).await?;
    let bomb = doubling(20)?;
    scan(&system, "a chain of deltas that doubles from 1 KB to 1 GB", &bomb.path()).await?;
    let mut large = RepositoryBuilder::new()?;
    large.commit("main", [Change::write("zeros", vec![b'0'; 1_000_000_000])]);
    let large = large.build()?;
    scan(&system, "a file of 1 GB", &large.path()).await?;
    let refs = many_refs(100_000)?;
    scan(&system, "100,000 refs", &refs.path()).await
}

async fn scan(system: &System, what: &str, path: &std::path::Path) -> anyhow::Result<()> {
    // Forgets what making the repository took. Source: proc(5).
    std::fs::write("/proc/self/clear_refs", "5").context("the peak of memory can't be reset here")?;
    let before = peak_megabytes()?;
    let started = Instant::now();
    let (id, _) = system.request(path.to_str().context("a path")?).await?;
    let scan = loop {
        let scan = system.bus.scan(&id).await?.context("a record")?;
        if scan.state.is_terminal() {
            break scan;
        }
        tokio::time::sleep_until(tokio::time::Instant::now() + std::time::Duration::from_millis(100)).await;
    };
    let totals = scan.totals();
    println!(
        "{what}: {:?} after {:.1} s, {} blobs, {} MB scanned, {} not scanned, {before} MB before, {} MB at most",
        scan.state,
        started.elapsed().as_secs_f64(),
        totals.blobs,
        totals.bytes / 1_000_000,
        totals.not_scanned,
        peak_megabytes()?
    );
    Ok(())
}

fn many_refs(count: usize) -> anyhow::Result<RawRepository> {
    let repository = RawRepository::new()?;
    let blob = repository.object("blob", b"text\n")?;
    let commit = repository.commit(&repository.tree(&[("100644", b"f", &blob)])?, &[])?;
    let lines: String = (0..count).map(|n| format!("{commit} refs/heads/b{n:06}\n")).collect();
    std::fs::write(
        repository.path().join("packed-refs"),
        format!("# pack-refs with: peeled fully-peeled sorted \n{lines}"),
    )?;
    Ok(repository)
}

fn doubling(times: usize) -> anyhow::Result<RawRepository> {
    let mut content = vec![b' '; 1 << 10];
    let mut blobs = vec![(PackEntry::Whole(BLOB, content.clone()), object_id(BLOB, &content)?)];
    for base in 0..times {
        let delta = repeating_delta(content.len() as u64, 2);
        content = content.repeat(2);
        blobs.push((PackEntry::Delta(base, delta), object_id(BLOB, &content)?));
    }
    RawRepository::packed(blobs)
}

/// The most memory that this process ever had, with the pages of files that it has mapped. Source: `VmHWM` in proc(5).
fn peak_megabytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? / 1024)
}
