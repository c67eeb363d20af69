//! A real nats-server: started, stopped, killed, left behind.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use secretscan_embedded::{EmbeddedError, NatsServer, ServerOptions, find_or_install};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Where `abandon` starts its server.
const ABANDON_IN: &str = "SECRETSCAN_TEST_ABANDON_IN";

fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools");
        let explicit = std::env::var_os("SECRETSCAN_NATS_SERVER").map(PathBuf::from);
        find_or_install(explicit.as_deref(), &tools, |_| {}).unwrap()
    })
}

async fn start(dir: &Path) -> Result<NatsServer, EmbeddedError> {
    NatsServer::start(binary(), ServerOptions::new(dir)).await
}

fn is_alive(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[tokio::test]
async fn starts_stops_and_starts_again_on_a_path_with_odd_characters() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("a \"store\" of $mine é");
    let server = start(&store).await.unwrap();
    let (pid, port) = (server.pid(), server.port());
    assert!(is_alive(pid));
    assert!(server.url().ends_with(&format!(":{port}")));
    assert_eq!(fs::metadata(&store).unwrap().permissions().mode() & 0o077, 0, "for the owner only");
    server.stop().await.unwrap();
    assert!(!is_alive(pid));

    let again =
        NatsServer::start(binary(), ServerOptions { port, ..ServerOptions::new(&store) }).await.unwrap();
    assert_eq!(again.port(), port);
    assert!(store.join("nats-server.log.previous").is_file());
    again.kill().await.unwrap();
    start(&store).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_store_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await.unwrap();
    let refused = start(dir.path()).await.unwrap_err();
    assert!(matches!(refused, EmbeddedError::StoreInUse { .. }), "{refused}");
    assert!(refused.hint().is_some());
    assert!(is_alive(server.pid()));
}

#[tokio::test]
async fn a_failed_start_shows_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let options =
        ServerOptions { port: taken.local_addr().unwrap().port(), ..ServerOptions::new(dir.path()) };
    let error = NatsServer::start(binary(), options).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Ended { .. }), "{error}");
    assert!(error.to_string().contains("address already in use"), "{error}");
}

#[tokio::test]
async fn without_the_token_nobody_gets_in() {
    let dir = tempfile::tempdir().unwrap();
    let authorization = serde_json::json!({ "token": "a$b\"c" });
    let config = [("authorization".to_owned(), authorization)].into_iter().collect();
    let options = ServerOptions { config, ..ServerOptions::new(dir.path()) };
    assert!(!format!("{options:?}").contains("a$b"));
    let server = NatsServer::start(binary(), options).await.unwrap();
    let config = fs::metadata(dir.path().join("nats-server.conf")).unwrap();
    assert_eq!(config.permissions().mode() & 0o777, 0o600);

    let answer = async |connect: &str| {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", server.port())).await.unwrap());
        stream.read_line(&mut String::new()).await.unwrap();
        stream.write_all(format!("CONNECT {connect}\r\nPING\r\n").as_bytes()).await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        line
    };
    assert_eq!(answer(r#"{"verbose":false,"auth_token":"a$b\"c"}"#).await, "PONG\r\n");
    assert!(answer(r#"{"verbose":false}"#).await.starts_with("-ERR 'Authorization Violation'"));
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn the_server_of_a_killed_process_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "abandon", "--ignored"])
        .env(ABANDON_IN, dir.path())
        .status()
        .unwrap();
    assert!(!status.success(), "it was killed");
    let left: i32 = fs::read_to_string(dir.path().join("nats-server.pid")).unwrap().trim().parse().unwrap();
    assert!(is_alive(left));

    let server = start(dir.path()).await.unwrap();
    assert!(!is_alive(left));
    assert_ne!(server.pid(), left);
    server.stop().await.unwrap();
}

#[test]
#[ignore = "needs the network"]
fn two_that_install_at_once_install_once() {
    let dir = tempfile::tempdir().unwrap();
    let tools = dir.path().join("tools");
    fs::create_dir_all(tools.join("nats-server.partial/left by a killed process")).unwrap();
    let said = std::sync::Mutex::new(Vec::new());
    let install =
        || find_or_install(None, &tools, |line| said.lock().unwrap().push(line.to_owned())).unwrap();
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(install);
        (install(), other.join().unwrap())
    });
    assert_eq!(one, other);
    let version = Command::new(&one).arg("--version").output().unwrap().stdout;
    assert_eq!(String::from_utf8(version).unwrap(), "nats-server: v2.15.1\n");
    let said = said.into_inner().unwrap();
    assert_eq!(said.iter().filter(|line| line.starts_with("installing")).count(), 1, "{said:?}");
    assert!(!tools.join("nats-server.partial").exists());
}

/// Not a test: what `the_server_of_a_killed_process_is_replaced` runs.
#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn abandon() {
    let Some(dir) = std::env::var_os(ABANDON_IN) else { return };
    let _server = start(Path::new(&dir)).await.unwrap();
    std::process::abort();
}
