//! The services of a fault run, each a process of its own behind a proxy of its own, and what faults do to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use secretscan_bus::access::Identity;
use secretscan_testkit::TestServer;
use tokio::sync::MutexGuard;
use tokio::time::{Instant, sleep_until};

use super::plan::Fault;
use super::process::{Counters, Left, Process};
use super::proxy::{Proxy, SharedProxy};
use super::pushes::Host;
use crate::Users;

/// A place in the fleet: its processes follow each other.
struct Member {
    service: &'static str,
    name: String,
    binary: PathBuf,
    variables: Vec<(String, String)>,
    logs: PathBuf,
    proxy: SharedProxy,
    slot: tokio::sync::Mutex<Slot>,
    /// Where processes are still to crash.
    fail_points: Arc<Mutex<BTreeSet<String>>>,
    poison: BTreeSet<String>,
}

#[derive(Default)]
struct Slot {
    process: Option<Process>,
    starts: u32,
    /// While a fault holds the member, nobody starts another process.
    is_down: bool,
}

/// All services, and the server.
pub(super) struct Fleet {
    members: Vec<Member>,
    pub(super) server: tokio::sync::Mutex<TestServer>,
    counted: Mutex<Counters>,
    ended_by_themselves: Mutex<BTreeMap<&'static str, u64>>,
    fail_points: Arc<Mutex<BTreeSet<String>>>,
    webhooks: Vec<SocketAddr>,
}

/// What a fleet is made of.
pub(super) struct FleetOptions<'a> {
    pub(super) binaries: &'a HashMap<&'static str, PathBuf>,
    pub(super) replicas: usize,
    pub(super) ack_wait: Duration,
    pub(super) dir: &'a Path,
    pub(super) key_file: &'a Path,
    pub(super) rules_file: &'a Path,
    pub(super) host: &'a Host,
    pub(super) log: &'a str,
    pub(super) users: &'a Users,
    pub(super) fail_points: BTreeSet<String>,
    /// Where every process crashes, always. Then requests have the attempts that they have by default, not endless ones.
    pub(super) poison: Option<BTreeSet<String>>,
}

/// The services that a scan goes through, and those beside it that write.
const SCANNING: [&str; 6] = ["controller", "scheduler", "repo-agent", "batch-agent", "webhook", "notifier"];

impl Fleet {
    /// Starts them on this server.
    pub(super) async fn start(server: TestServer, options: &FleetOptions<'_>) -> anyhow::Result<Arc<Self>> {
        let port: u16 =
            server.url().rsplit_once(':').map(|(_, port)| port.parse()).expect("a URL has a port")?;
        let logs = options.dir.join("logs");
        std::fs::create_dir_all(&logs)?;
        let fail_points = Arc::new(Mutex::new(options.fail_points.clone()));
        let (mut members, mut webhooks) = (Vec::new(), Vec::new());
        for service in SCANNING {
            for number in 1..=options.replicas {
                let proxy = Proxy::start(port).await?;
                let name = format!("{service}-{number}");
                let mut variables = variables(service, &name, &proxy.url(), members.len(), options)?;
                if service == "webhook" {
                    // One that the system has picked, and that its next process listens at, too.
                    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
                    variables.push(("SECRETSCAN_WEBHOOK__LISTEN".into(), address.to_string()));
                    webhooks.push(address);
                }
                members.push(Member {
                    service,
                    binary: options.binaries[service].clone(),
                    variables,
                    logs: logs.clone(),
                    proxy: Arc::new(proxy),
                    slot: tokio::sync::Mutex::default(),
                    fail_points: fail_points.clone(),
                    poison: options.poison.clone().unwrap_or_default(),
                    name,
                });
            }
        }
        let fleet = Self {
            members,
            server: tokio::sync::Mutex::new(server),
            counted: Mutex::default(),
            ended_by_themselves: Mutex::default(),
            fail_points,
            webhooks,
        };
        for member in &fleet.members {
            member.start(&mut *member.slot.lock().await)?;
        }
        Ok(Arc::new(fleet))
    }

    /// Where the webhooks listen.
    pub(super) fn webhooks(&self) -> &[SocketAddr] {
        &self.webhooks
    }

    /// How many members there are.
    pub(super) fn size(&self) -> usize {
        self.members.len()
    }

