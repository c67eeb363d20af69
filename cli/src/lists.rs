//! What the commands that show records have in common: formats, tables, JSON, times.

use std::fmt::Write as _;
use std::io::{self, Write};

use console::{Style, measure_text_width};
use secretscan_model::Timestamp;
use secretscan_report::escape_for_terminal;
use serde::Serialize;

/// How a list is shown.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ListFormat {
    /// For people
    Text,
    /// One JSON document
    Json,
}

/// Writes rows under a header, in columns. Cells may hold anything: what acts on a terminal is escaped.
pub fn write_table<const N: usize>(
    header: [&str; N],
    rows: &[[String; N]],
    out: &mut dyn Write,
) -> io::Result<()> {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| escape_for_terminal(cell))).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| measure_text_width(&row[column]));
        cells.max().unwrap_or(0).max(header[column].len())
    });
    let line = |cells: [&str; N]| {
        let mut line = String::new();
        for (cell, width) in cells.into_iter().zip(widths) {
            let padding = " ".repeat(width - measure_text_width(cell) + 2);
            line.push_str(cell);
            line.push_str(&padding);
        }
        line.trim_end().to_owned()
    };
    writeln!(out, "{}", Style::new().dim().apply_to(line(header)))?;
    for row in &rows {
        writeln!(out, "{}", line(row.each_ref().map(String::as_str)))?;
    }
    Ok(())
}

/// Writes a JSON document in ASCII: whatever a stranger wrote into a record, nothing acts on a terminal.
pub fn write_json(document: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", ascii(&serde_json::to_string_pretty(document)?))
}

/// Other characters can stand only inside strings, where an escape decodes to the same.
fn ascii(document: &str) -> String {
    let mut ascii = String::with_capacity(document.len());
    for c in document.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(ascii, "\\u{unit:04x}").expect("a string takes everything");
            }
        }
    }
    ascii
}

/// A time as people read it, in UTC to the second.
pub fn time(at: Timestamp) -> String {
    at_utc(at, |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// A time as RFC 3339 writes it, in UTC.
pub fn rfc3339(at: Timestamp) -> String {
    at_utc(at, |time| time.to_string())
}

/// A record may hold any number; what is no time of the years that can be written is shown as it is.
fn at_utc(at: Timestamp, show: impl Fn(jiff::Timestamp) -> String) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.0.to_string(), show)
}

/// A time span for people, such as `42 s` or `3 h`.
pub fn span(ms: i64) -> String {
    match ms.max(0) / 1_000 {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// Such as `1 commit` or `2 commits`.
pub fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_harmless() {
        let mut out = Vec::new();
        let rows = [["a\u{1b}[2J".to_owned(), "日本".to_owned()], ["b".to_owned(), String::new()]];
        write_table(["NAME", "X"], &rows, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME        X\na\\u{1b}[2J  日本\nb\n");
    }

    #[test]
    fn json_is_ascii_and_decodes_to_the_same() {
        let text = "é\u{7f}\u{202e}\u{e0041}\n";
        let mut out = Vec::new();
        write_json(&text, &mut out).unwrap();
        assert!(out.is_ascii() && !out.contains(&0x7f));
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(time(Timestamp(1_780_000_000_123)), "2026-05-28 20:26:40");
        assert_eq!(rfc3339(Timestamp(1_780_000_000_123)), "2026-05-28T20:26:40.123Z");
        assert_eq!(time(Timestamp(i64::MAX)), i64::MAX.to_string());
    }
}
