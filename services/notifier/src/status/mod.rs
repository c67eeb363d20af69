//! Tells Git hosts the status of commits that were pushed.
//!
//! The decision worth knowing: what is sent is what the request's record says now, not what an event said, so events may
//! come in any order. One record in the bucket `notifications` for each request and commit is written before and after
//! each request to the host; who finds one that was not settled asks the host before it sends again.

mod decide;
mod host;

use std::collections::HashMap;
use std::time::Duration;

use secretscan_bus::notifications::Phase;
use secretscan_bus::queue::Delivery;
use secretscan_bus::{Bus, BusError, fail, now};
use secretscan_model::{RepositoryId, RepositoryScan, RequestId};

pub(crate) use host::Host;

use crate::Outside;
use crate::outcome::{Outcome, is_given_up};
use decide::{Counts, Plan, Stage, Target, Words};
use host::Status;

/// How often a record is read again that another has written meanwhile.
const MAX_RACES: u32 = 20;
/// How soon to look again whether an earlier status is through.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Events of other states change no status.
const STATES: [&str; 6] = ["Queued", "Scheduling", "Scheduled", "Completed", "Failed", "Cancelled"];

/// Tells Git hosts.
pub(crate) struct Reporter {
    bus: Bus,
    outside: Outside,
    hosts: HashMap<String, Host>,
}

/// What is to be said of one commit.
struct Report<'a> {
    host: &'a Host,
    repository: &'a str,
    request: &'a RequestId,
    target: &'a Target,
    link: Option<String>,
}

impl Reporter {
    pub(crate) fn new(bus: Bus, outside: Outside, hosts: Vec<Host>) -> Self {
        let hosts = hosts.into_iter().map(|host| (host.name.clone(), host)).collect();
        Self { bus, outside, hosts }
    }

    /// Sends what is to be sent after an event of a request; gives after which time to try again, if at all.
    pub(crate) async fn report(
        &self,
        delivery: &Delivery,
        request: &str,
        state: &str,
    ) -> Result<Option<Duration>, BusError> {
        let Ok(id) = request.parse::<RequestId>() else { return Ok(None) };
        if self.hosts.is_empty() || !STATES.contains(&state) {
            return Ok(None);
        }
        let Some(scan) = self.bus.scan(&id).await? else { return Ok(None) };
        let Some(repository) = scan.repository.clone().filter(|_| !scan.pushes.is_empty()) else {
            return Ok(None);
        };
        let Some(record) = self.bus.repository(&repository).await? else { return Ok(None) };
        let Some((host, path)) = record.name.split_once('/') else { return Ok(None) };
        let Some(host) = self.hosts.get(host) else { return Ok(None) };
        let pushed = self.bus.pushed(&repository, &id).await?;
        let targets = decide::targets(&scan, pushed.as_ref());
        let mut again: Option<Duration> = None;
        for (target, words) in self.wanted(&scan, &repository, &targets, host).await? {
            let link = self.outside.link(&id);
            let report = Report { host, repository: path, request: &id, target, link };
            again = again.max(self.tell(&report, delivery, words).await?);
        }
        Ok(again)
    }

