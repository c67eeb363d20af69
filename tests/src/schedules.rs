//! Runs of schedules under faults: schedulers and controllers as processes that are killed all the time, alone and all at
//! once, and whose clocks are wrong by up to ten minutes, by another time after each start. Every run must come once, at its
//! time of the pattern, and none may be lost.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt};
use secretscan_bus::access::Identity;
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, NatsConfig};
use secretscan_model::calendar::Calendar;
use secretscan_model::{Schedule, ScheduleEvent, ScheduleId};
use secretscan_proto::v1;
use secretscan_testkit::{Random, TestServer};

use crate::Users;
use crate::faults::{binaries, process::Process, wait};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Makes the plan of the kills.
    pub seed: u64,
    /// How many schedules there are.
    pub schedules: usize,
    /// Their pattern; `S` stands for a second of the minute, another for each of sixty schedules.
    pub cron: String,
    /// How many processes of each service there are.
    pub replicas: usize,
    /// How long processes are killed.
    pub duration: Duration,
    /// What is killed rests so long at most before it is started again.
    pub down: Duration,
    /// How long what has come may take to become requests.
    pub patience: Duration,
}

/// What a run did and saw.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Runs that came, over all schedules.
    pub runs: u64,
    /// Times that a process was killed, and times that all schedulers were.
    pub kills: u64,
    /// The same.
    pub blackouts: u64,
    /// From the time of a run to its request, in milliseconds: the median, the 99th of 100, the longest.
    pub late_ms: [i64; 3],
    /// How long the schedules ran.
    pub elapsed: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, most, longest] = self.late_ms;
        write!(
            f,
            "{} runs in {:.0} s, each came once; {} kills and {} times no scheduler at all; late by {median} ms (p50), \
             {most} ms (p99), {longest} ms at most",
            self.runs,
            self.elapsed.as_secs_f64(),
            self.kills,
            self.blackouts,
        )
    }
}

const ACK_WAIT: Duration = Duration::from_secs(2);
/// Schedules made, or looked at, at once.
const AT_ONCE: usize = 64;
/// An answer takes so long at most, while a controller is there.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// Clocks are wrong by so many seconds at most.
const CLOCK_S: usize = 600;

struct Fleet {
    members: Vec<(Identity, Option<Process>)>,
    binaries: std::collections::HashMap<&'static str, PathBuf>,
    url: String,
    users: Users,
    logs: tempfile::TempDir,
    starts: u64,
    random: Random,
}

impl Fleet {
    fn start(&mut self, member: usize) -> anyhow::Result<()> {
        let identity = self.members[member].0;
        self.starts += 1;
        let log = self.logs.path().join(format!("{}.log", self.starts));
        let offset = self.random.below(2 * CLOCK_S + 1) as i64 - CLOCK_S as i64;
        let mut variables: Vec<(String, String)> = vec![
            ("SECRETSCAN_NATS__URL".into(), self.url.clone()),
            ("SECRETSCAN_NATS__ACK_WAIT_S".into(), ACK_WAIT.as_secs().to_string()),
            ("CLOCK_OFFSET_S".into(), offset.to_string()),
        ];
        let of_user = self.users.variables(identity);
        variables.extend(of_user.into_iter().map(|(name, value)| (format!("SECRETSCAN_{name}"), value)));
        if identity == Identity::Controller {
            variables.push(("SECRETSCAN_POLICY__ALLOW_LOCAL".into(), "true".into()));
        }
        let process = Process::start(&self.binaries[identity.name()], &variables, log)?;
        self.members[member].1 = Some(process);
        Ok(())
    }

    async fn kill(&mut self, member: usize) -> anyhow::Result<()> {
        if let Some(process) = self.members[member].1.take() {
            process.kill().await?;
        }
        Ok(())
    }

