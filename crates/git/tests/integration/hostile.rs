//! Repositories that no honest Git would write: each is scanned, or refused in words, within its limits.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use secretscan_git::{
    BatchLimits, ChildLimits, GitError, Refs, ScanOptions, ScanReport, Selection, list, scan_archive,
    scan_history,
};
use secretscan_testkit::hostile::{
    BLOB, PackEntry, RawRepository, commit_bytes, delta_head, object_id, repeating_delta, tree_bytes,
};
use tempfile::tempdir;

use crate::support::*;

/// What is found and what is left out offline, and the same when the history is cut into batches.
fn scan_both_ways(repo: &Path, max_memory_bytes: u64) -> [Result<ScanReport, GitError>; 2] {
    let scratch = tempdir().unwrap();
    let options = ScanOptions { max_memory_bytes, ..options(scratch.path()) };
    let offline = scan_history(repo, &Selection::All, &scanner(), &key(), &options);
    let in_batches = || {
        let children = ChildLimits { max_memory_bytes, ..CHILDREN };
        let limits = BatchLimits { max_blob_bytes: options.max_blob_bytes, ..BatchLimits::default() };
        let mut all = ScanReport::default();
        for batch in cutter(repo, limits, scratch.path(), &children)? {
            let archive = batch?.archive;
            let report = scan_archive(archive.path(), &|_| true, &scanner(), &key(), &options)?;
            all.findings.extend(report.findings);
            all.not_scanned.extend(report.not_scanned);
        }
        Ok(all)
    };
    [offline, in_batches()]
}

/// Both ways find this many secrets, and leave out one thing for each of these words.
fn finds(repo: &Path, secrets: usize, left_out: &[&str]) {
    for report in scan_both_ways(repo, 1 << 24) {
        let report = report.unwrap();
        assert_eq!(report.findings.len(), secrets, "{:?}", told(&report.findings));
        assert_eq!(report.not_scanned.len(), left_out.len(), "{:?}", report.not_scanned);
        for words in left_out {
            let is_named = report.not_scanned.iter().any(|left| format!("{left:?}").contains(words));
            assert!(is_named, "{words}: {:?}", report.not_scanned);
        }
    }
}

#[test]
fn a_tree_with_endless_paths_is_scanned_once() {
    let repo = RawRepository::nested(60, &[b"a", b"b"], Some(&token(1))).unwrap();
    finds(&repo.path(), 1, &["can't be listed"]);
}

#[test]
fn a_tree_that_git_walks_for_ever_ends_with_the_stop_flag() {
    let repo = RawRepository::nested(60, &[b"a", b"b"], None).unwrap();
    let scratch = tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let children = ChildLimits { stop: &stop, ..CHILDREN };
    thread::scope(|scope| {
        let cut = scope.spawn(|| {
            let mut batches = cutter(&repo.path(), BatchLimits::default(), scratch.path(), &children)?;
            batches.next().unwrap().map(drop)
        });
        thread::park_timeout(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(cut.join().unwrap(), Err(GitError::Stopped)));
    });
}

#[test]
fn a_tree_that_is_too_deep_for_git_is_named() {
    let repo = RawRepository::nested(10_000, &[b"a"], Some(&token(1))).unwrap();
    let good = repo.object("blob", token(2).as_bytes()).unwrap();
    let tree = repo.tree(&[("100644", b"good", &good)]).unwrap();
    repo.set("refs/heads/good", &repo.commit(&tree, &[]).unwrap()).unwrap();
    finds(&repo.path(), 1, &["maximum allowed tree depth"]);
}

