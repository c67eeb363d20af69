use std::path::Path;
use std::process::Output;

use secretscan_testkit::{Change, HttpRemote, RepositoryBuilder, generate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

async fn git(dir: &Path, arguments: &[&str]) -> Output {
    Command::new("git")
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env_remove("http_proxy")
        .env("no_proxy", "127.0.0.1")
        .args(arguments)
        .output()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_repository_can_be_cloned_and_fetched() {
    let mut repository = generate(3, 100).unwrap().repository;
    let remote = HttpRemote::serve(&repository.path()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cloned = git(dir.path(), &["clone", "--mirror", &remote.url(), "copy.git"]).await;
    assert!(cloned.status.success(), "{}", String::from_utf8_lossy(&cloned.stderr));
    let copy = dir.path().join("copy.git");
    let references = git(&copy, &["show-ref"]).await.stdout;
    assert_eq!(references, repository.git(&["show-ref"]).unwrap());

    let pushed = repository.push_commit("main", [Change::write("later", "1\n")]).unwrap().to_string();
    assert!(git(&copy, &["fetch", "origin"]).await.status.success());
    assert_eq!(git(&copy, &["rev-parse", "main"]).await.stdout, format!("{pushed}\n").into_bytes());

    let missing = git(dir.path(), &["ls-remote", &remote.url().replace(".git", ".gone")]).await;
    assert!(String::from_utf8_lossy(&missing.stderr).contains("not found"));
}

/// As git sends it when it has much to tell.
#[tokio::test]
async fn a_request_may_come_in_pieces() {
    let mut builder = RepositoryBuilder::new().unwrap();
    builder.commit("main", [Change::write("a", "1\n")]);
    let repository = builder.build().unwrap();
    let remote = HttpRemote::serve(&repository.path()).await.unwrap();
    let url = remote.url();
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /{path}/git-upload-pack HTTP/1.1\r\nHost: {address}\r\nGit-Protocol: version=2\r\n\
         Content-Type: application/x-git-upload-pack-request\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"a\r\n0014comman\r\nE\r\nd=ls-refs\n0000\r\n0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(" refs/heads/main\n"), "{answer}");
}

#[tokio::test]
async fn the_password_is_asked_for() {
    let mut builder = RepositoryBuilder::new().unwrap();
    builder.commit("main", [Change::write("a", "1\n")]);
    let repository = builder.build().unwrap();
    let remote = HttpRemote::serve_with_password(&repository.path(), "ada", "lovelace").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ask = async |user: &str| {
        let url = remote.url().replace("http://", &format!("http://{user}"));
        git(dir.path(), &["ls-remote", &url]).await.status.success()
    };
    assert!(ask("ada:lovelace@").await);
    assert!(!ask("ada:byron@").await);
    assert!(!ask("").await);
}
