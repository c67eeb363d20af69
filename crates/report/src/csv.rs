//! CSV (RFC 4180, but for line feeds as line ends): a header, then a line for each finding, at its earliest occurrence.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::escape::for_terminal;
use crate::{Report, date, document};

const HEADER: [&str; 21] = [
    "repository",
    "ruleId",
    "description",
    "severity",
    "confidence",
    "path",
    "line",
    "column",
    "endLine",
    "endColumn",
    "commit",
    "author",
    "email",
    "date",
    "excerpt",
    "decodedFrom",
    "secret",
    "secretHash",
    "fingerprint",
    "occurrences",
    "pathBytes",
];

pub(crate) fn write(reports: &[Report<'_>], out: &mut dyn Write) -> io::Result<()> {
    let mut csv = ::csv::Writer::from_writer(out);
    csv.write_record(HEADER)?;
    for report in reports {
        for reported in &report.findings {
            let finding = &reported.finding;
            let at = finding.introduced();
            let commit = document::commit(at);
            let of_commit = |text: &str| commit.map_or_else(String::new, |_| text.to_owned());
            let row: [String; HEADER.len()] = [
                report.repository.unwrap_or_default().to_owned(),
                finding.rule_id.to_string(),
                finding.description.clone(),
                finding.severity.clone(),
                finding.confidence.clone(),
                finding.display_path().into_owned(),
                at.line.to_string(),
                at.column.to_string(),
                at.end_line.to_string(),
                at.end_column.to_string(),
                commit.map_or_else(String::new, |commit| commit.to_string()),
                of_commit(&at.author.name),
                of_commit(&at.author.email),
                of_commit(&date::rfc3339(at.author.time).unwrap_or_default()),
                at.excerpt.clone(),
                at.decoded_from.clone().unwrap_or_default(),
                reported.secret.clone().unwrap_or_default(),
                finding.secret_hash.0.clone(),
                finding.id.fingerprint().to_owned(),
                finding.occurrences.len().to_string(),
                document::path_bytes(&finding.path).unwrap_or_default(),
            ];
            csv.write_record(row.iter().map(|cell| cell_text(cell)).map(|cell| cell.into_owned()))?;
        }
    }
    csv.flush()
}

/// A cell that no spreadsheet takes for a formula: what starts like one gets an apostrophe before it, as OWASP advises
/// ("CSV Injection"). Tabs and carriage returns, which start one too, are escaped like all controls.
fn cell_text(text: &str) -> Cow<'_, str> {
    let safe = for_terminal(text);
    if safe.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) {
        return Cow::Owned(format!("'{safe}"));
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_text() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "＝1"] {
            assert_eq!(cell_text(formula), format!("'{formula}"));
        }
        assert_eq!(cell_text("\t=1"), "\\t=1");
        assert_eq!(cell_text("a=1"), "a=1");
    }
}
