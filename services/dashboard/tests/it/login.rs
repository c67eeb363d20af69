//! Logins, sessions, and what they protect.

use hyper::{Method, StatusCode};

use crate::client::{Answer, Visitor};
use crate::provider::{CLIENT, Fault, Provider};
use crate::stage::{Dashboard, token};

fn leads_to(answer: &Answer, path: &str) {
    assert_eq!((answer.status, answer.location()), (StatusCode::SEE_OTHER, path), "{}", answer.body);
}

#[tokio::test]
async fn a_token_logs_in_until_one_logs_out() {
    let dashboard = Dashboard::start(|_| token("ada", "viewer", "letmein")).await;
    let mut ada = dashboard.visitor();
    leads_to(&ada.get("/?a=b").await, "/login?next=%2F%3Fa%3Db");
    let refused = ada.post("/login", &[("token", "wrong")]).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.body.contains("nobody has this token") && ada.cookies.is_empty());
    leads_to(&ada.post("/login", &[("token", "letmein"), ("next", "/?a=b")]).await, "/?a=b");
    let page = ada.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("ada") && page.body.contains("viewer"));
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert_eq!(page.headers["cache-control"], "no-store");

    // Another page can make the browser send this, with the cookie, but without the token of the session.
    let forged = ada.post("/logout", &[("csrf", "guessed")]).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    leads_to(&ada.post("/logout", &[("csrf", &page.csrf())]).await, "/login");
    assert!(ada.cookies.is_empty());
    leads_to(&ada.get("/").await, "/login?next=%2F");

    let cross = [("sec-fetch-site", "cross-site")];
    let forged = ada.send(Method::POST, "/login", &cross, "token=letmein".into()).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN, "a login that another page sends");
}

#[tokio::test]
async fn who_guesses_waits() {
    let text = token("ada", "viewer", "letmein");
    let dashboard = Dashboard::start(|_| format!("[auth]\nfailures_per_address = 3\n{text}")).await;
    let mut guesser = dashboard.visitor();
    let mut refused = Vec::new();
    for _ in 0..4 {
        refused.push(guesser.post("/login", &[("token", "wrong")]).await.status);
    }
    // Only a new minute between them lets more be tried.
    assert!(refused.contains(&StatusCode::TOO_MANY_REQUESTS), "{refused:?}");
}

#[tokio::test]
async fn a_link_logs_in_once() {
    let dashboard = Dashboard::start(|_| String::new()).await;
    let (mut first, mut second) = (dashboard.visitor(), dashboard.visitor());
    assert!(first.get("/login").await.body.contains("secretscan up"));
    leads_to(&first.get(&dashboard.link).await, "/");
    assert!(first.get("/").await.body.contains("admin"));
    let used = second.get(&dashboard.link).await;
    assert_eq!(used.status, StatusCode::UNAUTHORIZED);
    assert!(used.body.contains("this link was used"));
}

/// A dashboard that asks a provider, which has a file with the secret of the client.
async fn with_provider(provider: &Provider) -> Dashboard {
    Dashboard::start(|dir| {
        let file = dir.join("client-secret");
        std::fs::write(&file, &provider.client_secret).unwrap();
        format!(
            "[auth.oidc]\nissuer = '{}'\nclient_id = '{CLIENT}'\nclient_secret_file = '{}'\n\
             [auth.oidc.groups.security]\nrole = 'admin'\n",
            provider.issuer,
            file.display()
        )
    })
    .await
}

/// Goes to the provider and comes back.
async fn through_provider(visitor: &mut Visitor) -> Answer {
    let begun = visitor.get("/login/oidc?next=/findings").await;
    assert_eq!(begun.status, StatusCode::SEE_OTHER, "{}", begun.body);
    let agreed = visitor.get(begun.location()).await;
    assert_eq!(agreed.status, StatusCode::SEE_OTHER, "{}", agreed.body);
    visitor.get(agreed.location()).await
}

#[tokio::test]
async fn a_provider_says_who_it_is() {
    let provider = Provider::start().await;
    let dashboard = with_provider(&provider).await;
    assert!(dashboard.dir.path().join("client-secret").exists());
    let mut ada = dashboard.visitor();
    let refused = through_provider(&mut ada).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(refused.body.contains("none of your groups"), "{}", refused.body);

    *provider.groups.lock().unwrap() = vec!["security".into()];
    leads_to(&through_provider(&mut ada).await, "/findings");
    let page = ada.get("/").await;
    assert!(page.body.contains("ada@example.com") && page.body.contains("admin"));
}

#[tokio::test]
async fn what_a_provider_should_not_say_is_not_believed() {
    let provider = Provider::start().await;
    *provider.groups.lock().unwrap() = vec!["security".into()];
    let dashboard = with_provider(&provider).await;
    for fault in [Fault::OtherNonce, Fault::OtherAudience, Fault::OtherKey, Fault::Expired] {
        *provider.fault.lock().unwrap() = fault;
        let mut visitor = dashboard.visitor();
        let refused = through_provider(&mut visitor).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{fault:?}");
        assert!(refused.body.contains("be trusted"), "{fault:?}: {}", refused.body);
    }
    *provider.fault.lock().unwrap() = Fault::None;

    // Somebody else's way back, in a browser that has begun another login or none: it would be his session.
    let mut attacker = dashboard.visitor();
    let begun = attacker.get("/login/oidc").await;
    let back = attacker.get(begun.location()).await;
    let mut victim = dashboard.visitor();
    assert_eq!(victim.get(back.location()).await.status, StatusCode::UNAUTHORIZED);
    victim.get("/login/oidc").await;
    let refused = victim.get(back.location()).await;
    assert!(refused.body.contains("not begun here"), "{}", refused.body);
    // The one who began it may end it, once.
    leads_to(&attacker.get(back.location()).await, "/");
    assert_eq!(attacker.get(back.location()).await.status, StatusCode::UNAUTHORIZED);
}
