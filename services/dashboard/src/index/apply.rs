//! What each record says in the database.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, params};
use secretscan_bus::changes::Change;
use secretscan_model::ledger::{CommitState, Head};
use secretscan_model::lifecycle::whereabouts;
use secretscan_model::rules::resolved_by;
use secretscan_model::{
    Agent, Finding, FindingState, Place, Purpose, Repository, RepositoryId, RepositoryScan, RequestId,
    RuleHashes, RuleId, ScanState, Schedule, Seen, Standing, Survey, Timestamp, Triage, TriageState,
};
use secretscan_proto::v1;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Source;

/// A record that is not what its bucket should hold.
#[derive(Debug, Error)]
pub enum BadRecord {
    /// Its value.
    #[error("it is not the record that the bucket holds: {0}")]
    Value(#[from] serde_json::Error),
    /// Its key.
    #[error("its key is not of the form that the bucket has")]
    Key,
}

/// The outer error is that of the database.
pub type Applied = rusqlite::Result<Result<(), BadRecord>>;

/// Does what it can with a record, or says why it can't.
macro_rules! readable {
    ($read:expr) => {
        match $read {
            Ok(value) => value,
            Err(error) => return Ok(Err(error.into())),
        }
    };
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes)
}

fn to_text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Writes records. Knows the versions of the rules, of which there are few.
#[derive(Default)]
pub struct Applier {
    rule_sets: BTreeMap<String, RuleHashes>,
}

/// The columns of a finding from which others follow.
struct Facts {
    repository: String,
    finding_id: String,
    rule: String,
    secret: String,
    seen: Option<Seen>,
    matched_by: BTreeSet<String>,
}

/// The rank of a severity: 0 is the worst.
pub(crate) fn severity_rank(severity: &str) -> i64 {
    match severity {
        "critical" => 0,
        "high" => 1,
        "medium" => 2,
        _ => 3,
    }
}

/// The name of a rank.
pub(crate) fn severity_name(rank: i64) -> &'static str {
    match rank {
        0 => "critical",
        1 => "high",
        2 => "medium",
        _ => "low",
    }
}

/// The name of a rank of confidence.
pub(crate) fn confidence_name(rank: i64) -> &'static str {
    match rank {
        0 => "high",
        1 => "medium",
        _ => "low",
    }
}

/// A number that is made of a key alone: rows that have nothing else to be ordered by have one order in every copy.
fn tie(key: &str) -> i64 {
    let digest = Sha256::digest(key.as_bytes());
    digest.iter().take(8).fold(0, |number, byte| number << 8 | i64::from(*byte))
}

fn confidence_rank(confidence: &str) -> i64 {
    match confidence {
        "high" => 0,
        "medium" => 1,
        _ => 2,
    }
}

impl Applier {
    /// Writes what a change says. The outer error is that of the database.
    ///
    /// # Errors
    /// When the database fails; within, when it can't be read.
    pub fn apply(&mut self, db: &Connection, source: Source, change: &Change) -> Applied {
        let (key, value) = (change.key.as_str(), change.value.as_deref());
        match source {
            Source::Repositories => repository(db, key, value),
            Source::Requests => self.request(db, key, value),
            Source::Findings => self.finding(db, key, value),
            Source::Standings => self.standing(db, key, value),
            Source::Triage => self.triage(db, key, value),
            Source::Ledgers => self.ledger(db, key, value),
            Source::RuleSets => self.rule_set(db, key, value),
            Source::Schedules => schedule(db, key, value),
            Source::Agents => agent(db, key, value),
            Source::Events => event(db, change),
            Source::Audit => audit(db, change),
        }
    }

