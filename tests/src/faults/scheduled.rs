//! A repository that only a schedule asks for, and to which somebody adds a commit without a push.

use std::time::Duration;

use anyhow::{Context, ensure};
use secretscan_model::{RepositoryId, RepositoryScan, ScanState, Schedule, ScheduleId};
use secretscan_proto::v1::{self, ScheduleAction};

use super::Target;
use super::detours::{Detour, answered};
use super::fleet::{Fleet, wait};

/// How often records are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// What is asked of the schedule is asked so often at most.
const MAX_ROUNDS: u32 = 30;

impl Detour<'_> {
    /// Lets a schedule run every other second, until a process has crashed at each point of schedules; then every run must have
    /// one request, and the commit must have been told of once.
    pub(super) async fn schedule(&mut self, target: &Target, fleet: &Fleet) -> anyhow::Result<RepositoryId> {
        let id = ScheduleId::parse(&format!("{}-schedule", self.name))?;
        let new = v1::NewSchedule {
            schedule_id: id.to_string(),
            uri: target.uri(),
            cron: "*/2 * * * * *".into(),
            ..v1::NewSchedule::default()
        };
        let mut sent = 0;
        let answer = answered(&mut sent, async || self.bus.request_schedule(&new).await).await?;
        ensure!(answer.error.is_empty(), "refused: {}", answer.error);
        self.when_run(&id, |scan| scan.state == ScanState::Completed).await?;
        target.generated.repository.git(&["update-ref", "refs/heads/sneaky", &sneaky(target)?])?;
        self.when_run(&id, |scan| scan.found.as_ref().is_some_and(|found| found.untold == Some(1))).await?;
        for _ in 0..MAX_ROUNDS {
            for action in [ScheduleAction::Pause, ScheduleAction::Resume, ScheduleAction::RunNow] {
                self.change(&id, action).await?;
            }
            if !fleet.fail_points_left().iter().any(|point| point.contains("schedule")) {
                break;
            }
        }
        self.change(&id, ScheduleAction::Pause).await?;
        let paused = self.standing(&id).await?;
        let last = paused.next_run - 1;
        self.when_run(&id, |scan| scan.scheduled.as_ref().is_some_and(|run| run.run == last)).await?;
        for run in 1..=last {
            let request = paused.request_of(run);
            let scan = self.when(&request, |scan| scan.state.is_terminal()).await?;
            ensure!(scan.state == ScanState::Completed, "run {run}: {:?}", scan.state);
        }
        let mut sent = 0;
        let change = change(&id, ScheduleAction::Remove);
        answered(&mut sent, async || self.bus.change_schedule(&change).await).await?;
        // A second message may be refused, as the first did it.
        self.refused += sent;
        answer.repository_id.parse().context("the id of a repository")
    }

    async fn change(&mut self, id: &ScheduleId, action: ScheduleAction) -> anyhow::Result<()> {
        let (mut sent, change) = (0, change(id, action));
        let answer = answered(&mut sent, async || self.bus.change_schedule(&change).await).await?;
        ensure!(answer.error.is_empty(), "refused: {}", answer.error);
        Ok(())
    }

    async fn standing(&self, id: &ScheduleId) -> anyhow::Result<Schedule> {
        loop {
            // No server for a moment: asked again.
            if let Ok(known) = self.bus.schedule(id).await {
                return known.context("the schedule is gone");
            }
            wait(LOOK).await;
        }
    }

    /// Waits until one of the runs is as wanted.
    async fn when_run(
        &self,
        id: &ScheduleId,
        is_wanted: impl Fn(&RepositoryScan) -> bool,
    ) -> anyhow::Result<()> {
        loop {
            let schedule = self.standing(id).await?;
            for run in 1..schedule.next_run {
                if let Ok(Some(scan)) = self.bus.scan(&schedule.request_of(run)).await
                    && is_wanted(&scan)
                {
                    return Ok(());
                }
            }
            wait(LOOK).await;
        }
    }
}

fn change(id: &ScheduleId, action: ScheduleAction) -> v1::ChangeSchedule {
    let requester = "detour".into();
    v1::ChangeSchedule { schedule_id: id.to_string(), action: action.into(), requester, replacement: None }
}

/// A commit that no ref leads to yet.
fn sneaky(target: &Target) -> anyhow::Result<String> {
    let commit =
        ["-c", "user.name=n", "-c", "user.email=e", "commit-tree", "-p", "main", "-m", "x", "main^{tree}"];
    let id = target.generated.repository.git(&commit)?;
    Ok(String::from_utf8(id)?.trim().to_owned())
}
