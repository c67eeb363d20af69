//! Markdown, in the form that GitHub, GitLab and Gitea show: for the summary of a CI job, or a comment.

use std::fmt::Write as _;
use std::io::{self, Write};

use crate::escape::for_terminal;
use crate::{Report, ReportedFinding, TOOL_NAME, document};

pub(crate) fn write(reports: &[Report<'_>], out: &mut dyn Write) -> io::Result<()> {
    let count: usize = reports.iter().map(|report| report.findings.len()).sum();
    match count {
        0 => writeln!(out, "## {TOOL_NAME}: no secrets found")?,
        1 => writeln!(out, "## {TOOL_NAME}: 1 secret found")?,
        _ => writeln!(out, "## {TOOL_NAME}: {count} secrets found")?,
    }
    for report in reports {
        let summary = &report.summary;
        if report.findings.is_empty() && summary.not_scanned.is_empty() {
            continue;
        }
        if let Some(repository) = report.repository {
            writeln!(out, "\n### {}", code(repository))?;
        }
        if !report.findings.is_empty() {
            writeln!(
                out,
                "\n| severity | what | where | excerpt | fingerprint |\n| --- | --- | --- | --- | --- |"
            )?;
            report.findings.iter().try_for_each(|reported| row(reported, out))?;
        }
        if !summary.not_scanned.is_empty() {
            writeln!(out, "\nNot scanned:\n")?;
            for skipped in &summary.not_scanned {
                writeln!(out, "- {}: {}", code(&skipped.what), code(&skipped.reason))?;
            }
        }
    }
    Ok(())
}

fn row(reported: &ReportedFinding<'_>, out: &mut dyn Write) -> io::Result<()> {
    let finding = &reported.finding;
    let at = finding.introduced();
    let mut place = code(&format!("{}:{}:{}", finding.display_path(), at.line, at.column));
    if let Some(commit) = document::commit(at) {
        let _ = write!(place, "<br>commit {commit}");
    }
    let mut excerpt = code(&at.excerpt);
    if let Some(forms) = &at.decoded_from {
        let _ = write!(excerpt, "<br>decoded from {}", code(forms));
    }
    if let Some(secret) = &reported.secret {
        let _ = write!(excerpt, "<br>secret {}", code(secret));
    }
    let (severity, description) = (code(&finding.severity), code(&finding.description));
    let fingerprint = code(finding.id.fingerprint());
    writeln!(out, "| {severity} | {description} | {place} | {excerpt} | {fingerprint} |")
}

/// A text as code, in which nothing is markup, a link or the name of a user. What has a character that would end the code, the
/// cell around it, or be taken for HTML by a viewer that is not careful, is written with character references.
///
/// <https://github.github.com/gfm/>: code spans, tables.
fn code(text: &str) -> String {
    let text = for_terminal(text);
    if text.is_empty() || !text.contains(['`', '|', '<']) {
        return if text.is_empty() { text } else { format!("`{text}`") };
    }
    let mut code = "<code>".to_owned();
    for c in text.chars() {
        match c.is_ascii_punctuation() {
            true => {
                let _ = write!(code, "&#{};", u32::from(c));
            }
            false => code.push(c),
        }
    }
    code + "</code>"
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(code("a_b *c* [d](e) é"), "`a_b *c* [d](e) é`");
        assert_eq!(code("`|<\n"), "<code>&#96;&#124;&#60;&#92;n</code>");
        assert_eq!(code("<b>@a"), "<code>&#60;b&#62;&#64;a</code>");
        assert_eq!(code(""), "");
    }
}
