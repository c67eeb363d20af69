//! The controller: takes new requests, knows repositories, and admits commits to the ledger.
//!
//! It does no Git work and holds no credentials. Every message is handled by the four beats of the bus, so any number of
//! controllers may run. The decision worth knowing: a request without an id gets one derived from its place in the stream,
//! so that a redelivery is the same request.

mod config;
mod forget;
mod pushes;
mod schedules;

use std::sync::Arc;

use secretscan_bus::door::Door;
use secretscan_bus::ledger::LedgerCache;
use secretscan_bus::packs::PackSweeper;
use secretscan_bus::queue::{Delivery, RETRY_AFTER, Verdict};
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, BusError, Class, Stop, chain};
use secretscan_model::lifecycle::RUN_PREFIX;
use secretscan_model::{
    BatchEvent, BatchId, BatchKey, BatchState, ChosenRules, Purpose, RepositoryId, RepositoryUri, RequestId,
    Rescan, ScanEvent, ScanState, StepError, UriError,
};
use secretscan_proto::{unpack_commit_ids, v1};
use uuid::Uuid;

pub use config::{Config, Limits, SAMPLE};

/// No version of rules is longer.
const MAX_VERSION_BYTES: usize = 64;
/// Messages handled at once.
const CONCURRENCY: usize = 64;

/// Runs until stopped.
pub async fn run(bus: Bus, config: Config, stop: Stop) {
    let (cache, turns) = (LedgerCache::default(), pushes::Turns::default());
    let controller = Controller { door: Door::new(bus.clone()), bus, config, cache, turns };
    let controller = &controller;
    tokio::join!(
        controller.door.listen(&stop),
        controller
            .bus
            .work_ahead(Queue::NewScans, CONCURRENCY, &stop, |delivery| controller.new_scan(delivery)),
        controller
            .bus
            .work_ahead(Queue::Cancellations, CONCURRENCY, &stop, |delivery| controller.cancel(delivery)),
        controller.schedules(&stop),
        controller.bus.work_ahead(Queue::Forgets, CONCURRENCY, &stop, |delivery| controller.forget(delivery)),
        controller.bus.work_ahead(Queue::Pushes, CONCURRENCY, &stop, |delivery| controller.push(delivery)),
        controller
            .bus
            .work_ahead(Queue::NewBatches, CONCURRENCY, &stop, |delivery| controller.new_batch(delivery)),
        controller.bus.work_ahead(Queue::ReportedScans, CONCURRENCY, &stop, |delivery| controller
            .reported_scan(delivery)),
        controller.bus.work_ahead(Queue::ReportedBatches, CONCURRENCY, &stop, |delivery| {
            controller.reported_batch(delivery)
        }),
        controller.sweep(&stop),
    );
}

struct Controller {
    bus: Bus,
    config: Config,
    door: Door,
    cache: LedgerCache,
    turns: pushes::Turns,
}

/// Why a message is refused: the words for the requester, and whether its bytes may be kept.
struct Refusal {
    reason: String,
    may_keep_body: bool,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self { reason, may_keep_body: true }
    }
}

/// A message that was refused, or could not be handled now.
enum Trouble {
    Refused(Refusal),
    Failed(BusError),
}

impl From<BusError> for Trouble {
    fn from(error: BusError) -> Self {
        Self::Failed(error)
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Controller {
    /// Deletes now and then what lost agents left in the object store, until stopped.
    async fn sweep(&self, stop: &Stop) {
        let mut sweeper = PackSweeper::default();
        let mut looks = tokio::time::interval(self.bus.sweep_every());
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = stop.cancelled() => return,
            }
            if let Err(error) = sweeper.sweep(&self.bus).await {
                tracing::warn!(error = chain(&error), "packs were not looked through");
            }
        }
    }

    async fn new_scan(&self, delivery: Arc<Delivery>) -> Verdict {
        let decoded = self.decode_new_scan(&delivery);
        let id = match &decoded {
            Ok((id, _)) => id.clone(),
            Err(_) => made_id(&delivery),
        };
        let handled = match decoded {
            Ok((id, request)) => self.accept(&id, request).await,
            Err(refusal) => Err(refusal.into()),
        };
        match handled {
            Ok(repository) => {
                tracing::info!(request_id = %id, repo = %repository, "accepted");
                let answer = v1::Answer {
                    request_id: id.to_string(),
                    repository_id: repository.to_string(),
                    ..v1::Answer::default()
                };
                self.door.answer(&delivery, answer).await;
                Verdict::Done
            }
            Err(Trouble::Refused(refusal)) => {
                if let Err(error) = self.record_refusal(&id, &refusal.reason).await {
                    return retry(&error);
                }
                let answer = v1::Answer {
                    request_id: id.to_string(),
                    error: refusal.reason.clone(),
                    ..v1::Answer::default()
                };
                self.door.answer(&delivery, answer).await;
                reject(refusal)
            }
            Err(Trouble::Failed(error)) => retry(&error),
        }
    }

