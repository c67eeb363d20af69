//! The whole system in one test: every service for real, on a real nats-server.

pub mod collector;
pub mod dashboard;
pub mod faults;
pub mod forge;
pub mod kubernetes;
pub mod processes;
pub mod schedules;
mod standing;
mod users;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use futures::TryStreamExt;
use secretscan_bus::access::Identity;
use secretscan_bus::{Bus, Stop};
use secretscan_detect::{HashKey, RuleSet, Secret};
use secretscan_model::{Finding, RepositoryId, RepositoryScan, RequestId};
use secretscan_proto::v1;
use secretscan_testkit::{TestServer, eventually, oracle};
use tempfile::TempDir;
use tokio::task::JoinSet;

pub use standing::ended;
pub use users::Users;

/// How long a test waits for what must come.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// How many of each there are.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Controllers.
    pub controllers: usize,
    /// Schedulers.
    pub schedulers: usize,
    /// Repo-agents.
    pub repo_agents: usize,
    /// Batch-agents.
    pub batch_agents: usize,
    /// Commits in a batch.
    pub batch_commits: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { controllers: 1, schedulers: 1, repo_agents: 1, batch_agents: 1, batch_commits: 50 }
    }
}

/// Changes what the agents are configured with.
pub type Adjust = Box<dyn Fn(&mut secretscan_repo_agent::Config, &mut secretscan_batch_agent::Config) + Send>;

/// A running system.
pub struct System {
    /// Its server.
    pub server: TestServer,
    /// A connection of the test's own.
    pub bus: Bus,
    dir: TempDir,
    users: Users,
    /// What is started next.
    pub size: Size,
    adjust: Adjust,
    services: JoinSet<anyhow::Result<()>>,
    stop: Stop,
}

const KEY: &[u8] = b"a key of thirty-two bytes or more";

impl System {
    /// Starts the server and all services.
    ///
    /// # Errors
    /// When something does not come up.
    pub async fn start(size: Size) -> anyhow::Result<Self> {
        Self::start_with(size, Box::new(|_, _| {})).await
    }

    /// Starts the server and all services, the agents with more settings.
    ///
    /// # Errors
    /// When something does not come up.
    pub async fn start_with(size: Size, adjust: Adjust) -> anyhow::Result<Self> {
        let users = Users::new()?;
        let server = TestServer::start_with(users.server_config()?).await?;
        Self::start_on(server, users, size, adjust).await
    }

