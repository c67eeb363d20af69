//! A Git host that tells of pushes and shows statuses, as Gitea does: smart HTTP in front of a real repository, a signed
//! webhook, and the interface for commit statuses. [`Forge`] also runs the two services that talk to hosts.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::{Json, Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use secretscan_bus::access::Identity;
use secretscan_notifier::Notifier;
use secretscan_testkit::{HttpRemote, eventually, run_git};
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

/// The statuses that a host shows, and its interface for them, until it is dropped.
pub struct Board {
    address: SocketAddr,
    posted: Arc<Mutex<Vec<Posted>>>,
    serving: JoinHandle<()>,
}

impl Board {
    /// An empty one.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start() -> anyhow::Result<Self> {
        let posted = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        // Source: repoCreateStatus and repoListStatusesByRef of Gitea's interface.
        let router = Router::new()
            .route("/api/v1/repos/{owner}/{name}/statuses/{commit}", post(take))
            .route("/api/v1/repos/{owner}/{name}/commits/{commit}/statuses", get(show))
            .with_state(posted.clone());
        let serving = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Self { address, posted, serving })
    }

    /// All statuses so far, in their order.
    pub fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

type Path3 = UrlPath<(String, String, String)>;
type Kept = State<Arc<Mutex<Vec<Posted>>>>;

async fn take(
    State(kept): Kept,
    UrlPath((_, _, commit)): Path3,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let posted = Posted { commit, body: body.clone(), at: Instant::now() };
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(posted);
    (StatusCode::CREATED, Json(body))
}

async fn show(State(kept): Kept, UrlPath((_, _, commit)): Path3) -> Json<Value> {
    let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    // The newest first.
    let of_commit = kept.iter().rev().filter(|posted| posted.commit == commit);
    let listed = |posted: &Posted| {
        json!({
            "status": posted.body["state"],
            "context": posted.body["context"],
            "description": posted.body["description"],
            "target_url": posted.body["target_url"],
        })
    };
    Json(of_commit.map(listed).collect())
}

/// A push, as the host tells of it.
pub struct Told<'a> {
    /// Where the repository is cloned from.
    pub url: &'a str,
    /// The full name of the ref.
    pub name: &'a str,
    /// What it pointed at before; empty when it is new.
    pub before: &'a str,
    /// What it points at.
    pub after: &'a str,
    /// The id of the delivery.
    pub delivery: &'a str,
}

impl Told<'_> {
    /// Delivers it to a webhook with the configuration [`webhook_config`]; gives the status of the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn deliver(&self, webhook: SocketAddr) -> anyhow::Result<u16> {
        let before = if self.before.is_empty() { ZERO } else { self.before };
        let payload = json!({
            "ref": self.name,
            "before": before,
            "after": self.after,
            "total_commits": 1,
            "repository": {
                "full_name": format!("{OWNER}/{NAME}"),
                "clone_url": self.url,
                "ssh_url": format!("git@example.org:{OWNER}/{NAME}.git"),
            },
            "pusher": { "login": "ada" },
        });
        let body = payload.to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
        mac.update(body.as_bytes());
        let signature = HEXLOWER.encode(&mac.finalize().into_bytes());
        let (delivery, length) = (self.delivery, body.len());
        let request = format!(
            "POST /hooks/forge HTTP/1.1\r\nHost: webhook\r\nConnection: close\r\nContent-Type: application/json\r\n\
             X-Gitea-Event: push\r\nX-Gitea-Delivery: {delivery}\r\nX-Gitea-Signature: {signature}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(webhook).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).context("the answer has no status")
    }
}

/// Serves a repository below a directory, under the name that [`Told`] gives it.
///
/// # Errors
/// When it can't be put there or served.
pub async fn serve(root: &Path, repository: &Path) -> anyhow::Result<HttpRemote> {
    fs::create_dir_all(root.join(OWNER))?;
    std::os::unix::fs::symlink(repository, root.join(OWNER).join(format!("{NAME}.git")))?;
    HttpRemote::serve_below(root, &format!("{OWNER}/{NAME}.git")).await
}

