//! The manifests under `deploy/k8s/base`, as written: what a schema cannot know about them.

use std::fs;
use std::path::{Path, PathBuf};

use secretscan_service::{ServiceSettings, Settings, parse};
use serde_json::Value;

const SERVICES: [&str; 4] = ["batch-agent", "controller", "repo-agent", "scheduler"];

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/k8s/base")
}

fn config<C: Settings>(service: &str) -> C {
    let path = base().join("config").join(format!("{service}.toml"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    parse(&text, []).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of all files.
fn objects() -> Vec<Value> {
    let mut objects = Vec::new();
    for entry in fs::read_dir(base()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path).unwrap();
            let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            objects.extend(documents);
        }
    }
    objects
}

fn object(kind: &str, name: &str) -> Value {
    let mut found = objects();
    found.retain(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    assert_eq!(found.len(), 1, "{kind} {name}");
    found.remove(0)
}

/// The Deployment or StatefulSet of this name.
fn workload(name: &str) -> Value {
    let mut found = objects();
    found.retain(|object| object["apiVersion"] == "apps/v1" && object["metadata"]["name"] == name);
    assert_eq!(found.len(), 1, "{name}");
    found.remove(0)
}

fn pod(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn names(values: &Value) -> Vec<&str> {
    list(values).iter().map(|value| value["name"].as_str().unwrap()).collect()
}

/// Where the volume is mounted.
fn mount<'a>(workload: &'a Value, volume: &str) -> &'a Path {
    let mounts = list(&pod(workload)["containers"][0]["volumeMounts"]);
    let mount = mounts.iter().find(|mount| mount["name"] == volume).unwrap();
    Path::new(mount["mountPath"].as_str().unwrap())
}

fn claimed_bytes(workload: &Value) -> u64 {
    let storage =
        workload["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"].as_str();
    storage.unwrap().strip_suffix("Gi").unwrap().parse::<u64>().unwrap() << 30
}

#[test]
fn every_configuration_is_one_that_its_service_takes() {
    let mut services = Vec::new();
    for entry in fs::read_dir(base().join("config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            services.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }
    services.sort();
    assert_eq!(services, SERVICES);

    for (service, settings, nats) in configurations() {
        let workload = workload(service);
        let container = &pod(&workload)["containers"][0];
        assert_eq!(container["image"], format!("secretscan-{service}"));
        let file = mount(&workload, "config").join("config.toml");
        assert_eq!(container["args"], serde_json::json!(["--config", file]));
        let port = settings.health_address.expect("probes need it").port();
        assert_eq!(container["ports"], serde_json::json!([{ "name": "health", "containerPort": port }]));
        assert!(
            pod(&workload)["terminationGracePeriodSeconds"].as_u64().unwrap() > settings.grace_s,
            "{service}"
        );

        let server = object("Service", "nats");
        let port = list(&server["spec"]["ports"]).iter().find(|port| port["name"] == "nats").unwrap();
        assert_eq!(nats.url, format!("nats://nats:{}", port["port"]));
        assert!(nats.replicas as u64 <= object("StatefulSet", "nats")["spec"]["replicas"].as_u64().unwrap());
    }
}

fn configurations() -> Vec<(&'static str, ServiceSettings, secretscan_bus::NatsSettings)> {
    let controller: secretscan_controller::Config = config("controller");
    let scheduler: secretscan_scheduler::Config = config("scheduler");
    let repo_agent: secretscan_repo_agent::Config = config("repo-agent");
    let batch_agent: secretscan_batch_agent::Config = config("batch-agent");
    vec![
        ("controller", controller.service, controller.nats),
        ("scheduler", scheduler.service, scheduler.nats),
        ("repo-agent", repo_agent.service, repo_agent.nats),
        ("batch-agent", batch_agent.service, batch_agent.nats),
    ]
}

#[test]
fn the_files_that_a_configuration_names_are_on_a_volume_with_room_for_them() {
    let workload_of_repo_agent = workload("repo-agent");
    let repo_agent: secretscan_repo_agent::Config = config("repo-agent");
    let cache = mount(&workload_of_repo_agent, "cache");
    assert!(repo_agent.mirrors.dir.starts_with(cache));
    let fetched = u64::from(repo_agent.agent.slots) * repo_agent.fetch.max_bytes;
    assert!(repo_agent.mirrors.max_bytes + fetched < claimed_bytes(&workload_of_repo_agent));
    let credentials = mount(&workload_of_repo_agent, "git-credentials");
    assert!(repo_agent.credentials.ssh_key.unwrap().starts_with(credentials));
    let ssh = include_str!("../../../deploy/images/ssh.conf");
    assert!(ssh.contains(&format!("GlobalKnownHostsFile {}", credentials.join("known_hosts").display())));

    let batch_agent: secretscan_batch_agent::Config = config("batch-agent");
    assert!(batch_agent.scan.key_file.unwrap().starts_with(mount(&workload("batch-agent"), "key")));
    assert_eq!(batch_agent.scan.max_blob_bytes, repo_agent.batches.max_blob_bytes);
}

#[test]
fn each_secret_goes_to_one_service() {
    let mut users = Vec::new();
    for object in objects() {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        for volume in list(&pod(&object)["volumes"]) {
            if let Some(secret) = volume["secret"]["secretName"].as_str() {
                assert_eq!(volume["secret"]["defaultMode"], 0o440, "{name}");
                users.push((secret.to_owned(), name.to_owned()));
            }
        }
        assert!(object["kind"] != "Secret", "secrets are made at installation");
    }
    users.sort();
    let expected = [("fingerprint-key", "batch-agent"), ("git-credentials", "repo-agent")];
    assert_eq!(users, expected.map(|(secret, user)| (secret.to_owned(), user.to_owned())));
}

#[test]
fn every_workload_is_whole_and_restricted() {
    let mut checked = Vec::new();
    for workload in objects() {
        if workload["apiVersion"] != "apps/v1" {
            continue;
        }
        let name = workload["metadata"]["name"].as_str().unwrap();
        let (spec, pod) = (&workload["spec"], pod(&workload));
        assert_eq!(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"], "{name}");
        object("ServiceAccount", name);
        assert_eq!(pod["serviceAccountName"], name);
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        if workload["kind"] == "StatefulSet" {
            let service = object("Service", spec["serviceName"].as_str().unwrap());
            assert_eq!(service["spec"]["selector"], spec["selector"]["matchLabels"], "{name}");
        }

        // https://kubernetes.io/docs/concepts/security/pod-security-standards/, level `restricted`.
        for host in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod[host].is_null(), "{name}: {host}");
        }
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        for volume in list(&pod["volumes"]) {
            let allowed = ["configMap", "emptyDir", "secret"];
            assert!(allowed.iter().any(|kind| volume.get(kind).is_some()), "{name}: {volume}");
        }
        let mut volumes = names(&pod["volumes"]);
        volumes.extend(
            list(&spec["volumeClaimTemplates"]).iter().filter_map(|c| c["metadata"]["name"].as_str()),
        );
        volumes.sort_unstable();
        for container in list(&pod["containers"]) {
            let expected = serde_json::json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            });
            assert_eq!(container["securityContext"], expected, "{name}");
            let mut mounted = names(&container["volumeMounts"]);
            mounted.sort_unstable();
            assert_eq!(mounted, volumes, "{name}");
            for probe in ["livenessProbe", "readinessProbe"] {
                let port = container[probe]["httpGet"]["port"].as_str().unwrap();
                assert!(names(&container["ports"]).contains(&port), "{name}: {probe}");
            }
            for quantity in [&container["resources"]["requests"], &container["resources"]["limits"]] {
                assert!(quantity["memory"].is_string(), "{name}");
            }
        }
        checked.push(name.to_owned());
    }
    checked.sort();
    assert_eq!(checked, ["batch-agent", "controller", "nats", "repo-agent", "scheduler"]);
}

#[test]
fn all_that_is_not_a_flow_of_the_design_is_denied() {
    let denied = object("NetworkPolicy", "deny-all");
    assert_eq!(
        denied["spec"],
        serde_json::json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] })
    );
    for policy in objects().into_iter().filter(|object| object["kind"] == "NetworkPolicy") {
        let name = policy["metadata"]["name"].as_str().unwrap();
        let outside = list(&policy["spec"]["egress"])
            .iter()
            .flat_map(|rule| list(&rule["to"]))
            .any(|peer| peer.get("ipBlock").is_some());
        if outside {
            let repo_agents = serde_json::json!({ "app.kubernetes.io/name": "repo-agent" });
            assert_eq!(policy["spec"]["podSelector"]["matchLabels"], repo_agents, "{name}");
        }
        if let Some(expressions) = policy["spec"]["podSelector"]["matchExpressions"].as_array() {
            let mut values = expressions[0]["values"].clone();
            values.as_array_mut().unwrap().sort_by_key(Value::to_string);
            assert_eq!(values, serde_json::json!(SERVICES), "{name}");
        }
    }
}
