//! A Git host that tells of pushes and shows statuses, as Gitea does: smart HTTP in front of a real repository, a signed
//! webhook, and the interface for commit statuses. With it, the two services that talk to hosts.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::{Json, Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::post;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use secretscan_bus::access::Identity;
use secretscan_notifier::Notifier;
use secretscan_testkit::{HttpRemote, eventually};
use secretscan_webhook::Server;
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::{DEADLINE, System};

const OWNER: &str = "acme";
const NAME: &str = "shop";
const SECRET: &str = "a secret of the webhook";
const TOKEN: &str = "a token for statuses";
const ZERO: &str = "0000000000000000000000000000000000000000";

/// A status that was posted.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Of this commit.
    pub commit: String,
    /// What was posted.
    pub body: Value,
    /// When.
    pub at: Instant,
}

impl Posted {
    /// `pending`, `success`, `failure` or `error`.
    pub fn state(&self) -> &str {
        self.body["state"].as_str().unwrap_or_default()
    }
}

type Board = Arc<Mutex<Vec<Posted>>>;

/// The host, the webhook that it tells, and the notifier that tells it.
pub struct Forge {
    git: HttpRemote,
    webhook: SocketAddr,
    board: Board,
    statuses: JoinHandle<()>,
    /// The repository on the host, and a clone of it to push from.
    dir: TempDir,
    deliveries: u64,
}

/// A push that was made and told of.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The commit that was pushed.
    pub commit: String,
    /// When the push had arrived, before it was told of.
    pub at: Instant,
    /// How long the webhook took to answer.
    pub answered: Duration,
}

impl Forge {
    /// A host with a copy of the repository at a path. The services of the system must run.
    ///
    /// # Errors
    /// When something does not come up.
    pub async fn start(system: &System, repository: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().join("host");
        let bare = root.join(OWNER).join(format!("{NAME}.git"));
        fs::create_dir_all(root.join(OWNER))?;
        let clone = dir.path().join("clone");
        git(dir.path(), &["clone", "-q", "--bare", path(repository)?, path(&bare)?])?;
        git(&bare, &["config", "http.receivepack", "true"])?;
        let remote = HttpRemote::serve_below(&root, &format!("{OWNER}/{NAME}.git")).await?;
        git(dir.path(), &["clone", "-q", &remote.url(), path(&clone)?])?;

        let board = Board::default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let api = format!("http://{}/api/v1", listener.local_addr()?);
        let route = format!("/api/v1/repos/{OWNER}/{NAME}/statuses/{{commit}}");
        let router = Router::new().route(&route, post(take).get(show)).with_state(board.clone());
        let statuses = tokio::spawn(async move { drop(axum::serve(listener, router).await) });

        let webhook =
            start_webhook(system, dir.path(), &format!("http://{}/{OWNER}/", remote.address())).await?;
        start_notifier(system, dir.path(), &remote.address().to_string(), &api).await?;
        Ok(Self { git: remote, webhook, board, statuses, dir, deliveries: 0 })
    }

    /// Commits a file on top of a branch, or of the main one when there is none, pushes it by Git, and tells of it.
    ///
    /// # Errors
    /// When the push or the delivery is refused.
    pub async fn push(&mut self, branch: &str, file: &str, content: &str) -> anyhow::Result<Pushed> {
        let clone = self.dir.path().join("clone");
        let of_branch = format!("refs/remotes/origin/{branch}");
        let known = git(&clone, &["rev-parse", "-q", "--verify", &of_branch]);
        let start = if known.is_ok() { of_branch.as_str() } else { "refs/remotes/origin/HEAD" };
        git(&clone, &["checkout", "-q", "--force", "-B", branch, start])?;
        fs::write(clone.join(file), content)?;
        let before = known.unwrap_or_else(|_| ZERO.to_owned());
        git(&clone, &["add", file])?;
        git(
            &clone,
            &["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-q", "-m", file],
        )?;
        let commit = git(&clone, &["rev-parse", "HEAD"])?;
        self.send(branch, &before, commit).await
    }

    /// Pushes a commit that is there already under the name of a new branch, and tells of it.
    ///
    /// # Errors
    /// When the push or the delivery is refused.
    pub async fn name(&mut self, branch: &str, commit: &str) -> anyhow::Result<Pushed> {
        self.send(branch, ZERO, commit.to_owned()).await
    }

