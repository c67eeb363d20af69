//! A browser for one test.

use std::fs::{self, File};
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;
use thirtyfour::{ChromiumLikeCapabilities, DesiredCapabilities, LoggingPrefsLogLevel, WebDriver};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::OnceCell;

const PROGRAM: &str = "chromedriver";
/// Debian's names of the browser and the program that drives it.
const PACKAGES: [&str; 2] = ["chromium", "chromium-driver"];
/// How long chromedriver may take to come up.
const DEADLINE: Duration = Duration::from_secs(60);

/// A real Chromium without a window, to be used as the [`WebDriver`] that it derefs to. Dropping it ends the browser.
#[derive(Debug)]
pub struct Browser {
    session: WebDriver,
    chromedriver: Child,
    // Removed after the process is killed.
    _profile: TempDir,
}

impl Browser {
    /// Starts one, on a port picked by the system. Chromium and chromedriver are installed by apt-get if there is no
    /// chromedriver on `PATH`.
    ///
    /// # Errors
    /// When there is none and it can't be installed, or it does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        INSTALLED.get_or_try_init(async || tokio::task::spawn_blocking(install_if_missing).await?).await?;
        let mut chromedriver = tokio::process::Command::new(PROGRAM)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting chromedriver")?;
        let stdout = chromedriver.stdout.take().context("its standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let port: u16 = loop {
            let line =
                tokio::time::timeout(DEADLINE, lines.next_line()).await.context("it says nothing")??;
            let line = line.context("chromedriver ended before it was ready")?;
            if let Some((_, rest)) = line.split_once("started successfully on port ") {
                break rest.trim_end_matches('.').parse().context("reading the port of chromedriver")?;
            }
        };
        // Goes on reading, so that it never waits for a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });

        let profile = tempfile::tempdir().context("making a directory for the browser")?;
        let mut wanted = DesiredCapabilities::chrome();
        wanted.add_arg(&format!("--user-data-dir={}", profile.path().display()))?;
        // Containers have little shared memory, and no sandbox for root. With a pipe the browser ends when chromedriver
        // does, however that ends.
        for argument in ["headless", "no-sandbox", "disable-dev-shm-usage", "remote-debugging-pipe"] {
            wanted.add_arg(&format!("--{argument}"))?;
        }
        wanted.set_browser_log_level(LoggingPrefsLogLevel::All)?;
        let session = WebDriver::new(format!("http://127.0.0.1:{port}"), wanted).await;
        Ok(Self { session: session.context("opening a browser")?, chromedriver, _profile: profile })
    }
}

impl Deref for Browser {
    type Target = WebDriver;

    fn deref(&self) -> &WebDriver {
        &self.session
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Enough, since the browser ends with its pipe; closing the session in order could wait for minutes after a panic.
        let _ = self.chromedriver.start_kill();
        let _ = self.session.clone().leak();
    }
}

/// Safe to call from several processes at once: they wait for each other.
fn install_if_missing() -> anyhow::Result<()> {
    let is_there = || Command::new(PROGRAM).arg("--version").output().is_ok_and(|said| said.status.success());
    if is_there() {
        return Ok(());
    }
    let tools_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools");
    fs::create_dir_all(&tools_dir).context("making a directory for the lock of the installation")?;
    let lock = File::create(tools_dir.join("browser.lock")).context("making the lock of the installation")?;
    lock.lock().context("waiting for another installation")?;
    if is_there() {
        return Ok(());
    }
    let install = ["install", "--yes", "--no-install-recommends"].into_iter().chain(PACKAGES);
    for arguments in [vec!["update"], install.collect()] {
        let what = || {
            let asked = arguments.join(" ");
            format!(
                "this test needs chromedriver and Chromium on PATH, or to be root on Debian: apt-get {asked}"
            )
        };
        let said = Command::new("apt-get")
            .args(&arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()
            .with_context(what)?;
        ensure!(said.status.success(), "{}: {}", what(), String::from_utf8_lossy(&said.stderr));
    }
    ensure!(is_there(), "apt-get installed {} but there is no {PROGRAM} that runs", PACKAGES.join(" and "));
    Ok(())
}
