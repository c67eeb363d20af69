//! The web page in a real browser.

use std::path::Path;

use secretscan_report::Format;
use secretscan_testkit::Browser;
use serde_json::{Value, json};
use thirtyfour::{By, Key};

use super::{findings, report, written};

async fn choose(browser: &Browser, list: &str, value: &str) {
    let option = format!("#{list} option[value='{value}']");
    browser.find(By::Css(option)).await.unwrap().click().await.unwrap();
}

async fn shown(browser: &Browser) -> String {
    browser.find(By::Id("shown")).await.unwrap().text().await.unwrap()
}

/// The headings of the groups, and the places of the findings that can be seen.
async fn listed(browser: &Browser) -> Vec<String> {
    let mut texts = Vec::new();
    for element in browser.find_all(By::Css("section > h2, .place")).await.unwrap() {
        if element.is_displayed().await.unwrap() {
            texts.push(element.text().await.unwrap());
        }
    }
    texts
}

async fn open(browser: &Browser, directory: &Path) {
    let mut findings = findings();
    findings.reverse();
    findings[3].path = ["a".repeat(300), "long-name".repeat(40)].join("/").into_bytes();
    let page = directory.join("report.html");
    std::fs::write(&page, written(&report(&findings), &Format::Html)).unwrap();
    browser.goto(format!("file://{}", page.display())).await.unwrap();
}

#[tokio::test]
async fn the_web_page_filters_groups_and_fits() {
    let directory = tempfile::tempdir().unwrap();
    let browser = Browser::start().await.unwrap();
    open(&browser, directory.path()).await;

    // Worst first.
    assert_eq!(shown(&browser).await, "4 of 4");
    assert_eq!(listed(&browser).await[0], "two words/#1.env:1:18");
    let critical = browser.find(By::Css("[name=severity]")).await.unwrap();

    let search = browser.find(By::Id("text")).await.unwrap();
    search.send_keys("percent GENERIC").await.unwrap();
    assert_eq!((shown(&browser).await.as_str(), listed(&browser).await.len()), ("1 of 4", 1));
    search.send_keys(" nowhere").await.unwrap();
    assert_eq!(listed(&browser).await, [] as [&str; 0]);
    browser.find(By::Id("reset")).await.unwrap().click().await.unwrap();
    assert_eq!(shown(&browser).await, "4 of 4");

    critical.send_keys(Key::Space).await.unwrap();
    assert_eq!(shown(&browser).await, "2 of 4", "by the keyboard");
    choose(&browser, "confidence", "high").await;
    assert_eq!(shown(&browser).await, "1 of 4");
    choose(&browser, "confidence", "").await;
    choose(&browser, "group", "severity").await;
    let headings = ["medium 1", "caf\u{fffd}.txt:7:900", "low 1"];
    assert_eq!(listed(&browser).await[..3], headings);
    critical.send_keys(Key::Space).await.unwrap();
    choose(&browser, "group", "confidence").await;
    browser.find(By::Id("rule")).await.unwrap().send_keys("generic-password").await.unwrap();
    assert_eq!(listed(&browser).await, ["low 1", headings[1]]);

    choose(&browser, "rule", "").await;
    let phone = json!({ "width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": true });
    browser.cdp().send_raw("Emulation.setDeviceMetricsOverride", phone).await.unwrap();
    let widths = browser.execute("return document.documentElement.scrollWidth", []).await.unwrap();
    assert_eq!(widths.json(), &Value::from(390), "nothing is wider than the screen");
    // A style or script that the page's own policy refuses would be told here.
    let log = browser.browser_log().await.unwrap();
    assert!(log.is_empty(), "{log:?}");
}