    async fn send(&mut self, branch: &str, before: &str, commit: String) -> anyhow::Result<Pushed> {
        let (clone, to) = (self.dir.path().join("clone"), format!("{commit}:refs/heads/{branch}"));
        tokio::task::spawn_blocking(move || git(&clone, &["push", "-q", "origin", &to])).await??;
        let at = Instant::now();
        self.deliveries += 1;
        let payload = json!({
            "ref": format!("refs/heads/{branch}"),
            "before": before,
            "after": commit,
            "total_commits": 1,
            "repository": {
                "full_name": format!("{OWNER}/{NAME}"),
                "clone_url": self.git.url(),
                "ssh_url": format!("git@example.org:{OWNER}/{NAME}.git"),
            },
            "pusher": { "login": "ada" },
        });
        let status = self.deliver(&payload.to_string()).await?;
        ensure!(status == 202, "the webhook says {status}");
        Ok(Pushed { commit, at, answered: at.elapsed() })
    }

    async fn deliver(&self, body: &str) -> anyhow::Result<u16> {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
        mac.update(body.as_bytes());
        let signature = HEXLOWER.encode(&mac.finalize().into_bytes());
        let request = format!(
            "POST /hooks/forge HTTP/1.1\r\nHost: webhook\r\nConnection: close\r\nContent-Type: application/json\r\n\
             X-Gitea-Event: push\r\nX-Gitea-Delivery: {}\r\nX-Gitea-Signature: {signature}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.deliveries,
            body.len()
        );
        let mut stream = TcpStream::connect(self.webhook).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).context("the answer has no status")
    }

    /// The statuses of a commit so far, in their order.
    pub fn statuses(&self, commit: &str) -> Vec<Posted> {
        let board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.iter().filter(|posted| posted.commit == commit).cloned().collect()
    }

    /// Waits for the last status of a commit.
    pub async fn verdict(&self, commit: &str) -> Posted {
        self.verdicts(commit, 1).await.remove(0)
    }

    /// Waits for the last statuses of a commit that several pushes were about.
    pub async fn verdicts(&self, commit: &str, count: usize) -> Vec<Posted> {
        eventually(DEADLINE, "the commit has its status", async || {
            let last = self.statuses(commit).into_iter().filter(|posted| posted.state() != "pending");
            Some(last.collect::<Vec<_>>()).filter(|last| last.len() >= count)
        })
        .await
    }

    /// The URI of the repository.
    pub fn uri(&self) -> String {
        self.git.url()
    }
}

impl Drop for Forge {
    fn drop(&mut self) {
        self.statuses.abort();
    }
}

async fn take(
    State(board): State<Board>,
    UrlPath(commit): UrlPath<String>,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let posted = Posted { commit, body: body.clone(), at: Instant::now() };
    board.lock().unwrap_or_else(PoisonError::into_inner).push(posted);
    (StatusCode::CREATED, Json(body))
}

async fn show(State(board): State<Board>, UrlPath(commit): UrlPath<String>) -> Json<Value> {
    let board = board.lock().unwrap_or_else(PoisonError::into_inner);
    Json(board.iter().filter(|posted| posted.commit == commit).map(|posted| posted.body.clone()).collect())
}

async fn start_webhook(system: &System, dir: &Path, base_url: &str) -> anyhow::Result<SocketAddr> {
    let secret_file = dir.join("webhook-secret");
    fs::write(&secret_file, SECRET)?;
    let config = format!(
        "[webhook]\nlisten = '127.0.0.1:0'\n[policy]\nallow_http = true\nallow_private_hosts = true\n\
         [sources.forge]\nkind = 'gitea'\nsecret_file = '{}'\nbase_url = '{base_url}'\n",
        secret_file.display()
    );
    let config = secretscan_service::parse::<secretscan_webhook::Config>(&config, [])?;
    let server = Server::bind(system.connect(Identity::Webhook).await?, &config).await?;
    let address = server.address();
    tokio::spawn(server.run(system.stopping()));
    Ok(address)
}

async fn start_notifier(system: &System, dir: &Path, host: &str, api: &str) -> anyhow::Result<()> {
    let token_file = dir.join("status-token");
    fs::write(&token_file, TOKEN)?;
    let config = format!(
        "[link]\nbase = 'https://secretscan.example.org'\n[delivery]\nfirst_pause_ms = 50\n\
         [[status]]\nhost = '{host}'\nkind = 'gitea'\napi = '{api}'\ntoken_file = '{}'\n",
        token_file.display()
    );
    let config = secretscan_service::parse::<secretscan_notifier::Config>(&config, [])?;
    let notifier = Notifier::new(system.connect(Identity::Notifier).await?, &config)?;
    let stop = system.stopping();
    tokio::spawn(async move { notifier.run(stop).await });
    Ok(())
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// What Git says.
fn git(dir: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("git");
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0");
    let output = command.arg("-C").arg(dir).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {}: {said}", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
