//! Every page of the dashboard that a link leads to, as an admin sees it, with every form in which findings can be had.

use std::collections::{BTreeSet, VecDeque};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, SET_COOKIE};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use secretscan_tests::System;
use secretscan_tests::dashboard::Dashboard;

/// More pages than these are no test of this.
const MOST: usize = 2_000;
/// What no link leads to.
const MORE: [&str; 12] = [
    "/requests/new",
    "/api/v1/overview",
    "/api/v1/findings?closed=true&limit=500",
    "/api/v1/shared-secrets",
    "/api/v1/requests?limit=500",
    "/api/v1/repositories",
    "/api/v1/schedules",
    "/api/v1/agents",
    "/api/v1/queues",
    "/api/v1/dead-letters",
    "/api/v1/alerts",
    "/api/v1/audit",
];

/// All of them, by path.
pub async fn all(system: &System) -> Vec<(String, Bytes)> {
    let dashboard = Dashboard::start(system).await.unwrap();
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let login = Request::builder()
        .method(Method::POST)
        .uri(format!("{}/login", dashboard.url))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::from("token=ada"))
        .unwrap();
    let answer = client.request(login).await.unwrap();
    let cookie = answer.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let mut waiting: VecDeque<String> = ["/".to_owned()].into();
    waiting.extend(MORE.map(str::to_owned));
    let mut known: BTreeSet<String> = waiting.iter().cloned().collect();
    let mut pages = Vec::new();
    while let Some(path) = waiting.pop_front() {
        let request = Request::get(format!("{}{path}", dashboard.url)).header(COOKIE, &cookie);
        let request = match path.starts_with("/api/") {
            true => request.header(AUTHORIZATION, "Bearer ada").header(ACCEPT, "*/*"),
            false => request,
        };
        let answer = client.request(request.body(Full::default()).unwrap()).await.unwrap();
        assert!(
            answer.status().is_success() || answer.status().is_redirection(),
            "{path}: {}",
            answer.status()
        );
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        for link in links(&String::from_utf8_lossy(&body)) {
            if known.insert(link.clone()) {
                waiting.push_back(link);
            }
        }
        pages.push((path, body));
        assert!(pages.len() < MOST, "there is no end of pages: {:?}", waiting.front());
    }
    dashboard.stop().await.unwrap();
    pages
}

/// Where a page leads to, within the dashboard.
fn links(page: &str) -> Vec<String> {
    let plain = page.replace("&amp;", "&").replace("&#x2f;", "/").replace("&#x27;", "'");
    let links = ["href=\"/", "src=\"/"].into_iter().flat_map(|start| plain.split(start).skip(1));
    links
        .filter_map(|rest| rest.split(['"', '#']).next())
        .map(|rest| format!("/{rest}"))
        .filter(|link| !link.starts_with("/login"))
        .collect()
}
