//! `secretscan hook pre-push`: what the remote lacks.

use std::env;
use std::io;

use anyhow::Context;
use secretscan_git::{Push, PushedRef};
use secretscan_model::{CommitId, Finding};

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::hook::check::{CLIENT_COLUMNS, Check, Stop, client_advice};
use crate::hook::repository;
use crate::scan::{all_threads, explain, options};

/// As many refs are named with a finding; Git's longest message is a push of all tags.
pub const MAX_REFS: usize = 3;

/// Scans what standard input lists.
pub fn run(remote: &str, url: Option<&str>, check: &Check<'_>) -> anyhow::Result<Outcome> {
    let input = io::read_to_string(io::stdin()).context("cannot read the refs from standard input")?;
    let (mut refs, mut known) = (Vec::new(), Vec::new());
    for line in input.lines() {
        let (name, new, old) = parse_line(line)?;
        refs.extend(new.map(|id| PushedRef { name, id }));
        known.extend(old);
    }
    if refs.is_empty() {
        // Refs are deleted, or everything is up to date.
        return Ok(Outcome::Clean);
    }
    let scratch = env::temp_dir();
    let options = options(all_threads(), &scratch);
    let push = Push::outgoing(&repository(), refs, &known, &[remote, url.unwrap_or(remote)]);
    let push = push.map_err(explain)?;
    let report = push.scan(&check.scanner(), &check.key, &options).map_err(explain)?;
    check.judge(
        report,
        &Stop {
            place: "in what the remote lacks; nothing was pushed",
            refs: &|finding| leaking_refs(&push, finding),
            advice: &|findings| {
                client_advice(remove(findings), "the line, in that commit", "git push", findings)
            },
            columns: CLIENT_COLUMNS,
        },
    )
}

/// `<local ref> SP <local id> SP <remote ref> SP <remote id>`, as githooks(5) has it: the ref on the other side, and what it
/// gets and has, if anything. A local ref such as `HEAD@{1 day ago}` has spaces.
fn parse_line(line: &str) -> Result<(String, Option<CommitId>, Option<CommitId>), Failure> {
    let fields: Vec<&str> = line.rsplitn(4, ' ').collect();
    let [old, name, new, _local] = fields[..] else { return Err(bad_line()) };
    Ok((name.to_owned(), parse_id(new)?, parse_id(old)?))
}

/// An id, or `None` for the zeros that stand for a ref that is not there.
pub fn parse_id(text: &str) -> Result<Option<CommitId>, Failure> {
    if !text.is_empty() && text.bytes().all(|digit| digit == b'0') {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| bad_line())
}

/// What Git says is not as it is documented.
pub fn bad_line() -> Failure {
    Failure::new(
        "standard input or an argument is not what Git gives this hook",
        "let Git run the hook; githooks(5) says what it writes",
    )
}

/// The refs that would show a finding, so many that they fit a line.
pub fn leaking_refs(push: &Push, finding: &Finding) -> Vec<String> {
    let names = push.refs_with(finding).unwrap_or_default();
    let short = |name: &&str| {
        let name = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/")).unwrap_or(name);
        name.to_owned()
    };
    let mut shown: Vec<String> = names.iter().take(MAX_REFS).map(short).collect();
    if names.len() > MAX_REFS {
        shown.push(format!("{} more", names.len() - MAX_REFS));
    }
    shown
}

/// How to take a secret out of commits.
pub fn remove(findings: &[&Finding]) -> Vec<String> {
    let commit = findings.first().map(|finding| finding.introduced().commit);
    let commit = commit.filter(|id| id.as_bytes().iter().any(|byte| *byte != 0));
    let rewrite = commit.map_or_else(
        || "tag again without it.".to_owned(),
        |id| format!("rewrite commit {:.10}: git commit --amend, git rebase -i", id.to_string()),
    );
    vec![rewrite, "A new commit on top still leaks it; revoke what was pushed.".to_owned()]
}
