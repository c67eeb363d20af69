//! What `kubectl kustomize` makes of a directory below `deploy/k8s`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// The kustomizations that somebody applies.
pub(super) const OVERLAYS: [&str; 6] =
    ["single-node", "production", "existing-nats", "keda", "hpa", "operator"];

/// The objects of an overlay.
#[derive(Clone)]
pub(super) struct Manifests {
    pub(super) objects: Vec<Value>,
}

/// What runs pods.
pub(super) struct Workload<'a> {
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
    pub(super) object: &'a Value,
    /// Metadata and specification of its pods.
    pub(super) template: &'a Value,
}

impl Manifests {
    /// Renders an overlay.
    pub(super) fn of_overlay(name: &str) -> Self {
        Self::render(&format!("overlays/{name}"))
    }

    /// Renders an overlay with monitoring, which takes the Prometheus operator.
    pub(super) fn of_monitored(name: &str) -> Self {
        let mut manifests = Self::of_overlay(name);
        manifests.objects.extend(Self::render("parts/monitoring").objects);
        manifests
    }

    fn render(dir: &str) -> Self {
        let kustomization = deploy_dir().join("k8s").join(dir);
        let output =
            Command::new(tools().join("kubectl")).arg("kustomize").arg(&kustomization).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {error}", kustomization.display());
        let text = String::from_utf8(output.stdout).unwrap();
        Self { objects: serde_saphyr::from_multiple(&text).unwrap() }
    }

    pub(super) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    pub(super) fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    pub(super) fn workloads(&self) -> Vec<Workload<'_>> {
        self.objects.iter().filter_map(Workload::of).collect()
    }

    pub(super) fn workload(&self, name: &str) -> Workload<'_> {
        let mut found = self.workloads();
        found.retain(|workload| workload.name == name);
        assert_eq!(found.len(), 1, "{name}");
        found.remove(0)
    }

    /// The files of a ConfigMap, which has a hash after its name when it is generated.
    pub(super) fn files(&self, config_map: &str) -> Option<BTreeMap<&str, &str>> {
        let data = self.find("ConfigMap", config_map)?["data"].as_object()?;
        Some(data.iter().filter_map(|(name, text)| Some((name.as_str(), text.as_str()?))).collect())
    }

    /// The workloads whose pods a label selector chooses.
    pub(super) fn chosen(&self, selector: &Value) -> Vec<Workload<'_>> {
        self.workloads().into_iter().filter(|workload| selects(selector, workload.labels())).collect()
    }
}

impl<'a> Workload<'a> {
    fn of(object: &'a Value) -> Option<Self> {
        let kind = object["kind"].as_str()?;
        let template = match kind {
            "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => &object["spec"]["template"],
            "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"],
            _ => return None,
        };
        Some(Self { kind, name: object["metadata"]["name"].as_str()?, object, template })
    }

    pub(super) fn pod(&self) -> &'a Value {
        &self.template["spec"]
    }

    pub(super) fn labels(&self) -> &'a Value {
        &self.template["metadata"]["labels"]
    }

    /// The container; each pod has one.
    pub(super) fn container(&self) -> &'a Value {
        &self.pod()["containers"][0]
    }

    pub(super) fn is_a_service(&self) -> bool {
        self.labels()["app.kubernetes.io/component"] == "service"
    }

    /// The variables that are written out, in the manifest or in a ConfigMap.
    pub(super) fn variables(&self, manifests: &Manifests) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        for source in list(&self.container()["envFrom"]) {
            let map = source["configMapRef"]["name"].as_str().unwrap_or_default();
            let files = manifests.files(map).unwrap_or_default();
            variables.extend(files.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        for variable in list(&self.container()["env"]) {
            if let (Some(name), Some(value)) = (variable["name"].as_str(), variable["value"].as_str()) {
                variables.push((name.to_owned(), value.to_owned()));
            }
        }
        variables
    }

    /// The text of a file that its pods see, if a ConfigMap holds it.
    pub(super) fn file(&self, manifests: &'a Manifests, path: &Path) -> Option<&'a str> {
        let (dir, name) = (path.parent()?.to_str()?, path.file_name()?.to_str()?);
        let mount = list(&self.container()["volumeMounts"]).iter().find(|mount| mount["mountPath"] == dir)?;
        let volume = list(&self.pod()["volumes"]).iter().find(|volume| volume["name"] == mount["name"])?;
        let mut maps = vec![&volume["configMap"]];
        maps.extend(list(&volume["projected"]["sources"]).iter().map(|source| &source["configMap"]));
        maps.into_iter().find_map(|map| manifests.files(map["name"].as_str()?)?.get(name).copied())
    }

    /// Where a volume is mounted.
    pub(super) fn mount(&self, volume: &str) -> &'a Path {
        let mounts = list(&self.container()["volumeMounts"]);
        let mount = mounts.iter().find(|mount| mount["name"] == volume).unwrap();
        Path::new(mount["mountPath"].as_str().unwrap())
    }
}

/// Whether labels satisfy a selector: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/.
pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
    let are_equal = selector["matchLabels"]
        .as_object()
        .is_none_or(|wanted| wanted.iter().all(|(name, value)| labels.get(name) == Some(value)));
    let fit = list(&selector["matchExpressions"]).iter().all(|expression| {
        let label = expression["key"].as_str().and_then(|key| labels.get(key));
        let is_in = label.is_some_and(|label| list(&expression["values"]).contains(label));
        match expression["operator"].as_str() {
            Some("In") => is_in,
            Some("NotIn") => !is_in,
            Some("Exists") => label.is_some(),
            Some("DoesNotExist") => label.is_none(),
            _ => false,
        }
    });
    are_equal && fit
}

/// The elements of an array; none of anything else.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn deploy_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Where `deploy/tools` has put kubectl and others.
pub(super) fn tools() -> &'static Path {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let output = Command::new(deploy_dir().join("tools")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().into()
    })
}
