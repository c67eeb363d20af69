//! Defects that the checks must see. Each is one change of the manifests of the overlay `keda` with monitoring and the operator, which
//! has one of everything; the schemas of Kubernetes miss nearly all of them.

use serde_json::{Value, json};

use super::checks::problems;
use super::manifests::Manifests;

/// A kind, a name, where in that object, what is put there (`null` takes it away), and what is said.
type Defect = (&'static str, &'static str, &'static str, Value, &'static str);

const POD: &str = "/spec/template/spec";
const CONTAINER: &str = "/spec/template/spec/containers/0";

fn apply(manifests: &mut Manifests, (kind, name, pointer, value, _): &Defect) {
    let pointer = pointer.replace("CONTAINER", CONTAINER).replace("POD", POD);
    let object = manifests
        .objects
        .iter_mut()
        .find(|object| object["kind"] == *kind && object["metadata"]["name"] == *name)
        .unwrap_or_else(|| panic!("there is no {kind} {name}"));
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("{kind} {name}: no {pointer}"));
    match parent {
        Value::Array(elements) => elements[key.parse::<usize>().unwrap()] = value.clone(),
        Value::Object(fields) if value.is_null() => {
            fields.remove(key).unwrap_or_else(|| panic!("{kind} {name}: no {pointer}"));
        }
        Value::Object(fields) => {
            fields.insert(key.to_owned(), value.clone());
        }
        _ => panic!("{kind} {name}: no {pointer}"),
    }
}

fn all_are_seen(defects: &[Defect]) {
    let mut manifests = Manifests::of_monitored("keda");
    // What it has besides production.
    let known =
        |object: &Value| manifests.find(object["kind"].as_str()?, object["metadata"]["name"].as_str()?);
    let others =
        Manifests::of_overlay("operator").objects.into_iter().filter(|object| known(object).is_none());
    let others: Vec<Value> = others.collect();
    manifests.objects.extend(others);
    for defect in defects {
        let mut changed = manifests.clone();
        apply(&mut changed, defect);
        let problems = problems(&changed);
        assert!(
            problems.iter().any(|problem| problem.contains(defect.4)),
            "{} {} {} = {}: {problems:?}",
            defect.0,
            defect.1,
            defect.2,
            defect.3
        );
    }
}

#[test]
fn defects_of_pods_are_seen() {
    all_are_seen(&[
        (
            "Deployment",
            "controller",
            "/spec/selector/matchLabels/app.kubernetes.io~1name",
            json!("contrller"),
            "its selector",
        ),
        ("Deployment", "webhook", "POD/hostNetwork", json!(true), "hostNetwork"),
        ("Deployment", "webhook", "POD/securityContext/runAsNonRoot", Value::Null, "runAsNonRoot"),
        (
            "Deployment",
            "webhook",
            "POD/securityContext/seccompProfile",
            json!({ "type": "Unconfined" }),
            "seccomp",
        ),
        (
            "Deployment",
            "webhook",
            "POD/volumes/0",
            json!({ "name": "config", "hostPath": { "path": "/etc" } }),
            "hostPath",
        ),
        (
            "StatefulSet",
            "nats",
            "CONTAINER/securityContext/allowPrivilegeEscalation",
            json!(true),
            "allowPrivilegeEscalation",
        ),
        (
            "StatefulSet",
            "nats",
            "CONTAINER/securityContext/capabilities/add",
            json!(["NET_ADMIN"]),
            "capabilities",
        ),
        ("StatefulSet", "nats", "CONTAINER/securityContext/readOnlyRootFilesystem", Value::Null, "read-only"),
        ("Job", "setup", "CONTAINER/securityContext/privileged", json!(true), "privileged"),
        ("Job", "setup", "CONTAINER/image", json!("registry:5000/secretscan-cli"), "no fixed tag"),
        ("Job", "setup", "POD/automountServiceAccountToken", Value::Null, "a token"),
        (
            "Deployment",
            "scheduler",
            "CONTAINER/resources/limits/memory",
            json!("32Mi"),
            "more memory than its limit",
        ),
        ("Deployment", "scheduler", "CONTAINER/startupProbe", Value::Null, "startupProbe"),
        (
            "Deployment",
            "scheduler",
            "CONTAINER/readinessProbe/httpGet/port",
            json!("healht"),
            "readinessProbe",
        ),
        (
            "Deployment",
            "scheduler",
            "CONTAINER/livenessProbe/httpGet/path",
            json!("/readyz"),
            "would be restarted",
        ),
        ("StatefulSet", "repo-agent", "POD/terminationGracePeriodSeconds", json!(20), "is killed after 20"),
        ("StatefulSet", "nats", "POD/terminationGracePeriodSeconds", json!(40), "is killed after 40"),
        (
            "StatefulSet",
            "nats",
            "POD/topologySpreadConstraints/0/labelSelector/matchLabels",
            json!({ "app": "nats" }),
            "spread",
        ),
    ]);
}

