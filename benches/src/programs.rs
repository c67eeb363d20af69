//! The programs that are measured, and how each is asked to do a task.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::measure::{Usage, measure};
use crate::report::Reported;
use crate::{build, peers, report, succeed};

/// What the programs are asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// Everything that the refs of a repository reach
    History,
    /// One changed file that is staged
    Staged,
    /// The files of a directory
    Directory,
}

impl Task {
    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::History => "Full history",
            Self::Staged => "One staged file",
            Self::Directory => "Directory",
        }
    }

    /// What any program has to do at least, done by a program that looks at nothing: its name, and a command.
    pub fn reference(self) -> &'static str {
        match self {
            Self::History => "git cat-file",
            Self::Staged => "git diff",
            Self::Directory => "cat",
        }
    }
}

/// Which program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Reads what the others have to read, and looks at nothing: see [`Task::reference`].
    Reference,
    /// Ours.
    Secretscan,
    /// A peer.
    Betterleaks,
    /// A peer.
    Gitleaks,
    /// A peer.
    Kingfisher,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Secretscan => "secretscan",
            Self::Betterleaks => "betterleaks",
            Self::Gitleaks => "gitleaks",
            Self::Kingfisher => "kingfisher",
        }
    }

    /// Whether it is one of the programs to compare with.
    pub fn is_peer(self) -> bool {
        !matches!(self, Self::Reference | Self::Secretscan)
    }
}

/// A program that is measured.
pub struct Program {
    /// Which one.
    pub tool: Tool,
    executable: PathBuf,
    version: String,
}

/// Everything that can be measured here. A peer that can't be installed is left out, with a line that says so.
pub fn all(ours: Option<&Path>) -> anyhow::Result<Vec<Program>> {
    let ours = ours.map_or_else(build_ours, |path| Ok(path.to_owned()))?;
    let mut programs =
        vec![Program::new(Tool::Reference, PathBuf::from("git"))?, Program::new(Tool::Secretscan, ours)?];
    for tool in [Tool::Betterleaks, Tool::Gitleaks, Tool::Kingfisher] {
        match peers::install(tool).and_then(|executable| Program::new(tool, executable)) {
            Ok(program) => programs.push(program),
            Err(error) => eprintln!("skipped {}: {error:#}", tool.name()),
        }
    }
    Ok(programs)
}

fn build_ours() -> anyhow::Result<PathBuf> {
    build(&["--package=secretscan-cli", "--bin=secretscan"])?
        .pop()
        .context("cargo built no program secretscan")
}

impl Program {
    fn new(tool: Tool, executable: PathBuf) -> anyhow::Result<Self> {
        let argument = if tool == Tool::Gitleaks { "version" } else { "--version" };
        let said = succeed(Command::new(&executable).arg(argument))?;
        let version = said.split_whitespace().last().unwrap_or_default().to_owned();
        Ok(Self { tool, executable, version })
    }

    /// The program.
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// Name and version.
    pub fn label(&self, task: Task) -> String {
        match self.tool {
            Tool::Reference => task.reference().to_owned(),
            _ => format!("{} {}", self.tool.name(), self.version),
        }
    }

    /// Does the task once on a folder, alone, in a new process. The report stays in the scratch folder. The options
    /// are the program's own.
    pub fn run(&self, task: Task, folder: &Path, options: &[&str], scratch: &Path) -> anyhow::Result<Usage> {
        let report = self.report(task, scratch);
        if report.exists() {
            fs::remove_file(&report).context("removing the report of the round before")?;
        }
        let complaints = scratch.join("stderr");
        let stderr = File::create(&complaints).context("creating a file for standard error")?;
        let mut command = self.command(task, folder, options, &report, scratch);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let (status, usage) = measure(&mut command)?;
        let is_expected = match self.tool {
            Tool::Reference => status.success(),
            // 1 is for findings. It is also gitleaks' code for errors, after which there is no report.
            Tool::Secretscan | Tool::Betterleaks | Tool::Gitleaks => matches!(status.code(), Some(0 | 1)),
            // 200 is for findings.
            Tool::Kingfisher => matches!(status.code(), Some(0 | 200)),
        };
        let has_report = self.tool == Tool::Reference || report.is_file();
        if !is_expected || !has_report {
            let said = fs::read(&complaints).context("reading standard error")?;
            let said = String::from_utf8_lossy(&said);
            let lines: Vec<&str> = said.lines().collect();
            let end = lines[lines.len().saturating_sub(5)..].join("\n");
            bail!("{} did not scan ({status}): {end}", self.label(task));
        }
        Ok(usage)
    }

