//! `secretscan rules`: shows and checks rules, and finds those that a scan is to use.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secretscan_detect::{Confidence, Problem, RuleFilter, RuleSet};
use secretscan_report::escape_for_terminal;

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{output, project};

/// The rule files that a repository may have at its root; the first one found is used.
const PROJECT_FILES: [&str; 2] = [".secretscan.toml", ".gitleaks.toml"];

const CORRECT: &str = "correct the file; without it the built-in rules are used";

/// List or check detection rules
#[derive(clap::Args)]
#[command(after_help = "Example: secretscan rules check .secretscan.toml")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the rules: id, severity, confidence, description
    #[command(after_help = "Example: secretscan rules list | grep aws")]
    List {
        /// A rule file in gitleaks' TOML syntax [default: the built-in rules]
        #[arg(long, value_name = "FILE")]
        rules: Option<PathBuf>,
    },
    /// Load rules, run the examples that they carry, and name what would make scans slow
    #[command(after_help = "Example: secretscan rules check .secretscan.toml")]
    Check {
        /// A rule file in gitleaks' TOML syntax [default: the built-in rules]
        file: Option<PathBuf>,

        /// Accept rules whose regex has to read every byte
        #[arg(long)]
        allow_slow: bool,
    },
}

/// Lists or checks.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    match &arguments.command {
        Command::List { rules } => list(&load_or_builtin(rules.as_deref())?),
        Command::Check { file: Some(file), allow_slow } => check(&load(file, CORRECT)?, *allow_slow),
        Command::Check { file: None, allow_slow } => {
            check(&secretscan_rules::builtin_with_examples(), *allow_slow)
        }
    }
}

fn load_or_builtin(file: Option<&Path>) -> anyhow::Result<Arc<RuleSet>> {
    match file {
        Some(file) => Ok(Arc::new(load(file, CORRECT)?)),
        None => Ok(secretscan_rules::builtin()),
    }
}

fn load(file: &Path, hint: &str) -> anyhow::Result<RuleSet> {
    let rules = RuleSet::load(file, Some(&secretscan_rules::builtin()))
        .map_err(|cause| Failure::caused_by(cause, "cannot use the rules", hint))?;
    for warning in rules.warnings() {
        // Where standard error is closed, nobody listens.
        let _ = writeln!(io::stderr(), "warning: {}", escape_for_terminal(warning));
    }
    Ok(rules)
}

fn list(rules: &Arc<RuleSet>) -> anyhow::Result<Outcome> {
    let width = rules.rules().iter().map(|rule| rule.id.len()).max().unwrap_or(0);
    output::to_stdout(|out| {
        for rule in rules.rules() {
            let (id, severity) = (escape_for_terminal(&rule.id), rule.severity.as_str());
            let (confidence, description) =
                (rule.confidence.as_str(), escape_for_terminal(&rule.description));
            writeln!(out, "{id:width$}  {severity:8}  {confidence:6}  {description}")?;
        }
        writeln!(out, "\n{}", count_and_version(rules))
    })?;
    Ok(Outcome::Clean)
}

fn check(rules: &RuleSet, allow_slow: bool) -> anyhow::Result<Outcome> {
    let mut complaints = rules.check();
    complaints.retain(|complaint| !(allow_slow && complaint.problem == Problem::Slow));
    let errors = complaints.iter().filter(|complaint| !complaint.problem.is_warning()).count();
    output::to_stdout(|out| {
        for complaint in &complaints {
            let kind = if complaint.problem.is_warning() { "warning" } else { "error" };
            let place = complaint.place.to_string();
            writeln!(out, "{kind}: {}: {}", escape_for_terminal(&place), complaint.problem)?;
        }
        match errors {
            0 => writeln!(out, "{}: all examples pass", count_and_version(rules)),
            1 => writeln!(out, "{}: 1 error", count_and_version(rules)),
            n => writeln!(out, "{}: {n} errors", count_and_version(rules)),
        }
    })?;
    Ok(if errors == 0 { Outcome::Clean } else { Outcome::Findings })
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
    #[arg(long, hide_short_help = true)]
    builtin_rules: bool,

    /// Report only what rules of at least this confidence find
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = ConfidenceArgument::Low)]
    confidence: ConfidenceArgument,

    /// Use only the rule with this id; may be repeated
    #[arg(long = "rule", value_name = "ID")]
    only: Vec<String>,

    /// Do not use the rule with this id; may be repeated
    #[arg(long = "disable-rule", value_name = "ID", hide_short_help = true)]
    without: Vec<String>,
}