#[test]
fn defects_of_references_are_seen() {
    all_are_seen(&[
        (
            "Deployment",
            "batch-agent",
            "CONTAINER/volumeMounts/2/name",
            json!("kye"),
            "there is no volume kye",
        ),
        ("Deployment", "batch-agent", "CONTAINER/volumeMounts/2/mountPath", json!("/tmp"), "at one path"),
        (
            "Deployment",
            "batch-agent",
            "POD/volumes/0/configMap/name",
            json!("batch-config"),
            "no ConfigMap batch-config",
        ),
        (
            "Deployment",
            "batch-agent",
            "CONTAINER/envFrom/0/configMapRef/name",
            json!("nats"),
            "no ConfigMap nats",
        ),
        (
            "Deployment",
            "batch-agent",
            "CONTAINER/envFrom/0",
            json!({ "secretRef": { "name": "fingerprint-key" } }),
            "files, not variables",
        ),
        (
            "Deployment",
            "batch-agent",
            "POD/volumes/2/secret/secretName",
            json!("fingerprint"),
            "no Secret fingerprint",
        ),
        (
            "Deployment",
            "batch-agent",
            "POD/volumes/2/secret/secretName",
            json!("git-credentials"),
            "no Secret git-credentials for it",
        ),
        ("Deployment", "batch-agent", "POD/volumes/2/secret/defaultMode", json!(440), "by its group alone"),
        (
            "Deployment",
            "webhook",
            "POD/volumes/1/projected/sources/0/secret/name",
            json!("nats-setup"),
            "no Secret nats-setup for it",
        ),
        (
            "Deployment",
            "webhook",
            "POD/volumes/1/projected/sources/1/secret/items",
            Value::Null,
            "no Secret nats-tls for it",
        ),
        ("Deployment", "webhook", "/metadata/namespace", json!("default"), "namespace"),
        ("Deployment", "webhook", "/metadata/name", json!("notifier"), "are there 2 times"),
        ("Service", "webhook", "/spec/ports/0/targetPort", json!("https"), "no container names the port"),
        (
            "Service",
            "dashboard",
            "/spec/selector",
            json!({ "app.kubernetes.io/name": "dash" }),
            "does not choose",
        ),
        (
            "StatefulSet",
            "nats",
            "/spec/serviceName",
            json!("nats-headless"),
            "no headless Service nats-headless",
        ),
        ("PodDisruptionBudget", "nats", "/spec/minAvailable", json!(3), "minAvailable is too high"),
        ("PodDisruptionBudget", "webhook", "/spec/maxUnavailable", json!(0), "maxUnavailable is 0"),
        (
            "PodDisruptionBudget",
            "webhook",
            "/spec/selector/matchLabels",
            json!({ "app": "webhook" }),
            "it has no PodDisruptionBudget",
        ),
    ]);
}

#[test]
fn defects_of_network_policies_are_seen() {
    let everywhere = json!([{ "to": [{ "ipBlock": { "cidr": "0.0.0.0/0" } }], "ports": [{ "port": 443 }] }]);
    all_are_seen(&[
        ("NetworkPolicy", "deny-all", "/spec/policyTypes", json!(["Ingress"]), "deny all pods everything"),
        (
            "NetworkPolicy",
            "services-to-nats",
            "/spec/egress",
            everywhere.clone(),
            "only repo-agent, notifier and operator",
        ),
        ("NetworkPolicy", "repo-agent-to-git-hosts", "/spec/egress", everywhere, "metadata of the cloud"),
        (
            "NetworkPolicy",
            "repo-agent-to-git-hosts",
            "/spec/policyTypes",
            json!(["Ingress"]),
            "Egress is not among",
        ),
        ("NetworkPolicy", "nats-from-services", "/spec/ingress/0/ports/0/port", json!(4223), "the port 4223"),
        ("NetworkPolicy", "nats-from-services", "/spec/ingress/0/from", Value::Null, "anybody may come in"),
        ("NetworkPolicy", "nats-from-services", "/spec/ingress/0/ports", Value::Null, "without ports"),
        (
            "NetworkPolicy",
            "nats-from-services",
            "/spec/podSelector/matchLabels/app.kubernetes.io~1name",
            json!("natz"),
            "about no pod",
        ),
        (
            "NetworkPolicy",
            "services-to-nats",
            "/spec/egress/0/to/0/podSelector/matchLabels/app.kubernetes.io~1name",
            json!("natz"),
            "a peer is no pod",
        ),
        ("NetworkPolicy", "services-to-dns", "/spec/egress/0/to", Value::Null, "without peers"),
        (
            "NetworkPolicy",
            "webhook-from-anywhere",
            "/spec/ingress/0/ports/0/port",
            json!("https"),
            "the port \"https\"",
        ),
    ]);
}

