//! What the API does with what the configuration names: owners at Git hosts, templates of reports.

use axum::Json;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::Method;
use secretscan_testkit::eventually;
use secretscan_tests::{DEADLINE, Size, System};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{ADMIN, Dashboard, STRANGER, VIEWER};

fn token() -> String {
    ["not", "a", "real", "token"].concat()
}

/// The second page of the list is asked for as the first one says.
async fn listed(headers: HeaderMap, Query(query): Query<Vec<(String, String)>>) -> Response {
    if headers["authorization"] != format!("token {}", token()) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let one = |name: &str, is_archived: bool, is_fork: bool| {
        json!({ "full_name": format!("acme/{name}"), "clone_url": format!("https://git.example.org/acme/{name}.git"),
            "archived": is_archived, "fork": is_fork })
    };
    if query.contains(&("page".into(), "2".into())) {
        return Json(json!([one("two", false, false)])).into_response();
    }
    let host = headers["host"].to_str().unwrap();
    let link = format!("<http://{host}/api/v1/orgs/acme/repos?page=2>; rel=\"next\"");
    (
        [("link", link)],
        Json(json!([one("one", false, false), one("old", true, false), one("copy", false, true)])),
    )
        .into_response()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_repositories_of_an_owner_get_schedules() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().route("/api/v1/orgs/acme/repos", get(listed));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (file, wrong) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    std::fs::write(file.path(), token()).unwrap();
    std::fs::write(wrong.path(), "another").unwrap();
    let owner = |name: &str, owner: &str, file: &tempfile::NamedTempFile| {
        let (api, file) = (format!("http://{address}/api/v1"), file.path());
        format!(
            "[discovery.{name}]\nkind = 'gitea-org'\nowner = '{owner}'\napi = '{api}'\ntoken_file = {file:?}\n"
        )
    };
    let sections =
        [owner("acme", "acme", &file), owner("closed", "acme", &wrong), owner("none", "none", &file)];
    let system = System::start(Size::default()).await.unwrap();
    let dashboard = Dashboard::start_with(&system, "", &sections.concat()).await;
    let states = |page: &Value| -> Vec<(String, String)> {
        let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        page["items"].as_array().unwrap().iter().map(|row| (text(row, "name"), text(row, "state"))).collect()
    };
    let is = |name: &str, state: &str| (name.to_owned(), state.to_owned());

    let list = dashboard.post("/discoveries/acme", &json!({ "archived": true, "forks": true })).await;
    assert_eq!(list.status, 200, "{}", list.body);
    let all = ["acme/one", "acme/old", "acme/copy"].map(|name| is(name, "listed"));
    assert_eq!(states(&list.json()), all);
    assert!(system.bus.schedules().await.unwrap().is_empty());

    let schedule = json!({ "cron": "0 3 * * *", "timeZone": "Europe/Paris", "onUnknown": "alert" });
    for state in ["scheduled", "known"] {
        let first = dashboard.post("/discoveries/acme", &json!({ "schedule": schedule })).await.json();
        assert_eq!(states(&first), [is("acme/one", state)], "{first}");
        let second = json!({ "schedule": schedule, "cursor": first["next"] });
        let second = dashboard.post("/discoveries/acme", &second).await.json();
        assert_eq!(states(&second), [is("acme/two", state)], "{second}");
        assert!(second.get("next").is_none(), "{second}");
    }
    let schedules = system.bus.schedules().await.unwrap();
    let plans: Vec<_> =
        schedules.iter().map(|one| (one.plan.time_zone.as_str(), one.plan.jitter_s)).collect();
    assert_eq!(plans, [("Europe/Paris", 3_600); 2]);

    let away = json!({ "cursor": "http://127.0.0.1:1/steal" });
    for (name, token, body, status) in [
        ("acme", VIEWER, json!({}), 403),
        ("acme", STRANGER, json!({}), 403),
        ("nobody", ADMIN, json!({}), 404),
        ("acme", ADMIN, json!({ "schedule": { "cron": "61 * * * *" } }), 400),
        ("acme", ADMIN, away, 502),
        ("closed", ADMIN, json!({}), 502),
        ("none", ADMIN, json!({}), 502),
    ] {
        let path = format!("/discoveries/{name}");
        let answer = dashboard.send(Method::POST, &path, token, &[], body.to_string()).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
        assert!(!answer.body.contains(&self::token()), "{}", answer.body);
    }
    let audit = eventually(DEADLINE, "the audit log has it", async || {
        let audit = dashboard.get("/audit").await;
        audit.body.contains("0 3 * * *: 1 scheduled").then_some(audit.body)
    })
    .await;
    assert!(!audit.contains(&token()), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn findings_are_exported_by_templates_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("digest.md.j2");
    std::fs::write(
        &file,
        "{% for finding in findings %}* {{ finding.ruleId }}\n{% else %}nothing\n{% endfor %}",
    )
    .unwrap();
    let keys = format!("report_templates.digest = {file:?}");
    let system = System::start(Size::default()).await.unwrap();
    let dashboard = Dashboard::start_with(&system, &keys, "").await;
    let digest = dashboard.get("/exports/templates/digest").await;
    assert_eq!((digest.status, digest.body.as_str()), (200, "nothing\n"));
    assert_eq!(digest.headers["content-type"], "text/markdown; charset=utf-8");
    let name = digest.headers["content-disposition"].to_str().unwrap();
    assert_eq!(name, "attachment; filename=\"secretscan-findings.md\"");
    assert_eq!(dashboard.get("/exports/templates/other").await.status, 404);
}
