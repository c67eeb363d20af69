//! The copy of the buckets.

use std::collections::BTreeSet;
use std::time::Duration;

use secretscan_bus::{Bus, NatsConfig, Stop, now};
use secretscan_dashboard::auth::Scope;
use secretscan_dashboard::index::queries::findings::{self, FindingFilter, FindingOrder};
use secretscan_dashboard::index::{Index, IndexError, feed};
use secretscan_model::lifecycle::{Look, Move};
use secretscan_model::{Finding, Place, RepositoryId, Standing, Timestamp, TriageState};
use secretscan_testkit::{TestServer, eventually};

const SOON: Duration = Duration::from_secs(20);

/// A finding that is no other one's.
pub fn finding(number: u32) -> Finding {
    serde_json::from_value(serde_json::json!({
        "id": format!("v2-{number:032x}.0123456789abcdef"), "rule_id": "r", "description": "", "severity": "high",
        "secret_hash": format!("{number:032x}{number:032x}"), "path": [97],
        "occurrences": [{
            "corrected_date": 1, "commit": format!("{number:040x}"), "line": 1, "column": 1, "end_line": 1,
            "end_column": 2, "author": { "name": "", "email": "", "time": 1 }, "excerpt": "",
        }],
    }))
    .unwrap()
}

/// How many findings have this standing and triage, and are open or not.
async fn count(index: &Index, triage: &'static str, is_open: bool) -> i64 {
    let sql = "SELECT coalesce(sum(count), 0) FROM finding_counts WHERE triage = ?1 AND is_open = ?2";
    index.read(move |db| db.query_row(sql, (triage, is_open), |row| row.get(0))).await.unwrap()
}

#[tokio::test]
async fn the_index_follows_the_buckets_over_restarts() {
    let mut server = TestServer::start().await.unwrap();
    let config = NatsConfig { url: server.url().to_owned(), name: "test".into(), ..NatsConfig::default() };
    let bus = Bus::connect(&config).await.unwrap();
    let repository: RepositoryId = "r".parse().unwrap();
    // More than a page.
    bus.record_findings(&repository, (0..2_500).map(finding).collect()).await.unwrap();

    let dir = tempfile::tempdir().unwrap();
    let (index, writer) = Index::create(dir.path()).unwrap();
    let stop = Stop::new();
    let unread = index.read_here(|_| Ok(()));
    assert!(matches!(unread, Err(IndexError::Building)), "some of the records are no list of all");
    let feeding = tokio::spawn(feed(bus.clone(), index.clone(), writer, stop.clone()));
    index.caught_up().await;
    assert_eq!(count(&index, "open", true).await, 2_500);

    let filter = FindingFilter { repository: Some("r".into()), ..FindingFilter::default() };
    let (mut seen, mut cursor) = (BTreeSet::new(), None);
    loop {
        let page = findings::list(&index, &Scope::All, &filter, FindingOrder::Newest, 400, cursor.as_deref())
            .await
            .unwrap();
        assert!(page.rows.iter().all(|row| seen.insert(row.id.clone())), "each is shown once");
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 2_500, "though all were seen at one time");
    assert_eq!(findings::count(&index, &Scope::All, &filter).await.unwrap().count, 2_500);
    let none = Scope::Only(std::sync::Arc::default());
    assert_eq!(findings::count(&index, &none, &filter).await.unwrap().count, 0);
    assert!(findings::get(&index, &none, "r", &finding(7).id.0).await.unwrap().is_none());

    let look = Look { at: Timestamp(2), request: "q".parse().unwrap() };
    let moved = |place| {
        let look = look.clone();
        move |_: Option<&Standing>| {
            Some(Standing { moves: vec![Move { place, look: look.clone(), before: None }] })
        }
    };
    bus.move_finding(&repository, &finding(6).id, moved(Place::Tip)).await.unwrap();
    eventually(SOON, "where it stands shows", async || {
        let shown = findings::get(&index, &Scope::All, "r", &finding(6).id.0).await.unwrap().unwrap();
        (shown.is_at_tip && shown.standing == "open").then_some(())
    })
    .await;

    let secret = finding(7).secret();
    bus.decide(&repository, &secret, &TriageState::Revoked, "rotated", "ada").await.unwrap();
    eventually(SOON, "the decision shows", async || {
        (count(&index, "revoked", false).await == 1).then_some(())
    })
    .await;
    assert_eq!(count(&index, "open", true).await, 2_499);

    server.kill().await.unwrap();
    server.restart().await.unwrap();
    // Long enough that the index is back before: it shows what is accepted until then only.
    let expires = Timestamp(now().0 + 10_000);
    eventually(SOON, "it can be decided again", async || {
        let accepted = TriageState::Accepted { expires };
        bus.decide(&repository, &finding(8).secret(), &accepted, "a test system", "ada").await.ok()
    })
    .await;
    eventually(SOON, "it goes on after a restart of the server", async || {
        (count(&index, "accepted", false).await == 1).then_some(())
    })
    .await;
    eventually(SOON, "what was accepted for a time is open again", async || {
        (count(&index, "open", true).await == 2_499).then_some(())
    })
    .await;
    stop.cancel();
    feeding.await.unwrap();
}
