//! What a person is told whose commit or push is stopped: at most a screen.

use std::io::{self, Write};

use console::measure_text_width;
use secretscan_model::Finding;

use crate::escape::for_terminal;
use crate::text::{ExcerptLine, cut_end, cut_start, severity_style};
use crate::{ReportedFinding, TextStyle, document};

/// The lines of a terminal that nobody has made larger.
const SCREEN_LINES: usize = 24;
/// What Git and the shell write around the message.
const LINES_OF_OTHERS: usize = 3;
/// The columns of such a terminal.
const SCREEN_COLUMNS: usize = 80;
const INDENT: &str = "      ";
/// As many of a commit id are shown.
const SHORT_COMMIT: usize = 10;

/// One way out, in words that fit the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What it is, in a word or two.
    pub name: &'static str,
    /// How it is done, line by line.
    pub lines: Vec<String>,
}

/// What stops a commit or a push, and what to do about it.
pub struct Blocked<'a> {
    /// What is stopped and where the secrets are, after their number: such as `in what is staged: commit stopped`.
    pub place: &'a str,
    /// The findings; as many are shown as fit.
    pub findings: &'a [ReportedFinding<'a>],
    /// The refs that would show a finding to others; none where nothing is pushed.
    pub refs: &'a dyn Fn(&Finding) -> Vec<String>,
    /// What to do next.
    pub advice: &'a [Advice],
}

impl Blocked<'_> {
    /// Writes it. Secrets are as hidden as the findings have them.
    ///
    /// # Errors
    /// When `out` refuses.
    pub fn write(&self, style: TextStyle, out: &mut dyn Write) -> io::Result<()> {
        let columns = style.width.unwrap_or(SCREEN_COLUMNS).max(2 * INDENT.len());
        let (count, secrets) = match self.findings.len() {
            1 => (1, "secret"),
            n => (n, "secrets"),
        };
        let title = style.style().red().bold().apply_to(format!("secretscan: {count} {secrets}"));
        let title = format!("{title} {}\n\n", self.place);
        out.write_all(title.as_bytes())?;
        let advice = self.advice(style);
        // Two more: how many are not shown, and an empty line.
        let taken = rows(&title, columns) + rows(&advice, columns) + LINES_OF_OTHERS + 2;
        let mut room = SCREEN_LINES.saturating_sub(taken);
        let mut shown = 0;
        for reported in self.findings {
            let text = self.finding(reported, style, columns);
            let needed = rows(&text, columns);
            if shown > 0 && needed > room {
                break;
            }
            out.write_all(text.as_bytes())?;
            room = room.saturating_sub(needed);
            shown += 1;
        }
        if shown < self.findings.len() {
            writeln!(out, "  and {} more", self.findings.len() - shown)?;
        }
        write!(out, "\n{advice}")
    }

    fn finding(&self, reported: &ReportedFinding<'_>, style: TextStyle, columns: usize) -> String {
        let finding = &reported.finding;
        let first = finding.introduced();
        let path = match finding.path.strip_prefix(b".git/COMMIT_") {
            Some(b"MESSAGE") => "commit message".to_owned(),
            Some(b"AUTHOR") => "commit author".to_owned(),
            _ => for_terminal(&finding.display_path()),
        };
        // A place on several lines is hard to read, one of many lines does not fit.
        let place = format!("{}:{}:{}", cut_start(path, 2 * columns), first.line, first.column);
        let rule = finding.rule_id.as_str();
        let severity = severity_style(&finding.severity, style);
        let label = severity.apply_to(for_terminal(&finding.severity));
        let is_short = measure_text_width(&place) + rule.len() + finding.severity.len() + 7 <= columns;
        let gap = if is_short { "  ".to_owned() } else { format!("\n{INDENT}") };
        let place = style.style().cyan().apply_to(place);
        let mut text = format!("  {place}{gap}{} ({label})\n", style.style().bold().apply_to(rule));
        let room = columns - INDENT.len();
        let line = ExcerptLine::new(&first.excerpt, reported.marks[0].clone(), Some(room));
        let [before, marked, after] = &line.parts;
        if !first.excerpt.trim().is_empty() {
            text += &format!("{INDENT}{before}{}{after}\n", severity.apply_to(marked));
        }
        let dim = style.style().dim();
        let commit = document::commit(first).map(|id| format!("commit {}", &id.to_string()[..SHORT_COMMIT]));
        let refs: Vec<String> = (self.refs)(finding).iter().map(|name| for_terminal(name)).collect();
        let refs = (!refs.is_empty()).then(|| format!("leaks by {}", refs.join(", ")));
        let pushed: Vec<String> = commit.into_iter().chain(refs).collect();
        if !pushed.is_empty() {
            text += &format!("{INDENT}{}\n", dim.apply_to(cut_end(pushed.join(", "), room)));
        }
        // Whole, however narrow the terminal: it is there to be copied.
        text += &format!(
            "{INDENT}{}\n",
            dim.apply_to(format!("fingerprint {}", for_terminal(finding.id.fingerprint())))
        );
        text
    }

    fn advice(&self, style: TextStyle) -> String {
        let width = self.advice.iter().map(|advice| advice.name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for advice in self.advice {
            let mut name = format!("{:width$}", advice.name);
            for line in &advice.lines {
                text += &format!("{}  {line}\n", style.style().bold().apply_to(&name));
                name = " ".repeat(width);
            }
        }
        text
    }
}

/// How many lines a terminal needs for a text.
fn rows(text: &str, columns: usize) -> usize {
    text.lines().map(|line| measure_text_width(line).div_ceil(columns).max(1)).sum()
}
