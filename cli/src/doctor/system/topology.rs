//! The streams, buckets and consumers: whether they are there, and as this version wants them.

use std::fmt::Display;

use secretscan_bus::inspect::{Found, Part, Unknown};
use secretscan_bus::topology::compare::Difference;

use super::System;
use crate::doctor::report::Line;

/// What makes services refuse to start.
const ESSENTIAL: [&str; 3] = ["subjects", "retention", "no_ack"];

/// The streams and buckets.
pub fn streams(system: &System) -> Vec<Line> {
    let of_stream =
        system.streams.iter().map(|(part, found)| (part, differences(found, |found| &found.differences)));
    let lines = judge("streams", of_stream.collect());
    if lines.is_empty() {
        return vec![Line::ok(
            "streams",
            format!("all {} streams and buckets are as they should be", system.streams.len()),
        )];
    }
    lines
}

/// The consumers.
pub fn consumers(system: &System) -> Vec<Line> {
    if system.found_streams().next().is_none() {
        // That is said of the streams.
        return Vec::new();
    }
    let parts: Vec<Part> = system
        .queues
        .iter()
        .map(|(queue, _)| Part::Consumer(queue.stream().to_owned(), queue.consumer()))
        .collect();
    let of_queue = system.queues.iter().map(|(_, found)| differences(found, |found| &found.differences));
    let lines = judge("consumers", parts.iter().zip(of_queue).collect());
    if lines.is_empty() {
        return vec![Line::ok("consumers", format!("all {} are as they should be", system.queues.len()))];
    }
    lines
}

fn differences<T>(
    found: &Found<T>,
    of: impl Fn(&T) -> &Vec<Difference>,
) -> Result<Option<&Vec<Difference>>, &Unknown> {
    found.as_ref().map(|found| found.as_ref().map(of))
}

type Seen<'a> = Result<Option<&'a Vec<Difference>>, &'a Unknown>;

/// A line for each that is not as it should be, or one where it is the same with all.
fn judge(check: &'static str, seen: Vec<(&Part, Seen<'_>)>) -> Vec<Line> {
    let all = seen.len();
    let mut lines = Vec::new();
    let (mut missing, mut unknown) = (Vec::new(), Vec::new());
    for (part, found) in seen {
        match found {
            Ok(Some(differences)) if differences.is_empty() => {}
            Ok(Some(differences)) => lines.push(differing(check, part, differences)),
            Ok(None) => missing.push(part),
            Err(why) => unknown.push((part, why)),
        }
    }
    if missing.len() == all {
        let advice =
            "start a service there, or `secretscan setup`; or name another server (--nats, SECRETSCAN_NATS)";
        return vec![Line::failed(
            check,
            "there is no secretscan on this server: they are all missing",
            advice,
        )];
    }
    if !missing.is_empty() {
        let advice = "`secretscan setup` makes what is missing";
        lines.push(Line::failed(check, format!("missing: {}", listed(&missing)), advice));
    }
    if let Some((_, why)) = unknown.first() {
        let parts: Vec<&Part> = unknown.iter().map(|(part, _)| *part).collect();
        let says = match parts.len() == all {
            true => format!("none can be looked at: {why}"),
            false => format!("{} can't be looked at: {why}", listed(&parts)),
        };
        let advice = "see `rights` above; while a cluster chooses a leader, try again";
        lines.push(Line::warning(check, says, advice));
    }
    lines
}

fn differing(check: &'static str, part: &Part, differences: &[Difference]) -> Line {
    let says = format!("{part}: {}", listed(differences));
    let advice = "`secretscan nats-config migrate` shows what can be done about it";
    let is_essential = differences.iter().any(|difference| ESSENTIAL.contains(&difference.field));
    match is_essential && matches!(part, Part::Stream(_)) {
        true => Line::failed(check, format!("{says}; services refuse to start"), advice),
        false => Line::warning(check, says, advice),
    }
}

fn listed(all: &[impl Display]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
