//! What is known of the requests, agents and alerts, kept up to date by the changes of their records.

use std::collections::{BTreeMap, HashMap};

use secretscan_bus::changes::Change;
use secretscan_bus::v1;
use secretscan_model::{Agent, RepositoryId, RepositoryScan, ScanState, Timestamp};
use secretscan_report::escape_for_terminal;

use super::snapshot::{Notice, RequestRow};
use super::throughput::Counters;
use crate::lists::counted;

/// So many alerts are shown.
const MAX_ALERTS: usize = 20;

/// What is known.
#[derive(Default)]
pub struct State {
    /// What is counted of each request, whether it has ended or not: a record that is written again counts what is new in it.
    counted: HashMap<String, Counters>,
    /// What was done while the view looked.
    pub done: Counters,
    /// Whether what was done before the view began has been read.
    pub is_caught_up: bool,
    live: BTreeMap<String, (RequestRow, Option<RepositoryId>)>,
    agents: BTreeMap<String, Agent>,
    alerts: Vec<Notice>,
    /// The names of repositories, as far as they are known.
    pub names: HashMap<RepositoryId, String>,
}

impl State {
    /// Takes in the change of a request.
    pub fn request(&mut self, change: &Change) {
        let record =
            change.value.as_ref().and_then(|value| serde_json::from_slice::<RepositoryScan>(value).ok());
        let Some(scan) = record else {
            self.live.remove(&change.key);
            return;
        };
        let totals = scan.totals();
        let now = Counters {
            commits: totals.commits,
            batches: totals.ended,
            requests: u64::from(scan.state.is_terminal()),
        };
        let before = self.counted.insert(change.key.clone(), now).unwrap_or_default();
        if self.is_caught_up {
            self.done.commits += now.commits.saturating_sub(before.commits);
            self.done.batches += now.batches.saturating_sub(before.batches);
            self.done.requests += now.requests.saturating_sub(before.requests);
        }
        if scan.state.is_terminal() {
            self.live.remove(&change.key);
            return;
        }
        let row = RequestRow {
            id: scan.id.to_string(),
            repository: escape_for_terminal(&scan.uri).to_string(),
            state: state(&scan.state),
            created: scan.trail.first().map(|entry| entry.at).unwrap_or_default(),
            commits: totals.commits,
            unknown: scan.found.as_ref().map(|found| found.unknown),
            batches: totals.batches,
            ended: totals.ended,
            findings: totals.findings,
            attempts: scan.attempts,
        };
        self.live.insert(change.key.clone(), (row, scan.repository));
    }

    /// Takes in the change of an agent.
    pub fn agent(&mut self, change: &Change) {
        match change.value.as_ref().and_then(|value| serde_json::from_slice::<Agent>(value).ok()) {
            Some(mut agent) => {
                agent.host = escape_for_terminal(&agent.host).to_string();
                self.agents.insert(change.key.clone(), agent);
            }
            None => drop(self.agents.remove(&change.key)),
        }
    }

    /// Takes in an alert.
    pub fn alert(&mut self, change: &Change) {
        let Some(value) = &change.value else { return };
        let notice = if change.key.starts_with("secretscan.event.hook-skipped.") {
            serde_json::from_slice::<v1::HookSkipped>(value).ok().map(|skipped| Notice {
                at: Timestamp(skipped.at),
                kind: "skipped hook",
                text: format!("{}: {} by {}", skipped.repository, skipped.hook, skipped.user_name),
            })
        } else {
            serde_json::from_slice::<v1::UnknownCommits>(value).ok().map(|unknown| Notice {
                at: Timestamp(unknown.at),
                kind: "unknown commits",
                text: format!(
                    "{} that no push announced, by {}",
                    counted(unknown.count, "commit", "commits"),
                    unknown.authors.join(", ")
                ),
            })
        };
        let Some(notice) = notice else { return };
        self.alerts.push(Notice { text: escape_for_terminal(&notice.text).to_string(), ..notice });
        self.alerts.sort_by_key(|notice| std::cmp::Reverse(notice.at));
        self.alerts.truncate(MAX_ALERTS);
    }

