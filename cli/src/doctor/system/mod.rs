//! The system on a NATS server: what was found there, and what the checks make of it.

mod agents;
mod clock;
mod dead_letters;
mod limits;
mod queues;
mod replicas;
mod rights;
mod server;
mod topology;
mod transport;

use secretscan_bus::access::Task;
use secretscan_bus::inspect::{
    ClockSkew, Found, FoundConsumer, FoundStream, Part, Rights, Server, Unknown, Usage,
};
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, NatsConfig, chain, now};
use secretscan_model::{Agent, Timestamp};

use super::report::Line;

/// What was found, all at about one time.
pub struct System {
    now: Timestamp,
    /// Whether nobody listens on the way to the server.
    is_private: bool,
    server: Server,
    rights: Result<Rights, Unknown>,
    usage: Found<Usage>,
    clock: Found<ClockSkew>,
    streams: Vec<(Part, Found<FoundStream>)>,
    queues: Vec<(Queue, Found<FoundConsumer>)>,
    /// `None` when they could not be asked for, which another check tells.
    agents: Option<Result<Vec<Agent>, String>>,
}

/// Each says how it stands with one thing, in a line or a few; none when another check says why nothing is known.
const CHECKS: &[fn(&System) -> Vec<Line>] = &[
    server::check,
    transport::check,
    rights::check,
    topology::streams,
    topology::consumers,
    limits::check,
    replicas::check,
    clock::check,
    agents::check,
    queues::check,
    dead_letters::check,
];

/// Checks what was found.
pub fn check(system: &System) -> Vec<Line> {
    CHECKS.iter().flat_map(|check| check(system)).collect()
}

impl System {
    /// Looks at everything.
    pub async fn look(bus: &Bus, config: &NatsConfig) -> Self {
        let rights = bus.rights().await;
        let (usage, clock, streams, queues) =
            tokio::join!(bus.usage(), bus.clock_skew(), bus.inspect_streams(None), bus.inspect_queues());
        // A listing that is refused would wait for its whole time.
        let may_read = rights.as_ref().is_ok_and(|rights| rights.lacks(&Task::Read.needs()).is_empty());
        let has_agents = streams.iter().any(|(part, found)| {
            *part == Part::Bucket(secretscan_bus::topology::AGENTS.into()) && matches!(found, Ok(Some(_)))
        });
        let agents = match may_read && has_agents {
            true => Some(bus.agents().await.map_err(|error| chain(&error))),
            false => None,
        };
        let (is_private, server) = (config.is_private(), bus.server());
        Self { now: now(), is_private, server, rights, usage, clock, streams, queues, agents }
    }

    /// The streams and buckets that are there.
    fn found_streams(&self) -> impl Iterator<Item = (&Part, &FoundStream)> {
        self.streams.iter().filter_map(|(part, found)| Some((part, found.as_ref().ok()?.as_ref()?)))
    }

    /// The queues that are there.
    fn found_queues(&self) -> impl Iterator<Item = (Queue, &FoundConsumer)> {
        self.queues.iter().filter_map(|(queue, found)| Some((*queue, found.as_ref().ok()?.as_ref()?)))
    }
}
