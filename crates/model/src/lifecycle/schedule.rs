//! The life of a schedule: which run comes next, and what a timer that fires does.
//!
//! A schedule counts its runs. A timer names the run that it was set for, so one that comes twice, late, or from a copy that
//! knew less, does nothing but what is owed again: ask for the scan of the last run, then set the timer of the next. In that
//! order, always: so when the timer of a run fires, the scan of the run before was asked for.

use serde::{Deserialize, Serialize};

use super::Step;
use crate::calendar::{Calendar, CalendarError, jitter_ms};
use crate::ids::{RepositoryId, RequestId, ScheduleId, Timestamp};

/// A run that is this much late was missed, in milliseconds: nobody was there to make it. Less is a restart.
const MISSED_AFTER_MS: i64 = 60_000;
/// A timer may be this early, in milliseconds: it counts as on time.
const EARLY_MS: i64 = 1_000;

/// What a run does about commits that the ledger does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnknown {
    /// Tells of those that no push announced, and scans none.
    Alert,
    /// Scans them.
    Scan,
    /// Both.
    #[default]
    Both,
}

impl OnUnknown {
    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Scan => "scan",
            Self::Both => "both",
        }
    }
}

/// What becomes of runs that came while no scheduler was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// One run makes up for all.
    #[default]
    Once,
    /// The next run is the one that comes next.
    Skip,
}

impl Missed {
    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Skip => "skip",
        }
    }
}

/// What a schedule is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchedulePlan {
    /// What is scanned.
    pub repository: RepositoryId,
    /// The cron pattern, as it was given.
    pub cron: String,
    /// The name of the time zone that the pattern is read in; UTC when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub time_zone: String,
    /// Each run is late by up to so many seconds, each by another number.
    #[serde(default)]
    pub jitter_s: u64,
    /// The refs to scan; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<String>,
    /// What a run does about commits that the ledger does not know.
    #[serde(default)]
    pub on_unknown: OnUnknown,
    /// What becomes of runs that came while no scheduler was there.
    #[serde(default)]
    pub missed: Missed,
    /// Who asked for it, as they say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub requester: String,
}

/// When a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Due {
    /// When by the pattern.
    pub planned: Timestamp,
    /// The same with jitter.
    pub at: Timestamp,
}

/// A run that has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Its number; 0 when somebody asked for it out of turn.
    pub number: u64,
    /// When it came.
    pub at: Timestamp,
    /// The request that it made; `None` when it was missed and left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// The request of the run before, which has seen the repository last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<RequestId>,
}

/// The run of a schedule that a request is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledRun {
    /// The schedule.
    pub schedule: ScheduleId,
    /// The number of the run; 0 when somebody asked for it out of turn.
    pub run: u64,
    /// What it does about commits that the ledger does not know.
    pub on_unknown: OnUnknown,
    /// The request of the run before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<RequestId>,
}

/// A schedule, as the `schedules` bucket keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// The id.
    pub id: ScheduleId,
    /// What it is made of.
    #[serde(flatten)]
    pub plan: SchedulePlan,
    /// When it was made.
    pub created: Timestamp,
    /// Whether its runs are left out for now.
    #[serde(default)]
    pub is_paused: bool,
    /// The number of the next run, from 1.
    pub next_run: u64,
    /// When the next run is; `None` when none will come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Due>,
    /// The run that came last in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Run>,
    /// The run that somebody asked for last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Run>,
}

/// What happens to a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleEvent {
    /// It was made, or it may be that what is owed was not done.
    Recover,
    /// The timer of a run fired.
    Fire {
        /// Which run it was set for.
        run: u64,
    },
    /// Its runs are to be left out.
    Pause,
    /// Its runs are to come again.
    Resume,
    /// Somebody asks for a run out of turn.
    RunNow {
        /// The request to make.
        request: RequestId,
    },
    /// It is to be made of something else.
    Replace {
        /// Of what.
        plan: SchedulePlan,
    },
}

impl ScheduleEvent {
    /// The name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Recover => "Recover",
            Self::Fire { .. } => "Fire",
            Self::Pause => "Pause",
            Self::Resume => "Resume",
            Self::RunNow { .. } => "RunNow",
            Self::Replace { .. } => "Replace",
        }
    }
}

/// What is to be done once a step is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleEffect {
    /// Ask for the scan of a run.
    Request(Run),
    /// Set the timer of the next run.
    SetTimer,
}

/// What the ids of the requests of schedules begin with. Nobody else may take one of those.
pub const RUN_PREFIX: &str = "scheduled-";

