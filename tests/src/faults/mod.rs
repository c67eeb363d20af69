//! Fault runs: the service binaries and a real nats-server, while processes are killed and frozen, connections cut and
//! held, and the server killed; requests come in meanwhile, and some are refused or cancelled. What comes out must be what
//! comes out without faults. Each process has an identity of its own, talks TLS, and its clock is wrong by minutes.
//!
//! The plan of the faults is a function of the seed; what they hit depends on the machine.

pub mod binaries;
mod check;
mod detours;
mod fleet;
mod plan;
mod poison;
pub(crate) mod process;
mod proxy;
mod pushes;
mod scheduled;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use secretscan_bus::access::Identity;
use secretscan_bus::door::AskError;
use secretscan_bus::{Bus, NatsConfig};
use secretscan_detect::{HashKey, RuleSet, Scanner};
use secretscan_model::{RepositoryId, RequestId};
use secretscan_proto::v1;
use secretscan_testkit::{GeneratedRepository, Random, TestServer, generate};
use tokio::task::JoinSet;

pub use check::Checked;
pub use plan::{Fault, Planned, plan};
pub use poison::{Poisoned, poison};

use crate::Users;
use crate::standing::where_all_stands;
use detours::{Detour, give_batches_back};
pub(crate) use fleet::wait;
use fleet::{Fleet, FleetOptions};
use pushes::Host;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Makes the repositories and the plan of the faults.
    pub seed: u64,
    /// How many repositories are scanned.
    pub repositories: usize,
    /// How long faults happen.
    pub duration: Duration,
    /// How many processes of each service there are.
    pub replicas: usize,
    /// How long the system may take to come to rest afterwards.
    pub patience: Duration,
    /// Where the binaries of the services are; built as this program was when absent.
    pub binaries: Option<PathBuf>,
    /// Where logs stay; a temporary directory, removed at the end, when absent.
    pub dir: Option<PathBuf>,
    /// What the services log, as `tracing` filters say it.
    pub log: String,
}

impl Options {
    /// How long all that is asked for may take: it goes on until each process has crashed where it is to.
    fn limit(&self) -> Duration {
        self.duration + self.patience * 2
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            repositories: 200,
            duration: Duration::from_secs(600),
            replicas: 3,
            patience: Duration::from_secs(300),
            binaries: None,
            dir: None,
            log: "info".into(),
        }
    }
}

/// What a run did and saw.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Requests sent again because no answer came.
    pub sent_again: u64,
    /// Messages handled that had been delivered before, as far as processes lived to say so.
    pub redeliveries: u64,
    /// Writes refused because the claim was lost, likewise.
    pub fenced: u64,
    /// Writes refused because another wrote first, likewise.
    pub races: u64,
    /// Processes that ended by themselves: those that found no server when they started.
    pub ended_by_themselves: u64,
    /// What was compared.
    pub checked: Checked,
    /// From the first request until everything had ended.
    pub elapsed: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in &self.faults {
            writeln!(f, "  {kind}: {count}")?;
        }
        let checked = &self.checked;
        writeln!(f, "  services that found no server and were started again: {}", self.ended_by_themselves)?;
        writeln!(f, "  requests sent again: {}", self.sent_again)?;
        writeln!(f, "  redeliveries handled: {}", self.redeliveries)?;
        writeln!(f, "  late writes fenced off: {}; races lost: {}", self.fenced, self.races)?;
        write!(
            f,
            "  {:.0} s; {} requests completed, {} batches ended, {} commits in the ledger once, {} findings as expected, \
             {} statuses told once",
            self.elapsed.as_secs_f64(),
            checked.requests,
            checked.batches,
            checked.commits,
            checked.findings,
            checked.statuses
        )
    }
}

const KEY: &[u8] = b"a key of thirty-two bytes or more";
/// Short, so that a frozen process outlives it in a short run.
const ACK_WAIT: Duration = Duration::from_secs(3);

/// A repository and what is asked of it.
struct Target {
    generated: GeneratedRepository,
    requests: Vec<RequestId>,
}