#[test]
fn trees_that_git_can_not_read_are_named_and_the_rest_is_scanned() {
    let repo = RawRepository::new().unwrap();
    let blob = repo.object("blob", token(1).as_bytes()).unwrap();
    let good = repo.tree(&[("100644", b"good", &blob)]).unwrap();
    let cut = tree_bytes(&[("100644", b"f", &blob)]).unwrap();
    let mut trees = vec![repo.tree(&[("100644", b"", &blob)]).unwrap()];
    for bytes in [&b"nonsense"[..], &cut[..cut.len() - 1], b"9x f\0"] {
        trees.push(repo.object("tree", bytes).unwrap());
    }
    for (n, tree) in trees.iter().enumerate() {
        let top = repo.tree(&[("100644", b"a", &blob), ("40000", b"b", tree)]).unwrap();
        repo.set(&format!("refs/heads/{n}"), &repo.commit(&top, &[]).unwrap()).unwrap();
    }
    repo.set("refs/heads/good", &repo.commit(&good, &[]).unwrap()).unwrap();
    finds(&repo.path(), 1, &["can't be listed"; 4]);
}

#[test]
fn any_name_and_mode_is_taken() {
    let repo = RawRepository::new().unwrap();
    let names: [&[u8]; 12] = [
        b"..",
        b".",
        b".git",
        b"../up",
        b"/root",
        b"a\nb",
        b"\xff\xfe",
        b"-x",
        b"nul",
        b".gitmodules",
        b"\x1b[2J",
        b"a b\tc",
    ];
    let mut entries = Vec::new();
    for (n, name) in names.iter().enumerate() {
        entries.push(("100644", *name, repo.object("blob", token(n).as_bytes()).unwrap()));
    }
    let modes =
        [("100777", &b"m1"[..], 20), ("100600", b"m2", 21), ("120000", b"m3", 22), ("0100644", b"m4", 23)];
    for (mode, name, n) in modes {
        entries.push((mode, name, repo.object("blob", token(n).as_bytes()).unwrap()));
    }
    // A submodule, and one whose commit nobody has.
    let other = repo.commit(&repo.tree(&[]).unwrap(), &[]).unwrap();
    entries.push(("160000", b"sub", other));
    entries.push(("160000", b"gone", "12".repeat(20)));
    let entries: Vec<_> = entries.iter().map(|(mode, name, id)| (*mode, *name, id.as_str())).collect();
    let inner = repo.tree(&entries).unwrap();
    let top = repo.tree(&[("40000", b".git", &inner), ("40000", b"..", &inner)]).unwrap();
    repo.set("refs/heads/main", &repo.commit(&top, &[]).unwrap()).unwrap();
    finds(&repo.path(), 2 * 16, &[]);
}

#[test]
fn what_a_tree_calls_a_file_and_is_none_is_named() {
    let repo = RawRepository::new().unwrap();
    let blob = repo.object("blob", token(1).as_bytes()).unwrap();
    let tree = repo.tree(&[("100644", b"f", &blob)]).unwrap();
    let top = repo.tree(&[("100644", b"a", &blob), ("100644", b"b", &tree)]).unwrap();
    repo.set("refs/heads/main", &repo.commit(&top, &[]).unwrap()).unwrap();
    finds(&repo.path(), 1, &["it is no file"]);
    repo.git(&["pack-objects", "-q", "--all", "objects/pack/pack"]).unwrap();
    repo.git(&["prune-packed", "-q"]).unwrap();
    finds(&repo.path(), 1, &["it is no file"]);
}

#[test]
fn no_date_is_too_strange() {
    let repo = RawRepository::new().unwrap();
    let dates = ["-1", "-99999999999", "31556889864403199", "99999999999999999999999", "", "x", "0"];
    let mut parents: Vec<String> = Vec::new();
    for (n, date) in dates.into_iter().enumerate() {
        let blob = repo.object("blob", token(n).as_bytes()).unwrap();
        let tree = repo.tree(&[("100644", b"f", &blob)]).unwrap();
        let parent: Vec<&str> = parents.last().map(String::as_str).into_iter().collect();
        parents.push(repo.object("commit", &commit_bytes(&tree, &parent, date)).unwrap());
    }
    repo.set("refs/heads/main", parents.last().unwrap()).unwrap();
    finds(&repo.path(), dates.len(), &[]);
}

