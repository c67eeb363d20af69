//! Canary secrets, in a repository and as Git credentials, are nowhere after a run in which everything is recorded: every
//! message, record and file of NATS and its log, every file, log line, metric and report of the services and commands, every
//! page of the dashboard, every trace.
//!
//! Left out is what must hold them: the credential files, and what mirrors have of the repository, its refs and its
//! packs. (The packs in the object store are searched; they are compressed.)

mod canary;
mod host;
mod notifier;
mod pages;
mod repository;
mod tls;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use canary::Canary;
use futures::StreamExt;
use host::{ANSWERS, HostileHost};
use notifier::{Secrets, Told};
use secretscan_bus::access::Identity;
use secretscan_model::{RequestId, ScanState};
use secretscan_testkit::service::ServiceProcess;
use secretscan_testkit::{Certificates, HttpRemote, TestServer, eventually};
use secretscan_tests::collector::Collector;
use secretscan_tests::faults::binaries;
use secretscan_tests::processes::NO_TASKS;
use secretscan_tests::{DEADLINE, System, Users, files_below};
use serde_json::json;
use tls::TlsFront;
use tokio::task::JoinHandle;

/// The processes: all services.
const PROCESSES: [&str; 5] = ["controller", "scheduler", "repo-agent", "batch-agent", "notifier"];

/// Where findings are.
const PLACES: [&str; 7] =
    ["f.conf", "encoded.yaml", "pieces.js", "twice.conf", "archive.tar", "COMMIT_MESSAGE", "COMMIT_AUTHOR"];

/// Everything that was recorded, with where it was.
#[derive(Default)]
struct Recorded(Vec<(String, Vec<u8>)>);

impl Recorded {
    fn add(&mut self, place: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.0.push((place.into(), content.into()));
    }

    /// Where a canary is seen.
    fn sightings(&self, canaries: &[Canary]) -> Vec<String> {
        let mut sightings = Vec::new();
        for (place, content) in &self.0 {
            for canary in canaries {
                if let Some((form, at)) = canary.find(content) {
                    let around = &content[at.saturating_sub(120)..content.len().min(at + 60)];
                    let around = around.escape_ascii();
                    sightings.push(format!("{} in {place}, {form}: {around}", canary.name));
                }
            }
        }
        sightings
    }
}

/// The hosts that credentials are for.
struct Hosts {
    /// Opened by the helper.
    open: HttpRemote,
    /// Opened by a token.
    secure: TlsFront,
    /// Wants another password than the helper knows.
    closed: HttpRemote,
    hostile: HostileHost,
    hostile_secure: TlsFront,
    _behind: HttpRemote,
}

/// The system, recorded.
struct Stage {
    system: System,
    services: Vec<ServiceProcess>,
    collector: Collector,
    command: PathBuf,
    told: Told,
    messages: Arc<Mutex<Vec<u8>>>,
    listening: JoinHandle<()>,
    recorded: Recorded,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_is_nowhere_after_a_run_with_everything_recorded() {
    let (repository, mut canaries) = repository::planted();
    let token = ["canary", "of", "token", "5Jr8Qw2Zx7"].join("-");
    let password = ["canary", "of+password/", "9Tv4Ks6Lm1"].join("-");
    canaries.push(Canary::new("the token of a host", &token));
    canaries.push(Canary::new("the password of the helper", &password));
    let certificates = Certificates::new().unwrap();
    let hosts = Hosts::start(&repository.path(), (&token, &password), &certificates).await;
    let secrets = Secrets::new();
    canaries.extend(secrets.canaries());
    let mut stage = Stage::set(&hosts, (&token, &password), &certificates, &secrets).await;

    let published = stage.publish(&hosts.secure_uri(&repository.path())).await;
    stage.watch(&hosts.open.url()).await;
    assert_eq!(stage.system.ended(&published).await.state, ScanState::Completed);
    stage.scans_that_fail(&hosts).await;
    stage.scan_that_is_cancelled(&hosts).await;
    stage.garbage().await;
    stage.ask(&hosts).await;
    let recorded = stage.end().await;

    let sightings = recorded.sightings(&canaries);
    assert!(sightings.is_empty(), "{} sightings:\n{}", sightings.len(), sightings.join("\n"));
}

impl Hosts {
    async fn start(path: &Path, (token, password): (&str, &str), certificates: &Certificates) -> Self {
        let behind = HttpRemote::serve_with_password(path, "oauth2", token).await.unwrap();
        let hostile = HostileHost::start().await;
        Self {
            open: HttpRemote::serve_with_password(path, "oauth2", password).await.unwrap(),
            secure: TlsFront::start(certificates, behind.address()).await,
            closed: HttpRemote::serve_with_password(path, "oauth2", "another").await.unwrap(),
            hostile_secure: TlsFront::start(certificates, hostile.address).await,
            hostile,
            _behind: behind,
        }
    }

