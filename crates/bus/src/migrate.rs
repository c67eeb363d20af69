//! From the streams and consumers that a server has to those that this version wants: the plan, and its steps.
//!
//! The decision worth knowing: nothing that holds messages is deleted unless that is said. Consumers hold none: one that is made anew
//! hands out again what was in hand, which the records of requests bear.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_nats::jetstream::consumer::Consumer;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream;
use futures::future::try_join_all;
use serde::Deserialize;

use crate::Bus;
use crate::inspect::{Part, StreamInfo, Unknown, usual_ack_wait};
use crate::topology::compare::{self, Change, Difference, covers, overlaps};
use crate::topology::{Queue, streams};

/// All subjects that secretscan ever used.
const OURS: &str = "secretscan.>";

/// What is to be done about a stream or a consumer.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What it is about.
    pub part: Part,
    /// What is to be done.
    pub step: Step,
    /// What is lost by it, in words; `None` when nothing is.
    pub loses: Option<String>,
    target: Target,
}

/// What is to be done about one of them, in the order in which it is done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// No version before wanted it, or this one does not any more: it goes.
    Remove,
    /// The server does not change these fields: it is deleted and made again.
    Remake(Vec<String>),
    /// These fields are changed.
    Change(Vec<String>),
    /// It is missing.
    Create,
    /// It is as it should be.
    Keep,
}

#[derive(Clone, Debug)]
enum Target {
    Stream(Box<stream::Config>),
    Consumer { stream: &'static str, config: Box<pull::Config> },
}

/// A plan that could not be made, or a step of one that could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The server did not say what there is.
    #[error("what {part} is like is not known")]
    Unknown {
        /// What was asked for.
        part: String,
        /// Why.
        source: Unknown,
    },
    /// The server refused a step.
    #[error("{part} could not be brought to what it is to be")]
    Refused {
        /// What it was about.
        part: Part,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Messages came since the plan was made.
    #[error("{part} has messages now: stop the services first")]
    Filled {
        /// What it was about.
        part: Part,
    },
}

impl Planned {
    /// Whether anything is to be done.
    pub fn is_needed(&self) -> bool {
        self.step != Step::Keep
    }
}

impl Bus {
    /// What is to be done, streams first, in the order in which it is to be done. New streams have as many replicas as those that
    /// there are, unless it is said how many all are to have.
    ///
    /// # Errors
    /// [`MigrateError::Unknown`] when the server does not say what there is.
    pub async fn plan_migration(&self, replicas: Option<usize>) -> Result<Vec<Planned>, MigrateError> {
        let mut there: BTreeMap<String, StreamInfo> = BTreeMap::new();
        for name in self.names("STREAM.NAMES", "streams").await? {
            if let Some(info) = self.stream_info(&name).await.map_err(unknown(&name))? {
                there.insert(name, info);
            }
        }
        let usual = there.values().map(|info| info.config.num_replicas).max();
        let wanted = streams(replicas.or(usual).unwrap_or(1));
        let mut plan = Vec::new();
        for config in &wanted {
            plan.push(match there.get(&config.name) {
                None => Planned::stream(config.clone(), Step::Create, None),
                Some(info) => self.plan_stream(info, config, replicas).await?,
            });
        }
        let is_wanted = |name: &str| wanted.iter().any(|config| config.name == name);
        let leftovers = there.iter().filter(|(name, info)| !is_wanted(name) && is_ours(&info.config));
        plan.extend(
            leftovers.map(|(_, info)| Planned::stream(info.config.clone(), Step::Remove, lost_with(info))),
        );
        plan.extend(self.plan_consumers(&plan).await?);
        // Streams first: a consumer needs its own.
        plan.sort_by(|a, b| (a.is_consumer(), &a.step, &a.part).cmp(&(b.is_consumer(), &b.step, &b.part)));
        Ok(plan)
    }

