//! `secretscan hook pre-commit`: what is staged.

use std::env;
use std::path::PathBuf;

use anyhow::Context;
use secretscan_git::scan_staged;

use crate::exit::Outcome;
use crate::hook::check::{CLIENT_COLUMNS, Check, Stop, client_advice};
use crate::hook::repository;
use crate::scan::{explain, options};

/// Scans the index against HEAD.
pub fn run(check: &Check<'_>) -> anyhow::Result<Outcome> {
    // One thread: a commit has few files, and starting more takes longer.
    let scratch = env::temp_dir();
    let options = options(1, &scratch);
    let index = env::var_os("GIT_INDEX_FILE").map(PathBuf::from).map(std::path::absolute);
    let index = index.transpose().context("cannot find the index that GIT_INDEX_FILE names")?;
    let report = scan_staged(&repository(), index.as_deref(), &check.scanner(), &check.key, &options);
    let remove = ["take it out of the file, then git add it again.", "If it was ever pushed, revoke it too."];
    check.judge(
        report.map_err(explain)?,
        &Stop {
            place: "in what is staged; nothing was committed",
            refs: &|_| Vec::new(),
            advice: &|findings| {
                client_advice(remove.map(str::to_owned).to_vec(), "the line", "git commit", findings)
            },
            columns: CLIENT_COLUMNS,
        },
    )
}
