//! A system of its own for each measurement.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use secretscan_benches::measure::middle;
use secretscan_benches::requests::{self, completed};
use secretscan_benches::system::{System, since};
use secretscan_bus::access::Identity;
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, v1};
use secretscan_model::{BatchOutcome, RepositoryScan, RequestId, ScanState};
use secretscan_testkit::GeneratedRepository;

use crate::slices::Slices;
use crate::{Arguments, Input};

/// How often it is looked whether something has come to its end.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// By then new processes have made their automata, which a regex gets as texts ask for it.
const WARM: f64 = 0.2;
/// From then on agents may find nothing more to do.
const NEARLY_DONE: f64 = 0.9;

/// What a round took.
pub struct Throughput {
    pub agents: usize,
    pub time: Duration,
    pub commits: u64,
    /// Commits per second while all agents are warm and have work.
    pub steady: f64,
    /// Processor time of the batch-agents.
    pub used: Duration,
    /// Processor time of all but the batch-agents and this program.
    pub rest: Duration,
}

impl Throughput {
    /// Commits per second, over the whole time.
    pub fn rate(&self) -> f64 {
        self.commits as f64 / self.time.as_secs_f64()
    }
}

/// What pushes waited for.
pub struct Waits {
    pub idle: Vec<Duration>,
    pub busy: Vec<Duration>,
    /// How much of the large repository was not scanned when the last push was.
    pub left: usize,
}

/// The time in the middle.
pub fn median(times: &[Duration]) -> Duration {
    middle(times.to_vec(), Duration::cmp).unwrap_or_default()
}

/// Scans everything with so many agents.
pub async fn throughput(
    binaries: &Path,
    input: &Input,
    agents: usize,
    arguments: &Arguments,
) -> anyhow::Result<Throughput> {
    let mut system = start(binaries, arguments.batch).await?;
    let bus = system.connect(Identity::Cli).await?;
    let mut asked = Vec::new();
    for repository in std::iter::once(&input.large).chain(&input.small) {
        asked.push(ask(&bus, repository, v1::Priority::OnDemand).await?);
    }
    for request in &asked {
        until(async || Ok(bus.scan(request).await?.is_some_and(|scan| is_cut(&scan)))).await?;
    }
    // All are with the scheduler.
    until(async || Ok(bus.unfinished(Queue::NewBatches).await? == 0)).await?;
    start_agents(&mut system, binaries, &bus, agents).await?;
    let slices = Slices::hold(&system.pids(Identity::BatchAgent), arguments.slice);
    let (before, started) = (system.usages()?, Instant::now());
    let (from, first) = scanned_at(&bus, &asked, WARM).await?;
    let (to, last) = scanned_at(&bus, &asked, NEARLY_DONE).await?;
    let steady = (last - first) as f64 / (to - from).as_secs_f64();
    let mut commits = 0;
    for request in &asked {
        commits += completed(&bus, request).await?.totals().commits;
    }
    let time = started.elapsed();
    let used = since(&before, system.usages()?);
    let of_agents = |name: &str| name == Identity::BatchAgent.name();
    let sum =
        |of: &dyn Fn(&str) -> bool| used.iter().filter(|(name, ..)| of(name)).map(|(_, _, cpu)| *cpu).sum();
    let rest = sum(&|name| !of_agents(name) && name != "this program");
    let used_by_agents = sum(&of_agents);
    drop(slices);
    system.stop().await?;
    Ok(Throughput { agents, time, commits, steady, used: used_by_agents, rest })
}

/// When this share of the large repository, which is the first, is scanned, and how many commits of all are then.
async fn scanned_at(bus: &Bus, asked: &[RequestId], share: f64) -> anyhow::Result<(Instant, u64)> {
    let large = asked.first().context("nothing was asked for")?;
    until(async || {
        let scan = bus.scan(large).await?.context("the request is gone")?;
        let ended = scan.batches.values().filter(|outcome| **outcome != BatchOutcome::Open).count();
        Ok(ended as f64 >= share * scan.batches.len() as f64)
    })
    .await?;
    let (at, mut commits) = (Instant::now(), 0);
    for request in asked {
        commits += bus.scan(request).await?.context("the request is gone")?.totals().commits;
    }
    Ok((at, commits))
}

