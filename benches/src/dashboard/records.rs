//! Records as the buckets hold them.

use anyhow::{Context, ensure};
use secretscan_bus::changes::Change;
use secretscan_bus::now;
use secretscan_dashboard::index::{Applier, Source};
use secretscan_testkit::Random;
use serde_json::{Value, json};

/// So many records are written in one transaction.
const AT_ONCE: u64 = 10_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Repositories of a team.
const OF_TEAM: u64 = 10;
/// Findings are spread over so many days.
const DAYS: u64 = 400;

/// How many records there are.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Findings.
    pub findings: u64,
    /// Repositories.
    pub repositories: u64,
    /// Requests.
    pub requests: u64,
}

/// The patterns of half of the teams, for a configuration.
pub fn half(repositories: u64) -> String {
    let teams = (0..repositories.div_ceil(OF_TEAM)).step_by(2);
    teams.map(|team| format!("'git.example/team-{team}/*'")).collect::<Vec<_>>().join(", ")
}

/// Writes all of them.
///
/// # Errors
/// When the database fails.
pub fn write(writer: &mut rusqlite::Connection, size: Size) -> anyhow::Result<()> {
    let (mut applier, mut random, now) = (Applier::default(), Random::new(1), now().0);
    let mut all = |source, count, make: &mut dyn FnMut(u64) -> (String, Value)| -> anyhow::Result<()> {
        for first in (0..count).step_by(AT_ONCE as usize) {
            let transaction = writer.transaction()?;
            for number in first..count.min(first + AT_ONCE) {
                let (key, value) = make(number);
                let value = Some(serde_json::to_vec(&value)?.into());
                let applied =
                    applier.apply(&transaction, source, &Change { key, value, place: number + 1 })?;
                applied.context("a record of the benchmark")?;
            }
            transaction.commit()?;
        }
        Ok(())
    };
    ensure!(size.repositories > 0, "there must be a repository");
    all(Source::Repositories, size.repositories, &mut |number| repository(number, now))?;
    all(Source::Requests, size.requests, &mut |number| request(number, size, now))?;
    let mut decided = Vec::new();
    all(Source::Findings, size.findings, &mut |number| {
        finding(number, size, &mut random, &mut decided, now)
    })?;
    all(Source::Triage, decided.len() as u64, &mut |number| decided[number as usize].clone())
}

fn repository(number: u64, now: i64) -> (String, Value) {
    let name = format!("git.example/team-{}/repository-{number}", number / OF_TEAM);
    let id = format!("r{number}");
    (
        id.clone(),
        json!({ "id": id, "uri": format!("https://{name}"), "name": name, "created": now, "scanned": now }),
    )
}

/// One in twenty has failed, and a few are not ended.
fn request(number: u64, size: Size, now: i64) -> (String, Value) {
    let at = now - (size.requests - number) as i64 * 10_000;
    let state = match number {
        number if size.requests - number < 50 => json!({ "name": "Queued" }),
        number if number % 20 == 0 => json!({ "name": "Failed", "reason": "the host does not answer" }),
        _ => json!({ "name": "Completed" }),
    };
    let entry = |state: &Value, at: i64| json!({ "state": state["name"], "at": at, "by": "controller", "attempt": 1 });
    let id = format!("q{number:08}");
    let trail = [entry(&json!({ "name": "New" }), at), entry(&state, at + 5_000)];
    let repository = number % size.repositories;
    let record = json!({
        "id": id, "repository": format!("r{repository}"), "uri": "https://git.example/x", "priority": "on-demand",
        "requester": "ada", "state": state, "attempts": 1, "batches": {}, "trail": trail,
    });
    (id, record)
}

/// One in five is decided about; secrets of one in a hundred are in several repositories.
fn finding(
    number: u64,
    size: Size,
    random: &mut Random,
    decided: &mut Vec<(String, Value)>,
    now: i64,
) -> (String, Value) {
    let mut pick = |below: u64| random.below(below as usize) as u64;
    let (repository, rule, author) = (pick(size.repositories), pick(100), pick(2_000));
    let at = now - pick(DAYS) as i64 * DAY_MS;
    let secret = if number.is_multiple_of(100) { number / 100 % 1_000 } else { size.findings + number };
    let severity = ["critical", "high", "medium", "low"][(rule % 4) as usize];
    let hash = format!("{secret:032x}");
    let look = json!({ "at": at, "request": "q00000000" });
    if number.is_multiple_of(5) {
        let state = ["false-positive", "revoked", "confirmed"][pick(3) as usize];
        let decision = json!({ "decisions": [{ "state": state, "at": now, "by": "ada" }] });
        decided.push((format!("r{repository}.rule-{rule}.s1-{hash}"), decision));
    }
    let record = json!({
        "id": format!("v2-{number:032x}.0123456789abcdef"), "rule_id": format!("rule-{rule}"), "description": "A key",
        "severity": severity, "confidence": "high", "secret_hash": hash,
        "path": format!("src/module-{}/settings-{number}.toml", pick(500)).into_bytes(),
        "occurrences": [{
            "corrected_date": at / 1_000, "commit": format!("{number:040x}"), "line": 7, "column": 9, "end_line": 7,
            "end_column": 49, "excerpt": "token = \"ghp_****\"",
            "author": { "name": format!("Dev {author}"), "email": format!("dev{author}@example.org"), "time": at / 1_000 },
        }],
        "seen": { "first": look, "last": look, "atTip": look },
    });
    (format!("r{repository}.v2-{number:032x}.0123456789abcdef"), record)
}