#[test]
fn defects_of_values_are_seen() {
    all_are_seen(&[
        ("Deployment", "controller", "CONTAINER/resources/requests/memory", json!("10GiB"), "no quantity"),
        ("Deployment", "dashboard", "POD/volumes/3/emptyDir/sizeLimit", json!("8 Gi"), "no quantity"),
        (
            "StatefulSet",
            "nats",
            "/spec/volumeClaimTemplates/0/spec/resources/requests/storage",
            json!("20GB"),
            "no quantity",
        ),
        ("StatefulSet", "nats", "/spec/podManagementPolicy", json!("parallel"), "podManagementPolicy"),
        (
            "StatefulSet",
            "nats",
            "/spec/volumeClaimTemplates/0/spec/accessModes/0",
            json!("ReadWrite"),
            "accessModes",
        ),
        ("Job", "setup", "POD/restartPolicy", json!("OnFail"), "restartPolicy"),
        ("NetworkPolicy", "services-to-dns", "/spec/egress/0/ports/0/protocol", json!("udp"), "protocol"),
    ]);
    let mut manifests = Manifests::of_overlay("keda");
    let job = json!({ "spec": manifests.find("Job", "setup").unwrap()["spec"] });
    manifests.objects.push(json!({
        "kind": "CronJob",
        "metadata": { "name": "discover", "namespace": "secretscan" },
        "spec": { "schedule": "0 99 * * *", "concurrencyPolicy": "Forbidden", "jobTemplate": job },
    }));
    let problems = problems(&manifests).join("\n");
    assert!(problems.contains("the schedule \"0 99 * * *\" is none"), "{problems}");
    assert!(problems.contains("concurrencyPolicy"), "{problems}");
}

#[test]
fn defects_of_objects_of_other_projects_are_seen() {
    let trigger = |field| format!("/spec/triggers/0/metadata/{field}").leak();
    all_are_seen(&[
        ("ScaledObject", "repo-agent", trigger("consumer"), json!("repo-agent"), "has no consumer"),
        ("ScaledObject", "repo-agent", trigger("stream"), json!("COMMIT_BATCHES"), "has no consumer"),
        ("ScaledObject", "repo-agent", trigger("lagThreshold"), json!(2), "are texts"),
        ("ScaledObject", "repo-agent", trigger("account"), json!("$G"), "the account"),
        (
            "ScaledObject",
            "repo-agent",
            trigger("natsServerMonitoringEndpoint"),
            json!("nats:4222"),
            "the endpoint",
        ),
        ("ScaledObject", "batch-agent", "/spec/triggers", json!([]), "it must count"),
        ("ScaledObject", "batch-agent", "/spec/scaleTargetRef/kind", json!("StatefulSet"), "is not there"),
        ("ScaledObject", "batch-agent", "/spec/maxReplicas", json!(2), "no field spec.maxReplicas"),
        (
            "ScaledObject",
            "batch-agent",
            "/spec/scaleTargetRef",
            Value::Null,
            "spec.scaleTargetRef is missing",
        ),
        ("ScaledObject", "batch-agent", "/spec/maxReplicaCount", json!(0), "must rise"),
        ("Deployment", "batch-agent", "/spec/replicas", json!(2), "would go back to"),
        (
            "PodMonitor",
            "services",
            "/spec/podMetricsEndpoints/0/port",
            json!("metrics"),
            "no container names the port",
        ),
        (
            "PodMonitor",
            "services",
            "/spec/selector/matchLabels",
            json!({ "app": "secretscan" }),
            "is about no pod",
        ),
        ("PodMonitor", "services", "/spec/endpoints", json!([]), "no field spec.endpoints"),
        (
            "PrometheusRule",
            "secretscan",
            "/spec/groups/0/rules/0/annotations",
            Value::Null,
            "says nothing of what to do",
        ),
    ]);
}

#[test]
fn defects_of_rights_are_seen() {
    let token = json!({ "serviceAccountToken": { "path": "token" } });
    all_are_seen(&[
        (
            "Deployment",
            "scheduler",
            "POD/volumes/1/projected/sources/0",
            token,
            "only the operator has a token",
        ),
        (
            "ClusterRole",
            "secretscan-operator",
            "/rules/0/verbs/0",
            json!("get"),
            "exactly what the operator does",
        ),
        (
            "ClusterRole",
            "secretscan-operator",
            "/rules/0/resources/0",
            json!("secrets"),
            "exactly what the operator does",
        ),
        ("ClusterRole", "secretscan-edit", "/rules/0/apiGroups/0", json!(""), "what is not of secretscan"),
        ("ClusterRole", "secretscan-edit", "/rules/0/verbs/0", json!("*"), "what is not of secretscan"),
        (
            "ClusterRoleBinding",
            "secretscan-operator",
            "/subjects/0/name",
            json!("controller"),
            "only the operator gets a role",
        ),
        ("ClusterRoleBinding", "secretscan-operator", "/kind", json!("RoleBinding"), "all namespaces"),
    ]);
}
