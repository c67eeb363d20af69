//! The picture of a snapshot: pure, for a terminal of any size.

mod agents;
mod header;
mod notices;
mod queues;
mod requests;
mod throughput;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Row, Table, Widget};

use super::snapshot::Snapshot;
use super::view::{Panel, View};

/// From this width on, lists stand side by side.
const WIDE: u16 = 120;
/// From this height on, there is room for the notices under the lists.
const TALL: u16 = 30;
/// Smaller than this nothing can be shown.
const SMALLEST: (u16, u16) = (40, 12);

/// What catches the eye.
const GOOD: Style = Style::new().fg(Color::Green);
const NOTABLE: Style = Style::new().fg(Color::Yellow);
const BAD: Style = Style::new().fg(Color::Red);
const DIM: Style = Style::new().fg(Color::DarkGray);
const HEADING: Style = Style::new().fg(Color::Cyan);

/// Draws it.
pub fn render(snapshot: &Snapshot, view: &View, area: Rect, buffer: &mut Buffer) {
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let (width, height) = SMALLEST;
        Paragraph::new(format!("needs {width}x{height}")).render(area, buffer);
        return;
    }
    let [header, throughput, body, footer] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(throughput::HEIGHT),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    header::render(snapshot, view, header, buffer);
    throughput::render(snapshot, throughput, buffer);
    for (panel, area) in places(snapshot, view, body, area.height) {
        match panel {
            Panel::Queues => queues::render(snapshot, view, area, buffer),
            Panel::Requests => requests::render(snapshot, view, area, buffer),
            Panel::Agents => agents::render(snapshot, view, area, buffer),
            Panel::Notices => notices::render(snapshot, view, area, buffer),
        }
    }
    header::render_keys(footer, buffer);
}

/// Where the lists go: each gets what it needs as far as that is there. Where there is little room, the notices stand in the place of
/// the agents once they are chosen.
fn places(snapshot: &Snapshot, view: &View, body: Rect, height: u16) -> Vec<(Panel, Rect)> {
    // A border above and below, and the names of the columns.
    let needs = |rows: usize| u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(3).max(5);
    let agents = needs(snapshot.agents.len());
    if body.width >= WIDE {
        let [left, right] = Layout::horizontal([Constraint::Fill(5), Constraint::Fill(7)]).areas(body);
        let [requests, agents, notices] = Layout::vertical([
            Constraint::Fill(1),
            Constraint::Max(agents.min(right.height / 3)),
            Constraint::Max(needs(snapshot.notices.len()).min(right.height / 4)),
        ])
        .areas(right);
        return vec![
            (Panel::Queues, left),
            (Panel::Requests, requests),
            (Panel::Agents, agents),
            (Panel::Notices, notices),
        ];
    }
    let busy = queues::shown(snapshot, usize::MAX).len();
    let queues = needs(busy).min(body.height * 2 / 5);
    let last = agents.min(body.height / 3);
    if height >= TALL {
        let [queues, requests, agents, notices] = Layout::vertical([
            Constraint::Length(queues),
            Constraint::Fill(1),
            Constraint::Length(last),
            Constraint::Length(needs(snapshot.notices.len()).min(body.height / 5)),
        ])
        .areas(body);
        return vec![
            (Panel::Queues, queues),
            (Panel::Requests, requests),
            (Panel::Agents, agents),
            (Panel::Notices, notices),
        ];
    }
    let [queues, requests, last] =
        Layout::vertical([Constraint::Length(queues), Constraint::Fill(1), Constraint::Length(last)])
            .areas(body);
    let panel = if view.panel == Panel::Notices { Panel::Notices } else { Panel::Agents };
    vec![(Panel::Queues, queues), (Panel::Requests, requests), (panel, last)]
}

/// A list in a frame, from the line on that the user has scrolled to.
struct List<'a> {
    panel: Panel,
    title: String,
    header: Vec<&'static str>,
    rows: Vec<Row<'a>>,
    widths: Vec<Constraint>,
    /// What is said when there are no rows.
    empty: &'static str,
}

impl List<'_> {
    fn render(self, view: &View, area: Rect, buffer: &mut Buffer) {
        let is_chosen = view.panel == self.panel;
        let block = Block::bordered().border_style(if is_chosen { HEADING } else { DIM }).title(
            Line::styled(format!(" {} ", self.title), if is_chosen { HEADING.bold() } else { HEADING }),
        );
        let inner = block.inner(area);
        let room = usize::from(inner.height.saturating_sub(1));
        let from = view.scroll_of(self.panel).min(self.rows.len().saturating_sub(room));
        let hidden = self.rows.len() - from;
        let block = match hidden.checked_sub(room) {
            Some(more @ 1..) => {
                block.title_bottom(Line::styled(format!(" {more} more "), DIM).right_aligned())
            }
            _ => block,
        };
        if self.rows.is_empty() {
            Paragraph::new(Line::styled(self.empty, DIM)).block(block).render(area, buffer);
            return;
        }
        let rows = self.rows.into_iter().skip(from).take(room);
        let table = Table::new(rows, self.widths)
            .header(Row::new(self.header).style(DIM))
            .column_spacing(2)
            .block(block);
        Widget::render(table, area, buffer);
    }
}

#[cfg(test)]
mod tests;
