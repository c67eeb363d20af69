//! The queues of work: whether what is in them goes on.

use super::System;
use crate::doctor::report::Line;
use crate::lists::{counted, span};

/// From here on somebody should look why.
const OLD_MS: i64 = 15 * 60 * 1_000;

/// Whether nothing waits for long.
pub fn check(system: &System) -> Vec<Line> {
    let mut lines = Vec::new();
    let (mut queues, mut unfinished) = (0, 0);
    for (queue, found) in system.found_queues().filter(|(queue, _)| queue.is_work()) {
        queues += 1;
        unfinished += found.waiting + found.in_hand;
        let age = found.oldest.map_or(0, |oldest| system.now.0.saturating_sub(oldest.0));
        if age >= OLD_MS {
            let holds = queue.holds();
            let says = format!(
                "{holds}: the oldest of {} is there for {}",
                found.waiting + found.in_hand,
                span(age)
            );
            let advice = "start more agents, or see the logs of those that take them (`secretscan agents`, `secretscan top`)";
            lines.push(Line::warning("queues", says, advice));
        }
    }
    if lines.is_empty() && queues > 0 {
        lines.push(Line::ok(
            "queues",
            format!("{} under way, none for long", counted(unfinished, "message", "messages")),
        ));
    }
    lines
}