impl Target {
    fn uri(&self) -> String {
        self.generated.repository.path().to_string_lossy().into_owned()
    }
}

/// What stands when a run begins: the server, the services, the repositories.
struct Stage {
    bus: Bus,
    client: async_nats::Client,
    fleet: Arc<Fleet>,
    targets: Vec<Target>,
    /// Scanned after a scan of it was cancelled.
    cancelled: Target,
    /// Scanned because its host tells of pushes.
    pushed: Target,
    /// Scanned because a schedule says so.
    scheduled: Target,
    /// Scanned again because its ledger knows it scanned with other rules.
    outdated: Target,
    host: Host,
    rules: Arc<RuleSet>,
    logs: PathBuf,
    _files: (tempfile::TempDir, Users),
}

/// What came of the requests.
struct Asked {
    /// The ids of the repositories, in the order of [`Stage::all_targets`].
    repositories: Vec<RepositoryId>,
    sent_again: u64,
    /// At most so many messages are dead letters.
    refused: u64,
}

/// How a stage is set.
struct StageOptions<'a> {
    run: &'a Options,
    ack_wait: Duration,
    /// Points at which processes crash, each once; needs services built with them.
    fail_points: BTreeSet<String>,
    /// What makes every process crash that comes to it.
    poison: Option<BTreeSet<String>>,
}

impl Stage {
    async fn set(options: StageOptions<'_>, say: &impl Fn(&str)) -> anyhow::Result<Self> {
        let StageOptions { run, ack_wait, fail_points, poison } = options;
        let temporary = tempfile::tempdir()?;
        let dir = run.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
        std::fs::create_dir_all(&dir)?;
        let (built, to) = (run.binaries.clone(), temporary.path().to_owned());
        let binaries = tokio::task::spawn_blocking(move || match built {
            Some(from) => Ok(binaries::of(&from)),
            None => binaries::build(&to),
        });
        let binaries = binaries.await??;
        let (seed, count) = (run.seed, run.repositories);
        let made = move || {
            let (cancelled, pushed) = (make_cancelled(seed)?, make_pushed(seed)?);
            let (scheduled, outdated) = (make_scheduled(seed)?, make_outdated(seed)?);
            anyhow::Ok((make_targets(seed, count)?, cancelled, pushed, scheduled, outdated))
        };
        let (targets, cancelled, pushed, scheduled, outdated) = tokio::task::spawn_blocking(made).await??;
        say(&format!("{} repositories are made", count + 3));
        let users = Users::with_tls()?;
        let server = TestServer::start_with(users.server_config()?).await?;
        let (url, setup) = (server.url(), Identity::Setup);
        let bus = Bus::connect(&NatsConfig { ack_wait, ..users.config(&url, setup) }).await?;
        let client = users.client_options(setup)?.connect(url).await?;
        let key_file = dir.join("key");
        std::fs::write(&key_file, KEY)?;
        let all = targets.iter().chain([&cancelled, &pushed, &scheduled, &outdated]);
        let (rules, rules_file) = few_rules(all, &dir)?;
        let host = Host::start(&dir, &pushed).await?;
        let options = FleetOptions {
            binaries: &binaries,
            replicas: run.replicas,
            ack_wait,
            dir: &dir,
            key_file: &key_file,
            rules_file: &rules_file,
            host: &host,
            log: &run.log,
            users: &users,
            fail_points,
            poison,
        };
        let fleet = Fleet::start(server, &options).await?;
        let (logs, files) = (dir.join("logs"), (temporary, users));
        Ok(Self {
            bus,
            client,
            fleet,
            targets,
            cancelled,
            pushed,
            scheduled,
            outdated,
            host,
            rules,
            logs,
            _files: files,
        })
    }

