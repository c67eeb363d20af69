use std::collections::BTreeSet;

use secretscan_detect::RuleSet;
use secretscan_testkit::{
    Change, OracleFinding, Random, Repository, RepositoryBuilder, SecretKind, SecretText, generate, oracle,
};

fn findings(builder: RepositoryBuilder, rules: &RuleSet) -> (Repository, Vec<OracleFinding>) {
    let repository = builder.build().unwrap();
    let found = oracle(&repository.path(), rules).unwrap();
    (repository, found.into_iter().collect())
}

#[test]
fn every_planted_secret_is_found_where_it_was_planted() {
    for seed in 0..2 {
        let generated = generate(seed, 150).unwrap();
        let found = oracle(&generated.repository.path(), &secretscan_rules::builtin()).unwrap();
        for planted in &generated.planted {
            let expected = OracleFinding {
                rule_id: planted.rule_id.to_owned(),
                path: planted.path.clone(),
                secret: planted.secret.clone().into_bytes(),
                introduced: planted.commit,
            };
            assert!(found.contains(&expected), "{planted:?}");
        }
        // Renames and copies bring a secret to further paths, but there are no other secrets.
        let planted: BTreeSet<&[u8]> =
            generated.planted.iter().map(|planted| planted.secret.as_bytes()).collect();
        let other = found.iter().find(|finding| !planted.contains(finding.secret.as_slice()));
        assert!(other.is_none(), "{other:?}");
    }
}

const RULES: &str = r#"
[[rules]]
id = "plain"
regex = '''(?:plain|word)-([a-z0-9]{8})'''
keywords = ["plain-", "word-"]
[[rules.allowlists]]
condition = "AND"
paths = ['''^docs/''']
stopwords = ["aa"]
[[rules]]
id = "broad"
regex = '''[a-z]{4,5}-[a-z0-9]{8}'''
keywords = ["plain", "thing"]
generic = true
"#;

#[test]
fn the_earliest_commit_by_corrected_date_introduces() {
    let rules = RuleSet::parse(RULES, "test", None).unwrap();
    let mut builder = RepositoryBuilder::new().unwrap();
    builder.time(1_000);
    builder.commit("main", [Change::write("a", "nothing")]);
    builder.branch("other", "main");
    // Its clock runs behind, but it comes after the first commit: its corrected date is 1,001.
    builder.time(500);
    let early = builder.commit("other", [Change::write("f", "plain-12345678")]);
    builder.time(1_002);
    builder.commit("main", [Change::write("f", "plain-12345678 and more")]);
    let merge = builder.merge("main", &["other"], [Change::write("g", "plain-12345678")]);
    builder.commit("main", [Change::rename("g", "h"), Change::delete("f")]);
    let again = builder.commit("main", [Change::write("k", "x\nplain-87654321\n")]);
    let (repository, found) = findings(builder, &rules);
    let found: Vec<_> =
        found.iter().map(|f| (f.path.as_slice(), f.secret.as_slice(), f.introduced)).collect();
    let secret = b"12345678".as_slice();
    assert_eq!(found[0], (b"f".as_slice(), secret, repository.id(early)));
    assert_eq!(found[1], (b"g".as_slice(), secret, repository.id(merge)));
    assert_eq!((found[2].0, found[2].1), (b"h".as_slice(), secret));
    assert_eq!(found[3], (b"k".as_slice(), b"87654321".as_slice(), repository.id(again)));
    assert_eq!(found.len(), 4);
}

#[test]
fn exclusions_are_those_of_the_rules() {
    let rules = RuleSet::parse(RULES, "test", None).unwrap();
    let mut builder = RepositoryBuilder::new().unwrap();
    let excluded = "plain-aa345678\nword-1234abcd // gitleaks:allow\n";
    builder.commit(
        "main",
        [
            Change::write("docs/a", excluded),
            Change::write("src/a", excluded),
            Change::write("src/b", "thing-12345678 plain-abcd1234"),
            Change::write("src/c", "other-12345678"),
        ],
    );
    let (_, found) = findings(builder, &rules);
    let found: Vec<_> =
        found.iter().map(|f| (f.rule_id.as_str(), f.path.as_slice(), f.secret.as_slice())).collect();
    let expected: [(&str, &[u8], &[u8]); 3] = [
        ("broad", b"src/b", b"thing-12345678"),
        ("plain", b"src/a", b"aa345678"),
        ("plain", b"src/b", b"abcd1234"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_pushed_secret_is_found() {
    let mut builder = RepositoryBuilder::new_sha256().unwrap();
    builder.commit("main", [Change::write("a", "1\n")]);
    let mut repository = builder.build().unwrap();
    let rules = secretscan_rules::builtin();
    assert!(oracle(&repository.path(), &rules).unwrap().is_empty());
    let text = SecretText::new(SecretKind::StripeKey, &mut Random::new(5));
    let commit = repository.push_commit("main", [Change::symlink("link", text.text.trim_end())]).unwrap();
    let found = oracle(&repository.path(), &rules).unwrap();
    assert_eq!(found.first().unwrap().introduced, commit);
}
