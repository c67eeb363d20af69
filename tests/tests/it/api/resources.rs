//! The API: what it shows is what is stored, and what it does is done.

use std::collections::BTreeSet;

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use secretscan_bus::access::Identity;
use secretscan_testkit::eventually;
use secretscan_tests::{DEADLINE, System};
use serde_json::{Value, json};

use super::{ADMIN, Dashboard, SOON, STRANGER, VIEWER, scanned};

/// Asks for a scan twice and waits until it has ended; gives the ids of the request and of the repository.
async fn scan(dashboard: &Dashboard, uri: &str) -> (String, String) {
    let ask = async |uri: &str, token: &str| {
        let body = json!({ "uri": uri }).to_string();
        dashboard.send(Method::POST, "/requests", token, &[("idempotency-key", "one")], body).await
    };
    let refused = ask(uri, VIEWER).await;
    assert_eq!((refused.status, refused.json()["type"].as_str()), (403, Some("/problems/forbidden")));
    let made = ask(uri, ADMIN).await;
    assert_eq!(made.status, 202, "{}", made.body);
    let id = made.json()["requestId"].as_str().unwrap().to_owned();
    assert_eq!(ask(uri, ADMIN).await.json()["requestId"], id.as_str(), "it is asked for once");
    let ended = eventually(DEADLINE, "the request has ended", async || {
        let request = dashboard.get(&format!("/requests/{id}")).await;
        (request.json()["isEnded"] == true).then(|| request.json())
    })
    .await;
    assert_eq!(ended["state"], "Completed", "{ended}");
    eventually(SOON, "a key is used once", async || (ask("/other", ADMIN).await.status == 409).then_some(()))
        .await;
    (id, ended["repositoryId"].as_str().unwrap().to_owned())
}

