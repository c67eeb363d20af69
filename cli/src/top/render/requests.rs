//! The requests that have not ended, and how far they are.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Row;

use super::{DIM, GOOD, List, NOTABLE};
use crate::lists::span;
use crate::top::snapshot::{RequestRow, Snapshot};
use crate::top::view::{Panel, View};

/// The widths of the columns.
const STATE: u16 = 12;
const COMMITS: u16 = 7;
const FOUND: u16 = 5;
const AGE: u16 = 7;

/// Draws them.
pub fn render(snapshot: &Snapshot, view: &View, area: Rect, buffer: &mut Buffer) {
    let bar_width: u16 = if area.width >= 100 { 20 } else { 10 };
    let widths = [STATE, bar_width + 5, COMMITS, FOUND, AGE];
    // Two for the frame, and two before each of the other columns.
    let taken = 2 + widths.iter().map(|width| width + 2).sum::<u16>();
    let room = usize::from(area.width.saturating_sub(taken));
    let rows = snapshot.requests.iter().map(|request| {
        let number = |count: u64| Line::from(count.to_string()).right_aligned();
        let findings = if request.findings > 0 { NOTABLE } else { DIM };
        Row::new(vec![
            Line::from(end_of(&request.repository, room)),
            Line::from(state(request)),
            bar(request, usize::from(bar_width)),
            number(request.commits),
            Line::styled(request.findings.to_string(), findings).right_aligned(),
            Line::styled(span(snapshot.at.0 - request.created.0), DIM).right_aligned(),
        ])
    });
    let list = List {
        panel: Panel::Requests,
        title: format!("Requests under way: {}", snapshot.requests.len()),
        header: vec!["REPOSITORY", "STATE", "PROGRESS", "COMMITS", "FOUND", "AGE"],
        rows: rows.collect(),
        widths: std::iter::once(Constraint::Fill(1)).chain(widths.map(Constraint::Length)).collect(),
        empty: "none",
    };
    list.render(view, area, buffer);
}

fn state(request: &RequestRow) -> String {
    match request.attempts {
        0 | 1 => request.state.to_owned(),
        attempts => format!("{} #{attempts}", request.state),
    }
}

/// Such as `█████░░░░░  50%`.
fn bar(request: &RequestRow, width: usize) -> Line<'static> {
    let Some(progress) = request.progress() else { return Line::styled("-", DIM) };
    let full = ((progress * width as f64) as usize).min(width);
    let percent = format!(" {:>3.0}%", (progress * 100.0).floor());
    Line::from(vec![
        Span::styled("█".repeat(full), GOOD),
        Span::styled("░".repeat(width - full), DIM),
        Span::raw(percent),
    ])
}

/// The end of a name says more than its beginning.
fn end_of(name: &str, width: usize) -> String {
    let mut end = name;
    while console::measure_text_width(end) >= width.max(2) {
        end = end.char_indices().nth(1).map_or("", |(at, _)| &end[at..]);
    }
    if console::measure_text_width(name) <= width { name.to_owned() } else { format!("…{end}") }
}