    /// The newest alerts, the newest first.
    pub fn alerts(&self) -> &[Notice] {
        &self.alerts
    }

    /// The agents by role that gave a sign of life after this time.
    pub fn agents(&self, after: Timestamp) -> Vec<Agent> {
        let mut agents: Vec<Agent> =
            self.agents.values().filter(|agent| agent.seen > after).cloned().collect();
        agents.sort_by(|a, b| (a.role, a.started, &a.id).cmp(&(b.role, b.started, &b.id)));
        agents
    }

    /// The requests that have not ended, those in progress first, then by age.
    pub fn requests(&self) -> Vec<RequestRow> {
        let mut rows: Vec<RequestRow> = self
            .live
            .values()
            .map(|(row, repository)| {
                let name = repository.as_ref().and_then(|id| self.names.get(id));
                RequestRow { repository: name.unwrap_or(&row.repository).clone(), ..row.clone() }
            })
            .collect();
        let order = |row: &RequestRow| (row.unknown.is_none(), row.attempts == 0, row.created);
        rows.sort_by(|a, b| (order(a), &a.id).cmp(&(order(b), &b.id)));
        rows
    }

    /// Repositories of requests under way whose names are not known.
    pub fn nameless(&self) -> Vec<RepositoryId> {
        let ids = self.live.values().filter_map(|(_, repository)| repository.clone());
        ids.filter(|id| !self.names.contains_key(id)).collect()
    }
}

fn state(state: &ScanState) -> &'static str {
    match state {
        ScanState::InProgress { is_listed: false, .. } => "listing",
        ScanState::InProgress { is_listed: true, .. } => "scanning",
        ScanState::New
        | ScanState::Validating
        | ScanState::Queued
        | ScanState::Scheduling
        | ScanState::Scheduled
        | ScanState::Completed
        | ScanState::Failed { .. }
        | ScanState::Cancelled => state.name(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use secretscan_model::{BatchOutcome, Priority, Stamp};

    use super::*;

    fn change(scan: &RepositoryScan) -> Change {
        let value = serde_json::to_vec(scan).unwrap().into();
        Change { key: scan.id.to_string(), value: Some(value), place: 1 }
    }

    #[test]
    fn what_was_done_before_is_not_counted_and_nothing_is_counted_twice() {
        let stamp = Stamp { now: Timestamp(1), by: "test" };
        let mut scan =
            RepositoryScan::new("r1".parse().unwrap(), vec![], Priority::OnDemand, "ada".into(), stamp);
        let completed =
            BatchOutcome::Completed { commits: 5, blobs: 1, bytes: 1, findings: 2, not_scanned: 0 };
        scan.batches = BTreeMap::from([("b1".parse().unwrap(), completed.clone())]);
        let mut state = State::default();
        state.request(&change(&scan));
        assert_eq!(state.done, Counters::default());
        state.is_caught_up = true;
        scan.batches.insert("b2".parse().unwrap(), completed);
        state.request(&change(&scan));
        state.request(&change(&scan));
        assert_eq!(state.requests().len(), 1);
        scan.state = ScanState::Completed;
        state.request(&change(&scan));
        assert_eq!(state.done, Counters { commits: 5, batches: 1, requests: 1 });
        assert_eq!(state.requests(), []);
    }

    #[test]
    fn what_strangers_wrote_is_harmless() {
        let skipped = v1::HookSkipped { repository: "a\u{1b}[2J".into(), ..v1::HookSkipped::default() };
        let mut state = State::default();
        state.alert(&Change {
            key: "secretscan.event.hook-skipped.x".into(),
            value: Some(serde_json::to_vec(&skipped).unwrap().into()),
            place: 1,
        });
        assert!(state.alerts()[0].text.starts_with("a\\u{1b}[2J"), "{:?}", state.alerts());
    }
}
