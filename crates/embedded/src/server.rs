//! The server as a child process.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tracing::{debug, info, warn};

use crate::EmbeddedError;
use crate::store::{GRACE, POLL, Store, send};

/// How long the server may take until JetStream is ready. It reads its store first.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of the end of the log an error shows, in lines.
const LOG_TAIL: usize = 20;
/// The greeting of a server is a few hundred bytes; of whatever else answers, not more than this is read.
const MAX_GREETING: u64 = 64 << 10;

/// How to start a server.
#[derive(Clone)]
pub struct ServerOptions {
    /// The directory that holds everything of this server. Created if needed, for the owner only.
    pub store_dir: PathBuf,
    /// The TCP port on the loopback address; 0: one picked by the system.
    pub port: u16,
    /// The largest message in bytes.
    pub max_payload: u32,
    /// Where the server's output goes; `None`: `nats-server.log` in the store directory. The log of the start before is
    /// kept under the same name with `.previous`.
    pub log_file: Option<PathBuf>,
    /// More of the server's configuration, by key, such as who may connect; without any, anyone on this machine may.
    pub config: serde_json::Map<String, serde_json::Value>,
}

impl ServerOptions {
    /// A port picked by the system, and the message size of an unconfigured server (1 MiB), so that what
    /// works here works on any server.
    pub fn new(store_dir: impl Into<PathBuf>) -> Self {
        Self {
            store_dir: store_dir.into(),
            port: 0,
            max_payload: 1 << 20,
            log_file: None,
            config: Default::default(),
        }
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store_dir, port, max_payload, log_file, config } = self;
        f.debug_struct("ServerOptions")
            .field("store_dir", store_dir)
            .field("port", port)
            .field("max_payload", max_payload)
            .field("log_file", log_file)
            // Not its values, which may be secrets.
            .field("config", &config.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// A running nats-server with JetStream. Dropping it kills the process; [`NatsServer::stop`] is kinder.
#[derive(Debug)]
pub struct NatsServer {
    // Before the store: the child is killed before the lock is released.
    child: Child,
    pid: i32,
    port: u16,
    store: Store,
}

impl NatsServer {
    /// Starts a server and waits until JetStream is ready. A server that a killed process left on the same store is
    /// stopped first.
    ///
    /// # Errors
    /// [`EmbeddedError::StoreInUse`] when a living process has the store; [`EmbeddedError::Ended`] and
    /// [`EmbeddedError::NotReady`] with the end of the log when the server does not come up.
    pub async fn start(binary: &Path, options: ServerOptions) -> Result<Self, EmbeddedError> {
        let store = Store::open(&options.store_dir)?;
        store.stop_predecessor().await?;
        store.clear_ports_dir()?;
        store.write_config(&config_text(&store, &options))?;
        let log_file = options.log_file.unwrap_or_else(|| store.default_log_file());
        let (stdout, stderr) = begin_log(&log_file).map_err(EmbeddedError::file("beginning", &log_file))?;

        let mut child = Command::new(binary)
            .arg("--config")
            .arg(store.config_file())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            // Its own group: Ctrl-C at the terminal must not end the server before those that use it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| EmbeddedError::Spawn { binary: binary.to_owned(), source })?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).expect("a child not waited for has an id");

        let ports_file = store.ports_dir().join(format!("nats-server_{pid}.ports"));
        let ready = async {
            tokio::select! {
                port = until_ready(&ports_file) => Ok(port),
                ended = child.wait() => Err(ended),
            }
        };
        match tokio::time::timeout(START_TIMEOUT, ready).await {
            Ok(Ok(port)) => {
                info!(pid, port, store = %store.dir().display(), "nats-server is ready");
                Ok(Self { child, pid, port, store })
            }
            Ok(Err(ended)) => {
                let status = ended.map_err(EmbeddedError::process("waiting for", pid))?;
                let log_tail = log_tail(&log_file);
                Err(EmbeddedError::Ended { status, log_file, log_tail })
            }
            Err(_) => {
                let log_tail = log_tail(&log_file);
                Err(EmbeddedError::NotReady { waited: START_TIMEOUT, log_file, log_tail })
            }
        }
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The TCP port on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The directory that holds everything of this server, absolute.
    pub fn store_dir(&self) -> &Path {
        self.store.dir()
    }

    /// Waits until the process ends by itself, which it should not. Safe to drop and to call again.
    ///
    /// # Errors
    /// [`EmbeddedError::Process`] when the system can't tell.
    pub async fn ended(&mut self) -> Result<ExitStatus, EmbeddedError> {
        self.child.wait().await.map_err(EmbeddedError::process("waiting for", self.pid))
    }

    /// Stops the server in order, and kills it when that takes too long.
    ///
    /// # Errors
    /// [`EmbeddedError::Process`] when it can't be signalled or waited for.
    pub async fn stop(mut self) -> Result<(), EmbeddedError> {
        // Once it was waited for, its process id may be another's.
        if self.child.id().is_none() {
            return Ok(());
        }
        send(self.pid, Signal::TERM)?;
        if let Ok(ended) = tokio::time::timeout(GRACE, self.ended()).await {
            debug!(pid = self.pid, status = %ended?, "nats-server stopped");
            return Ok(());
        }
        warn!(pid = self.pid, "nats-server does not stop within {GRACE:?}: killing it");
        self.kill().await
    }

    /// Kills the server as a crash would (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// [`EmbeddedError::Process`] when it can't be signalled or waited for.
    pub async fn kill(mut self) -> Result<(), EmbeddedError> {
        self.child.kill().await.map_err(EmbeddedError::process("killing", self.pid))
    }
}

/// The configuration. The server reads JSON, in which every path can be written.
fn config_text(store: &Store, options: &ServerOptions) -> String {
    let port = if options.port == 0 { -1 } else { i32::from(options.port) };
    let mut config = serde_json::json!({
        "host": "127.0.0.1",
        "port": port,
        "server_name": "secretscan",
        "max_payload": options.max_payload,
        "ports_file_dir": store.ports_dir(),
        "pid_file": store.pid_file(),
        "jetstream": { "store_dir": store.dir() },
    });
    for (key, value) in &options.config {
        config[key] = value.clone();
    }
    format!("{config:#}\n")
}

/// Keeps the log of the start before and begins a new one, as standard output and standard error.
fn begin_log(path: &Path) -> io::Result<(File, File)> {
    let mut previous = path.as_os_str().to_owned();
    previous.push(".previous");
    match fs::rename(path, previous) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let log = File::create(path)?;
    Ok((log.try_clone()?, log))
}

fn log_tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
}

/// Waits for the ports file and then for a greeting that says JetStream is on.
async fn until_ready(ports_file: &Path) -> u16 {
    let mut ticks = tokio::time::interval(POLL);
    loop {
        ticks.tick().await;
        if let Some(port) = read_port(ports_file)
            && has_jetstream(port).await
        {
            return port;
        }
    }
}

/// The client port from the ports file, once it is there and complete.
fn read_port(path: &Path) -> Option<u16> {
    #[derive(Deserialize)]
    struct Ports {
        nats: Vec<String>,
    }
    let ports: Ports = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    ports.nats.first()?.rsplit_once(':')?.1.parse().ok()
}

/// Connects and reads the `INFO` line, which a server sends first.
async fn has_jetstream(port: u16) -> bool {
    #[derive(Deserialize)]
    struct Greeting {
        #[serde(default)]
        jetstream: bool,
    }
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await else { return false };
    let mut line = String::new();
    if BufReader::new(stream.take(MAX_GREETING)).read_line(&mut line).await.is_err() {
        return false;
    }
    line.strip_prefix("INFO ")
        .and_then(|json| serde_json::from_str::<Greeting>(json).ok())
        .is_some_and(|greeting| greeting.jetstream)
}
