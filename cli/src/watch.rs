//! Live progress of a request on standard error: a line for each state and, between them, how far it is.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};
use secretscan_bus::{Bus, Class, Stop, chain};
use secretscan_model::lifecycle::TrailEntry;
use secretscan_model::{Purpose, RepositoryScan, RequestId, ScanState};
use secretscan_report::escape_for_terminal;
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::lists::{self, counted};
use crate::waiting;

/// How often to look why a request does not move.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Shows one request. On a terminal the last line is kept up to date; elsewhere each change is a line.
pub struct Display {
    bar: Option<ProgressBar>,
    /// Entries of the trail that are shown.
    shown: usize,
    /// What is between the entries.
    last: String,
}

impl Display {
    /// Shows nothing yet.
    pub fn new() -> Self {
        let bar = console::user_attended_stderr().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}").expect("a valid template");
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar, shown: 0, last: String::new() }
    }

    /// Shows what is new in the record. `waits_for` says why it does not move, if it does not.
    pub fn show(&mut self, scan: &RepositoryScan, waits_for: Option<&str>) {
        for entry in scan.trail.iter().skip(self.shown) {
            self.line(&trail_line(entry));
        }
        self.shown = scan.trail.len();
        let progress = match waits_for {
            Some(waits_for) => format!("waits: {waits_for}"),
            None if scan.found.is_none() && scan.batches.is_empty() => String::new(),
            None => progress_line(scan),
        };
        match &self.bar {
            Some(bar) if progress.is_empty() => bar.set_message(doing(&scan.state)),
            Some(bar) => bar.set_message(escape_for_terminal(&progress)),
            None if progress.is_empty() || progress == self.last => {}
            None => self.line(&progress),
        }
        self.last = progress;
    }

    fn line(&self, text: &str) {
        let text = escape_for_terminal(text);
        match &self.bar {
            Some(bar) => bar.println(text),
            // Where standard error is closed, nobody looks.
            None => drop(writeln!(io::stderr(), "{text}")),
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What goes on before there is anything to count.
fn doing(state: &ScanState) -> &'static str {
    match state {
        ScanState::InProgress { .. } => "fetching and listing the history",
        ScanState::New
        | ScanState::Validating
        | ScanState::Queued
        | ScanState::Scheduling
        | ScanState::Scheduled
        | ScanState::Completed
        | ScanState::Failed { .. }
        | ScanState::Cancelled => state.name(),
    }
}

fn trail_line(entry: &TrailEntry) -> String {
    let note = entry.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
    format!("{}  {}{note}", lists::time(entry.at), entry.state)
}

/// How far a request is, such as `100 of 120 new commits, 2 of 3 batches ended, 1.20 MB, 1 finding`.
pub fn progress_line(scan: &RepositoryScan) -> String {
    let totals = scan.totals();
    let mut parts = Vec::new();
    match &scan.found {
        Some(found) if scan.purpose == Purpose::Verify => {
            let commits = counted(found.commits, "commit", "commits");
            return format!("{commits} compared, {} not scanned", found.unknown);
        }
        Some(found) if found.unknown == 0 && scan.batches.is_empty() => {
            parts.push(format!("nothing new in {}", counted(found.commits, "commit", "commits")));
        }
        // A later attempt does not count what an earlier one handed over.
        Some(found) if totals.commits <= found.unknown => {
            let new = counted(found.unknown, "new commit", "new commits");
            parts.push(format!("{} of {new}", totals.commits));
        }
        Some(_) | None => parts.push(counted(totals.commits, "commit", "commits")),
    }
    if !scan.batches.is_empty() {
        let batches = counted(totals.batches, "batch", "batches");
        parts.push(format!("{} of {batches} ended", totals.ended));
        parts.push(DecimalBytes(totals.bytes).to_string());
        parts.push(counted(totals.findings, "finding", "findings"));
    }
    let not_listed = scan.found.as_ref().map_or(0, |found| found.not_scanned.len() as u64);
    let not_scanned = totals.not_scanned + not_listed;
    if not_scanned > 0 {
        parts.push(format!("{not_scanned} not scanned"));
    }
    parts.join(", ")
}

/// Follows a request to its end, showing its progress; while the server can't be asked it tries again.
///
/// # Errors
/// When what the server has is no record of a request; the request goes on.
pub async fn until_end(bus: &Bus, id: &RequestId) -> anyhow::Result<RepositoryScan> {
    let (sender, mut records) = mpsc::unbounded_channel();
    let mut follow = pin!(async {
        loop {
            let followed = bus.follow_scan(id, |scan| {
                let Some(scan) = scan else { return ControlFlow::Continue(()) };
                let is_ended = scan.state.is_terminal();
                let is_watched = sender.send(scan).is_ok();
                if is_ended || !is_watched { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            match followed.await {
                // Such as a heartbeat that a busy or restarted server missed. The next watch begins with the record
                // as it is then.
                Err(error) if error.class() == Class::Transient => bus.pause(&Stop::new()).await,
                followed => return followed,
            }
        }
    });
    let mut is_followed = true;
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut display = Display::new();
    let mut current: Option<RepositoryScan> = None;
    let mut is_changed = false;
    loop {
        tokio::select! {
            biased;
            Some(scan) = records.recv() => {
                display.show(&scan, None);
                if scan.state.is_terminal() {
                    return Ok(scan);
                }
                is_changed = true;
                current = Some(scan);
            }
            followed = &mut follow, if is_followed => {
                followed.context("the request is lost from sight")?;
                is_followed = false;
            }
            _ = look.tick() => {
                // A record that has just changed is on its way.
                if let Some(scan) = current.as_ref().filter(|_| !std::mem::take(&mut is_changed)) {
                    display.show(scan, stall(bus, scan).await.as_deref());
                }
            }
        }
    }
}

async fn stall(bus: &Bus, scan: &RepositoryScan) -> Option<String> {
    if !bus.is_connected() {
        return Some("the connection to NATS is lost, trying again".to_owned());
    }
    // What can't be asked now may be asked the next time.
    waiting::reason(bus, scan).await.unwrap_or_else(|error| Some(chain(&error)))
}

/// What a request that did not complete means to the user.
pub fn ended_badly(scan: &RepositoryScan) -> Option<Failure> {
    let id = &scan.id;
    match &scan.state {
        ScanState::Failed { reason } => Some(Failure::new(
            format!("request {id} failed: {reason}"),
            "mend that and ask again: what was scanned is not scanned again; `secretscan findings` has what was found",
        )),
        ScanState::Cancelled => Some(Failure::new(
            format!("request {id} was cancelled"),
            "what was scanned is not scanned again; see what was found with `secretscan findings`",
        )),
        ScanState::New
        | ScanState::Validating
        | ScanState::Queued
        | ScanState::Scheduling
        | ScanState::Scheduled
        | ScanState::InProgress { .. }
        | ScanState::Completed => None,
    }
}
