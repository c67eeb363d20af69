//! What could not be done.

use secretscan_bus::inspect::Part;
use secretscan_bus::topology::DEAD_LETTERS;

use super::System;
use crate::doctor::report::Line;
use crate::lists::counted;

/// Whether there is any.
pub fn check(system: &System) -> Vec<Line> {
    let stream = Part::Stream(DEAD_LETTERS.to_owned());
    let found = system.found_streams().find(|(part, _)| **part == stream);
    let line = found.map(|(_, found)| match found.messages {
        0 => Line::ok("dead letters", "none"),
        count => {
            let says = format!("{} could not be done", counted(count, "message", "messages"));
            Line::warning(
                "dead letters",
                says,
                "`secretscan dead-letters list` says why; then retry or drop them",
            )
        }
    });
    line.into_iter().collect()
}
