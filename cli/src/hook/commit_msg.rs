//! `secretscan hook commit-msg`: the message of a commit.

use std::env;
use std::fs;
use std::path::Path;

use secretscan_git::scan_message;

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::hook::check::{CLIENT_COLUMNS, Check, Stop, client_advice};
use crate::scan::options;

/// Git cuts a message here when it has put the changes below. Source: `git commit --verbose` in git-commit(1).
const SCISSORS: &[u8] = b" ------------------------ >8 ------------------------";

/// Scans the message in `file`.
pub fn run(file: &Path, check: &Check<'_>) -> anyhow::Result<Outcome> {
    let message = fs::read(file).map_err(|cause| {
        let doing = format!("cannot read the commit message in {}", file.display());
        Failure::caused_by(cause, doing, "Git names the file as the first argument of the hook")
    })?;
    let scratch = env::temp_dir();
    let options = options(1, &scratch);
    let report = scan_message(without_diff(&message), &check.scanner(), &check.key, &options);
    let again = format!("git commit --edit --file={}", file.display());
    let remove = vec!["write the message without it; what you wrote is kept:".to_owned(), again];
    check.judge(
        report,
        &Stop {
            place: "in the commit message; nothing was committed",
            refs: &|_| Vec::new(),
            advice: &|findings| client_advice(remove.clone(), "the line", "git commit", findings),
            columns: CLIENT_COLUMNS,
        },
    )
}

/// The message without the changes that `git commit --verbose` shows in the editor: they hold what is taken out as well.
/// Comments stay, since it depends on configuration whether Git takes them out.
fn without_diff(message: &[u8]) -> &[u8] {
    let mut start = 0;
    let mut scissors = None;
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        let is_scissors = line.trim_ascii_end().ends_with(SCISSORS);
        match scissors {
            None if is_scissors => scissors = Some(start),
            Some(end) if line.starts_with(b"diff --") => return &message[..end],
            _ => {}
        }
        start += line.len();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_changes_below_the_scissors_are_cut_off() {
        let scissors = format!("#{}\n", String::from_utf8_lossy(SCISSORS));
        let cut = |message: &str| String::from_utf8(without_diff(message.as_bytes()).to_vec()).unwrap();
        assert_eq!(cut(&format!("a\n# b\n{scissors}# c\ndiff --git a b\n-x\n")), "a\n# b\n");
        for whole in ["", "a", "a\ndiff --git a b\n", &format!("a\n{scissors}b\n")] {
            assert_eq!(cut(whole), whole);
        }
    }
}
