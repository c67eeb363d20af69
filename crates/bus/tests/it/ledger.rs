//! The ledger of scanned commits, when many write it.

use std::time::Duration;

use futures::TryStreamExt;
use secretscan_bus::Bus;
use secretscan_bus::ledger::{ForgetError, LedgerCache, Wanted};
use secretscan_model::ledger::CommitState;
use secretscan_model::{ChosenRules, CommitId, RepositoryId};
use secretscan_testkit::{TestServer, eventually};

use crate::{bus, commits, key};

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
