//! What a cluster does with the pods of an overlay, done with processes: volumes become directories, containers processes with
//! the arguments, variables and files that the manifests give them.
//!
//! Replaced are only: paths of mounts, by directories below a temporary one; addresses to listen on, by ports of the loopback
//! address, which the system picks; names of Services and pods, by those addresses. `TMPDIR` stands for the mount `/tmp`, and
//! two variables of the controller allow the Git host of the test, which speaks plain http on the loopback address.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use secretscan_operator::KubernetesSettings;
use secretscan_testkit::{Certificates, server_binary};
use secretscan_tests::faults::binaries;
use secretscan_tests::kubernetes::ApiServer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::checks::OF_KUBERNETES;
use super::manifests::{Manifests, Workload, list};

/// Addresses that containers listen on.
const LISTENED: [&str; 6] =
    ["0.0.0.0:4222", "0.0.0.0:6222", "0.0.0.0:8080", "0.0.0.0:8081", "0.0.0.0:8082", "0.0.0.0:8222"];

/// The programs of the images, by the name of the image.
const PROGRAMS: [(&str, &str); 9] = [
    ("secretscan-cli", "secretscan"),
    ("secretscan-controller", "secretscan-controller"),
    ("secretscan-scheduler", "secretscan-scheduler"),
    ("secretscan-repo-agent", "secretscan-repo-agent"),
    ("secretscan-batch-agent", "secretscan-batch-agent"),
    ("secretscan-webhook", "secretscan-webhook"),
    ("secretscan-notifier", "secretscan-notifier"),
    ("secretscan-dashboard", "secretscan-dashboard"),
    ("secretscan-operator", "secretscan-operator"),
];

/// So much of each pod's log is shown when a test fails.
const LAST_LINES: usize = 40;

/// The files of each Secret.
type Secrets = BTreeMap<String, BTreeMap<String, String>>;

pub(super) struct Cluster {
    pub(super) manifests: Manifests,
    pub(super) api_server: ApiServer,
    dir: TempDir,
    programs: BTreeMap<String, PathBuf>,
    secrets: Secrets,
    /// What addresses are replaced by: of each server, and those that all pods see.
    servers: Vec<Vec<(String, String)>>,
    common: Vec<(String, String)>,
}

/// A running container.
pub(super) struct Pod {
    name: String,
    child: Child,
    log: PathBuf,
    addresses: Vec<(String, String)>,
}

impl Drop for Cluster {
    /// What the pods said last, for whoever looks for the cause of a failure.
    #[expect(clippy::print_stdout, reason = "shown with the test that fails")]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let files = fs::read_dir(self.dir.path()).into_iter().flatten().flatten();
        let logs = files.map(|file| file.path()).filter(|path| path.extension() == Some("log".as_ref()));
        for log in logs {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            println!("{}:", log.display());
            for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
                println!("    {line}");
            }
        }
    }
}

impl Cluster {
    /// Makes the Secrets, as the README says.
    pub(super) async fn new(overlay: &str) -> Self {
        let manifests = Manifests::of_overlay(overlay);
        let dir = tempfile::tempdir().unwrap();
        let names = PROGRAMS.map(|(_, program)| program.to_owned());
        let built = tokio::task::spawn_blocking(move || binaries::programs(&names).unwrap()).await.unwrap();
        let images = PROGRAMS.map(|(image, _)| image.to_owned());
        let mut programs: BTreeMap<_, _> = images.into_iter().zip(built).collect();
        programs.insert("nats".into(), server_binary().await.unwrap());
        let secrets = secrets(&programs["secretscan-cli"], &dir.path().join("keys")).await;

        let count = manifests.find("StatefulSet", "nats").unwrap()["spec"]["replicas"].as_u64().unwrap();
        let servers: Vec<_> = (0..count).map(|_| fresh_addresses()).collect();
        let url: Vec<String> =
            servers.iter().map(|server| format!("nats://{}", address(server, "0.0.0.0:4222"))).collect();
        let mut common = vec![("nats://nats:4222".to_owned(), url.join(","))];
        common.extend(
            servers.iter().enumerate().map(|(number, server)| {
                (format!("nats-{number}.nats:6222"), address(server, "0.0.0.0:6222"))
            }),
        );
        let api_server = ApiServer::start().await.unwrap();
        Self { manifests, api_server, dir, programs, secrets, servers, common }
    }

    /// Where clients reach NATS.
    pub(super) fn url(&self) -> &str {
        &self.common[0].1
    }

    /// The directory of the keys.
    pub(super) fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    /// A file of a Secret.
    pub(super) fn secret(&self, secret: &str, file: &str) -> &str {
        &self.secrets[secret][file]
    }

