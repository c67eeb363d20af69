//! `secretscan request show`: one request in full.

use std::collections::HashMap;
use std::io::{self, Write};

use console::Style;
use secretscan_bus::Bus;
use secretscan_model::lifecycle::TrailEntry;
use secretscan_model::{
    BatchId, BatchOutcome, BatchState, ChosenRules, CommitBatch, CommitId, NotScanned, Push, RepositoryScan,
    RequestId, RuleId,
};
use secretscan_report::escape_for_terminal;
use serde::Serialize;

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::lists::{self, ListFormat};
use crate::requests::RequestView;
use crate::{findings, output, waiting, watch};

/// Where to look for the id of a request.
pub const HINT: &str = "list the requests with `secretscan requests`";

/// Batches shown to people; programs get all.
const MAX_BATCHES: usize = 20;
/// So many pushes are shown, and so much of an id.
const SHOWN_PUSHES: usize = 5;
const SHORT_ID: usize = 10;
/// So many rules of a rescan are shown.
const SHOWN_RULES: usize = 10;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    #[serde(flatten)]
    request: RequestView<'a>,
    /// Why it does not move.
    waits_for: Option<String>,
    trail: Vec<TrailView<'a>>,
    batches: Vec<BatchView>,
    not_scanned: Vec<NotScanned>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TrailView<'a> {
    state: &'a str,
    at: String,
    by: &'a str,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchView {
    id: String,
    state: &'static str,
    /// Commits to scan: those of the batch that nothing else had scanned.
    commits: u64,
    attempts: u32,
    findings: u64,
    /// How many rules ran, when it is scanned.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<u64>,
    /// Why it failed, or why the last attempt did.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Shows the request.
pub async fn show(bus: &Bus, id: &RequestId, format: ListFormat) -> anyhow::Result<Outcome> {
    let Some(scan) = bus.scan(id).await? else {
        return Err(Failure::new(format!("there is no request {id}"), HINT).into());
    };
    let repository = match &scan.repository {
        Some(repository) => bus.repository(repository).await?.map(|repository| repository.name),
        None => None,
    };
    let records: HashMap<BatchId, CommitBatch> =
        bus.batches_of(id).await?.into_iter().map(|batch| (batch.key.batch.clone(), batch)).collect();
    let view = View {
        request: RequestView::new(&scan, repository),
        waits_for: waiting::reason(bus, &scan).await?,
        trail: scan.trail.iter().map(trail).collect(),
        batches: scan.batches.iter().map(|(id, outcome)| batch(id, outcome, records.get(id))).collect(),
        not_scanned: findings::not_scanned(bus, &scan).await?,
    };
    output::to_stdout(|out| match format {
        ListFormat::Json => lists::write_json(&view, out),
        ListFormat::Text => write_text(&scan, &view, out),
    })?;
    Ok(Outcome::Clean)
}

fn trail(entry: &TrailEntry) -> TrailView<'_> {
    TrailView {
        state: &entry.state,
        at: lists::rfc3339(entry.at),
        by: &entry.by,
        attempt: entry.attempt,
        note: entry.note.as_deref(),
    }
}

/// A batch as its own record has it; the request knows how it ended when the record is no longer kept.
fn batch(id: &BatchId, outcome: &BatchOutcome, record: Option<&CommitBatch>) -> BatchView {
    let (ended, mut commits, findings, reason) = match outcome {
        BatchOutcome::Open => ("New", 0, 0, None),
        BatchOutcome::Completed { commits, findings, .. } => ("Completed", *commits, *findings, None),
        BatchOutcome::Failed { reason } => ("Failed", 0, 0, Some(reason.clone())),
        BatchOutcome::Cancelled => ("Cancelled", 0, 0, None),
    };
    let mut state = ended;
    let (mut note, mut rules) = (reason, None);
    if let Some(record) = record {
        state = record.state.name();
        match &record.state {
            BatchState::Completed { report } => rules = Some(report.rules),
            _ => commits = record.admitted,
        }
        note = note.or_else(|| record.last_error.clone());
    }
    let attempts = record.map_or(0, |record| record.attempts);
    BatchView { id: id.to_string(), state, commits, attempts, findings, rules, note }
}

/// Pushes, the first few.
fn pushed(pushes: &[Push]) -> String {
    let short = |id: &CommitId| id.to_string().chars().take(SHORT_ID).collect::<String>();
    let mut shown: Vec<String> = pushes
        .iter()
        .take(SHOWN_PUSHES)
        .map(|push| {
            let before = push.before.as_ref().map_or_else(|| "new".to_owned(), short);
            format!("{} {before}..{}", push.name, short(&push.after))
        })
        .collect();
    if pushes.len() > SHOWN_PUSHES {
        shown.push(format!("and {} more", pushes.len() - SHOWN_PUSHES));
    }
    shown.join(", ")
}

