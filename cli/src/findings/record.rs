//! A finding with all that is known of it: where it stands, and what people decided.

use std::collections::HashSet;

use secretscan_bus::{Bus, BusError};
use secretscan_model::lifecycle::whereabouts;
use secretscan_model::{
    Finding, Look, Place, RepositoryId, RequestId, ScanState, Timestamp, Triage, TriageState, Whereabouts,
};
use serde::Serialize;

use crate::lists;

/// A finding with all that is known of it.
pub struct Record {
    pub repository: RepositoryId,
    pub finding: Finding,
    pub whereabouts: Whereabouts,
    pub triage: Triage,
}

/// The findings of one repository, or of all.
pub async fn load(bus: &Bus, only: Option<&RepositoryId>) -> Result<Vec<Record>, BusError> {
    let scans = bus.scans().await?.into_iter().filter(|scan| scan.state == ScanState::Completed);
    let complete: HashSet<RequestId> = scans.map(|scan| scan.id).collect();
    let is_complete = |request: &RequestId| complete.contains(request);
    let (mut standings, surveys) = (bus.standings(only).await?, bus.surveys().await?);
    let triages = bus.triages(only).await?;
    let record = |(repository, finding): (RepositoryId, Finding)| {
        let standing = standings.remove(&(repository.clone(), finding.id.clone()));
        let survey = surveys.get(&repository);
        let triage = triages.get(&(repository.clone(), finding.secret()));
        Record {
            whereabouts: whereabouts(finding.seen.as_ref(), standing.as_ref(), survey, &is_complete),
            triage: triage.cloned().unwrap_or_default(),
            repository,
            finding,
        }
    };
    Ok(bus.findings(only).await?.into_iter().map(record).collect())
}

/// A look at the refs, as programs get it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LookView<'a> {
    at: String,
    request: &'a str,
}

impl<'a> LookView<'a> {
    pub fn new(look: &'a Look) -> Self {
        Self { at: lists::rfc3339(look.at), request: look.request.as_str() }
    }
}

/// What was decided, as programs get it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionView<'a> {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    reason: &'a str,
    by: &'a str,
    at: String,
}

/// A finding, as programs get it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingView<'a> {
    id: &'a str,
    fingerprint: &'a str,
    repository: &'a str,
    rule_id: &'a str,
    severity: &'a str,
    path: String,
    /// The line where it was introduced.
    line: u32,
    /// The commit that introduced it.
    commit: String,
    /// `open`, `only-in-history`, `resolved` or `reopened`.
    standing: &'static str,
    is_at_tip: bool,
    /// Since when it stands there.
    since: Option<LookView<'a>>,
    first_seen: Option<LookView<'a>>,
    last_seen: Option<LookView<'a>>,
    /// What holds now: one that has expired is `open`.
    triage: &'static str,
    /// The decisions, the last one last.
    decisions: Vec<DecisionView<'a>>,
}

impl<'a> FindingView<'a> {
    /// A finding of the repository with this name.
    pub fn new(repository: &'a str, record: &'a Record, now: Timestamp) -> Self {
        let Record { finding, whereabouts, triage, .. } = record;
        let introduced = finding.introduced();
        let decisions = triage.decisions.iter().map(|decision| DecisionView {
            state: decision.state.name(),
            expires: match &decision.state {
                TriageState::Accepted { expires } => Some(lists::rfc3339(*expires)),
                _ => None,
            },
            reason: &decision.reason,
            by: &decision.by,
            at: lists::rfc3339(decision.at),
        });
        Self {
            id: &finding.id.0,
            fingerprint: finding.id.fingerprint(),
            repository,
            rule_id: finding.rule_id.as_str(),
            severity: &finding.severity,
            path: finding.display_path().into_owned(),
            line: introduced.line,
            commit: introduced.commit.to_string(),
            standing: whereabouts.state.name(),
            is_at_tip: whereabouts.place == Place::Tip,
            since: whereabouts.since.as_ref().map(LookView::new),
            first_seen: finding.seen.as_ref().map(|seen| LookView::new(&seen.first)),
            last_seen: whereabouts.last_seen.as_ref().map(LookView::new),
            triage: triage.state(now).name(),
            decisions: decisions.collect(),
        }
    }
}
