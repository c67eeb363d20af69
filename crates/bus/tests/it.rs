//! The bus against a real nats-server.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use secretscan_bus::agents::{AgentsView, Presence};
use secretscan_bus::door::Door;
use secretscan_bus::ledger::{ForgetError, LedgerCache, Wanted};
use secretscan_bus::packs::PackSweeper;
use secretscan_bus::queue::Verdict;
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, NatsConfig, Stop};
use secretscan_model::ledger::CommitState;
use secretscan_model::lifecycle::{Move, SchedulePlan};
use secretscan_model::{
    BatchEvent, BatchKey, BatchReport, BatchState, ChosenRules, Claim, CommitId, Finding, Listing, Look,
    Missed, OnUnknown, Place, Priority, RepositoryId, RepositoryUri, RequestId, Role, ScanEvent, ScanState,
    Schedule, ScheduleEvent, Standing, Survey, Timestamp, TriageState, UriPolicy,
};
use secretscan_proto::{pack_commit_ids, v1};
use secretscan_testkit::{TestServer, eventually};

async fn bus(server: &TestServer, name: &str) -> Bus {
    let config = NatsConfig { url: server.url().to_owned(), name: name.into(), ..NatsConfig::default() };
    Bus::connect(&config).await.unwrap()
}

fn commits(range: std::ops::Range<u32>) -> Vec<CommitId> {
    range
        .map(|n| {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            CommitId::from_bytes(&bytes).unwrap()
        })
        .collect()
}

fn key(batch: &str) -> BatchKey {
    BatchKey { request: "r1".parse().unwrap(), batch: batch.parse().unwrap() }
}

async fn accepted(bus: &Bus, id: &RequestId) -> RepositoryId {
    let uri = RepositoryUri::parse("https://h.example/a/b", UriPolicy::default()).unwrap();
    let repository = bus.know_repository(&uri).await.unwrap();
    bus.create_scan(id, vec![], Priority::OnDemand, "test".into(), &[]).await.unwrap();
    let accept = ScanEvent::Accept { repository: repository.clone(), uri: uri.fetch().into() };
    bus.apply_scan(id, &[ScanEvent::StartValidation, accept]).await.unwrap();
    repository
}

/// Takes one message of a queue and says Done.
async fn take(bus: &Bus, queue: Queue) {
    let stop = Stop::new();
    bus.work(queue, 1, &stop, |_| async {
        stop.cancel();
        Verdict::Done
    })
    .await;
}

