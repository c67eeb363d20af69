//! The bus: everything that secretscan does with NATS JetStream, and the only user of `async-nats`.
//!
//! [`topology`] names the streams, consumers and buckets. [`queue`] pulls work, acknowledges it and keeps dead letters.
//! [`requests`] is the four beats of every handler: load a record with its revision, step (pure, in the model),
//! write on condition of the revision, perform the effects; the acknowledgement comes last. An acknowledgement fences
//! nothing, the revision does, so a late writer changes nothing. The price: every effect must bear repetition, which
//! derived message ids and conditional writes give.

pub mod access;
pub mod agents;
mod audit;
mod bucket;
pub mod changes;
pub mod dead_letters;
pub mod door;
mod error;
pub mod fail;
pub mod findings;
mod hints;
mod hooks;
pub mod inspect;
pub mod ledger;
mod metrics;
pub mod migrate;
pub mod notifications;
pub mod packs;
pub mod pushes;
pub mod queue;
pub mod repositories;
pub mod requests;
mod rule_sets;
pub mod schedules;
pub mod standings;
pub mod topology;
mod trace;
pub mod triage;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::jetstream;
use bytes::Bytes;
use secretscan_model::Timestamp;
use tokio::sync::{OnceCell, watch};

pub use bucket::{Bucket, Versioned};
pub use error::{BusError, Class, chain};
pub use metrics::BusMetrics;
pub use secretscan_proto::v1;
pub use tokio_util::sync::CancellationToken as Stop;

/// How to reach NATS and as whom.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// `nats://host:port`, several separated by commas.
    pub url: String,
    /// A credentials file (JWT and nkey).
    pub credentials: Option<PathBuf>,
    /// A file that holds an nkey seed.
    pub nkey_seed: Option<PathBuf>,
    /// Certificates, for TLS.
    pub tls: TlsSettings,
    /// Replicas of streams and buckets that are created.
    pub replicas: usize,
    /// Whether another identity sets up the streams and buckets, so that none is created or checked here.
    pub is_provisioned: bool,
    /// Work in hand, and the presence of its holder, outlive the holder's last sign of life this long.
    pub ack_wait: Duration,
    /// The name of the connection and of who did what in the trail of requests.
    pub name: String,
}

impl NatsConfig {
    /// How an identity connects whose key is in a directory: see [`access::Keys::in_dir`].
    pub fn of(identity: access::Identity, url: &str, keys: &std::path::Path) -> Self {
        Self {
            url: url.to_owned(),
            nkey_seed: Some(access::seed_file(keys, identity)),
            is_provisioned: identity != access::Identity::Setup,
            name: identity.name().into(),
            ..Self::default()
        }
    }

    /// The addresses as they may be shown: without passwords and tokens.
    pub fn shown_url(&self) -> String {
        without_credentials(&self.url)
    }

    /// Whether nothing goes over a network without TLS: it is asked for, or all addresses are of this machine.
    pub fn is_private(&self) -> bool {
        let of_this_machine = |url: &str| {
            let address = url.parse::<async_nats::ServerAddr>();
            address.is_ok_and(|address| {
                let host = address.host();
                let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
                address.tls_required() || is_loopback || host == "localhost"
            })
        };
        self.tls.ca_file.is_some() || self.url.split(',').all(|url| of_this_machine(url.trim()))
    }
}

impl Default for NatsConfig {
    fn default() -> Self {
        NatsSettings::default().named("")
    }
}

/// The section `[nats]` of a service's configuration.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsSettings {
    /// `nats://host:port`, several separated by commas.
    pub url: String,
    /// A credentials file (JWT and nkey).
    pub credentials: Option<PathBuf>,
    /// A file that holds an nkey seed.
    pub nkey_seed: Option<PathBuf>,
    /// Certificates, for TLS.
    pub tls: TlsSettings,
    /// Replicas of streams and buckets that are created.
    pub replicas: usize,
    /// Whether `secretscan setup` has set up the streams and buckets, so that this service creates none: its identity
    /// may not.
    pub is_provisioned: bool,
    /// Work in hand comes back so many seconds after the last sign of life of its holder; the same for all services.
    pub ack_wait_s: NonZeroU64,
}