/// Asks for small repositories as a push does: first while nothing else goes on, then while the large one is scanned by
/// batch-agents that take all of the processor that they get.
pub async fn pushes(binaries: &Path, input: &Input, arguments: &Arguments) -> anyhow::Result<Waits> {
    let mut system = start(binaries, arguments.batch).await?;
    let bus = system.connect(Identity::Cli).await?;
    start_agents(&mut system, binaries, &bus, 2).await?;
    let count = usize::try_from(arguments.pushes)?.min(input.small.len() / 2);
    let (first, second) = input.small.split_at(input.small.len() / 2);
    let idle = each_push(&bus, &first[..count]).await?;
    let large = ask(&bus, &input.large, v1::Priority::OnDemand).await?;
    // All slots are taken by it.
    until(async || Ok(bus.unfinished(Queue::ScheduledBatches).await? >= 2)).await?;
    let busy = each_push(&bus, &second[..count]).await?;
    let scan = bus.scan(&large).await?;
    let left = scan
        .map_or(0, |scan| scan.batches.values().filter(|outcome| **outcome == BatchOutcome::Open).count());
    ensure!(left > 0, "the large repository was scanned before the last push; see --commits");
    system.stop().await?;
    Ok(Waits { idle, busy, left })
}

async fn each_push(bus: &Bus, repositories: &[GeneratedRepository]) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for repository in repositories {
        let started = Instant::now();
        let request = ask(bus, repository, v1::Priority::Reactive).await?;
        completed(bus, &request).await?;
        times.push(started.elapsed());
    }
    Ok(times)
}

/// All but batch-agents.
async fn start(binaries: &Path, batch: usize) -> anyhow::Result<System> {
    let mut system = System::start_server().await?;
    let path = |name: &str| system.dir().join(name).to_string_lossy().into_owned();
    let local = |name| (name, "true".to_owned());
    let services = [
        (Identity::Controller, vec![local("SECRETSCAN_POLICY__ALLOW_LOCAL")]),
        (Identity::Scheduler, vec![]),
        (
            Identity::RepoAgent,
            vec![
                local("SECRETSCAN_FETCH__ALLOW_LOCAL"),
                ("SECRETSCAN_MIRRORS__DIR", path("mirrors")),
                ("SECRETSCAN_BATCHES__MAX_COMMITS", batch.to_string()),
                ("SECRETSCAN_BATCHES__MAX_OPEN", "100000".to_owned()),
            ],
        ),
    ];
    for (identity, variables) in services {
        system.start_service(binaries, identity, &variables)?;
    }
    // Who asks before the controller listens gets no answer; it is up before the repo-agent is.
    let bus = system.connect(Identity::Cli).await?;
    until(async || Ok(!bus.agents().await?.is_empty())).await?;
    Ok(system)
}

async fn start_agents(system: &mut System, binaries: &Path, bus: &Bus, count: usize) -> anyhow::Result<()> {
    let key = system.write("key", "a key of thirty-two bytes or more")?;
    let variables = [
        ("SECRETSCAN_SCAN__KEY_FILE", key.to_string_lossy().into_owned()),
        ("SECRETSCAN_SCAN__THREADS", "1".to_owned()),
        ("SECRETSCAN_AGENT__SLOTS", "1".to_owned()),
    ];
    for _ in 0..count {
        system.start_service(binaries, Identity::BatchAgent, &variables)?;
    }
    until(async || Ok(bus.agents().await?.len() > count)).await
}

async fn ask(
    bus: &Bus,
    repository: &GeneratedRepository,
    priority: v1::Priority,
) -> anyhow::Result<RequestId> {
    requests::ask(bus, &repository.repository.path().to_string_lossy(), priority).await
}

/// Whether all its batches are there.
fn is_cut(scan: &RepositoryScan) -> bool {
    scan.state.is_terminal() || matches!(scan.state, ScanState::InProgress { is_listed: true, .. })
}

#[expect(clippy::disallowed_methods, reason = "nothing tells of it")]
async fn until(mut is_so: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    while !is_so().await? {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}
