//! Asking for scans, and what the trails of the requests tell afterwards.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use anyhow::Context;
use secretscan_bus::topology::{NEW_SCAN, Queue};
use secretscan_bus::{Bus, now};
use secretscan_model::RepositoryScan;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::progress::Progress;
use crate::table::quantile;

/// Requests at the door at a time, when they are published as fast as they are taken.
const AT_THE_DOOR: usize = 512;
/// How often the door is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long nothing may move before a measurement is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// How requests come.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// As fast as they are taken.
    AsTaken,
    /// So many a second.
    PerSecond(usize),
}

/// Requests for scans that belong together.
pub struct Requests {
    /// What their ids begin with.
    pub name: &'static str,
    /// How many.
    pub count: usize,
    /// Repositories that they are for, in turn.
    pub repositories: usize,
}

/// When requests were published, in milliseconds since the Unix epoch, by number.
pub type Published = Vec<i64>;

impl Requests {
    /// Publishes them and waits until the controller has taken them all.
    pub async fn publish(
        &self,
        client: &async_nats::Client,
        bus: &Bus,
        pace: Pace,
    ) -> anyhow::Result<Published> {
        let mut published = Vec::with_capacity(self.count);
        let mut progress = Progress::new(format!("{}, accepted", self.name), self.count);
        let (started, mut moved, mut taken) = (Instant::now(), Instant::now(), 0);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while taken < self.count {
            looks.tick().await;
            let waiting = usize::try_from(bus.unfinished(Queue::NewScans).await?)?;
            let now_taken = published.len().saturating_sub(waiting);
            if now_taken != taken {
                (moved, taken) = (Instant::now(), now_taken);
            }
            anyhow::ensure!(moved.elapsed() < PATIENCE, "nothing is taken any more, at {taken}");
            progress.at(taken);
            let due = match pace {
                Pace::AsTaken => published.len() + AT_THE_DOOR.saturating_sub(waiting),
                Pace::PerSecond(rate) => (started.elapsed().as_secs_f64() * rate as f64) as usize,
            };
            for number in published.len()..due.min(self.count) {
                let repository = number % self.repositories;
                let body = format!(
                    r#"{{"requestId":"{}-{number}","uri":"https://load.example/owner/repository-{repository}"}}"#,
                    self.name
                );
                client.publish(NEW_SCAN, body.into()).await?;
                published.push(now().0);
            }
            // A request counts as waiting only when it is stored: the server answers after what was sent before.
            client.flush().await?;
        }
        Ok(published)
    }

    /// Waits until all have ended.
    pub async fn ended(&self, bus: &Bus) -> anyhow::Result<()> {
        let mut progress = Progress::new(format!("{}, done", self.name), self.count);
        let (mut moved, mut done) = (Instant::now(), 0);
        let mut looks = interval(Duration::from_millis(250));
        loop {
            looks.tick().await;
            let mut open = 0;
            for queue in Queue::all().into_iter().filter(|queue| queue.is_work()) {
                open += usize::try_from(bus.unfinished(queue).await?)?;
            }
            let now_done = self.count.saturating_sub(open);
            if now_done != done {
                (moved, done) = (Instant::now(), now_done);
            }
            anyhow::ensure!(moved.elapsed() < PATIENCE, "nothing ends any more, at {done}");
            progress.at(done);
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// The times of all of them.
    pub async fn times(&self, bus: &Bus, published: &Published) -> anyhow::Result<Times> {
        let mut times =
            Times { started: published.iter().copied().min().unwrap_or_default(), of: HashMap::new() };
        for scan in bus.scans().await? {
            let Some(number) = self.number(&scan) else { continue };
            let mut before = *published.get(number).context("a request that nobody published")?;
            for entry in &scan.trail {
                times.of.entry(entry.state.clone()).or_default().push((
                    published[number],
                    before,
                    entry.at.0,
                ));
                before = entry.at.0;
            }
        }
        Ok(times)
    }

    fn number(&self, scan: &RepositoryScan) -> Option<usize> {
        scan.id.as_str().strip_prefix(self.name)?.strip_prefix('-')?.parse().ok()
    }
}

/// The states, as requests come to them.
const STATES: [&str; 7] =
    ["New", "Validating", "Queued", "Scheduling", "Scheduled", "InProgress", "Completed"];

/// When requests came to each state: published, in the state before, in this state; in milliseconds.
pub struct Times {
    started: i64,
    of: HashMap<String, Vec<(i64, i64, i64)>>,
}

impl Times {
    /// How many came to a state.
    pub fn count(&self, state: &str) -> usize {
        self.of.get(state).map_or(0, Vec::len)
    }

    /// How many came to a state per second, from the first publication to the last arrival.
    pub fn rate(&self, state: &str) -> f64 {
        self.rate_since(state, self.started)
    }

    /// How many came to a state per second, from a time on.
    pub fn rate_since(&self, state: &str, since: i64) -> f64 {
        let last = self.last(state).unwrap_or(since);
        self.count(state) as f64 * 1e3 / ((last - since).max(1) as f64)
    }

    /// When the first came to a state.
    pub fn first(&self, state: &str) -> Option<i64> {
        self.of.get(state)?.iter().map(|(.., at)| *at).min()
    }

    fn last(&self, state: &str) -> Option<i64> {
        self.of.get(state)?.iter().map(|(.., at)| *at).max()
    }

    /// The table of latencies.
    pub fn table(&self, title: &str) -> String {
        let mut table = format!(
            "| {title} | from the state before, p50 | p99 | since it was published, p50 | p99 |\n\
             | --- | ---: | ---: | ---: | ---: |\n"
        );
        for state in STATES {
            let Some(times) = self.of.get(state) else { continue };
            let mut step: Vec<i64> = times.iter().map(|(_, before, at)| at - before).collect();
            let mut all: Vec<i64> = times.iter().map(|(published, _, at)| at - published).collect();
            let [step, all] = [&mut step, &mut all]
                .map(|times| format!("{} ms | {} ms", quantile(times, 0.5), quantile(times, 0.99)));
            writeln!(table, "| {state} | {step} | {all} |").expect("a String takes everything");
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_latencies_are_those_of_the_trails() {
        let queued = vec![(1_000, 1_010, 1_030), (1_500, 1_600, 2_000)];
        let times = Times { started: 1_000, of: HashMap::from([("Queued".to_owned(), queued)]) };
        assert_eq!((times.count("Queued"), times.rate("Queued")), (2, 2.0));
        assert!(times.table("State").contains("| Queued | 400 ms | 400 ms | 500 ms | 500 ms |"));
    }
}
