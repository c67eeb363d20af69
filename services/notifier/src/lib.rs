//! The notifier: tells Git hosts the status of what was pushed, and people what was found.
//!
//! The only service with tokens for commit statuses, chats and mail. It reads, and writes nothing but its own memory, the
//! bucket `notifications`. The decision worth knowing: an event stays in hand until what it says has arrived, so a crash
//! loses nothing; memory keeps what arrived from being told again. The price: while a host is down its events stay
//! unsettled, at most as many as the consumer may have in hand.

mod config;
mod error;
mod message;
mod metrics;
mod outcome;
mod status;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secretscan_bus::dead_letters::DeadLetter;
use secretscan_bus::queue::{Delivery, RETRY_AFTER, Verdict};
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, BusError, Class, Stop, chain, v1};
use secretscan_model::RequestId;
use tokio::sync::{mpsc, oneshot};

pub use config::{
    BatchSettings, ChannelKind, ChannelSettings, Config, DeliverySettings, HostKind, LinkSettings, MailTls,
    Occasion, RouteSettings, SAMPLE, SmtpSettings, StatusSettings,
};
pub use error::StartError;
pub use message::{RouteError, TemplateError};
pub use metrics::Metrics;
pub use secretscan_http::{TlsError, UrlError};

use error::read_secret;
use message::{Channel, Entry, Item, Mailbox, Reader, Routes};
use secretscan_http::{Http, check_url};
use status::{Host, Reporter};

/// Events in hand at a time: more than two full messages hold, so that one that waits for company does not hold up statuses.
const EVENTS_AT_ONCE: usize = 4_096;
/// Dead letters in hand at a time.
const DEAD_LETTERS_AT_ONCE: usize = 256;
/// What is given back comes again after this time.
const AT_ONCE: Duration = Duration::from_millis(1);

/// What everything that is sent has in common. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outside {
    http: Http,
    delivery: DeliverySettings,
    metrics: Metrics,
    base: Option<String>,
}

impl Outside {
    /// Where there is more to see of a request.
    pub(crate) fn link(&self, request: &RequestId) -> Option<String> {
        self.base.as_ref().map(|base| format!("{base}/requests/{request}"))
    }
}

/// The service.
pub struct Notifier {
    bus: Bus,
    outside: Outside,
    reporter: Reporter,
    reader: Reader,
    routes: Routes,
    mailboxes: Vec<Mailbox>,
    in_hand: Mutex<HashSet<(Queue, u64)>>,
}

/// What events are handled with while the service runs: the ways into the mailboxes, by channel.
struct Run<'a> {
    notifier: &'a Notifier,
    letter_boxes: Vec<mpsc::Sender<Entry>>,
}

impl Notifier {
    /// Reads all tokens, templates and patterns.
    ///
    /// # Errors
    /// [`StartError`] says what in the configuration can't be used.
    pub fn new(bus: Bus, config: &Config) -> Result<Self, StartError> {
        let base = match &config.link.base {
            Some(base) => {
                check_url("link.base", base, true)?;
                Some(base.trim_end_matches('/').to_owned())
            }
            None => None,
        };
        let outside = Outside {
            http: Http::new(config.delivery.timeout())?,
            delivery: config.delivery.clone(),
            metrics: Metrics::default(),
            base,
        };
        let channels = config.channels.iter().map(|settings| Channel::new(settings, &config.delivery));
        let channels: Vec<Channel> = channels.collect::<Result<_, _>>()?;
        let names: Vec<&str> = channels.iter().map(|channel| channel.name.as_str()).collect();
        unique("a channel", &names)?;
        let routes = Routes::new(&config.routes, &names)?;
        let mailbox = |channel| Mailbox::new(bus.clone(), outside.clone(), channel, config.batch.clone());
        Ok(Self {
            reporter: Reporter::new(bus.clone(), outside.clone(), hosts(config)?),
            reader: Reader::new(bus.clone(), outside.clone()),
            routes,
            mailboxes: channels.into_iter().map(mailbox).collect(),
            in_hand: Mutex::default(),
            outside,
            bus,
        })
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.outside.metrics
    }

    /// Runs until stopped. What waits for company is then given back.
    pub async fn run(&self, stop: Stop) {
        let (letter_boxes, entries): (Vec<_>, Vec<_>) =
            self.mailboxes.iter().map(|_| mpsc::channel(EVENTS_AT_ONCE)).unzip();
        let run = &Run { notifier: self, letter_boxes };
        let keep = self.mailboxes.iter().zip(entries).map(|(mailbox, entries)| mailbox.keep(entries, &stop));
        let work = |queue, at_once| {
            self.bus.work_together(queue, at_once, &stop, move |delivery| run.handle(queue, delivery))
        };
        tokio::join!(
            futures::future::join_all(keep),
            work(Queue::Events, EVENTS_AT_ONCE),
            work(Queue::DeadLetters, DEAD_LETTERS_AT_ONCE),
        );
    }

