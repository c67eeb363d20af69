//! The servers of a cluster that keep the streams and consumers.

use std::collections::{BTreeMap, BTreeSet};

use secretscan_bus::inspect::{Group, Part};

use super::System;
use crate::doctor::report::Line;

/// Whether each has a leader, and copies that are up to date.
pub fn check(system: &System) -> Vec<Line> {
    let streams = system.found_streams().map(|(part, found)| (part.clone(), &found.group));
    let consumers = system
        .found_queues()
        .map(|(queue, found)| (Part::Consumer(queue.stream().to_owned(), queue.consumer()), &found.group));
    let groups: Vec<(Part, &Group)> = streams.chain(consumers).collect();
    let mut lines = Vec::new();
    let leaderless: Vec<String> =
        groups.iter().filter(|(_, group)| group.is_leaderless).map(|(part, _)| part.to_string()).collect();
    if !leaderless.is_empty() {
        let advice = "bring back the servers of the cluster that are away: more than half of those that keep it must be there";
        lines.push(Line::failed("replicas", format!("nobody leads {}", leaderless.join(", ")), advice));
    }
    let mut lagging: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, group) in &groups {
        for server in &group.lagging {
            *lagging.entry(server).or_default() += 1;
        }
    }
    for (server, count) in lagging {
        let says = format!("the server {server} is away or behind with {count} streams and consumers");
        lines.push(Line::warning("replicas", says, "see its log; it catches up by itself once it is back"));
    }
    let replicas: BTreeSet<usize> = system.found_streams().map(|(_, found)| found.replicas).collect();
    if replicas.len() > 1 {
        let counts: Vec<String> = replicas.iter().map(ToString::to_string).collect();
        let says = format!("streams are kept on {} servers", counts.join(" or "));
        let advice = "bring all to one number with `secretscan nats-config migrate --replicas N`";
        lines.push(Line::warning("replicas", says, advice));
    }
    match replicas.first() {
        Some(count) if lines.is_empty() => vec![Line::ok("replicas", format!("{count}, up to date"))],
        _ => lines,
    }
}