    fn all_targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().chain([&self.cancelled, &self.pushed, &self.scheduled, &self.outdated])
    }

    /// Sends all requests, those that complete and those that don't, and waits until they have ended.
    async fn ask(&self, options: &Options) -> anyhow::Result<Asked> {
        let detour =
            |number| Detour { bus: &self.bus, name: format!("s{}-{number}", options.seed), refused: 0 };
        let mut with_batches = detour(0);
        // A process crashes once at each point, and then another goes on after it.
        let mut without: Vec<Detour<'_>> = (1..=4).map(detour).collect();
        let (mut refused, mut by_schedule, mut again) = (detour(5), detour(6), detour(7));
        let version = Scanner::new(self.rules.clone()).version();
        let ((mut repositories, sent_again), _, (), cancelled, pushed, scheduled, outdated) = tokio::try_join!(
            ask(&self.bus, &self.targets, options.duration),
            futures::future::try_join_all(without.iter_mut().map(Detour::without_history)),
            refused.refusals(&self.fleet),
            with_batches.with_batches(&self.cancelled, &self.fleet),
            self.host.tell(&self.bus, &self.pushed, self.fleet.webhooks(), options.duration.mul_f64(0.8)),
            by_schedule.schedule(&self.scheduled, &self.fleet),
            again.with_other_rules(&self.outdated, &version, &self.fleet),
        )?;
        repositories.extend([cancelled, pushed, scheduled, outdated]);
        let detours = without.iter().chain([&with_batches, &refused, &by_schedule, &again]);
        let refused = detours.map(|detour| detour.refused).sum();
        Ok(Asked { repositories, sent_again, refused })
    }

    /// Waits until all that was asked for and all that was pushed is scanned.
    async fn ended(&self, patience: Duration) -> anyhow::Result<()> {
        check::ended(&self.bus, self.all_targets(), patience).await?;
        check::pushed(&self.bus, &self.host, &self.pushed, patience).await
    }

    /// Does something while the fleet is supervised; an error says where all stands when it takes longer than the limit.
    async fn supervised<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            worked = work => worked,
            supervised = self.fleet.supervise() => {
                supervised?;
                anyhow::bail!("the supervision ended");
            }
            () = wait(limit) => {
                let points = self.fleet.fail_points_left();
                let standing = where_all_stands(&self.bus).await;
                anyhow::bail!("not done after {limit:?}; points where nobody has crashed: {points:?}\n{standing}");
            }
        }
    }

    /// Waits until everything is at rest, stops the services, and compares.
    async fn check(&self, asked: &Asked, patience: Duration) -> anyhow::Result<Checked> {
        let jetstream = async_nats::jetstream::new(self.client.clone());
        self.supervised(patience * 2, check::drained(&self.bus, &jetstream, patience)).await?;
        self.fleet.stop().await?;
        let key = HashKey::from_bytes(KEY);
        let by = (&self.rules, &key);
        let targets: Vec<_> = self.all_targets().zip(&asked.repositories).collect();
        let mut checked = check::everything(&self.bus, &targets, by).await?;
        checked.statuses = self.host.statuses()?;
        check::alerts(&jetstream).await?;
        check::nothing_is_left(&self.bus, &jetstream, asked.refused, patience).await?;
        check::logs(&self.logs)?;
        Ok(checked)
    }
}

/// Does a run; an error says what did not hold.
///
/// # Errors
/// When something could not be started, or the system did not do what it must.
pub async fn run(options: &Options, say: impl Fn(&str)) -> anyhow::Result<Outcome> {
    let stage = StageOptions { run: options, ack_wait: ACK_WAIT, fail_points: BTreeSet::new(), poison: None };
    let stage = Stage::set(stage, &say).await?;
    let started = Instant::now();
    let worked = async {
        let (asked, faults) = tokio::try_join!(stage.ask(options), inflict(&stage.fleet, options, &say))?;
        say(&format!("faults are over after {:.0} s", started.elapsed().as_secs_f64()));
        stage.ended(options.patience).await?;
        Ok((asked, faults))
    };
    let (asked, faults) = stage.supervised(options.limit(), worked).await?;
    let elapsed = started.elapsed();
    say(&format!("all requests have ended after {:.0} s", elapsed.as_secs_f64()));
    let checked = stage.check(&asked, options.patience).await?;

    let counters = stage.fleet.counters();
    let sum = |wanted: &str| {
        counters.iter().filter(|(name, _)| name.contains(wanted)).map(|(_, value)| value).sum::<u64>()
    };
    Ok(Outcome {
        faults,
        sent_again: asked.sent_again,
        redeliveries: sum("redeliveries"),
        fenced: sum("lease-lost"),
        races: sum("race-lost"),
        ended_by_themselves: stage.fleet.ended().values().sum(),
        checked,
        elapsed,
    })
}

