//! The built program on repositories made with Git in temporary directories: exit codes, standard output and error.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "it/migration.rs"]
mod migration;
mod support;

use std::fs;

use data_encoding::BASE64;
use secretscan_testkit::{Random, SecretKind, SecretText};
use serde_json::Value;

use crate::support::*;

/// Compares with a snapshot, without what differs from run to run and with every change of the rules.
macro_rules! assert_shown {
    ($ran:expr) => {
        let mut settings = insta::Settings::clone_current();
        settings.add_filter(r"\d+ ms|\d+\.\d s", "[TIME]");
        settings.add_filter(r"r1-[0-9a-f]{12}", "[RULES]");
        settings.add_filter(r"secretscan \d+\.\d+\.\d+", "secretscan [VERSION]");
        settings.add_filter(r"/\S*/\.tmp\w+", "[DIR]");
        settings.bind(|| insta::assert_snapshot!($ran.shown()));
    };
}

#[test]
fn history() {
    let ran = Place::with_leak().run(&["scan"]);
    assert!(!ran.has_canary());
    assert_shown!(ran);
}

#[test]
fn history_of_a_path_inside_a_repository() {
    let place = Place::with_leak();
    let ran = Place::empty().run(&["scan", place.path().join("src").to_str().unwrap()]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("src/config.py:2:10"), "{}", ran.out);
}

#[test]
fn clean_history() {
    let place = Place::repository();
    place.commit("README", "hello\n");
    assert_shown!(place.run(&["scan", "--history"]));
}

#[test]
fn empty_repository() {
    assert_shown!(Place::repository().run(&["scan"]));
}

#[test]
fn no_repository() {
    assert_shown!(Place::empty().run(&["scan"]));
}

#[test]
fn missing_directory() {
    assert_shown!(Place::empty().run(&["scan", "--directory", "missing"]));
}

#[test]
fn range() {
    let place = Place::with_leak();
    assert_eq!(place.run(&["scan", "--range", "HEAD~2..HEAD"]).code, 1);
    assert_eq!(place.run(&["scan", "--range", "HEAD~1..HEAD"]).code, 0);
}

