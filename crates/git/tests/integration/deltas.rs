//! However objects are stored, the same is found in them as in the contents that git prints.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use secretscan_git::{Selection, scan_history};
use tempfile::tempdir;

use crate::batches::naive;
use crate::support::{
    Builder, FILE, FORMATS, git, git_text, git_with_input, key, options, scanner, token, told,
};

/// How a version of the file is made of the one before it.
#[derive(Clone, Debug)]
enum Edit {
    Insert(u8, Vec<u8>),
    Delete(u8, u8),
    /// Moves the part between two places to a third.
    Move(u8, u8, u8),
    Replace(u8, u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    let piece = prop_oneof![
        (0..6usize).prop_map(|n| token(n).into_bytes()),
        (0..6usize).prop_map(|n| token(n).into_bytes()[..10].to_vec()),
        Just(b" ".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"secretscan:allow".to_vec()),
        prop::collection::vec(any::<u8>(), 1..60),
    ];
    prop_oneof![
        3 => (any::<u8>(), piece).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(at, len)| Edit::Delete(at, len)),
        1 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(a, b, c)| Edit::Move(a, b, c)),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
    ]
}

fn apply(content: &mut Vec<u8>, edit: &Edit) {
    let place = |share: u8| content.len() * usize::from(share) / 255;
    match edit {
        Edit::Insert(at, bytes) => {
            let at = place(*at);
            content.splice(at..at, bytes.iter().copied());
        }
        Edit::Delete(at, len) => {
            let at = place(*at);
            content.drain(at..content.len().min(at + usize::from(*len)));
        }
        Edit::Move(a, b, c) => {
            let (start, end) = (place(*a).min(place(*b)), place(*a).max(place(*b)));
            let part: Vec<u8> = content.drain(start..end).collect();
            let at = content.len() * usize::from(*c) / 255;
            content.splice(at..at, part);
        }
        Edit::Replace(at, byte) => {
            let at = place(*at);
            if let Some(there) = content.get_mut(at) {
                *there = *byte;
            }
        }
    }
}

/// Lines that git can make deltas of, long enough that most of them is copied.
fn first_version(seed: usize) -> Vec<u8> {
    let line = |n: usize| format!("line {n} of {seed}: {}\n", "abcdefgh".repeat(n % 7));
    (0..200).map(line).collect::<String>().into_bytes()
}

fn loose_objects(repo: &Path) -> String {
    git_text(repo, &["count-objects"])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn findings_do_not_depend_on_how_objects_are_stored(
        versions in prop::collection::vec(prop::collection::vec(edit(), 1..4), 4..24),
        depth in 1..60usize,
        late in 0..4usize,
        (format, _) in prop::sample::select(&FORMATS[..]),
    ) {
        let dir = tempdir().unwrap();
        let mut builder = Builder::new();
        let mut contents = [first_version(1), first_version(2)];
        let mut parent: Vec<usize> = Vec::new();
        for (n, edits) in versions.iter().enumerate() {
            edits.iter().for_each(|edit| apply(&mut contents[n % 2], edit));
            let file = |n: usize| (format!("file{n}").into_bytes(), (FILE, contents[n].clone()));
            let time = i64::try_from(n).unwrap();
            parent = vec![builder.commit(time, &parent, &BTreeMap::from([file(0), file(1)]))];
        }
        let repo = builder.write_as(format, dir.path());
        let expected = naive(&repo);
        let found = || {
            let report = scan_history(&repo, &Selection::All, &scanner(), &key(), &options(dir.path()));
            let mut found = told(&report.unwrap().findings);
            found.sort();
            found
        };
        prop_assert_eq!(&found(), &expected, "as fast-import wrote it");
        git(&repo, &["repack", "-adfq", "--window=20", &format!("--depth={depth}")]);
        prop_assert_eq!(&found(), &expected, "in chains of {} deltas", depth);

        // A part loose, the rest in two packs, one of them with names of bases instead of offsets.
        let pack = fs::read_dir(repo.join("objects/pack")).unwrap();
        let pack = pack.map(|file| file.unwrap().path()).find(|path| path.extension().unwrap() == "pack").unwrap();
        let bytes = fs::read(&pack).unwrap();
        for file in fs::read_dir(repo.join("objects/pack")).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        git_with_input(&repo, &["unpack-objects", "-q"], &bytes);
        prop_assert_eq!(&found(), &expected, "all loose: {}", loose_objects(&repo));
        let commits = versions.len();
        for range in [format!("c{}", commits - late.min(commits - 1)), format!("c{commits}")] {
            let listed = git(&repo, &["rev-list", "--objects", "--no-object-names", &range]);
            git_with_input(&repo, &["pack-objects", "-q", &format!("--depth={depth}"), "objects/pack/pack"], &listed);
        }
        git(&repo, &["prune-packed", "-q"]);
        prop_assert_eq!(&found(), &expected, "in two packs that share objects");

        // What another repository holds counts too.
        git(dir.path(), &["clone", "-q", "--bare", "--shared", "repo.git", "borrower.git"]);
        let borrower = dir.path().join("borrower.git");
        let report = scan_history(&borrower, &Selection::All, &scanner(), &key(), &options(dir.path())).unwrap();
        let mut borrowed = told(&report.findings);
        borrowed.sort();
        prop_assert_eq!(&borrowed, &expected, "borrowed");
    }
}

#[test]
fn a_chain_of_more_than_a_thousand_deltas_is_read_whole() {
    let dir = tempdir().unwrap();
    let mut builder = Builder::new();
    let mut content = first_version(1);
    let mut parent: Vec<usize> = Vec::new();
    let mut secrets = BTreeSet::new();
    for n in 0..1500 {
        apply(
            &mut content,
            &Edit::Insert((n % 251) as u8, format!("x{n} = {}\n", token(n % 40)).into_bytes()),
        );
        secrets.extend(scanner().scan(&content).into_iter().map(|found| found.secret.expose().to_vec()));
        parent = vec![builder.commit(
            n as i64,
            &parent,
            &BTreeMap::from([(b"file".to_vec(), (FILE, content.clone()))]),
        )];
    }
    let repo = builder.write(dir.path());
    git(&repo, &["-c", "pack.allowPackReuse=false", "repack", "-adfq", "--window=3", "--depth=4000"]);
    let report = scan_history(&repo, &Selection::All, &scanner(), &key(), &options(dir.path())).unwrap();
    assert_eq!((report.findings.len(), report.blobs), (secrets.len(), 1500));
    assert!(report.not_scanned.is_empty());
}

#[test]
fn a_damaged_pack_is_an_error_that_names_it() {
    let dir = tempdir().unwrap();
    let mut builder = Builder::new();
    let content = first_version(3);
    builder.commit(1, &[], &BTreeMap::from([(b"file".to_vec(), (FILE, content))]));
    let repo = builder.write(dir.path());
    git(&repo, &["repack", "-adq"]);
    let pack = fs::read_dir(repo.join("objects/pack")).unwrap();
    let pack =
        pack.map(|file| file.unwrap().path()).find(|path| path.extension().unwrap() == "pack").unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 40].fill(0xff);
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, bytes).unwrap();
    let error = scan_history(&repo, &Selection::All, &scanner(), &key(), &options(dir.path())).unwrap_err();
    assert!(error.to_string().contains(".pack is damaged"), "{error}");
}
