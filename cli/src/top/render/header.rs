//! The lines above and below everything.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget};

use super::{BAD, DIM, GOOD, HEADING, NOTABLE};
use crate::lists::{self, counted, span};
use crate::top::snapshot::Snapshot;
use crate::top::view::View;

/// The server, and what nobody should overlook.
pub fn render(snapshot: &Snapshot, view: &View, area: Rect, buffer: &mut Buffer) {
    let connection = match snapshot.is_connected {
        true => Span::styled("connected", GOOD),
        false => Span::styled("connection lost, trying again", BAD),
    };
    let first = vec![
        Span::styled("secretscan top  ", HEADING.bold()),
        Span::raw(format!("{}  ", snapshot.url)),
        Span::styled(format!("nats-server {} ({})  ", snapshot.version, snapshot.server), DIM),
        connection,
        Span::styled(format!("  looking for {}", span(snapshot.at.0 - snapshot.since.0)), DIM),
    ];
    let dead_letters = match snapshot.dead_letters {
        0 => Span::styled("no dead letters", DIM),
        count => Span::styled(counted(count, "dead letter", "dead letters"), BAD),
    };
    let mut second = vec![Span::raw(format!("{} UTC  ", lists::time(snapshot.at))), dead_letters];
    if view.is_paused {
        second.push(Span::styled("  PAUSED", NOTABLE.bold()));
    }
    if let Some(trouble) = &snapshot.trouble {
        second.push(Span::styled(format!("  not as of now: {trouble}"), BAD));
    }
    Paragraph::new(vec![Line::from(first), Line::from(second)]).render(area, buffer);
}

/// The keys.
pub fn render_keys(area: Rect, buffer: &mut Buffer) {
    let keys = "q quit   Tab next list   up, down scroll   p pause";
    Paragraph::new(Line::styled(keys, DIM)).render(area, buffer);
}
