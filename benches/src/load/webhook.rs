//! Pushes per second that the webhook takes, how long each waits for its answer, and what a crash of nats-server costs.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use secretscan_bus::access::Identity;
use secretscan_bus::queue::Verdict;
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, Stop, v1};
use secretscan_testkit::eventually;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Arguments;
use crate::delivery::{Connection, Signer, id};
use crate::table::{Row, figures, quantile, usages};
use secretscan_benches::system::{System, since};

/// Deliveries per second that are to be taken.
const RATE: f64 = 2_000.0;
/// Within what most are answered, in milliseconds, at the rate that is offered.
const LATENCY: f64 = 10.0;
/// Connections.
const CONNECTIONS: usize = 32;
/// How long the webhook may take to come up, and a push to be taken after a crash.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long nothing may come before reading what is stored is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures it.
pub async fn measure(arguments: &Arguments, binaries: &Path) -> anyhow::Result<String> {
    let mut system = System::start_server().await?;
    let address = start(&mut system, binaries).await?;
    let (count, rate) = (arguments.deliveries(), arguments.rate);

    let before = system.usages()?;
    let mut run = deliver(address, Load { name: "as-taken", count, rate: None }).await?;
    let used = since(&before, system.usages()?);
    run.expect_all_taken()?;
    let rows = [
        Row::at_least("taken (202)", count as f64 / run.took.as_secs_f64(), RATE, "/s"),
        Row::new("answered within, p50", milliseconds(run.quantile(0.5))),
        Row::new("answered within, p99", milliseconds(run.quantile(0.99))),
    ];
    let title = format!("{count} deliveries over {CONNECTIONS} connections, as fast as they are taken");
    let mut text = format!("Webhook.\n\n{}\n{}\n", figures(&title, &rows), usages("process", &used));

    let mut run = deliver(address, Load { name: "paced", count: count / 2, rate: Some(rate) }).await?;
    run.expect_all_taken()?;
    let rows = [
        Row::new("answered within, p50", milliseconds(run.quantile(0.5))),
        Row::below("answered within, p99", run.quantile(0.99) as f64 / 1e3, LATENCY, " ms"),
    ];
    text.push_str(&figures(&format!("{} deliveries, {rate} offered each second", count / 2), &rows));
    text.push('\n');
    let load = Load { name: "crash", count, rate: Some(rate) };
    let (system, crash) = crash(system, address, load).await?;
    system.stop().await?;
    text.push_str(&crash);
    Ok(text)
}

/// Starts a webhook; gives its address.
async fn start(system: &mut System, binaries: &Path) -> anyhow::Result<SocketAddr> {
    let secret = system.write("secret", &secret())?;
    let variables = [
        ("SECRETSCAN_WEBHOOK__LISTEN", "127.0.0.1:0".to_owned()),
        ("SECRETSCAN_SERVICE__LOG", "error,secretscan_webhook::server=info".to_owned()),
        ("SECRETSCAN_SOURCES__GITHUB__KIND", "github".to_owned()),
        ("SECRETSCAN_SOURCES__GITHUB__SECRET_FILE", secret.display().to_string()),
        ("SECRETSCAN_SOURCES__GITHUB__BASE_URL", "https://github.example/".to_owned()),
    ];
    system.start_service(binaries, Identity::Webhook, &variables)?;
    let log = system.log(Identity::Webhook);
    let listening = eventually(DEADLINE, "the webhook listens", async || {
        let said = std::fs::read_to_string(&log).ok()?;
        let (_, address) = said.split_once("address=")?;
        address.split_whitespace().next()?.parse().ok()
    });
    Ok(listening.await)
}

/// Made here, so that no scanner finds one in this file.
fn secret() -> String {
    "webhook".repeat(5)
}

/// Deliveries that belong together.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    count: usize,
    /// So many a second; as fast as they are taken without.
    rate: Option<usize>,
}

/// What became of deliveries.
#[derive(Default)]
struct Run {
    /// The status of each, by number.
    answers: Vec<(usize, u16)>,
    /// How long each took from when it was due, in microseconds.
    waits: Vec<i64>,
    took: Duration,
}

impl Run {
    fn quantile(&mut self, share: f64) -> i64 {
        quantile(&mut self.waits, share)
    }

    fn with(&self, status: u16) -> impl Iterator<Item = usize> {
        self.answers.iter().filter(move |(_, answer)| *answer == status).map(|(number, _)| *number)
    }

    fn expect_all_taken(&self) -> anyhow::Result<()> {
        let other = self.answers.iter().find(|(_, status)| *status != 202);
        anyhow::ensure!(other.is_none(), "a delivery (number, status) was not taken: {other:?}");
        Ok(())
    }
}

