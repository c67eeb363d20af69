//! Findings, where they stand, and what people decided.

use secretscan_model::lifecycle::Move;
use secretscan_model::{Finding, Look, Place, RepositoryId, Standing, Survey, Timestamp, TriageState};
use secretscan_testkit::TestServer;

use crate::bus;

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
