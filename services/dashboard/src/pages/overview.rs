//! How things stand, at a glance.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use minijinja::{Value, context};
use secretscan_bus::now;

use super::chart::{Bar, bars, slots};
use super::error::PageError;
use super::render::{page, shown};
use crate::auth::{Scope, Visitor};
use crate::index::queries::overview::{Day, Hour, overview};
use crate::state::App;

/// From the least to the worst, which is on top.
const SEVERITIES: [&str; 4] = ["fill-low", "fill-medium", "fill-high", "fill-critical"];

pub(super) async fn show(visitor: Visitor, State(app): State<Arc<App>>) -> Result<Response, PageError> {
    let all = overview(&app.index, &visitor.actor.scope, now()).await?;
    let agents: Vec<Value> = all
        .agents
        .iter()
        .map(|agents| {
            let says = format!("{} of {} slots of the {}s are busy", agents.busy, agents.slots, agents.role);
            context! { chart => slots(agents.busy, agents.slots, &says), ..shown(agents) }
        })
        .collect();
    let queues = match visitor.actor.scope {
        Scope::All => app.queues.read(&app.bus).await?,
        Scope::Only(_) => [].into(),
    };
    let deepest = all.stages.iter().map(|stage| stage.requests).max().unwrap_or_default();
    let filled = queues.iter().filter(|queue| queue.oldest.is_some());
    let fullest = filled.clone().map(|queue| queue.unfinished).max().unwrap_or_default();
    let waiting: Vec<Value> = filled.map(shown).collect();
    let about = context! {
        section => "overview",
        waiting,
        deepest,
        fullest,
        topics => "findings,triage,standings,requests,agents,events,repositories",
        findings => findings(&all.days),
        scans => scans(&all.hours),
        scanned => all.hours.iter().map(|hour| hour.completed + hour.failed).sum::<i64>(),
        slots => agents,
        total => all.open.sum(),
        shown => shown(&all),
    };
    Ok(page(Some(&visitor), "overview.html", "Overview", about))
}

fn findings(days: &[Day]) -> Value {
    let sum = |day: Option<&Day>| day.map_or(0, |day| day.open.sum());
    let says = format!(
        "Open findings at the end of each of the last {} days: {} on the first, {} today, at most {}",
        days.len(),
        sum(days.first()),
        sum(days.last()),
        days.iter().map(|day| day.open.sum()).max().unwrap_or_default(),
    );
    let of_day = |(place, day): (usize, &Day)| {
        let (open, date) = (&day.open, day.at.get(..10).unwrap_or(&day.at));
        let is_named = place % 10 == 0 || place + 1 == days.len();
        Bar {
            title: format!(
                "{date}: {} critical, {} high, {} medium, {} low",
                open.critical, open.high, open.medium, open.low
            ),
            label: is_named.then(|| date.get(5..).unwrap_or(date).to_owned()),
            parts: vec![open.low, open.medium, open.high, open.critical],
        }
    };
    bars(&days.iter().enumerate().map(of_day).collect::<Vec<_>>(), &SEVERITIES, &says)
}

fn scans(hours: &[Hour]) -> Value {
    let sum = |of: fn(&Hour) -> i64| hours.iter().map(of).sum::<i64>();
    let says = format!(
        "Scans that ended in each of the last {} hours: {} completed and {} failed in all",
        hours.len(),
        sum(|hour| hour.completed),
        sum(|hour| hour.failed)
    );
    let of_hour = |(place, hour): (usize, &Hour)| {
        let time = hour.at.get(11..16).unwrap_or(&hour.at);
        let is_named = place % 6 == 0 || place + 1 == hours.len();
        Bar {
            title: format!("{time} UTC: {} completed, {} failed", hour.completed, hour.failed),
            label: is_named.then(|| time.to_owned()),
            parts: vec![hour.completed, hour.failed],
        }
    };
    bars(&hours.iter().enumerate().map(of_hour).collect::<Vec<_>>(), &["fill-good", "fill-bad"], &says)
}
