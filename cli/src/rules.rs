//! `secretscan rules`: shows and checks rules, and finds those that a scan is to use.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secretscan_detect::RuleSet;
use secretscan_report::escape_for_terminal;

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// The rule files that a repository may have at its root; the first one found is used.
const PROJECT_FILES: [&str; 2] = [".secretscan.toml", ".gitleaks.toml"];

/// List or check detection rules
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the rules: id, severity, description
    List {
        /// A rule file in gitleaks' TOML syntax [default: the built-in rules]
        #[arg(long, value_name = "FILE")]
        rules: Option<PathBuf>,
    },
    /// Load rules and run the examples that they carry
    Check {
        /// A rule file in gitleaks' TOML syntax [default: the built-in rules]
        file: Option<PathBuf>,
    },
}

/// Lists or checks.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    match &arguments.command {
        Command::List { rules } => list(&load_or_builtin(rules.as_deref())?),
        Command::Check { file } => check(&load_or_builtin(file.as_deref())?),
    }
}

fn load_or_builtin(file: Option<&Path>) -> anyhow::Result<Arc<RuleSet>> {
    match file {
        Some(file) => load(file, "correct the file; without it the built-in rules are used"),
        None => Ok(RuleSet::builtin()),
    }
}

fn load(file: &Path, hint: &str) -> anyhow::Result<Arc<RuleSet>> {
    let rules =
        RuleSet::load(file).map_err(|cause| Failure::caused_by(cause, "cannot use the rules", hint))?;
    Ok(Arc::new(rules))
}

fn list(rules: &Arc<RuleSet>) -> anyhow::Result<Outcome> {
    let width = rules.rules().iter().map(|rule| rule.id.len()).max().unwrap_or(0);
    output::to_stdout(|out| {
        for rule in rules.rules() {
            let (id, severity) = (escape_for_terminal(&rule.id), rule.severity.as_str());
            writeln!(out, "{id:width$}  {severity:8}  {}", escape_for_terminal(&rule.description))?;
        }
        writeln!(out, "\n{}", count_and_version(rules))
    })?;
    Ok(Outcome::Clean)
}

fn check(rules: &Arc<RuleSet>) -> anyhow::Result<Outcome> {
    let failures = rules.check();
    output::to_stdout(|out| {
        for failure in &failures {
            let rule = escape_for_terminal(&failure.rule);
            let number = failure.number;
            if failure.should_match {
                writeln!(out, "{rule}: matching example {number} is not found")?;
            } else {
                writeln!(out, "{rule}: near miss {number} is found")?;
            }
        }
        match failures.len() {
            0 => writeln!(out, "{}: all examples pass", count_and_version(rules)),
            1 => writeln!(out, "{}: 1 example fails", count_and_version(rules)),
            n => writeln!(out, "{}: {n} examples fail", count_and_version(rules)),
        }
    })?;
    Ok(if failures.is_empty() { Outcome::Clean } else { Outcome::Findings })
}

fn count_and_version(rules: &RuleSet) -> String {
    let count = rules.rules().len();
    format!("{count} {}, version {}", if count == 1 { "rule" } else { "rules" }, rules.version())
}

/// Which rules a scan uses.
#[derive(clap::Args)]
pub struct RuleArguments {
    /// Use the rules in this file, in gitleaks' TOML syntax [default: .secretscan.toml or .gitleaks.toml at the
    /// repository's root, else the built-in rules]
    #[arg(long, value_name = "FILE", conflicts_with = "builtin_rules")]
    rules: Option<PathBuf>,

    /// Use the built-in rules even if the repository has a rule file, which may exclude anything
    #[arg(long)]
    builtin_rules: bool,
}

impl RuleArguments {
    /// Whether a repository brings the rules for what is at `place`.
    #[cfg(feature = "verify")]
    pub fn are_of_repository(&self, place: &Path) -> bool {
        self.rules.is_none() && !self.builtin_rules && project_file(place).is_some()
    }

    /// The rules for what is at `place`. Says so on standard error when a repository brings its own.
    pub fn load(&self, place: &Path) -> anyhow::Result<Arc<RuleSet>> {
        if let Some(file) = &self.rules {
            return load(file, "correct the file, or leave --rules away to use the built-in rules");
        }
        let project_file = if self.builtin_rules { None } else { project_file(place) };
        let Some(file) = project_file else {
            return Ok(RuleSet::builtin());
        };
        let rules = load(&file, "correct the file, or choose others with --rules FILE or --builtin-rules")?;
        let name = file.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
        // Where standard error is closed, nobody listens.
        let _ = writeln!(io::stderr(), "note: using the repository's rules in {name}");
        Ok(rules)
    }
}

/// The rule file at the root of the working tree that a place belongs to.
fn project_file(place: &Path) -> Option<PathBuf> {
    let place = place.canonicalize().ok()?;
    let root = place.ancestors().find(|folder| folder.join(".git").exists())?;
    PROJECT_FILES.iter().map(|name| root.join(name)).find(|file| file.is_file())
}