    fn in_hand(&self) -> MutexGuard<'_, HashSet<(Queue, u64)>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run<'_> {
    async fn handle(&self, queue: Queue, delivery: Arc<Delivery>) -> Verdict {
        let place = (queue, delivery.sequence());
        // A second copy while this process works on the first, whose sign of life came too late.
        if !self.notifier.in_hand().insert(place) {
            return Verdict::Leave;
        }
        let told = match queue {
            Queue::DeadLetters => self.dead_letter(&delivery).await,
            _ => self.event(&delivery).await,
        };
        self.notifier.in_hand().remove(&place);
        match told {
            Ok(None) => Verdict::Done,
            Ok(Some(after)) => Verdict::RetryAfter(after),
            Err(error) if error.class() == Class::Transient => {
                tracing::warn!(error = chain(&error), "trying again");
                Verdict::RetryAfter(RETRY_AFTER)
            }
            // Not a dead letter: that would be told, and so on.
            Err(error) => {
                tracing::error!(subject = delivery.subject(), error = chain(&error), "passed over");
                Verdict::Done
            }
        }
    }

    async fn event(&self, delivery: &Delivery) -> Result<Option<Duration>, BusError> {
        let subject = delivery.subject().trim_start_matches("secretscan.event.");
        let (kind, _) = subject.split_once('.').unwrap_or((subject, ""));
        let (routes, reader) = (&self.notifier.routes, &self.notifier.reader);
        match kind {
            "repository-scan" => {
                let Some(event) = read::<v1::RepositoryScanChanged>(delivery) else { return Ok(None) };
                let is_told = event.state == "Failed" && routes.has(Occasion::FailedRequest);
                let item = if is_told { reader.failure(&event).await? } else { None };
                let report = self.notifier.reporter.report(delivery, &event.request_id, &event.state);
                let (reported, told) = tokio::join!(report, self.tell(delivery, item));
                Ok(reported?.max(told?))
            }
            "finding" if routes.has(Occasion::Finding) => {
                let Some(event) = read::<v1::FindingRecorded>(delivery) else { return Ok(None) };
                let item = reader.finding(&event, delivery.published_ms()).await?;
                self.tell(delivery, item).await
            }
            "alert" if routes.has(Occasion::UnknownCommits) => {
                let Some(event) = read::<v1::UnknownCommits>(delivery) else { return Ok(None) };
                let item = reader.unknown_commits(event).await?;
                self.tell(delivery, item).await
            }
            _ => Ok(None),
        }
    }

    async fn dead_letter(&self, delivery: &Delivery) -> Result<Option<Duration>, BusError> {
        if !self.notifier.routes.has(Occasion::DeadLetter) {
            return Ok(None);
        }
        let item = self.notifier.reader.dead_letter(&DeadLetter::of(delivery)).await?;
        self.tell(delivery, Some(item)).await
    }

    /// Tells all channels of an item; gives after which time to try again, if at all.
    async fn tell(&self, delivery: &Delivery, item: Option<Item>) -> Result<Option<Duration>, BusError> {
        let Some(item) = item else { return Ok(None) };
        let channels = self.notifier.routes.channels(&item);
        let tell = channels.into_iter().map(|channel| self.tell_channel(channel, delivery, item.clone()));
        let told = futures::future::try_join_all(tell).await?;
        Ok(told.into_iter().flatten().max())
    }

    async fn tell_channel(
        &self,
        channel: usize,
        delivery: &Delivery,
        item: Item,
    ) -> Result<Option<Duration>, BusError> {
        let mailbox = &self.notifier.mailboxes[channel];
        if mailbox.has(&item).await? {
            return Ok(None);
        }
        if let Some(left) = mailbox.closed_for() {
            return Ok(Some(left));
        }
        let (answer, answered) = oneshot::channel();
        let (deliveries, said_ms) = (delivery.deliveries(), delivery.published_ms());
        let entry = Entry { item, deliveries, said_ms, answer };
        // Both fail when the service stops.
        if self.letter_boxes[channel].send(entry).await.is_err() {
            return Ok(Some(AT_ONCE));
        }
        Ok(answered.await.unwrap_or(Some(AT_ONCE)))
    }
}

/// An event; what can't be read is passed over.
fn read<M>(delivery: &Delivery) -> Option<M>
where
    M: prost::Message + prost::Name + Default + serde::de::DeserializeOwned,
{
    let read = delivery.decode();
    let passed_over =
        |error| tracing::error!(subject = delivery.subject(), error = chain(&error), "unreadable");
    read.map_err(passed_over).ok()
}

fn hosts(config: &Config) -> Result<Vec<Host>, StartError> {
    let names: Vec<&str> = config.status.iter().map(|settings| settings.host.as_str()).collect();
    unique("a host of status", &names)?;
    let host = |settings: &StatusSettings| {
        if settings.kind == HostKind::Bitbucket && config.link.base.is_none() {
            return Err(StartError::NoLink);
        }
        let usual = || Host::usual_api(settings.kind, &settings.host);
        let api = settings.api.clone().unwrap_or_else(usual);
        check_url(&format!("the api of {}", settings.host), &api, config.delivery.allow_plaintext)?;
        let token = read_secret(&format!("the token of {}", settings.host), &settings.token_file)?;
        Ok(Host::new(settings, api, token))
    };
    config.status.iter().map(host).collect()
}

fn unique(what: &'static str, names: &[&str]) -> Result<(), StartError> {
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(**name)) {
        Some(name) => Err(StartError::Twice { what, name: (*name).to_owned() }),
        None => Ok(()),
    }
}
