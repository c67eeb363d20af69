//! Text for people: what was found, where, since when; then the counts, and always what was not scanned.

use std::io::{self, Write};
use std::time::Duration;

use console::{Style, measure_text_width};
use secretscan_model::finding::MAX_OCCURRENCES;
use secretscan_model::{Author, Finding, Occurrence};

use crate::escape::for_terminal;
use crate::{Report, ReportedFinding, date, json};

/// How a masked secret ends in an excerpt.
const MASK: &str = "****";
/// How many leading characters of the secret may stand before the mask.
const MAX_SHOWN: usize = 4;
/// How many digits of a commit id are shown.
const SHORT_COMMIT: usize = 10;

/// Whether the text has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextStyle {
    /// No escape sequences.
    Plain,
    /// ANSI colours.
    Coloured,
}

impl TextStyle {
    /// What suits standard output: colours when it is a terminal that has them and neither `NO_COLOR` nor
    /// `CLICOLOR=0` says otherwise.
    pub fn of_stdout() -> Self {
        Self::coloured_if(console::colors_enabled())
    }

    /// The same for standard error.
    pub fn of_stderr() -> Self {
        Self::coloured_if(console::colors_enabled_stderr())
    }

    fn coloured_if(is_coloured: bool) -> Self {
        if is_coloured { Self::Coloured } else { Self::Plain }
    }

    fn style(self) -> Style {
        Style::new().force_styling(self == Self::Coloured)
    }
}

pub(crate) fn write(report: &Report<'_>, style: TextStyle, out: &mut dyn Write) -> io::Result<()> {
    for reported in &report.findings {
        write_finding(reported, style, out)?;
    }
    write_summary(report, style, out)
}

fn write_finding(reported: &ReportedFinding<'_>, style: TextStyle, out: &mut dyn Write) -> io::Result<()> {
    let finding = reported.finding;
    let first = finding.introduced();
    let severity = severity_style(&finding.severity, style);
    let dim = style.style().dim();
    writeln!(
        out,
        "{}  {}  {} {}",
        severity.apply_to(for_terminal(&finding.severity)),
        style.style().bold().apply_to(&finding.rule_id),
        for_terminal(&finding.description),
        dim.apply_to(format!("({} confidence)", for_terminal(&finding.confidence)))
    )?;
    let place = format!("{}:{}:{}", for_terminal(&finding.display_path()), first.line, first.column);
    writeln!(out, "  {} {}", dim.apply_to("-->"), style.style().cyan().apply_to(place))?;
    let (line, mark) = marked_excerpt(first);
    writeln!(out, "   {} {line}", dim.apply_to("|"))?;
    if let Some(mark) = mark {
        writeln!(out, "   {} {}", dim.apply_to("|"), severity.apply_to(mark))?;
    }
    if let Some(secret) = &reported.secret {
        writeln!(out, "   {} {}", dim.apply_to("secret"), for_terminal(secret))?;
    }
    if let Some(commit) = json::commit(first) {
        let commit = commit.to_string();
        let short = style.style().yellow().apply_to(&commit[..SHORT_COMMIT]);
        writeln!(
            out,
            "   {} {short} by {}{}",
            dim.apply_to("commit"),
            author(&first.author),
            more_places(finding)
        )?;
    }
    writeln!(out, "   {} {}\n", dim.apply_to("fingerprint"), for_terminal(&finding.fingerprint.0))
}

fn severity_style(severity: &str, style: TextStyle) -> Style {
    let style = style.style().bold();
    match severity {
        "critical" => style.red().bright(),
        "high" => style.red(),
        "medium" => style.yellow(),
        _ => style.blue(),
    }
}

fn author(author: &Author) -> String {
    let date = date::date(author.time).unwrap_or_else(|| "an impossible date".to_owned());
    format!("{} <{}> on {date}", for_terminal(&author.name), for_terminal(&author.email))
}

fn more_places(finding: &Finding) -> String {
    match finding.occurrences.len() {
        1 => String::new(),
        2 => ", and in 1 more place".to_owned(),
        n if n < MAX_OCCURRENCES => format!(", and in {} more places", n - 1),
        n => format!(", and in {} or more other places", n - 1),
    }
}

