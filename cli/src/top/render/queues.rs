//! The queues in the order of the flow.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Row;

use super::{BAD, DIM, List, NOTABLE};
use crate::lists::span;
use crate::top::snapshot::{QueueRow, Snapshot, stage};
use crate::top::view::{Panel, View};

/// From here on the age of the oldest catches the eye.
const NOTABLE_MS: i64 = 60_000;
const OLD_MS: i64 = 900_000;

/// From this width on there is room for the stage, which what is in a queue tells as well.
const WITH_STAGE: u16 = 70;

/// Those that are shown in so many lines: all, or those that are not empty.
pub fn shown(snapshot: &Snapshot, lines: usize) -> Vec<&QueueRow> {
    let is_busy = |row: &&QueueRow| row.waiting + row.in_hand > 0;
    match snapshot.queues.len() <= lines && lines != usize::MAX {
        true => snapshot.queues.iter().collect(),
        false => snapshot.queues.iter().filter(is_busy).collect(),
    }
}

/// Draws them.
pub fn render(snapshot: &Snapshot, view: &View, area: Rect, buffer: &mut Buffer) {
    let shown = shown(snapshot, usize::from(area.height.saturating_sub(3)));
    let empty = snapshot.queues.len() - shown.len();
    let title = match empty {
        0 => "Queues".to_owned(),
        empty => format!("Queues, {empty} empty left out"),
    };
    let left_out = usize::from(area.width < WITH_STAGE);
    let rows = shown.into_iter().map(|row| {
        let age = row.oldest.map(|oldest| snapshot.at.0 - oldest.0);
        let style = match age.unwrap_or_default() {
            OLD_MS.. => BAD,
            NOTABLE_MS.. => NOTABLE,
            _ => DIM,
        };
        let number = |count: u64| Line::from(count.to_string()).right_aligned();
        let style_of_row = if row.waiting + row.in_hand == 0 { DIM } else { ratatui::style::Style::new() };
        let cells = [
            Line::styled(stage(row.queue), DIM),
            Line::from(row.queue.holds()),
            number(row.waiting),
            number(row.in_hand),
            Line::from(Span::styled(age.map_or("-".to_owned(), span), style)).right_aligned(),
        ];
        Row::new(cells.into_iter().skip(left_out)).style(style_of_row)
    });
    let list = List {
        panel: Panel::Queues,
        title,
        header: ["STAGE", "WHAT", "WAITING", "IN HAND", "OLDEST"].into_iter().skip(left_out).collect(),
        rows: rows.collect(),
        widths: [
            Constraint::Length(9),
            Constraint::Fill(1),
            Constraint::Length(7),
            Constraint::Length(7),
            Constraint::Length(8),
        ]
        .into_iter()
        .skip(left_out)
        .collect(),
        empty: "nothing waits",
    };
    list.render(view, area, buffer);
}