#[test]
fn unknown_range() {
    let ran = Place::with_leak().run(&["scan", "--range", "nowhere..HEAD"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("nowhere") && ran.err.contains("hint: "), "{}", ran.err);
}

#[test]
fn staged_content_counts_and_not_the_working_tree() {
    let place = Place::repository();
    place.commit("README", "hello\n");
    place.write("new.env", &format!("TOKEN={}\n", canary()));
    assert_eq!(place.run(&["scan", "--staged"]).code, 0);
    place.git(&["add", "new.env"]);
    place.write("new.env", "TOKEN=\n");
    let ran = place.run(&["scan", "--staged"]);
    assert!(!ran.has_canary());
    assert_shown!(ran);
}

#[test]
fn standard_input() {
    let ran = Place::empty().run_with(&["scan", "--stdin"], &format!("a\n  key: {}\n", canary()));
    assert!(!ran.has_canary());
    assert_shown!(ran);
    assert_eq!(Place::empty().run_with(&["scan", "--stdin"], "nothing here").code, 0);
}

#[test]
fn directory() {
    let place = Place::empty();
    place.write("deep/er/file.txt", &canary());
    let ran = place.run(&["scan", "--directory", "deep"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("er/file.txt:1:1"), "{}", ran.out);
    assert!(!ran.has_canary());
}

const FORMATS: [&str; 9] = ["text", "json", "jsonl", "sarif", "csv", "junit", "gitlab", "html", "template"];

/// How a text may hide: encoded, also within base64 of more, at every offset.
fn forms(secret: &str) -> Vec<String> {
    let bytes = |format: fn(&u8) -> String| secret.as_bytes().iter().map(format).collect::<String>();
    let mut forms = vec![secret.to_owned()];
    forms.extend([
        bytes(|b| format!("{b:02x}")),
        bytes(|b| format!("{b:02X}")),
        bytes(|b| format!("%{b:02X}")),
    ]);
    for skipped in 0..3 {
        let rest = &secret.as_bytes()[skipped..];
        forms.push(BASE64.encode(&rest[..rest.len() / 3 * 3]));
    }
    forms
}

#[test]
fn every_format_is_redacted_unless_told_otherwise() {
    let place = Place::with_leak();
    let template = "{% for f in findings %}{{ f.occurrences[0].excerpt }} {{ f.secret or '' }}\n{% endfor %}";
    let template = place.write("template.txt", template);
    let template = ["--template", template.to_str().unwrap()];
    for format in FORMATS {
        let scan = match format {
            "template" => [&["scan"][..], &template].concat(),
            format => vec!["scan", "--format", format],
        };
        for redacted in [&[][..], &["--redact"], &["--redact=100"]] {
            let ran = place.run(&[&scan[..], redacted].concat());
            assert!(ran.code == 1 && !ran.has_canary(), "{format} {redacted:?}: {}", ran.shown());
            for form in forms(&canary()[4..]) {
                assert!(!ran.shown().contains(&form), "{format} {redacted:?}: {}", ran.shown());
            }
        }
        for raw in ["--no-redact", "--redact=0"] {
            let ran = place.run(&[&scan[..], &[raw]].concat());
            assert!(ran.code == 1 && ran.out.contains(&canary()), "{format} {raw}: {}", ran.shown());
        }
        let ran = place.run(&[&scan[..], &["--redact=75"]].concat());
        assert!(
            !ran.has_canary() && ran.out.contains(&format!("{}****", &canary()[..10])),
            "{}",
            ran.shown()
        );
    }
}

#[test]
fn several_reports_of_one_scan() {
    let place = Place::with_leak();
    let template = place.write("list.md", "{% for f in findings %}- {{ f.path }}\n{% endfor %}");
    let mut arguments = vec!["scan".to_owned(), "--template".to_owned(), template.display().to_string()];
    arguments.extend(["--format".to_owned(), "text".to_owned()]);
    for format in FORMATS {
        arguments.extend(["--report".to_owned(), format!("{format}=report.{format}")]);
    }
    let ran = place.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(ran.code == 1 && ran.out.contains("src/config.py:2:10"), "{}", ran.shown());
    let report = |format: &str| fs::read_to_string(place.path().join(format!("report.{format}"))).unwrap();
    for format in FORMATS {
        assert!(report(format).replace("&#x2f;", "/").contains("src/config.py"), "{format}");
    }
    assert_eq!(report("template"), "- src/config.py\n");
}

#[test]
fn a_baseline_hides_what_it_knows_wherever_the_line_moved() {
    let place = Place::with_leak();
    assert_eq!(place.run(&["scan", "--format", "json", "--output", "baseline.json"]).code, 1);
    let with_baseline = ["scan", "--baseline", "baseline.json"];
    assert_shown!(place.run(&with_baseline));
    place.commit("src/config.py", &format!("# moved\n\n\n    token = \"{}\"\n", canary()));
    assert_eq!(place.run(&with_baseline).code, 0);
    // The same secret in another file is known, another one is not.
    place.commit("copy.py", &format!("token = \"{}\"\n", canary()));
    assert_eq!(place.run(&with_baseline).code, 0);
    let other = SecretText::new(SecretKind::GitHubToken, &mut Random::new(7));
    place.commit("other.py", &format!("token = \"{}\"\n", other.secrets[0].1));
    let ran = place.run(&with_baseline);
    assert!(
        ran.out.contains("1 new secret (1 critical), 2 known from the baseline, in 6 commits"),
        "{}",
        ran.out
    );
    assert!(ran.code == 1 && ran.out.contains("other.py:1:10"), "{}", ran.out);
}

#[test]
fn a_report_of_gitleaks_is_a_baseline() {
    let place = Place::with_leak();
    let known = |secret: &str, commit: &str| {
        let report = serde_json::json!([{
            "RuleID": "github-pat", "StartLine": 2, "File": "src/config.py", "Secret": secret, "Commit": commit
        }]);
        place.write("gitleaks.json", &report.to_string());
        place.run(&["scan", "--baseline", "gitleaks.json"]).code == 0
    };
    assert!(known(&canary(), "elsewhere"));
    let line = place.run(&["scan", "--format", "jsonl"]).out;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert!(known("REDACTED", line["occurrences"][0]["commit"].as_str().unwrap()));
    assert!(!known("REDACTED", "elsewhere"));
}

#[test]
fn a_bad_baseline_or_template_is_told_before_the_scan() {
    let place = Place::with_leak();
    place.write("bad.json", "{\"version\": \"2.1.0\"}");
    assert_shown!(place.run(&["scan", "--baseline", "bad.json", "--output", "report.txt"]));
    assert!(!place.path().join("report.txt").exists());
    place.write("bad.txt", "{% for %}");
    assert_shown!(place.run(&["scan", "--template", "bad.txt"]));
    place.write("wrong.txt", "{{ nothing|length }}");
    let ran = place.run(&["scan", "--template", "wrong.txt"]);
    assert!(ran.code == 2 && ran.err.contains("wrong.txt:1"), "{}", ran.shown());
}

/// Windows line ends, a line of a megabyte, and text that is not ASCII before the secret.
#[test]
fn odd_lines() {
    let place = Place::empty();
    place.write("crlf", &format!("a\r\nk = \"{}\"\r\nb\r\n", canary()));
    place.write("long", &format!("{} {} {}", "é".repeat(500_000), canary(), "é".repeat(500_000)));
    place.write("日本", &format!("日本 = {}\n", canary()));
    let ran = place.run(&["scan", "--directory", ".", "--format", "sarif"]);
    let sarif: Value = serde_json::from_str(&ran.out).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap().iter();
    let found: Vec<String> = results
        .map(|result| {
            let (location, excerpt) =
                (&result["locations"][0]["physicalLocation"], &result["properties"]["excerpt"]);
            let (uri, region) = (&location["artifactLocation"]["uri"], &location["region"]);
            let excerpt: String = excerpt.as_str().unwrap().chars().filter(|c| *c != 'é').collect();
            format!("{uri} {}-{} {excerpt}", region["startColumn"], region["endColumn"])
        })
        .collect();
    insta::assert_snapshot!(found.join("\n"), @r#"
    "crlf" 6-46 k = "ghp_****"
    "long" 500002-500042 … ghp_**** …
    "%E6%97%A5%E6%9C%AC" 6-46 日本 = ghp_****
    "#);
}

#[test]
fn machine_formats_leave_standard_output_to_the_report() {
    let place = Place::with_leak();
    let json: Value = serde_json::from_str(&place.run(&["scan", "--format", "json"]).out).unwrap();
    assert_eq!(json["findings"].as_array().unwrap().len(), 1);
    assert_eq!(json["summary"]["commits"], 3);
    let sarif: Value = serde_json::from_str(&place.run(&["scan", "--format", "sarif"]).out).unwrap();
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 1);
    let jsonl = place.run(&["scan", "--format", "jsonl"]);
    let line: Value = serde_json::from_str(&jsonl.out).unwrap();
    assert_eq!(line["path"], "src/config.py");
    assert!(jsonl.err.starts_with("1 secret ("), "{}", jsonl.err);
}

#[test]
fn fingerprints_do_not_depend_on_the_clone() {
    let fingerprint = |place: &Place| {
        let line: Value = serde_json::from_str(&place.run(&["scan", "--format", "jsonl"]).out).unwrap();
        line["fingerprint"].as_str().unwrap().to_owned()
    };
    assert_eq!(fingerprint(&Place::with_leak()), fingerprint(&Place::with_leak()));
}

#[test]
fn output_file() {
    let place = Place::with_leak();
    let ran = place.run(&["scan", "--output", "report.txt"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("1 secret"), "{}", ran.err);
    let report = fs::read_to_string(place.path().join("report.txt")).unwrap();
    assert!(report.contains("src/config.py:2:10") && !report.contains('\u{1b}'), "{report}");
}

#[test]
fn unwritable_output_file() {
    assert_shown!(Place::with_leak().run(&["scan", "--output", "missing/report.txt"]));
}

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

#[test]
fn usage_errors() {
    let place = Place::empty();
    assert_shown!(place.run(&["scan", "--stagd"]));
    let mistakes: [&[&str]; 14] = [
        &["scan", "--redact=101"],
        &["scan", "--format", "template"],
        &["scan", "--template", "x", "--format", "json"],
        &["scan", "--report", "json"],
        &["scan", "--report", "yaml=x"],
        &["scan", "--output", "x", "--report", "json=x"],
        &["scan", "--baseline", "missing.json"],
        &[],
        &["scan", "--staged", "--history"],
        &["scan", "--stdin", "--range", "a..b"],
        &["scan", "--directory", "x", "path"],
        &["scan", "--no-redact", "--redact"],
        &["scan", "--threads", "0"],
        &["scan", "--rules", "x", "--builtin-rules"],
    ];
    for arguments in mistakes {
        let ran = place.run(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}");
    }
}

#[test]
fn modes_exclude_each_other_and_say_so() {
    assert_shown!(Place::empty().run(&["scan", "--staged", "--stdin"]));
}

#[test]
fn help() {
    assert_shown!(Place::empty().run(&["scan", "--help"]));
}

#[test]
fn completions_and_manual_pages() {
    let place = Place::empty();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = place.run(&["completions", shell]);
        assert!(ran.code == 0 && ran.out.contains("secretscan"), "{shell}");
    }
    assert!(place.run(&["man"]).out.contains(".TH"));
    assert_eq!(place.run(&["man", "--output", "pages"]).code, 0);
    for page in ["secretscan.1", "secretscan-scan.1", "secretscan-rules-check.1"] {
        assert!(place.path().join("pages").join(page).is_file(), "{page}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::with_leak();
    for (arguments, code) in [(&["scan"][..], 1), (&["rules", "list"], 0), (&["completions", "bash"], 0)] {
        let mut child = command(place.path(), arguments).spawn().unwrap();
        drop(child.stdout.take());
        let ran = Ran::new(child.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.err.as_str()), (code, ""), "{arguments:?}");
    }
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