    fn decode_new_scan(&self, delivery: &Delivery) -> Result<(RequestId, v1::NewRepositoryScan), Refusal> {
        self.check_size(delivery)?;
        let request: v1::NewRepositoryScan =
            delivery.decode_strictly().map_err(|error| Refusal::from(chain(&error)))?;
        let given = match request.request_id.as_str() {
            "" => delivery.message_id(),
            id => Some(id),
        };
        let id = match given {
            Some(id) if id.starts_with(RUN_PREFIX) => {
                return Err(format!("request ids that begin with {RUN_PREFIX} are those of schedules").into());
            }
            Some(id) => RequestId::parse(id).map_err(|error| Refusal::from(error.to_string()))?,
            None => made_id(delivery),
        };
        Ok((id, request))
    }

    fn check_size(&self, delivery: &Delivery) -> Result<(), Refusal> {
        let (size, max) = (delivery.payload().len(), self.config.limits.max_message_bytes);
        if size > max {
            let reason = format!("the message has {size} bytes, at most {max} are accepted");
            return Err(Refusal { reason, may_keep_body: false });
        }
        Ok(())
    }

    async fn accept(&self, id: &RequestId, request: v1::NewRepositoryScan) -> Result<RepositoryId, Trouble> {
        let asked = Asked {
            uri: &request.uri,
            repository_id: &request.repository_id,
            refs: &request.refs,
            requester: &request.requester,
        };
        let uri = self.uri_of(self.check(&asked)?).await?;
        let priority = v1::Priority::try_from(request.priority)
            .map_err(|_| Refusal::from(format!("there is no priority {}", request.priority)))?;
        let repository = self.bus.know_repository(&uri).await?;
        let accept = ScanEvent::Accept { repository: repository.clone(), uri: uri.fetch().to_owned() };
        let aim = ScanEvent::Aim { purpose: purpose(&request)? };
        let events = [ScanEvent::StartValidation, aim, accept];
        let (refs, requester) = (request.refs, request.requester);
        let scan = self.bus.create_scan(id, refs, priority.into(), requester, &events).await?;
        if let ScanState::Failed { reason } = &scan.state
            && scan.repository.is_none()
        {
            return Err(Refusal::from(format!("the request {id} was refused before: {reason}")).into());
        }
        Ok(scan.repository.unwrap_or(repository))
    }

    /// The URI that is asked for, which the policy allows.
    async fn uri_of(&self, target: Target) -> Result<RepositoryUri, Trouble> {
        match target {
            Target::Uri(uri) => Ok(uri),
            Target::Known(repository) => {
                let known = self.bus.repository(&repository).await?.ok_or_else(|| {
                    Refusal::from(format!("there is no repository {repository}; give its uri instead"))
                })?;
                Ok(self.parse_uri(&known.uri)?)
            }
        }
    }

    /// Everything that can be said of what is asked without asking anybody.
    fn check(&self, request: &Asked<'_>) -> Result<Target, Refusal> {
        let limits = &self.config.limits;
        if request.refs.len() > limits.max_refs {
            let (count, max) = (request.refs.len(), limits.max_refs);
            return Err(
                format!("{count} refs are given, at most {max} are accepted; give none for all").into()
            );
        }
        if let Some(name) = request.refs.iter().find(|name| !is_ref_name(name)) {
            return Err(format!("{name:?} is not the full name of a ref, such as refs/heads/main").into());
        }
        if request.requester.len() > limits.max_requester_bytes {
            let max = limits.max_requester_bytes;
            return Err(format!("the requester is longer than {max} bytes").into());
        }
        match (request.uri, request.repository_id) {
            ("", "") => Err("neither uri nor repositoryId is given; give one".to_owned().into()),
            (uri, "") => self.parse_uri(uri).map(Target::Uri),
            ("", id) => {
                RepositoryId::parse(id).map(Target::Known).map_err(|error| Refusal::from(error.to_string()))
            }
            (_, _) => Err("both uri and repositoryId are given; give one".to_owned().into()),
        }
    }

