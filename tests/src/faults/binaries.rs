//! The service binaries, built as this program was.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

/// The services.
pub const SERVICES: [&str; 8] =
    ["controller", "scheduler", "repo-agent", "batch-agent", "webhook", "notifier", "dashboard", "operator"];

/// The services in a directory.
pub fn of(dir: &Path) -> HashMap<&'static str, PathBuf> {
    SERVICES.into_iter().map(|service| (service, dir.join(format!("secretscan-{service}")))).collect()
}

/// Builds the services and copies them to a directory, so that a build that comes meanwhile changes nothing.
///
/// # Errors
/// When they can't be built or copied.
pub fn build(to: &Path) -> anyhow::Result<HashMap<&'static str, PathBuf>> {
    let names = SERVICES.map(|service| format!("secretscan-{service}"));
    let mut built = HashMap::new();
    for (service, executable) in SERVICES.into_iter().zip(programs(&names)?) {
        let copy = to.join(format!("secretscan-{service}"));
        std::fs::copy(&executable, &copy).with_context(|| format!("copying {}", executable.display()))?;
        built.insert(service, copy);
    }
    Ok(built)
}

/// Builds another program, such as the command `secretscan`.
///
/// # Errors
/// When it can't be built.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    Ok(programs(&[name.to_owned()])?.remove(0))
}

/// Builds these programs, and says where they are, in the same order.
///
/// # Errors
/// When they can't be built.
pub fn programs(names: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        // The whole workspace, so that features are as they are for the tests, and nothing is built twice.
        .args(["build", "--workspace", "--locked", "--message-format=json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .stderr(Stdio::inherit());
    // What cargo tells a test of its package changes what build scripts of others depend on: ring's, and then all that need
    // TLS, would be built again at each such build, and once more at the next one from outside.
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    for name in names {
        cargo.arg("--bin").arg(name);
    }
    if cfg!(debug_assertions) {
        // With a test, so that features are those of a build with tests, which has made all but the programs.
        cargo.args(["--test", "builtin"]);
    } else {
        cargo.args(["--release", "--features", "secretscan-bus/fail-points"]);
    }
    let output = cargo.output().context("running cargo")?;
    anyhow::ensure!(output.status.success(), "cargo can't build {names:?}");
    let mut built: HashMap<String, PathBuf> = HashMap::new();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: serde_json::Value = serde_json::from_slice(line).context("what cargo says")?;
        if let (Some(executable), Some(name)) =
            (message["executable"].as_str(), message["target"]["name"].as_str())
        {
            built.insert(name.to_owned(), executable.into());
        }
    }
    let one = |name: &String| built.get(name).cloned().with_context(|| format!("cargo did not build {name}"));
    names.iter().map(one).collect()
}
