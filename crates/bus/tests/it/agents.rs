//! Agents come and go, and which of them may take work.

use std::sync::Arc;
use std::time::Duration;

use secretscan_bus::Stop;
use secretscan_bus::agents::{AgentsView, Presence};
use secretscan_bus::queue::Workers;
use secretscan_model::{Claim, Priority, Role};
use secretscan_testkit::TestServer;

use crate::bus;

#[tokio::test]
async fn agents_come_and_go() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let (stop, presence_stop) = (Stop::new(), Stop::new());
    let presence = Presence::new(bus.clone(), Role::BatchAgent, 2, "host".into());
    let view = Arc::new(AgentsView::new(bus.clone()));
    let changed = tokio::sync::Notify::new();
    let seen = async {
        while view.slots(Role::BatchAgent) != 2 {
            changed.notified().await;
        }
        let slot = presence.slot(Priority::OnDemand).unwrap();
        let held = presence.hold("work".into(), slot, false).await;
        let other = Presence::new(bus.clone(), Role::BatchAgent, 2, "host".into());
        let claim = Claim { agent: presence.id(), attempt: 1 };
        while !other.is_held_by_another(Some(&claim), "work").await.unwrap() {
            changed.notified().await;
        }
        assert!(!presence.is_held_by_another(Some(&claim), "work").await.unwrap(), "not by itself");
        assert!(!other.is_held_by_another(Some(&claim), "other work").await.unwrap());
        drop(held);
        presence_stop.cancel();
        while view.slots(Role::BatchAgent) != 0 {
            changed.notified().await;
        }
        stop.cancel();
    };
    let all = async {
        tokio::join!(presence.keep(&presence_stop), view.keep(&stop, || changed.notify_one()), seen)
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("agents were seen to come and go");
}

#[tokio::test]
async fn what_is_to_be_alone_waits_and_is_waited_for() {
    let server = TestServer::start().await.unwrap();
    let presence = Presence::new(bus(&server, "test").await, Role::BatchAgent, 3, "host".into());
    let slot = || presence.slot(Priority::OnDemand).unwrap();
    let beside = presence.hold("beside".into(), slot(), false).await;
    let mut alone = Box::pin(presence.hold("alone".into(), slot(), true));
    assert!(futures::poll!(&mut alone).is_pending());
    let mut late = Box::pin(presence.hold("late".into(), slot(), false));
    assert!(futures::poll!(&mut late).is_pending());
    drop(beside);
    let alone = alone.await;
    assert!(futures::poll!(&mut late).is_pending());
    drop(alone);
    drop(late.await);
}

#[tokio::test]
async fn urgent_work_goes_beyond_the_slots() {
    let server = TestServer::start().await.unwrap();
    let presence = Presence::new(bus(&server, "test").await, Role::BatchAgent, 2, "host".into());
    assert_eq!(presence.workers(), Workers { slots: 2, beyond: 1 });
    let first = presence.slot(Priority::OnDemand).unwrap();
    let held = presence.hold("first".into(), first, false).await;
    let _second = presence.slot(Priority::Scheduled).unwrap();
    assert!(presence.slot(Priority::OnDemand).is_none());
    assert!(presence.slot(Priority::Scheduled).is_none());
    assert!(presence.slot(Priority::Reactive).is_some());
    drop(held);
    assert!(presence.slot(Priority::OnDemand).is_some(), "the slot is free with the end of the work");
}
