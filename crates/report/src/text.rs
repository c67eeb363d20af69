//! Text for people: what was found, where, since when; then the counts, and always what was not scanned.

use std::io::{self, Write};
use std::ops::Range;
use std::time::Duration;

use console::{Style, Term, measure_text_width};
use secretscan_model::finding::MAX_OCCURRENCES;
use secretscan_model::{Author, Finding, Verification};

use crate::escape::for_terminal;
use crate::{Report, ReportedFinding, date, document};

/// How many digits of a commit id are shown.
const SHORT_COMMIT: usize = 10;
/// Nothing is cut to fewer columns.
const LEAST: usize = 20;
const CUT: &str = "…";

/// Whether the text has colours, and how long its lines may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextStyle {
    is_coloured: bool,
    /// The width of the terminal: an excerpt must stay one line for the mark below it to fit.
    pub(crate) width: Option<usize>,
}

impl TextStyle {
    /// No escape sequences, lines as long as they are.
    pub const PLAIN: Self = Self { is_coloured: false, width: None };

    /// ANSI colours and, if it is given, a width in columns.
    pub fn coloured(width: Option<usize>) -> Self {
        Self { is_coloured: true, width }
    }

    /// What suits standard output: colours when it is a terminal that has them and neither `NO_COLOR` nor
    /// `CLICOLOR=0` says otherwise; the width of the terminal.
    pub fn of_stdout() -> Self {
        Self { is_coloured: console::colors_enabled(), width: width(&Term::stdout()) }
    }

    /// The same for standard error.
    pub fn of_stderr() -> Self {
        Self { is_coloured: console::colors_enabled_stderr(), width: width(&Term::stderr()) }
    }

    /// With lines of at most so many columns.
    #[must_use]
    pub fn at_most(self, columns: usize) -> Self {
        Self { width: Some(self.width.unwrap_or(columns).min(columns)), ..self }
    }

    pub(crate) fn style(self) -> Style {
        Style::new().force_styling(self.is_coloured)
    }
}

fn width(terminal: &Term) -> Option<usize> {
    terminal.size_checked().map(|(_, columns)| usize::from(columns))
}