/// All rows of a list, a few at a time.
async fn pages(dashboard: &Dashboard, list: &str) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = dashboard.get(&format!("{list}&limit=7{cursor}")).await;
        rows.extend(page.items());
        match page.json()["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

async fn findings_are_those_that_are_stored(
    system: &System,
    dashboard: &Dashboard,
    repository: &str,
) -> Vec<Value> {
    let stored = system.findings(&repository.parse().unwrap()).await.unwrap();
    let stored: BTreeSet<String> = stored.into_iter().map(|finding| finding.id.0).collect();
    let mut rows = Vec::new();
    for sort in ["severity", "newest", "oldest"] {
        rows = eventually(SOON, "all findings show", async || {
            let rows = pages(dashboard, &format!("/findings?sort={sort}")).await;
            (rows.len() == stored.len()).then_some(rows)
        })
        .await;
        let shown: BTreeSet<String> = rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(shown, stored, "each once, sorted by {sort}");
    }
    let list = dashboard.get("/findings").await;
    assert_eq!(list.json()["total"], json!({ "count": stored.len(), "isExact": true }));
    let tag = list.headers["etag"].to_str().unwrap();
    let same =
        dashboard.send(Method::GET, "/findings", ADMIN, &[("if-none-match", tag)], String::new()).await;
    assert_eq!((same.status, same.body.as_str()), (304, ""));
    rows
}

async fn decisions_show(dashboard: &Dashboard, rows: &[Value]) {
    let name = |row: &Value| json!({ "repositoryId": row["repositoryId"], "id": row["id"] });
    let path = |row: &Value| {
        format!("/findings/{}/{}", row["repositoryId"].as_str().unwrap(), row["id"].as_str().unwrap())
    };
    let refused =
        dashboard.post(&format!("{}/triage", path(&rows[0])), &json!({ "state": "accepted" })).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    let decision = json!({ "state": "revoked", "reason": "rotated" });
    let decided = dashboard.post(&format!("{}/triage", path(&rows[0])), &decision).await;
    assert_eq!(decided.items()[0]["by"], "ada", "{}", decided.body);
    let bulk = json!({ "findings": [name(&rows[1]), { "repositoryId": "none", "id": "v2-0.0" }],
        "decision": { "state": "false-positive" } });
    let several = dashboard.post("/findings/triage", &bulk).await.items();
    assert!(several[0]["error"].is_null() && several[1]["error"].is_string(), "{several:?}");
    eventually(SOON, "decisions show", async || {
        let list = dashboard.get("/findings?triage=revoked,false-positive&closed=true").await;
        (list.items().len() >= 2).then_some(())
    })
    .await;
    let detail = dashboard.get(&path(&rows[0])).await.json();
    assert_eq!((detail["triage"].as_str(), detail["isOpen"].as_bool()), (Some("revoked"), Some(false)));
    assert_eq!(detail["decisions"][0]["reason"], "rotated");
    assert!(
        detail["rule"]["rotate"].is_array() && detail["places"][0]["commit"] == detail["commit"],
        "{detail}"
    );
    eventually(SOON, "what was done and refused is in the audit log", async || {
        let log = dashboard.get("/audit").await.items();
        let has = |action: &str, who: &str, is_refused: bool| {
            log.iter().any(|entry| {
                entry["action"] == action && entry["who"] == who && (entry["error"] != "") == is_refused
            })
        };
        (has("findings-triage", "ada", false) && has("request-create", "vic", true)).then_some(())
    })
    .await;
}

async fn schedules_do_as_they_are_told(dashboard: &Dashboard, repository: &str) {
    let new = json!({ "id": "nightly", "repositoryId": repository, "cron": "0 0 1 1 *" });
    assert_eq!(dashboard.post("/schedules", &new).await.status, 201);
    assert_eq!(dashboard.post("/schedules", &new).await.status, 422, "there is one");
    let wrong = json!({ "repositoryId": repository, "cron": "now and then" });
    assert_eq!(dashboard.post("/schedules", &wrong).await.status, 422);
    for change in ["pause", "resume", "run-now"] {
        let changed = dashboard.post(&format!("/schedules/nightly/{change}"), &json!({})).await;
        assert_eq!(changed.status, 204, "{change}: {}", changed.body);
    }
    eventually(SOON, "the schedule shows", async || {
        let list = dashboard.get("/schedules").await.items();
        (list.len() == 1 && list[0]["last"]["requestId"].is_string()).then_some(())
    })
    .await;
    let removed = dashboard.send(Method::DELETE, "/schedules/nightly", ADMIN, &[], String::new()).await;
    assert_eq!(removed.status, 204);
    assert_eq!(dashboard.get("/schedules/nightly").await.status, 404);
}

/// The first event after one.
async fn event_after(dashboard: &Dashboard, last: u64) -> String {
    let request = Request::builder()
        .uri(format!("http://{}/api/v1/events", dashboard.address))
        .header("authorization", format!("Bearer {ADMIN}"))
        .header("last-event-id", last.to_string());
    let response = dashboard.client.request(request.body(Full::default()).unwrap()).await.unwrap();
    let frame = response.into_body().frame().await.unwrap().unwrap();
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

async fn what_failed_is_tried_again(system: &System, dashboard: &Dashboard) {
    let missing = format!("{}/nowhere", system.dir().display());
    let made = dashboard.post("/requests", &json!({ "uri": missing })).await;
    let id = made.json()["requestId"].as_str().unwrap_or_else(|| panic!("{}", made.body)).to_owned();
    let ended = async |id: &str| {
        eventually(DEADLINE, "the request has ended", async || {
            let request = dashboard.get(&format!("/requests/{id}")).await.json();
            (request["isEnded"] == true).then(|| request["state"].clone())
        })
        .await
    };
    assert_eq!(ended(&id).await, "Failed");
    let again = dashboard.post(&format!("/requests/{id}/retry"), &json!({})).await;
    let next = again.json()["requestId"].as_str().unwrap_or_else(|| panic!("{}", again.body)).to_owned();
    assert_ne!(next, id, "a request of its own");
    assert_eq!(ended(&next).await, "Failed");

    // What nobody can read is kept, can't be tried again, and goes when it is dropped.
    let client = system.client(Identity::Requester).await.unwrap();
    client.publish("secretscan.repository-scan.new", "{\"url\": 1}".into()).await.unwrap();
    client.flush().await.unwrap();
    let letter = eventually(SOON, "the dead letter shows", async || {
        let letters = dashboard.get("/dead-letters").await.items();
        letters.into_iter().find(|letter| letter["body"].as_str().is_some_and(|body| body.contains("url")))
    })
    .await;
    let path = format!("/dead-letters/{}", letter["number"]);
    assert_eq!(letter["canRetry"], false);
    let refused = dashboard.post(&format!("{path}/retry"), &json!({})).await;
    assert!((400..500).contains(&refused.status), "{}", refused.body);
    assert_eq!(dashboard.send(Method::DELETE, &path, VIEWER, &[], String::new()).await.status, 403);
    assert_eq!(dashboard.send(Method::DELETE, &path, ADMIN, &[], String::new()).await.status, 204);
    assert_eq!(dashboard.get(&path).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_shows_what_is_and_does_what_it_says() {
    let (system, dashboard, generated) = scanned(41).await;
    let (request, repository) = scan(&dashboard, generated.repository.path().to_str().unwrap()).await;
    assert_eq!(dashboard.get(&format!("/requests/{request}/batches")).await.items().len(), 3);

    let tip = String::from_utf8(generated.repository.git(&["rev-parse", "HEAD"]).unwrap()).unwrap();
    let commit = dashboard.get(&format!("/repositories/{repository}/commits/{}", tip.trim())).await;
    assert_eq!(commit.json()["state"], "Scanned", "{}", commit.body);
    for (unknown, status) in [("0".repeat(40), 404), ("x".to_owned(), 400)] {
        let answer = dashboard.get(&format!("/repositories/{repository}/commits/{unknown}")).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    let rows = findings_are_those_that_are_stored(&system, &dashboard, &repository).await;
    decisions_show(&dashboard, &rows).await;
    schedules_do_as_they_are_told(&dashboard, &repository).await;

    what_failed_is_tried_again(&system, &dashboard).await;

    let mut shown = String::new();
    for format in ["text", "json", "jsonl", "sarif", "csv", "junit", "gitlab", "html"] {
        let export = dashboard.get(&format!("/exports/{format}?closed=true")).await;
        assert_eq!(export.status, 200, "{format}: {}", export.body);
        shown += &export.body;
    }
    for list in [
        "/requests",
        "/repositories",
        "/agents",
        "/queues",
        "/dead-letters",
        "/alerts",
        "/overview",
        "/findings",
    ] {
        let list = dashboard.get(list).await;
        assert_eq!(list.status, 200, "{}", list.body);
        shown += &list.body;
    }
    let event = event_after(&dashboard, 0).await;
    assert!(event.contains("id: 1\n") && event.contains("event: repository-scan\n"), "{event}");
    // Who was away goes on after what he has seen last.
    let event = event_after(&dashboard, 3).await;
    assert!(event.contains("id: 4\n"), "{event}");
    let badge = dashboard.get(&format!("/repositories/{repository}/badge.svg")).await;
    assert!(badge.body.contains(" open</title>"), "{}", badge.body);
    for planted in &generated.planted {
        assert!(!shown.contains(&*String::from_utf8_lossy(planted.secret.as_bytes())), "{}", planted.rule_id);
    }

    // Who has no repository sees none, and none of what belongs to all.
    for (path, status) in [("/findings", 200), ("/requests", 200), ("/queues", 403), ("/dead-letters", 403)] {
        let seen = dashboard.send(Method::GET, path, STRANGER, &[], String::new()).await;
        assert_eq!(seen.status, status, "{path}: {}", seen.body);
        assert!(status != 200 || seen.items().is_empty(), "{path}");
    }
    for path in [format!("/requests/{request}"), format!("/repositories/{repository}/history")] {
        assert_eq!(dashboard.send(Method::GET, &path, STRANGER, &[], String::new()).await.status, 404);
    }
    let forget = json!({ "all": true }).to_string();
    let path = format!("/repositories/{repository}/forget");
    assert_eq!(dashboard.send(Method::POST, &path, STRANGER, &[], forget.clone()).await.status, 403);
    assert!(dashboard.post(&path, &json!({ "all": true })).await.json()["commits"].as_u64() > Some(100));
    assert_eq!(dashboard.send(Method::GET, "/findings", "wrong", &[], String::new()).await.status, 401);
}
