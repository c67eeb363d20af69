//! Rules of one's own, what is left out, and what providers say of a secret.

use super::*;

/// A rule for a word that no built-in rule looks for.
fn rule(id: &str) -> String {
    format!("[[rules]]\nid = \"{id}\"\ndescription = \"A word\"\nregex = 'secretword-[a-z]{{8}}'\n")
}

#[test]
fn rules_from_a_file() {
    let place = Place::repository();
    place.commit("file", "secretword-abcdefgh\n");
    assert_eq!(place.run(&["scan"]).code, 0);
    place.write("own.toml", &rule("own"));
    let ran = place.run(&["scan", "--rules", "own.toml"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("medium  own  A word"), "{}", ran.out);
}

#[test]
fn rules_of_the_repository() {
    let place = Place::repository();
    place.commit("folder/file", "secretword-abcdefgh\n");
    place.write(".gitleaks.toml", &rule("theirs"));
    let folder = place.path().join("folder");
    let run = |arguments: &[&str]| Ran::new(command(&folder, arguments).output().unwrap());
    let ran = run(&["scan"]);
    assert!(ran.code == 1 && ran.out.contains("theirs"), "{}", ran.shown());
    assert_eq!(ran.err, "note: using the repository's rules in .gitleaks.toml\n");
    place.write(".secretscan.toml", &rule("ours"));
    let ran = run(&["scan"]);
    assert!(ran.out.contains("ours") && ran.err.contains(".secretscan.toml"), "{}", ran.shown());
    let ran = run(&["scan", "--builtin-rules"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn bad_rules() {
    let place = Place::with_leak();
    place.write("bad.toml", "[[rules]]\nid = \"broken\"\ndescription = \"x\"\nregex = '(unclosed'\n");
    assert_shown!(place.run(&["scan", "--rules", "bad.toml"]));
    assert_eq!(place.run(&["rules", "check", "bad.toml"]).code, 2);
    assert_eq!(place.run(&["scan", "--rules", "missing.toml"]).code, 2);
}

#[test]
fn rules_check() {
    let place = Place::empty();
    assert_eq!(place.run(&["rules", "check"]).code, 0);
    let examples = "[rules.examples]\nmatch = [['nothing']]\nmiss = [['secretword-', 'abcdefgh']]\n";
    place.write("own.toml", &(rule("own") + examples));
    assert_shown!(place.run(&["rules", "check", "own.toml"]));
}

#[test]
fn rules_list() {
    let place = Place::empty();
    place.write("own.toml", &rule("own"));
    assert_shown!(place.run(&["rules", "list", "--rules", "own.toml"]));
    assert!(place.run(&["rules", "list"]).out.lines().count() > 40);
}

/// A repository whose one commit has words that the rule `own` finds, on the lines 1 and 3 of a file, and its id, of SHA-256.
fn with_words() -> (Place, String) {
    let place = Place::repository_of("sha256");
    place.write(".secretscan.toml", &rule("own"));
    place.commit("src/a:b.txt", "secretword-abcdefgh\n\nsecretword-hgfedcba\n");
    let head = fs::read_to_string(place.path().join(".git/refs/heads/main")).unwrap();
    (place, head.trim().to_owned())
}

#[test]
fn ignore_files() {
    let (place, head) = with_words();
    let places = |arguments: &[&str]| -> Vec<u64> {
        let ran = place.run(&[&["scan", "--format", "jsonl"], arguments].concat());
        let lines = ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines: Vec<u64> = lines.map(|line| line["occurrences"][0]["line"].as_u64().unwrap()).collect();
        assert_eq!(ran.code, i32::from(!lines.is_empty()), "{}", ran.shown());
        lines
    };
    assert_eq!(places(&[]), [1, 3]);
    place.write(".gitleaksignore", &format!("# seen\n{head}:src/a:b.txt:own:1\n"));
    assert_eq!(places(&[]), [3]);
    assert_eq!(places(&["--no-ignore-files"]), [1, 3]);
    // A later change to the file, which moves the line, makes no new finding of it.
    place.commit("src/a:b.txt", "first\nsecretword-abcdefgh\n\nsecretword-hgfedcba\n");
    assert_eq!(places(&[]), [3]);
    place.write(".secretscanignore", "src/a:b.txt:own:3 # also seen\n");
    assert_eq!(places(&[]), [0; 0]);
    let ran = place.run(&["scan"]);
    assert!(ran.out.contains("2 findings are ignored"), "{}", ran.shown());
    let json: Value = serde_json::from_str(&place.run(&["scan", "--format", "json"]).out).unwrap();
    assert_eq!(json["summary"]["ignored"], 2);

    fs::remove_file(place.path().join(".secretscanignore")).unwrap();
    let all = place.run(&["scan", "--format", "jsonl", "--no-ignore-files"]).out;
    let second: Value = serde_json::from_str(all.lines().nth(1).unwrap()).unwrap();
    place.write("seen", second["fingerprint"].as_str().unwrap());
    assert_eq!(places(&["--ignore-file", "seen", "--no-ignore-files"]), [1]);
    assert_eq!(places(&["--ignore-file", "seen"]), [0; 0]);
    // It survives a rename, and so does what ignores by it or knows it from before.
    let baseline = place.run(&["scan", "--format", "json", "--no-ignore-files"]).out;
    place.write("baseline.json", &baseline);
    place.git(&["mv", "src/a:b.txt", "renamed.txt"]);
    place.git(&["commit", "-qm", "rename"]);
    let fingerprints = |arguments: &[&str]| {
        let ran = place.run(&[&["scan", "--format", "jsonl", "--no-ignore-files"], arguments].concat()).out;
        let lines = ran.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter_map(|line| line["fingerprint"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let (renamed, known) = (fingerprints(&[]), second["fingerprint"].as_str().unwrap());
    assert_eq!(renamed.iter().filter(|fingerprint| *fingerprint == known).count(), 2, "{renamed:?}");
    assert_eq!(renamed.len(), 4);
    assert_eq!(fingerprints(&["--ignore-file", "seen"]).len(), 2);
    assert_eq!(fingerprints(&["--baseline", "baseline.json"]), [""; 0]);
    place.write("seen", "src/file\n");
    assert_shown!(place.run(&["scan", "--ignore-file", "seen"]));
}

#[test]
fn ignore_files_speak_of_rules_as_gitleaks_does() {
    let place = Place::with_leak();
    place.write(".gitleaksignore", "src/config.py:github-pat:2\n");
    assert_eq!(place.run(&["scan"]).code, 0);
    place.write(".gitleaksignore", "src/config.py:slack-bot-token:2\n");
    assert_eq!(place.run(&["scan"]).code, 1);
}

#[test]
fn rules_can_be_chosen() {
    let place = Place::repository();
    let with = |id: &str, word: &str, confidence: &str| {
        format!("[[rules]]\nid = '{id}'\nregex = '{word}-[a-z]{{8}}'\nconfidence = '{confidence}'\n")
    };
    let rules =
        [with("sure", "aword", "high"), with("likely", "bword", "medium"), with("maybe", "cword", "low")];
    place.write(".gitleaks.toml", &rules.concat());
    place.commit("file", "aword-abcdefgh\nbword-abcdefgh\ncword-abcdefgh\n");
    let found = |arguments: &[&str]| {
        let ran = place.run(&[&["scan", "--format", "jsonl"], arguments].concat());
        let lines = ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        lines
            .map(|line| format!("{} {}", text(&line["ruleId"]), text(&line["confidence"])))
            .collect::<Vec<_>>()
    };
    let (sure, likely, maybe) = ("sure high", "likely medium", "maybe low");
    assert_eq!(found(&[]), [sure, likely, maybe]);
    assert_eq!(found(&["--confidence", "low"]), [sure, likely, maybe]);
    assert_eq!(found(&["--confidence", "medium"]), [sure, likely]);
    assert_eq!(found(&["--confidence=high"]), [sure]);
    assert_eq!(found(&["--rule", "maybe", "--rule", "sure"]), [sure, maybe]);
    assert_eq!(found(&["--disable-rule", "likely"]), [sure, maybe]);
    assert_eq!(found(&["--rule", "maybe", "--confidence", "high"]), [""; 0]);
    assert_eq!(found(&["--builtin-rules", "--rule", "github-token"]), [""; 0]);
    assert_shown!(place.run(&["scan", "--rule", "nobody"]));
}

#[test]
fn inline_comments_can_be_passed_over() {
    let place = Place::repository();
    place.commit("a.py", &format!("token = \"{}\"  # gitleaks:allow\n", canary()));
    assert_eq!(place.run(&["scan"]).code, 0);
    assert_eq!(place.run(&["scan", "--ignore-inline-allow"]).code, 1);
    let input = format!("token = \"{}\"  # secretscan:allow\n", canary());
    assert_eq!(place.run_with(&["scan", "--stdin"], &input).code, 0);
    assert_eq!(place.run_with(&["scan", "--stdin", "--ignore-inline-allow"], &input).code, 1);
}

#[test]
fn rules_about_paths() {
    let place = Place::repository();
    place.write(
        ".secretscan.toml",
        "[[rules]]\nid = 'key-store'\ndescription = 'Key store'\npath = '[.]p12$'\n",
    );
    place.commit("sub/a.p12", "\0\n");
    let ran = place.run(&["scan"]);
    assert_shown!(ran);
    let line = place.run(&["scan", "--directory", ".", "--format", "jsonl"]).out;
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["path"], "sub/a.p12");
}

#[test]
fn rules_of_a_directory_outside_any_repository() {
    let place = Place::empty();
    place.write("folder/file", "secretword-abcdefgh\n");
    place.write("folder/.gitleaks.toml", &rule("theirs"));
    assert_eq!(place.run(&["scan", "--directory", "folder"]).code, 1);
    place.write("folder/.gitleaksignore", "file:theirs:1\n");
    assert_eq!(place.run(&["scan", "--directory", "folder"]).code, 0);
}

#[test]
fn rules_of_gitleaks_that_have_no_counterpart() {
    let place = Place::with_leak();
    let rules =
        "[extend]\nuseDefault = true\n[[rules]]\nid = 'no-such'\n[[rules.allowlists]]\npaths = ['^a']\n";
    place.write(".gitleaks.toml", rules);
    let ran = place.run(&["scan"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.starts_with("warning: ") && ran.err.contains("(rule `no-such`): the rule has no effect"));
}

#[test]
fn rules_check_names_what_is_slow() {
    let place = Place::empty();
    let examples = "[rules.examples]\nmatch = [['0123456789'], ['0123456780'], ['0123456781']]\n\
                    miss = [['a'], ['b'], ['c']]\n";
    place.write("own.toml", &format!("[[rules]]\nid = 'hex'\nregex = '[0-9]{{10}}'\n{examples}"));
    assert_shown!(place.run(&["rules", "check", "own.toml"]));
    assert_eq!(place.run(&["rules", "check", "--allow-slow", "own.toml"]).code, 0);
    place.write("file", "0123456789\n");
    assert_eq!(place.run(&["scan", "--directory", ".", "--rules", "own.toml"]).code, 1, "scans take it");
}

/// A rule whose check leads into this machine, so that nobody is asked.
#[cfg(feature = "verify")]
fn rule_with_check() -> String {
    rule("own")
        + "[rules.verify]\nurl = 'https://localhost/{{secret}}'\nvalid.status = [200]\nrevoked.status = [401]\n"
}

/// Runs `secretscan` with one root certificate, whatever this machine has.
#[cfg(feature = "verify")]
fn verify(place: &Place, arguments: &[&str]) -> Ran {
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let roots = tempfile::TempDir::new().unwrap();
    let file = roots.path().join("roots.pem");
    fs::write(&file, certificate.cert.pem()).unwrap();
    let mut command = command(place.path(), arguments);
    Ran::new(command.env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR").output().unwrap())
}

#[test]
#[cfg(feature = "verify")]
fn secrets_are_verified_only_when_told() {
    let place = Place::repository();
    place.commit("file", "secretword-abcdefgh\n");
    place.commit("other", "secretword-abcdefgh\nsecretword-ijklmnop\n");
    let rules = tempfile::TempDir::new().unwrap();
    let file = rules.path().join("own.toml");
    fs::write(&file, rule_with_check()).unwrap();
    let file = file.to_str().unwrap();
    let plain = verify(&place, &["scan", "--rules", file]);
    assert!(plain.code == 1 && !plain.out.contains("verification"), "{}", plain.shown());
    assert_eq!(plain.err, "");
    let asked = verify(&place, &["scan", "--rules", file, "--verify"]);
    assert_shown!(asked);
    let ran = verify(&place, &["scan", "--rules", file, "--verify", "--format", "jsonl"]);
    for line in ran.out.lines() {
        let finding: Value = serde_json::from_str(line).unwrap();
        assert_eq!(finding["verification"]["result"], "unknown");
        assert_eq!(finding["verification"]["reason"], "the host has an address that is not public");
    }
    assert_eq!(ran.out.lines().count(), 3);
    assert!(!ran.shown().contains("secretword-"), "{}", ran.shown());
    let ran = verify(&place, &["scan", "--rules", file, "--verify", "--only-valid"]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.err.contains("note: 3 findings that are not known to be in use are left out\n"),
        "{}",
        ran.err
    );
}

#[test]
#[cfg(feature = "verify")]
fn checks_that_a_repository_brings_are_not_used() {
    let place = Place::repository();
    place.commit("file", &format!("secretword-abcdefgh\ntoken = \"{}\"\n", canary()));
    // The rule of that name asks its provider, but what this one finds is something else.
    let widened = "[[rules]]\nid = \"github-token\"\nregex = 'ghp_[A-Za-z0-9]{36}'\n";
    place.write(".secretscan.toml", &format!("{}{widened}", rule_with_check()));
    let ran = verify(&place, &["scan", "--verify"]);
    assert!(ran.code == 1 && ran.out.contains("2 secrets"), "{}", ran.shown());
    assert!(!ran.out.contains("verification") && !ran.err.contains("asking"), "{}", ran.shown());
    assert!(ran.err.contains("note: checks in the repository's rules are not used;"), "{}", ran.err);
}
