//! Timers of schedules.

use secretscan_bus::Stop;
use secretscan_bus::queue::{Verdict, Workers};
use secretscan_bus::topology::Queue;
use secretscan_model::lifecycle::SchedulePlan;
use secretscan_model::{Missed, OnUnknown, Schedule, ScheduleEvent};
use secretscan_proto::v1;
use secretscan_testkit::TestServer;

use crate::bus;

#[tokio::test]
async fn a_timer_fires_once_it_is_due_and_one_that_is_gone_is_set_again() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let timers = async_nats::jetstream::new(client).get_stream("SCHEDULES").await.unwrap();
    let schedule = |id: &str, cron: &str, now| {
        let plan = SchedulePlan {
            repository: "r".parse().unwrap(),
            cron: cron.into(),
            time_zone: String::new(),
            jitter_s: 0,
            refs: vec![],
            on_unknown: OnUnknown::Both,
            missed: Missed::Once,
            requester: String::new(),
        };
        Schedule::new(id.parse().unwrap(), plan, now).unwrap()
    };
    let now = bus.server_time().await.unwrap();
    let yearly = schedule("yearly", "@yearly", now);
    for _ in 0..2 {
        assert_eq!(bus.create_schedule(&yearly).await.unwrap(), yearly);
    }
    let count = async || timers.get_info().await.unwrap().state.messages;
    assert_eq!((count().await, bus.recover_schedules().await.unwrap()), (1, 0));
    timers.purge().await.unwrap();
    assert_eq!((bus.recover_schedules().await.unwrap(), count().await), (1, 1));

    let often = schedule("often", "* * * * * *", now);
    bus.create_schedule(&often).await.unwrap();
    let stop = Stop::new();
    bus.work(Queue::DueSchedules, Workers::ONE, &stop, |delivery| {
        let (stop, bus, id) = (&stop, &bus, &often.id);
        async move {
            let timer: v1::ScheduleTimer = delivery.decode().unwrap();
            assert_eq!((timer.schedule_id.as_str(), timer.run), ("often", 1));
            let fire = ScheduleEvent::Fire { run: 1 };
            for _ in 0..2 {
                let fired = bus.apply_schedule(id, &fire).await.unwrap().unwrap();
                assert_eq!((fired.next_run, fired.last.unwrap().number), (2, 1));
            }
            assert!(bus.remove_schedule(id).await.unwrap());
            assert_eq!(bus.apply_schedule(id, &fire).await.unwrap(), None);
            stop.cancel();
            Verdict::Done
        }
    })
    .await;
    assert_eq!(bus.unfinished(Queue::ScheduleRuns).await.unwrap(), 1, "asked for twice, stored once");
}
