use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use secretscan_git::{
    BatchLimits, CutBatch, GitError, LocatedFinding, Refs, ScanOptions, ScanReport, Selection, list,
    scan_archive, scan_history,
};
use secretscan_model::ids::CommitId;
use tempfile::tempdir;

use crate::support::*;

fn cut(repo: &Path, limits: BatchLimits, scratch: &Path) -> Vec<CutBatch> {
    cutter(repo, limits, scratch, &CHILDREN).unwrap().collect::<Result<_, _>>().unwrap()
}

fn limits(max_commits: usize, max_bytes: u64) -> BatchLimits {
    BatchLimits { max_commits, max_bytes, max_stored_bytes: u64::MAX, max_blob_bytes: 1 << 20 }
}

fn scan(batch: &CutBatch, scratch: &Path) -> ScanReport {
    scan_archive(batch.archive.path(), &|_| true, &scanner(), &key(), &options(scratch)).unwrap()
}

fn merged(reports: Vec<ScanReport>) -> Vec<LocatedFinding> {
    let mut all: BTreeMap<_, LocatedFinding> = BTreeMap::new();
    for located in reports.into_iter().flat_map(|report| report.findings) {
        let fingerprint = located.finding.id.clone();
        let finding = match all.remove(&fingerprint) {
            Some(known) => known.finding.merge(located.finding),
            None => located.finding,
        };
        all.insert(fingerprint, LocatedFinding { finding, secret: located.secret });
    }
    let mut all: Vec<_> = all.into_values().collect();
    all.sort_by_key(|located| told(std::slice::from_ref(located)));
    all
}

/// The same findings, computed commit by commit from listings and contents.
pub fn naive(repo: &Path) -> Vec<String> {
    let dates: BTreeMap<CommitId, i64> =
        list(repo, &Refs::All, &CHILDREN).unwrap().into_iter().map(|c| (c.id, c.corrected_date)).collect();
    type Place = (i64, CommitId, u32, u32);
    let mut places: BTreeMap<(String, String), Vec<Place>> = BTreeMap::new();
    for (commit, path, blob) in naive_introductions(repo) {
        let content = git(repo, &["cat-file", "blob", &blob.to_string()]);
        for found in scanner().scan(&content) {
            let secret = String::from_utf8(found.secret.expose().to_vec()).unwrap();
            let path = String::from_utf8_lossy(&path).into_owned();
            places.entry((path, secret)).or_default().push((
                dates[&commit],
                commit,
                found.line,
                found.column,
            ));
        }
    }
    let one = |((path, secret), mut at): ((String, String), Vec<Place>)| {
        at.sort();
        let at = at.iter().take(20).map(|(_, commit, line, column)| format!(" {commit}@{line}:{column}"));
        format!("{path} {secret}{}", at.collect::<String>())
    };
    let mut told: Vec<String> = places.into_iter().map(one).collect();
    told.sort();
    told
}

/// Commits as (parents, files): each parent is counted back from the commit, each file is a path and the tokens in it.
type Plan = Vec<(i64, Vec<usize>, BTreeMap<u8, Vec<usize>>)>;

fn plan() -> impl Strategy<Value = Plan> {
    let files = prop::collection::btree_map(0..4u8, prop::collection::vec(0..5usize, 0..3), 0..4);
    prop::collection::vec((0..50i64, prop::collection::vec(1..4usize, 0..3), files), 1..9)
}

