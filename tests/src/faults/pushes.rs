//! A repository that nobody asks for: its host tells the webhook of pushes, one commit each, and is told statuses.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use secretscan_bus::Bus;
use secretscan_model::RepositoryId;
use secretscan_testkit::HttpRemote;

use super::Target;
use super::fleet::wait;
use crate::forge::{Board, Told, notifier_config, serve, webhook_config};

/// How long to wait before a delivery is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// One status of so many may be posted twice.
const MOST_TWICE: usize = 40;

/// The host of the repository, and how the services that talk to it are configured.
pub(super) struct Host {
    remote: HttpRemote,
    board: Board,
    /// The configuration of the webhook.
    pub(super) webhook: PathBuf,
    /// The configuration of the notifier.
    pub(super) notifier: PathBuf,
}

impl Host {
    /// Serves a repository; files of the host are in the directory.
    pub(super) async fn start(dir: &Path, target: &Target) -> anyhow::Result<Self> {
        let root = dir.join("host");
        let remote = serve(&root, &target.generated.repository.path()).await?;
        let board = Board::start().await?;
        let (webhook, notifier) = (root.join("webhook.toml"), root.join("notifier.toml"));
        fs::write(&webhook, webhook_config(&root, &remote)?)?;
        fs::write(&notifier, notifier_config(&root, &remote, &board)?)?;
        Ok(Self { remote, board, webhook, notifier })
    }

    /// Tells of a push of each commit, spread over a time, each until a webhook has it; gives the repository's id.
    pub(super) async fn tell(
        &self,
        bus: &Bus,
        target: &Target,
        webhooks: &[SocketAddr],
        over: Duration,
    ) -> anyhow::Result<RepositoryId> {
        let url = self.remote.url();
        let commits = target.generated.repository.commits_and_parents()?;
        let pause = over / u32::try_from(commits.len().max(1))?;
        for (number, (after, before)) in commits.iter().enumerate() {
            let delivery = number.to_string();
            let told = Told { url: &url, name: "refs/heads/main", before, after, delivery: &delivery };
            for webhook in webhooks.iter().cycle().skip(number) {
                match tokio::time::timeout(Duration::from_secs(5), told.deliver(*webhook)).await {
                    // 409: it was taken, and the answer was lost.
                    Ok(Ok(202 | 409)) => break,
                    Ok(Ok(503)) | Ok(Err(_)) | Err(_) => wait(AGAIN).await,
                    Ok(Ok(status)) => anyhow::bail!("the webhook says {status}"),
                }
            }
            wait(pause).await;
        }
        loop {
            let known = bus.repositories().await.unwrap_or_default();
            if let Some(repository) = known.into_iter().find(|repository| repository.uri == url) {
                return Ok(repository.id);
            }
            wait(AGAIN).await;
        }
    }

    /// Whether all that was pushed is scanned and has its status, or an error that says what is not.
    pub(super) async fn is_scanned(&self, bus: &Bus, target: &Target) -> anyhow::Result<()> {
        let url = self.remote.url();
        let mut joined = 0;
        for scan in bus.scans().await?.iter().filter(|scan| scan.uri == url) {
            ensure!(scan.state.is_terminal(), "the request {} has not ended", scan.id);
            joined += scan.pushes.len();
        }
        let commits = target.generated.repository.commits_and_parents()?;
        ensure!(joined >= commits.len(), "{joined} pushes of {} have joined a request", commits.len());
        let posted = self.board.posted();
        for (commit, _) in &commits {
            let is_last = |state: &str| state == "success" || state == "failure";
            let has = posted.iter().any(|posted| posted.commit == *commit && is_last(posted.state()));
            ensure!(has, "the commit {commit} has no last status");
        }
        Ok(())
    }

    /// Gives how many statuses were posted. None is posted twice, but for one that a process which was frozen, or cut off, between
    /// asking the host and posting posts after another has: the same one, and seldom.
    pub(super) fn statuses(&self) -> anyhow::Result<usize> {
        let posted = self.board.posted();
        let mut times: BTreeMap<(String, String, String), usize> = BTreeMap::new();
        for posted in &posted {
            let request = posted.body["target_url"].as_str().context("a link")?.to_owned();
            let key = (request, posted.commit.clone(), posted.state().to_owned());
            *times.entry(key).or_default() += 1;
        }
        let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
        let is_seldom =
            twice.len() * MOST_TWICE <= posted.len() && twice.iter().all(|(_, times)| **times == 2);
        ensure!(is_seldom, "statuses were posted more than once: {twice:?}");
        Ok(posted.len())
    }
}