#[tokio::test]
async fn a_request_goes_its_whole_way_and_leaves_nothing_over() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let id: RequestId = "r1".parse().unwrap();
    let repository = accepted(&bus, &id).await;
    // Repeated, as after a crash: nothing more happens.
    let again = bus.apply_scan(&id, &[ScanEvent::StartValidation]).await.unwrap();
    assert_eq!(again.state, ScanState::Queued);
    assert_eq!(bus.unfinished(Queue::QueuedScans(Priority::OnDemand)).await.unwrap(), 1);

    take(&bus, Queue::QueuedScans(Priority::OnDemand)).await;
    assert!(bus.hold_fetch(&repository, &id).await.unwrap());
    assert!(!bus.hold_fetch(&repository, &"r2".parse().unwrap()).await.unwrap());
    bus.apply_scan(&id, &[ScanEvent::StartScheduling, ScanEvent::Assign]).await.unwrap();
    take(&bus, Queue::ScheduledScans).await;
    let agent: secretscan_model::AgentId = "agent".parse().unwrap();
    let take_it = ScanEvent::Claim { agent: agent.clone(), max_attempts: 3 };
    bus.apply_scan(&id, &[take_it]).await.unwrap();
    let claim = Claim { agent: agent.clone(), attempt: 1 };

    let batch = key("b1");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; 2_000_000]).unwrap();
    bus.put_pack(&batch, file.path()).await.unwrap();
    let cut = ScanEvent::CutBatch { claim: claim.clone(), batch: batch.batch.clone() };
    bus.apply_scan(&id, &[cut]).await.unwrap();
    let ids = commits(0..100);
    let (commit_id_length, commit_ids) = pack_commit_ids(&ids);
    let announced = v1::NewCommitBatch {
        request_id: "r1".into(),
        batch_id: "b1".into(),
        repository_id: repository.to_string(),
        priority: v1::Priority::OnDemand.into(),
        pack_bytes: 2_000_000,
        commit_id_length,
        commit_ids,
    };
    bus.announce_batch(&announced).await.unwrap();
    let listing = Listing { commits: 100, unknown: 100, ..Listing::default() };
    bus.apply_scan(&id, &[ScanEvent::FinishListing { claim, listing }]).await.unwrap();
    take(&bus, Queue::ReportedScans).await;
    bus.apply_scan(&id, &[ScanEvent::Settle]).await.unwrap();
    assert!(bus.hold_fetch(&repository, &"r2".parse().unwrap()).await.unwrap(), "the fetch is released");

    take(&bus, Queue::NewBatches).await;
    bus.create_batch(&batch, &repository, Priority::OnDemand, 100, 2_000_000, None).await.unwrap();
    let admitted = bus.ledger(&repository).admit(&batch, &ids, &LedgerCache::default(), false).await.unwrap();
    let admit = BatchEvent::Admit { commits: admitted };
    bus.apply_batch(&batch, &[BatchEvent::StartValidation, admit]).await.unwrap();
    take(&bus, Queue::WaitingBatches(Priority::OnDemand)).await;
    bus.apply_batch(&batch, &[BatchEvent::StartScheduling, BatchEvent::Assign]).await.unwrap();
    take(&bus, Queue::ScheduledBatches).await;
    let take_it = BatchEvent::Claim { agent: agent.clone(), max_attempts: 3 };
    bus.apply_batch(&batch, &[take_it]).await.unwrap();
    let copy = tempfile::NamedTempFile::new().unwrap();
    assert!(bus.get_pack(&batch, copy.path()).await.unwrap());
    assert_eq!(std::fs::read(copy.path()).unwrap(), std::fs::read(file.path()).unwrap());
    let report = BatchReport { commits: 100, rule_set: "r1-test".into(), ..BatchReport::default() };
    let finish = BatchEvent::Finish { claim: Claim { agent, attempt: 1 }, report };
    let ended = bus.apply_batch(&batch, &[finish]).await.unwrap();
    assert!(matches!(ended.state, BatchState::Completed { .. }));
    take(&bus, Queue::ReportedBatches).await;
    bus.apply_batch(&batch, &[BatchEvent::Settle]).await.unwrap();

    let scan = bus.scan(&id).await.unwrap().unwrap();
    assert_eq!(scan.state, ScanState::Completed);
    assert_eq!(scan.totals().commits, 100);
    assert!(!bus.get_pack(&batch, copy.path()).await.unwrap(), "the pack is deleted");
    for queue in Queue::all().into_iter().filter(|queue| queue.is_work()) {
        assert_eq!(bus.unfinished(queue).await.unwrap(), 0, "{queue:?}");
    }
    assert_eq!(bus.ledger(&repository).head().await.unwrap().count(CommitState::Scanned), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_batches_never_admit_a_commit_twice() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let repository: RepositoryId = "repo".parse().unwrap();
    let admissions = (0..8_u32).map(|n| {
        let (bus, repository) = (bus.clone(), repository.clone());
        tokio::spawn(async move {
            // Each overlaps its neighbours by half.
            let offered = commits(n * 50..n * 50 + 100);
            let cache = LedgerCache::default();
            let batch = key(&format!("b{n}"));
            let first = bus.ledger(&repository).admit(&batch, &offered, &cache, false).await.unwrap();
            let again = bus.ledger(&repository).admit(&batch, &offered, &cache, false).await.unwrap();
            assert_eq!(first, again, "admitting repeats safely");
            first
        })
    });
    let mut sum = 0;
    for admission in admissions.collect::<Vec<_>>() {
        sum += admission.await.unwrap();
    }
    assert_eq!(sum, 450, "every commit once");
    assert_eq!(bus.ledger(&repository).known().await.unwrap().len(), 450);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_segments_are_merged_while_readers_and_writers_go_on() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let repository: RepositoryId = "repo".parse().unwrap();
    // Two controllers, each with a cache of its own, scan a push after the other.
    let controllers = (0..2_u32).map(|controller| {
        let (bus, repository) = (bus.clone(), repository.clone());
        tokio::spawn(async move {
            let (ledger, cache) = (bus.ledger(&repository), LedgerCache::default());
            for push in (controller..80).step_by(2) {
                let batch = key(&format!("b{push}"));
                let offered = commits(push * 5..push * 5 + 10);
                ledger.admit(&batch, &offered, &cache, false).await.unwrap();
                ledger.mark_scanned(&batch, "r1-test").await.unwrap();
                let known = ledger.known().await.unwrap();
                assert!(offered.iter().all(|id| known.contains(id)), "push {push}");
            }
        })
    });
    for controller in controllers.collect::<Vec<_>>() {
        controller.await.unwrap();
    }
    let (ledger, cache) = (bus.ledger(&repository), LedgerCache::default());
    let head = ledger.head().await.unwrap();
    assert!(head.segments.len() < 40, "{} segments", head.segments.len());
    assert_eq!(head.count(CommitState::Scanned), 405, "every commit once");
    assert_eq!(ledger.known().await.unwrap().len(), 405);
    assert_eq!(ledger.admit(&key("again"), &commits(0..405), &cache, false).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_that_race_for_one_batch_leave_its_one_segment() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let repository: RepositoryId = "repo".parse().unwrap();
    for round in 0..10 {
        let batch = key(&format!("b{round}"));
        let offered: Vec<_> = commits(round * 100..round * 100 + 100);
        let admissions = (0..4).map(|_| {
            let (bus, repository, batch, offered) =
                (bus.clone(), repository.clone(), batch.clone(), offered.clone());
            tokio::spawn(async move {
                bus.ledger(&repository).admit(&batch, &offered, &LedgerCache::default(), true).await.unwrap()
            })
        });
        for admission in admissions.collect::<Vec<_>>() {
            assert_eq!(admission.await.unwrap(), 100);
        }
        let admitted = bus.ledger(&repository).commits_of(&batch).await.unwrap();
        assert_eq!(admitted.expect("the head names a segment that is there"), offered);
    }
}

/// Ids as a repository has them that uses SHA-256.
fn long_commits(range: std::ops::Range<u32>) -> Vec<CommitId> {
    let long = |id: CommitId| CommitId::from_bytes(&[id.as_bytes(), &[7; 12]].concat()).unwrap();
    commits(range).into_iter().map(long).collect()
}

/// Every segment that is stored is named by the head.
async fn no_segment_is_stray(server: &TestServer, bus: &Bus, repository: &RepositoryId) {
    let client = async_nats::connect(server.url()).await.unwrap();
    let history = async_nats::jetstream::new(client).get_key_value("history").await.unwrap();
    let mut stored: Vec<String> = history.keys().await.unwrap().try_collect().await.unwrap();
    stored.retain(|key| key.contains(".segment."));
    let head = bus.ledger(repository).head().await.unwrap();
    let mut named: Vec<String> =
        head.segments.iter().map(|segment| format!("{repository}.segment.{}", segment.key)).collect();
    stored.sort();
    named.sort();
    assert_eq!(stored, named);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_32_bytes_are_admitted_merged_found_and_forgotten() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let repository: RepositoryId = "repo".parse().unwrap();
    let (ledger, cache) = (bus.ledger(&repository), LedgerCache::default());
    // A batch of the largest size, and so many small ones that they are merged.
    let large = ledger.admit(&key("large"), &long_commits(0..30_000), &cache, false).await.unwrap();
    assert_eq!(large, 30_000);
    ledger.mark_scanned(&key("large"), "r1-test").await.unwrap();
    for number in 0..33 {
        let (batch, first) = (key(&format!("b{number}")), 30_000 + number * 10);
        ledger.admit(&batch, &long_commits(first..first + 10), &cache, false).await.unwrap();
        ledger.mark_scanned(&batch, "r1-test").await.unwrap();
    }
    let all = long_commits(0..30_330);
    let known = ledger.known().await.unwrap();
    assert!(known.len() == all.len() && all.iter().all(|id| known.contains(id)));
    let held = ledger.holders(&[all[30_000], all[7], commits(7..8)[0]]).await.unwrap();
    assert_eq!((held.len(), &held[&all[7]].batch), (2, &key("large")));
    assert_eq!(held[&all[30_000]].rule_set, "r1-test");

    let some = [&all[10..20], &all[30_000..30_005], &commits(0..3)].concat();
    assert_eq!(ledger.forget(&Wanted::these(&some), &cache).await.unwrap(), 15);
    assert_eq!(ledger.forget(&Wanted::these(&some), &cache).await.unwrap(), 0, "it repeats safely");
    let known = ledger.known().await.unwrap();
    assert!(known.len() == all.len() - 15 && !known.contains(&all[12]) && known.contains(&all[20]));
    no_segment_is_stray(&server, &bus, &repository).await;
    assert_eq!(ledger.admit(&key("again"), &some[..15], &cache, false).await.unwrap(), 15);
    let in_flight = |result| matches!(result, Err(ForgetError::InFlight { batch }) if batch == key("again"));
    assert!(in_flight(ledger.forget(&Wanted::All, &cache).await), "they are being scanned");
    assert!(in_flight(ledger.forget(&Wanted::these(&all[5..12]), &cache).await));
    assert_eq!(ledger.known().await.unwrap().len(), all.len(), "nothing is forgotten then");
    no_segment_is_stray(&server, &bus, &repository).await;
    ledger.mark_scanned(&key("again"), "r1-test").await.unwrap();
    assert_eq!(ledger.forget(&Wanted::All, &cache).await.unwrap(), all.len() as u64);
    assert!(ledger.known().await.unwrap().is_empty());
    no_segment_is_stray(&server, &bus, &repository).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_forgotten_while_others_are_admitted_and_merged() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let repository: RepositoryId = "repo".parse().unwrap();
    // Two controllers: one scans, one forgets the first of each ten.
    let scans = {
        let (bus, repository) = (bus.clone(), repository.clone());
        tokio::spawn(async move {
            let (ledger, cache) = (bus.ledger(&repository), LedgerCache::default());
            for number in 0..80 {
                let batch = key(&format!("b{number}"));
                ledger.admit(&batch, &commits(number * 10..number * 10 + 10), &cache, false).await.unwrap();
                ledger.mark_scanned(&batch, "r1-test").await.unwrap();
            }
        })
    };
    let (ledger, cache) = (bus.ledger(&repository), LedgerCache::default());
    for number in 0..80 {
        let first = Wanted::these(&commits(number * 10..number * 10 + 1));
        eventually(Duration::from_secs(20), "the commit is forgotten", async || {
            (ledger.forget(&first, &cache).await.ok()? == 1).then_some(())
        })
        .await;
    }
    scans.await.unwrap();
    let known = ledger.known().await.unwrap();
    assert_eq!(known.len(), 720);
    assert!(commits(0..800).iter().enumerate().all(|(n, id)| known.contains(id) == (n % 10 > 0)));
    no_segment_is_stray(&server, &bus, &repository).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_scanned_again_by_one_batch_each_and_stay_scanned() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let repository: RepositoryId = "repo".parse().unwrap();
    let (ledger, cache) = (bus.ledger(&repository), LedgerCache::default());
    for number in 0..4 {
        let (batch, offered) = (key(&format!("b{number}")), commits(number * 100..number * 100 + 100));
        ledger.admit(&batch, &offered, &cache, false).await.unwrap();
        ledger.mark_scanned(&batch, if number < 3 { "v1" } else { "v2" }).await.unwrap();
    }
    let chosen = ChosenRules { rule_set: "v2".into(), rules: None };
    // Two controllers, and batches that overlap; those of the new version and unknown ones don't count.
    let admissions = (0..8_u32).map(|n| {
        let (bus, repository, chosen) = (bus.clone(), repository.clone(), chosen.clone());
        tokio::spawn(async move {
            let (ledger, cache) = (bus.ledger(&repository), LedgerCache::default());
            let (batch, offered) = (key(&format!("again{n}")), commits(n * 50..n * 50 + 100));
            let first = ledger.admit_again(&batch, &offered, &chosen, &cache, false).await.unwrap();
            let again = ledger.admit_again(&batch, &offered, &chosen, &cache, true).await.unwrap();
            assert!(first == again || first == 0, "admitting repeats safely: {first}, {again}");
            again
        })
    });
    let mut sum = 0;
    for admission in admissions.collect::<Vec<_>>() {
        sum += admission.await.unwrap();
    }
    assert_eq!(sum, 300, "every commit once");
    let head = ledger.head().await.unwrap();
    assert_eq!((head.count(CommitState::Scanned), ledger.known().await.unwrap().len()), (400, 400));
    no_segment_is_stray(&server, &bus, &repository).await;
    let in_flight = ledger.forget(&Wanted::All, &cache).await;
    assert!(matches!(in_flight, Err(ForgetError::InFlight { .. })));

    // What is scanned again is of the new version, once, and never goes back.
    let of_new = async || {
        let totals = ledger.head().await.unwrap().totals();
        totals.iter().filter(|total| total.rule_set == "v2").map(|total| total.commits).sum::<u64>()
    };
    let mut expected = 100;
    for segment in head.segments.iter().filter(|segment| segment.is_rescanned) {
        ledger.mark_scanned(&segment.batch, "v2").await.unwrap();
        ledger.mark_scanned(&segment.batch, "v1").await.unwrap();
        expected += segment.commits;
        assert_eq!(of_new().await, expected);
    }
    assert_eq!(expected, 400);
    assert_eq!(ledger.admit_again(&key("late"), &commits(0..400), &chosen, &cache, false).await.unwrap(), 0);
    assert_eq!(ledger.forget(&Wanted::All, &cache).await.unwrap(), 400);
    no_segment_is_stray(&server, &bus, &repository).await;
}

#[tokio::test]
async fn what_lost_agents_leave_in_the_object_store_is_swept() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let id: RequestId = "r1".parse().unwrap();
    accepted(&bus, &id).await;
    bus.apply_scan(&id, &[ScanEvent::StartScheduling, ScanEvent::Assign]).await.unwrap();
    let claim = ScanEvent::Claim { agent: "lost".parse().unwrap(), max_attempts: 3 };
    let lost = bus.apply_scan(&id, &[claim]).await.unwrap();
    let claim = ScanEvent::Claim { agent: "next".parse().unwrap(), max_attempts: 3 };
    let next = bus.apply_scan(&id, &[claim]).await.unwrap();
    let of = |scan: &secretscan_model::RepositoryScan| BatchKey {
        request: id.clone(),
        batch: scan.batch_id("ab12").unwrap(),
    };
    assert_ne!(of(&lost), of(&next), "each claim names its batches apart");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [7; 1_000]).unwrap();
    // The lost agent was only slow: it stores its pack late.
    bus.put_pack(&of(&next), file.path()).await.unwrap();
    bus.put_pack(&of(&lost), file.path()).await.unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let pieces = async || {
        let stream = jetstream.get_stream("OBJ_packs").await.unwrap();
        let found = stream.info_with_subjects("$O.packs.C.>").await.unwrap();
        found.try_collect::<Vec<_>>().await.unwrap().len()
    };
    // And one died in the middle of storing.
    jetstream.publish("$O.packs.C.half", "half".into()).await.unwrap().await.unwrap();
    assert_eq!(pieces().await, 3);
    let mut sweeper = PackSweeper::default();
    sweeper.sweep(&bus).await.unwrap();
    assert_eq!(pieces().await, 2, "what is half stored may grow");
    jetstream.publish("$O.packs.C.half", "more".into()).await.unwrap().await.unwrap();
    sweeper.sweep(&bus).await.unwrap();
    assert_eq!(pieces().await, 2, "it did grow");
    sweeper.sweep(&bus).await.unwrap();
    assert_eq!(pieces().await, 1);
    let copy = tempfile::NamedTempFile::new().unwrap();
    assert!(bus.get_pack(&of(&next), copy.path()).await.unwrap(), "who holds the claim keeps its pack");
    bus.apply_scan(&id, &[ScanEvent::Cancel { requester: "test".into() }]).await.unwrap();
    sweeper.sweep(&bus).await.unwrap();
    let stream = jetstream.get_stream("OBJ_packs").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 0);
}

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
            bus.work(Queue::NewBatches, 1, &stop, handler),
            bus.work_ahead(Queue::Cancellations, 4, &stop, handler),
            test
        )
    };
    tokio::time::timeout(Duration::from_secs(90), all).await.expect("work goes on");
}