/// A configuration of the webhook for a host, with files in a directory.
///
/// # Errors
/// When they can't be written.
pub fn webhook_config(dir: &Path, host: &HttpRemote) -> anyhow::Result<String> {
    let secret_file = dir.join("webhook-secret");
    fs::write(&secret_file, SECRET)?;
    Ok(format!(
        "[webhook]\nlisten = '127.0.0.1:0'\n[policy]\nallow_http = true\nallow_private_hosts = true\n\
         [sources.forge]\nkind = 'gitea'\nsecret_file = '{}'\nbase_url = 'http://{}/{OWNER}/'\n",
        secret_file.display(),
        host.address()
    ))
}

/// A configuration of the notifier for a host, with files in a directory.
///
/// # Errors
/// When they can't be written.
pub fn notifier_config(dir: &Path, host: &HttpRemote, board: &Board) -> anyhow::Result<String> {
    let token_file = dir.join("status-token");
    fs::write(&token_file, TOKEN)?;
    Ok(format!(
        "[link]\nbase = 'https://secretscan.example.org'\n[delivery]\nfirst_pause_ms = 50\n\
         [[status]]\nhost = '{}'\nkind = 'gitea'\napi = 'http://{}/api/v1'\ntoken_file = '{}'\n",
        host.address(),
        board.address,
        token_file.display()
    ))
}

/// The host, the webhook that it tells, and the notifier that tells it.
pub struct Forge {
    git: HttpRemote,
    board: Board,
    webhook: SocketAddr,
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
        let (bare, clone) = (dir.path().join("bare"), dir.path().join("clone"));
        git(dir.path(), &["clone", "-q", "--bare", path(repository)?, path(&bare)?])?;
        git(&bare, &["config", "http.receivepack", "true"])?;
        let remote = serve(&dir.path().join("host"), &bare).await?;
        git(dir.path(), &["clone", "-q", &remote.url(), path(&clone)?])?;

        let config = webhook_config(dir.path(), &remote)?;
        let config = secretscan_service::parse::<secretscan_webhook::Config>(&config, [])?;
        let server = Server::bind(system.connect(Identity::Webhook).await?, &config).await?;
        let webhook = server.address();
        tokio::spawn(server.run(system.stopping()));

        let board = Board::start().await?;
        let config = notifier_config(dir.path(), &remote, &board)?;
        let config = secretscan_service::parse::<secretscan_notifier::Config>(&config, [])?;
        let notifier = Notifier::new(system.connect(Identity::Notifier).await?, &config)?;
        let stop = system.stopping();
        tokio::spawn(async move { notifier.run(stop).await });
        Ok(Self { git: remote, board, webhook, dir, deliveries: 0 })
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
        let before = known.unwrap_or_default();
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
        self.send(branch, "", commit.to_owned()).await
    }

    async fn send(&mut self, branch: &str, before: &str, commit: String) -> anyhow::Result<Pushed> {
        let (clone, to) = (self.dir.path().join("clone"), format!("{commit}:refs/heads/{branch}"));
        tokio::task::spawn_blocking(move || git(&clone, &["push", "-q", "origin", &to])).await??;
        let at = Instant::now();
        self.deliveries += 1;
        let (url, name) = (self.git.url(), format!("refs/heads/{branch}"));
        let delivery = self.deliveries.to_string();
        let told = Told { url: &url, name: &name, before, after: &commit, delivery: &delivery };
        let status = told.deliver(self.webhook).await?;
        ensure!(status == 202, "the webhook says {status}");
        Ok(Pushed { commit, at, answered: at.elapsed() })
    }

    /// The statuses of a commit so far, in their order.
    pub fn statuses(&self, commit: &str) -> Vec<Posted> {
        self.board.posted().into_iter().filter(|posted| posted.commit == commit).collect()
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

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// What Git says.
fn git(dir: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    Ok(String::from_utf8(run_git(dir, arguments, b"")?)?.trim_end().to_owned())
}