    fn parse_uri(&self, uri: &str) -> Result<RepositoryUri, Refusal> {
        RepositoryUri::parse(uri, self.config.policy()).map_err(|error| Refusal {
            reason: error.to_string(),
            may_keep_body: error != UriError::Credentials,
        })
    }

    async fn record_refusal(&self, id: &RequestId, reason: &str) -> Result<(), BusError> {
        let events = [ScanEvent::StartValidation, ScanEvent::Refuse { reason: reason.to_owned() }];
        let priority = secretscan_model::Priority::OnDemand;
        match self.bus.create_scan(id, vec![], priority, String::new(), &events).await {
            // The id belongs to a request that was accepted before: that one goes on.
            Err(BusError::Step(StepError::Illegal { .. })) => Ok(()),
            applied => applied.map(|_| ()),
        }
    }

    async fn cancel(&self, delivery: Arc<Delivery>) -> Verdict {
        let cancelled = self.try_cancel(&delivery).await.map(|id| {
            tracing::info!(request_id = %id, "cancelled");
            v1::Answer { request_id: id.to_string(), ..v1::Answer::default() }
        });
        self.answered(&delivery, cancelled).await
    }

    /// Answers who asked, unless it has to be tried again.
    async fn answered(&self, delivery: &Delivery, handled: Result<v1::Answer, Trouble>) -> Verdict {
        let (answer, verdict) = match handled {
            Ok(answer) => (answer, Verdict::Done),
            Err(Trouble::Refused(refusal)) => {
                let answer = v1::Answer { error: refusal.reason.clone(), ..v1::Answer::default() };
                (answer, reject(refusal))
            }
            Err(Trouble::Failed(error)) => return retry(&error),
        };
        self.door.answer(delivery, answer).await;
        verdict
    }