pub(crate) fn write(reports: &[Report<'_>], style: TextStyle, out: &mut dyn Write) -> io::Result<()> {
    write_each(reports, style, out, |report, out| {
        report.findings.iter().try_for_each(|reported| write_finding(reported, style, out))
    })
}

pub(crate) fn write_summaries(
    reports: &[Report<'_>],
    style: TextStyle,
    out: &mut dyn Write,
) -> io::Result<()> {
    write_each(reports, style, out, |_, _| Ok(()))
}

/// Of several reports those that say something, and a line on all of them.
fn write_each(
    reports: &[Report<'_>],
    style: TextStyle,
    out: &mut dyn Write,
    write_findings: impl Fn(&Report<'_>, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let is_only = reports.len() == 1;
    let says_something = |report: &&Report<'_>| {
        is_only || !report.findings.is_empty() || !report.summary.not_scanned.is_empty()
    };
    for report in reports.iter().filter(says_something) {
        if let Some(name) = report.repository {
            writeln!(out, "{}\n", style.style().bold().underlined().apply_to(for_terminal(name)))?;
        }
        write_findings(report, out)?;
        write_summary(report, style, out)?;
        if !is_only {
            writeln!(out)?;
        }
    }
    if is_only { Ok(()) } else { writeln!(out, "{}", total(reports)) }
}

fn total(reports: &[Report<'_>]) -> String {
    let repositories = counted(reports.len() as u64, "repository", "repositories");
    let findings: usize = reports.iter().map(|report| report.findings.len()).sum();
    if findings == 0 {
        return format!("no secrets found in {repositories}");
    }
    let with_findings = reports.iter().filter(|report| !report.findings.is_empty()).count();
    format!("{} in {with_findings} of {repositories}", counted(findings as u64, "secret", "secrets"))
}

fn write_finding(reported: &ReportedFinding<'_>, style: TextStyle, out: &mut dyn Write) -> io::Result<()> {
    let finding = &reported.finding;
    let first = finding.introduced();
    let severity = severity_style(&finding.severity, style);
    let dim = style.style().dim();
    let (label, rule) = (for_terminal(&finding.severity), finding.rule_id.as_str());
    let confidence = format!("({} confidence)", for_terminal(&finding.confidence));
    let taken = measure_text_width(&label) + rule.len() + measure_text_width(&confidence) + 5;
    let description = for_terminal(&finding.description);
    let description = match style.width {
        Some(width) => cut_end(description, width.saturating_sub(taken).max(LEAST)),
        None => description,
    };
    let (label, rule) = (severity.apply_to(label), style.style().bold().apply_to(rule));
    writeln!(out, "{label}  {rule}  {description} {}", dim.apply_to(confidence))?;
    let number = first.line.to_string();
    let margin = " ".repeat(number.len());
    let place = format!("{}:{}:{}", for_terminal(&finding.display_path()), first.line, first.column);
    writeln!(out, "{margin} {} {}", dim.apply_to("-->"), style.style().cyan().apply_to(place))?;
    let room = style.width.map(|width| width.saturating_sub(number.len() + 4).max(LEAST));
    let line = ExcerptLine::new(&first.excerpt, reported.marks[0].clone(), room);
    let [before, marked, after] = &line.parts;
    writeln!(out, " {} {before}{}{after}", dim.apply_to(format!("{number} |")), severity.apply_to(marked))?;
    let bar = dim.apply_to(format!("{margin} |"));
    if !marked.is_empty() {
        let space = " ".repeat(measure_text_width(before));
        let mark = "^".repeat(measure_text_width(marked));
        writeln!(out, " {bar} {space}{}", severity.apply_to(mark))?;
    }
    let fact = |name: &str| dim.apply_to(format!("{margin} = {name}")).to_string();
    if let Some(forms) = &first.decoded_from {
        writeln!(out, " {} {}", fact("decoded from"), for_terminal(forms))?;
    }
    if let Some(secret) = &reported.secret {
        writeln!(out, " {} {}", fact("secret"), for_terminal(secret))?;
    }
    if let Some(verification) = &reported.verification {
        writeln!(out, " {} {}", fact("verification"), verdict(verification, style))?;
    }
    if let Some(change) = &reported.rule_change {
        let (version, at) = (for_terminal(&change.rule_set), date::of_event(change.at));
        writeln!(out, " {} to {version} at {at}", fact("resolved by a change of the rules"))?;
    }
    if let Some(commit) = document::commit(first) {
        let commit = commit.to_string();
        let short = style.style().yellow().apply_to(&commit[..SHORT_COMMIT]);
        writeln!(out, " {} {short} by {}", fact("commit"), author(&first.author))?;
    }
    if let Some(places) = more_places(finding) {
        writeln!(out, " {} {places}", fact("also in"))?;
    }
    writeln!(out, " {} {}\n", fact("fingerprint"), for_terminal(finding.id.fingerprint()))
}

pub(crate) fn severity_style(severity: &str, style: TextStyle) -> Style {
    let style = style.style().bold();
    match severity {
        "critical" => style.red().bright(),
        "high" => style.red(),
        "medium" => style.yellow(),
        _ => style.blue(),
    }
}

fn verdict(verification: &Verification, style: TextStyle) -> String {
    let result = verification.as_str();
    match verification {
        Verification::Valid => {
            format!("{}: the provider accepts it", style.style().red().bold().apply_to(result))
        }
        Verification::Revoked => {
            format!("{}: the provider does not know it", style.style().green().apply_to(result))
        }
        Verification::Unknown { reason } => format!("{result}: {}", for_terminal(reason)),
    }
}

fn author(author: &Author) -> String {
    let date = date::date(author.time).unwrap_or_else(|| "an impossible date".to_owned());
    format!("{} <{}> on {date}", for_terminal(&author.name), for_terminal(&author.email))
}

fn more_places(finding: &Finding) -> Option<String> {
    let more = finding.occurrences.len() - 1;
    match more + 1 {
        1 => None,
        MAX_OCCURRENCES.. => Some(format!("{more} or more other places")),
        _ => Some(counted(more as u64, "other place", "other places")),
    }
}

/// An excerpt without its indent, before, in and after its mark, each as it is shown. Without a mark all is after it.
pub(crate) struct ExcerptLine {
    pub parts: [String; 3],
}

impl ExcerptLine {
    /// With `room` columns: what does not fit is cut off on both sides of the mark.
    pub fn new(excerpt: &str, mark: Option<Range<usize>>, room: Option<usize>) -> Self {
        let excerpt = excerpt.trim_end();
        let indent = excerpt.len() - excerpt.trim_start().len();
        let mark = mark.filter(|mark| indent <= mark.start && mark.end <= excerpt.len());
        let mark = mark.unwrap_or(indent..indent);
        let [mut before, mut marked, mut after] = [indent..mark.start, mark.clone(), mark.end..excerpt.len()]
            .map(|part| for_terminal(&excerpt[part]));
        if let Some(room) = room {
            marked = cut_end(marked, room);
            let left = room - measure_text_width(&marked);
            // A side that needs less than half of what is left leaves the rest to the other one.
            let [of_before, of_after] = [&before, &after].map(|part| measure_text_width(part));
            let for_after = of_after.min((left / 2).max(left.saturating_sub(of_before)));
            before = cut_start(before, left - for_after);
            after = cut_end(after, for_after);
        }
        Self { parts: [before, marked, after] }
    }
}

/// The text, or as much of its start as fits.
pub(crate) fn cut_end(text: String, room: usize) -> String {
    if measure_text_width(&text) <= room {
        return text;
    }
    let mut shown = String::new();
    let mut width = 0;
    for c in text.chars() {
        width += measure_text_width(c.encode_utf8(&mut [0; 4]));
        if width + 1 > room {
            break;
        }
        shown.push(c);
    }
    if room > 0 { shown + CUT } else { shown }
}

/// The text, or as much of its end as fits.
pub(crate) fn cut_start(text: String, room: usize) -> String {
    let backwards = |text: String| text.chars().rev().collect::<String>();
    backwards(cut_end(backwards(text), room))
}

fn write_summary(report: &Report<'_>, style: TextStyle, out: &mut dyn Write) -> io::Result<()> {
    let summary = &report.summary;
    let (new, known) = match summary.known {
        Some(known) => ("new ", format!(", {known} known from the baseline,")),
        None => ("", String::new()),
    };
    let verdict = match report.findings.len() {
        0 => style.style().green().bold().apply_to(format!("no {new}secrets found")),
        n => style.style().red().bold().apply_to(count_by_severity(n, new, report)),
    };
    let scanned = match summary.commits {
        0 => counted(summary.blobs, "file", "files"),
        n => format!("{}, {}", counted(n, "commit", "commits"), counted(summary.blobs, "blob", "blobs")),
    };
    let (size, time) = (bytes(summary.bytes), seconds(summary.elapsed));
    writeln!(out, "{verdict}{known} in {scanned} ({size}), {time}")?;
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
fn count_by_severity(total: usize, new: &str, report: &Report<'_>) -> String {
    let count =
        |severity| report.findings.iter().filter(|reported| reported.finding.severity == severity).count();
    let parts: Vec<String> = ["critical", "high", "medium", "low"]
        .into_iter()
        .map(|severity| (count(severity), severity))
        .filter(|(n, _)| *n > 0)
        .map(|(n, severity)| format!("{n} {severity}"))
        .collect();
    let secrets = if total == 1 { "secret" } else { "secrets" };
    format!("{total} {new}{secrets} ({})", parts.join(", "))
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
    fn excerpts_fit_the_terminal_with_their_mark() {
        let excerpt = format!("  {}****{}", "a".repeat(60), "日".repeat(30));
        let parts = |room| ExcerptLine::new(&excerpt, Some(62..66), room).parts;
        assert_eq!(parts(None), ["a".repeat(60), "****".into(), "日".repeat(30)]);
        let shown = parts(Some(30));
        assert_eq!(shown, [format!("…{}", "a".repeat(12)), "****".into(), format!("{}…", "日".repeat(6))]);
        assert_eq!(measure_text_width(&shown.concat()), 30);
        assert_eq!(parts(Some(4)), ["", "****", ""]);
        assert_eq!(parts(Some(3)), ["", "**…", ""]);
        let short = ExcerptLine::new("k=****", Some(2..6), Some(30)).parts;
        assert_eq!(short, ["k=", "****", ""]);
        assert_eq!(ExcerptLine::new("  no mark ", None, Some(5)).parts, ["", "", "no m…"]);
    }

    #[test]
    fn sizes_have_a_fitting_unit() {
        let shown = [0, 1, 999, 1000, 999_949, 999_950, 3_740_000_000].map(bytes);
        assert_eq!(shown, ["0 bytes", "1 byte", "999 bytes", "1.0 kB", "999.9 kB", "1.0 MB", "3.7 GB"]);
    }
}
