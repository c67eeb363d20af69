//! Some of the rules find what they find beside the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use secretscan_detect::{Copied, RawMatch, RuleSet, Scanner};

const RULES: &str = r#"
[[rules]]
id = "alpha"
regex = '''alpha-[0-9]{4}'''
[[rules]]
id = "beta"
regex = '''beta-[0-9]{4}'''
[[rules.allowlists]]
regexes = ['''beta-0''']
[[rules]]
id = "pair"
regex = '''pair-[0-9]{4}'''
[[rules.required]]
id = "beta"
withinLines = 1
[[rules]]
id = "word"
generic = true
regex = '''[a-z]+-[0-9]{4}'''
[[rules]]
id = "number"
generic = true
regex = '''[0-9]{4}'''
[[rules]]
id = "key-file"
path = '''\.pem$'''
"#;

const IDS: [&str; 6] = ["alpha", "beta", "pair", "word", "number", "key-file"];
/// Of them in pieces, so that this file is no finding.
const PIECES: [&str; 10] = [
    "alpha-1234",
    "beta-5678",
    "beta-0123",
    "pair-9999",
    "other-4321",
    "7777",
    " ",
    "\n",
    "text",
    "YWxwaGEtMTIzNA==",
];

fn scanner() -> Scanner {
    Scanner::new(Arc::new(RuleSet::parse(RULES, "test", None).unwrap()))
}

fn of_chosen(scanner: &Scanner, mut matches: Vec<RawMatch>, chosen: &[&str]) -> Vec<RawMatch> {
    matches.retain(|found| chosen.contains(&scanner.rules().rule(found.rule).id.as_str()));
    matches
}

fn chosen() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(&IDS[..], 1..=IDS.len())
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn contents_deltas_names_and_paths(base in text(), more in text(), chosen in chosen()) {
        let whole = scanner();
        let narrowed = whole.narrowed(|id| chosen.contains(&id)).unwrap();
        prop_assert_eq!(narrowed.version(), whole.version());
        let content = format!("{base}{more}");
        let expected = of_chosen(&whole, whole.scan(content.as_bytes()), &chosen);
        prop_assert_eq!(&narrowed.scan(content.as_bytes()), &expected);
        let (_, landmarks) = narrowed.scan_base(base.as_bytes());
        let copied = Copied { from: 0, to: 0, len: base.len() };
        let (scanned, _) = narrowed.scan_delta(content.as_bytes(), &landmarks, &[copied]);
        prop_assert_eq!(&scanned.matches, &expected);
        let path = format!("{}.pem", content.replace('\n', "/"));
        let (named, masked) = whole.scan_name(path.as_bytes());
        prop_assert_eq!(narrowed.scan_name(path.as_bytes()), (of_chosen(&whole, named, &chosen), masked));
        let expected = of_chosen(&whole, whole.scan_path(path.as_bytes()), &chosen);
        prop_assert_eq!(narrowed.scan_path(path.as_bytes()), expected);
    }
}

#[test]
fn only_the_chosen_run_with_what_they_require() {
    let whole = scanner();
    let running = |ids: &[&str]| whole.narrowed(|id| ids.contains(&id)).unwrap().running();
    assert_eq!((whole.running(), running(&["alpha"]), running(&["pair"])), (6, 1, 2));
    // One of some is made of the whole again.
    let alpha = whole.narrowed(|id| id == "alpha").unwrap();
    assert_eq!(alpha.narrowed(|id| id == "beta").unwrap().scan(b"beta-5678").len(), 1);
}

#[test]
fn a_hash_follows_what_decides_about_its_rule() {
    let hashes = |text: &str| -> BTreeMap<String, String> {
        let scanner = Scanner::new(Arc::new(RuleSet::parse(text, "test", None).unwrap()));
        scanner.hashes().into_iter().map(|rule| (rule.id, rule.hash)).collect()
    };
    let before = hashes(RULES);
    let changed = |text: &str| -> Vec<String> {
        let after = hashes(text);
        before.iter().filter(|(id, hash)| after.get(*id) != Some(hash)).map(|(id, _)| id.clone()).collect()
    };
    assert_eq!(changed(RULES), [""; 0]);
    assert_eq!(changed(&format!("{RULES}\ndescription = 'other words'")), [""; 0]);
    assert_eq!(changed(&RULES.replace("alpha-[0-9]{4}", "alpha-[1-9]{4}")), ["alpha"]);
    assert_eq!(changed(&RULES.replace("beta-0", "beta-1")), ["beta", "pair"], "and who requires it");
    assert_eq!(changed(&RULES.replace("withinLines = 1", "withinLines = 2")), ["pair"]);
    let targeted = "[[allowlists]]\ntargetRules = ['alpha']\nstopwords = ['x']\n";
    assert_eq!(changed(&format!("{targeted}{RULES}")), ["alpha"]);
    assert_eq!(changed(&format!("[[allowlists]]\nstopwords = ['x']\n{RULES}")).len(), before.len());
    let shallow = scanner().with_depth(secretscan_detect::Depth { decode: 0, archive: 0 });
    assert!(
        shallow.hashes().iter().all(|rule| before[&rule.id] != rule.hash),
        "how deep is looked decides as well"
    );
}