/// What a run of crash points did.
#[derive(Clone, Debug, Default)]
pub struct Crashes {
    /// The points at which a process crashed.
    pub reached: BTreeSet<String>,
    /// What was compared.
    pub checked: Checked,
}

/// Scans while a process crashes once at each of these points, and compares. Requests go on until all points are reached
/// or all repositories are scanned.
///
/// # Errors
/// When something could not be started, or the system did not do what it must.
pub async fn crash_at(
    points: BTreeSet<String>,
    options: &Options,
    say: impl Fn(&str),
) -> anyhow::Result<Crashes> {
    // The shortest that there is: after each crash the work waits this long.
    let ack_wait = Duration::from_secs(1);
    let stage = StageOptions { run: options, ack_wait, fail_points: points.clone(), poison: None };
    let stage = Stage::set(stage, &say).await?;
    let worked = async {
        let asked = async {
            let asked = stage.ask(options).await?;
            stage.ended(options.patience).await?;
            Ok(asked)
        };
        tokio::pin!(asked);
        tokio::select! {
            asked = &mut asked => asked,
            given_back = give_batches_back(&stage.fleet, &stage.client) => {
                given_back?;
                asked.await
            }
        }
    };
    let asked = stage.supervised(options.limit(), worked).await?;
    let checked = stage.check(&asked, options.patience).await?;
    let left = stage.fleet.fail_points_left();
    Ok(Crashes { reached: points.difference(&left).cloned().collect(), checked })
}

/// Only the rules of what was planted: what is tested here is not the rules, and all of them take the oracle long.
fn few_rules<'a>(
    targets: impl Iterator<Item = &'a Target>,
    dir: &Path,
) -> anyhow::Result<(Arc<RuleSet>, PathBuf)> {
    let planted = targets.flat_map(|target| &target.generated.planted);
    let wanted: BTreeSet<&str> = planted.map(|planted| planted.rule_id).collect();
    let builtin = secretscan_rules::builtin();
    let others = builtin.rules().iter().map(|rule| rule.id.to_string());
    let others: Vec<String> = others.filter(|id| !wanted.contains(id.as_str())).collect();
    let file = dir.join("rules.toml");
    let text = format!("[extend]\nuseDefault = true\ndisabledRules = {}\n", serde_json::to_string(&others)?);
    std::fs::write(&file, text)?;
    let rules = RuleSet::load(&file, Some(&builtin)).context("the rules of the run")?;
    anyhow::ensure!(rules.rules().len() == wanted.len(), "{} rules are left", rules.rules().len());
    Ok((Arc::new(rules), file))
}

fn make_targets(seed: u64, count: usize) -> anyhow::Result<Vec<Target>> {
    let mut random = Random::new(seed);
    (0..count)
        .map(|number| {
            let generated = generate(seed.wrapping_mul(10_000) + number as u64, 25 + random.below(40))?;
            // Now and then two at once for the same repository.
            let requests = 1 + usize::from(random.percent(20));
            let requests = (0..requests)
                .map(|request| RequestId::parse(&format!("s{seed}-{number}-{request}")).context("an id"))
                .collect::<anyhow::Result<_>>()?;
            Ok(Target { generated, requests })
        })
        .collect()
}