#[tokio::test]
async fn the_door_answers_and_dead_letters_are_kept() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let stop = Stop::new();
    let door = Door::new(bus.clone());
    let worker = bus.work(Queue::NewScans, 1, &stop, |delivery| {
        let door = &door;
        async move {
            let error = delivery.decode_strictly::<v1::NewRepositoryScan>().unwrap_err().to_string();
            door.answer(&delivery, v1::Answer { error: error.clone(), ..v1::Answer::default() }).await;
            Verdict::Reject(error)
        }
    });
    let asker = async {
        let client = async_nats::connect(server.url()).await.unwrap();
        let reply = client.request("secretscan.repository-scan.new", r#"{"url":"x"}"#.into()).await.unwrap();
        stop.cancel();
        let answer: v1::Answer = serde_json::from_slice(&reply.payload).unwrap();
        assert!(answer.error.contains("unknown field `url`"), "{}", answer.error);
    };
    tokio::join!(door.listen(&stop), worker, asker);
    // The server counts a rejection a moment after it was sent.
    let settled = async || (bus.unfinished(Queue::NewScans).await.ok()? == 0).then_some(());
    eventually(Duration::from_secs(20), "the message is settled", settled).await;
}

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
        let held = presence.hold("work".into(), false).await;
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
    let beside = presence.hold("beside".into(), false).await;
    let mut alone = Box::pin(presence.hold("alone".into(), true));
    assert!(futures::poll!(&mut alone).is_pending());
    let mut late = Box::pin(presence.hold("late".into(), false));
    assert!(futures::poll!(&mut late).is_pending());
    drop(beside);
    let alone = alone.await;
    assert!(futures::poll!(&mut late).is_pending());
    drop(alone);
    drop(late.await);
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
    bus.work(Queue::NewBatches, 1, &stop, handler).await;
    let waited = test.await.unwrap();
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