impl Schedule {
    /// A new one.
    ///
    /// # Errors
    /// [`CalendarError`] when its pattern or time zone can't be read, or it never comes.
    pub fn new(id: ScheduleId, plan: SchedulePlan, now: Timestamp) -> Result<Self, CalendarError> {
        let mut schedule = Self {
            id,
            plan,
            created: now,
            is_paused: false,
            next_run: 1,
            due: None,
            last: None,
            asked: None,
        };
        schedule.due = schedule.due_after(now)?;
        match schedule.due {
            Some(_) => Ok(schedule),
            None => Err(CalendarError::Never { found: schedule.plan.cron }),
        }
    }

    /// The request that a run makes: the same whoever makes it, however often. A schedule that was removed and made again makes others.
    pub fn request_of(&self, run: u64) -> RequestId {
        let id = format!("{RUN_PREFIX}{}-{}-{run}", self.id, self.created.0);
        RequestId::parse(&id).expect("a schedule id is short enough")
    }

    /// When the next run is, if the one before was planned for then.
    fn due_after(&self, planned: Timestamp) -> Result<Option<Due>, CalendarError> {
        let calendar = Calendar::parse(&self.plan.cron, &self.plan.time_zone)?;
        Ok(calendar.next_after(planned).map(|planned| {
            let late = jitter_ms(&self.id, self.next_run, self.plan.jitter_s);
            Due { planned, at: Timestamp(planned.0.saturating_add(late)) }
        }))
    }

    /// The run that came last, in turn or out of it.
    pub fn latest(&self) -> Option<&Run> {
        self.last.iter().chain(&self.asked).max_by_key(|run| run.at)
    }

    fn run(&self, number: u64, request: Option<RequestId>, now: Timestamp) -> Run {
        let previous = self.latest().and_then(|run| run.request.clone().or_else(|| run.previous.clone()));
        Run { number, at: now, request, previous }
    }

    /// What may not have been done yet, in this order.
    fn owed(&self) -> Vec<ScheduleEffect> {
        let last = self.last.clone().filter(|run| run.request.is_some()).map(ScheduleEffect::Request);
        let is_waiting = !self.is_paused && self.due.is_some();
        last.into_iter().chain(is_waiting.then_some(ScheduleEffect::SetTimer)).collect()
    }

    /// The same made of something else.
    fn replaced(&self, plan: &SchedulePlan, now: Timestamp) -> Result<Self, CalendarError> {
        let scans_the_same = |of: &SchedulePlan| (of.repository.clone(), of.refs.clone(), of.on_unknown);
        let mut next = Self { plan: plan.clone(), ..self.clone() };
        if scans_the_same(plan) != scans_the_same(&self.plan) {
            // A run leaves out what the run before has seen, which was something else.
            (next.last, next.asked) = (None, None);
        }
        next.due = next.due_after(now)?;
        Ok(next)
    }

    /// The run that is due comes.
    fn fire(&self, due: Due, now: Timestamp) -> Result<Step<Self, ScheduleEffect>, CalendarError> {
        let (is_missed, mut next) = (now.0.saturating_sub(due.at.0) > MISSED_AFTER_MS, self.clone());
        let is_made = !is_missed || self.plan.missed == Missed::Once;
        let request = is_made.then(|| self.request_of(self.next_run));
        next.last = Some(self.run(self.next_run, request, now));
        next.next_run += 1;
        // One run stands for all that were missed.
        next.due = next.due_after(if is_missed { now } else { due.planned })?;
        let effects = next.owed();
        Ok(Step::change(next, effects))
    }
}