impl Default for NatsSettings {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".into(),
            credentials: None,
            nkey_seed: None,
            tls: TlsSettings::default(),
            replicas: 1,
            is_provisioned: false,
            ack_wait_s: topology::ACK_WAIT_S,
        }
    }
}

/// The section `[nats.tls]` of a service's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// The certificates of those that may vouch for the server, PEM; TLS is required when it is set.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show to the server, PEM, with `key_file`.
    pub certificate_file: Option<PathBuf>,
    /// The key of the certificate, PEM.
    pub key_file: Option<PathBuf>,
}

impl NatsSettings {
    /// The settings for who has this name.
    pub fn named(&self, name: &str) -> NatsConfig {
        NatsConfig {
            url: self.url.clone(),
            credentials: self.credentials.clone(),
            nkey_seed: self.nkey_seed.clone(),
            tls: self.tls.clone(),
            replicas: self.replicas,
            is_provisioned: self.is_provisioned,
            ack_wait: Duration::from_secs(self.ack_wait_s.get()),
            name: name.to_owned(),
        }
    }
}

/// The section `[agent]` of an agent's configuration.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSettings {
    /// Pieces of work at a time.
    pub slots: u32,
    /// Attempts before a request fails for good. The last one is made while the agent has nothing else in hand.
    pub max_attempts: u32,
    /// How many seconds one piece of work may take; waiting for others does not count.
    pub timeout_s: u64,
    /// How many bytes of temporary files one piece of work may make.
    pub max_scratch_bytes: u64,
    /// Where temporary files go; the directory of the system when absent.
    pub scratch: Option<PathBuf>,
    /// The name shown for the agent; `HOSTNAME` of the environment when absent.
    pub host: Option<String>,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            slots: 2,
            max_attempts: 3,
            timeout_s: 4 * 3_600,
            max_scratch_bytes: 16 << 30,
            scratch: None,
            host: None,
        }
    }
}

impl AgentSettings {
    /// Where temporary files go.
    pub fn scratch(&self) -> PathBuf {
        self.scratch.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// How long one piece of work may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }

    /// Whether work that was attempted so often has its last attempt before it.
    pub fn is_last(&self, attempts: u32) -> bool {
        attempts + 1 >= self.max_attempts
    }

    /// The name to show.
    pub fn host(&self) -> String {
        self.host.clone().or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_else(|| "localhost".into())
    }
}

/// A connection. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    client: async_nats::Client,
    jetstream: jetstream::Context,
    name: String,
    scans: Bucket<secretscan_model::RepositoryScan>,
    batches: Bucket<secretscan_model::CommitBatch>,
    repositories: Bucket<secretscan_model::Repository>,
    findings: Bucket<secretscan_model::Finding>,
    standings: Bucket<secretscan_model::Standing>,
    surveys: Bucket<secretscan_model::Survey>,
    triage: Bucket<secretscan_model::Triage>,
    agents: Bucket<secretscan_model::Agent>,
    answered: Bucket<()>,
    heads: Bucket<secretscan_model::ledger::Head>,
    rule_sets: Bucket<secretscan_model::RuleHashes>,
    deliveries: Bucket<pushes::Delivered>,
    pushed: Bucket<v1::PushedCommits>,
    notifications: Bucket<notifications::Notification>,
    schedules: Bucket<secretscan_model::Schedule>,
    alerted: Bucket<v1::ToldCommits>,
    packs: Arc<OnceCell<jetstream::object_store::ObjectStore>>,
    pack_stream: Arc<OnceCell<jetstream::stream::Stream>>,
    connections: watch::Receiver<u64>,
    refusals: watch::Receiver<Vec<String>>,
    metrics: BusMetrics,
    ack_wait: Duration,
}

/// A client, how often it has connected, and what the server has refused it.
struct Connection {
    client: async_nats::Client,
    connections: watch::Receiver<u64>,
    refusals: watch::Receiver<Vec<String>>,
}