    /// Opens what was accepted for a time that is over; gives how many findings that were.
    pub(super) fn expire(&self, db: &Connection, now: Timestamp) -> rusqlite::Result<usize> {
        let mut expired = db.prepare_cached("SELECT id FROM findings WHERE expires <= ?1")?;
        let ids: Vec<i64> = expired.query_map([now.0], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for id in &ids {
            self.settle(db, *id, now)?;
        }
        Ok(ids.len())
    }

    fn request(&self, db: &Connection, key: &str, value: Option<&[u8]>) -> Applied {
        let Some(value) = value else {
            db.prepare_cached("DELETE FROM requests WHERE id = ?1")?.execute([key])?;
            return Ok(Ok(()));
        };
        let scan: RepositoryScan = readable!(parse(value));
        let totals = scan.totals();
        let at =
            |entry: Option<&secretscan_model::lifecycle::TrailEntry>| entry.map_or(0, |entry| entry.at.0);
        let was_complete: Option<bool> = db
            .prepare_cached("SELECT state = 'Completed' FROM requests WHERE id = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?;
        let reason = match &scan.state {
            ScanState::Failed { reason } => Some(reason.as_str()),
            _ => scan.last_error.as_deref(),
        };
        let purpose = match &scan.purpose {
            Purpose::Scan => "scan",
            Purpose::Verify => "verify",
            Purpose::Rescan { .. } => "rescan",
        };
        let found = scan.found.as_ref();
        db.prepare_cached(
            "INSERT OR REPLACE INTO requests (id, repository, uri, state, priority, requester, purpose, schedule, created, \
             since, is_terminal, batches, batches_ended, commits, bytes, findings, not_scanned, untold, vanished, reason) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
        )?
        .execute(params![
            key,
            scan.repository.as_ref().map(RepositoryId::as_str),
            scan.uri,
            scan.state.name(),
            scan.priority.as_str(),
            scan.requester,
            purpose,
            scan.scheduled.as_ref().map(|run| run.schedule.as_str()),
            at(scan.trail.first()),
            at(scan.trail.last()),
            scan.state.is_terminal(),
            totals.batches as i64,
            totals.ended as i64,
            totals.commits as i64,
            totals.bytes as i64,
            totals.findings as i64,
            (totals.not_scanned + found.map_or(0, |found| found.not_scanned.len() as u64)) as i64,
            found.and_then(|found| found.untold).map(|count| count as i64),
            found.and_then(|found| found.vanished).map(|count| count as i64),
            reason,
        ])?;
        if scan.state == ScanState::Completed && was_complete != Some(true) {
            // What it saw counts from now on.
            let mut looked = db.prepare_cached(
                "SELECT id FROM standing_requests JOIN findings USING (repository, finding) WHERE request = ?1",
            )?;
            let ids: Vec<i64> = looked.query_map([key], |row| row.get(0))?.collect::<Result<_, _>>()?;
            for id in ids {
                self.settle(db, id, secretscan_bus::now())?;
            }
        }
        Ok(Ok(()))
    }

    fn finding(&self, db: &Connection, key: &str, value: Option<&[u8]>) -> Applied {
        let Some((repository, finding_id)) = key.split_once('.') else { return Ok(Err(BadRecord::Key)) };
        let Some(value) = value else {
            db.prepare_cached("DELETE FROM findings WHERE repository = ?1 AND finding = ?2")?
                .execute([repository, finding_id])?;
            return Ok(Ok(()));
        };
        let finding: Finding = readable!(parse(value));
        let Some(introduced) = finding.occurrences.first() else { return Ok(Err(BadRecord::Key)) };
        let seen = finding.seen.as_ref();
        let mut insert = db.prepare_cached(
            "INSERT INTO findings (repository, finding, rule, severity, confidence, secret, hash, path, commit_id, line, \
             author, email, introduced, excerpt, occurrences, first_seen, last_seen, standing, since, is_tip, triage, is_open, \
             seen, matched_by, tie) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, 'open', ?16, \
             1, 'open', 1, ?18, ?19, ?20) ON CONFLICT (repository, finding) DO UPDATE SET rule = ?3, severity = ?4, \
             confidence = ?5, secret = ?6, hash = ?7, path = ?8, commit_id = ?9, line = ?10, author = ?11, email = ?12, \
             introduced = ?13, excerpt = ?14, occurrences = ?15, first_seen = ?16, last_seen = ?17, seen = ?18, \
             matched_by = ?19 RETURNING id",
        )?;
        let id = insert.query_row(
            params![
                repository,
                finding_id,
                finding.rule_id.as_str(),
                severity_rank(&finding.severity),
                confidence_rank(&finding.confidence),
                finding.secret().0,
                finding.secret_hash.0,
                finding.display_path(),
                introduced.commit.to_string(),
                introduced.line,
                introduced.author.name,
                introduced.author.email,
                introduced.author.time,
                introduced.excerpt,
                (finding.occurrences.len() + finding.later.places.len()) as i64,
                seen.map_or(introduced.author.time * 1_000, |seen| seen.first.at.0),
                seen.map_or(0, |seen| seen.last.at.0),
                seen.map(to_text),
                to_text(&finding.matched_by),
                tie(key),
            ],
            |row| row.get(0),
        )?;
        self.settle(db, id, secretscan_bus::now())?;
        Ok(Ok(()))
    }

    fn standing(&self, db: &Connection, key: &str, value: Option<&[u8]>) -> Applied {
        let Some((repository, finding_id)) = key.split_once('.') else {
            return survey(db, key, value);
        };
        db.prepare_cached("DELETE FROM standing_requests WHERE repository = ?1 AND finding = ?2")?
            .execute([repository, finding_id])?;
        match value {
            Some(value) => {
                let standing: Standing = readable!(parse(value));
                db.prepare_cached("INSERT OR REPLACE INTO standings VALUES (?1, ?2, ?3)")?
                    .execute(params![repository, finding_id, to_text(&standing)])?;
                let mut insert =
                    db.prepare_cached("INSERT OR IGNORE INTO standing_requests VALUES (?1, ?2, ?3)")?;
                for moved in &standing.moves {
                    insert.execute(params![moved.look.request.as_str(), repository, finding_id])?;
                }
            }
            None => {
                db.prepare_cached("DELETE FROM standings WHERE repository = ?1 AND finding = ?2")?
                    .execute([repository, finding_id])?;
            }
        }
        self.settle_where(db, "repository = ?1 AND finding = ?2", [repository, finding_id])?;
        Ok(Ok(()))
    }

    fn triage(&self, db: &Connection, key: &str, value: Option<&[u8]>) -> Applied {
        let Some((repository, secret)) = key.split_once('.') else { return Ok(Err(BadRecord::Key)) };
        match value {
            Some(value) => {
                let triage: Triage = readable!(parse(value));
                db.prepare_cached("INSERT OR REPLACE INTO triages VALUES (?1, ?2, ?3)")?.execute(params![
                    repository,
                    secret,
                    to_text(&triage)
                ])?;
            }
            None => {
                db.prepare_cached("DELETE FROM triages WHERE repository = ?1 AND secret = ?2")?
                    .execute([repository, secret])?;
            }
        }
        self.settle_where(db, "repository = ?1 AND secret = ?2", [repository, secret])?;
        Ok(Ok(()))
    }

    fn ledger(&self, db: &Connection, key: &str, value: Option<&[u8]>) -> Applied {
        let Some(repository) = key.strip_suffix(".head") else { return Ok(Err(BadRecord::Key)) };
        let Some(value) = value else {
            db.prepare_cached("DELETE FROM ledgers WHERE repository = ?1")?.execute([repository])?;
            return Ok(Ok(()));
        };
        let head: Head = readable!(parse(value));
        let before = head_of(db, repository)?;
        let totals = head.totals();
        let scanned = totals.iter().filter(|total| total.state == CommitState::Scanned);
        let main = scanned.clone().max_by_key(|total| (total.newest, total.commits));
        let main_set = main.map_or("", |total| total.rule_set.as_str());
        db.prepare_cached("INSERT OR REPLACE INTO ledgers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(
            params![
                repository,
                totals.iter().map(|total| total.commits).sum::<u64>() as i64,
                scanned.clone().map(|total| total.commits).sum::<u64>() as i64,
                main_set,
                main.map_or(0, |total| total.commits) as i64,
                scanned.map(|total| total.newest.0).max(),
                to_text(&head),
            ],
        )?;
        // Only what follows for findings: a ledger changes with each batch.
        if before.is_none_or(|before| versions(&before) != versions(&head)) {
            self.settle_where(db, "repository = ?1", [repository])?;
        }
        Ok(Ok(()))
    }

    fn rule_set(&mut self, db: &Connection, version: &str, value: Option<&[u8]>) -> Applied {
        let Some(value) = value else { return Ok(Ok(())) };
        let rules: RuleHashes = readable!(parse(value));
        db.prepare_cached("INSERT OR REPLACE INTO rule_sets VALUES (?1, ?2)")?
            .execute(params![version, to_text(&rules)])?;
        let is_new = self.rule_sets.insert(version.to_owned(), rules).is_none();
        if is_new {
            let of_version = "repository IN (SELECT repository FROM ledgers WHERE instr(record, ?1) > 0)";
            self.settle_where(db, of_version, [version])?;
        }
        Ok(Ok(()))
    }

    fn settle_where<const N: usize>(
        &self,
        db: &Connection,
        condition: &str,
        parameters: [&str; N],
    ) -> rusqlite::Result<()> {
        let mut found = db.prepare_cached(&format!("SELECT id FROM findings WHERE {condition}"))?;
        let ids = found.query_map(rusqlite::params_from_iter(parameters), |row| row.get(0))?;
        let ids: Vec<i64> = ids.collect::<Result<_, _>>()?;
        let now = secretscan_bus::now();
        ids.into_iter().try_for_each(|id| self.settle(db, id, now))
    }

    /// Writes the columns of a finding that other records decide.
    fn settle(&self, db: &Connection, id: i64, now: Timestamp) -> rusqlite::Result<()> {
        let facts = db
            .prepare_cached(
                "SELECT repository, finding, rule, secret, seen, matched_by FROM findings WHERE id = ?1",
            )?
            .query_row([id], |row| {
                let (seen, matched_by): (Option<String>, String) = (row.get(4)?, row.get(5)?);
                Ok(Facts {
                    repository: row.get(0)?,
                    finding_id: row.get(1)?,
                    rule: row.get(2)?,
                    secret: row.get(3)?,
                    seen: seen.and_then(|seen| serde_json::from_str(&seen).ok()),
                    matched_by: serde_json::from_str(&matched_by).unwrap_or_default(),
                })
            })?;
        let text = |sql: &str, parameters: [&str; 2]| {
            let mut found = db.prepare_cached(sql)?;
            found.query_row(parameters, |row| row.get::<_, String>(0)).optional()
        };
        let key = [facts.repository.as_str(), facts.finding_id.as_str()];
        let standing = text("SELECT record FROM standings WHERE repository = ?1 AND finding = ?2", key)?;
        let standing: Option<Standing> = standing.and_then(|record| serde_json::from_str(&record).ok());
        let secret = [facts.repository.as_str(), facts.secret.as_str()];
        let triage = text("SELECT record FROM triages WHERE repository = ?1 AND secret = ?2", secret)?;
        let triage: Triage = triage.and_then(|record| serde_json::from_str(&record).ok()).unwrap_or_default();

        let is_complete = |request: &RequestId| {
            let found = db.prepare_cached("SELECT 1 FROM requests WHERE id = ?1 AND state = 'Completed'");
            found.and_then(|mut found| found.exists([request.as_str()])).unwrap_or(false)
        };
        let whereabouts = whereabouts(facts.seen.as_ref(), standing.as_ref(), None, &is_complete);
        let head = head_of(db, &facts.repository)?;
        let rule: Option<RuleId> = facts.rule.parse().ok();
        let rule_change = (rule.as_ref().zip(head.as_ref()))
            .and_then(|(rule, head)| resolved_by(rule, &facts.matched_by, head, &self.rule_sets));
        let (standing, since) = match rule_change {
            Some(change) => ("resolved-by-rules", change.at.0),
            None => {
                let since = whereabouts.since.as_ref().map_or(0, |look| look.at.0);
                (whereabouts.state.name(), since)
            }
        };
        let state = triage.state(now);
        let is_gone = whereabouts.state == FindingState::Resolved || rule_change.is_some();
        let is_open = !is_gone && !state.is_settled();
        let expires = match &state {
            TriageState::Accepted { expires } => Some(expires.0),
            _ => None,
        };
        db.prepare_cached(
            "UPDATE findings SET standing = ?2, since = ?3, is_tip = ?4, triage = ?5, decided = ?6, expires = ?7, is_open = ?8 \
             WHERE id = ?1 AND (standing, since, is_tip, triage, decided, expires, is_open) IS NOT (?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            id,
            standing,
            since,
            whereabouts.place == Place::Tip,
            state.name(),
            triage.decisions.last().map(|decision| decision.at.0),
            expires,
            is_open,
        ])?;
        Ok(())
    }
}

fn head_of(db: &Connection, repository: &str) -> rusqlite::Result<Option<Head>> {
    let record: Option<String> = db
        .prepare_cached("SELECT record FROM ledgers WHERE repository = ?1")?
        .query_row([repository], |row| row.get(0))
        .optional()?;
    Ok(record.and_then(|record| serde_json::from_str(&record).ok()))
}

/// What a ledger says of rules: the versions in use, and the changes.
fn versions(head: &Head) -> (BTreeSet<&str>, Vec<&str>) {
    let scanned = head.segments.iter().filter(|segment| segment.state == CommitState::Scanned);
    let in_use = scanned.map(|segment| segment.rule_set.as_str()).collect();
    (in_use, head.changes.iter().map(|change| change.rule_set.as_str()).collect())
}

fn repository(db: &Connection, key: &str, value: Option<&[u8]>) -> Applied {
    let Some(value) = value else {
        db.prepare_cached("DELETE FROM repositories WHERE id = ?1")?.execute([key])?;
        return Ok(Ok(()));
    };
    let repository: Repository = readable!(parse(value));
    db.prepare_cached("INSERT OR REPLACE INTO repositories VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(
        params![
            key,
            repository.name,
            repository.uri,
            repository.created.0,
            repository.scanned.map(|at| at.0),
        ],
    )?;
    Ok(Ok(()))
}

fn survey(db: &Connection, repository: &str, value: Option<&[u8]>) -> Applied {
    let Some(value) = value else { return Ok(Ok(())) };
    let survey: Survey = readable!(parse(value));
    db.prepare_cached("INSERT OR REPLACE INTO surveys VALUES (?1, ?2)")?
        .execute(params![repository, to_text(&survey)])?;
    Ok(Ok(()))
}

fn schedule(db: &Connection, key: &str, value: Option<&[u8]>) -> Applied {
    let Some(value) = value else {
        db.prepare_cached("DELETE FROM schedules WHERE id = ?1")?.execute([key])?;
        return Ok(Ok(()));
    };
    let schedule: Schedule = readable!(parse(value));
    let next = schedule.due.filter(|_| !schedule.is_paused).map(|due| due.at.0);
    db.prepare_cached("INSERT OR REPLACE INTO schedules VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(
        params![
            key,
            schedule.plan.repository.as_str(),
            schedule.is_paused,
            next,
            schedule.last.as_ref().map(|run| run.at.0),
            to_text(&schedule),
        ],
    )?;
    Ok(Ok(()))
}

fn agent(db: &Connection, key: &str, value: Option<&[u8]>) -> Applied {
    match value {
        Some(value) => {
            let agent: Agent = readable!(parse(value));
            db.prepare_cached("INSERT OR REPLACE INTO agents VALUES (?1, ?2)")?
                .execute(params![key, to_text(&agent)])?;
        }
        None => {
            db.prepare_cached("DELETE FROM agents WHERE key = ?1")?.execute([key])?;
        }
    }
    Ok(Ok(()))
}

fn event(db: &Connection, change: &Change) -> Applied {
    let Some(value) = &change.value else { return Ok(Ok(())) };
    let subject = change.key.as_str();
    let (kind, at, repository) = if subject.starts_with("secretscan.event.alert.unknown-commits.") {
        let alert: v1::UnknownCommits = readable!(parse(value));
        ("unknown-commits", alert.at, alert.repository_id)
    } else if subject.starts_with("secretscan.event.hook-skipped.") {
        let skipped: v1::HookSkipped = readable!(parse(value));
        ("hook-skipped", skipped.at, skipped.repository_id)
    } else {
        return Ok(Ok(()));
    };
    db.prepare_cached("INSERT OR REPLACE INTO alerts VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        change.place as i64,
        at,
        kind,
        repository,
        String::from_utf8_lossy(value),
    ])?;
    Ok(Ok(()))
}

fn audit(db: &Connection, change: &Change) -> Applied {
    let Some(value) = &change.value else { return Ok(Ok(())) };
    let entry: v1::AuditEntry = readable!(parse(value));
    db.prepare_cached("INSERT OR REPLACE INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        change.place as i64,
        entry.at,
        entry.who,
        entry.action,
        entry.repository_id,
        String::from_utf8_lossy(value),
    ])?;
    Ok(Ok(()))
}
