//! What a repository must not be able to do to those who read a report.

use secretscan_model::Finding;
use secretscan_report::Format;
use serde_json::Value;

use super::{finding, findings, formats, occurrence, report, written};

/// Markup, formulas, controls and what reorders text, wherever a repository can put them.
fn attack() -> Finding {
    let text = "=cmd|'/c calc'!A0 \"><script>alert(1)</script>]]>&amp;\u{1b}[2J\u{0}\r\n\u{202e}\u{ffff}\u{9b}31m{{ 7*7 }}";
    let mut attack = finding("rule", "high", text.as_bytes(), vec![occurrence(1, 1, 2, text)]);
    text.clone_into(&mut attack.description);
    text.clone_into(&mut attack.severity);
    text.clone_into(&mut attack.occurrences[0].author.name);
    text.clone_into(&mut attack.occurrences[0].author.email);
    attack
}

#[test]
fn no_format_shows_characters_that_act_on_a_terminal() {
    let findings = [findings(), vec![attack()]].concat();
    for format in formats() {
        let shown = written(&report(&findings), &format);
        let is_harmless = |c: char| (c == '\n' || !c.is_control()) && c != '\u{202e}';
        assert!(shown.chars().all(is_harmless), "{}: {shown:?}", format.name());
    }
}

#[test]
fn nothing_ends_a_line_or_a_cell_early() {
    let findings = [attack()];
    let csv = written(&report(&findings), &Format::Csv);
    assert_eq!(csv.lines().count(), 2, "{csv}");
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let row = reader.records().next().unwrap().unwrap();
    assert_eq!(row.len(), 21);
    assert!(row.iter().all(|cell| !cell.starts_with(['=', '+', '-', '@', '\t', '\r'])), "{csv}");
    assert_eq!(written(&report(&findings), &Format::Jsonl).lines().count(), 1);
    let markdown = written(&report(&findings), &Format::Markdown);
    let rows = markdown.lines().filter(|line| line.starts_with('|'));
    assert!(rows.clone().count() == 3 && rows.clone().all(|row| row.matches('|').count() == 6), "{markdown}");
}

#[test]
fn markup_stays_text() {
    let findings = [attack()];
    let page = written(&report(&findings), &Format::Html);
    assert_eq!(page.matches("<script>").count(), 1, "its own");
    assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("{{ 7*7 }}"), "{page}");
    assert!(!written(&report(&findings), &Format::Markdown).contains("<script>"));
    let xml = written(&report(&findings), &Format::Junit);
    assert!(!xml.contains("<script>") && !xml.contains('\u{ffff}'), "{xml}");
    let mut reader = quick_xml::Reader::from_str(&xml);
    let mut failures = 0;
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Start(tag) => failures += usize::from(tag.name().as_ref() == "failure"),
            quick_xml::events::Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(failures, 1);
}

#[test]
fn a_path_that_is_not_utf8_keeps_its_bytes() {
    let findings = findings();
    let json: Value = serde_json::from_str(&written(&report(&findings), &Format::Json)).unwrap();
    assert_eq!(json["findings"][2]["path"], "caf\u{fffd}.txt");
    assert_eq!(json["findings"][2]["pathBytes"], "Y2Fm6S50eHQ=");
    assert!(json["findings"][0].get("pathBytes").is_none());
    let sarif: Value = serde_json::from_str(&written(&report(&findings), &Format::Sarif)).unwrap();
    let location = &sarif["runs"][0]["results"][2]["locations"][0]["physicalLocation"];
    assert_eq!(location["artifactLocation"]["uri"], "caf%E9.txt");
    assert!(written(&report(&findings), &Format::Csv).contains("Y2Fm6S50eHQ="));
}
