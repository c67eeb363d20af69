//! A simulation of the whole system: jobs go through stations, each with so many servers and a queue in the order of arrival, at
//! the service times that were measured.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use crate::measured::Measured;

/// How many of each there are.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Agents that fetch and cut.
    pub repo_agents: usize,
    /// Agents that scan.
    pub batch_agents: usize,
    /// Work that an agent of either kind has in hand.
    pub slots: usize,
    /// Processes of the controller.
    pub controllers: usize,
    /// Cores of the machine of nats-server.
    pub nats_cores: usize,
}

/// A repository that is to be scanned.
#[derive(Clone, Copy, Debug)]
pub struct Repository {
    /// Commits that the ledger does not know.
    pub commits: u64,
    /// Bytes that Git stores for what they bring, in MB.
    pub stored_mb: f64,
    /// Whether it is fetched at all; else the host's refs are looked at.
    pub is_fetched: bool,
    /// When it is asked for, in seconds.
    pub asked: f64,
}

/// The stations, in the order of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Station {
    /// The processor of controllers.
    Controller,
    /// The one scheduler that counts: others wait for the same records.
    Scheduler,
    /// The processor of nats-server: records, events, queues.
    Messages,
    /// What nats-server writes and reads of packs.
    Packs,
    /// Slots of repo-agents.
    RepoAgents,
    /// Slots of batch-agents.
    BatchAgents,
}

impl Station {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Controller, Self::Scheduler, Self::Messages, Self::Packs, Self::RepoAgents, Self::BatchAgents];

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Controller => "controllers",
            Self::Scheduler => "scheduler",
            Self::Messages => "nats-server: messages",
            Self::Packs => "nats-server: packs",
            Self::RepoAgents => "repo-agents",
            Self::BatchAgents => "batch-agents",
        }
    }
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Until the last request was done, in seconds.
    pub time: f64,
    /// Commits scanned.
    pub commits: u64,
    /// Busy time of each station as a share of all that its servers had.
    pub busy: [f64; Station::ALL.len()],
    /// The longest that work waited for each.
    pub longest_wait: [f64; Station::ALL.len()],
}

/// Something that a job does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Works at a station for so many seconds.
    Work(Station, f64),
    /// Takes a slot of agents, and keeps it.
    Take(Station),
    /// Gives it back.
    Give(Station),
    /// Takes so long without a queue of its own, with a slot in hand.
    Rest(f64),
    /// Lets a batch of so many MB go its own way.
    Batch(f64),
}

struct Job {
    steps: VecDeque<Step>,
    /// Since when it waits for a slot.
    since: f64,
}

struct Event {
    at: f64,
    order: u64,
    job: usize,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    /// The earliest first, in a heap that gives the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at).then(other.order.cmp(&self.order))
    }
}

/// The servers of a station.
struct Servers {
    /// When each is free.
    free_at: Vec<f64>,
    /// Of agents: how many slots are free, and who waits.
    free: usize,
    waiting: VecDeque<usize>,
    busy: f64,
    longest_wait: f64,
}

/// Runs until everything is done.
pub fn run(repositories: &[Repository], size: Size, measured: &Measured) -> Outcome {
    let mut simulation = Simulation::new(size);
    for repository in repositories {
        let steps = steps(repository, measured);
        simulation.start(repository.asked, steps);
    }
    simulation.run(measured);
    let time = simulation.now;
    let share = |station: &Station| {
        let servers = &simulation.servers[*station as usize];
        servers.busy / (servers.free_at.len() as f64 * time)
    };
    Outcome {
        time,
        commits: repositories.iter().map(|repository| repository.commits).sum(),
        busy: Station::ALL.each_ref().map(share),
        longest_wait: Station::ALL.map(|station| simulation.servers[station as usize].longest_wait),
    }
}

/// What a request does: accepted, scheduled, fetched, cut; its batches go on their own.
fn steps(repository: &Repository, measured: &Measured) -> Vec<Step> {
    let mut steps = vec![
        Step::Work(Station::Messages, measured.messages_of_request),
        Step::Work(Station::Controller, measured.controller),
        Step::Work(Station::Scheduler, measured.scheduler),
        Step::Take(Station::RepoAgents),
        Step::Rest(measured.round_trip),
    ];
    if repository.is_fetched {
        let fetch = repository.stored_mb / measured.fetch_mb_per_s;
        steps.push(Step::Rest(fetch));
        let batches = (repository.stored_mb / measured.batch_mb).ceil().max(1.0);
        for _ in 0..batches as usize {
            let mb = repository.stored_mb / batches;
            steps.push(Step::Rest(mb * measured.cut_per_mb));
            steps.push(Step::Work(Station::Packs, mb * measured.pack_per_mb));
            steps.push(Step::Batch(mb));
        }
    }
    steps.push(Step::Give(Station::RepoAgents));
    steps
}

fn steps_of_batch(mb: f64, measured: &Measured) -> Vec<Step> {
    vec![
        Step::Work(Station::Messages, measured.messages_of_batch),
        Step::Work(Station::Controller, measured.controller),
        Step::Work(Station::Scheduler, measured.scheduler),
        Step::Take(Station::BatchAgents),
        Step::Work(Station::Packs, mb * measured.pack_per_mb),
        Step::Rest(measured.least_scan + mb * measured.scan_per_mb),
        Step::Give(Station::BatchAgents),
        Step::Work(Station::Controller, measured.controller),
    ]
}

