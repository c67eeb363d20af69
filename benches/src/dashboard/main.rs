//! How long the dashboard's API takes for pages of lists over a million findings.
//!
//! The records are generated and written into the index by the code that writes those of the buckets; requests go over HTTP on the
//! loopback address, one after the other, each for another page.
#![allow(clippy::print_stdout, reason = "a program for people")]

mod records;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use data_encoding::HEXLOWER;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secretscan_bus::{Bus, NatsConfig, Stop};
use secretscan_dashboard::index::Index;
use secretscan_dashboard::state::App;
use secretscan_dashboard::{Config, api};
use secretscan_testkit::TestServer;
use serde_json::Value;
use sha2::{Digest, Sha256};

use records::Size;

/// Measures the dashboard's lists
#[derive(Parser)]
struct Arguments {
    /// Findings
    #[arg(long, default_value_t = 1_000_000)]
    findings: u64,
    /// Repositories, ten to a team
    #[arg(long, default_value_t = 1_000)]
    repositories: u64,
    /// Requests
    #[arg(long, default_value_t = 100_000)]
    requests: u64,
    /// How often each list is asked for
    #[arg(long, default_value_t = 200)]
    times: usize,
}

/// May see everything, the repositories of one team, or of half of the teams.
const PEOPLE: [(&str, &str); 3] = [("all", ""), ("one team", "'team-7'"), ("half", "'half'")];
/// A page that takes longer misses the goal.
const GOAL: Duration = Duration::from_millis(50);

/// The lists: what it is, who asks, and where.
const LISTS: [(&str, usize, &str); 25] = [
    ("findings", 0, "/findings"),
    ("findings, newest first", 0, "/findings?sort=newest"),
    ("findings, oldest first, closed too", 0, "/findings?sort=oldest&closed=true"),
    ("findings of a repository", 0, "/findings?repository=r7"),
    ("findings of a rule", 0, "/findings?rule=rule-7"),
    ("findings of a rule in a repository", 0, "/findings?rule=rule-7&repository=r7"),
    ("findings of two severities", 0, "/findings?severity=high,low"),
    ("findings of an author", 0, "/findings?author=dev7%40example.org"),
    ("findings of a secret", 0, "/findings?hash=00000000000000000000000000000007"),
    ("findings of a week", 0, "/findings?after=2026-03-01T00:00:00Z&before=2026-03-08T00:00:00Z"),
    ("findings, false positives", 0, "/findings?triage=false-positive&closed=true"),
    ("findings, resolved", 0, "/findings?standing=resolved&closed=true"),
    ("findings, a path that many have", 0, "/findings?path=src"),
    ("findings, a path that one has", 0, "/findings?path=settings-77777.toml"),
    ("findings, a path that none has", 0, "/findings?path=nowhere"),
    ("findings, a path that none has, of a rule", 0, "/findings?path=nowhere&rule=rule-7"),
    ("findings, accepted, of which there are none", 0, "/findings?triage=accepted&closed=true"),
    ("findings, one team", 1, "/findings"),
    ("findings, half of the teams", 2, "/findings"),
    ("secrets that repositories share", 0, "/shared-secrets"),
    ("requests", 0, "/requests"),
    ("requests that failed", 0, "/requests?state=Failed"),
    ("repositories", 0, "/repositories"),
    ("overview", 0, "/overview"),
    ("overview, half of the teams", 2, "/overview"),
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let dir = tempfile::tempdir()?;
    let (index, mut writer) = Index::create(dir.path())?;
    let size = Size {
        findings: arguments.findings,
        repositories: arguments.repositories,
        requests: arguments.requests,
    };
    let started = Instant::now();
    println!("writing {size:?} into the index, which takes minutes");
    records::write(&mut writer, size)?;
    let written = started.elapsed();
    index.make_lists(&writer)?;
    println!(
        "they are in the index after {:.0} s, and the lists after {:.0} s",
        written.as_secs_f64(),
        started.elapsed().as_secs_f64()
    );
    println!(
        "the index has {} MB",
        std::fs::read_dir(dir.path())?.flatten().map(|own| bytes(&own.path())).sum::<u64>() >> 20
    );

    let server = TestServer::start().await?;
    let bus = NatsConfig { url: server.url(), name: "bench".into(), ..NatsConfig::default() };
    let base = serve(Bus::connect(&bus).await?, index, arguments.repositories).await?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    println!("\n| list | p50 | p99 | longest | goal of 50 ms |\n| --- | ---: | ---: | ---: | --- |");
    let mut is_met = true;
    for (what, who, path) in LISTS {
        let mut times = Vec::with_capacity(arguments.times);
        let mut page = path.to_owned();
        for _ in 0..arguments.times {
            let (time, next) =
                ask(&client, &base, who, &page).await.with_context(|| format!("asking for {page}"))?;
            times.push(time);
            let with = if path.contains('?') { '&' } else { '?' };
            page = next.map_or_else(|| path.to_owned(), |next| format!("{path}{with}cursor={next}"));
        }
        times.sort_unstable();
        let at = |part: usize| {
            times.get((times.len() * part / 100).min(times.len() - 1)).copied().unwrap_or_default()
        };
        let (p50, p99, longest) = (at(50), at(99), at(100));
        is_met &= p99 < GOAL;
        let verdict = if p99 < GOAL { "met" } else { "missed" };
        println!("| {what} | {:.1} ms | {:.1} ms | {:.1} ms | {verdict} |", ms(p50), ms(p99), ms(longest));
    }
    println!(
        "\nThe most memory that the process had: {} MB, its client and the generation included.",
        peak()? >> 20
    );
    ensure!(is_met, "a list misses the goal");
    Ok(())
}

/// Starts the API; gives where it is.
async fn serve(bus: Bus, index: Index, repositories: u64) -> anyhow::Result<String> {
    let mut text = format!("[auth.teams.half]\nrepositories = [{}]\n", records::half(repositories));
    text += "[auth.teams.team-7]\nrepositories = ['git.example/team-7/*']\n";
    for (name, teams) in PEOPLE {
        let hash = HEXLOWER.encode(&Sha256::digest(name.as_bytes()));
        text += &format!(
            "[[auth.tokens]]\nname = '{name}'\nrole = 'admin'\nsha256 = '{hash}'\nteams = [{teams}]\n"
        );
    }
    let config: Config = secretscan_service::parse(&text, [])?;
    let app = App::new(bus, index, &config, "http://127.0.0.1".to_owned())?;
    let router = api::router(&Stop::new()).with_state(Arc::new(app));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}/api/v1", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(base)
}

/// Asks for a page; gives how long it took, and the cursor of the next.
async fn ask(
    client: &Client<HttpConnector, Full<Bytes>>,
    base: &str,
    who: usize,
    path: &str,
) -> anyhow::Result<(Duration, Option<String>)> {
    let request =
        Request::get(format!("{base}{path}")).header("authorization", format!("Bearer {}", PEOPLE[who].0));
    let started = Instant::now();
    let response = client.request(request.body(Full::default())?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    let time = started.elapsed();
    ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
    let page: Value = serde_json::from_slice(&body)?;
    Ok((time, page["next"].as_str().map(str::to_owned)))
}

fn bytes(dir: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The peak of the resident memory, in bytes, as Linux says it.
fn peak() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM")).context("VmHWM")?;
    let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib << 10)
}