/// The excerpt without its indent, and a line of `^` that marks the secret in it. No mark when it can't be told which
/// of several masks is that of this secret.
fn marked_excerpt(occurrence: &Occurrence) -> (String, Option<String>) {
    let excerpt = occurrence.excerpt.trim_end();
    let line = excerpt.trim_start();
    let indent = excerpt.len() - line.len();
    let mark =
        mask_range(excerpt, occurrence.column).filter(|range| range.0 >= indent).map(|(start, end)| {
            let before = measure_text_width(&for_terminal(&excerpt[indent..start]));
            let marked = measure_text_width(&for_terminal(&excerpt[start..end]));
            format!("{}{}", " ".repeat(before), "^".repeat(marked))
        });
    (for_terminal(line), mark)
}

/// Where the masked secret stands in an excerpt, in bytes. An excerpt that starts where its line starts has the secret
/// at the column of the occurrence; otherwise a mask that is the only one must be it.
fn mask_range(excerpt: &str, column: u32) -> Option<(usize, usize)> {
    let start = usize::try_from(column).ok()?.checked_sub(1)?;
    if let Some(offset) = excerpt.get(start..).and_then(|rest| rest.find(MASK)).filter(|at| *at <= MAX_SHOWN)
    {
        return Some((start, start + offset + MASK.len()));
    }
    let mut masks = excerpt.match_indices(MASK);
    match (masks.next(), masks.next()) {
        (Some((only, _)), None) => Some((only, only + MASK.len())),
        _ => None,
    }
}

pub(crate) fn write_summary(report: &Report<'_>, style: TextStyle, out: &mut dyn Write) -> io::Result<()> {
    let summary = &report.summary;
    let verdict = match report.findings.len() {
        0 => style.style().green().bold().apply_to("no secrets found".to_owned()),
        n => style.style().red().bold().apply_to(count_by_severity(n, report)),
    };
    let scanned = match summary.commits {
        0 => counted(summary.blobs, "file", "files"),
        n => format!("{}, {}", counted(n, "commit", "commits"), counted(summary.blobs, "blob", "blobs")),
    };
    writeln!(out, "{verdict} in {scanned} ({}), {}", bytes(summary.bytes), seconds(summary.elapsed))?;
    if summary.ignored > 0 {
        let findings = counted(summary.ignored, "finding is", "findings are");
        writeln!(out, "{findings} ignored, as an ignore file says")?;
    }
    let not_scanned = &summary.not_scanned;
    if !not_scanned.is_empty() {
        let warning = style.style().yellow().bold();
        writeln!(out, "{} ({})", warning.apply_to("not scanned"), not_scanned.len())?;
        for skipped in not_scanned {
            writeln!(out, "  {}: {}", for_terminal(&skipped.what), for_terminal(&skipped.reason))?;
        }
    }
    let versions = format!("secretscan {}, rules {}", report.tool_version, report.rule_set_version);
    writeln!(out, "{}", style.style().dim().apply_to(versions))
}

/// Such as `3 secrets (1 critical, 2 high)`.
fn count_by_severity(total: usize, report: &Report<'_>) -> String {
    let count =
        |severity| report.findings.iter().filter(|reported| reported.finding.severity == severity).count();
    let parts: Vec<String> = ["critical", "high", "medium", "low"]
        .into_iter()
        .map(|severity| (count(severity), severity))
        .filter(|(n, _)| *n > 0)
        .map(|(n, severity)| format!("{n} {severity}"))
        .collect();
    format!("{} ({})", counted(total as u64, "secret", "secrets"), parts.join(", "))
}

/// Such as `1 commit` or `2 commits`.
fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if n < 1000 {
        return counted(n, "byte", "bytes");
    }
    let mut value = n as f64 / 1000.0;
    let mut unit = 0;
    // 999.95 would be shown as 1000.0.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

fn seconds(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1000.0) } else { format!("{seconds:.1} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_at_the_column_is_marked() {
        assert_eq!(mask_range("a=**** b=ghp_**** c", 10), Some((9, 17)));
        assert_eq!(mask_range("a=**** b=ghp_**** c", 3), Some((2, 6)));
    }

    #[test]
    fn in_a_cut_excerpt_only_a_lone_mask_is_marked() {
        assert_eq!(mask_range("…xx ****;", 4000), Some((6, 10)));
        assert_eq!(mask_range("…**** ****", 4000), None);
        assert_eq!(mask_range("no mask", 1), None);
        assert_eq!(mask_range("é****", 2), Some((2, 6)));
    }

    #[test]
    fn sizes_have_a_fitting_unit() {
        let shown = [0, 1, 999, 1000, 999_949, 999_950, 3_740_000_000].map(bytes);
        assert_eq!(shown, ["0 bytes", "1 byte", "999 bytes", "1.0 kB", "999.9 kB", "1.0 MB", "3.7 GB"]);
    }
}
