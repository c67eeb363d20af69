//! The binary, as a process, and TLS.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use secretscan_testkit::Certificates;
use secretscan_testkit::service::{behaves, ends};
use secretscan_webhook::TlsFiles;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::Delivery;
use crate::fixture::{Fixture, secrets};
use crate::payloads::{self, NONE, id};

const BINARY: &str = env!("CARGO_BIN_EXE_secretscan-webhook");

#[tokio::test]
async fn it_comes_up_and_stops_as_a_service_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, secrets().0).unwrap();
    let file = file.to_str().unwrap();
    let source = [
        ("SECRETSCAN_WEBHOOK__LISTEN", "127.0.0.1:0"),
        ("SECRETSCAN_SOURCES__GITHUB__KIND", "github"),
        ("SECRETSCAN_SOURCES__GITHUB__SECRET_FILE", file),
        ("SECRETSCAN_SOURCES__GITHUB__BASE_URL", "https://github.example/"),
    ];
    behaves(BINARY, &source).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_source_is_said_at_the_start() {
    let server = secretscan_testkit::TestServer::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (short, long, url) = (dir.path().join("short"), dir.path().join("long"), server.url());
    std::fs::write(&short, "short").unwrap();
    std::fs::write(&long, secrets().0).unwrap();
    let starts = async |file: &str, base: &str| {
        let variables = [
            ("SECRETSCAN_NATS__URL", url.as_str()),
            ("SECRETSCAN_SOURCES__WORK__KIND", "gitlab"),
            ("SECRETSCAN_SOURCES__WORK__SECRET_FILE", file),
            ("SECRETSCAN_SOURCES__WORK__BASE_URL", base),
        ];
        ends(BINARY, &[], &variables).await.unwrap()
    };
    for (file, base, told) in [
        (
            long.to_str().unwrap(),
            "https://git.example",
            "sources.work.base_url is not what a clone URL begins with",
        ),
        (
            "/no/such/file",
            "https://git.example/",
            "sources.work: the secret file /no/such/file can't be read",
        ),
        (short.to_str().unwrap(), "https://git.example/", "has fewer than 16 bytes"),
    ] {
        let (code, error) = starts(file, base).await;
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains(told), "{error}");
    }
    let bodies = [("SECRETSCAN_NATS__URL", url.as_str()), ("SECRETSCAN_WEBHOOK__MAX_BODIES_BYTES", "1")];
    let (code, error) = ends(BINARY, &[], &bodies).await.unwrap();
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("webhook.max_bodies_bytes"), "{error}");
    let (code, error) = ends(BINARY, &[], &[("SECRETSCAN_NATS__URL", &url)]).await.unwrap();
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("no source is configured"), "{error}");
}

#[tokio::test]
async fn it_speaks_tls_when_it_has_a_certificate() {
    let certificates = Certificates::new().unwrap();
    let webhook = Fixture::start_with(|config| {
        config.webhook.tls = Some(TlsFiles {
            certificate_file: certificates.path("server.pem"),
            key_file: certificates.path("server.key"),
        });
    })
    .await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificates.path("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(webhook.address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let delivery = Delivery::github(&secrets().0, "1", &payloads::github("refs/heads/main", NONE, &id(2)));
    assert_eq!(delivery.send_over(stream).await.status, 202);
    assert_eq!(webhook.count().await, 1);
    webhook.stop().await;
}