fn finding(number: u32) -> Finding {
    serde_json::from_value(serde_json::json!({
        "id": format!("v2-{number:032x}.0123456789abcdef"), "rule_id": "r", "description": "", "severity": "high",
        "secret_hash": "", "path": [97],
        "occurrences": [{
            "corrected_date": 1, "commit": format!("{number:040x}"), "line": 1, "column": 1, "end_line": 1,
            "end_column": 2, "author": { "name": "", "email": "", "time": 1 }, "excerpt": "x".repeat(500),
        }],
    }))
    .unwrap()
}

#[tokio::test]
async fn a_finding_that_was_written_before_a_crash_is_told_after_it() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let jetstream = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let repository: RepositoryId = "r".parse().unwrap();
    let told = async || {
        let mut stream = jetstream.get_stream("EVENTS").await.unwrap();
        stream.info().await.unwrap().state.messages
    };
    // Written, and the process is gone.
    let record = serde_json::to_vec(&finding(1)).unwrap();
    let key = format!("r.{}", finding(1).id.0);
    jetstream.get_key_value("findings").await.unwrap().put(key, record.into()).await.unwrap();
    assert_eq!(told().await, 0);
    for _ in 0..2 {
        bus.record_findings(&repository, vec![finding(1)]).await.unwrap();
        assert_eq!(told().await, 1, "once");
    }
}