    async fn try_cancel(&self, delivery: &Delivery) -> Result<RequestId, Trouble> {
        self.check_size(delivery)?;
        let cancel: v1::CancelRepositoryScan =
            delivery.decode_strictly().map_err(|error| Refusal::from(chain(&error)))?;
        let id = RequestId::parse(&cancel.request_id).map_err(|error| Refusal::from(error.to_string()))?;
        let requester = match cancel.requester.as_str() {
            "" => "an unnamed requester".to_owned(),
            name => name.chars().take(self.config.limits.max_requester_bytes).collect(),
        };
        match self.bus.apply_scan(&id, &[ScanEvent::Cancel { requester }]).await {
            Ok(_) => Ok(id),
            Err(BusError::Missing { .. }) => Err(Refusal::from(format!("there is no request {id}")).into()),
            Err(BusError::Step(StepError::Illegal { state, .. })) => {
                Err(Refusal::from(format!("the request {id} is {state} and can't be cancelled")).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn new_batch(&self, delivery: Arc<Delivery>) -> Verdict {
        settled(self.try_new_batch(&delivery).await)
    }

    /// What follows when an agent has listed or ended a request, or ended a batch: the ledger, other records, packs. The
    /// agents may write none of these.
    async fn reported_scan(&self, delivery: Arc<Delivery>) -> Verdict {
        let settle = async {
            let reference: v1::RepositoryScanReference =
                delivery.decode().map_err(|error| Refusal::from(chain(&error)))?;
            let id =
                RequestId::parse(&reference.request_id).map_err(|error| Refusal::from(error.to_string()))?;
            self.bus.apply_scan(&id, &[ScanEvent::Settle]).await?;
            Ok(())
        };
        settled(settle.await)
    }

    async fn reported_batch(&self, delivery: Arc<Delivery>) -> Verdict {
        let settle = async {
            let reference: v1::CommitBatchReference =
                delivery.decode().map_err(|error| Refusal::from(chain(&error)))?;
            let wrong = |error: secretscan_model::IdError| Refusal::from(error.to_string());
            let key = BatchKey {
                request: RequestId::parse(&reference.request_id).map_err(wrong)?,
                batch: BatchId::parse(&reference.batch_id).map_err(wrong)?,
            };
            self.bus.apply_batch(&key, &[BatchEvent::Settle]).await?;
            Ok(())
        };
        settled(settle.await)
    }

    async fn try_new_batch(&self, delivery: &Delivery) -> Result<(), Trouble> {
        let batch: v1::NewCommitBatch = delivery.decode().map_err(|error| Refusal::from(chain(&error)))?;
        let wrong = |error: secretscan_model::IdError| Refusal::from(error.to_string());
        let key = BatchKey {
            request: RequestId::parse(&batch.request_id).map_err(wrong)?,
            batch: BatchId::parse(&batch.batch_id).map_err(wrong)?,
        };
        let repository = RepositoryId::parse(&batch.repository_id).map_err(wrong)?;
        let commits = unpack_commit_ids(batch.commit_id_length, &batch.commit_ids)
            .map_err(|error| Refusal::from(chain(&error)))?;
        let priority = v1::Priority::try_from(batch.priority)
            .map_err(|_| Refusal::from(format!("there is no priority {}", batch.priority)))?;
        let offered = commits.len() as u64;
        let request = self.bus.scan(&key.request).await?;
        let rescan = request.as_ref().and_then(|scan| scan.purpose.rescan()).map(|rescan| &rescan.chosen);
        let (priority, bytes, again) = (priority.into(), batch.pack_bytes, rescan.cloned());
        let is_new = self.bus.create_batch(&key, &repository, priority, offered, bytes, again).await?;
        if request.is_none_or(|scan| scan.state.is_terminal()) {
            self.bus.apply_batch(&key, &[BatchEvent::Cancel]).await?;
            return Ok(());
        }
        let batch = self.bus.apply_batch(&key, &[BatchEvent::StartValidation]).await?;
        // Later deliveries must not admit what an earlier one found in flight elsewhere.
        let commits = match batch.state {
            BatchState::Validating => {
                let ledger = self.bus.ledger(&repository);
                match &batch.rescan {
                    None => ledger.admit(&key, &commits, &self.cache, !is_new).await?,
                    Some(chosen) => ledger.admit_again(&key, &commits, chosen, &self.cache, !is_new).await?,
                }
            }
            _ => batch.admitted,
        };
        let batch = self.bus.apply_batch(&key, &[BatchEvent::Admit { commits }]).await?;
        tracing::debug!(batch_id = %key, offered, admitted = commits, state = batch.state.name(), "batch");
        Ok(())
    }
}

fn purpose(request: &v1::NewRepositoryScan) -> Result<Purpose, Refusal> {
    match (request.verify, request.rescan.as_str()) {
        (false, "") => Ok(Purpose::Scan),
        (true, "") => Ok(Purpose::Verify),
        (true, _) => Err(Refusal::from("both verify and rescan are given; give one".to_owned())),
        (false, _) if !request.refs.is_empty() => {
            Err(Refusal::from("refs are given, but rescan is of all; give one of them".to_owned()))
        }
        (false, version) => {
            let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
            if version.len() > MAX_VERSION_BYTES || !version.bytes().all(is_allowed) {
                let reason =
                    "rescan is no version of rules, such as r1-1a2b3c4d5e6f: see `secretscan agents`";
                return Err(Refusal::from(reason.to_owned()));
            }
            let chosen = ChosenRules { rule_set: version.to_owned(), rules: None };
            Ok(Purpose::Rescan(Rescan { chosen, from: Vec::new() }))
        }
    }
}

/// What a scan and a schedule are asked of.
struct Asked<'a> {
    uri: &'a str,
    repository_id: &'a str,
    refs: &'a [String],
    requester: &'a str,
}

enum Target {
    Uri(RepositoryUri),
    Known(RepositoryId),
}

/// The id of a request that names none: its place in the stream, which a redelivery shares.
fn made_id(delivery: &Delivery) -> RequestId {
    let space = Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"request.secretscan");
    let place = format!("{}:{}", delivery.sequence(), delivery.published_ms());
    RequestId::parse(&Uuid::new_v5(&space, place.as_bytes()).to_string()).expect("a UUID is an id")
}

fn settled(handled: Result<(), Trouble>) -> Verdict {
    match handled {
        Ok(()) => Verdict::Done,
        Err(Trouble::Refused(refusal)) => reject(refusal),
        Err(Trouble::Failed(error)) => retry(&error),
    }
}

fn retry(error: &BusError) -> Verdict {
    match error.class() {
        Class::Transient | Class::LeaseLost => {
            tracing::warn!(error = chain(error), "trying again");
            Verdict::RetryAfter(RETRY_AFTER)
        }
        Class::Permanent => Verdict::Reject(chain(error)),
    }
}

fn reject(refusal: Refusal) -> Verdict {
    match refusal.may_keep_body {
        true => Verdict::Reject(refusal.reason),
        false => Verdict::RejectWithoutBody(refusal.reason),
    }
}

/// A full ref name by the rules of git-check-ref-format(1) that matter here.
fn is_ref_name(name: &str) -> bool {
    let is_bad = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    name.starts_with("refs/")
        && name.len() <= 1024
        && !name.contains("..")
        && !name.contains("//")
        && !name.ends_with(['/', '.'])
        && !name.contains(is_bad)
}