/// Which rules run, the first few.
fn chosen(chosen: &ChosenRules) -> String {
    let version = &chosen.rule_set;
    let Some(rules) = &chosen.rules else { return format!("all of {version}") };
    let mut shown: Vec<&str> = rules.iter().take(SHOWN_RULES).map(RuleId::as_str).collect();
    let more = format!("{} more", rules.len().saturating_sub(SHOWN_RULES));
    if rules.len() > SHOWN_RULES {
        shown.push(&more);
    }
    let shown = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
    format!("{shown} of {version}")
}

fn write_text(scan: &RepositoryScan, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let request = &view.request;
    let mut field = |name: &str, value: &str| {
        let name = Style::new().dim().apply_to(format!("{name:10}"));
        writeln!(out, "{name}  {}", escape_for_terminal(value))
    };
    field("request", request.id)?;
    if let Some(name) = &request.repository {
        field("repository", &format!("{name} ({})", request.repository_id.unwrap_or_default()))?;
        field("uri", request.uri)?;
    }
    match request.pushes {
        [] if request.refs.is_empty() => field("refs", "all")?,
        [] => field("refs", &request.refs.join(", "))?,
        pushes => field("pushes", &pushed(pushes))?,
    }
    if !scan.purpose.is_scan() {
        field("purpose", request.purpose)?;
    }
    if let Some(rescan) = scan.purpose.rescan() {
        field("rules", &chosen(&rescan.chosen))?;
    }
    field("priority", request.priority)?;
    field("requester", request.requester)?;
    let state = match (&view.waits_for, request.reason) {
        (Some(waits_for), _) => format!("{}: {waits_for}", request.state),
        (None, Some(reason)) => format!("{}: {reason}", request.state),
        (None, None) => request.state.to_owned(),
    };
    field("state", &state)?;
    field("attempts", &request.attempts.to_string())?;
    if let Some(error) = request.last_error {
        field("last error", error)?;
    }
    if let Some(run) = request.scheduled {
        let number = if run.run == 0 { "out of turn".to_owned() } else { format!("run {}", run.run) };
        field("schedule", &format!("{}, {number}", run.schedule))?;
    }
    if let Some(found) = &request.found {
        field("history", &found.in_words())?;
    }
    field("progress", &watch::progress_line(scan))?;

    writeln!(out)?;
    let rows: Vec<_> = scan.trail.iter().map(trail_row).collect();
    lists::write_table(["TIME (UTC)", "STATE", "BY", "ATTEMPT", "NOTE"], &rows, out)?;
    write_batches(view, out)?;
    if !view.not_scanned.is_empty() {
        let heading = format!("not scanned ({})", view.not_scanned.len());
        writeln!(out, "\n{}", Style::new().yellow().bold().apply_to(heading))?;
        for skipped in &view.not_scanned {
            let (what, reason) = (escape_for_terminal(&skipped.what), escape_for_terminal(&skipped.reason));
            writeln!(out, "  {what}: {reason}")?;
        }
    }
    Ok(())
}

fn trail_row(entry: &TrailEntry) -> [String; 5] {
    [
        lists::time(entry.at),
        entry.state.clone(),
        entry.by.clone(),
        entry.attempt.to_string(),
        entry.note.clone().unwrap_or_default(),
    ]
}

/// The batches, those first that need a look.
fn write_batches(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    if view.batches.is_empty() {
        return Ok(());
    }
    let mut batches: Vec<&BatchView> = view.batches.iter().collect();
    batches.sort_by_key(|batch| match batch.state {
        "Failed" => 0,
        "Completed" | "Cancelled" => 2,
        _ => 1,
    });
    let left_off = batches.len().saturating_sub(MAX_BATCHES);
    batches.truncate(MAX_BATCHES);
    let rows: Vec<_> = batches.into_iter().map(batch_row).collect();
    writeln!(out)?;
    lists::write_table(["BATCH", "STATE", "COMMITS", "FINDINGS", "ATTEMPTS", "NOTE"], &rows, out)?;
    if left_off > 0 {
        writeln!(out, "and {left_off} more, see --format json")?;
    }
    Ok(())
}

fn batch_row(batch: &BatchView) -> [String; 6] {
    [
        batch.id.clone(),
        batch.state.to_owned(),
        batch.commits.to_string(),
        batch.findings.to_string(),
        batch.attempts.to_string(),
        batch.note.clone().unwrap_or_default(),
    ]
}