    fn command(&self, task: Task, folder: &Path, options: &[&str], report: &Path, scratch: &Path) -> Command {
        let mut command = Command::new(&self.executable);
        match self.tool {
            Tool::Reference => return reference(task, folder),
            Tool::Secretscan => {
                match task {
                    Task::History => command.args(["scan", "--history"]),
                    Task::Staged => command.args(["scan", "--staged"]),
                    Task::Directory => command.args(["scan", "--directory"]),
                };
                command.arg(folder).args(["--no-redact", "--format", "json", "--output"]).arg(report);
            }
            Tool::Betterleaks => {
                match task {
                    Task::History => command.arg("git"),
                    Task::Staged => command.args(["git", "--staged"]),
                    Task::Directory => command.arg("auto"),
                };
                command.args(["--no-banner", "--silent", "--output"]).arg(report).arg(folder);
            }
            Tool::Gitleaks => {
                match task {
                    Task::History => command.arg("git"),
                    Task::Staged => command.args(["git", "--pre-commit", "--staged"]),
                    Task::Directory => command.arg("dir"),
                };
                command
                    .args(["--no-banner", "--report-format", "json", "--report-path"])
                    .arg(report)
                    .arg(folder);
            }
            Tool::Kingfisher => {
                command.args(["scan", "--no-validate", "--no-update-check", "--quiet", "--rule-cache-dir"]);
                command.arg(scratch.join("kingfisher-rules"));
                match task {
                    Task::History => command.args(["--git-history", "full"]),
                    Task::Staged => command.arg("--staged"),
                    Task::Directory => command.args(["--git-history", "none"]),
                };
                command.args(["--format", "json", "--output"]).arg(report).arg(folder);
            }
        }
        command.args(options);
        for variable in
            ["GITLEAKS_CONFIG", "GITLEAKS_CONFIG_TOML", "BETTERLEAKS_CONFIG", "BETTERLEAKS_CONFIG_TOML"]
        {
            command.env_remove(variable);
        }
        command
    }

    fn report(&self, task: Task, scratch: &Path) -> PathBuf {
        scratch.join(format!("{}-{task:?}.json", self.tool.name()))
    }

    /// What the last run reported. `None` for a program that looks for nothing.
    pub fn findings(&self, task: Task, scratch: &Path) -> anyhow::Result<Option<Vec<Reported>>> {
        if self.tool == Tool::Reference {
            return Ok(None);
        }
        let report = fs::read(self.report(task, scratch))
            .with_context(|| format!("reading the report of {}", self.label(task)))?;
        let findings = report::parse(self.tool, &report)
            .with_context(|| format!("parsing the report of {}", self.label(task)))?;
        Ok(Some(findings))
    }
}

fn reference(task: Task, path: &Path) -> Command {
    let mut command = Command::new(if task == Task::Directory { "find" } else { "git" });
    match task {
        Task::History => {
            command.arg("-C").arg(path);
            command.args(["cat-file", "--batch-all-objects", "--batch", "--unordered", "--buffer"])
        }
        Task::Staged => command.arg("-C").arg(path).args(["diff", "--cached"]),
        Task::Directory => command.arg(path).args(["-type", "f", "-exec", "cat", "{}", "+"]),
    };
    command
}