    /// All servers.
    pub(super) fn start_servers(&self) -> Vec<Pod> {
        let start =
            |(number, addresses): (usize, &Vec<_>)| self.start("nats", number, addresses.clone(), &[]);
        self.servers.iter().enumerate().map(start).collect()
    }

    /// The first pod of a workload; more are the same.
    pub(super) fn start_first(&self, workload: &str, more: &[(&str, &str)]) -> Pod {
        self.start(workload, 0, fresh_addresses(), more)
    }

    fn start(
        &self,
        workload: &str,
        number: usize,
        addresses: Vec<(String, String)>,
        more: &[(&str, &str)],
    ) -> Pod {
        let workload = self.manifests.workload(workload);
        let name = format!("{}-{number}", workload.name);
        let root = self.dir.path().join(&name);
        let translate = Translate::new(&workload, &root, addresses.iter().chain(&self.common));
        self.mount(&workload, &root, &translate);

        let mut variables = workload.variables(&self.manifests);
        for variable in list(&workload.container()["env"]) {
            if variable["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name" {
                variables.push((variable["name"].as_str().unwrap().to_owned(), name.clone()));
            }
        }
        let arguments = list(&workload.container()["args"]).iter().map(|argument| {
            let mut argument = argument.as_str().unwrap().to_owned();
            for (name, value) in &variables {
                argument = argument.replace(&format!("$({name})"), value);
            }
            translate.text(&argument)
        });
        let log = self.dir.path().join(format!("{name}.log"));
        let file = fs::File::create(&log).unwrap();
        let child = Command::new(self.program(&workload))
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("TMPDIR", root.join("tmp"))
            .envs(variables.iter().map(|(name, value)| (name, translate.text(value))))
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Pod { name, child, log, addresses }
    }

    fn program(&self, workload: &Workload) -> &Path {
        let image = workload.container()["image"].as_str().unwrap();
        let (name, _) = image.split_once(':').unwrap();
        &self.programs[name]
    }

    /// Runs a Job once.
    pub(super) async fn run(&self, job: &str) -> (ExitStatus, String) {
        let mut pod = self.start_first(job, &[]);
        let status = pod.child.wait().await.unwrap();
        (status, pod.log())
    }

    /// What the pod's hook before its stop does.
    pub(super) async fn run_pre_stop_hook(&self, pod: &Pod) -> ExitStatus {
        let workload = self.manifests.workload("nats");
        let root = self.dir.path().join(&pod.name);
        let translate = Translate::new(&workload, &root, [].iter());
        let command = list(&workload.container()["lifecycle"]["preStop"]["exec"]["command"]);
        let texts: Vec<String> = command.iter().map(|text| translate.text(text.as_str().unwrap())).collect();
        assert_eq!(texts[0], "/nats-server");
        Command::new(&self.programs["nats"]).args(&texts[1..]).status().await.unwrap()
    }

    /// Makes the directories and files of a pod's volumes. What ConfigMaps hold is translated.
    fn mount(&self, workload: &Workload, root: &Path, translate: &Translate) {
        fs::create_dir_all(root.join("tmp")).unwrap();
        for mount in list(&workload.container()["volumeMounts"]) {
            let dir = below(root, mount["mountPath"].as_str().unwrap());
            fs::create_dir_all(&dir).unwrap();
            let volume =
                list(&workload.pod()["volumes"]).iter().find(|volume| volume["name"] == mount["name"]);
            let Some(volume) = volume else { continue };
            let mut sources: Vec<&Value> = list(&volume["projected"]["sources"]).iter().collect();
            sources.push(volume);
            for source in sources {
                if let Some(map) = source["configMap"]["name"].as_str().filter(|map| *map != OF_KUBERNETES) {
                    for (name, text) in self.manifests.files(map).unwrap() {
                        fs::write(dir.join(name), translate.text(text)).unwrap();
                    }
                }
                self.mount_secret(&source["secret"], &dir);
                self.mount_of_kubernetes(source, &dir);
            }
        }
    }

    /// What the kubelet and Kubernetes make for the API server of the test.
    fn mount_of_kubernetes(&self, source: &Value, dir: &Path) {
        let KubernetesSettings { ca_file, token_file, .. } = self.api_server.settings();
        if let Some(token) = source.get("serviceAccountToken") {
            fs::copy(token_file, dir.join(token["path"].as_str().unwrap())).unwrap();
        }
        if source["configMap"]["name"] == OF_KUBERNETES {
            fs::copy(ca_file, dir.join("ca.crt")).unwrap();
        }
    }

    fn mount_secret(&self, source: &Value, dir: &Path) {
        let name = source["name"].as_str().or(source["secretName"].as_str());
        let Some(name) = name else { return };
        let Some(files) = self.secrets.get(name) else {
            assert_eq!(source["optional"], true, "there is no Secret {name}");
            return;
        };
        let items = list(&source["items"]);
        for (file, content) in files {
            if items.is_empty() || items.iter().any(|item| item["key"] == **file && item["path"] == **file) {
                let path = dir.join(file);
                fs::write(&path, content).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
            }
        }
    }
}

impl Pod {
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Where it listens instead of this address.
    pub(super) fn address(&self, listened: &str) -> String {
        address(&self.addresses, listened)
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What its readiness probe says.
    pub(super) async fn is_ready(&self, manifests: &Manifests) -> bool {
        let (name, _) = self.name.rsplit_once('-').unwrap();
        let workload = manifests.workload(name);
        let (container, probe) = (workload.container(), &workload.container()["readinessProbe"]["httpGet"]);
        let port = list(&container["ports"]).iter().find(|port| port["name"] == probe["port"]).unwrap();
        let address = self.address(&format!("0.0.0.0:{}", port["containerPort"]));
        get(&address, probe["path"].as_str().unwrap()).await.is_some_and(|(status, _)| status == 200)
    }

    /// Stops it as a cluster does; gives how it ended.
    pub(super) async fn stop(mut self, grace: Duration) -> ExitStatus {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        self.ends(grace).await
    }

    /// Waits until it ends by itself.
    pub(super) async fn ends(&mut self, within: Duration) -> ExitStatus {
        let ended = tokio::time::timeout(within, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("{} does not stop: {}", self.name, self.log())).unwrap()
    }
}

/// The status of a page, and what it says.
pub(super) async fn get(address: &str, path: &str) -> Option<(u16, String)> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Puts directories for mounts, and addresses for addresses.
struct Translate {
    root: PathBuf,
    mounts: Vec<String>,
    addresses: Vec<(String, String)>,
}

impl Translate {
    fn new<'a>(
        workload: &Workload,
        root: &Path,
        addresses: impl Iterator<Item = &'a (String, String)>,
    ) -> Self {
        let mounts = list(&workload.container()["volumeMounts"]).iter();
        let mounts = mounts.map(|mount| mount["mountPath"].as_str().unwrap().to_owned()).collect();
        Self { root: root.to_owned(), mounts, addresses: addresses.cloned().collect() }
    }