    /// Kills one, or now and then all schedulers, and starts them again after a while.
    async fn fault(&mut self, outcome: &mut Outcome, down: Duration) -> anyhow::Result<()> {
        let rest = down.mul_f64(self.random.below(100) as f64 / 100.0);
        let all: Vec<usize> = if self.random.percent(20) {
            outcome.blackouts += 1;
            let is_scheduler = |member: &usize| self.members[*member].0 == Identity::Scheduler;
            (0..self.members.len()).filter(is_scheduler).collect()
        } else {
            vec![self.random.below(self.members.len())]
        };
        for member in &all {
            outcome.kills += 1;
            self.kill(*member).await?;
        }
        wait(rest).await;
        all.into_iter().try_for_each(|member| self.start(member))
    }
}

/// Does a run; an error says what did not hold.
///
/// # Errors
/// When something could not be started, or a run came twice, at a wrong time, or not at all.
pub async fn run(options: &Options, say: impl Fn(&str)) -> anyhow::Result<Outcome> {
    let (users, logs) = (Users::new()?, tempfile::tempdir()?);
    let to = logs.path().to_owned();
    let binaries = tokio::task::spawn_blocking(move || binaries::build(&to)).await??;
    let server = TestServer::start_with(users.server_config()?).await?;
    let config = NatsConfig { ack_wait: ACK_WAIT, ..users.config(&server.url(), Identity::Setup) };
    let bus = Bus::connect(&config).await?;
    let members = [Identity::Scheduler, Identity::Controller];
    let members =
        members.into_iter().flat_map(|identity| (0..options.replicas).map(move |_| (identity, None)));
    let (url, random) = (server.url(), Random::new(options.seed));
    let mut fleet = Fleet { members: members.collect(), binaries, url, users, logs, starts: 0, random };
    (0..fleet.members.len()).try_for_each(|member| fleet.start(member))?;

    let started = Instant::now();
    let ids = create(&bus, options).await?;
    say(&format!("{} schedules made in {:.1} s", ids.len(), started.elapsed().as_secs_f64()));
    let (mut outcome, started) = (Outcome::default(), Instant::now());
    while started.elapsed() < options.duration {
        wait(Duration::from_millis(200 + fleet.random.below(800) as u64)).await;
        fleet.fault(&mut outcome, options.down).await?;
    }
    outcome.elapsed = started.elapsed();
    say(&format!("{} kills are over; the schedules are paused", outcome.kills));
    let pauses = ids.iter().map(|id| bus.apply_schedule(id, &ScheduleEvent::Pause));
    futures::stream::iter(pauses).buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
    drained(&bus, options.patience).await?;
    for member in 0..fleet.members.len() {
        fleet.kill(member).await?;
    }
    check(&bus, &async_nats_of(&fleet, &server).await?, &ids, &mut outcome).await?;
    Ok(outcome)
}

async fn async_nats_of(fleet: &Fleet, server: &TestServer) -> anyhow::Result<async_nats::jetstream::Context> {
    let client = fleet.users.client_options(Identity::Setup)?.connect(server.url()).await?;
    Ok(async_nats::jetstream::new(client))
}

/// Makes the schedules through the door, as people do.
async fn create(bus: &Bus, options: &Options) -> anyhow::Result<Vec<ScheduleId>> {
    let made = (0..options.schedules).map(|number| async move {
        let new = v1::NewSchedule {
            schedule_id: format!("s{number}"),
            uri: format!("/srv/repositories/{number}"),
            cron: options.cron.replace('S', &(number % 60).to_string()),
            ..v1::NewSchedule::default()
        };
        loop {
            // No answer when no controller is up: the same schedule is asked for again.
            let asked = tokio::time::timeout(ASK_AGAIN, bus.request_schedule(&new)).await;
            if let Ok(Ok(answer)) = asked {
                ensure!(answer.error.is_empty(), "refused: {}", answer.error);
                return Ok(ScheduleId::parse(&answer.schedule_id)?);
            }
        }
    });
    futures::stream::iter(made).buffer_unordered(AT_ONCE).try_collect().await
}

