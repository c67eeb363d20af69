//! The program.
#![allow(clippy::unwrap_used, reason = "tests")]

use secretscan_operator::{ConnectError, KubernetesSettings, connect};
use secretscan_testkit::{Certificates, service};

/// Where nobody listens: it waits for the API server, and is ready meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_a_service_like_the_others() {
    let url = [("SECRETSCAN_KUBERNETES__URL", "http://127.0.0.1:1")];
    service::behaves(env!("CARGO_BIN_EXE_secretscan-operator"), &url).await;
}

#[tokio::test]
async fn a_token_goes_to_no_unencrypted_address() {
    let certificates = Certificates::new().unwrap();
    let token_file = certificates.path("token");
    let settings = |url: &str| KubernetesSettings {
        url: url.into(),
        ca_file: certificates.path("ca.pem"),
        token_file: token_file.clone(),
    };
    assert!(
        matches!(connect(&settings("https://example.org")), Err(ConnectError::Token { .. })),
        "it is missing"
    );
    std::fs::write(&token_file, "token").unwrap();
    for url in [
        "https://10.0.0.1:6443",
        "https://kubernetes.default.svc/",
        "http://127.0.0.1:8001",
        "http://[::1]:1",
    ] {
        assert!(connect(&settings(url)).is_ok(), "{url}");
    }
    for url in
        ["http://10.0.0.1", "http://example.org", "ftp://127.0.0.1", "https://example.org/api", "example", ""]
    {
        assert!(matches!(connect(&settings(url)), Err(ConnectError::Url { .. })), "{url}");
    }
    std::fs::write(certificates.path("ca.pem"), "no certificate").unwrap();
    let wrong = connect(&settings("https://example.org"));
    assert!(matches!(wrong, Err(ConnectError::Certificates { .. })));
}