struct Simulation {
    now: f64,
    servers: Vec<Servers>,
    jobs: Vec<Job>,
    events: BinaryHeap<Event>,
    order: u64,
}

impl Simulation {
    fn new(size: Size) -> Self {
        let count = |station| match station {
            Station::Controller => size.controllers,
            Station::Scheduler | Station::Packs => 1,
            Station::Messages => size.nats_cores,
            Station::RepoAgents => size.repo_agents * size.slots,
            Station::BatchAgents => size.batch_agents * size.slots,
        };
        let servers = |station| Servers {
            free_at: vec![0.0; count(station)],
            free: count(station),
            waiting: VecDeque::new(),
            busy: 0.0,
            longest_wait: 0.0,
        };
        Self {
            now: 0.0,
            servers: Station::ALL.map(servers).into(),
            jobs: Vec::new(),
            events: BinaryHeap::new(),
            order: 0,
        }
    }

    fn start(&mut self, at: f64, steps: Vec<Step>) {
        self.jobs.push(Job { steps: steps.into(), since: at });
        self.at(at, self.jobs.len() - 1);
    }

    fn at(&mut self, at: f64, job: usize) {
        self.order += 1;
        self.events.push(Event { at, order: self.order, job });
    }

    fn run(&mut self, measured: &Measured) {
        while let Some(Event { at, job, .. }) = self.events.pop() {
            self.now = at;
            let Some(step) = self.jobs[job].steps.pop_front() else { continue };
            match step {
                Step::Work(station, time) => {
                    let servers = &mut self.servers[station as usize];
                    let first = servers.free_at.iter_mut().min_by(|a, b| a.total_cmp(b));
                    let Some(free_at) = first else { continue };
                    let begin = free_at.max(at);
                    *free_at = begin + time;
                    servers.busy += time;
                    servers.longest_wait = servers.longest_wait.max(begin - at);
                    self.at(begin + time, job);
                }
                Step::Take(station) => {
                    self.jobs[job].since = at;
                    let servers = &mut self.servers[station as usize];
                    if servers.free > 0 {
                        servers.free -= 1;
                        self.begin(station, job);
                    } else {
                        servers.waiting.push_back(job);
                    }
                }
                Step::Give(station) => {
                    match self.servers[station as usize].waiting.pop_front() {
                        Some(next) => self.begin(station, next),
                        None => self.servers[station as usize].free += 1,
                    }
                    self.servers[station as usize].busy += at - self.jobs[job].since;
                    self.at(at, job);
                }
                Step::Rest(time) => self.at(at + time, job),
                Step::Batch(mb) => {
                    self.start(at, steps_of_batch(mb, measured));
                    self.at(at, job);
                }
            }
        }
    }

    /// It has its slot from now on.
    fn begin(&mut self, station: Station, job: usize) {
        let waited = self.now - self.jobs[job].since;
        let servers = &mut self.servers[station as usize];
        servers.longest_wait = servers.longest_wait.max(waited);
        self.jobs[job].since = self.now;
        self.at(self.now, job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURED: Measured = Measured {
        messages_of_request: 0.0,
        messages_of_batch: 0.0,
        controller: 0.0,
        scheduler: 0.0,
        round_trip: 1.0,
        fetch_mb_per_s: 1.0,
        cut_per_mb: 0.0,
        pack_per_mb: 0.0,
        scan_per_mb: 2.0,
        least_scan: 0.0,
        batch_mb: 1.0,
    };
    const SIZE: Size = Size { repo_agents: 1, batch_agents: 1, slots: 1, controllers: 1, nats_cores: 1 };
    const REPOSITORY: Repository = Repository { commits: 1, stored_mb: 4.0, is_fetched: true, asked: 0.0 };

    #[test]
    fn one_agent_scans_one_batch_after_the_other() {
        let outcome = run(&[REPOSITORY], SIZE, &MEASURED);
        // One round trip, four seconds of fetching, then four batches of two seconds.
        assert_eq!(outcome.time, 1.0 + 4.0 + 4.0 * 2.0);
        let busy = outcome.busy[Station::BatchAgents as usize];
        assert!((busy - 8.0 / 13.0).abs() < 1e-9, "{busy}");
        assert_eq!(outcome.longest_wait[Station::BatchAgents as usize], 6.0);
    }

    #[test]
    fn more_agents_scan_at_once() {
        let outcome = run(&[REPOSITORY], Size { batch_agents: 4, ..SIZE }, &MEASURED);
        assert_eq!(outcome.time, 1.0 + 4.0 + 2.0);
        let both = run(&[REPOSITORY; 2], Size { batch_agents: 4, ..SIZE }, &MEASURED);
        assert_eq!(both.time, 2.0 * 5.0 + 2.0, "they are fetched one after the other");
    }

    #[test]
    fn what_is_not_fetched_is_a_round_trip() {
        let unchanged = Repository { is_fetched: false, asked: 3.0, ..REPOSITORY };
        assert_eq!(run(&[unchanged], SIZE, &MEASURED).time, 4.0);
    }

    #[test]
    fn a_slow_object_store_holds_up_everybody() {
        let slow = Measured { pack_per_mb: 10.0, ..MEASURED };
        let outcome = run(&[REPOSITORY], Size { batch_agents: 4, ..SIZE }, &slow);
        assert!(outcome.busy[Station::Packs as usize] > 0.9, "{outcome:?}");
    }
}
