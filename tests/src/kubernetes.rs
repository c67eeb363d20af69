//! A stand-in for the API server of a cluster, over TLS and with a token: what the operator uses of it, for its two kinds.
//!
//! Faithful in what the operator relies on: versions and generations, lists and watches from a version on, writes on
//! condition of a version, the status as a resource of its own, and finalizers. It knows no schema and no rights. What it is
//! told to do wrong, it does with the next writes.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use futures::stream;
use secretscan_operator::KubernetesSettings;
use secretscan_testkit::Certificates;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

const GROUP: &str = "secretscan.dev/v1alpha1";
const NAMESPACE: &str = "team";
/// The token of its one client.
pub const TOKEN: &str = "token-of-the-operator";

/// What goes wrong with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status, and not done.
    Refused(u16),
    /// The connection breaks before the answer; it is done.
    AnswerLost,
}

/// The kinds, by the names in paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `RepositoryScan`
    RepositoryScan,
    /// `ScheduledRepositoryScan`
    ScheduledRepositoryScan,
}

impl Kind {
    fn of(plural: &str) -> Option<Self> {
        [Self::RepositoryScan, Self::ScheduledRepositoryScan].into_iter().find(|kind| kind.plural() == plural)
    }

    fn plural(self) -> &'static str {
        match self {
            Self::RepositoryScan => "repositoryscans",
            Self::ScheduledRepositoryScan => "scheduledrepositoryscans",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::RepositoryScan => "RepositoryScan",
            Self::ScheduledRepositoryScan => "ScheduledRepositoryScan",
        }
    }
}

#[derive(Default)]
struct Store {
    version: u64,
    objects: BTreeMap<(Kind, String), Value>,
    /// What happened, for watches: with the version.
    events: Vec<(u64, Kind, Value)>,
    faults: VecDeque<Fault>,
    status_writes: u64,
    conflicts: u64,
}

struct Server {
    store: Mutex<Store>,
    /// The last version, and how often watches were broken off.
    changed: watch::Sender<(u64, u64)>,
}

/// A running API server.
pub struct ApiServer {
    server: Arc<Server>,
    address: std::net::SocketAddr,
    certificates: Certificates,
    serving: JoinHandle<()>,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl ApiServer {
    /// Starts one.
    ///
    /// # Errors
    /// When it can't listen.
    pub async fn start() -> anyhow::Result<Self> {
        let certificates = Certificates::new()?;
        std::fs::write(certificates.path("token"), TOKEN)?;
        let chain =
            CertificateDer::pem_file_iter(certificates.path("server.pem"))?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(certificates.path("server.key"))?;
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        let address = tcp.local_addr()?;
        let listener = TlsListener { tcp, acceptor: TlsAcceptor::from(Arc::new(tls)) };
        let (changed, _) = watch::channel((0, 0));
        let server = Arc::new(Server { store: Mutex::default(), changed });
        let router = Router::new().fallback(answer).with_state(server.clone());
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { server, address, certificates, serving })
    }

    /// How a client reaches it.
    pub fn settings(&self) -> KubernetesSettings {
        KubernetesSettings {
            url: format!("https://{}", self.address),
            ca_file: self.certificates.path("ca.pem"),
            token_file: self.certificates.path("token"),
        }
    }

    /// What `kubectl apply` does: makes a resource, or changes what it is to be.
    pub fn apply(&self, kind: Kind, name: &str, spec: &Value) {
        self.server.write(|store| {
            let object = match store.objects.get(&(kind, name.to_owned())) {
                Some(known) if known["spec"] == *spec => return,
                Some(known) => {
                    let mut object = known.clone();
                    object["spec"] = spec.clone();
                    next_generation(&mut object);
                    object
                }
                None => json!({
                    "apiVersion": GROUP,
                    "kind": kind.name(),
                    "metadata": {
                        "name": name,
                        "namespace": NAMESPACE,
                        "uid": uid(store.version),
                        "generation": 1,
                        "creationTimestamp": "2026-01-01T00:00:00Z",
                    },
                    "spec": spec,
                }),
            };
            store.put(kind, name, object);
        });
    }

