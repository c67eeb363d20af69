//! What is done in a second: a number and how it came to be, for commits, batches and requests.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, Sparkline, Widget};

use super::{DIM, GOOD, HEADING};
use crate::top::snapshot::Snapshot;
use crate::top::throughput::Counter;

/// How high they are.
pub const HEIGHT: u16 = 4;

const COUNTERS: [(&str, Counter); 3] =
    [("commits/s", |all| all.commits), ("batches/s", |all| all.batches), ("requests/s", |all| all.requests)];

/// Draws them side by side.
pub fn render(snapshot: &Snapshot, area: Rect, buffer: &mut Buffer) {
    let areas: [Rect; 3] = Layout::horizontal([Constraint::Fill(1); 3]).areas(area);
    for ((name, counter), area) in COUNTERS.into_iter().zip(areas) {
        let rate = snapshot.throughput.rate(counter);
        let shown = if rate >= 100.0 { format!("{rate:.0}") } else { format!("{rate:.1}") };
        let block =
            Block::bordered().border_style(DIM).title(Line::styled(format!(" {name} {shown} "), HEADING));
        let steps = snapshot.throughput.steps(counter, area.width.saturating_sub(2).into());
        Sparkline::default().data(&steps).style(GOOD).block(block).render(area, buffer);
    }
}