/// So many refusals are remembered.
const MAX_REFUSALS: usize = 200;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Bus {
    /// Connects, creates the streams and buckets that are missing, and checks those that exist, unless the configuration
    /// says that they were set up by another.
    ///
    /// # Errors
    /// [`BusError::Connect`] when no server answers, [`BusError::Topology`] when a stream exists with other settings.
    pub async fn connect(config: &NatsConfig) -> Result<Self, BusError> {
        let bus = Self::new(connect(config).await?, config);
        if !config.is_provisioned {
            topology::ensure(&bus.jetstream, config.replicas.max(1), config.ack_wait).await?;
        }
        Ok(bus)
    }

    /// Connects to a system that exists and creates nothing.
    ///
    /// # Errors
    /// [`BusError::Connect`] when no server answers, [`BusError::Absent`] when secretscan never ran there.
    pub async fn open(config: &NatsConfig) -> Result<Self, BusError> {
        let bus = Self::new(connect(config).await?, config);
        match topology::exists(&bus.jetstream).await? {
            true => Ok(bus),
            false => Err(BusError::Absent { url: config.shown_url() }),
        }
    }

    fn new(Connection { client, connections, refusals }: Connection, config: &NatsConfig) -> Self {
        let jetstream = jetstream_of(&client);
        Self {
            scans: Bucket::new(&client, &jetstream, topology::REQUESTS),
            batches: Bucket::new(&client, &jetstream, topology::BATCHES),
            repositories: Bucket::new(&client, &jetstream, topology::REPOSITORIES),
            findings: Bucket::new(&client, &jetstream, topology::FINDINGS),
            standings: Bucket::new(&client, &jetstream, topology::STANDINGS),
            surveys: Bucket::new(&client, &jetstream, topology::STANDINGS),
            triage: Bucket::new(&client, &jetstream, topology::TRIAGE),
            agents: Bucket::new(&client, &jetstream, topology::AGENTS),
            answered: Bucket::new(&client, &jetstream, topology::ANSWERED),
            heads: Bucket::new(&client, &jetstream, topology::HISTORY),
            rule_sets: Bucket::new(&client, &jetstream, topology::RULE_SETS),
            deliveries: Bucket::new(&client, &jetstream, topology::DELIVERIES),
            pushed: Bucket::new(&client, &jetstream, topology::PUSHED),
            notifications: Bucket::new(&client, &jetstream, topology::NOTIFICATIONS),
            schedules: Bucket::new(&client, &jetstream, topology::SCHEDULES),
            alerted: Bucket::new(&client, &jetstream, topology::ALERTED),
            packs: Arc::default(),
            pack_stream: Arc::default(),
            connections,
            refusals,
            metrics: BusMetrics::default(),
            ack_wait: config.ack_wait,
            name: config.name.clone(),
            client,
            jetstream,
        }
    }

    /// The same connection for who goes by another name in the trail of requests.
    #[must_use]
    pub fn renamed(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Work in hand, and the presence of its holder, outlive the holder's last sign of life this long.
    pub fn ack_wait(&self) -> Duration {
        self.ack_wait
    }

    /// A holder of work gives a sign of life this often; work that another holds is looked at again after this time.
    pub fn sign_of_life_every(&self) -> Duration {
        self.ack_wait / 3
    }

    /// What lost agents leave is looked for this often.
    pub fn sweep_every(&self) -> Duration {
        self.ack_wait * 5
    }

    /// What the bus counts.
    pub fn metrics(&self) -> &BusMetrics {
        &self.metrics
    }

    /// Whether the connection is up now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Sends what is buffered and closes the connection. Call it before the process ends.
    ///
    /// # Errors
    /// [`BusError::Publish`] when the connection is gone.
    pub async fn close(&self) -> Result<(), BusError> {
        self.client
            .drain()
            .await
            .map_err(|source| BusError::Publish { subject: "(close)".into(), source: Box::new(source) })
    }

    /// Publishes to a stream and waits until it is stored. The same id within the duplicate window is stored once.
    async fn publish(
        &self,
        subject: String,
        message_id: String,
        headers: async_nats::HeaderMap,
        body: Bytes,
    ) -> Result<(), BusError> {
        self.send_off(subject, message_id, headers, body).await?.await
    }

    /// The same; the future that it gives waits until the message is stored. Messages are stored in the order in which
    /// they are sent off.
    async fn send_off(
        &self,
        subject: String,
        message_id: String,
        mut headers: async_nats::HeaderMap,
        body: Bytes,
    ) -> Result<impl Future<Output = Result<(), BusError>> + use<>, BusError> {
        headers.insert(async_nats::header::NATS_MESSAGE_ID, message_id.as_str());
        trace::inject(&mut headers);
        let sent = self.jetstream.publish_with_headers(subject.clone(), headers, body).await;
        let failed = |source| BusError::Publish { subject, source };
        match sent {
            Ok(stored) => {
                Ok(async move { stored.await.map(|_| ()).map_err(|error| failed(Box::new(error))) })
            }
            Err(error) => Err(failed(Box::new(error))),
        }
    }
}

fn jetstream_of(client: &async_nats::Client) -> jetstream::Context {
    let mut jetstream = jetstream::new(client.clone());
    jetstream.set_timeout(Duration::from_secs(10));
    jetstream
}

/// The addresses as they may be shown: a password or token before the `@` is left out.
fn without_credentials(urls: &str) -> String {
    let shown = |url: &str| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => url.to_owned(),
    };
    urls.split(',').map(|url| shown(url.trim())).collect::<Vec<_>>().join(",")
}