    fn text(&self, text: &str) -> String {
        let mut result = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let is_within = result.ends_with(|c: char| c.is_alphanumeric() || "/._-".contains(c));
            let mount = self.mounts.iter().find(|mount| !is_within && rest.starts_with(*mount));
            if let Some(mount) = mount {
                result.push_str(below(&self.root, mount).to_str().unwrap());
                rest = &rest[mount.len()..];
            } else {
                result.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        self.addresses.iter().fold(result, |text, (from, to)| text.replace(from, to))
    }
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn address(addresses: &[(String, String)], listened: &str) -> String {
    addresses.iter().find(|(from, _)| from == listened).unwrap().1.clone()
}

/// Ports taken from the system, and let go: a pod must know that of another before it starts.
fn fresh_addresses() -> Vec<(String, String)> {
    let listeners = LISTENED.map(|listened| (listened, TcpListener::bind(("127.0.0.1", 0)).unwrap()));
    let addresses = listeners
        .iter()
        .map(|(listened, listener)| ((*listened).to_owned(), listener.local_addr().unwrap().to_string()));
    addresses.collect()
}

/// The Secrets that `secretscan nats-config` writes, and those that people make.
async fn secrets(cli: &Path, keys: &Path) -> Secrets {
    let made = Command::new(cli).args(["nats-config", "--kubernetes", "--output"]).arg(keys).output().await;
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let written: Value = serde_json::from_slice(&fs::read(keys.join("secrets.json")).unwrap()).unwrap();
    let mut secrets: Secrets = list(&written["items"])
        .iter()
        .map(|secret| {
            let files = serde_json::from_value(secret["stringData"].clone()).unwrap();
            (secret["metadata"]["name"].as_str().unwrap().to_owned(), files)
        })
        .collect();
    let certificates = Certificates::new().unwrap();
    let read = |name: &str| fs::read_to_string(certificates.path(name)).unwrap();
    let tls = [("tls.crt", "server.pem"), ("tls.key", "server.key"), ("ca.crt", "ca.pem")];
    let tls = tls.map(|(file, name)| (file.to_owned(), read(name)));
    fs::write(keys.join("ca.crt"), &tls[2].1).unwrap();
    secrets.insert("nats-tls".into(), BTreeMap::from(tls));
    let github = ("github.secret".to_owned(), "of the tests ".repeat(3));
    secrets.insert("webhook-secrets".into(), BTreeMap::from([github]));
    secrets
}