/// Delivers over all connections.
async fn deliver(address: SocketAddr, load: Load) -> anyhow::Result<Run> {
    eprintln!("webhook: {} deliveries, {}", load.count, load.name);
    let signer = Arc::new(Signer::new(&secret())?);
    let (next, started) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        connections.spawn(deliver_over(address, load, signer.clone(), next.clone(), started));
    }
    let mut run = Run::default();
    while let Some(ended) = connections.join_next().await {
        let one = ended.context("a connection panicked")??;
        run.answers.extend(one.answers);
        run.waits.extend(one.waits);
    }
    run.took = started.elapsed();
    Ok(run)
}

async fn deliver_over(
    address: SocketAddr,
    load: Load,
    signer: Arc<Signer>,
    next: Arc<AtomicUsize>,
    started: Instant,
) -> anyhow::Result<Run> {
    let mut connection = Connection::new(address);
    let mut run = Run::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= load.count {
            return Ok(run);
        }
        let delivery = signer.delivery(load.name, number);
        let due = match load.rate {
            Some(rate) => started + Duration::from_secs_f64(number as f64 / rate as f64),
            None => Instant::now(),
        };
        tokio::time::sleep_until(due).await;
        let status = connection.send(&delivery).await?;
        run.answers.push((number, status));
        run.waits.push(i64::try_from(due.elapsed().as_micros())?);
    }
}

/// Kills nats-server in the midst of deliveries, and compares what was answered with what is stored.
async fn crash(system: System, address: SocketAddr, load: Load) -> anyhow::Result<(System, String)> {
    let delivering = tokio::spawn(deliver(address, load));
    let half = load.count as f64 / load.rate.map_or(RATE, |rate| rate as f64) / 2.0;
    tokio::time::sleep_until(Instant::now() + Duration::from_secs_f64(half)).await;
    let crashed = Instant::now();
    let system = system.crash_server().await?;
    let away = crashed.elapsed();
    let run = delivering.await.context("delivering")??;
    let again: Vec<usize> = run.with(503).collect();
    let taken: Vec<usize> = run.with(202).collect();
    let signer = Signer::new(&secret())?;
    let mut connection = Connection::new(address);
    let mut stored_before = 0;
    for number in &again {
        let delivery = signer.delivery(load.name, *number);
        let status = connection.send(&delivery).await?;
        anyhow::ensure!(matches!(status, 202 | 409), "{status} for a delivery that was sent again");
        stored_before += usize::from(status == 409);
    }
    let bus = system.connect(Identity::Setup).await?;
    let stored = stored(&bus, load.name).await?;
    let distinct: HashSet<&String> = stored.iter().collect();
    let lost = taken.iter().filter(|number| !distinct.contains(&id(load.name, **number))).count();
    let rows = [
        Row::new("nats-server was away for", milliseconds(i64::try_from(away.as_micros())?)),
        Row::new("answered with 202", taken.len().to_string()),
        Row::new("answered with 503", again.len().to_string()),
        Row::new("answered otherwise", (run.answers.len() - taken.len() - again.len()).to_string()),
        Row::new("of the 503, taken all the same", stored_before.to_string()),
        Row::below("answered with 202 and not stored", lost as f64, 1.0, ""),
        Row::new("stored after all 503 were sent again", stored.len().to_string()),
        Row::below("stored twice", (stored.len() - distinct.len()) as f64, 1.0, ""),
    ];
    let title = format!("{} deliveries, nats-server killed in their midst", load.count);
    Ok((system, figures(&title, &rows)))
}

/// The deliveries of a measurement whose pushes are stored.
async fn stored(bus: &Bus, name: &str) -> anyhow::Result<Vec<String>> {
    let stop = Stop::new();
    let mut deliveries = std::pin::pin!(bus.deliveries(Queue::Pushes, 1_000, &stop));
    let mut stored = Vec::new();
    for _ in 0..bus.unfinished(Queue::Pushes).await? {
        let next = tokio::time::timeout(PATIENCE, deliveries.next()).await.context("reading the pushes")?;
        let delivery = next.context("the pushes ended")?;
        let push: v1::PushReceived = delivery.decode()?;
        bus.settle(&delivery, Verdict::Done).await?;
        stored.extend(push.delivery.starts_with(name).then_some(push.delivery));
    }
    Ok(stored)
}

fn milliseconds(microseconds: i64) -> String {
    format!("{:.1} ms", microseconds as f64 / 1e3)
}
