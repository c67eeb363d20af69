//! Everything on a cluster of three nats-servers, one of which is killed and comes back.

use futures::TryStreamExt;
use secretscan_bus::topology::Queue;
use secretscan_bus::{Bus, NatsConfig, Stop};
use secretscan_detect::HashKey;
use secretscan_model::ScanState;
use secretscan_model::ledger::CommitState;
use secretscan_proto::v1;
use secretscan_testkit::{TestCluster, eventually, generate};
use secretscan_tests::{DEADLINE, expected, keys};
use tokio::task::JoinSet;

const KEY: &[u8] = b"a key of thirty-two bytes or more";

async fn connect(cluster: &TestCluster, name: &str) -> Bus {
    let config = NatsConfig { url: cluster.url(), replicas: 3, name: name.into(), ..NatsConfig::default() };
    eventually(DEADLINE, "the cluster takes a connection", async || Bus::connect(&config).await.ok()).await
}

/// Two of each service.
async fn start_services(cluster: &TestCluster, dir: &std::path::Path, stop: &Stop) -> JoinSet<()> {
    let mut services = JoinSet::new();
    std::fs::write(dir.join("key"), KEY).unwrap();
    for number in 0..2 {
        let (bus, token) = (connect(cluster, "controller").await, stop.clone());
        let mut config = secretscan_controller::Config::default();
        config.policy.allow_local = true;
        services.spawn(async move { secretscan_controller::run(bus, config, token).await });
        let (bus, token) = (connect(cluster, "scheduler").await, stop.clone());
        services.spawn(async move { secretscan_scheduler::run(bus, token).await });
        let (bus, token) = (connect(cluster, "repo-agent").await, stop.clone());
        let mut config = secretscan_repo_agent::Config::default();
        config.mirrors.dir = dir.join(format!("mirrors-{number}"));
        config.fetch.allow_local = true;
        config.batches.max_commits = 5;
        // Each election that a slow machine draws out costs an attempt.
        config.agent.max_attempts = 20;
        services.spawn(async move { secretscan_repo_agent::run(bus, config, token).await.unwrap() });
        let (bus, token) = (connect(cluster, "batch-agent").await, stop.clone());
        let mut config = secretscan_batch_agent::Config::default();
        config.scan.key_file = Some(dir.join("key"));
        config.agent.max_attempts = 20;
        services.spawn(async move { secretscan_batch_agent::run(bus, config, token).await.unwrap() });
    }
    services
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_loses_a_server_and_nothing_else() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
    let mut cluster = TestCluster::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let stop = Stop::new();
    let bus = connect(&cluster, "test").await;
    let services = start_services(&cluster, dir.path(), &stop).await;
    let mut asked = Vec::new();
    for seed in 41..44 {
        let generated = generate(seed, 100).unwrap();
        let uri = generated.repository.path().to_str().unwrap().to_owned();
        let request_id = format!("r{seed}");
        let request = v1::NewRepositoryScan { request_id, uri, ..v1::NewRepositoryScan::default() };
        let answer = eventually(DEADLINE, "an answer", async || bus.request_scan(&request).await.ok()).await;
        assert_eq!(answer.error, "");
        asked.push((generated, answer));
    }
    for (server, batches) in [(0, 3), (1, 20)] {
        eventually(DEADLINE, "some batches have ended", async || {
            let scans = bus.scans().await.ok()?;
            let ended: u64 = scans.iter().map(|scan| scan.totals().ended).sum();
            (ended >= batches || scans.iter().all(|scan| scan.state.is_terminal())).then_some(())
        })
        .await;
        cluster.kill(server).await.unwrap();
        // Long enough that the others have elected leaders and gone on.
        eventually(DEADLINE, "the others go on", async || bus.scans().await.ok()).await;
        cluster.restart(server).unwrap();
    }
    for (generated, answer) in &asked {
        let scan = eventually(DEADLINE * 2, "the request has ended", async || {
            let scan = bus.scan(&answer.request_id.parse().ok()?).await.ok()??;
            scan.state.is_terminal().then_some(scan)
        })
        .await;
        assert_eq!(scan.state, ScanState::Completed, "{:?}", scan.trail);
        let repository = answer.repository_id.parse().unwrap();
        let findings: Vec<_> =
            eventually(DEADLINE, "findings", async || bus.findings(Some(&repository)).await.ok())
                .await
                .into_iter()
                .map(|(_, finding)| finding)
                .collect();
        assert_eq!(keys(&findings), expected(&HashKey::from_bytes(KEY), generated.repository.path()));
        let head =
            eventually(DEADLINE, "the ledger", async || bus.ledger(&repository).head().await.ok()).await;
        assert_eq!(head.count(CommitState::Scanned), scan.found.unwrap().commits);
        assert_eq!(head.count(CommitState::WaitingForScan), 0);
    }
    for queue in Queue::all().into_iter().filter(|queue| queue.is_work()) {
        eventually(DEADLINE, "a queue is empty", async || {
            (bus.unfinished(queue).await.ok()? == 0).then_some(())
        })
        .await;
    }
    let jetstream = async_nats::jetstream::new(
        async_nats::connect(cluster.url().split(',').next_back().unwrap()).await.unwrap(),
    );
    let dead = jetstream.get_stream("DEAD_LETTERS").await.unwrap();
    let dead: Vec<_> = dead.info_with_subjects(">").await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    assert!(dead.is_empty(), "{dead:?}");
    stop.cancel();
    services.join_all().await;
}
