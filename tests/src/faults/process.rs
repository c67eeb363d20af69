//! One service process of the fleet, and what it counts.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// How long a look at the metrics may take: a frozen process never answers.
const SCRAPE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a process may take to end after SIGTERM; its grace period is shorter.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// Counters by name, with the labels as the service writes them.
pub(crate) type Counters = BTreeMap<String, u64>;

/// What a process has left that has ended.
pub(crate) struct Left {
    /// What it had counted, as far as it was read.
    pub(crate) counters: Counters,
    /// The fail point at which it crashed, if it did.
    pub(crate) fail_point: Option<String>,
}

/// A running process. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    counters: Counters,
}

impl Process {
    pub(crate) fn start(binary: &Path, variables: &[(String, String)], log: PathBuf) -> anyhow::Result<Self> {
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SECRETSCAN_")) {
            command.env_remove(name);
        }
        let file = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let child = command
            .envs(variables.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        Ok(Self { child, log, counters: Counters::new() })
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn send(&self, signal: Signal) -> anyhow::Result<()> {
        // Once it was waited for, its process id may be another's.
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            kill_process(pid, signal).context("sending a signal")?;
        }
        Ok(())
    }

    /// Ends it as a crash would, unless it has ended.
    pub(crate) async fn kill(mut self) -> anyhow::Result<Left> {
        self.child.kill().await.context("killing a service")?;
        self.left()
    }

    /// Ends it in order.
    pub(crate) async fn terminate(mut self) -> anyhow::Result<Left> {
        self.send(Signal::TERM)?;
        let ended = tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await;
        ended.with_context(|| format!("it does not stop: {}", self.log.display()))??;
        self.left()
    }

    fn left(self) -> anyhow::Result<Left> {
        let log = std::fs::read_to_string(&self.log)?;
        let fail_point = log.lines().find_map(|line| line.strip_prefix("fail point ")).map(str::to_owned);
        Ok(Left { counters: self.counters, fail_point })
    }

    /// Reads its counters, if it answers.
    pub(crate) async fn scrape(&mut self) {
        if let Ok(Ok(page)) = tokio::time::timeout(SCRAPE_TIMEOUT, self.metrics()).await {
            let counted = page.lines().filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                let is_wanted = name.starts_with("secretscan_redeliveries_total")
                    || name.starts_with("secretscan_refused_writes_total");
                is_wanted.then(|| Some((name.to_owned(), value.parse().ok()?)))?
            });
            self.counters.extend(counted);
        }
    }

    async fn metrics(&self) -> anyhow::Result<String> {
        let log = tokio::fs::read_to_string(&self.log).await?;
        let line = log.lines().find(|line| line.contains("health endpoint")).context("not up yet")?;
        let address = line.rsplit_once("address=").context("an address")?.1.trim();
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: health\r\nConnection: close\r\n\r\n").await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        Ok(page)
    }
}
