//! The overlays at work: what the manifests say is enough for a scan from end to end, and for every service to come up and to
//! stop.

use std::time::Duration;

use secretscan_bus::access::Identity;
use secretscan_bus::{Bus, NatsConfig, TlsSettings};
use secretscan_detect::HashKey;
use secretscan_model::ScanState;
use secretscan_proto::v1;
use secretscan_testkit::{HttpRemote, eventually, generate};
use secretscan_tests::kubernetes::Kind;
use secretscan_tests::{DEADLINE, ended, expected, keys};

use super::cluster::{Cluster, Pod, get};
use super::manifests::Workload;
use super::monitoring::is_told;

/// A Git host of the test, which the policy of the manifests refuses.
const HOST_OF_THE_TEST: [(&str, &str); 2] =
    [("SECRETSCAN_POLICY__ALLOW_HTTP", "true"), ("SECRETSCAN_POLICY__ALLOW_PRIVATE_HOSTS", "true")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_scans() {
    scans("single-node").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_with_tls_and_all_services_scan() {
    // Production with the operator.
    scans("operator").await;
}

async fn scans(overlay: &str) {
    let cluster = Cluster::new(overlay).await;
    let servers = cluster.start_servers();
    // As in a cluster, nobody waits for the Job.
    let url = cluster.api_server.settings().url;
    let api_server_of_the_test = [("SECRETSCAN_KUBERNETES__URL", url.as_str())];
    let start = |name: &str| {
        let more: &[_] = match name {
            "controller" => &HOST_OF_THE_TEST,
            "operator" => &api_server_of_the_test,
            _ => &[],
        };
        cluster.start_first(name, more)
    };
    let mut services = Vec::new();
    for workload in cluster.manifests.workloads().iter().filter(|workload| workload.is_a_service()) {
        services.push((workload.name, start(workload.name)));
    }
    set_up(&cluster, &servers).await;
    for (name, pod) in &mut services {
        eventually(DEADLINE, "the pod is ready", async || {
            if pod.has_ended() {
                *pod = start(name);
            }
            pod.is_ready(&cluster.manifests).await.then_some(())
        })
        .await;
    }
    scan(&cluster).await;
    if services.iter().any(|(name, _)| *name == "operator") {
        by_a_resource(&cluster).await;
    }
    if services.iter().any(|(name, _)| *name == "dashboard") {
        front_doors_and_metrics(&services).await;
    }
    for (name, pod) in services {
        let workload = cluster.manifests.workload(name);
        let status = pod.stop(grace(&workload)).await;
        assert_eq!(status.code(), Some(0), "{name}");
    }
    stop(&cluster, servers).await;
}

/// Runs the Job until it succeeds, as a cluster does, and once more: it finds everything there.
async fn set_up(cluster: &Cluster, servers: &[Pod]) {
    eventually(DEADLINE, "the streams are there", async || {
        let (status, said) = cluster.run("setup").await;
        let of_servers = || servers.iter().map(Pod::log).collect::<String>();
        assert!(!said.contains("authorization"), "{said}\n{}", of_servers());
        status.success().then_some(())
    })
    .await;
    let (status, said) = cluster.run("setup").await;
    assert!(status.success(), "{said}");
}

async fn scan(cluster: &Cluster) {
    let generated = generate(41, 30).unwrap();
    let path = generated.repository.path();
    let remote = HttpRemote::serve(&path).await.unwrap();
    let tls = cluster.manifests.find("NetworkPolicy", "nats-to-nats").map(|_| cluster.keys().join("ca.crt"));
    let bus = Bus::open(&NatsConfig {
        tls: TlsSettings { ca_file: tls, ..TlsSettings::default() },
        ..NatsConfig::of(Identity::Cli, cluster.url(), &cluster.keys())
    })
    .await
    .unwrap();
    let request = v1::NewRepositoryScan { uri: remote.url(), ..v1::NewRepositoryScan::default() };
    let repository_id = completed(&bus, &request).await;
    let findings = bus.findings(Some(&repository_id.parse().unwrap())).await.unwrap();
    let found: Vec<_> = findings.into_iter().map(|(_, finding)| finding).collect();
    let key = HashKey::from_bytes(cluster.secret("fingerprint-key", "fingerprint.key").as_bytes());
    assert_eq!(keys(&found), expected(&key, &path));
    assert!(!found.is_empty());

    // A gap for the alert on gaps.
    let forget = v1::ForgetCommits { repository_id, all: true, ..v1::ForgetCommits::default() };
    assert_eq!(bus.forget_commits(&forget).await.unwrap().error, "");
    completed(&bus, &v1::NewRepositoryScan { verify: true, ..request }).await;
}

/// The same front door as a resource of the cluster.
async fn by_a_resource(cluster: &Cluster) {
    let generated = generate(42, 30).unwrap();
    let remote = HttpRemote::serve(&generated.repository.path()).await.unwrap();
    let spec = serde_json::json!({ "uri": remote.url() });
    cluster.api_server.apply(Kind::RepositoryScan, "by-a-resource", &spec);
    eventually(DEADLINE, "the resource says that its request has ended", async || {
        let object = cluster.api_server.get(Kind::RepositoryScan, "by-a-resource")?;
        (object["status"]["state"] == "Completed").then_some(())
    })
    .await;
}

/// Asks for a scan and waits until it is done; gives the repository's id.
async fn completed(bus: &Bus, request: &v1::NewRepositoryScan) -> String {
    let answer = bus.request_scan(request).await.unwrap();
    assert_eq!(answer.error, "");
    let id = answer.request_id.parse().unwrap();
    let ended = ended(bus, &id, DEADLINE).await;
    assert_eq!(ended.state, ScanState::Completed);
    answer.repository_id
}

/// The webhook takes deliveries of the source that is configured, people can log in, and everything that alerts and the
/// dashboard ask for is told.
async fn front_doors_and_metrics(services: &[(&str, Pod)]) {
    let pod = |wanted| services.iter().find(|(name, _)| *name == wanted).map(|(_, pod)| pod).unwrap();
    let (status, _) = get(&pod("webhook").address("0.0.0.0:8081"), "/hooks/github").await.unwrap();
    assert_eq!(status, 405);
    let (status, _) = get(&pod("dashboard").address("0.0.0.0:8082"), "/login").await.unwrap();
    assert_eq!(status, 200);
    let mut pages = String::new();
    for (_, pod) in services {
        pages.push_str(&get(&pod.address("0.0.0.0:8080"), "/metrics").await.unwrap().1);
    }
    is_told(&pages);
    let gaps = pages.lines().filter_map(|line| line.strip_prefix("secretscan_ledger_gaps_total "));
    assert!(gaps.map(|count| count.parse::<u64>().unwrap()).sum::<u64>() > 0, "a gap is not told");
}

fn grace(workload: &Workload) -> Duration {
    Duration::from_secs(workload.pod()["terminationGracePeriodSeconds"].as_u64().unwrap())
}

/// Servers with a hook before their stop are gone after it; others after SIGTERM.
async fn stop(cluster: &Cluster, servers: Vec<Pod>) {
    let workload = cluster.manifests.workload("nats");
    for mut server in servers {
        if workload.container()["lifecycle"].is_null() {
            assert!(server.stop(grace(&workload)).await.success());
        } else {
            assert!(cluster.run_pre_stop_hook(&server).await.success());
            assert!(server.ends(grace(&workload)).await.success());
        }
    }
}