    /// Starts all services on a server of the test's own choice.
    ///
    /// # Errors
    /// When something does not come up.
    pub async fn start_on(
        server: TestServer,
        users: Users,
        size: Size,
        adjust: Adjust,
    ) -> anyhow::Result<Self> {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("key"), KEY)?;
        // As everywhere else, each service is an identity that may do just what it needs.
        let bus = Bus::connect(&users.config(&server.url(), Identity::Setup)).await?;
        let (services, stop) = (JoinSet::new(), Stop::new());
        let mut system = Self { server, bus, dir, users, size, adjust, services, stop };
        system.start_services().await?;
        Ok(system)
    }

    /// What a service that runs as a process of its own needs of the environment, beside the address of NATS.
    pub fn variables(&self, identity: Identity) -> Vec<(String, String)> {
        let path = |name: &str| self.path(name).to_string_lossy().into_owned();
        let mut settings = self.users.variables(identity);
        match identity {
            Identity::Controller => settings.push(("POLICY__ALLOW_LOCAL", "true".to_owned())),
            Identity::RepoAgent => settings
                .extend([("MIRRORS__DIR", path("mirrors")), ("FETCH__ALLOW_LOCAL", "true".to_owned())]),
            Identity::BatchAgent => settings.push(("SCAN__KEY_FILE", path("key"))),
            _ => {}
        }
        settings.into_iter().map(|(name, value)| (format!("SECRETSCAN_{name}"), value)).collect()
    }

    /// The key of the hashes.
    pub fn key(&self) -> HashKey {
        HashKey::from_bytes(KEY)
    }

    /// Starts the services, after [`System::stop_services`].
    ///
    /// # Errors
    /// When something does not come up.
    pub async fn start_services(&mut self) -> anyhow::Result<()> {
        self.stop = Stop::new();
        for _ in 0..self.size.controllers {
            let (bus, stop) = (self.connect(Identity::Controller).await?, self.stop.clone());
            let mut config = secretscan_controller::Config::default();
            config.policy.allow_local = true;
            config.policy.allow_http = true;
            config.policy.allow_private_hosts = true;
            self.services.spawn(async move {
                secretscan_controller::run(bus, config, stop).await;
                Ok(())
            });
        }
        for _ in 0..self.size.schedulers {
            let (bus, stop) = (self.connect(Identity::Scheduler).await?, self.stop.clone());
            self.services.spawn(async move {
                secretscan_scheduler::run(bus, stop).await;
                Ok(())
            });
        }
        let mut repo_agent = secretscan_repo_agent::Config::default();
        repo_agent.mirrors.dir = self.path("mirrors");
        repo_agent.fetch.allow_local = true;
        repo_agent.batches.max_commits = self.size.batch_commits;
        let mut batch_agent = secretscan_batch_agent::Config::default();
        batch_agent.agent.slots = 1;
        batch_agent.scan.key_file = Some(self.path("key"));
        (self.adjust)(&mut repo_agent, &mut batch_agent);
        for _ in 0..self.size.repo_agents {
            let (bus, stop) = (self.connect(Identity::RepoAgent).await?, self.stop.clone());
            let config = repo_agent.clone();
            self.services.spawn(async move { Ok(secretscan_repo_agent::run(bus, config, stop).await?) });
        }
        for _ in 0..self.size.batch_agents {
            let (bus, stop) = (self.connect(Identity::BatchAgent).await?, self.stop.clone());
            let config = batch_agent.clone();
            self.services.spawn(async move { Ok(secretscan_batch_agent::run(bus, config, stop).await?) });
        }
        Ok(())
    }

    /// The content of every file that the services keep: mirrors and their configuration.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn files(&self) -> anyhow::Result<Vec<u8>> {
        Ok(files_below(&self.path("mirrors"))?.into_iter().flat_map(|(_, content)| content).collect())
    }

    /// Ends it; leaves who may connect.
    pub fn into_users(self) -> Users {
        self.users
    }

    /// Where keys and everything of the services is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Who may connect.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// A connection as one of the identities.
    ///
    /// # Errors
    /// When it can't be made.
    pub async fn connect(&self, identity: Identity) -> anyhow::Result<Bus> {
        Ok(Bus::connect(&self.users.config(&self.server.url(), identity)).await?)
    }

    /// A client as one of the identities, that can try what no service does.
    ///
    /// # Errors
    /// When it can't connect.
    pub async fn client(&self, identity: Identity) -> anyhow::Result<async_nats::Client> {
        Ok(self.users.client_options(identity)?.connect(self.server.url()).await?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Stops the services as SIGTERM does, and waits for them.
    ///
    /// # Errors
    /// When one of them ended with an error.
    pub async fn stop_services(&mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.services.join_next().await {
            ended.context("a service panicked")??;
        }
        Ok(())
    }

    /// Fires when the services are to stop.
    pub fn stopping(&self) -> Stop {
        self.stop.clone()
    }

    /// Ends the services where they are, as a crash would. What they had in hand is taken back, not waited for.
    ///
    /// # Errors
    /// When the work can't be taken back.
    pub async fn crash_services(&mut self) -> anyhow::Result<()> {
        self.services.shutdown().await;
        Ok(self.bus.take_back_work().await?)
    }

    /// Every message of every stream, buckets and object store included, with its subject and headers.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn everything_stored(&self) -> anyhow::Result<Vec<u8>> {
        let client = self.client(Identity::Setup).await?;
        let jetstream = async_nats::jetstream::new(client);
        let mut all = Vec::new();
        let mut names = jetstream.stream_names();
        while let Some(name) = names.try_next().await? {
            let stream = jetstream.get_stream(name).await?;
            let state = &stream.cached_info().state;
            for sequence in state.first_sequence..=state.last_sequence {
                // Deleted ones are missing in between.
                let Ok(message) = stream.get_raw_message(sequence).await else { continue };
                all.extend_from_slice(message.subject.as_bytes());
                all.extend_from_slice(format!("{:?}", message.headers).as_bytes());
                all.extend_from_slice(&message.payload);
            }
        }
        Ok(all)
    }

    /// Asks for a scan; gives the request's and the repository's id.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn request(&self, uri: &str) -> anyhow::Result<(RequestId, RepositoryId)> {
        let request = v1::NewRepositoryScan { uri: uri.to_owned(), ..v1::NewRepositoryScan::default() };
        let answer = self.bus.request_scan(&request).await?;
        anyhow::ensure!(answer.error.is_empty(), "refused: {}", answer.error);
        Ok((answer.request_id.parse()?, answer.repository_id.parse()?))
    }

    /// Waits until a request has ended.
    pub async fn ended(&self, id: &RequestId) -> RepositoryScan {
        ended(&self.bus, id, DEADLINE).await
    }

    /// The findings of a repository.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn findings(&self, repository: &RepositoryId) -> anyhow::Result<Vec<Finding>> {
        let findings = self.bus.findings(Some(repository)).await?;
        Ok(findings.into_iter().map(|(_, finding)| finding).collect())
    }

    /// Waits until no queue holds a message.
    pub async fn drained(&self) {
        for queue in secretscan_bus::topology::Queue::all().into_iter().filter(|queue| queue.is_work()) {
            eventually(DEADLINE, "a queue is empty", async || {
                (self.bus.unfinished(queue).await.ok()? == 0).then_some(())
            })
            .await;
        }
    }
}

/// All files below a directory, with their contents.
///
/// # Errors
/// When they can't be read.
pub fn files_below(dir: &Path) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let (mut files, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let content = std::fs::read(&path)?;
                files.push((path, content));
            }
        }
    }
    Ok(files)
}

/// What must be equal of a finding: rule, path, hash of the secret, introducing commit.
pub type Key = (String, Vec<u8>, String, String);

/// Findings as they are compared.
pub fn keys(findings: &[Finding]) -> BTreeSet<Key> {
    findings
        .iter()
        .map(|finding| {
            let introduced = finding.introduced().commit.to_string();
            (finding.rule_id.to_string(), finding.path.clone(), finding.secret_hash.0.clone(), introduced)
        })
        .collect()
}

/// What must be found in a repository with the built-in rules.
///
/// # Panics
/// When the oracle can't read it.
pub fn expected(key: &HashKey, path: impl AsRef<Path>) -> BTreeSet<Key> {
    expected_by(&secretscan_rules::builtin(), key, path.as_ref())
}

/// What must be found in a repository with these rules.
///
/// # Panics
/// When the oracle can't read it.
pub fn expected_by(rules: &RuleSet, key: &HashKey, path: &Path) -> BTreeSet<Key> {
    oracle(path, rules)
        .expect("the oracle reads the repository")
        .into_iter()
        .map(|found| {
            let hash = Secret::new(found.secret).hash(key);
            (found.rule_id.to_string(), found.path, hash, found.introduced.to_string())
        })
        .collect()
}