/// Waits until nothing of what has come is in hand.
async fn drained(bus: &Bus, patience: Duration) -> anyhow::Result<()> {
    let started = Instant::now();
    for queue in [Queue::DueSchedules, Queue::ScheduleRuns] {
        loop {
            let left = bus.unfinished(queue).await?;
            if left == 0 {
                break;
            }
            ensure!(started.elapsed() < patience, "{left} messages are left in {}", queue.consumer());
            wait(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

/// How often each request was put into the queue of the scheduler.
async fn queued(jetstream: &async_nats::jetstream::Context) -> anyhow::Result<BTreeMap<String, u64>> {
    let stream = jetstream.get_stream(secretscan_bus::topology::REPOSITORY_SCANS).await?;
    let state = &stream.cached_info().state;
    let mut queued = BTreeMap::new();
    let messages =
        (state.first_sequence..=state.last_sequence).map(|sequence| stream.get_raw_message(sequence));
    let mut messages = futures::stream::iter(messages).buffer_unordered(AT_ONCE);
    while let Some(message) = messages.next().await {
        let message = message.context("a message of the queue")?;
        let reference: v1::RepositoryScanReference =
            secretscan_proto::decode(&message.payload).context("a message of the queue")?;
        *queued.entry(reference.request_id).or_default() += 1;
    }
    Ok(queued)
}

/// Compares what came with what the pattern says: as many runs, one after the other, each with one request that was queued
/// once.
async fn check(
    bus: &Bus,
    jetstream: &async_nats::jetstream::Context,
    ids: &[ScheduleId],
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let mut queued = queued(jetstream).await?;
    let mut late = Vec::new();
    for id in ids {
        let schedule = bus.schedule(id).await?.context("a schedule is gone")?;
        let planned = planned(&schedule)?;
        for (run, at) in (1..schedule.next_run).zip(&planned) {
            let request = schedule.request_of(run);
            let times = queued.remove(request.as_str()).unwrap_or_default();
            ensure!(times == 1, "run {run} of {id} was queued {times} times");
            let scan = bus.scan(&request).await?.with_context(|| format!("there is no request {request}"))?;
            let of = scan.scheduled.as_ref().map(|of| (of.schedule.as_str(), of.run));
            ensure!(of == Some((id.as_str(), run)), "request {request} is of {of:?}");
            late.push(made_at(jetstream, &request).await? - at);
        }
        outcome.runs += schedule.next_run - 1;
    }
    ensure!(queued.is_empty(), "nobody asked for {:?}", queued.keys().take(5).collect::<Vec<_>>());
    late.sort_unstable();
    let of = |part: f64| {
        late.get((late.len() as f64 * part) as usize).or(late.last()).copied().unwrap_or_default()
    };
    outcome.late_ms = [of(0.5), of(0.99), of(1.0)];
    Ok(())
}

/// When each run so far was to come; an error unless the next one is the next of the pattern.
fn planned(schedule: &Schedule) -> anyhow::Result<Vec<i64>> {
    let calendar = Calendar::parse(&schedule.plan.cron, &schedule.plan.time_zone)?;
    let mut at = schedule.created;
    let mut planned = Vec::new();
    for _ in 1..schedule.next_run {
        at = calendar.next_after(at).context("a next time")?;
        planned.push(at.0);
    }
    let next = calendar.next_after(at).context("a next time")?;
    let due = schedule.due.context("a next run")?;
    ensure!(
        due.planned == next,
        "{}: after {} runs the next is at {}, and not at {}",
        schedule.id,
        schedule.next_run - 1,
        due.planned.to_rfc3339(),
        next.to_rfc3339()
    );
    Ok(planned)
}

/// When the server stored a request first: clocks of services are wrong.
async fn made_at(
    jetstream: &async_nats::jetstream::Context,
    request: &secretscan_model::RequestId,
) -> anyhow::Result<i64> {
    let bucket = jetstream.get_key_value(secretscan_bus::topology::REQUESTS).await?;
    let entry = bucket.entry(request.as_str()).await?.context("an entry")?;
    Ok((entry.created.unix_timestamp_nanos() / 1_000_000) as i64)
}