#[test]
fn commits_without_a_tree_or_a_parent_are_errors_in_words() {
    let missing = "12".repeat(20);
    let fails = |commit: &dyn Fn(&RawRepository, &str) -> String| {
        let repo = RawRepository::new().unwrap();
        let tree = repo.tree(&[]).unwrap();
        repo.set("refs/heads/main", &commit(&repo, &tree)).unwrap();
        for report in scan_both_ways(&repo.path(), 1 << 24) {
            let error = report.map(|report| report.not_scanned).unwrap_err();
            assert!(!error.to_string().is_empty());
        }
    };
    fails(&|repo, tree| repo.commit(tree, &[&missing]).unwrap());
    fails(&|repo, _| repo.commit(&missing, &[]).unwrap());
    fails(&|repo, tree| repo.object("commit", format!("parent {tree}\n\n").as_bytes()).unwrap());
    fails(&|repo, _| repo.object("commit", b"").unwrap());
    fails(&|_, _| missing.clone());
}

#[test]
fn tags_of_tags_and_refs_in_circles_are_followed_to_their_end() {
    let repo = RawRepository::new().unwrap();
    let blob = repo.object("blob", token(1).as_bytes()).unwrap();
    let tree = repo.tree(&[("100644", b"f", &blob)]).unwrap();
    let deep = repo.nested_tags(&repo.commit(&tree, &[]).unwrap(), 10_000).unwrap();
    repo.set("refs/tags/deep", &deep).unwrap();
    for (name, to) in [("a", "b"), ("b", "a"), ("self", "self"), ("nowhere", "gone")] {
        fs::write(repo.path().join("refs/heads").join(name), format!("ref: refs/heads/{to}\n")).unwrap();
    }
    finds(&repo.path(), 1, &[]);
}

/// Blobs by what they are stored as and what their id is made of.
fn packed(entries: Vec<(PackEntry, Vec<u8>)>) -> RawRepository {
    let with_id = |(entry, bytes): (PackEntry, Vec<u8>)| (entry, object_id(BLOB, &bytes).unwrap());
    RawRepository::packed(entries.into_iter().map(with_id).collect()).unwrap()
}

#[test]
fn a_chain_of_deltas_that_doubles_each_time_costs_no_more_than_the_limit() {
    let mut base = token(1).into_bytes();
    base.resize(1 << 10, b' ');
    let mut entries = vec![(PackEntry::Whole(BLOB, base.clone()), base)];
    // Up to 1 KB times 2^40. What it would be is not computed: any id will do for what is never decoded.
    for n in 0..40_u32 {
        let size = 1_u64 << (10 + n);
        let delta = match n {
            0..14 => repeating_delta(size, 2),
            _ => delta_head(size, 2 * size),
        };
        entries.push((PackEntry::Delta(n as usize, delta), n.to_be_bytes().to_vec()));
    }
    let repo = packed(entries);
    let scratch = tempdir().unwrap();
    let options = ScanOptions { max_memory_bytes: 1 << 21, ..options(scratch.path()) };
    let report = scan_history(&repo.path(), &Selection::All, &scanner(), &key(), &options).unwrap();
    // 1 KB to 1 MB fit; of the rest it is said why not.
    assert_eq!((report.blobs, report.not_scanned.len()), (11, 30), "{:?}", report.not_scanned);
    assert_eq!(report.findings.len(), 11);
}

#[test]
fn objects_that_claim_too_much_are_refused_before_memory_is_taken() {
    for entry in [
        PackEntry::Claims(BLOB, 1 << 60, b"x".to_vec()),
        PackEntry::Claims(BLOB, u64::MAX, b"x".to_vec()),
        PackEntry::Whole(0, b"x".to_vec()),
        PackEntry::Whole(5, b"x".to_vec()),
    ] {
        let repo = packed(vec![(entry, b"x".to_vec())]);
        let scratch = tempdir().unwrap();
        let result =
            scan_history(&repo.path(), &Selection::All, &scanner(), &key(), &options(scratch.path()));
        assert!(matches!(result, Err(GitError::DamagedPack { .. })), "{result:?}");
    }
    let base = b"base".to_vec();
    let claims = PackEntry::Delta(0, delta_head(4, 1 << 60));
    let repo = packed(vec![(PackEntry::Whole(BLOB, base.clone()), base), (claims, b"bomb".to_vec())]);
    let scratch = tempdir().unwrap();
    let report = scan_history(&repo.path(), &Selection::All, &scanner(), &key(), &options(scratch.path()));
    let report = report.unwrap();
    assert_eq!(report.not_scanned.len(), 1, "{:?}", report.not_scanned);
    assert!(report.not_scanned[0].reason.contains("more than the limit"));
}