    async fn plan_stream(
        &self,
        found: &StreamInfo,
        wanted: &stream::Config,
        replicas: Option<usize>,
    ) -> Result<Planned, MigrateError> {
        let differences = compare::stream(&found.config, wanted, replicas);
        let shown = differences.iter().map(ToString::to_string).collect();
        Ok(match differences.iter().map(|difference| difference.change).max() {
            None => Planned::stream(wanted.clone(), Step::Keep, None),
            Some(Change::Anew) => {
                let config = compare::merged(&found.config, wanted, replicas);
                Planned::stream(config, Step::Remake(shown), lost_with(found))
            }
            Some(_) => {
                let loses = self.lost_by_change(found, wanted, &differences).await?;
                let config = compare::merged(&found.config, wanted, replicas);
                Planned::stream(config, Step::Change(shown), loses)
            }
        })
    }

    /// What is beyond new limits goes; what is under subjects that are given up is never read.
    async fn lost_by_change(
        &self,
        found: &StreamInfo,
        wanted: &stream::Config,
        differences: &[Difference],
    ) -> Result<Option<String>, MigrateError> {
        if found.state.messages == 0 {
            return Ok(None);
        }
        let narrowed = differences.iter().filter(|difference| difference.change == Change::Narrows);
        let mut lost: Vec<String> = narrowed
            .map(|difference| format!("what is beyond {} {}", difference.field, difference.wanted))
            .collect();
        let is_kept = |subject: &str| wanted.subjects.iter().any(|kept| covers(kept, subject));
        for given_up in found.config.subjects.iter().filter(|subject| !is_kept(subject)) {
            let name = &found.config.name;
            let body = serde_json::json!({ "subjects_filter": given_up }).to_string();
            let info: Option<StreamInfo> =
                self.api(&format!("STREAM.INFO.{name}"), body).await.map_err(unknown(name))?;
            let subjects = info.map(|info| info.state.subjects).unwrap_or_default();
            let messages: u64 =
                subjects.iter().filter(|(subject, _)| !is_kept(subject)).map(|(_, messages)| messages).sum();
            if messages > 0 {
                lost.push(format!("{messages} messages of {given_up}, which nobody would read"));
            }
        }
        Ok((!lost.is_empty()).then(|| lost.join(", ")))
    }

    async fn plan_consumers(&self, plan: &[Planned]) -> Result<Vec<Planned>, MigrateError> {
        let ask = |queue: Queue| async move {
            let info = self.consumer_info(queue).await.map_err(unknown(&queue.consumer()))?;
            Ok::<_, MigrateError>((queue, info))
        };
        let infos = try_join_all(Queue::all().into_iter().map(ask)).await?;
        let ack_wait =
            usual_ack_wait(infos.iter().filter_map(|(_, info)| info.as_ref())).unwrap_or(self.ack_wait());
        let is_made = |stream: &str| {
            let part = Part::of_stream(stream);
            plan.iter()
                .any(|planned| planned.part == part && matches!(planned.step, Step::Create | Step::Remake(_)))
        };
        let mut consumers = Vec::new();
        for (queue, info) in infos {
            let step = match info.filter(|_| !is_made(queue.stream())) {
                None => Step::Create,
                Some(info) => {
                    let differences = compare::consumer(&info.config, queue.config(ack_wait));
                    let shown = differences.iter().map(ToString::to_string).collect();
                    match differences.iter().map(|difference| difference.change).max() {
                        None => Step::Keep,
                        Some(Change::Anew) => Step::Remake(shown),
                        Some(_) => Step::Change(shown),
                    }
                }
            };
            consumers.push(Planned::consumer(queue.stream(), queue.config(ack_wait), step));
        }
        // A queue of work is read by one consumer for each subject: others are in the way, and hold nothing.
        for stream in Queue::all()
            .into_iter()
            .filter(|queue| queue.is_work())
            .map(Queue::stream)
            .collect::<BTreeSet<_>>()
        {
            if is_made(stream) {
                continue;
            }
            for name in self.names(&format!("CONSUMER.NAMES.{stream}"), "consumers").await? {
                if Queue::all().iter().all(|queue| queue.stream() != stream || queue.consumer() != name) {
                    let config = pull::Config { durable_name: Some(name), ..Default::default() };
                    consumers.push(Planned::consumer(stream, config, Step::Remove));
                }
            }
        }
        Ok(consumers)
    }

