//! A dashboard beside a running system, and people who look at it in a real browser.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use data_encoding::HEXLOWER;
use secretscan_bus::Stop;
use secretscan_bus::access::Identity;
use secretscan_dashboard::{Config, Server};
use secretscan_testkit::{Browser, eventually};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thirtyfour::{By, WebElement};
use tokio::task::JoinHandle;

use crate::System;

/// How long a page may take to show what it must.
const SOON: Duration = Duration::from_secs(60);
const AXE_VERSION: &str = "4.14.1";

/// A dashboard with three people: `vera` (viewer), `tom` (triager) and `ada` (admin), whose tokens are their names.
pub struct Dashboard {
    /// Where it is, without a slash at the end.
    pub url: String,
    stop: Stop,
    serving: JoinHandle<()>,
}

impl Dashboard {
    /// Starts one.
    ///
    /// # Errors
    /// When it can't.
    pub async fn start(system: &System) -> anyhow::Result<Self> {
        let mut text = "[dashboard]\nlisten = '127.0.0.1:0'\n".to_owned();
        for (name, role) in [("vera", "viewer"), ("tom", "triager"), ("ada", "admin")] {
            let hash = HEXLOWER.encode(&Sha256::digest(name.as_bytes()));
            text += &format!("[[auth.tokens]]\nname = '{name}'\nrole = '{role}'\nsha256 = '{hash}'\n");
        }
        let config: Config = secretscan_service::parse(&text, [])?;
        let server = Server::bind(system.connect(Identity::Dashboard).await?, &config).await?;
        let url = format!("http://{}", server.address()?);
        let (index, stop) = (server.index(), Stop::new());
        let serving = tokio::spawn(server.run(stop.clone()));
        index.caught_up().await;
        Ok(Self { url, stop, serving })
    }

    /// A browser in which somebody has logged in.
    ///
    /// # Errors
    /// When the browser does not do what it should.
    pub async fn person(&self, name: &str) -> anyhow::Result<Person> {
        let person = Person { browser: Browser::start().await?, url: self.url.clone() };
        person.log_in(name).await?;
        Ok(person)
    }

    /// Stops it, and waits for that.
    ///
    /// # Errors
    /// When it ends badly.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        Ok(self.serving.await?)
    }
}

/// Somebody with a browser.
pub struct Person {
    /// The browser.
    pub browser: Browser,
    url: String,
}

impl Person {
    /// Logs in with a token.
    ///
    /// # Errors
    /// When the page is not as it should be.
    pub async fn log_in(&self, token: &str) -> anyhow::Result<()> {
        self.open("/login").await?;
        self.fill("#token", token).await?;
        self.click("form button").await?;
        self.sees("h1", "Overview").await;
        Ok(())
    }

    /// Opens a page.
    ///
    /// # Errors
    /// When the browser can't.
    pub async fn open(&self, path: &str) -> anyhow::Result<()> {
        Ok(self.browser.goto(format!("{}{path}", self.url)).await?)
    }

    /// The first element of a CSS selector.
    ///
    /// # Errors
    /// When there is none.
    pub async fn find(&self, selector: &str) -> anyhow::Result<WebElement> {
        self.browser.find(By::Css(selector)).await.with_context(|| format!("looking for {selector}"))
    }

    /// Clicks it.
    ///
    /// # Errors
    /// When it can't be clicked.
    pub async fn click(&self, selector: &str) -> anyhow::Result<()> {
        self.find(selector).await?.click().await.with_context(|| format!("clicking {selector}"))
    }

    /// Writes into a field what it is to hold.
    ///
    /// # Errors
    /// When it can't be written to.
    pub async fn fill(&self, selector: &str, text: &str) -> anyhow::Result<()> {
        let field = self.find(selector).await?;
        field.clear().await?;
        Ok(field.send_keys(text).await?)
    }

    /// Chooses in a list.
    ///
    /// # Errors
    /// When there is no such choice.
    pub async fn choose(&self, list: &str, value: &str) -> anyhow::Result<()> {
        self.click(&format!("{list} option[value='{value}']")).await
    }

    /// Says yes to the question that the page asks.
    ///
    /// # Errors
    /// When there is none.
    pub async fn agree(&self) -> anyhow::Result<()> {
        Ok(self.browser.accept_alert().await?)
    }

    /// Waits until an element says this, among other things.
    pub async fn sees(&self, selector: &str, text: &str) {
        eventually(SOON, &format!("{selector} says {text:?}"), async || {
            let element = self.browser.find(By::Css(selector)).await.ok()?;
            element.text().await.ok().filter(|said| said.contains(text)).map(drop)
        })
        .await;
    }

    /// Makes the screen that of a phone.
    ///
    /// # Errors
    /// When the browser can't.
    pub async fn has_phone(&self) -> anyhow::Result<()> {
        let screen = json!({ "width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true });
        self.browser.cdp().send_raw("Emulation.setDeviceMetricsOverride", screen).await?;
        Ok(())
    }

    /// Prefers dark pages, or light ones.
    ///
    /// # Errors
    /// When the browser can't.
    pub async fn prefers(&self, theme: &str) -> anyhow::Result<()> {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.browser.cdp().send_raw("Emulation.setEmulatedMedia", features).await?;
        Ok(())
    }

    /// Fails unless the page has no fault of WCAG 2.2 AA that a program can find, and fits the screen.
    ///
    /// # Errors
    /// Names the faults.
    pub async fn can_be_read(&self) -> anyhow::Result<()> {
        let axe = tokio::task::spawn_blocking(axe).await??;
        // By the protocol of the developer tools: the page's own policy would refuse the script.
        let run = "axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }).then(found => \
                   found.violations.map(fault => fault.id + ': ' + fault.nodes.map(node => node.html).join(' ')))";
        for (expression, is_promise) in [(axe.as_str(), false), (run, true)] {
            let ask =
                json!({ "expression": expression, "awaitPromise": is_promise, "returnByValue": is_promise });
            let said: Value = self.browser.cdp().send_raw("Runtime.evaluate", ask).await?;
            let faults = &said["result"]["value"];
            let url = self.browser.current_url().await?;
            ensure!(!is_promise || faults == &json!([]), "{url}: {faults}");
        }
        let widths = "return document.documentElement.scrollWidth - window.innerWidth";
        let too_wide: i64 = self.browser.execute(widths, []).await?.convert()?;
        ensure!(too_wide <= 0, "{}: {too_wide} pixels too wide", self.browser.current_url().await?);
        Ok(())
    }
}

/// The text of axe-core, from npm, into `.tools` at the root of the workspace when it is not there yet.
fn axe() -> anyhow::Result<String> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools");
    std::fs::create_dir_all(&tools)?;
    let lock = std::fs::File::create(tools.join("axe-core.lock"))?;
    lock.lock()?;
    let installed = tools.join(format!("axe-core-{AXE_VERSION}"));
    let script: PathBuf = installed.join("node_modules/axe-core/axe.min.js");
    if !script.is_file() {
        std::fs::create_dir_all(&installed)?;
        let package = format!("axe-core@{AXE_VERSION}");
        let install =
            ["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", ".", &package];
        let said = Command::new("npm").args(install).current_dir(&installed).output();
        let said = said.context("this test needs npm, to install axe-core")?;
        ensure!(said.status.success(), "npm: {}", String::from_utf8_lossy(&said.stderr));
    }
    std::fs::read_to_string(script).context("reading axe-core")
}
