//! Who may import whom.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

/// What a package may depend on, by folders of the workspace. `services/*` stands for every service.
enum Imports {
    /// These folders only.
    Only(&'static [Import]),
    /// Everything.
    Anything,
}

/// A folder that may be imported.
struct Import {
    folder: &'static str,
    /// The only feature that may bring it, where it must be optional.
    feature: Option<&'static str>,
}

const fn always(folder: &'static str) -> Import {
    Import { folder, feature: None }
}

const fn with(feature: &'static str, folder: &'static str) -> Import {
    Import { folder, feature: Some(feature) }
}

const TABLE: &[(&str, Imports)] = &[
    ("crates/model", Imports::Only(&[])),
    ("crates/service", Imports::Only(&[])),
    // In tests only: cargo refuses the circle elsewhere.
    ("crates/detect", Imports::Only(&[always("crates/rules")])),
    ("crates/rules", Imports::Only(&[always("crates/detect")])),
    ("crates/embedded", Imports::Only(&[])),
    ("crates/git", Imports::Only(&[always("crates/model"), always("crates/detect")])),
    ("proto", Imports::Only(&[always("crates/model")])),
    ("crates/bus", Imports::Only(&[always("crates/model"), always("proto")])),
    ("crates/http", Imports::Only(&[always("crates/bus"), always("crates/detect")])),
    (
        "crates/hosts",
        Imports::Only(&[
            always("crates/bus"),
            always("crates/detect"),
            always("crates/http"),
            always("crates/model"),
        ]),
    ),
    ("crates/report", Imports::Only(&[always("crates/model")])),
    ("crates/verify", Imports::Only(&[always("crates/model"), always("crates/detect")])),
    (
        "services/*",
        Imports::Only(&[
            always("crates/model"),
            always("proto"),
            always("crates/bus"),
            always("crates/hosts"),
            always("crates/http"),
            always("crates/service"),
            always("crates/detect"),
            always("crates/report"),
            always("crates/rules"),
            always("crates/git"),
        ]),
    ),
    (
        "cli",
        Imports::Only(&[
            always("crates/detect"),
            always("crates/rules"),
            always("crates/git"),
            always("crates/report"),
            always("crates/model"),
            always("proto"),
            with("verify", "crates/verify"),
            with("remote", "crates/bus"),
            with("remote", "crates/hosts"),
            with("remote", "crates/http"),
            with("local", "crates/embedded"),
            with("local", "crates/service"),
            with("local", "services/*"),
        ]),
    ),
    ("crates/testkit", Imports::Anything),
    ("tests", Imports::Anything),
    ("benches", Imports::Anything),
    ("xtask", Imports::Anything),
];

/// Every other package reaches it through dev-dependencies only.
const TESTKIT: &str = "crates/testkit";

/// The Git hooks are to start fast and to need no network, so that build has none of these.
const NOT_IN_HOOKS: [&str; 2] = ["async-nats", "tokio"];

/// What `cargo metadata` says, as far as it matters here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    features: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// What the manifest calls it, where that is not its name.
    rename: Option<String>,
    /// `None` for a normal dependency, else `dev` or `build`.
    kind: Option<String>,
    optional: bool,
    /// The folder, for a dependency by path.
    path: Option<PathBuf>,
}

/// Every dependency that the rules do not allow, one sentence each.
///
/// # Errors
/// When cargo fails or says something unexpected.
pub fn check() -> anyhow::Result<Vec<String>> {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"])?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("reading what cargo metadata says")?;
    let mut violations = forbidden_edges(&metadata)?;
    let tree = cargo(&[
        "tree",
        "--locked",
        "--package=secretscan-cli",
        "--no-default-features",
        "--edges=normal",
        "--prefix=none",
        "--format={p}",
    ])?;
    violations.extend(in_hooks(&tree));
    Ok(violations)
}

