//! The service binaries, built as this program was.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

/// The services.
pub(super) const SERVICES: [&str; 4] = ["controller", "scheduler", "repo-agent", "batch-agent"];

/// The services in a directory.
pub(super) fn of(dir: &Path) -> HashMap<&'static str, PathBuf> {
    SERVICES.into_iter().map(|service| (service, dir.join(format!("secretscan-{service}")))).collect()
}

/// Builds the services and copies them to a directory, so that a build that comes meanwhile changes nothing.
pub(super) fn build(to: &Path) -> anyhow::Result<HashMap<&'static str, PathBuf>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        // The whole workspace, so that features are as they are for the tests, and nothing is built twice.
        .args(["build", "--workspace", "--locked", "--message-format=json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .stderr(Stdio::inherit());
    for service in SERVICES {
        cargo.arg("--bin").arg(format!("secretscan-{service}"));
    }
    if !cfg!(debug_assertions) {
        // A debug build has them, and is the one that the tests have made.
        cargo.args(["--release", "--features", "secretscan-bus/fail-points"]);
    }
    let output = cargo.output().context("running cargo")?;
    anyhow::ensure!(output.status.success(), "the services can't be built");
    let mut built = HashMap::new();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: serde_json::Value = serde_json::from_slice(line).context("what cargo says")?;
        let Some(executable) = message["executable"].as_str() else { continue };
        let name = message["target"]["name"].as_str().unwrap_or_default();
        if let Some(service) =
            SERVICES.into_iter().find(|service| name.strip_prefix("secretscan-") == Some(service))
        {
            let copy = to.join(name);
            std::fs::copy(executable, &copy).with_context(|| format!("copying {executable}"))?;
            built.insert(service, copy);
        }
    }
    anyhow::ensure!(built.len() == SERVICES.len(), "cargo built {:?} only", built.keys());
    Ok(built)
}
