//! Properties of schedules, under random events and in random time zones.

use std::collections::BTreeMap;

use proptest::prelude::*;
use secretscan_model::calendar::Calendar;
use secretscan_model::lifecycle::{ScheduleEffect, SchedulePlan, step_schedule};
use secretscan_model::{Missed, OnUnknown, RequestId, Schedule, ScheduleEvent, Timestamp};

/// In the year that has every kind of change.
const START: i64 = 1_767_225_600_000;
const YEAR: i64 = 365 * 24 * 3_600_000;

fn event() -> impl Strategy<Value = ScheduleEvent> {
    prop_oneof![
        4 => (0..12_u64).prop_map(|run| ScheduleEvent::Fire { run }),
        1 => Just(ScheduleEvent::Recover),
        1 => Just(ScheduleEvent::Pause),
        1 => Just(ScheduleEvent::Resume),
        1 => (0..3_u8).prop_map(|n| ScheduleEvent::RunNow { request: format!("q{n}").parse().unwrap() }),
        1 => (0..30_u64).prop_map(|jitter_s| ScheduleEvent::Replace { plan: plan(jitter_s, Missed::Once) }),
    ]
}

fn plan(jitter_s: u64, missed: Missed) -> SchedulePlan {
    SchedulePlan {
        repository: "r".parse().unwrap(),
        cron: "*/20 * * * * *".into(),
        time_zone: String::new(),
        jitter_s,
        refs: vec![],
        on_unknown: OnUnknown::Both,
        missed,
        requester: String::new(),
    }
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("* * * * *".to_owned()),
        Just("*/7 */3 * * *".to_owned()),
        Just("0 0 1 * *".to_owned()),
        (0..60_u8, 0..24_u8).prop_map(|(minute, hour)| format!("{minute} {hour} * * *")),
        (0..30_u8, 0..4_u8, 4..24_u8).prop_map(|(minute, one, two)| format!("{minute},45 {one},{two} * * *")),
    ]
}

fn zone() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "UTC",
        "Europe/Paris",
        "America/New_York",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "Asia/Kolkata",
        "America/St_Johns",
    ])
}

proptest! {
    #[test]
    fn each_run_asks_for_one_scan_and_none_is_left_out(
        events in prop::collection::vec((event(), 0..90_000_i64), 1..60),
        skip in any::<bool>(),
        jitter_s in 0..30_u64,
    ) {
        let plan = plan(jitter_s, if skip { Missed::Skip } else { Missed::Once });
        let mut now = START;
        let mut schedule = Schedule::new("s".parse().unwrap(), plan, Timestamp(now)).unwrap();
        // Of each request that was asked for, the run.
        let mut asked: BTreeMap<RequestId, u64> = BTreeMap::new();
        for (event, later) in events {
            now += later;
            let step = step_schedule(&schedule, &event, Timestamp(now)).unwrap();
            let next = step.next.unwrap_or_else(|| schedule.clone());
            let is_run = next.next_run == schedule.next_run + 1;
            prop_assert!(is_run || next.next_run == schedule.next_run);
            if is_run {
                prop_assert!(schedule.due.unwrap().at.0 <= now + 1_000, "not before it is due");
                prop_assert_eq!(next.last.as_ref().unwrap().number, schedule.next_run);
            }
            let mut is_timer_set = false;
            for effect in step.effects {
                match effect {
                    ScheduleEffect::Request(run) => {
                        prop_assert!(!is_timer_set, "what is due is asked for before the next timer is set");
                        let request = run.request.unwrap();
                        if run.number > 0 {
                            prop_assert_eq!(&request, &schedule.request_of(run.number));
                        }
                        prop_assert_ne!(Some(&request), run.previous.as_ref());
                        prop_assert_eq!(*asked.entry(request).or_insert(run.number), run.number);
                    }
                    ScheduleEffect::SetTimer => is_timer_set = true,
                }
            }
            prop_assert!(!is_timer_set || !next.is_paused);
            schedule = next;
        }
        let made = asked.values().filter(|run| **run > 0).count() as u64;
        prop_assert!(skip || made == schedule.next_run - 1, "{made} of {}", schedule.next_run - 1);
    }

    #[test]
    fn the_next_time_is_later_and_never_jumps_over_one(
        cron in pattern(), zone in zone(), at in 0..YEAR, later in 0..YEAR / 100,
    ) {
        let calendar = Calendar::parse(&cron, zone).unwrap();
        let next = |at| calendar.next_after(Timestamp(at)).unwrap().0;
        let (at, later) = (START + at, START + at + later);
        let first = next(at);
        prop_assert!(first > at);
        prop_assert!(first <= next(later));
        // Whoever looks in between sees the same.
        prop_assert_eq!(next(first - 1), first);
        prop_assert_eq!(next(at + (first - at) / 2), first);
    }
}
