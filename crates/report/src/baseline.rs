//! Findings that were known before, as an earlier report lists them.

use std::collections::{HashMap, HashSet};

use secretscan_model::{Finding, finding};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::document::{self, SCHEMA};

/// Known findings: a JSON report of an earlier run, or one that gitleaks wrote.
///
/// Ours are known by their fingerprints, which do not depend on commit, line and file. The fingerprints of gitleaks do, and
/// its rules have other names: its findings are known by path and secret where the report shows secrets, and by
/// commit, path and line.
#[derive(Debug, Default)]
pub struct Baseline {
    /// The repositories of each fingerprint; `None` where the report names none.
    fingerprints: HashMap<String, Vec<Option<String>>>,
    /// Paths and secret hashes.
    secrets: HashSet<(String, String)>,
    /// Commits, paths and lines.
    places: HashSet<(String, String, u32)>,
}

/// Gives the hash that findings have of a secret.
pub type SecretHasher<'a> = &'a dyn Fn(&[u8]) -> String;

/// A file that is no baseline.
#[derive(Debug, Error)]
pub enum BaselineError {
    /// It can't be read.
    #[error("the baseline is not JSON, or not all of it")]
    Syntax {
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// It is JSON of another kind.
    #[error("the baseline is neither a JSON report of secretscan ({SCHEMA}) nor one of gitleaks")]
    Unknown,
    /// It is of the right kind, but something is missing.
    #[error("the baseline lacks what a report has")]
    Shape {
        /// What.
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Deserialize)]
struct Known {
    findings: Vec<KnownFinding>,
}

#[derive(Deserialize)]
struct KnownFinding {
    fingerprint: String,
    repository: Option<String>,
}

/// The fields of gitleaks' JSON report, as its README documents them, that are of use here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GitleaksFinding {
    file: String,
    start_line: u32,
    #[serde(default)]
    commit: String,
    #[serde(default)]
    secret: String,
}

impl Baseline {
    /// Reads a report. `hash` gives the secret hash that findings would have, where that is known.
    ///
    /// # Errors
    /// [`BaselineError`] when it is no report.
    pub fn parse(report: &[u8], hash: Option<SecretHasher<'_>>) -> Result<Self, BaselineError> {
        let syntax = |source| BaselineError::Syntax { source };
        let shape = |source| BaselineError::Shape { source };
        let mut baseline = Self::default();
        match serde_json::from_slice(report).map_err(syntax)? {
            Value::Object(object) if object.get("schema").is_some_and(|schema| schema == SCHEMA) => {
                let known: Known = serde_json::from_value(Value::Object(object)).map_err(shape)?;
                for finding in known.findings {
                    baseline.fingerprints.entry(finding.fingerprint).or_default().push(finding.repository);
                }
            }
            Value::Array(findings) => {
                for finding in findings {
                    let finding: GitleaksFinding = serde_json::from_value(finding).map_err(shape)?;
                    baseline.add_gitleaks(finding, hash);
                }
            }
            _ => return Err(BaselineError::Unknown),
        }
        Ok(baseline)
    }

    fn add_gitleaks(&mut self, finding: GitleaksFinding, hash: Option<SecretHasher<'_>>) {
        if let Some(hash) = hash {
            self.secrets.insert((finding.file.clone(), hash(finding.secret.as_bytes())));
        }
        self.places.insert((finding.commit, finding.file, finding.start_line));
    }

    /// Whether the finding was known, in this repository or in content of which no repository is named.
    pub fn knows(&self, repository: Option<&str>, finding: &Finding) -> bool {
        let is_here = |known: &Option<String>| match (known, repository) {
            (Some(known), Some(repository)) => known == repository,
            (None, _) | (_, None) => true,
        };
        let fingerprint = self.fingerprints.get(finding.id.fingerprint());
        if fingerprint.is_some_and(|repositories| repositories.iter().any(is_here)) {
            return true;
        }
        let path = finding.display_path().into_owned();
        let is_place = |at: &finding::Occurrence| {
            let commit = document::commit(at).map(|commit| commit.to_string()).unwrap_or_default();
            self.places.contains(&(commit, path.clone(), at.line))
        };
        self.secrets.contains(&(path.clone(), finding.secret_hash.0.clone()))
            || finding.occurrences.iter().any(is_place)
    }
}