#[tokio::test]
async fn all_findings_of_a_repository_are_walked_without_a_consumer() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let [walked, other]: [RepositoryId; 2] = ["walked", "other"].map(|id| id.parse().unwrap());
    bus.each_finding(&walked, |_| panic!("there is none")).await.unwrap();
    // More than a page.
    bus.record_findings(&walked, (0..2_500).map(finding).collect()).await.unwrap();
    bus.record_findings(&other, (0..10).map(finding).collect()).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    bus.each_finding(&walked, |finding| assert!(seen.insert(finding.id))).await.unwrap();
    assert_eq!(seen.len(), 2_500);
    let one = finding(7).id;
    assert_eq!(bus.finding(&walked, &one).await.unwrap().unwrap().id, one);
    for known in [one.0.as_str(), one.fingerprint()] {
        assert_eq!(bus.finding_known_as(&walked, known).await.unwrap().unwrap().id, one, "{known}");
    }
    for unknown in ["", "*", ">", "v2-0.*", "v2-0", "v2-*.0", "a b"] {
        assert_eq!(bus.finding_known_as(&walked, unknown).await.unwrap(), None, "{unknown}");
    }
}

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
    bus.work(Queue::DueSchedules, 1, &stop, |delivery| {
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

#[tokio::test]
async fn looks_that_race_are_all_counted_and_the_last_one_stays() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let [repository, other]: [RepositoryId; 2] = ["r", "other"].map(|id| id.parse().unwrap());
    let id = finding(1).id;
    let look = |at| Look { at: Timestamp(at), request: "r1".parse().unwrap() };
    let step = |at| {
        move |standing: Option<&Standing>| {
            let mut moves = standing.map(|standing| standing.moves.clone()).unwrap_or_default();
            let is_known = moves.iter().any(|moved| moved.look == look(at));
            moves.push(Move { place: Place::Tip, look: look(at), before: None });
            (!is_known).then_some(Standing { moves })
        }
    };
    let moved = (0..16).map(|at| bus.move_finding(&repository, &id, step(at)));
    assert!(futures::future::try_join_all(moved).await.unwrap().into_iter().all(|moved| moved));
    assert!(!bus.move_finding(&repository, &id, step(3)).await.unwrap(), "it comes twice");
    let ended = (0..16).map(|at| bus.end_survey(&repository, Survey { look: look(at) }));
    futures::future::try_join_all(ended).await.unwrap();
    assert_eq!(bus.last_survey(&repository).await.unwrap(), Some(Survey { look: look(15) }));

    let kept = bus.standing(&repository, &id).await.unwrap().unwrap();
    assert_eq!(kept.moves.len(), 16);
    let mut walked = Vec::new();
    bus.each_standing(&repository, |id, standing| walked.push((id, standing))).await.unwrap();
    assert_eq!(walked, [(id, kept)]);
    assert_eq!((bus.standings(None).await.unwrap().len(), bus.surveys().await.unwrap().len()), (1, 1));
    assert!(bus.standings(Some(&other)).await.unwrap().is_empty());
}

#[tokio::test]
async fn decisions_that_race_are_all_kept() {
    let server = TestServer::start().await.unwrap();
    let bus = bus(&server, "test").await;
    let repository: RepositoryId = "r".parse().unwrap();
    let secret = finding(1).secret();
    let people: Vec<String> = (0..16).map(|number| format!("person {number}")).collect();
    let decided = people.iter().map(|by| bus.decide(&repository, &secret, &TriageState::Confirmed, "", by));
    futures::future::try_join_all(decided).await.unwrap();
    let triage = bus.triage(&repository, &secret).await.unwrap();
    assert_eq!(triage.decisions.len(), 16);
    let all = bus.triages(Some(&repository)).await.unwrap();
    assert_eq!(all.get(&(repository, secret)), Some(&triage));
}
