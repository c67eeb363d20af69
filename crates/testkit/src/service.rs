//! A service as a process of its own.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::{TestServer, eventually};

/// How long a service may take to come up or to stop.
const DEADLINE: Duration = Duration::from_secs(30);

/// A running service binary. Dropping it kills it.
#[derive(Debug)]
pub struct ServiceProcess {
    child: Child,
    health: String,
    /// Gives what it logged, once it has ended.
    reading: JoinHandle<String>,
}

impl ServiceProcess {
    /// Starts a binary against a server, with more variables, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(
        binary: &str,
        server: &TestServer,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut child = command(binary)
            .env("SECRETSCAN_NATS__URL", server.url())
            .env("SECRETSCAN_SERVICE__LOG_FORMAT", "json")
            .env("SECRETSCAN_SERVICE__HEALTH_ADDRESS", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {binary}"))?;
        let stderr = child.stderr.take().context("its standard error")?;
        let mut lines = BufReader::new(stderr).lines();
        let mut log = String::new();
        let health = loop {
            let line =
                tokio::time::timeout(DEADLINE, lines.next_line()).await.context("it says nothing")??;
            let line = line.with_context(|| format!("it ended before it was ready: {log}"))?;
            log.push_str(&line);
            log.push('\n');
            if line.contains("health endpoint")
                && let Some((_, rest)) = line.split_once(r#""address":""#)
                && let Some((address, _)) = rest.split_once('"')
            {
                break address.to_owned();
            }
        };
        // Goes on reading, so that the service never waits for a full pipe.
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                log.push_str(&line);
                log.push('\n');
            }
            log
        });
        let service = Self { child, health, reading };
        eventually(DEADLINE, "the service is ready", async || {
            let (status, _) = service.get("/readyz").await.ok()?;
            (status == 200).then_some(())
        })
        .await;
        Ok(service)
    }

    /// The status and the body of a page of its health endpoint.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.health).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: health\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).context("a status")?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        Ok((status, body))
    }

    /// The limits that the system sets it, as Linux says them.
    async fn limits(&self) -> anyhow::Result<String> {
        let pid = self.child.id().context("it has ended")?;
        Ok(tokio::fs::read_to_string(format!("/proc/{pid}/limits")).await?)
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn terminate(self) -> anyhow::Result<ExitStatus> {
        Ok(self.finish().await?.0)
    }

    /// The same; gives everything that it logged, too.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn finish(mut self) -> anyhow::Result<(ExitStatus, String)> {
        let pid = self.child.id().context("it has ended")?;
        let sent = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        anyhow::ensure!(sent.success(), "the signal was not sent");
        let status =
            tokio::time::timeout(DEADLINE, self.child.wait()).await.context("it does not stop")??;
        Ok((status, self.reading.await.context("reading what it logs")?))
    }

    /// Ends it as a crash would.
    ///
    /// # Errors
    /// When it can't be ended.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// How a service ends that is started with these arguments and variables, and what it says on standard error.
///
/// # Errors
/// When it can't be started or does not end.
pub async fn ends(
    binary: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> anyhow::Result<(Option<i32>, String)> {
    let output = command(binary).args(arguments).envs(variables.iter().copied()).output();
    let output = tokio::time::timeout(DEADLINE, output).await.context("it does not end")??;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn command(binary: &str) -> Command {
    let mut command = Command::new(Path::new(binary));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SECRETSCAN_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command
}

/// What every service must do: come up, be ready, count, stop on SIGTERM with 0, and refuse a wrong configuration with 64.
///
/// # Panics
/// When it does not.
pub async fn behaves(binary: &str, variables: &[(&str, &str)]) {
    let server = TestServer::start().await.expect("a server");
    let service = ServiceProcess::start(binary, &server, variables).await.expect("the service comes up");
    assert_eq!(service.get("/healthz").await.expect("an answer"), (200, "ok\n".to_owned()));
    let (status, metrics) = service.get("/metrics").await.expect("an answer");
    assert_eq!(status, 200);
    assert!(metrics.contains("secretscan_build_info{"), "{metrics}");
    if cfg!(target_os = "linux") {
        let limits = service.limits().await.expect("its limits");
        let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap_or_default();
        assert_eq!(cores.split_whitespace().nth(4), Some("0"), "a core dump would show secrets: {cores}");
    }
    let status = service.terminate().await.expect("it stops");
    assert_eq!(status.code(), Some(0), "{status}");

    let (code, error) = ends(binary, &[], &[("SECRETSCAN_NATS__ULR", "x")]).await.expect("it ends");
    assert_eq!(code, Some(64), "{error}");
    assert!(error.contains("unknown field `ulr`"), "{error}");
    let (code, error) = ends(binary, &["--config", "/no/such/file"], &[]).await.expect("it ends");
    assert_eq!(code, Some(64), "{error}");
    assert!(error.contains("/no/such/file"), "{error}");
    let unreachable = [("SECRETSCAN_NATS__URL", "nats://127.0.0.1:1")];
    let variables: Vec<_> = variables.iter().chain(&unreachable).copied().collect();
    let (code, error) = ends(binary, &[], &variables).await.expect("it ends");
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("can't connect to NATS at nats://127.0.0.1:1"), "{error}");
}