    fn secure_uri(&self, path: &Path) -> String {
        format!("https://{}/{}", self.secure.address, path.file_name().unwrap().to_str().unwrap())
    }
}

impl Stage {
    async fn set(
        hosts: &Hosts,
        credentials: (&str, &str),
        certificates: &Certificates,
        secrets: &Secrets,
    ) -> Self {
        let users = Users::new().unwrap();
        let mut server = users.server_config().unwrap();
        let everything = json!({ "debug": true, "trace": true, "trace_verbose": true, "logtime": true });
        server.extend(everything.as_object().cloned().unwrap());
        let server = TestServer::start_with(server).await.unwrap();
        let system = System::start_on(server, users, NO_TASKS, Box::new(|_, _| {})).await.unwrap();
        let (messages, listening) = listen(&system).await;
        let dir = system.dir().to_owned();
        let programs = tempfile::tempdir().unwrap();
        let to = programs.path().to_owned();
        let (built, command) = tokio::task::spawn_blocking(move || {
            (binaries::build(&to).unwrap(), binaries::program("secretscan").unwrap())
        })
        .await
        .unwrap();
        write_credentials(&dir, hosts, credentials, certificates);
        let told = Told::listen().await;
        told.configure(&dir, secrets);
        let collector = Collector::start().await.unwrap();
        let mut services = Vec::new();
        for service in PROCESSES {
            let mut variables = variables(service, &dir, system.users());
            variables.push(("SECRETSCAN_SERVICE__OTLP_ENDPOINT".into(), collector.endpoint()));
            let variables: Vec<_> = variables.iter().map(|(name, value)| (&**name, value.as_str())).collect();
            let binary = built[service].to_str().unwrap();
            services.push(ServiceProcess::start(binary, &system.server, &variables).await.unwrap());
        }
        Self {
            system,
            services,
            collector,
            command,
            told,
            messages,
            listening,
            recorded: Recorded::default(),
        }
    }

    /// Asks for a scan as anyone may, by a message.
    async fn publish(&self, uri: &str) -> RequestId {
        let client = self.system.client(Identity::Requester).await.unwrap();
        let request = json!({ "requestId": "published", "uri": uri }).to_string();
        client.publish("secretscan.repository-scan.new", request.into()).await.unwrap();
        client.flush().await.unwrap();
        eventually(DEADLINE, "the request is known", async || {
            self.system.bus.scan(&"published".parse().ok()?).await.ok()?
        })
        .await
        .id
    }

    async fn watch(&mut self, uri: &str) {
        let said = self.run(&["request", uri, "--watch"]).await;
        assert!(said.contains("Completed"), "{said}");
    }

    /// Scans that the host refuses, and that a hostile host answers with our own credentials.
    async fn scans_that_fail(&mut self, hosts: &Hosts) {
        let mut uris = vec![hosts.closed.url()];
        for answer in ANSWERS {
            uris.push(format!("http://{}/{answer}/r", hosts.hostile.address));
            uris.push(format!("https://{}/{answer}/r", hosts.hostile_secure.address));
        }
        let mut ids = Vec::new();
        for uri in &uris {
            ids.push(self.system.request(uri).await.unwrap().0);
        }
        for (id, uri) in ids.iter().zip(&uris) {
            let failed_once = eventually(DEADLINE, "the request has failed once", async || {
                let scan = self.system.bus.scan(id).await.ok().flatten()?;
                (scan.state.is_terminal() || scan.attempts > 0 && scan.state.name() == "Scheduled")
                    .then_some(scan)
            });
            let scan = failed_once.await;
            assert_ne!(scan.state, ScanState::Completed, "{uri}");
            // What would be tried again is not waited for.
            if !scan.state.is_terminal() {
                self.run(&["request", "cancel", id.as_str()]).await;
            }
        }
    }

    /// While the host holds the fetch, no command line has a canary.
    async fn scan_that_is_cancelled(&mut self, hosts: &Hosts) {
        let uri = format!("https://{}/hold/r", hosts.hostile_secure.address);
        let (id, _) = self.system.request(&uri).await.unwrap();
        let lines = eventually(DEADLINE, "git fetches", async || {
            let lines = command_lines();
            lines.contains("/hold/r").then_some(lines)
        });
        let lines = lines.await;
        self.recorded.add("command lines", lines);
        self.run(&["request", "cancel", id.as_str()]).await;
        assert_eq!(self.system.ended(&id).await.state, ScanState::Cancelled);
    }

