//! Every page, over records of every kind.

use std::time::Duration;

use hyper::StatusCode;
use secretscan_bus::agents::Presence;
use secretscan_bus::{Stop, now};
use secretscan_model::lifecycle::{Missed, OnUnknown, ScheduleEvent, SchedulePlan};
use secretscan_model::{
    Priority, RepositoryId, RepositoryUri, RequestId, Role, ScanEvent, Schedule, UriPolicy,
};
use secretscan_proto::v1;
use secretscan_testkit::eventually;

use crate::client::Visitor;
use crate::index::finding;
use crate::stage::{Dashboard, token};

const SOON: Duration = Duration::from_secs(20);

/// Records of every kind; gives the repository and the request.
async fn fill(dashboard: &Dashboard) -> (RepositoryId, RequestId) {
    let bus = &dashboard.bus;
    let uri = RepositoryUri::parse("https://github.com/acme/shop", UriPolicy::default()).unwrap();
    let repository = bus.know_repository(&uri).await.unwrap();
    bus.record_findings(&repository, (0..120).map(finding).collect()).await.unwrap();
    let app = RepositoryUri::parse("https://github.com/acme/app", UriPolicy::default()).unwrap();
    let other = bus.know_repository(&app).await.unwrap();
    bus.record_findings(&other, vec![finding(3)]).await.unwrap();
    let request: RequestId = "the-request".parse().unwrap();
    let events = [
        ScanEvent::StartValidation,
        ScanEvent::Accept { repository: repository.clone(), uri: uri.fetch().to_owned() },
    ];
    bus.create_scan(&request, vec![], Priority::OnDemand, "ada".into(), &events).await.unwrap();
    let plan = SchedulePlan {
        repository: repository.clone(),
        cron: "0 3 * * *".into(),
        time_zone: "UTC".into(),
        jitter_s: 0,
        refs: vec![],
        on_unknown: OnUnknown::Both,
        missed: Missed::Once,
        requester: "ada".into(),
    };
    let schedule = Schedule {
        id: "nightly".parse().unwrap(),
        plan,
        created: now(),
        is_paused: false,
        next_run: 1,
        due: None,
        last: None,
        asked: None,
    };
    bus.create_schedule(&schedule).await.unwrap();
    bus.apply_schedule(&schedule.id, &ScheduleEvent::Pause).await.unwrap();
    let entry = v1::AuditEntry {
        at: now().0,
        who: "ada".into(),
        action: "request-create".into(),
        ..Default::default()
    };
    bus.audit(&entry).await.unwrap();
    (repository, request)
}