fn build(plan: &Plan) -> Builder {
    let mut repo = Builder::new();
    for (n, (time, back, contents)) in plan.iter().enumerate() {
        let mut parents: Vec<usize> = back.iter().filter_map(|back| (n + 1).checked_sub(*back)).collect();
        parents.retain(|parent| *parent > 0);
        parents.sort_unstable();
        parents.dedup();
        let file = |(path, tokens): (&u8, &Vec<usize>)| {
            let text: String = tokens.iter().map(|t| format!("x = {}\n", token(*t))).collect();
            (format!("dir{}/file{path}", path % 2).into_bytes(), (FILE, text.into_bytes()))
        };
        repo.commit(*time, &parents, &contents.iter().map(file).collect());
    }
    repo
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn findings_do_not_depend_on_the_batches(
        plan in plan(),
        max_commits in 1..5usize,
        max_bytes in 1..200u64,
        (format, _) in prop::sample::select(&FORMATS[..]),
    ) {
        let dir = tempdir().unwrap();
        let repo = build(&plan).write_as(format, dir.path());
        let expected = naive(&repo);
        let batches = cut(&repo, limits(max_commits, max_bytes), dir.path());
        prop_assert!(batches.iter().all(|batch| batch.commits.len() <= max_commits));
        let in_batches = merged(batches.iter().map(|batch| scan(batch, dir.path())).collect());
        prop_assert_eq!(&told(&in_batches), &expected);
        let whole =
            scan_history(&repo, &Selection::All, &scanner(), &key(), &options(dir.path())).unwrap();
        let mut whole = told(&whole.findings);
        whole.sort();
        prop_assert_eq!(&whole, &expected);
    }
}

/// Ten commits, each with a new version of a file that holds a token of its own.
fn ten_versions(dir: &Path) -> std::path::PathBuf {
    ten_versions_as("sha1", dir)
}

fn ten_versions_as(format: &str, dir: &Path) -> std::path::PathBuf {
    let mut repo = Builder::new();
    let mut last = None;
    for n in 0..10 {
        let text = format!("{}\n{}\n", "filler ".repeat(300), token(n));
        last = Some(repo.commit(n as i64, last.as_slice(), &files(&[("file", &text)])));
    }
    repo.write_as(format, dir)
}

#[test]
fn batches_keep_the_order_and_the_limits() {
    let dir = tempdir().unwrap();
    let repo = ten_versions(dir.path());
    let commits = list(&repo, &Refs::All, &CHILDREN).unwrap();
    let batches = cut(&repo, limits(3, u64::MAX), dir.path());
    assert_eq!(batches.iter().map(|b| b.commits.len()).collect::<Vec<_>>(), [3, 3, 3, 1]);
    assert_eq!(batches.iter().flat_map(|b| b.commits.clone()).collect::<Vec<_>>(), commits);
    assert_eq!(batches[0].blobs, 3);

    let one = batches[3].inflated_bytes;
    let by_bytes = cut(&repo, limits(100, 2 * one + 10), dir.path());
    assert_eq!(by_bytes.iter().map(|b| b.commits.len()).collect::<Vec<_>>(), [2, 2, 2, 2, 2]);
    let tiny = cut(&repo, limits(100, 1), dir.path());
    assert_eq!(tiny.len(), 10, "a commit above the limit is a batch of its own");
}

#[test]
fn cutting_twice_gives_the_same_archives() {
    let dir = tempdir().unwrap();
    let repo = ten_versions(dir.path());
    let archives = || -> Vec<Vec<u8>> {
        cut(&repo, limits(4, u64::MAX), dir.path())
            .iter()
            .map(|b| fs::read(b.archive.path()).unwrap())
            .collect()
    };
    assert_eq!(archives(), archives());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "only the repository is left");
}

#[test]
fn empty_commits_make_a_batch_without_blobs() {
    let dir = tempdir().unwrap();
    let mut repo = Builder::new();
    let first = repo.commit(1, &[], &Tree::new());
    repo.commit(2, &[first], &Tree::new());
    let repo = repo.write(dir.path());
    let batches = cut(&repo, BatchLimits::default(), dir.path());
    assert_eq!(batches.len(), 1);
    assert_eq!((batches[0].commits.len(), batches[0].blobs), (2, 0));
    let report = scan(&batches[0], dir.path());
    assert_eq!((report.commits, report.blobs, report.findings.len()), (2, 0, 0));
}

