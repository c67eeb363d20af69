//! `secretscan discover` against a host that answers as GitHub, GitLab, Gitea and Bitbucket document it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Json, Response};
use secretscan_model::Schedule;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;

type Answer = Box<dyn Fn(&str, &str) -> Option<Response> + Send + Sync>;

/// A Git host on this machine.
struct Host {
    url: String,
    asked: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

struct Shared {
    url: String,
    asked: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    answer: Answer,
}

impl Host {
    /// `answer` gets the host's address, and what is asked for: path and query.
    async fn start(answer: impl Fn(&str, &str) -> Option<Response> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::default();
        let shared = Shared { url: url.clone(), asked: Arc::clone(&asked), answer: Box::new(answer) };
        let router = Router::new().fallback(answered).with_state(Arc::new(shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<(String, HeaderMap)> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

async fn answered(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    let asked = uri.path_and_query().unwrap().to_string();
    shared.asked.lock().unwrap().push((asked.clone(), headers));
    let not_found =
        || (axum::http::StatusCode::NOT_FOUND, Json(json!({"message": "Not Found"}))).into_response();
    (shared.answer)(&shared.url, &asked).unwrap_or_else(not_found)
}

fn status(code: u16, header: (&'static str, String)) -> Response {
    let code = axum::http::StatusCode::from_u16(code).unwrap();
    (code, [header], Json(json!({"message": "no"}))).into_response()
}

/// A page, and the header that names others.
fn page(links: String, repositories: Value) -> Response {
    ([("link", links)], Json(repositories)).into_response()
}

fn of_github(name: &str, is_archived: bool, is_fork: bool) -> Value {
    json!({
        "id": 1, "name": name, "full_name": format!("acme/{name}"), "private": true, "fork": is_fork,
        "archived": is_archived, "disabled": false, "default_branch": "main",
        "clone_url": format!("https://git.example.org/acme/{name}.git"),
    })
}

fn token() -> String {
    ["not", "a", "real", "token"].concat()
}

fn token_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}\n", token())).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn each_repository_of_an_organization_gets_a_schedule_once() {
    const FIRST: &str = "/orgs/acme/repos?type=all&sort=full_name&per_page=50";
    let refused = std::sync::atomic::AtomicBool::new(false);
    let later = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_later = Arc::clone(&later);
    let host = Host::start(move |url, asked| match asked {
        FIRST if !refused.swap(true, std::sync::atomic::Ordering::Relaxed) => {
            Some(status(403, ("retry-after", "1".into())))
        }
        FIRST => {
            let links = format!(
                "<{url}/organizations/7/repos?page=2>; rel=\"next\", <{url}/organizations/7/repos?page=2>; rel=\"last\""
            );
            let (one, old) = (of_github("one", false, false), of_github("old", true, false));
            Some(page(links, json!([one, old, of_github("copy", false, true)])))
        }
        "/organizations/7/repos?page=2" => {
            let links = format!("<{url}{FIRST}>; rel=\"first\"");
            // The first one has moved here while the first page was read.
            let mut repositories = vec![of_github("one", false, false), of_github("two", false, false)];
            if is_later.load(std::sync::atomic::Ordering::Relaxed) {
                repositories.push(of_github("three", false, false));
            }
            Some(page(links, json!(repositories)))
        }
        _ => None,
    })
    .await;
    let system = System::start().await;
    let controller = system.controller();
    let file = token_file();
    let discover = [
        "discover",
        "github-org",
        "acme",
        "--api",
        &host.url,
        "--token-file",
        file.path().to_str().unwrap(),
        "--format",
        "json",
    ];

    let listed = system.run(&[&discover[..], &["--archived", "--forks"]].concat());
    assert_eq!(listed.code, 0, "{}", listed.shown());
    assert!(listed.err.contains("allows no more requests for now: going on in 1 s"), "{}", listed.shown());
    let names: Vec<_> = listed.json().as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["acme/one", "acme/old", "acme/copy", "acme/two"]);
    assert!(
        system.bus.schedules().await.unwrap().is_empty()
            && system.bus.repositories().await.unwrap().is_empty()
    );
    let (_, headers) = host.asked().pop().unwrap();
    assert_eq!(headers["authorization"], format!("Bearer {}", token()));
    assert_eq!(headers["x-github-api-version"], "2022-11-28");

    let schedule = ["--schedule", "0 3 * * *", "--time-zone", "Europe/Paris", "--on-unknown", "alert"];
    let scheduled = system.run(&[&discover[..], &schedule[..]].concat());
    assert_eq!(scheduled.code, 0, "{}", scheduled.shown());
    assert!(
        scheduled.err.contains("4 repositories of acme: 2 left out, 2 scheduled now, 0 scheduled before"),
        "{}",
        scheduled.shown()
    );
    let schedules = system.bus.schedules().await.unwrap();
    let plan = |schedule: &Schedule| (schedule.plan.cron.clone(), schedule.plan.jitter_s);
    assert_eq!(schedules.iter().map(plan).collect::<Vec<_>>(), vec![("0 3 * * *".to_owned(), 3_600); 2]);
    assert_ne!(schedules[0].due, schedules[1].due, "both at once");
    assert_eq!(system.bus.repositories().await.unwrap().len(), 2);

    later.store(true, std::sync::atomic::Ordering::Relaxed);
    let again = system.run(&[&discover[..], &schedule[..]].concat());
    assert_eq!(again.code, 0, "{}", again.shown());
    let states: Vec<_> = again.json().as_array().unwrap().iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, ["known", "known", "scheduled"]);
    assert_eq!(system.bus.schedules().await.unwrap().len(), 3);
    for ran in [listed, scheduled, again] {
        assert!(!ran.shown().contains(&token()));
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_hosts_list_in_their_own_forms() {
    let gitlab = json!([{
        "id": 3, "path_with_namespace": "acme/tools/build", "archived": false, "empty_repo": false,
        "http_url_to_repo": "https://gitlab.example.org/acme/tools/build.git",
        "forked_from_project": {"id": 1, "path_with_namespace": "other/build"},
    }]);
    let bitbucket = json!({"pagelen": 50, "values": [{
        "full_name": "acme/app", "scm": "git", "is_private": true,
        "links": {"clone": [
            {"name": "https", "href": "https://ada@bitbucket.org/acme/app.git"},
            {"name": "ssh", "href": "git@bitbucket.org:acme/app.git"},
        ]},
    }]});
    let host = Host::start(move |url, asked| match asked.split_once('?').unwrap().0 {
        "/api/v4/groups/acme%2Ftools/projects" => Some(page(String::new(), gitlab.clone())),
        "/api/v1/orgs/acme/repos" => Some(page(String::new(), json!([of_github("site", true, false)]))),
        "/2.0/repositories/acme" if asked.ends_with("page=2") => {
            Some(Json(bitbucket.clone()).into_response())
        }
        "/2.0/repositories/acme" => Some(
            Json(json!({"values": [], "next": format!("{url}/2.0/repositories/acme?page=2")}))
                .into_response(),
        ),
        _ => None,
    })
    .await;
    let file = token_file();
    let cases = [
        ("gitlab-group", "acme/tools", "/api/v4", "private-token", token(), "acme/tools/build"),
        ("gitea-org", "acme", "/api/v1/", "authorization", format!("token {}", token()), "acme/site"),
        ("bitbucket-workspace", "acme", "/2.0", "authorization", format!("Bearer {}", token()), "acme/app"),
    ];
    for (kind, owner, path, header, value, name) in cases {
        let api = format!("{}{path}", host.url);
        let file = file.path().to_str().unwrap();
        let arguments =
            ["discover", kind, owner, "--api", &api, "--token-file", file, "--forks", "--archived"];
        let ran = tokio::task::block_in_place(|| run_at("nats://127.0.0.1:1", &arguments));
        assert!(ran.code == 0 && ran.out.contains(name), "{}", ran.shown());
        assert!(!ran.shown().contains(&token()) && !ran.out.contains("ada@"), "{}", ran.shown());
        assert!(host.asked().iter().all(|(_, headers)| headers[header] == value), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_said_with_what_to_do() {
    let host = Host::start(|_, asked| match asked.split('?').next().unwrap() {
        "/orgs/closed/repos" => Some(status(401, ("x-a", String::new()))),
        "/orgs/away/repos" => Some(page(
            "<http://127.0.0.1:1/steal>; rel=\"next\"".into(),
            json!([of_github("a", false, false)]),
        )),
        "/orgs/odd/repos" => Some(Json(json!({"a": 1})).into_response()),
        "/orgs/late/repos" => Some(status(429, ("retry-after", "99999".into()))),
        _ => None,
    })
    .await;
    let cases = [
        ("closed", "does not take the token"),
        ("away", "goes on at another address"),
        ("odd", "something else than a list of repositories"),
        ("late", "waiting for 99999 s would take too long"),
        ("nobody", "shows no nobody to a stranger"),
    ];
    for (owner, message) in cases {
        let arguments = ["discover", "github-org", owner, "--api", &host.url];
        let ran = tokio::task::block_in_place(|| run_at("nats://127.0.0.1:1", &arguments));
        assert!(ran.code == 2 && ran.err.contains(message) && ran.err.contains("hint:"), "{}", ran.shown());
    }
    let bad_cron = ["discover", "gitea-org", "acme", "--api", &host.url, "--schedule", "61 * * * *"];
    assert_eq!(run_at("nats://127.0.0.1:1", &bad_cron).code, 2);
    assert_eq!(run_at("nats://127.0.0.1:1", &["discover", "gitea-org", "acme"]).code, 2);
    assert!(host.asked().iter().all(|(asked, _)| !asked.contains("steal") && !asked.starts_with("/api")));
}