    /// Starts what has ended by itself, as an orchestrator does, and reads the counters; until aborted.
    pub(super) async fn supervise(&self) -> anyhow::Result<()> {
        let mut looks = tokio::time::interval(Duration::from_millis(500));
        loop {
            looks.tick().await;
            for member in &self.members {
                if let Ok(mut slot) = member.slot.try_lock() {
                    self.look_at(member, &mut slot).await?;
                }
            }
        }
    }

    /// Starts it again if it has ended by itself, or reads its counters.
    async fn look_at(&self, member: &Member, slot: &mut Slot) -> anyhow::Result<()> {
        if slot.is_down {
            return Ok(());
        }
        let has_ended = slot.process.as_mut().is_some_and(Process::has_ended);
        if has_ended && let Some(process) = slot.process.take() {
            *self.ended_by_themselves().entry(member.service).or_default() += 1;
            self.note(process.kill().await?);
        }
        match &mut slot.process {
            Some(process) => process.scrape().await,
            None => member.start(slot)?,
        }
        Ok(())
    }

    /// Does what the fault says, to its end.
    pub(super) async fn suffer(&self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill { member, down } => {
                let member = &self.members[member];
                let mut slot = member.slot.lock().await;
                if let Some(mut process) = slot.process.take() {
                    process.scrape().await;
                    self.note(process.kill().await?);
                }
                wait(down).await;
                member.start(&mut slot)?;
            }
            Fault::Terminate { member } => {
                let member = &self.members[member];
                let mut slot = member.slot.lock().await;
                if let Some(mut process) = slot.process.take() {
                    process.scrape().await;
                    self.note(process.terminate().await?);
                }
                member.start(&mut slot)?;
            }
            Fault::Freeze { member, time } => {
                let slot = self.members[member].slot.lock().await;
                if let Some(process) = &slot.process {
                    process.send(Signal::STOP)?;
                    wait(time).await;
                    process.send(Signal::CONT)?;
                }
            }
            Fault::Cut { member } => self.members[member].proxy.cut(),
            Fault::Hold { member, time } => {
                let proxy = &self.members[member].proxy;
                proxy.hold(true);
                wait(time).await;
                proxy.hold(false);
            }
            Fault::Delay { member, by, time } => {
                let proxy = &self.members[member].proxy;
                proxy.delay(by);
                wait(time).await;
                proxy.delay(Duration::ZERO);
            }
            Fault::KillServer { down } => {
                let mut server = self.server.lock().await;
                server.kill().await?;
                wait(down).await;
                server.restart().await?;
            }
        }
        Ok(())
    }

    /// Keeps all others from stopping and starting the processes of a service.
    pub(super) async fn hold(&self, service: &str) -> Held<'_> {
        let mut members = Vec::new();
        for member in self.members.iter().filter(|member| member.service == service) {
            members.push((member, member.slot.lock().await));
        }
        Held { fleet: self, members }
    }

    /// Makes all processes of a service stop in order, and others take their places.
    pub(super) async fn replace(&self, service: &str) -> anyhow::Result<()> {
        for (member, _) in self.members.iter().enumerate().filter(|(_, member)| member.service == service) {
            self.suffer(Fault::Terminate { member }).await?;
        }
        Ok(())
    }

    /// Stops all services as SIGTERM does.
    pub(super) async fn stop(&self) -> anyhow::Result<()> {
        let stops = self.members.iter().map(|member| async move {
            let mut slot = member.slot.lock().await;
            slot.is_down = true;
            if let Some(mut process) = slot.process.take() {
                process.scrape().await;
                self.note(process.terminate().await?);
            }
            anyhow::Ok(())
        });
        futures::future::try_join_all(stops).await?;
        Ok(())
    }

    /// Notes what a process has left that has ended.
    fn note(&self, left: Left) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, value) in left.counters {
            *counted.entry(name).or_default() += value;
        }
        if let Some(point) = left.fail_point {
            self.fail_points.lock().unwrap_or_else(PoisonError::into_inner).remove(&point);
        }
    }

    fn ended_by_themselves(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.ended_by_themselves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sum of the counters of all processes that have ended, as far as they were read, by name.
    pub(super) fn counters(&self) -> Counters {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The fail points that nobody has reached.
    pub(super) fn fail_points_left(&self) -> BTreeSet<String> {
        self.fail_points.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many processes ended without being told to: those that started while no server was there.
    pub(super) fn ended(&self) -> BTreeMap<&'static str, u64> {
        self.ended_by_themselves().clone()
    }
}

/// The processes of a service, which nobody else stops or starts.
pub(super) struct Held<'a> {
    fleet: &'a Fleet,
    members: Vec<(&'a Member, MutexGuard<'a, Slot>)>,
}

