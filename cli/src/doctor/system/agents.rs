//! The agents that are alive: some of each role, and all of one version.

use std::collections::BTreeSet;

use secretscan_model::{Agent, Role};

use super::System;
use crate::doctor::report::Line;
use crate::lists::counted;

/// Whether there is somebody for all work.
pub fn check(system: &System) -> Vec<Line> {
    match &system.agents {
        None => Vec::new(),
        Some(Err(error)) => {
            vec![Line::warning("agents", format!("they can't be listed: {error}"), "see `rights` above")]
        }
        Some(Ok(agents)) => judge(agents),
    }
}

fn judge(agents: &[Agent]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (role, work) in [(Role::RepoAgent, "fetches repositories"), (Role::BatchAgent, "scans commits")] {
        let of_role: Vec<&Agent> = agents.iter().filter(|agent| agent.role == role).collect();
        let name = role.as_str();
        lines.push(match of_role.len() as u64 {
            0 => Line::failed(
                "agents",
                format!("no {name} is there: nobody {work}"),
                format!("start secretscan-{name}, and see its log"),
            ),
            count => {
                let slots: u64 = of_role.iter().map(|agent| u64::from(agent.slots)).sum();
                Line::ok(
                    "agents",
                    format!(
                        "{} with {}",
                        counted(count, name, &format!("{name}s")),
                        counted(slots, "slot", "slots")
                    ),
                )
            }
        });
    }
    let versions: BTreeSet<&str> = agents.iter().map(|agent| agent.version.as_str()).collect();
    if versions.len() > 1 {
        let says = format!("agents are of the versions {}", listed(&versions));
        lines.push(Line::warning("agents", says, "finish the upgrade: restart those of the older version"));
    }
    let rules: BTreeSet<&str> =
        agents.iter().map(|agent| agent.rule_set.as_str()).filter(|rules| !rules.is_empty()).collect();
    if rules.len() > 1 {
        let says = format!("batch-agents scan with different rules: {}", listed(&rules));
        let advice =
            "restart all with the same rules, then `secretscan rescan --outdated --all-repositories`";
        lines.push(Line::warning("agents", says, advice));
    }
    lines
}

fn listed(all: &BTreeSet<&str>) -> String {
    all.iter().copied().collect::<Vec<_>>().join(", ")
}
