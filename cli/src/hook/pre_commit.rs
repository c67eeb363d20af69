//! `secretscan hook pre-commit`: what is staged.

use std::path::PathBuf;
use std::{env, thread};

use anyhow::Context;
use secretscan_git::Staged;

use crate::exit::Outcome;
use crate::hook::check::{CLIENT_COLUMNS, Sources, Stop, client_advice};
use crate::hook::repository;
use crate::scan::{all_threads, explain, options};

/// Scans the index against HEAD.
pub fn run(sources: Sources<'_>) -> anyhow::Result<Outcome> {
    let scratch = env::temp_dir();
    let options = options(all_threads(), &scratch);
    let index = env::var_os("GIT_INDEX_FILE").map(PathBuf::from).map(std::path::absolute);
    let index = index.transpose().context("cannot find the index that GIT_INDEX_FILE names")?;
    let (check, staged) = thread::scope(|scope| {
        // Both take some milliseconds, for which somebody waits.
        let check = scope.spawn(|| sources.load());
        let staged = Staged::read(&repository(), index.as_deref(), &options);
        (check.join().expect("loading does not panic"), staged)
    });
    let check = check?;
    let report = staged.and_then(|staged| staged.scan(&check.scanner(), &check.key, &options));
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