impl Held<'_> {
    /// Starts those again that have ended by themselves.
    pub(super) async fn start_again(&mut self) -> anyhow::Result<()> {
        for (member, slot) in &mut self.members {
            self.fleet.look_at(member, slot).await?;
        }
        Ok(())
    }

    /// Sends all of them a signal.
    pub(super) fn send(&self, signal: Signal) -> anyhow::Result<()> {
        let processes = self.members.iter().filter_map(|(_, slot)| slot.process.as_ref());
        processes.into_iter().try_for_each(|process| process.send(signal))
    }
}

impl Member {
    fn start(&self, slot: &mut Slot) -> anyhow::Result<()> {
        slot.starts += 1;
        let log = self.logs.join(format!("{}.{}.log", self.name, slot.starts));
        let mut variables = self.variables.clone();
        let points = self.fail_points.lock().unwrap_or_else(PoisonError::into_inner);
        if !points.is_empty() || !self.poison.is_empty() {
            let points: Vec<&str> = points.iter().chain(&self.poison).map(String::as_str).collect();
            variables.push(("FAIL_POINTS".into(), points.join(",")));
        }
        slot.process = Some(Process::start(&self.binary, &variables, log)?);
        Ok(())
    }
}

/// Faults last a while.
pub(crate) async fn wait(time: Duration) {
    sleep_until(Instant::now() + time).await;
}

/// By how many seconds the clock of a member is wrong: up to five minutes, ahead or behind.
fn clock_offset_s(number: usize) -> i64 {
    (number as i64 * 137) % 601 - 300
}

fn variables(
    service: &str,
    name: &str,
    url: &str,
    number: usize,
    options: &FleetOptions<'_>,
) -> anyhow::Result<Vec<(String, String)>> {
    let dir = options.dir.join(name);
    let (mirrors, scratch) = (dir.join("mirrors"), dir.join("scratch"));
    std::fs::create_dir_all(&scratch)?;
    let ack_wait = options.ack_wait.as_secs().to_string();
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut variables = vec![
        ("NATS__URL", url.to_owned()),
        ("NATS__ACK_WAIT_S", ack_wait),
        ("SERVICE__HEALTH_ADDRESS", "127.0.0.1:0".to_owned()),
        ("SERVICE__LOG", options.log.to_owned()),
    ];
    let identity = Identity::ALL.into_iter().find(|identity| identity.name() == service);
    variables.extend(options.users.variables(identity.context("a service is an identity")?));
    match service {
        "controller" => {
            let allowed = ["POLICY__ALLOW_LOCAL", "POLICY__ALLOW_HTTP", "POLICY__ALLOW_PRIVATE_HOSTS"];
            variables.extend(allowed.map(|name| (name, "true".to_owned())));
        }
        "repo-agent" => variables.extend([
            ("MIRRORS__DIR", path(&mirrors)),
            ("FETCH__ALLOW_LOCAL", "true".to_owned()),
            ("BATCHES__MAX_COMMITS", if options.poison.is_some() { "1000" } else { "10" }.to_owned()),
        ]),
        "batch-agent" => variables.extend([
            ("SCAN__KEY_FILE", path(options.key_file)),
            ("SCAN__RULES", path(options.rules_file)),
            ("SCAN__THREADS", "1".to_owned()),
        ]),
        "webhook" => variables.push(("CONFIG", path(&options.host.webhook))),
        "notifier" => variables.push(("CONFIG", path(&options.host.notifier))),
        _ => {}
    }
    if service.ends_with("agent") {
        if options.poison.is_none() {
            // Each kill costs an attempt, and a run kills more than a production system ever will.
            variables.push(("AGENT__MAX_ATTEMPTS", "100000".to_owned()));
        }
        variables.push(("AGENT__SCRATCH", path(&scratch)));
        variables.push(("AGENT__HOST", name.to_owned()));
    }
    let settings = variables.into_iter().map(|(name, value)| (format!("SECRETSCAN_{name}"), value));
    Ok(settings.chain([("CLOCK_OFFSET_S".to_owned(), clock_offset_s(number).to_string())]).collect())
}
