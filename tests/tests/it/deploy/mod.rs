//! The manifests below `deploy/k8s`, as kustomize renders them: what a schema cannot know about them.

mod checks;
mod cluster;
mod defects;
mod manifests;
mod monitoring;
mod processes;

use std::fs;
use std::path::{Path, PathBuf};

use checks::problems;
use manifests::{Manifests, OVERLAYS, Workload, deploy_dir};
use secretscan_bus::NatsSettings;
use secretscan_service::{ServiceSettings, Settings, parse};

/// How a service is told of everything, as its process is: by a file, then by variables.
fn config<C: Settings>(manifests: &Manifests, workload: &Workload) -> C {
    let arguments = &workload.container()["args"];
    let file = arguments[1].as_str().unwrap();
    assert_eq!(arguments, &serde_json::json!(["--config", file]), "{}", workload.name);
    let text = workload.file(manifests, Path::new(file)).unwrap();
    parse(text, workload.variables(manifests)).unwrap_or_else(|error| panic!("{}: {error}", workload.name))
}

fn settings(manifests: &Manifests, workload: &Workload) -> (ServiceSettings, NatsSettings) {
    macro_rules! of {
        ($service:ident) => {{
            let config: $service::Config = config(manifests, workload);
            (config.service, config.nats)
        }};
    }
    match workload.name {
        "controller" => of!(secretscan_controller),
        "scheduler" => of!(secretscan_scheduler),
        "repo-agent" => of!(secretscan_repo_agent),
        "batch-agent" => of!(secretscan_batch_agent),
        "webhook" => of!(secretscan_webhook),
        "notifier" => of!(secretscan_notifier),
        "dashboard" => of!(secretscan_dashboard),
        "operator" => of!(secretscan_operator),
        other => panic!("there is no service {other}"),
    }
}

#[test]
fn nothing_is_wrong_with_any_overlay() {
    let mut dirs: Vec<PathBuf> =
        fs::read_dir(deploy_dir().join("k8s/overlays")).unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.sort();
    let mut overlays = OVERLAYS.map(|name| deploy_dir().join("k8s/overlays").join(name));
    overlays.sort();
    assert_eq!(dirs, overlays);
    for overlay in OVERLAYS {
        let problems = problems(&Manifests::of_monitored(overlay));
        assert!(problems.is_empty(), "{overlay}:\n{}", problems.join("\n"));
    }
}

#[test]
fn every_configuration_is_one_that_its_service_takes() {
    for overlay in OVERLAYS {
        let manifests = Manifests::of_overlay(overlay);
        let services: Vec<_> = manifests.workloads().into_iter().filter(Workload::is_a_service).collect();
        let count = match overlay {
            "single-node" => 4,
            "operator" => 8,
            _ => 7,
        };
        assert_eq!(services.len(), count, "{overlay}");
        for workload in services {
            let (service, nats) = settings(&manifests, &workload);
            let port = service.health_address.expect("probes need it").port();
            let health = serde_json::json!({ "name": "health", "containerPort": port });
            assert_eq!(workload.container()["ports"][0], health, "{}", workload.name);
            assert!(nats.is_provisioned, "{}: it may create no streams", workload.name);
            assert!(nats.nkey_seed.unwrap().starts_with(workload.mount("nats")));
            assert_eq!(nats.tls.ca_file.is_some(), !matches!(overlay, "single-node" | "existing-nats"));
            if let Some(servers) = manifests.find("StatefulSet", "nats") {
                assert_eq!(nats.url, "nats://nats:4222");
                assert_eq!(nats.replicas as u64, servers["spec"]["replicas"].as_u64().unwrap());
            }
        }
    }
}

#[test]
fn the_files_that_a_configuration_names_are_on_a_volume_with_room_for_them() {
    let manifests = Manifests::of_overlay("production");
    let workload = manifests.workload("repo-agent");
    let repo_agent: secretscan_repo_agent::Config = config(&manifests, &workload);
    assert!(repo_agent.mirrors.dir.starts_with(workload.mount("cache")));
    // Beside the slots, a push.
    let fetched = u64::from(repo_agent.agent.slots + 1) * repo_agent.fetch.max_bytes;
    let claim = &workload.object["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"];
    let claimed =
        claim["storage"].as_str().unwrap().strip_suffix("Gi").unwrap().parse::<u64>().unwrap() << 30;
    assert!(repo_agent.mirrors.max_bytes + fetched < claimed);
    let credentials = workload.mount("git-credentials");
    assert!(repo_agent.credentials.ssh_key.unwrap().starts_with(credentials));
    let ssh = fs::read_to_string(deploy_dir().join("images/ssh.conf")).unwrap();
    assert!(ssh.contains(&format!("GlobalKnownHostsFile {}", credentials.join("known_hosts").display())));

    let workload = manifests.workload("batch-agent");
    let batch_agent: secretscan_batch_agent::Config = config(&manifests, &workload);
    assert!(batch_agent.scan.key_file.unwrap().starts_with(workload.mount("key")));
    assert_eq!(batch_agent.scan.max_blob_bytes, repo_agent.batches.max_blob_bytes);
}

/// A patch whose target is not there is ignored without a word.
#[test]
fn patches_have_changed_what_they_are_for() {
    let claims = |manifests: &Manifests| {
        let workloads = manifests.workloads();
        workloads.iter().filter(|of| !of.object["spec"]["volumeClaimTemplates"].is_null()).count()
    };
    assert_eq!(claims(&Manifests::of_overlay("single-node")), 0, "a single node has no storage class");
    let production = Manifests::of_overlay("production");
    assert_eq!(claims(&production), 2);
    assert_eq!(production.workload("nats").object["spec"]["replicas"], 3);
    for overlay in ["keda", "hpa"] {
        let manifests = Manifests::of_overlay(overlay);
        let is_scaled = |name: &str| manifests.workload(name).object["spec"].get("replicas").is_none();
        assert!(is_scaled("batch-agent"), "{overlay}");
        assert_eq!(is_scaled("repo-agent"), overlay == "keda", "{overlay}");
    }
}
