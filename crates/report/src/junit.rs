//! JUnit XML, as CI servers show it: a failed test case for each finding, a skipped one for what was not scanned.

use std::io::{self, Write};

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use crate::escape::for_xml;
use crate::{Report, ReportedFinding, TOOL_NAME, date, document};

type Xml = Writer<Vec<u8>>;

pub(crate) fn write(reports: &[Report<'_>], out: &mut dyn Write) -> io::Result<()> {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let failures: usize = reports.iter().map(|report| report.findings.len()).sum();
    let tests: usize = reports.iter().map(tests).sum();
    let counts = [("tests", tests.to_string()), ("failures", failures.to_string()), ("errors", "0".into())];
    xml.create_element("testsuites")
        .with_attribute(("name", TOOL_NAME))
        .with_attributes(counts.iter().map(|(name, value)| (*name, value.as_str())))
        .write_inner_content(|xml| reports.iter().try_for_each(|report| suite(xml, report)))?;
    out.write_all(xml.get_ref())?;
    writeln!(out)
}

/// How many test cases a report has: one that passes when there is nothing else.
fn tests(report: &Report<'_>) -> usize {
    (report.findings.len() + report.summary.not_scanned.len()).max(1)
}

fn suite(xml: &mut Xml, report: &Report<'_>) -> io::Result<()> {
    let summary = &report.summary;
    let name = report.repository.map_or_else(|| TOOL_NAME.into(), for_xml);
    let attributes = [
        ("name", name),
        ("tests", tests(report).to_string()),
        ("failures", report.findings.len().to_string()),
        ("errors", "0".into()),
        ("skipped", summary.not_scanned.len().to_string()),
        ("time", format!("{:.3}", summary.elapsed.as_secs_f64())),
        ("timestamp", date::without_zone(summary.started)),
    ];
    xml.create_element("testsuite")
        .with_attributes(attributes.iter().map(|(name, value)| (*name, value.as_str())))
        .write_inner_content(|xml| {
            report.findings.iter().try_for_each(|reported| failure(xml, reported))?;
            for skipped in &summary.not_scanned {
                let case = xml.create_element("testcase").with_attribute(("classname", "not scanned"));
                case.with_attribute(("name", for_xml(&skipped.what).as_str())).write_inner_content(
                    |xml| {
                        let skipped = ("message", &*for_xml(&skipped.reason));
                        xml.create_element("skipped").with_attribute(skipped).write_empty().map(drop)
                    },
                )?;
            }
            if tests(report) > report.findings.len() + summary.not_scanned.len() {
                let case = xml.create_element("testcase").with_attribute(("classname", TOOL_NAME));
                case.with_attribute(("name", "no secrets found")).write_empty()?;
            }
            Ok(())
        })
        .map(drop)
}

fn failure(xml: &mut Xml, reported: &ReportedFinding<'_>) -> io::Result<()> {
    let finding = &reported.finding;
    let at = finding.introduced();
    let path = for_xml(&finding.display_path());
    let place = format!("{path}:{}:{}", at.line, at.column);
    let mut text = format!("{place}\n{}\n", for_xml(&at.excerpt));
    if let Some(forms) = &at.decoded_from {
        text += &format!("decoded from {}\n", for_xml(forms));
    }
    if let Some(secret) = &reported.secret {
        text += &format!("secret {}\n", for_xml(secret));
    }
    if let Some(commit) = document::commit(at) {
        let date = date::rfc3339(at.author.time).unwrap_or_default();
        text += &for_xml(&format!("commit {commit} by {} <{}> {date}", at.author.name, at.author.email));
        text.push('\n');
    }
    text += &format!("fingerprint {}", for_xml(finding.id.fingerprint()));
    let (rule, severity) = (finding.rule_id.as_str(), for_xml(&finding.severity));
    let message = format!("{severity}: {}", for_xml(&finding.description));
    xml.create_element("testcase")
        .with_attribute(("classname", rule))
        .with_attribute(("name", place.as_str()))
        .with_attribute(("file", path.as_str()))
        .with_attribute(("line", at.line.to_string().as_str()))
        .write_inner_content(|xml| {
            xml.create_element("failure")
                .with_attribute(("type", severity.as_str()))
                .with_attribute(("message", message.as_str()))
                .write_text_content(BytesText::new(&text))
                .map(drop)
        })
        .map(drop)
}
