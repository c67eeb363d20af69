//! How much of a secret can be seen.

use data_encoding::{BASE32, BASE64, BASE64URL, HEXLOWER, HEXUPPER};
use secretscan_report::{Format, Found, Redaction, Report, ReportedFinding, TextStyle};

use super::{findings, formats, report, written};

const SECRET: &str = "abcd-efgh+ijkl/mnop=qrst";

fn with_secret(redaction: Redaction) -> Vec<(String, String)> {
    let findings = findings();
    let found: Vec<Found<'_>> =
        findings.iter().map(|finding| Found { finding, secret: Some(SECRET.as_bytes()) }).collect();
    assert!(!format!("{found:?}").contains("efgh"));
    let report = Report { findings: ReportedFinding::list(&found, redaction), ..report(&findings) };
    assert!(!format!("{report:?}").contains("efgh"));
    formats().iter().map(|format| (format.name().to_owned(), written(&report, format))).collect()
}

/// The secret as it is, and as it may hide: also within base64 of more, at every offset.
fn forms() -> Vec<String> {
    let percent: String = SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mut forms =
        vec![SECRET.to_owned(), percent, SECRET.replace('+', "%2B"), BASE32.encode(SECRET.as_bytes())];
    forms.extend([HEXLOWER.encode(SECRET.as_bytes()), HEXUPPER.encode(SECRET.as_bytes())]);
    for skipped in 0..3 {
        let bytes = &SECRET.as_bytes()[skipped..];
        let whole = bytes.len() / 3 * 3;
        forms.extend([BASE64.encode(&bytes[..whole]), BASE64URL.encode(&bytes[..whole])]);
    }
    forms
}

#[test]
fn no_format_shows_a_secret_in_any_form_unless_told() {
    for (format, shown) in with_secret(Redaction::WHOLE) {
        for form in forms() {
            assert!(!shown.contains(&form), "{format} has {form}: {shown}");
        }
    }
}

#[test]
fn every_format_shows_the_secret_when_told() {
    for (format, shown) in with_secret(Redaction::from_percent(0)) {
        // As XML and HTML write it, too.
        let shown = shown.replace("&#x2f;", "/").replace("%2B", "+");
        assert!(shown.contains(SECRET), "{format}: {shown}");
    }
}

#[test]
fn every_format_shows_the_share_that_it_is_told() {
    for (format, shown) in with_secret(Redaction::from_percent(50)) {
        let shown = shown.replace("&#x2f;", "/");
        assert!(shown.contains("abcd-efgh+ij****") && !shown.contains("+ijk"), "{format}: {shown}");
    }
}

#[test]
fn the_excerpt_shows_what_the_secret_shows() {
    let findings = findings();
    let found = [Found { finding: &findings[1], secret: Some(b"line one\nline two\x1b") }];
    let mut report = report(&findings[..1]);
    report.findings = ReportedFinding::list(&found, Redaction::from_percent(0));
    let text = written(&report, &Format::Text(TextStyle::PLAIN));
    let shown: Vec<&str> = text.lines().skip(2).take(3).collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
     1 | A=**** TOKEN=line one line two�
       |              ^^^^^^^^^^^^^^^^^^
       = secret line one\nline two\u{1b}
    ");
}