    /// What `kubectl delete` does.
    pub fn delete(&self, kind: Kind, name: &str) {
        self.server.write(|store| {
            let Some(mut object) = store.objects.get(&(kind, name.to_owned())).cloned() else { return };
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:01Z");
            next_generation(&mut object);
            store.put(kind, name, object);
        });
    }

    /// A resource as it is.
    pub fn get(&self, kind: Kind, name: &str) -> Option<Value> {
        self.server.lock().objects.get(&(kind, name.to_owned())).cloned()
    }

    /// Lets the next writes go wrong.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.server.lock().faults.extend(faults);
    }

    /// How many faults are left.
    pub fn faults_left(&self) -> usize {
        self.server.lock().faults.len()
    }

    /// Breaks off all watches. Who goes on from an old version is told that it is gone.
    pub fn disconnect(&self) {
        self.server.lock().events.clear();
        self.server.changed.send_modify(|(_, breaks)| *breaks += 1);
    }

    /// How many times a status was written.
    pub fn status_writes(&self) -> u64 {
        self.server.lock().status_writes
    }

    /// How many writes were refused since they were decided by an older version.
    pub fn conflicts(&self) -> u64 {
        self.server.lock().conflicts
    }
}

fn uid(version: u64) -> String {
    format!("{:08x}-0000-4000-8000-{version:012x}", std::process::id())
}

fn next_generation(object: &mut Value) {
    let generation = object["metadata"]["generation"].as_u64().unwrap_or_default();
    object["metadata"]["generation"] = json!(generation + 1);
}

impl Store {
    /// Stores an object in a new version; one that is deleted and kept by nobody goes.
    fn put(&mut self, kind: Kind, name: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let key = (kind, name.to_owned());
        let metadata = &object["metadata"];
        let is_kept = metadata["finalizers"].as_array().is_some_and(|kept| !kept.is_empty());
        let is_deleted = !metadata["deletionTimestamp"].is_null() && !is_kept;
        let event = match (is_deleted, self.objects.contains_key(&key)) {
            (true, _) => "DELETED",
            (false, true) => "MODIFIED",
            (false, false) => "ADDED",
        };
        self.events.push((self.version, kind, json!({ "type": event, "object": object })));
        match is_deleted {
            true => self.objects.remove(&key),
            false => self.objects.insert(key, object.clone()),
        };
        object
    }

    /// A write to an object, or to its status alone, on condition of the version that it names; the object as it is now, or the
    /// code of a refusal.
    fn change(&mut self, kind: Kind, name: &str, change: &Change) -> Result<Value, u16> {
        let known = self.objects.get(&(kind, name.to_owned())).ok_or(404_u16)?;
        let (Change::Patch(given) | Change::Status(given)) = change;
        let wanted = &given["metadata"]["resourceVersion"];
        if !wanted.is_null() && *wanted != known["metadata"]["resourceVersion"] {
            self.conflicts += 1;
            return Err(409);
        }
        let mut object = known.clone();
        match change {
            // What else is in it is left as it is.
            Change::Status(given) => object["status"] = given["status"].clone(),
            Change::Patch(patch) => {
                merge(&mut object, patch);
                if object["spec"] != known["spec"] {
                    next_generation(&mut object);
                }
            }
        }
        if object == *known {
            return Ok(object);
        }
        self.status_writes += u64::from(matches!(change, Change::Status(_)));
        Ok(self.put(kind, name, object))
    }
}

/// A write, with what is given.
enum Change {
    /// A merge patch (RFC 7396), which is not about the status.
    Patch(Value),
    /// An object, of which the status counts.
    Status(Value),
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().and_then(|fields| fields.remove(key));
        } else {
            merge(&mut target[key], value);
        }
    }
}

impl Server {
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(&self, write: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.lock();
        let written = write(&mut store);
        self.changed.send_modify(|(version, _)| *version = store.version);
        written
    }
}

fn failure(code: u16) -> Response {
    let reason = match code {
        401 => "Unauthorized",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("the test says {reason}"), "reason": reason, "code": code,
    });
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, axum::Json(status)).into_response()
}

