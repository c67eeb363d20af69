//! Taking work from a queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use secretscan_bus::Stop;
use secretscan_bus::queue::{Verdict, Workers};
use secretscan_bus::topology::Queue;
use secretscan_testkit::TestServer;

use crate::bus;

#[tokio::test]
async fn a_consumer_that_somebody_deleted_is_made_again() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let stop = Stop::new();
    let (taken, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let handler = |delivery: Arc<secretscan_bus::queue::Delivery>| {
        taken.send(delivery.payload().to_vec()).unwrap();
        async { Verdict::Done }
    };
    let test = async {
        for queue in [Queue::NewBatches, Queue::Cancellations] {
            let stream = jetstream.get_stream(queue.stream()).await.unwrap();
            for body in ["first", "second"] {
                jetstream.publish(queue.subject(), body.into()).await.unwrap();
                // The first comes again when its consumer went before it was acknowledged.
                while seen.recv().await.unwrap() != body.as_bytes() {}
                let _ = stream.delete_consumer(&queue.consumer()).await;
            }
        }
        stop.cancel();
    };
    let all = async {
        tokio::join!(
            bus.work(Queue::NewBatches, Workers::ONE, &stop, handler),
            bus.work_ahead(Queue::Cancellations, 4, &stop, handler),
            test
        )
    };
    tokio::time::timeout(Duration::from_secs(90), all).await.expect("work goes on");
}

#[tokio::test]
async fn work_that_comes_after_a_long_rest_is_taken_at_once() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let stop = Stop::new();
    let test = tokio::spawn({
        let stop = stop.clone();
        async move {
            tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_secs(12)).await;
            jetstream.publish("secretscan.commit-batch.new", "x".into()).await.unwrap();
            let sent = std::time::Instant::now();
            stop.cancelled().await;
            sent.elapsed()
        }
    });
    let handler = |_| async {
        stop.cancel();
        Verdict::Done
    };
    bus.work(Queue::NewBatches, Workers::ONE, &stop, handler).await;
    let waited = test.await.unwrap();
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

#[tokio::test]
async fn who_stops_gives_back_what_it_has_not_begun() {
    let server = TestServer::start().await.unwrap();
    let (one, other) = (bus(&server, "one").await, bus(&server, "other").await);
    let jetstream = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let queue = Queue::ReportedBatches;
    for number in 0..10 {
        let sent = jetstream.publish(queue.subject(), number.to_string().into()).await.unwrap();
        sent.await.unwrap();
    }
    let stop = Stop::new();
    let mut deliveries = std::pin::pin!(one.deliveries(queue, 64, &stop));
    let first = deliveries.next().await.unwrap();
    one.settle(&first, Verdict::Done).await.unwrap();
    stop.cancel();
    assert!(deliveries.next().await.is_none());

    let (stop, taken) = (Stop::new(), AtomicU64::new(0));
    let started = Instant::now();
    other
        .work_ahead(queue, 64, &stop, |_| async {
            if taken.fetch_add(1, Ordering::Relaxed) + 1 == 9 {
                stop.cancel();
            }
            Verdict::Done
        })
        .await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn work_comes_first_to_who_has_a_slot() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let jetstream = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let (stop, queue) = (Stop::new(), Queue::ScheduledBatches);
    let (busy, free) = (AtomicU64::new(0), AtomicU64::new(0));
    let count = async |taken: &AtomicU64| {
        taken.fetch_add(1, Ordering::Relaxed);
        Verdict::Done
    };
    // More than the server keeps unless it is told to.
    let beyond = Workers { slots: 0, beyond: 600 };
    let test = async {
        let waiting = async || {
            let stream = jetstream.get_stream(queue.stream()).await.unwrap();
            stream.consumer_info(queue.consumer()).await.unwrap().num_waiting
        };
        let until = async |pulls| while waiting().await != pulls {};
        until(601).await;
        for sent in 0..20 {
            jetstream.publish(queue.subject(), "x".into()).await.unwrap().await.unwrap();
            while free.load(Ordering::Relaxed) + busy.load(Ordering::Relaxed) == sent {
                tokio::task::yield_now().await;
            }
            until(601).await;
        }
        stop.cancel();
    };
    let all = async {
        tokio::join!(
            bus.work(queue, beyond, &stop, |_| count(&busy)),
            bus.work(queue, Workers::ONE, &stop, |_| count(&free)),
            test
        )
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("all is taken");
    assert_eq!((free.into_inner(), busy.into_inner()), (20, 0));
}
