//! `secretscan hook pre-receive` and `update`: a push, before the server takes it.
//!
//! The pusher waits and sees standard error, each line after `remote: `.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::{env, thread};

use anyhow::Context;
use secretscan_git::{Push, PushedRef};
use secretscan_report::Advice;

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::hook::check::{Check, Stop};
use crate::hook::pre_push::{bad_line, leaking_refs, parse_id, remove};
use crate::hook::repository;
use crate::hook::settings::Settings;
use crate::scan::{all_threads, explain, options};

/// Git writes `remote: ` before each line.
const COLUMNS: usize = 72;

/// Scans what standard input lists: `<old id> SP <new id> SP <ref>`, as githooks(5) has it.
pub fn pre_receive(check: Check<'_>, settings: &Settings) -> anyhow::Result<Outcome> {
    let input = io::read_to_string(io::stdin()).context("cannot read the refs from standard input")?;
    let mut refs = Vec::new();
    for line in input.lines() {
        let mut fields = line.splitn(3, ' ');
        let (Some(_old), Some(new), Some(name)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(bad_line().into());
        };
        refs.extend(parse_id(new)?.map(|id| PushedRef { name: name.to_owned(), id }));
    }
    scan(refs, &check, settings)
}

/// Scans what one ref brings.
pub fn update(
    name: &str,
    _old: &str,
    new: &str,
    check: Check<'_>,
    settings: &Settings,
) -> anyhow::Result<Outcome> {
    let pushed = parse_id(new)?.map(|id| PushedRef { name: name.to_owned(), id });
    scan(pushed.into_iter().collect(), &check, settings)
}

fn scan(refs: Vec<PushedRef>, check: &Check<'_>, settings: &Settings) -> anyhow::Result<Outcome> {
    if refs.is_empty() {
        return Ok(Outcome::Clean);
    }
    let push = Arc::new(Push::incoming(&repository(), refs, &quarantine()).map_err(explain)?);
    let (done, ended) = mpsc::channel();
    let (scanned, scanner, key) = (push.clone(), check.scanner(), check.key.clone());
    // Not joined when it takes too long: it ends with this process, and so do the processes that it reads from.
    thread::spawn(move || {
        let scratch = env::temp_dir();
        let options = options(all_threads(), &scratch);
        // Nobody waits any more when the time is up.
        let _ = done.send(scanned.scan(&scanner, &key, &options));
    });
    let report = match ended.recv_timeout(settings.timeout) {
        Ok(report) => report.map_err(explain)?,
        Err(RecvTimeoutError::Timeout) => {
            push.abandon();
            let message = format!("the push was not scanned within {} s", settings.timeout.as_secs());
            let hint = "push fewer commits at a time; secretscan.timeout on the server is the bound";
            return Err(Failure::new(message, hint).into());
        }
        Err(RecvTimeoutError::Disconnected) => {
            return Err(Failure::new("the scan broke off", "report it as a fault of secretscan").into());
        }
    };
    check.judge(
        report,
        &Stop {
            place: "in this push; nothing was taken",
            refs: &|finding| leaking_refs(&push, finding),
            advice: &|findings| {
                let allow = [
                    "add the comment secretscan:allow with a reason to the",
                    "line, in the same commit. Or ask who runs this server to",
                    "list the fingerprint in the repository's .secretscanignore.",
                ];
                vec![
                    Advice { name: "Remove", lines: remove(findings) },
                    Advice { name: "Allow", lines: allow.map(str::to_owned).to_vec() },
                ]
            },
            columns: COLUMNS,
        },
    )
}

/// The directories in which Git keeps the objects of a push until the hook has agreed, and what they borrow from. Source:
/// "Quarantine environment" in git-receive-pack(1).
fn quarantine() -> Vec<PathBuf> {
    if env::var_os("GIT_QUARANTINE_PATH").is_none() {
        return Vec::new();
    }
    let own = env::var_os("GIT_OBJECT_DIRECTORY").map(PathBuf::from);
    let borrowed = env::var_os("GIT_ALTERNATE_OBJECT_DIRECTORIES").unwrap_or_default();
    // One with a colon in its name is quoted, and the repository's own is known anyway.
    let borrowed = env::split_paths(&borrowed).filter(|dir| dir.is_dir());
    own.into_iter().chain(borrowed).collect()
}
