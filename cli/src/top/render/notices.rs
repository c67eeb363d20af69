//! What somebody should know of: alerts, and the last dead letter.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;
use ratatui::widgets::Row;

use super::{DIM, List, NOTABLE};
use crate::lists::span;
use crate::top::snapshot::Snapshot;
use crate::top::view::{Panel, View};

/// Draws them.
pub fn render(snapshot: &Snapshot, view: &View, area: Rect, buffer: &mut Buffer) {
    let rows = snapshot.notices.iter().map(|notice| {
        Row::new(vec![
            Line::styled(span(snapshot.at.0 - notice.at.0), DIM).right_aligned(),
            Line::styled(notice.kind, NOTABLE),
            Line::from(notice.text.clone()),
        ])
    });
    let list = List {
        panel: Panel::Notices,
        title: "Alerts and dead letters".to_owned(),
        header: vec!["AGE", "WHAT", ""],
        rows: rows.collect(),
        widths: vec![Constraint::Length(7), Constraint::Length(15), Constraint::Fill(1)],
        empty: "none",
    };
    list.render(view, area, buffer);
}