async fn answer(
    State(server): State<Arc<Server>>,
    method: Method,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if headers.get("authorization").is_none_or(|value| value != &format!("Bearer {TOKEN}")) {
        return failure(401);
    }
    let path: Vec<&str> = uri.path().trim_start_matches('/').split('/').collect();
    match (method, path.as_slice()) {
        (Method::GET, ["apis", "secretscan.dev", "v1alpha1", plural]) => match Kind::of(plural) {
            Some(kind) if query.contains_key("watch") => watch(server, kind, &query),
            Some(kind) => list(&server, kind),
            None => failure(404),
        },
        (
            method,
            ["apis", "secretscan.dev", "v1alpha1", "namespaces", NAMESPACE, plural, name, rest @ ..],
        ) => {
            let is_merge =
                headers.get("content-type").is_some_and(|kind| kind == "application/merge-patch+json");
            let change = match (method, rest, serde_json::from_slice(&body)) {
                (Method::PATCH, [], Ok(patch)) if is_merge => Change::Patch(patch),
                (Method::PUT, ["status"], Ok(object)) => Change::Status(object),
                _ => return failure(404),
            };
            Kind::of(plural).map_or_else(|| failure(404), |kind| changed(&server, kind, name, &change))
        }
        _ => failure(404),
    }
}

fn changed(server: &Server, kind: Kind, name: &str, change: &Change) -> Response {
    let fault = server.lock().faults.pop_front();
    if let Some(Fault::Refused(code)) = fault {
        return failure(code);
    }
    let done = server.write(|store| store.change(kind, name, change));
    match (done, fault) {
        (Ok(_), Some(Fault::AnswerLost)) => {
            let broken = stream::iter([Err::<Bytes, _>(io::Error::other("the test breaks this off"))]);
            Response::new(Body::from_stream(broken))
        }
        (Ok(object), _) => axum::Json(object).into_response(),
        (Err(code), _) => failure(code),
    }
}

fn list(server: &Server, kind: Kind) -> Response {
    let store = server.lock();
    let items: Vec<&Value> =
        store.objects.iter().filter(|((of, _), _)| *of == kind).map(|(_, object)| object).collect();
    axum::Json(json!({
        "apiVersion": GROUP,
        "kind": format!("{}List", kind.name()),
        "metadata": { "resourceVersion": store.version.to_string() },
        "items": items,
    }))
    .into_response()
}

/// The events after a version, as they come, one on a line.
fn watch(server: Arc<Server>, kind: Kind, query: &BTreeMap<String, String>) -> Response {
    let from: u64 = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or_default();
    let changes = server.changed.subscribe();
    let breaks = changes.borrow().1;
    let is_gone = {
        let store = server.lock();
        let first = store.events.first().map_or(store.version + 1, |(version, _, _)| *version);
        from + 1 < first
    };
    if is_gone {
        return failure(410);
    }
    let events = stream::unfold((server, changes, from), move |(server, mut changes, from)| async move {
        loop {
            let last = changes.borrow_and_update().1;
            if last != breaks {
                return None;
            }
            let (lines, version) = {
                let store = server.lock();
                let new = store.events.iter().filter(|(version, of, _)| *version > from && *of == kind);
                let lines: String = new.map(|(_, _, event)| format!("{event}\n")).collect();
                (lines, store.version)
            };
            if !lines.is_empty() {
                return Some((Ok::<_, Infallible>(Bytes::from(lines)), (server, changes, version)));
            }
            changes.changed().await.ok()?;
        }
    });
    Response::new(Body::from_stream(events))
}

struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.tcp).await;
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        TcpListener::local_addr(&self.tcp)
    }
}

/// Runs an operator for this API server until the task is stopped or ended.
///
/// # Errors
/// When it can't be started.
pub async fn operator(
    api: &ApiServer,
    system: &crate::System,
    stop: secretscan_bus::Stop,
) -> anyhow::Result<JoinHandle<()>> {
    let client = secretscan_operator::connect(&api.settings()).context("a client")?;
    let bus = system.connect(secretscan_bus::access::Identity::Kubernetes).await?;
    Ok(tokio::spawn(async move { secretscan_operator::run(client, bus, stop).await }))
}