    /// Requests that can't be taken, for the dead letters.
    async fn garbage(&mut self) {
        let client = self.system.client(Identity::Requester).await.unwrap();
        client.publish("secretscan.repository-scan.new", "{\"url\": 1}".into()).await.unwrap();
        client.flush().await.unwrap();
        let client = self.system.client(Identity::Setup).await.unwrap();
        let jetstream = async_nats::jetstream::new(client);
        eventually(DEADLINE, "a dead letter", async || {
            let stream = jetstream.get_stream("DEAD_LETTERS").await.ok()?;
            (stream.cached_info().state.messages > 0).then_some(())
        })
        .await;
    }

    /// Every question that the commands and the services answer.
    async fn ask(&mut self, hosts: &Hosts) {
        let template = self.system.dir().join("all.txt");
        fs::write(&template, "{{ report | default('') }}{{ findings | tojson }}").unwrap();
        let repository = hosts.open.url();
        for format in ["text", "json", "jsonl", "sarif", "csv", "junit", "gitlab", "html", "template"] {
            let mut arguments = vec!["findings", "--repository", &repository, "--format", format];
            if format == "template" {
                arguments.extend(["--template", template.to_str().unwrap()]);
            }
            let said = self.run(&arguments).await;
            // Everything was found: what is not seen cannot be shown.
            let missing: Vec<_> = PLACES.into_iter().filter(|place| !said.contains(place)).collect();
            assert!(missing.is_empty(), "{format} lacks {missing:?}: {said}");
        }
        for list in ["requests", "repositories", "agents", "findings"] {
            self.run(&[list]).await;
            self.run(&[list, "--format", "json"]).await;
        }
        for scan in self.system.bus.scans().await.unwrap() {
            self.run(&["request", "show", scan.id.as_str()]).await;
            self.run(&["request", "show", scan.id.as_str(), "--format", "json"]).await;
        }
        self.run(&["dead-letters", "list"]).await;
        self.run(&["dead-letters", "show", "1"]).await;
        let said = self.told.everything(&[&PLACES[..], &["failed-request", "dead-letter"]].concat()).await;
        self.recorded.add("what people were told", said);
        let pages = pages::all(&self.system).await;
        // What is not seen cannot be shown.
        for place in PLACES {
            let shows = |page: &hyper::body::Bytes| String::from_utf8_lossy(page).contains(place);
            assert!(pages.iter().any(|(_, page)| shows(page)), "no page shows {place}");
        }
        for (path, page) in pages {
            self.recorded.add(format!("the dashboard's page {path}"), page);
        }
        for (service, process) in PROCESSES.iter().zip(&self.services) {
            for page in ["/metrics", "/healthz", "/readyz"] {
                self.recorded.add(format!("{service}{page}"), process.get(page).await.unwrap().1);
            }
        }
    }

    /// Stops everything, and gives what is left of it.
    async fn end(mut self) -> Recorded {
        for (service, process) in PROCESSES.iter().zip(self.services) {
            let (status, log) = process.finish().await.unwrap();
            assert!(status.success(), "{service}: {status}");
            assert!(log.contains("\"level\":\"TRACE\""), "{service} does not log everything");
            self.recorded.add(format!("the log of the {service}"), log);
        }
        assert!(self.collector.spans().iter().any(|span| span.name == "scan"));
        for body in self.collector.bodies() {
            self.recorded.add("a trace", body);
        }
        let stored = self.system.everything_stored().await.unwrap();
        self.recorded.add("streams and buckets", stored);
        self.listening.abort();
        let messages = std::mem::take(&mut *self.messages.lock().unwrap());
        assert!(!messages.is_empty());
        self.recorded.add("messages", messages);
        let of_server = files_below(self.system.server.store_dir()).unwrap();
        let log = of_server.iter().find(|(path, _)| path.ends_with("nats-server.log"));
        assert!(String::from_utf8_lossy(&log.unwrap().1).contains("[TRC]"));
        let of_services = files_below(self.system.dir()).unwrap();
        for (path, content) in of_server.into_iter().chain(of_services) {
            if !must_hold_canaries(&path) {
                self.recorded.add(path.display().to_string(), content);
            }
        }
        self.recorded
    }