/// How sure it is that a finding is a secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum ConfidenceArgument {
    /// Looks like a secret by its surroundings
    Low,
    /// Surroundings and form agree
    Medium,
    /// A form that nothing else has
    High,
}

#[cfg(feature = "remote")]
impl ConfidenceArgument {
    /// Whether a finding of this confidence is to be shown. One whose confidence is not known is.
    pub fn allows(self, confidence: &str) -> bool {
        match confidence {
            "low" => self == Self::Low,
            "medium" => self <= Self::Medium,
            _ => true,
        }
    }
}

impl From<ConfidenceArgument> for Confidence {
    fn from(argument: ConfidenceArgument) -> Self {
        match argument {
            ConfidenceArgument::Low => Self::Low,
            ConfidenceArgument::Medium => Self::Medium,
            ConfidenceArgument::High => Self::High,
        }
    }
}

impl RuleArguments {
    /// Whether a repository brings the rules for what is at `place`.
    #[cfg(feature = "verify")]
    pub fn are_of_repository(&self, place: &Path) -> bool {
        self.rules.is_none() && !self.builtin_rules && !project::files(place, &PROJECT_FILES).is_empty()
    }

    /// The rules for what is at `place`. Says so on standard error when a repository brings its own.
    pub fn load(&self, place: &Path) -> anyhow::Result<Arc<RuleSet>> {
        let (rules, file) = self.load_all(place)?;
        if let Some(name) = file.as_deref().and_then(Path::file_name).map(OsStr::to_string_lossy) {
            // Where standard error is closed, nobody listens.
            let _ = writeln!(io::stderr(), "note: using the repository's rules in {name}");
        }
        self.filter(rules)
    }

    /// The same without a word: a hook runs all day.
    pub fn load_quietly(&self, place: &Path) -> anyhow::Result<Arc<RuleSet>> {
        self.filter(self.load_all(place)?.0)
    }

    fn filter(&self, rules: Arc<RuleSet>) -> anyhow::Result<Arc<RuleSet>> {
        if self.confidence == ConfidenceArgument::Low && self.only.is_empty() && self.without.is_empty() {
            return Ok(rules);
        }
        let filter = RuleFilter {
            confidence: self.confidence.into(),
            only: self.only.clone(),
            without: self.without.clone(),
        };
        let hint = "secretscan rules list shows the built-in ones, with --rules FILE those of a file";
        let filtered = rules.filtered(&filter);
        filtered.map(Arc::new).map_err(|cause| Failure::caused_by(cause, "cannot choose rules", hint).into())
    }

    /// The rules, and the repository's file if they are from there.
    fn load_all(&self, place: &Path) -> anyhow::Result<(Arc<RuleSet>, Option<PathBuf>)> {
        if let Some(file) = &self.rules {
            let rules = load(file, "correct the file, or leave --rules away to use the built-in rules")?;
            return Ok((Arc::new(rules), None));
        }
        let mut files = project::files(place, &PROJECT_FILES).into_iter();
        let Some(file) = files.next().filter(|_| !self.builtin_rules) else {
            return Ok((secretscan_rules::builtin(), None));
        };
        let rules = load(&file, "correct the file, or choose others with --rules FILE or --builtin-rules")?;
        Ok((Arc::new(rules), Some(file)))
    }
}