/// Moves a schedule on. The only place where it changes. `now` is the time of the server, which keeps the timers.
///
/// # Errors
/// [`CalendarError`] when its pattern or time zone can't be read any more.
pub fn step_schedule(
    schedule: &Schedule,
    event: &ScheduleEvent,
    now: Timestamp,
) -> Result<Step<Schedule, ScheduleEffect>, CalendarError> {
    Ok(match event {
        ScheduleEvent::Recover => Step::stay(schedule.owed()),
        ScheduleEvent::Fire { run } => {
            let is_early = |due: Due| now.0.saturating_add(EARLY_MS) < due.at.0;
            match schedule.due {
                Some(due) if !schedule.is_paused && *run == schedule.next_run && !is_early(due) => {
                    schedule.fire(due, now)?
                }
                // It came before, or the timer is from before a pause or for a record that is gone.
                Some(_) | None => Step::stay(schedule.owed()),
            }
        }
        ScheduleEvent::Pause if schedule.is_paused => Step::stay(vec![]),
        ScheduleEvent::Pause => Step::change(Schedule { is_paused: true, ..schedule.clone() }, vec![]),
        ScheduleEvent::Resume if !schedule.is_paused => Step::stay(schedule.owed()),
        ScheduleEvent::Resume => {
            let due = schedule.due_after(now)?;
            let next = Schedule { is_paused: false, due, ..schedule.clone() };
            let effects = next.owed();
            Step::change(next, effects)
        }
        ScheduleEvent::RunNow { request } => match &schedule.asked {
            Some(run) if run.request.as_ref() == Some(request) => {
                Step::stay(vec![ScheduleEffect::Request(run.clone())])
            }
            Some(_) | None => {
                let run = schedule.run(0, Some(request.clone()), now);
                let next = Schedule { asked: Some(run.clone()), ..schedule.clone() };
                Step::change(next, vec![ScheduleEffect::Request(run)])
            }
        },
        ScheduleEvent::Replace { plan } if schedule.plan == *plan => Step::stay(schedule.owed()),
        ScheduleEvent::Replace { plan } => {
            let next = schedule.replaced(plan, now)?;
            let effects = next.owed();
            Step::change(next, effects)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn schedule(missed: Missed) -> Schedule {
        let plan = SchedulePlan {
            repository: "r".parse().unwrap(),
            cron: "@hourly".into(),
            time_zone: String::new(),
            jitter_s: 0,
            refs: vec![],
            on_unknown: OnUnknown::Both,
            missed,
            requester: String::new(),
        };
        Schedule::new("s".parse().unwrap(), plan, Timestamp(0)).unwrap()
    }

    fn step(schedule: &Schedule, event: ScheduleEvent, now: i64) -> (Schedule, Vec<ScheduleEffect>) {
        let step = step_schedule(schedule, &event, Timestamp(now)).unwrap();
        (step.next.unwrap_or_else(|| schedule.clone()), step.effects)
    }

    fn fire(schedule: &Schedule, run: u64, now: i64) -> (Schedule, Vec<ScheduleEffect>) {
        step(schedule, ScheduleEvent::Fire { run }, now)
    }

    fn at(schedule: &Schedule) -> i64 {
        schedule.due.unwrap().at.0
    }

    /// What a schedule owes whose last run has made a request.
    fn both(schedule: &Schedule) -> Vec<ScheduleEffect> {
        vec![ScheduleEffect::Request(schedule.last.clone().unwrap()), ScheduleEffect::SetTimer]
    }

    #[test]
    fn each_run_comes_once_however_often_its_timer_fires() {
        let (first, timer) = (schedule(Missed::Once), vec![ScheduleEffect::SetTimer]);
        assert_eq!(step(&first, ScheduleEvent::Recover, 0), (first.clone(), timer.clone()));
        assert_eq!(fire(&first, 1, HOUR - 5_000), (first.clone(), timer.clone()), "too early");
        assert_eq!(fire(&first, 7, HOUR), (first.clone(), timer), "of another record");
        let (second, effects) = fire(&first, 1, HOUR + 20_000);
        assert_eq!(effects, both(&second));
        assert_eq!((second.next_run, at(&second)), (2, 2 * HOUR));
        let run = second.last.clone().unwrap();
        assert_eq!((run.number, run.request.unwrap().as_str()), (1, "scheduled-s-0-1"));
        let again = Schedule { created: Timestamp(HOUR), ..first.clone() };
        assert_eq!(again.request_of(1).as_str(), "scheduled-s-3600000-1", "removed, and made again");
        assert_eq!(fire(&second, 1, HOUR + 25_000), (second.clone(), effects.clone()));
        assert_eq!(step(&second, ScheduleEvent::Recover, HOUR + 25_000), (second.clone(), effects));
        let (third, _) = fire(&second, 2, 2 * HOUR);
        assert_eq!(third.last.clone().unwrap().previous, Some(third.request_of(1)));
        assert_eq!(fire(&third, 1, 2 * HOUR), (third.clone(), both(&third)), "long past");
    }

    #[test]
    fn of_missed_runs_one_is_made_or_none() {
        let late = 5 * HOUR + HOUR / 2;
        let (once, effects) = fire(&schedule(Missed::Once), 1, late);
        assert_eq!(effects, both(&once));
        assert_eq!((once.next_run, at(&once)), (2, 6 * HOUR));
        let (skipped, effects) = fire(&schedule(Missed::Skip), 1, late);
        assert_eq!(effects, [ScheduleEffect::SetTimer]);
        assert_eq!((skipped.next_run, at(&skipped)), (2, 6 * HOUR));
        assert_eq!(skipped.last.clone().unwrap().request, None);
        assert_eq!(fire(&skipped, 1, late), (skipped, effects));
        let (on_time, effects) = fire(&schedule(Missed::Skip), 1, HOUR + 59_000);
        assert_eq!((effects.len(), at(&on_time)), (2, 2 * HOUR));
    }

    #[test]
    fn runs_that_are_a_little_late_are_all_made() {
        let mut plan = schedule(Missed::Skip).plan;
        plan.cron = "* * * * * *".into();
        let mut schedule = Schedule::new("s".parse().unwrap(), plan, Timestamp(0)).unwrap();
        for run in 1..=30 {
            let effects;
            (schedule, effects) = fire(&schedule, run, 31_000);
            assert_eq!(effects, both(&schedule));
            assert_eq!(at(&schedule), (run.cast_signed() + 1) * 1_000);
        }
    }

    #[test]
    fn a_pause_leaves_runs_out_and_a_resumption_goes_on_with_the_next() {
        let first = schedule(Missed::Once);
        let (paused, effects) = step(&first, ScheduleEvent::Pause, 10);
        assert!(paused.is_paused && effects.is_empty());
        assert_eq!(fire(&paused, 1, HOUR), (paused.clone(), vec![]));
        let (resumed, effects) = step(&paused, ScheduleEvent::Resume, 7 * HOUR + 1);
        assert_eq!((resumed.next_run, at(&resumed)), (1, 8 * HOUR));
        assert_eq!(effects, [ScheduleEffect::SetTimer]);
        assert_eq!(fire(&resumed, 1, 7 * HOUR + 2), (resumed.clone(), effects), "a timer from before");
        // The run that came just before the pause is made all the same.
        let (second, effects) = fire(&first, 1, HOUR);
        let (paused, _) = step(&second, ScheduleEvent::Pause, HOUR + 1);
        assert_eq!(fire(&paused, 1, HOUR + 2), (paused, effects[..1].to_vec()));
    }

    #[test]
    fn a_replacement_goes_on_counting_and_forgets_what_was_seen_only_of_something_else() {
        let (second, _) = fire(&schedule(Missed::Once), 1, HOUR);
        let replace = |plan: &SchedulePlan| ScheduleEvent::Replace { plan: plan.clone() };
        let later = SchedulePlan { cron: "30 * * * *".into(), ..second.plan.clone() };
        let (replaced, effects) = step(&second, replace(&later), HOUR + 1);
        assert_eq!((replaced.next_run, at(&replaced), &replaced.last), (2, HOUR + HOUR / 2, &second.last));
        assert_eq!(effects, both(&replaced));
        assert_eq!(step(&replaced, replace(&later), HOUR + 2), (replaced.clone(), effects), "again");
        let stale = vec![ScheduleEffect::Request(replaced.last.clone().unwrap()), ScheduleEffect::SetTimer];
        assert_eq!(fire(&replaced, 2, HOUR + 3), (replaced.clone(), stale), "a timer from before");
        for other in [
            SchedulePlan { repository: "q".parse().unwrap(), ..later.clone() },
            SchedulePlan { refs: vec!["refs/heads/main".into()], ..later.clone() },
            SchedulePlan { on_unknown: OnUnknown::Alert, ..later.clone() },
        ] {
            let (other, effects) = step(&replaced, replace(&other), HOUR + 1);
            assert_eq!((other.next_run, &other.last, effects), (2, &None, vec![ScheduleEffect::SetTimer]));
        }
        let (paused, _) = step(&second, ScheduleEvent::Pause, HOUR);
        let (replaced, effects) = step(&paused, replace(&later), HOUR + 1);
        assert_eq!((replaced.is_paused, effects), (true, both(&second)[..1].to_vec()));
        let never = SchedulePlan { cron: "61 * * * *".into(), ..later };
        assert!(step_schedule(&second, &replace(&never), Timestamp(HOUR)).is_err());
    }

    #[test]
    fn a_run_out_of_turn_leaves_the_others_as_they_are() {
        let first = schedule(Missed::Once);
        let now = ScheduleEvent::RunNow { request: "q".parse().unwrap() };
        let (asked, effects) = step(&first, now.clone(), 10);
        let run = asked.asked.clone().unwrap();
        assert_eq!((asked.next_run, asked.due, run.number), (1, first.due, 0));
        assert_eq!(effects, [ScheduleEffect::Request(run)]);
        assert_eq!(step(&asked, now, 20), (asked.clone(), effects));
        let (next, _) = fire(&asked, 1, HOUR);
        assert_eq!(next.last.unwrap().previous, Some("q".parse().unwrap()));
    }
}