fn cargo(arguments: &[&str]) -> anyhow::Result<String> {
    let doing = || format!("running cargo {}", arguments.join(" "));
    let output = Command::new("cargo").args(arguments).output().with_context(doing)?;
    if !output.status.success() {
        bail!("{}: {}", doing(), String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(doing)
}

fn forbidden_edges(metadata: &Metadata) -> anyhow::Result<Vec<String>> {
    let folder_in_workspace = |folder: &Path| -> anyhow::Result<String> {
        let relative = folder.strip_prefix(&metadata.workspace_root).with_context(|| {
            format!("{} is not under {}", folder.display(), metadata.workspace_root.display())
        })?;
        Ok(relative.to_string_lossy().into_owned())
    };
    let mut violations = Vec::new();
    for package in &metadata.packages {
        let from = folder_in_workspace(package.manifest_path.parent().context("a manifest has a folder")?)?;
        let Some((_, imports)) = TABLE.iter().find(|(pattern, _)| is_match(pattern, &from)) else {
            violations
                .push(format!("{from} ({}) has no line in the table of who may import whom", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(path) = &dependency.path else { continue };
            let to = folder_in_workspace(path)?;
            if let Some(why) = why_forbidden(imports, package, dependency, &to) {
                let kind = dependency.kind.as_deref().map(|kind| format!("{kind}-")).unwrap_or_default();
                violations.push(format!("{from} -> {to} ({kind}dependency {}): {why}", dependency.name));
            }
        }
    }
    Ok(violations)
}

fn why_forbidden(imports: &Imports, package: &Package, dependency: &Dependency, to: &str) -> Option<String> {
    let imports = match imports {
        Imports::Anything => return None,
        Imports::Only(imports) => imports,
    };
    let is_dev = dependency.kind.as_deref() == Some("dev");
    if to == TESTKIT {
        return (!is_dev).then(|| "it may be a dev-dependency only".to_owned());
    }
    let Some(import) = imports.iter().find(|import| is_match(import.folder, to)) else {
        return Some("this edge is not in the table".to_owned());
    };
    // Tests are in no build that users get.
    let feature = import.feature.filter(|_| !is_dev)?;
    if !dependency.optional {
        return Some(format!("it must be optional, brought by the feature {feature} only"));
    }
    let others: Vec<&str> =
        features_that_bring(package, dependency).filter(|name| *name != feature).collect();
    (!others.is_empty())
        .then(|| format!("only the feature {feature} may bring it, and {} does", others.join(", ")))
}

/// The features that name the dependency. Those that name one of these are not among them.
fn features_that_bring<'a>(
    package: &'a Package,
    dependency: &'a Dependency,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let name = dependency.rename.as_deref().unwrap_or(&dependency.name);
    // `name?/feature` brings nothing.
    let is_bringing = move |value: &String| {
        value.strip_prefix("dep:").unwrap_or(value) == name
            || value.split_once('/').is_some_and(|(crate_name, _)| crate_name == name)
    };
    let features = package.features.iter().filter(move |(_, values)| values.iter().any(is_bringing));
    features.map(|(feature, _)| feature.as_str())
}

/// Whether the folder is meant: `services/*` means every folder right under `services`.
fn is_match(pattern: &str, folder: &str) -> bool {
    match pattern.strip_suffix("/*") {
        Some(parent) => folder.rsplit_once('/').is_some_and(|(folder_parent, _)| folder_parent == parent),
        None => pattern == folder,
    }
}

/// What the tree of the command without features has but should not have.
fn in_hooks(tree: &str) -> impl Iterator<Item = String> {
    let has = |name: &&str| tree.lines().any(|line| line.split_whitespace().next() == Some(name));
    NOT_IN_HOOKS.into_iter().filter(has).map(|name| {
        format!(
            "secretscan-cli without features depends on {name}; `cargo tree -p secretscan-cli --no-default-features \
             -e normal -i {name}` shows why"
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn dependency(folder: &str, kind: Option<&str>, optional: bool) -> Value {
        let name = folder.rsplit('/').next().unwrap();
        json!({"name": name, "kind": kind, "optional": optional, "path": format!("/ws/{folder}"), "rename": null})
    }

    fn violations_of(folder: &str, dependencies: &[Value], features: &Value) -> Vec<String> {
        let metadata = json!({
            "workspace_root": "/ws",
            "packages": [{
                "name": folder,
                "manifest_path": format!("/ws/{folder}/Cargo.toml"),
                "dependencies": dependencies,
                "features": features,
            }],
        });
        forbidden_edges(&serde_json::from_value(metadata).unwrap()).unwrap()
    }

    #[test]
    fn a_wrong_edge_is_named() {
        let edges = [dependency("crates/model", None, false), dependency("crates/git", None, false)];
        assert_eq!(
            violations_of("crates/bus", &edges, &json!({})),
            ["crates/bus -> crates/git (dependency git): this edge is not in the table"]
        );
    }

    #[test]
    fn a_service_imports_no_other_service() {
        let found = violations_of(
            "services/scheduler",
            &[dependency("services/controller", None, false)],
            &json!({}),
        );
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("services/scheduler -> services/controller"), "{found:?}");
    }

    #[test]
    fn the_test_kit_is_a_dev_dependency() {
        let dev = dependency("crates/testkit", Some("dev"), false);
        assert_eq!(violations_of("crates/git", &[dev], &json!({})), Vec::<String>::new());
        let normal = dependency("crates/testkit", None, false);
        assert_eq!(
            violations_of("crates/git", std::slice::from_ref(&normal), &json!({})),
            ["crates/git -> crates/testkit (dependency testkit): it may be a dev-dependency only"]
        );
        assert_eq!(violations_of("benches", &[normal], &json!({})), Vec::<String>::new());
    }

    #[test]
    fn the_bus_comes_with_the_feature_remote_only() {
        let bus = |optional| [dependency("crates/bus", None, optional)];
        let allowed = json!({"default": ["remote"], "remote": ["dep:bus"], "local": ["remote", "bus?/x"]});
        assert_eq!(violations_of("cli", &bus(true), &allowed), Vec::<String>::new());
        assert_eq!(
            violations_of("cli", &bus(true), &json!({"remote": ["dep:bus"], "hooks": ["bus/x"]})),
            ["cli -> crates/bus (dependency bus): only the feature remote may bring it, and hooks does"]
        );
        assert_eq!(
            violations_of("cli", &bus(false), &json!({})),
            ["cli -> crates/bus (dependency bus): it must be optional, brought by the feature remote only"]
        );
    }

    #[test]
    fn a_package_without_a_line_is_refused() {
        let found = violations_of("crates/common", &[], &json!({}));
        assert_eq!(found, ["crates/common (crates/common) has no line in the table of who may import whom"]);
    }

    #[test]
    fn the_tree_of_the_hooks_is_searched_for_whole_names() {
        let tree = "secretscan-cli v0.1.0\ntokio-util v0.7.1\nserde v1.0.1\ntokio v1.54.0 (*)\n";
        let found: Vec<String> = in_hooks(tree).collect();
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("depends on tokio;"), "{found:?}");
    }
}