/// Many batches, so that some are on their way when it is cancelled.
fn make_cancelled(seed: u64) -> anyhow::Result<Target> {
    let generated = generate(seed.wrapping_mul(10_000) + 9_999, 200)?;
    Ok(Target { generated, requests: vec![RequestId::parse(&format!("s{seed}-again"))?] })
}

/// Commits enough that some join a request that waits and some come while one is fetched.
fn make_pushed(seed: u64) -> anyhow::Result<Target> {
    Ok(Target { generated: generate(seed.wrapping_mul(10_000) + 9_998, 60)?, requests: vec![] })
}

/// Few commits: it is scanned again and again.
fn make_scheduled(seed: u64) -> anyhow::Result<Target> {
    Ok(Target { generated: generate(seed.wrapping_mul(10_000) + 9_997, 30)?, requests: vec![] })
}

/// Batches enough that a process can crash in the midst of them. It is scanned again, and then what was forgotten.
fn make_outdated(seed: u64) -> anyhow::Result<Target> {
    let requests = ["rescan", "forgotten"].map(|name| RequestId::parse(&format!("s{seed}-{name}")));
    let requests = requests.into_iter().collect::<Result<_, _>>()?;
    Ok(Target { generated: generate(seed.wrapping_mul(10_000) + 9_996, 60)?, requests })
}

/// Sends all requests, spread over most of the time, each until it is answered. Gives the repositories' ids and how
/// many requests were sent again.
async fn ask(bus: &Bus, targets: &[Target], duration: Duration) -> anyhow::Result<(Vec<RepositoryId>, u64)> {
    let pause = duration.mul_f64(0.8) / u32::try_from(targets.len().max(1))?;
    let asked = targets.iter().enumerate().map(|(index, target)| async move {
        wait(pause * u32::try_from(index)?).await;
        let uri = target.uri();
        let asked = target.requests.iter().map(|id| ask_one(bus, id, &uri));
        let answers = futures::future::try_join_all(asked).await?;
        let again: u64 = answers.iter().map(|(_, again)| again).sum();
        let (repository, _) = answers.into_iter().next().context("a request")?;
        anyhow::Ok((repository, again))
    });
    let asked = futures::future::try_join_all(asked).await?;
    let again = asked.iter().map(|(_, again)| again).sum();
    Ok((asked.into_iter().map(|(repository, _)| repository).collect(), again))
}

async fn ask_one(bus: &Bus, id: &RequestId, uri: &str) -> anyhow::Result<(RepositoryId, u64)> {
    let request = v1::NewRepositoryScan {
        request_id: id.to_string(),
        uri: uri.to_owned(),
        ..v1::NewRepositoryScan::default()
    };
    let mut again = 0;
    loop {
        match bus.request_scan(&request).await {
            Ok(answer) => {
                anyhow::ensure!(answer.error.is_empty(), "the request {id} is refused: {}", answer.error);
                return Ok((answer.repository_id.parse()?, again));
            }
            Err(AskError::NoAnswer { .. }) => {}
            // No server for a moment.
            Err(AskError::Send { .. }) => wait(Duration::from_millis(200)).await,
        }
        again += 1;
    }
}

/// Makes the faults happen as planned; gives how many of each kind.
async fn inflict(
    fleet: &Arc<Fleet>,
    options: &Options,
    say: impl Fn(&str),
) -> anyhow::Result<BTreeMap<&'static str, u64>> {
    let started = tokio::time::Instant::now();
    let mut happening = JoinSet::new();
    let mut counts = BTreeMap::new();
    for planned in plan(options.seed, options.duration, fleet.size(), ACK_WAIT) {
        tokio::time::sleep_until(started + planned.at).await;
        say(&planned.to_string());
        *counts.entry(planned.fault.kind()).or_default() += 1;
        let fleet = fleet.clone();
        happening.spawn(async move { fleet.suffer(planned.fault).await });
        while let Some(ended) = happening.try_join_next() {
            ended??;
        }
    }
    while let Some(ended) = happening.join_next().await {
        ended??;
    }
    tokio::time::sleep_until(started + options.duration).await;
    Ok(counts)
}