async fn connect(config: &NatsConfig) -> Result<Connection, BusError> {
    let failed = |reason: String| BusError::Connect { url: config.shown_url(), reason };
    let (connected, connections) = watch::channel(0);
    let (refused, refusals) = watch::channel(Vec::new());
    let mut options = async_nats::ConnectOptions::new()
        .name(format!("secretscan {}", config.name))
        .custom_inbox_prefix(access::inbox(&config.name))
        .connection_timeout(CONNECT_TIMEOUT)
        .event_callback(move |event| {
            match &event {
                async_nats::Event::Connected => connected.send_modify(|count| *count += 1),
                async_nats::Event::ServerError(error) if refused.borrow().len() < MAX_REFUSALS => {
                    refused.send_modify(|all: &mut Vec<String>| all.push(error.to_string()));
                }
                _ => {}
            }
            async move {
                match event {
                    async_nats::Event::ServerError(error) => tracing::error!(%error, "NATS refuses"),
                    async_nats::Event::Disconnected => tracing::warn!("NATS connection lost"),
                    async_nats::Event::Connected => tracing::debug!("NATS connected"),
                    other => tracing::debug!(event = %other, "NATS event"),
                }
            }
        });
    if let Some(path) = &config.credentials {
        options = options.credentials_file(path).await.map_err(|error| {
            failed(format!("the credentials file {} can't be read: {error}", path.display()))
        })?;
    }
    if let Some(path) = &config.nkey_seed {
        let seed = tokio::fs::read_to_string(path).await.map_err(|error| {
            failed(format!("the nkey seed file {} can't be read: {error}", path.display()))
        })?;
        options = options.nkey(seed.trim().to_owned());
    }
    let TlsSettings { ca_file, certificate_file, key_file } = &config.tls;
    if let Some(ca_file) = ca_file {
        options = options.add_root_certificates(ca_file.clone()).require_tls(true);
    }
    match (certificate_file, key_file) {
        (Some(certificate), Some(key)) => {
            options = options.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
        }
        (None, None) => {}
        _ => return Err(failed("nats.tls.certificate_file and nats.tls.key_file go together".to_owned())),
    }
    let servers: Vec<async_nats::ServerAddr> = config
        .url
        .split(',')
        .map(|url| url.trim().parse())
        .collect::<Result<_, _>>()
        .map_err(|error| failed(format!("the address can't be read: {error}")))?;
    let client = options.connect(servers).await.map_err(|error| failed(error.to_string()))?;
    Ok(Connection { client, connections, refusals })
}

/// The time now.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock of the system")]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
    Timestamp(now.saturating_add(fail::clock_offset_ms()))
}
