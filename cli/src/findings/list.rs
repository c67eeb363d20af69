//! `secretscan findings list`: one line for each finding, with where it stands and what was decided.

use std::collections::HashMap;

use secretscan_bus::{Bus, now};
use secretscan_model::{FindingState, Place, RepositoryId, Timestamp};

use super::record::{self, FindingView, Record};
use super::{order, selected, severity_rank};
use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::lists::{self, ListFormat};
use crate::output;

/// List findings with where they stand and what was decided about them
#[derive(clap::Args)]
#[command(after_help = "\
Example: secretscan findings list --standing open,reopened --triage open --severity high")]
pub struct ListArguments {
    /// Only this repository [default: all]
    #[arg(long, value_name = "ID|URI|NAME")]
    repository: Option<String>,

    /// Only those that stand there
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STATE")]
    standing: Vec<StandingArgument>,

    /// Only those at the tip of a branch
    #[arg(long)]
    tip: bool,

    /// Only those about which this was decided
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STATE")]
    triage: Vec<TriageArgument>,

    /// Only what this rule found
    #[arg(long, value_name = "ID")]
    rule: Option<String>,

    /// Only those at least this severe
    #[arg(long, value_enum, value_name = "LEVEL")]
    severity: Option<SeverityArgument>,

    /// How to show them
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Where a finding stands.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum StandingArgument {
    /// At the tip of a branch
    Open,
    /// In commits that refs reach, at no tip
    OnlyInHistory,
    /// Gone from every ref
    Resolved,
    /// Back after it was gone
    Reopened,
}

impl StandingArgument {
    fn is(self, state: FindingState) -> bool {
        match self {
            Self::Open => state == FindingState::Open,
            Self::OnlyInHistory => state == FindingState::OnlyInHistory,
            Self::Resolved => state == FindingState::Resolved,
            Self::Reopened => state == FindingState::Reopened,
        }
    }
}

/// What was decided.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TriageArgument {
    /// Nothing, or what was accepted until a time that has passed
    Open,
    /// It must be dealt with
    Confirmed,
    /// It is of no use any more
    Revoked,
    /// It is no secret
    FalsePositive,
    /// It may stay for a time
    Accepted,
}

impl TriageArgument {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Confirmed => "confirmed",
            Self::Revoked => "revoked",
            Self::FalsePositive => "false-positive",
            Self::Accepted => "accepted",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SeverityArgument {
    Critical,
    High,
    Medium,
    Low,
}

impl SeverityArgument {
    fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

impl ListArguments {
    /// Lists them.
    pub fn run(&self) -> anyhow::Result<Outcome> {
        self.connection.with_bus(async |bus| self.list(bus).await)
    }

    async fn list(&self, bus: &Bus) -> anyhow::Result<Outcome> {
        let now = now();
        let repositories = selected(bus, self.repository.as_deref()).await?;
        let names: HashMap<&RepositoryId, &str> =
            repositories.iter().map(|repository| (&repository.id, repository.name.as_str())).collect();
        let only = repositories.first().filter(|_| self.repository.is_some());
        let all = record::load(bus, only.map(|repository| &repository.id)).await?;
        let wanted = all.iter().filter(|record| self.wants(record, now));
        let mut records: Vec<(&str, &Record)> =
            wanted.filter_map(|record| Some((*names.get(&record.repository)?, record))).collect();
        records.sort_by(|(one, a), (other, b)| {
            let rank = |record: &Record| severity_rank(&record.finding.severity);
            (rank(a), one, order(&a.finding)).cmp(&(rank(b), other, order(&b.finding)))
        });
        let views: Vec<_> =
            records.iter().map(|(name, record)| FindingView::new(name, record, now)).collect();
        output::to_stdout(|out| match self.format {
            ListFormat::Json => lists::write_json(&views, out),
            ListFormat::Text if views.is_empty() => writeln!(out, "no finding"),
            ListFormat::Text => {
                let rows: Vec<_> = records.iter().map(|(name, record)| row(name, record, now)).collect();
                let header =
                    ["SEVERITY", "STANDING", "TIP", "TRIAGE", "RULE", "REPOSITORY", "PLACE", "FINGERPRINT"];
                lists::write_table(header, &rows, out)
            }
        })?;
        Ok(Outcome::Clean)
    }

    fn wants(&self, record: &Record, now: Timestamp) -> bool {
        let Record { finding, whereabouts, triage, .. } = record;
        let decided = triage.state(now);
        let least = self.severity.map(|severity| severity_rank(severity.name()));
        (self.standing.is_empty() || self.standing.iter().any(|wanted| wanted.is(whereabouts.state)))
            && (!self.tip || whereabouts.place == Place::Tip)
            && (self.triage.is_empty() || self.triage.iter().any(|wanted| wanted.name() == decided.name()))
            && self.rule.as_ref().is_none_or(|rule| rule == finding.rule_id.as_str())
            && least.is_none_or(|least| severity_rank(&finding.severity) <= least)
    }
}

fn row(repository: &str, record: &Record, now: Timestamp) -> [String; 8] {
    let Record { finding, whereabouts, triage, .. } = record;
    [
        finding.severity.clone(),
        whereabouts.state.name().to_owned(),
        if whereabouts.place == Place::Tip { "yes" } else { "no" }.to_owned(),
        triage.state(now).name().to_owned(),
        finding.rule_id.to_string(),
        repository.to_owned(),
        format!("{}:{}", finding.display_path(), finding.introduced().line),
        finding.id.fingerprint().to_owned(),
    ]
}
