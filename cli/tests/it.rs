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

// After the macro that it uses.
#[path = "it/rules.rs"]
mod rules;

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

const FORMATS: [&str; 10] =
    ["text", "json", "jsonl", "sarif", "csv", "junit", "gitlab", "html", "markdown", "template"];

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

#[test]
fn usage_errors() {
    let place = Place::empty();
    assert_shown!(place.run(&["scan", "--stagd"]));
    let mistakes: [&[&str]; 13] = [
        &["scan", "--redact=101"],
        &["scan", "--format", "template"],
        &["scan", "--template", "x", "--format", "json"],
        &["scan", "--report", "json"],
        &["scan", "--report", "yaml=x"],
        &["scan", "--output", "x", "--report", "json=x"],
        &["scan", "--baseline", "missing.json"],
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
    let all = Place::empty().run(&["help", "scan"]);
    assert!(all.out.contains("--max-archive-depth"), "{}", all.shown());
}

#[test]
fn without_a_command_it_says_what_to_do() {
    let outside = Place::empty().run(&[]);
    assert_eq!(outside.code, 0, "{}", outside.shown());
    assert!(outside.out.contains("secretscan scan PATH"), "{}", outside.shown());
    let inside = Place::repository().run(&[]);
    assert!(inside.out.contains("secretscan hook install"), "{}", inside.shown());
    for line in inside.out.lines().chain(outside.out.lines()).filter(|line| !line.contains("Here, in")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
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