    /// All names that a listing of JetStream's API gives, page by page.
    async fn names(&self, subject: &str, field: &str) -> Result<Vec<String>, MigrateError> {
        #[derive(Deserialize)]
        struct Page {
            total: usize,
            #[serde(flatten)]
            rest: HashMap<String, serde_json::Value>,
        }
        let mut names: Vec<String> = Vec::new();
        loop {
            let body = serde_json::json!({ "offset": names.len() }).to_string();
            let page: Option<Page> = self.api(subject, body).await.map_err(unknown(subject))?;
            let Some(mut page) = page else { return Ok(names) };
            let listed: Vec<String> = page
                .rest
                .remove(field)
                .and_then(|listed| serde_json::from_value(listed).ok())
                .unwrap_or_default();
            let is_last = listed.is_empty();
            names.extend(listed);
            if is_last || names.len() >= page.total {
                return Ok(names);
            }
        }
    }

    /// Takes one step of a plan. Without `may_lose` it is not taken when messages would be lost that came since.
    ///
    /// # Errors
    /// [`MigrateError`] when the server refuses it, or messages came since.
    pub async fn migrate(&self, planned: &Planned, may_lose: bool) -> Result<(), MigrateError> {
        let refused = |error| MigrateError::Refused { part: planned.part.clone(), source: error };
        if planned.step == Step::Keep {
            return Ok(());
        }
        let is_deleted = matches!(planned.step, Step::Remove | Step::Remake(_));
        match &planned.target {
            Target::Stream(config) => {
                if is_deleted {
                    let info = self.stream_info(&config.name).await.map_err(unknown(&config.name))?;
                    if !may_lose && info.is_some_and(|info| info.state.messages > 0) {
                        return Err(MigrateError::Filled { part: planned.part.clone() });
                    }
                    let deleted = self.jetstream.delete_stream(&config.name).await;
                    deleted.map_err(|error| refused(Box::new(error)))?;
                }
                match planned.step {
                    Step::Remove | Step::Keep => Ok(()),
                    Step::Change(_) => {
                        let changed = self.jetstream.update_stream(config.as_ref()).await;
                        changed.map(|_| ()).map_err(|error| refused(Box::new(error)))
                    }
                    Step::Create | Step::Remake(_) => {
                        let created = self.jetstream.create_stream(config.as_ref().clone()).await;
                        created.map(|_| ()).map_err(|error| refused(Box::new(error)))
                    }
                }
            }
            Target::Consumer { stream, config } => {
                let stream = self.jetstream.get_stream_no_info(stream).await;
                let stream = stream.map_err(|error| refused(Box::new(error)))?;
                if is_deleted {
                    let name = config.durable_name.as_deref().unwrap_or_default();
                    stream.delete_consumer(name).await.map_err(|error| refused(Box::new(error)))?;
                }
                if planned.step == Step::Remove {
                    return Ok(());
                }
                let made: Result<Consumer<pull::Config>, _> =
                    stream.create_consumer(config.as_ref().clone()).await;
                made.map(|_| ()).map_err(|error| refused(Box::new(error)))
            }
        }
    }
}

impl Planned {
    fn stream(config: stream::Config, step: Step, loses: Option<String>) -> Self {
        Self { part: Part::of_stream(&config.name), step, loses, target: Target::Stream(Box::new(config)) }
    }

    fn consumer(stream: &'static str, config: pull::Config, step: Step) -> Self {
        let name = config.durable_name.clone().unwrap_or_default();
        let target = Target::Consumer { stream, config: Box::new(config) };
        Self { part: Part::Consumer(stream.to_owned(), name), step, loses: None, target }
    }

    fn is_consumer(&self) -> bool {
        matches!(self.target, Target::Consumer { .. })
    }
}

/// Whether a stream that this version does not want is of secretscan all the same. Others may be in the account.
fn is_ours(config: &stream::Config) -> bool {
    config.subjects.iter().any(|subject| overlaps(subject, OURS))
}

fn lost_with(info: &StreamInfo) -> Option<String> {
    match info.state.messages {
        0 => None,
        messages => Some(format!("all of its {messages} messages")),
    }
}

fn unknown(part: &str) -> impl FnOnce(Unknown) -> MigrateError + use<> {
    let part = part.to_owned();
    |source| MigrateError::Unknown { part, source }
}
