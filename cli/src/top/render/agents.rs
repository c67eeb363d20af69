//! The agents, and what they do.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;
use ratatui::widgets::Row;
use secretscan_model::{Agent, AgentId, Role};

use super::{BAD, DIM, GOOD, List};
use crate::lists::span;
use crate::top::snapshot::Snapshot;
use crate::top::view::{Panel, View};

/// Signs of life come every ten seconds, unless configured otherwise.
const LATE_MS: i64 = 20_000;

/// Draws them.
pub fn render(snapshot: &Snapshot, view: &View, area: Rect, buffer: &mut Buffer) {
    let rows = snapshot.agents.iter().map(|agent| {
        let beat = (snapshot.at.0 - agent.seen.0).max(0);
        let used = agent.holds.len();
        Row::new(vec![
            Line::from(agent.role.as_str()),
            Line::styled(short(&agent.id), DIM),
            Line::from(agent.host.clone()),
            Line::styled(format!("{used}/{}", agent.slots), if used > 0 { GOOD } else { DIM })
                .right_aligned(),
            Line::styled(span(beat), if beat >= LATE_MS { BAD } else { DIM }).right_aligned(),
            Line::from(doing(agent)),
        ])
    });
    let busy = |role: Role| {
        let of_role = || snapshot.agents.iter().filter(|agent| agent.role == role);
        let used: usize = of_role().map(|agent| agent.holds.len()).sum();
        let slots: u64 = of_role().map(|agent| u64::from(agent.slots)).sum();
        format!("{} {used}/{slots}", role.as_str())
    };
    let list = List {
        panel: Panel::Agents,
        title: format!("Agents: {}, {}", busy(Role::RepoAgent), busy(Role::BatchAgent)),
        header: vec!["ROLE", "ID", "HOST", "SLOTS", "SEEN", "DOES"],
        rows: rows.collect(),
        widths: vec![
            Constraint::Length(11),
            Constraint::Length(8),
            Constraint::Max(16),
            Constraint::Length(5),
            Constraint::Length(6),
            Constraint::Fill(1),
        ],
        empty: "no agent is running",
    };
    list.render(view, area, buffer);
}

/// The end of its id, which tells it from others.
fn short(id: &AgentId) -> String {
    let id = id.as_str();
    id.get(id.len().saturating_sub(8)..).unwrap_or(id).to_owned()
}

fn doing(agent: &Agent) -> String {
    if agent.holds.is_empty() { "-".to_owned() } else { agent.holds.join(", ") }
}