async fn shows(visitor: &mut Visitor, path: &str, text: &str) {
    let answer = visitor.get(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
    assert!(answer.body.contains(text), "{path} lacks {text:?}: {}", answer.body);
}

#[tokio::test]
async fn every_page_shows_what_the_buckets_hold() {
    let (ada, eve) = (token("ada", "admin", "letmein"), token("eve", "viewer", "please"));
    let teams = "teams = ['app']\n[auth.teams.app]\nrepositories = ['github.com/acme/app']\n";
    let dashboard = Dashboard::start(|_| format!("{ada}{eve}{teams}")).await;
    let mut ada = dashboard.visitor();
    ada.post("/login", &[("token", "letmein")]).await;
    for (path, text) in [
        ("/", "Nothing is scanned yet"),
        ("/findings", "No open findings"),
        ("/findings/shared", "No secret is shared"),
        ("/requests", "Nothing was asked for yet"),
        ("/repositories", "No repository is known yet"),
        ("/schedules", "No schedule"),
        ("/agents", "No agent lives"),
        ("/dead-letters", "No dead letters"),
        ("/audit", "Nothing was done yet"),
    ] {
        shows(&mut ada, path, text).await;
    }

    let (repository, request) = fill(&dashboard).await;
    let stop = Stop::new();
    let presence = Presence::new(dashboard.bus.clone(), Role::BatchAgent, 2, "host-7".into());
    let slot = presence.slot(Priority::OnDemand).unwrap();
    let _held = presence.hold("the-request.b-1".into(), slot, false).await;
    let keeping = tokio::spawn({
        let (presence, stop) = (presence.clone(), stop.clone());
        async move { presence.keep(&stop).await }
    });
    eventually(SOON, "the agent, the findings and the audit entry show", async || {
        let has = |answer: crate::client::Answer, text: &str| answer.body.contains(text).then_some(());
        has(ada.get("/agents").await, "host-7")?;
        has(ada.get("/audit").await, "request-create")?;
        has(ada.get("/findings").await, "121 findings")
    })
    .await;
    let (of_repository, of_request) = (format!("/repositories/{repository}"), format!("/requests/{request}"));
    let of_finding = format!("/findings/{repository}/{}", finding(3).id.0);
    for (path, text) in [
        ("/", "open findings"),
        ("/findings?severity=high&repository=github.com/acme/shop&path=a&sort=newest", "Next page"),
        ("/findings?rule=none", "No finding is like that"),
        ("/findings/shared", "github.com/acme/app, github.com/acme/shop"),
        (of_finding.as_str(), "https://github.com/acme/shop/commit/"),
        ("/requests?state=Queued", "github.com/acme/shop"),
        ("/requests/new", "What to do"),
        (of_request.as_str(), "It waits for its turn"),
        ("/requests/check?repository=github.com/acme/shop", "is known"),
        ("/requests/check?repository=nonsense", "error"),
        ("/repositories?q=shop", "github.com/acme/shop"),
        (of_repository.as_str(), "nightly"),
        ("/schedules", "paused"),
        ("/schedules/check?cron=0+3+*+*+*&time_zone=UTC", "The first run is at"),
        ("/agents", "the-request.b-1"),
    ] {
        shows(&mut ada, path, text).await;
    }

    // A second page goes on where the first one ends.
    let first = ada.get("/findings").await.body;
    let (_, rest) = first.split_once("/findings?cursor=").unwrap();
    let next = rest.split('"').next().unwrap();
    shows(&mut ada, &format!("/findings?cursor={next}"), "First page").await;
    assert_eq!(ada.get("/findings?cursor=wrong").await.status, StatusCode::BAD_REQUEST);

    badge_opens_nothing_else(&dashboard, &mut ada, &of_repository).await;

    // Of other teams there is nothing to see, and nothing to do.
    let mut eve = dashboard.visitor();
    eve.post("/login", &[("token", "please")]).await;
    shows(&mut eve, "/findings", "1 finding<").await;
    for path in [of_repository.as_str(), of_request.as_str(), of_finding.as_str()] {
        assert_eq!(eve.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let forget = format!("{of_repository}/forget");
    let csrf = eve.get("/").await.csrf();
    let form = [("csrf", csrf.as_str()), ("all", "1")];
    assert_eq!(eve.post(&forget, &form).await.status, StatusCode::FORBIDDEN);
    for path in ["/requests/new", "/audit", "/dead-letters"] {
        assert_eq!(eve.get(path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    let pick = format!("{repository}.{}", finding(3).id.0);
    let form = [("csrf", csrf.as_str()), ("pick", pick.as_str()), ("state", "revoked")];
    assert_eq!(eve.post("/findings/triage", &form).await.status, StatusCode::FORBIDDEN);

    // What ada decides stands on the page that she decided on.
    let csrf = ada.get("/findings").await.csrf();
    let form = [
        ("csrf", csrf.as_str()),
        ("pick", pick.as_str()),
        ("state", "false-positive"),
        ("reason", "<b>a test</b>"),
        ("back", of_finding.as_str()),
    ];
    let decided = ada.post("/findings/triage", &form).await;
    assert_eq!(decided.location(), of_finding);
    shows(&mut ada, &of_finding, "&lt;b&gt;a test&lt;").await;
    stop.cancel();
    keeping.await.unwrap();
    assert!(dashboard.index.is_caught_up());
}

/// A README shows the badge to who has not logged in.
async fn badge_opens_nothing_else(dashboard: &Dashboard, ada: &mut Visitor, of_repository: &str) {
    let page = ada.get(of_repository).await.body;
    let (_, rest) = page.split_once(".svg?key=").unwrap();
    let key = rest.split(['"', ')']).next().unwrap();
    let mut anybody = dashboard.visitor();
    let badge = async |visitor: &mut Visitor, of: &str, key: &str| {
        visitor.get(&format!("/api/v1{of}/badge.svg?key={key}")).await.status
    };
    assert_eq!(badge(&mut anybody, of_repository, key).await, StatusCode::OK);
    assert_eq!(badge(&mut anybody, "/repositories/another", key).await, StatusCode::UNAUTHORIZED);
    for wrong in ["", "AAAAAAAAAAAAAAAAAAAAAA", &key[..20]] {
        assert_eq!(badge(&mut anybody, of_repository, wrong).await, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    let other = anybody.get(&format!("/api/v1{of_repository}?key={key}")).await.status;
    assert_eq!(other, StatusCode::UNAUTHORIZED);
}