#[test]
fn only_admitted_commits_are_scanned() {
    let dir = tempdir().unwrap();
    let repo = ten_versions(dir.path());
    let batches = cut(&repo, limits(10, u64::MAX), dir.path());
    let wanted = batches[0].commits[4].id;
    let report = scan_archive(
        batches[0].archive.path(),
        &|id| *id == wanted,
        &scanner(),
        &key(),
        &options(dir.path()),
    );
    let report = report.unwrap();
    assert_eq!((report.commits, report.blobs, report.findings.len()), (1, 1, 1));
    let finding = &report.findings[0].finding;
    assert_eq!(finding.introduced().commit, wanted);
    assert_eq!(finding.introduced().author.name, "A5");
    assert_eq!((finding.introduced().line, finding.introduced().column), (2, 1));
    assert_eq!(report.findings[0].secret.expose(), token(4).as_bytes());
}

#[test]
fn a_blob_over_the_limit_is_named() {
    let dir = tempdir().unwrap();
    let mut repo = Builder::new();
    let large = format!("{}{}", token(1), " ".repeat(2000));
    repo.commit(1, &[], &files(&[("large", &large), ("small", &token(2))]));
    let repo = repo.write(dir.path());
    let batches = cut(&repo, BatchLimits { max_blob_bytes: 1000, ..BatchLimits::default() }, dir.path());
    let report = scan(&batches[0], dir.path());
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.not_scanned.len(), 1);
    assert!(report.not_scanned[0].what.starts_with("large (blob "), "{:?}", report.not_scanned);
    assert!(report.not_scanned[0].reason.contains("more than the limit of 1000"));

    let options = ScanOptions { max_blob_bytes: 1000, ..options(dir.path()) };
    let report = scan_history(&repo, &Selection::All, &scanner(), &key(), &options).unwrap();
    assert_eq!((report.findings.len(), report.not_scanned.len()), (1, 1));
}

#[test]
fn a_damaged_archive_is_an_error() {
    for (format, _) in FORMATS {
        check_damaged_archives(format);
    }
}

fn check_damaged_archives(format: &str) {
    let dir = tempdir().unwrap();
    let repo = ten_versions_as(format, dir.path());
    let batches = cut(&repo, BatchLimits::default(), dir.path());
    let good = fs::read(batches[0].archive.path()).unwrap();
    let path = dir.path().join("damaged");
    let scan_bytes = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        scan_archive(&path, &|_| true, &scanner(), &key(), &options(dir.path()))
    };
    assert_eq!(scan_bytes(&good).unwrap().findings.len(), 10);
    for len in (0..good.len() - 1024).step_by(997) {
        assert!(matches!(scan_bytes(&good[..len]), Err(GitError::Corrupt { .. })), "{len} bytes");
    }
    // A flipped bit is an error, or hits what carries no meaning (the padding of the tar).
    let mut found = 0;
    for at in (0..good.len()).step_by(61) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        match scan_bytes(&bad) {
            Err(GitError::Corrupt { .. }) => found += 1,
            Err(error) => panic!("byte {at}: {error}"),
            Ok(report) => assert!(report.findings.len() <= 10),
        }
    }
    assert!(found > good.len() / 61 / 2, "{found}");
    for bytes in [&b""[..], b"not a tar"] {
        assert!(matches!(scan_bytes(bytes), Err(GitError::Corrupt { .. })));
    }
}

#[test]
fn a_scan_stops_when_told() {
    let dir = tempdir().unwrap();
    let repo = ten_versions(dir.path());
    let batches = cut(&repo, BatchLimits::default(), dir.path());
    let stop = AtomicBool::new(true);
    let options = ScanOptions { stop: &stop, ..options(dir.path()) };
    let stopped = scan_archive(batches[0].archive.path(), &|_| true, &scanner(), &key(), &options);
    assert!(matches!(stopped, Err(GitError::Stopped)));
    let stopped = scan_history(&repo, &Selection::All, &scanner(), &key(), &options);
    assert!(matches!(stopped, Err(GitError::Stopped)));
}
