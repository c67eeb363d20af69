//! Rules about paths alone, in every kind of scan.

use std::fs;
use std::sync::Arc;

use secretscan_detect::{RuleSet, Scanner};
use secretscan_git::{
    BatchLimits, ScanOptions, ScanReport, Selection, Staged, scan_archive, scan_directory, scan_history,
};
use tempfile::tempdir;

use crate::support::*;

const MAX_BLOB_BYTES: u64 = 2000;

fn path_scanner() -> Scanner {
    let rules = "[[rules]]\nid = 'key-store'\npath = '''\\.p12$'''\ntags = ['file']\nconfidence = 'medium'\n\
                 [[allowlists]]\npaths = ['^docs/']\n";
    Scanner::new(Arc::new(RuleSet::parse(rules, "test", None).unwrap()))
}

/// Path, and the number of commits, of each finding; what it says of itself must be the rule's.
fn paths(report: &ScanReport) -> Vec<(String, usize)> {
    let told = report.findings.iter().map(|located| {
        let finding = &located.finding;
        assert_eq!(
            (finding.confidence.as_str(), finding.tags.as_slice()),
            ("medium", &["file".to_owned()][..])
        );
        assert_eq!(located.secret.expose(), finding.path);
        (finding.display_path().into_owned(), finding.occurrences.len())
    });
    told.collect()
}

#[test]
fn a_history_has_each_path_once() {
    let dir = tempdir().unwrap();
    let large = " ".repeat(3000);
    let mut repo = Builder::new();
    let first = repo.commit(1, &[], &files(&[("a.p12", "1"), ("b.txt", "1"), ("docs/a.p12", "1")]));
    let second =
        repo.commit(2, &[first], &files(&[("a.p12", "2"), ("sub/b.p12", "1"), ("large.p12", &large)]));
    repo.commit(3, &[second], &files(&[("b.txt", "3")]));
    let repo = repo.write(dir.path());
    let options = ScanOptions { max_blob_bytes: MAX_BLOB_BYTES, ..options(dir.path()) };
    let expected = [("a.p12", 2), ("large.p12", 1), ("sub/b.p12", 1)].map(|(path, n)| (path.to_owned(), n));
    let report = scan_history(&repo, &Selection::All, &path_scanner(), &key(), &options).unwrap();
    assert_eq!(paths(&report), expected);
    assert_eq!(report.findings[0].finding.introduced().corrected_date, 1);
    assert_eq!(report.not_scanned.len(), 1);

    let limits = BatchLimits {
        max_commits: 100,
        max_bytes: 1 << 20,
        max_blob_bytes: MAX_BLOB_BYTES,
        ..BatchLimits::default()
    };
    let batches: Vec<_> = cutter(&repo, limits, dir.path(), &CHILDREN).unwrap().collect();
    let [Ok(batch)] = &batches[..] else { panic!("one batch") };
    let report = scan_archive(batch.archive.path(), &|_| true, &path_scanner(), &key(), &options).unwrap();
    assert_eq!(paths(&report), expected);
}

#[test]
fn staged_files_and_directories_have_paths_too() {
    let dir = tempdir().unwrap();
    git(dir.path(), &["init", "-q"]);
    fs::create_dir(dir.path().join("sub")).unwrap();
    for (name, size) in [("sub/a.p12", 1), ("large.p12", 3000), ("b.txt", 1)] {
        fs::write(dir.path().join(name), vec![b' '; size]).unwrap();
    }
    git(dir.path(), &["add", "."]);
    let scratch = tempdir().unwrap();
    let options = ScanOptions { max_blob_bytes: MAX_BLOB_BYTES, ..options(scratch.path()) };
    let expected = [("large.p12", 1), ("sub/a.p12", 1)].map(|(path, n)| (path.to_owned(), n));
    let of_index = Staged::read(dir.path(), None, &options).unwrap();
    let of_index = of_index.scan(&path_scanner(), &key(), &options).unwrap();
    let of_directory = scan_directory(dir.path(), &path_scanner(), &key(), &options).unwrap();
    assert_eq!(paths(&of_index), expected);
    assert_eq!(paths(&of_directory), expected);
    assert_eq!((of_index.not_scanned.len(), of_directory.not_scanned.len()), (1, 1));
}

#[test]
fn a_secret_in_a_name_is_found_and_masked_everywhere() {
    let dir = tempdir().unwrap();
    git(dir.path(), &["init", "-q"]);
    let secret = format!("tok_{}", "abcde".repeat(5));
    fs::create_dir(dir.path().join(format!("of-{secret}"))).unwrap();
    fs::write(dir.path().join(format!("of-{secret}/large-{secret}.p12")), vec![b' '; 3000]).unwrap();
    fs::write(dir.path().join(format!("of-{secret}/plain.txt")), "nothing\n").unwrap();
    git(dir.path(), &["add", "."]);
    let rules = "[[rules]]\nid = 'key-store'\npath = '''\\.p12$'''\n\
                 [[rules]]\nid = 'token'\nregex = 'tok_[a-z]{25}'\n";
    let scanner = Scanner::new(Arc::new(RuleSet::parse(rules, "test", None).unwrap()));
    let scratch = tempdir().unwrap();
    let options = ScanOptions { max_blob_bytes: MAX_BLOB_BYTES, ..options(scratch.path()) };
    let staged = Staged::read(dir.path(), None, &options).unwrap();
    let report = staged.scan(&scanner, &key(), &options).unwrap();
    let found: Vec<_> = (report.findings.iter())
        .map(|located| (located.finding.rule_id.as_str(), located.finding.display_path().into_owned()))
        .collect();
    let (large, plain) = ("of-tok_****/large-tok_****.p12".to_owned(), "of-tok_****/plain.txt".to_owned());
    assert_eq!(found, [("key-store", large.clone()), ("token", large), ("token", plain)]);
    let told: Vec<_> = report.findings.iter().map(|located| &located.finding).collect();
    let told = format!("{told:?} {:?}", report.not_scanned);
    assert!(!told.contains(&secret), "{told}");
}
