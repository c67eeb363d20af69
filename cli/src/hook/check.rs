//! What all hooks do with what they have found: leave out what is known or skipped, and tell the rest.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use secretscan_detect::{HashKey, RuleSet, Scanner, Secret};
use secretscan_git::ScanReport;
use secretscan_model::Finding;
use secretscan_report::{Advice, Blocked, Found, Redaction, ReportedFinding, TextStyle, escape_for_terminal};

use crate::exit::Outcome;
use crate::hook::record::{self, Skip};
use crate::hook::say;
use crate::hook::settings::{Settings, SkippedRules};
use crate::ignore::{self, IgnoreArguments};
use crate::rules::RuleArguments;
use crate::{output, project, scan};

/// The baseline that a repository may have at its root.
const BASELINE: [&str; 1] = [".secretscan-baseline.json"];
/// Where Git runs hooks: the top of the working tree, or the Git directory of a bare repository.
const PLACE: &str = ".";
/// The widest message: terminals are seldom narrower.
const COLUMNS: usize = 80;
/// As many things that were not scanned are named.
const MAX_NOT_SCANNED: usize = 3;

/// Which rules a hook uses and what it leaves out.
#[derive(clap::Args)]
// The values explained would make two screens of the help.
#[command(mut_arg("confidence", |confidence| {
    let help = "Report only what rules of at least this confidence find: low, medium or high";
    confidence.hide_possible_values(true).help(help)
}))]
pub struct CheckArguments {
    #[command(flatten)]
    rules: RuleArguments,

    #[command(flatten)]
    ignore: IgnoreArguments,
}

/// What a [`Check`] is made of.
pub struct Sources<'a> {
    /// From the command line.
    pub arguments: &'a CheckArguments,
    /// From Git's configuration.
    pub settings: &'a Settings,
    /// From the environment.
    pub skip: SkippedRules,
    /// The name of the hook.
    pub hook: &'static str,
}

/// Everything a hook needs to scan and to judge.
pub struct Check<'a> {
    rules: Arc<RuleSet>,
    ignore: &'a IgnoreArguments,
    settings: &'a Settings,
    skip: SkippedRules,
    hook: &'static str,
    /// The key of secret hashes.
    pub key: HashKey,
}

/// What a hook says when it stops Git.
pub struct Stop<'a> {
    /// See [`Blocked::place`].
    pub place: &'a str,
    /// See [`Blocked::refs`].
    pub refs: &'a dyn Fn(&Finding) -> Vec<String>,
    /// What to do about these findings.
    pub advice: &'a dyn Fn(&[&Finding]) -> Vec<Advice>,
    /// How many columns the message may have at most.
    pub columns: usize,
}

impl<'a> Sources<'a> {
    /// Loads the rules. What is to be left out is read once something is found.
    pub fn load(self) -> anyhow::Result<Check<'a>> {
        let Self { arguments, settings, skip, hook } = self;
        let rules = arguments.rules.load_quietly(Path::new(PLACE))?;
        if !skip.is_empty() {
            let known: BTreeSet<&str> = rules.rules().iter().map(|rule| rule.id.as_str()).collect();
            for name in skip.missing(&known) {
                say(&format!("secretscan: SECRETSCAN_SKIP names no rule: {}", escape_for_terminal(name)));
            }
        }
        Ok(Check { rules, ignore: &arguments.ignore, settings, skip, hook, key: scan::offline_hash_key() })
    }
}

