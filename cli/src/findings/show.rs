//! `secretscan findings show`: one finding with its history.

use std::io::{self, Write};

use secretscan_bus::{Bus, now};
use secretscan_model::{Look, Place, Repository, Timestamp, TriageState};
use secretscan_report::escape_for_terminal;
use serde::Serialize;

use super::no_finding;
use super::record::{self, FindingView, LookView, Record};
use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::lists::{self, ListFormat};
use crate::{output, repositories};

/// Show a finding: where it stood when, what was decided, and other files with the same secret
#[derive(clap::Args)]
#[command(
    after_help = "Example: secretscan findings show git.example.org/team/project v2-0123456789abcdef0123456789abcdef"
)]
pub struct ShowArguments {
    /// Its repository
    #[arg(value_name = "ID|URI|NAME")]
    repository: String,

    /// Its fingerprint, or its id for one of several files
    fingerprint: String,

    /// How to show it
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    #[serde(flatten)]
    finding: FindingView<'a>,
    /// Where it went, in order.
    moves: Vec<MoveView<'a>>,
    /// Other files of the repository with the same secret, the first one first: where it was renamed or copied from or to.
    same_secret: Vec<FindingView<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MoveView<'a> {
    place: Place,
    #[serde(flatten)]
    look: LookView<'a>,
}

impl ShowArguments {
    /// Shows it.
    pub fn run(&self) -> anyhow::Result<Outcome> {
        self.connection.with_bus(async |bus| self.show(bus).await)
    }

    async fn show(&self, bus: &Bus) -> anyhow::Result<Outcome> {
        let now = now();
        let repository = repositories::find(bus, &self.repository).await?;
        let records = record::load(bus, Some(&repository.id)).await?;
        let known = &self.fingerprint;
        let is_known = |record: &&Record| {
            let id = &record.finding.id;
            id.0 == *known || id.fingerprint() == known
        };
        // Of several files, one that a branch still ends with, then the one that it came to first.
        let order =
            |record: &&Record| (record.whereabouts.place != Place::Tip, record.finding.introduced().clone());
        let record = records.iter().filter(is_known).min_by_key(order).ok_or_else(no_finding)?;
        let (id, secret) = (&record.finding.id, record.finding.secret());
        let is_same = |other: &&Record| other.finding.id != *id && other.finding.secret() == secret;
        let mut same: Vec<&Record> = records.iter().filter(is_same).collect();
        same.sort_by_key(|other| other.finding.introduced());
        output::to_stdout(|out| match self.format {
            ListFormat::Json => {
                let view = |record| FindingView::new(&repository.name, record, now);
                let moves = record.whereabouts.moves.iter();
                let moves = moves
                    .map(|moved| MoveView { place: moved.place, look: LookView::new(&moved.look) })
                    .collect();
                let same_secret = same.iter().map(|other| view(other)).collect();
                lists::write_json(&View { finding: view(record), moves, same_secret }, out)
            }
            ListFormat::Text => write_text(&repository, record, &same, now, out),
        })?;
        Ok(Outcome::Clean)
    }
}

fn write_text(
    repository: &Repository,
    record: &Record,
    same: &[&Record],
    now: Timestamp,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Record { finding, whereabouts, triage, .. } = record;
    let introduced = finding.introduced();
    let mut field = |name: &str, value: &str| writeln!(out, "{name:<11} {}", escape_for_terminal(value));
    field("fingerprint", finding.id.fingerprint())?;
    field("id", &finding.id.0)?;
    field("repository", &repository.name)?;
    field("rule", &format!("{} ({})", finding.rule_id, finding.severity))?;
    field("path", &format!("{}:{}", finding.display_path(), introduced.line))?;
    field("excerpt", &introduced.excerpt)?;
    field("introduced", &format!("commit {} by {}", introduced.commit, introduced.author.name))?;
    let since = whereabouts.since.as_ref().map_or_else(String::new, |look| format!(" since {}", said(look)));
    field("standing", &format!("{}{since}", whereabouts.state.name()))?;
    field("at a tip", if whereabouts.place == Place::Tip { "yes" } else { "no" })?;
    if let Some(seen) = &finding.seen {
        field("first seen", &said(&seen.first))?;
    }
    if let Some(look) = &whereabouts.last_seen {
        field("last seen", &said(look))?;
    }
    for moved in &whereabouts.moves {
        let place = match moved.place {
            Place::Tip => "at a tip",
            Place::History => "only in history",
            Place::Gone => "gone from every ref",
        };
        field("", &format!("{place} at {}", said(&moved.look)))?;
    }
    field("triage", triage.state(now).name())?;
    for decision in triage.decisions.iter().rev() {
        let until = match &decision.state {
            TriageState::Accepted { expires } => format!(" until {} UTC", lists::time(*expires)),
            _ => String::new(),
        };
        let (state, by, at) = (decision.state.name(), &decision.by, lists::time(decision.at));
        field("", &format!("{state}{until} by {by}, {at} UTC: {}", decision.reason))?;
    }
    for other in same {
        let (place, at) = (other.finding.display_path(), other.finding.introduced());
        let word = if at < introduced { "first in" } else { "also in" };
        let state = other.whereabouts.state.name();
        field(word, &format!("{place}:{}, commit {}, {state}, {}", at.line, at.commit, other.finding.id.0))?;
    }
    Ok(())
}

fn said(look: &Look) -> String {
    format!("{} UTC, request {}", lists::time(look.at), look.request)
}
