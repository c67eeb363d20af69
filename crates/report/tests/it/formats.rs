//! What each format looks like.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use secretscan_model::finding::MAX_OCCURRENCES;
use secretscan_report::{Format, Summary, Template, TextStyle};
use serde_json::Value;

use super::{all_written, finding, findings, formats, occurrence, report, written};

#[test]
fn text() {
    insta::assert_snapshot!(written(&report(&findings()), &Format::Text(TextStyle::PLAIN)));
}

#[test]
fn text_in_colours() {
    let style = TextStyle::coloured(Some(40));
    let coloured = written(&report(&findings()[1..2]), &Format::Text(style));
    insta::assert_snapshot!(coloured.replace('\u{1b}', "ESC"));
}

#[test]
fn text_without_findings() {
    let mut empty = report(&[]);
    let elapsed = Duration::from_millis(12);
    empty.summary = Summary { commits: 1, blobs: 1, bytes: 999, elapsed, ..Summary::default() };
    insta::assert_snapshot!(written(&empty, &Format::Text(TextStyle::PLAIN)), @r"
    no secrets found in 1 commit, 1 blob (999 bytes), 12 ms
    secretscan 1.2.3, rules r1-0123456789ab
    ");
}

#[test]
fn text_of_several_repositories_names_those_that_have_something_to_say() {
    let findings = findings();
    let mut reports = [report(&findings[2..3]), report(&[]), report(&[])];
    for (report, name) in reports.iter_mut().zip(["host/a", "host/b", "host/c"]) {
        report.repository = Some(name);
    }
    reports[0].summary.not_scanned.clear();
    reports[1].summary.not_scanned.clear();
    reports[2].summary.not_scanned.truncate(1);
    insta::assert_snapshot!(all_written(&reports, &Format::Text(TextStyle::PLAIN)));
}

#[test]
fn json() {
    insta::assert_snapshot!(written(&report(&findings()[1..]), &Format::Json));
}

#[test]
fn jsonl() {
    insta::assert_snapshot!(written(&report(&findings()[1..3]), &Format::Jsonl));
}

#[test]
fn sarif() {
    insta::assert_snapshot!(written(&report(&findings()[..2]), &Format::Sarif));
}

#[test]
fn csv() {
    insta::assert_snapshot!(written(&report(&findings()), &Format::Csv));
}

#[test]
fn junit() {
    insta::assert_snapshot!(written(&report(&findings()[2..]), &Format::Junit));
}

#[test]
fn junit_without_findings_has_a_test_that_passes() {
    let mut empty = report(&[]);
    empty.summary.not_scanned.clear();
    insta::assert_snapshot!(written(&empty, &Format::Junit), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="secretscan" tests="1" failures="0" errors="0">
      <testsuite name="secretscan" tests="1" failures="0" errors="0" skipped="0" time="1.500" timestamp="2026-05-28T20:26:40">
        <testcase classname="secretscan" name="no secrets found"/>
      </testsuite>
    </testsuites>
    "#);
}

#[test]
fn markdown() {
    insta::assert_snapshot!(written(&report(&findings()), &Format::Markdown));
}

#[test]
fn markdown_without_findings() {
    let mut empty = report(&[]);
    empty.summary.not_scanned.clear();
    assert_eq!(written(&empty, &Format::Markdown), "## secretscan: no secrets found\n");
}

#[test]
fn gitlab() {
    insta::assert_snapshot!(written(&report(&findings()[2..3]), &Format::Gitlab));
}

#[test]
fn the_web_page_loads_nothing_and_marks_the_secret() {
    let page = written(&report(&findings()), &Format::Html);
    assert!(page.contains("default-src 'none'; style-src 'sha256-"), "{page}");
    for loading in ["src=", "href=", "url(", "@import", "http:", "https:", "style=\"", " on"] {
        let tags = page.split('<').map(|rest| rest.split('>').next().unwrap());
        let found = tags.filter(|tag| tag.contains(loading) && !tag.starts_with("details"));
        assert_eq!(found.collect::<Vec<_>>(), [] as [&str; 0], "{loading}");
    }
    assert!(page.contains("TOKEN=<mark>ghp_****</mark>"));
    assert!(page.contains("<option>generic-password</option>"));
    let empty = written(&report(&[]), &Format::Html);
    assert!(empty.contains("No secrets found") && !empty.contains("<form"), "{empty}");
}

#[test]
fn every_format_says_what_a_secret_was_decoded_from() {
    let findings = findings();
    for format in formats().iter().filter(|format| !matches!(format, Format::Template(_))) {
        let said = |n: usize| {
            let shown = written(&report(&findings[n..=n]), format);
            shown.replace("&gt;", ">").matches("base64>percent").count()
        };
        assert_eq!((said(1), said(2)), (0, 1), "{}", format.name());
    }
}

#[test]
fn several_repositories_are_told_apart_in_every_format_that_can() {
    let findings = findings();
    let mut reports = [report(&findings[1..2]), report(&findings[2..3])];
    reports[0].repository = Some("host/first");
    reports[1].repository = Some("host/second");
    for format in formats().iter().filter(|format| !matches!(format, Format::Gitlab | Format::Template(_))) {
        let shown = all_written(&reports, format).replace("&#x2f;", "/");
        assert!(shown.contains("host/first") && shown.contains("host/second"), "{}", format.name());
    }
    let json: Value = serde_json::from_str(&all_written(&reports, &Format::Json)).unwrap();
    assert_eq!(json["summary"]["commits"], 2 * 1234);
    assert_eq!(json["findings"][1]["repository"], "host/second");
    let sarif: Value = serde_json::from_str(&all_written(&reports, &Format::Sarif)).unwrap();
    assert_eq!(sarif["runs"][1]["automationDetails"]["id"], "secretscan/host/second/");
}

#[test]
fn templates_get_what_json_has_and_escape_by_their_name() {
    let findings = [finding("rule", "high", b"<a>\x1b\"", vec![occurrence(1, 3, 9, "key: \"****\"")])];
    let of = |name: &str, source: &str| {
        let template = Template::parse(name, source).unwrap();
        written(&report(&findings), &Format::Template(template))
    };
    let each = "{% for f in findings %}\n{{ f.path }} {{ f.occurrences[0].author.date }}\n{% endfor %}\n";
    assert_eq!(of("a.md", each), "<a>\\u{1b}\" 2026-05-28T20:26:41Z\n");
    assert_eq!(of("a.html.j2", each), "&lt;a&gt;\\u{1b}&quot; 2026-05-28T20:26:41Z\n");
    assert_eq!(of("a.json", "[{{ findings[0].path }}]"), "[\"<a>\\u001b\\\"\"]");
    assert_eq!(of("a.txt", "{{ summary.commits }} {{ findings|length }} {{ tool.version }}"), "1234 1 1.2.3");
}

#[test]
fn a_template_that_is_wrong_says_where() {
    let error = Template::parse("a.txt", "a\n{% for %}").unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("a.txt:2"), "{source}");
    let template = Format::Template(Template::parse("a.txt", "{{ findngs|length }}").unwrap());
    let error = secretscan_report::write(&[report(&[])], &template, &mut io::sink()).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_full_list_of_occurrences_is_said_to_be_cut() {
    let findings = findings();
    assert_eq!(findings[0].occurrences.len(), MAX_OCCURRENCES);
    let document: Value = serde_json::from_str(&written(&report(&findings), &Format::Json)).unwrap();
    assert_eq!(document["findings"][0]["mayHaveMoreOccurrences"], true);
    assert_eq!(document["findings"][1]["mayHaveMoreOccurrences"], false);
    assert_eq!(document["findings"][2]["occurrences"][0]["commit"], Value::Null);
}

#[test]
fn a_refused_write_says_so() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for format in formats() {
        let error = secretscan_report::write(&[report(&findings())], &format, &mut Closed).unwrap_err();
        assert_eq!(error.source.kind(), ErrorKind::BrokenPipe, "{}", format.name());
    }
}