impl Check<'_> {
    /// A scanner with these rules.
    pub fn scanner(&self) -> Scanner {
        Scanner::new(self.rules.clone())
    }

    /// Tells what was found, if it counts, and what was not scanned.
    pub fn judge(&self, mut report: ScanReport, stop: &Stop<'_>) -> anyhow::Result<Outcome> {
        tell_not_scanned(&report);
        if !report.findings.is_empty() {
            ignore::take_out(&mut report, &self.ignore.load(Path::new(PLACE))?);
        }
        if !report.findings.is_empty() {
            self.leave_out_known(&mut report)?;
        }
        let skip = self.leave_out_skipped(&mut report);
        if report.findings.is_empty() {
            if let Some(skip) = skip {
                record::tell(skip);
            }
            return Ok(Outcome::Clean);
        }
        let findings: Vec<&Finding> = report.findings.iter().map(|located| &located.finding).collect();
        let found: Vec<Found<'_>> = findings.iter().map(|finding| Found { finding, secret: None }).collect();
        let shown = ReportedFinding::list(&found, Redaction::WHOLE);
        let advice = (stop.advice)(&findings);
        let blocked = Blocked { place: stop.place, findings: &shown, refs: stop.refs, advice: &advice };
        let mut text = Vec::new();
        blocked.write(TextStyle::of_stderr().at_most(stop.columns), &mut text)?;
        // Where standard error is closed, nobody listens; Git is stopped all the same.
        let _ = io::stderr().write_all(&text);
        Ok(Outcome::Findings)
    }

    fn leave_out_skipped(&self, report: &mut ScanReport) -> Option<Skip> {
        let before = report.findings.len();
        let mut left_out = BTreeSet::new();
        report.findings.retain(|located| {
            let rule = located.finding.rule_id.as_str();
            let is_skipped = self.skip.has(rule);
            if is_skipped {
                left_out.insert(rule.to_owned());
            }
            !is_skipped
        });
        for rule in &left_out {
            let rule = escape_for_terminal(rule);
            say(&format!("secretscan: what {rule} has found is let through, as SECRETSCAN_SKIP says"));
        }
        let findings = before - report.findings.len();
        let skip = Skip { hook: self.hook, rules: left_out.into_iter().collect(), findings };
        (findings > 0).then_some(skip)
    }

    fn leave_out_known(&self, report: &mut ScanReport) -> anyhow::Result<()> {
        let configured = self.settings.baseline.clone();
        let Some(file) = configured.or_else(|| project::files(Path::new(PLACE), &BASELINE).pop()) else {
            return Ok(());
        };
        let baseline = output::read_baseline(&file, Some(&|secret| Secret::new(secret).hash(&self.key)))?;
        report.findings.retain(|located| !baseline.knows(None, &located.finding));
        Ok(())
    }
}

/// Gaps never pass in silence, but don't stop Git: a large file is committed every day.
fn tell_not_scanned(report: &ScanReport) {
    let all = &report.not_scanned;
    for skipped in all.iter().take(MAX_NOT_SCANNED) {
        let (what, reason) = (escape_for_terminal(&skipped.what), escape_for_terminal(&skipped.reason));
        say(&format!("secretscan: not scanned: {what}: {reason}"));
    }
    if all.len() > MAX_NOT_SCANNED {
        say(&format!("secretscan: not scanned: {} more", all.len() - MAX_NOT_SCANNED));
    }
}

/// The ways out that the one who commits or pushes has, after how to remove the secret; `line` says where the comment
/// goes, and `command` is what to run again.
pub fn client_advice(remove: Vec<String>, line: &str, command: &str, findings: &[&Finding]) -> Vec<Advice> {
    let fingerprint = findings.first().map_or("", |finding| finding.id.fingerprint());
    let rules: BTreeSet<&str> = findings.iter().map(|finding| finding.rule_id.as_str()).collect();
    let mut rules = rules.into_iter().collect::<Vec<_>>().join(",");
    if rules.len() > COLUMNS / 2 {
        rules = "RULE,...".to_owned();
    }
    vec![
        Advice { name: "Remove", lines: remove },
        Advice { name: "Allow", lines: vec![format!("comment secretscan:allow and a reason on {line}")] },
        Advice {
            name: "Known",
            lines: vec![
                "accept it by its fingerprint, at the top of the repository:".to_owned(),
                format!("echo {fingerprint} >> .secretscanignore"),
            ],
        },
        Advice {
            name: "Skip once",
            lines: vec![format!("SECRETSCAN_SKIP={rules} {command}"), format!("or {command} --no-verify")],
        },
    ]
}

/// How a client's hook stops Git.
pub const CLIENT_COLUMNS: usize = COLUMNS;