    /// Runs a command as people do; gives what it says.
    async fn run(&mut self, arguments: &[&str]) -> String {
        let output = tokio::process::Command::new(&self.command)
            .args(arguments)
            .env("SECRETSCAN_NATS", self.system.server.url())
            .arg("--nkey")
            .arg(self.system.users().config("", Identity::Cli).nkey_seed.unwrap())
            .env("RUST_LOG", "trace")
            .output()
            .await
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        self.recorded.add(format!("secretscan {}", arguments.join(" ")), said.clone());
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// The credential files, and what a mirror has of the repository.
fn must_hold_canaries(path: &Path) -> bool {
    let mirrors = ["objects", "refs", "packed-refs"];
    let has = |part: &str| path.components().any(|component| component.as_os_str() == part);
    has("credentials") || (has("mirrors") && mirrors.into_iter().any(has))
}

/// Records every message with its headers.
async fn listen(system: &System) -> (Arc<Mutex<Vec<u8>>>, JoinHandle<()>) {
    let client = system.client(Identity::Setup).await.unwrap();
    let mut subscription = client.subscribe(">").await.unwrap();
    client.flush().await.unwrap();
    let messages = Arc::new(Mutex::new(Vec::new()));
    let heard = messages.clone();
    let listening = tokio::spawn(async move {
        while let Some(message) = subscription.next().await {
            let mut heard = heard.lock().unwrap();
            heard.extend_from_slice(message.subject.as_bytes());
            heard.extend_from_slice(format!("{:?}{:?}", message.reply, message.headers).as_bytes());
            heard.extend_from_slice(&message.payload);
        }
    });
    (messages, listening)
}

/// The repo-agent's credentials, and a git that notes its command line and believes the authority of its hosts.
fn write_credentials(dir: &Path, hosts: &Hosts, secrets: (&str, &str), certificates: &Certificates) {
    let (token, password) = secrets;
    let credentials = dir.join("credentials");
    fs::create_dir_all(&credentials).unwrap();
    fs::create_dir_all(dir.join("bin")).unwrap();
    fs::write(credentials.join("token"), token).unwrap();
    let helper = credentials.join("helper");
    script(&helper, &format!("echo username=oauth2\necho 'password={password}'"));
    let path = std::env::var_os("PATH").unwrap();
    let git = std::env::split_paths(&path).map(|dir| dir.join("git")).find(|git| git.is_file()).unwrap();
    script(
        &dir.join("bin/git"),
        &format!(
            "echo \"$@\" >> {dir}/command-lines\nGIT_SSL_CAINFO={ca} exec {git} \"$@\"",
            dir = dir.display(),
            ca = certificates.path("ca.pem").display(),
            git = git.display()
        ),
    );
    let mut config = format!("[credentials]\nhelper = \"{}\"\n", helper.display());
    for host in [hosts.secure.address, hosts.hostile_secure.address] {
        config += &format!(
            "[[credentials.tokens]]\nhost = \"{host}\"\nuser = \"oauth2\"\ntoken_file = \"{}\"\n",
            credentials.join("token").display()
        );
    }
    fs::write(dir.join("repo-agent.toml"), config).unwrap();
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// How a service is configured.
fn variables(service: &str, dir: &Path, users: &Users) -> Vec<(String, String)> {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let identity = Identity::ALL.into_iter().find(|identity| identity.name() == service).unwrap();
    let mut settings = users.variables(identity);
    settings.push(("SERVICE__LOG", "trace".to_owned()));
    if service.ends_with("agent") {
        fs::create_dir_all(dir.join("scratch")).unwrap();
        settings.push(("AGENT__SCRATCH", path("scratch")));
    }
    match service {
        "controller" => settings.extend([
            ("POLICY__ALLOW_HTTP", "true".to_owned()),
            ("POLICY__ALLOW_PRIVATE_HOSTS", "true".to_owned()),
        ]),
        "repo-agent" => settings.extend([
            ("CONFIG", path("repo-agent.toml")),
            ("MIRRORS__DIR", path("mirrors")),
            ("AGENT__SLOTS", "8".to_owned()),
        ]),
        "batch-agent" => settings.push(("SCAN__KEY_FILE", path("key"))),
        "notifier" => settings.push(("CONFIG", path("notifier.toml"))),
        _ => {}
    }
    let search = format!("{}:{}", path("bin"), std::env::var("PATH").unwrap());
    let settings = settings.into_iter().map(|(name, value)| (format!("SECRETSCAN_{name}"), value));
    settings.chain((service == "repo-agent").then(|| ("PATH".to_owned(), search))).collect()
}

/// Those of all processes that let themselves be seen.
fn command_lines() -> String {
    let mut lines = String::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        if let Ok(line) = fs::read(process.path().join("cmdline")) {
            lines += &String::from_utf8_lossy(&line).replace('\0', " ");
            lines.push('\n');
        }
    }
    lines
}