#[test]
fn a_pack_or_an_index_damaged_anywhere_is_an_error_or_harmless() {
    let contents = (0..30).map(|n| format!("{} {}", token(n), "text ".repeat(n)).into_bytes());
    let good = packed(contents.map(|bytes| (PackEntry::Whole(BLOB, bytes.clone()), bytes)).collect());
    let pack = good.path().join("objects/pack/pack-0000000000000000000000000000000000000000.pack");
    let scratch = tempdir().unwrap();
    let scan = || scan_history(&good.path(), &Selection::All, &scanner(), &key(), &options(scratch.path()));
    assert_eq!(scan().unwrap().findings.len(), 30);
    for path in [pack.clone(), pack.with_extension("idx")] {
        let bytes = fs::read(&path).unwrap();
        let tries = (0..bytes.len()).step_by(bytes.len() / 40);
        for at in tries {
            let mut bad = bytes.clone();
            bad[at] ^= 0x81;
            fs::write(&path, &bad).unwrap();
            // Not a panic; and a pack that is read in part is no scan.
            if let Ok(report) = scan() {
                assert!(report.findings.len() + report.not_scanned.len() >= 28, "byte {at}: {report:?}");
            }
            fs::write(&path, &bytes[..at]).unwrap();
            drop(scan());
        }
        fs::write(&path, &bytes).unwrap();
    }
}

#[test]
fn a_batch_that_needs_more_disk_or_memory_than_allowed_is_refused() {
    let dir = tempdir().unwrap();
    let mut repo = Builder::new();
    let noise: String =
        (0..2_000).map(|n| format!("{}", object_id(BLOB, format!("{n}").as_bytes()).unwrap())).collect();
    repo.commit(1, &[], &files(&[("f", &noise)]));
    let repo = repo.write(dir.path());
    let cut = |children: ChildLimits<'_>| {
        let mut batches = cutter(&repo, BatchLimits::default(), dir.path(), &children).unwrap();
        batches.next().unwrap().map(drop)
    };
    let disk = cut(ChildLimits { max_file_bytes: 10_000, ..CHILDREN });
    assert!(matches!(disk, Err(GitError::TooMuchDisk { limit: 10_000 })), "{disk:?}");
    let memory = list(&repo, &Refs::All, &ChildLimits { max_memory_bytes: 200_000, ..CHILDREN });
    // The limit comes a moment after the start: it may end Git before it can say why, or while it is loaded.
    let is_refused =
        matches!(memory, Err(GitError::TooMuchMemory { limit: 200_000, .. } | GitError::Child { .. }));
    assert!(is_refused, "{memory:?}");
    assert!(cut(CHILDREN).is_ok());
}

#[test]
fn alternates_that_go_round_or_nowhere_are_no_trap() {
    let repo = RawRepository::new().unwrap();
    let blob = repo.object("blob", token(1).as_bytes()).unwrap();
    let tree = repo.tree(&[("100644", b"f", &blob)]).unwrap();
    repo.set("refs/heads/main", &repo.commit(&tree, &[]).unwrap()).unwrap();
    let objects = repo.path().join("objects");
    let lines = format!("{}\n.\n../objects\n/nowhere/at/all\n/dev/zero\n\n#x\n", objects.display());
    fs::create_dir_all(objects.join("info")).unwrap();
    fs::write(objects.join("info/alternates"), lines).unwrap();
    fs::write(objects.join("info/http-alternates"), "http://127.0.0.1:1/objects\n").unwrap();
    finds(&repo.path(), 1, &[]);
}