    /// What the commits are to have that have no last status yet. Findings are read only if some are left.
    async fn wanted<'a>(
        &self,
        scan: &RepositoryScan,
        repository: &RepositoryId,
        targets: &'a [Target],
        host: &Host,
    ) -> Result<Vec<(&'a Target, Words)>, BusError> {
        if let Stage::Said(words) = decide::stage(scan) {
            return Ok(targets.iter().map(|target| (target, words.clone())).collect());
        }
        let (mut wanted, mut counted) = (Vec::new(), Vec::new());
        for target in targets {
            let known = self.bus.notification(&key(&scan.id, target)).await?;
            match known.as_ref().and_then(|known| Words::last(&known.value)) {
                // It has its words, and is sent or not by them.
                Some(words) => wanted.push((target, words)),
                None => counted.push((target, Counts::default())),
            }
        }
        if !counted.is_empty() {
            let count =
                |finding| counted.iter_mut().for_each(|(target, counts)| counts.add(&finding, target));
            self.bus.each_finding(repository, count).await?;
        }
        for (target, counts) in counted {
            let words = decide::verdict(scan, target, &counts, host.fail_on);
            wanted.push((target, self.as_before(repository, target, words).await?));
        }
        Ok(wanted)
    }

    /// The words for a commit, which are those of the push that brought it also when a later one gives it another name:
    /// that brings nothing, and would take a failure away.
    async fn as_before(
        &self,
        repository: &RepositoryId,
        target: &Target,
        words: Words,
    ) -> Result<Words, BusError> {
        let key = format!("verdict.{repository}.{}", target.commit);
        let known = self.bus.notification(&key).await?;
        match known.as_ref().and_then(|known| Words::last(&known.value)) {
            Some(before) if !target.is_new => return Ok(before),
            Some(before) if before == words => {}
            Some(_) | None => {
                let revision = known.map(|known| known.revision);
                // Another that was faster says the same, or speaks of another push.
                self.bus.put_notification(&key, &words.notification(Phase::Sent), revision).await?;
            }
        }
        Ok(words)
    }

    /// Sends a status, if it is to be sent.
    async fn tell(
        &self,
        report: &Report<'_>,
        delivery: &Delivery,
        wanted: Words,
    ) -> Result<Option<Duration>, BusError> {
        let key = key(report.request, report.target);
        let (gate, event) = (&report.host.gate, delivery.sequence());
        // Never closed.
        let Ok(_turn) = gate.turn.acquire().await else { return Ok(Some(LOOK_AGAIN)) };
        for _ in 0..MAX_RACES {
            let known = self.bus.notification(&key).await?;
            let plan = decide::plan(known.as_ref().map(|known| &known.value), &wanted, event, now().0);
            let (words, ask_first) = match plan {
                Plan::Nothing => return Ok(None),
                Plan::Wait => return Ok(Some(LOOK_AGAIN)),
                Plan::Send { words, ask_first } => (words, ask_first),
            };
            if let Some(left) = gate.closed_for() {
                return Ok(Some(left));
            }
            let sending = words.notification(Phase::Sending { event, since: now().0 });
            let revision = known.map(|known| known.revision);
            if let Some(revision) = self.bus.put_notification(&key, &sending, revision).await? {
                let outcome = self.send(report, &words, ask_first).await;
                return self.settle(report, delivery, &key, revision, &words, outcome).await;
            }
        }
        Ok(Some(LOOK_AGAIN))
    }

    async fn send(&self, report: &Report<'_>, words: &Words, ask_first: bool) -> Outcome {
        let status = Status {
            repository: report.repository,
            commit: &report.target.commit,
            ref_name: &report.target.ref_name,
            words,
            link: report.link.as_deref(),
        };
        let (host, http) = (report.host, &self.outside.http);
        if ask_first {
            match http.send(host.ask(&status)).await.map(|answer| host.has(&status, &answer)) {
                Ok(Ok(true)) => return Outcome::Arrived,
                Ok(Ok(false)) => {}
                Ok(Err(outcome)) => return still_unsure(outcome),
                Err(trouble) => return still_unsure(trouble.into()),
            }
        }
        match http.send(host.tell(&status)).await {
            Ok(answer) => {
                if let Some(wait) = answer.wait {
                    host.gate.close(wait);
                }
                host.outcome(&answer)
            }
            Err(trouble) => trouble.into(),
        }
    }

    /// Records what became of a status.
    async fn settle(
        &self,
        report: &Report<'_>,
        delivery: &Delivery,
        key: &str,
        revision: u64,
        words: &Words,
        outcome: Outcome,
    ) -> Result<Option<Duration>, BusError> {
        fail::point(format_args!("notification.{}.answered", words.state.as_str()));
        let (host, settings) = (report.host, &self.outside.delivery);
        let mut again = host.gate.note(&outcome, delivery.deliveries(), settings);
        self.outside.metrics.count(&host.name, outcome.name(), 1);
        let (request_id, commit, state) = (report.request, &report.target.commit, words.state.as_str());
        let phase = match outcome {
            Outcome::Arrived => {
                tracing::info!(%request_id, %commit, host = host.name, state, "status sent");
                Phase::Sent
            }
            Outcome::Again { reason, .. } if is_given_up(delivery.published_ms(), settings) => {
                again = None;
                self.outside.metrics.count(&host.name, "undelivered", 1);
                Phase::Undelivered { reason: format!("given up: {reason}") }
            }
            Outcome::Again { may_have_arrived, reason, .. } => {
                tracing::warn!(%request_id, %commit, host = host.name, state, reason, "status not sent yet");
                Phase::Waiting { may_have_arrived }
            }
            Outcome::Never { reason } => Phase::Undelivered { reason },
        };
        if let Phase::Undelivered { reason } = &phase {
            tracing::error!(%request_id, %commit, host = host.name, state, reason, "status undelivered");
        }
        // If another took over meanwhile, it knows better.
        self.bus.put_notification(key, &words.notification(phase), Some(revision)).await?;
        Ok(again)
    }
}

fn key(request: &RequestId, target: &Target) -> String {
    format!("status.{request}.{}", target.commit)
}

/// An answer to a question says nothing of what was sent before.
fn still_unsure(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Again { after, reason, .. } => Outcome::Again { after, may_have_arrived: true, reason },
        Outcome::Never { reason } => {
            Outcome::Never { reason: format!("nobody can tell whether it arrived: {reason}") }
        }
        Outcome::Arrived => Outcome::Arrived,
    }
}
