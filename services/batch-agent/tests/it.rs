//! The binary, as a process.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use secretscan_bus::{Bus, NatsConfig};
use secretscan_testkit::service::{ServiceProcess, behaves, ends};
use secretscan_testkit::{TestServer, eventually};

const BINARY: &str = env!("CARGO_BIN_EXE_secretscan-batch-agent");

fn key() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [7; 32]).unwrap();
    file
}

#[tokio::test]
async fn it_comes_up_and_stops_as_a_service_does() {
    let key = key();
    behaves(BINARY, &[("SECRETSCAN_SCAN__KEY_FILE", key.path().to_str().unwrap())]).await;
}

#[tokio::test]
async fn it_does_not_start_without_a_good_key() {
    let server = TestServer::start().await.unwrap();
    let url = server.url();
    let (code, error) = ends(BINARY, &[], &[("SECRETSCAN_NATS__URL", &url)]).await.unwrap();
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("scan.key_file is not set"), "{error}");
    let short = tempfile::NamedTempFile::new().unwrap();
    let path = short.path().to_str().unwrap();
    let variables = [("SECRETSCAN_NATS__URL", url.as_str()), ("SECRETSCAN_SCAN__KEY_FILE", path)];
    let (_, error) = ends(BINARY, &[], &variables).await.unwrap();
    assert!(error.contains("has 0 bytes, at least 32 are needed"), "{error}");
}

#[tokio::test]
async fn agents_announce_themselves_and_vanish_when_they_die() {
    let server = TestServer::start().await.unwrap();
    let config = NatsConfig { url: server.url(), name: "test".into(), ..NatsConfig::default() };
    let bus = Bus::connect(&config).await.unwrap();
    let key = key();
    let start = async |host: &'static str| {
        let path = key.path().to_str().unwrap();
        let variables = [("SECRETSCAN_SCAN__KEY_FILE", path), ("SECRETSCAN_AGENT__HOST", host)];
        ServiceProcess::start(BINARY, &server, &variables).await.unwrap()
    };
    let (killed, stopped) = (start("killed").await, start("stopped").await);
    let hosts = async || -> BTreeSet<String> {
        bus.agents().await.unwrap().into_iter().map(|agent| agent.host).collect()
    };
    let see = async |expected: &[&str]| {
        let expected: BTreeSet<String> = expected.iter().map(|host| (*host).to_owned()).collect();
        // A killed one is listed until its last heartbeat expires, after 30 s.
        eventually(Duration::from_secs(45), "the agents are as expected", async || {
            (hosts().await == expected).then_some(())
        })
        .await;
    };
    see(&["killed", "stopped"]).await;
    stopped.terminate().await.unwrap();
    assert_eq!(hosts().await, BTreeSet::from(["killed".to_owned()]), "one that stops says good-bye");
    killed.kill().await.unwrap();
    see(&[]).await;
}

#[tokio::test]
async fn it_waits_for_buckets_that_are_made_later() {
    let server = TestServer::start().await.unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut looks = client.subscribe("$JS.API.STREAM.INFO.KV_rule-sets").await.unwrap();
    client.flush().await.unwrap();
    let key = key();
    let path = key.path().to_str().unwrap();
    let variables = [("SECRETSCAN_SCAN__KEY_FILE", path), ("SECRETSCAN_NATS__IS_PROVISIONED", "true")];
    let agent = ServiceProcess::start(BINARY, &server, &variables).await.unwrap();
    for _ in 0..2 {
        looks.next().await.unwrap();
    }
    let config = NatsConfig { url: server.url(), name: "test".into(), ..NatsConfig::default() };
    let bus = Bus::connect(&config).await.unwrap();
    eventually(Duration::from_secs(30), "it is listed", async || {
        (bus.agents().await.unwrap().len() == 1).then_some(())
    })
    .await;
    agent.terminate().await.unwrap();
}
