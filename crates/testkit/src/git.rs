//! Running the git program, untouched by the user's configuration.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// The git program in a directory, ready for arguments.
pub(crate) fn git(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .env_remove("GIT_OBJECT_DIRECTORY");
    command
}

/// Runs git with this standard input, and returns what it writes.
///
/// # Errors
/// When git can't be run or fails; the error has what it says.
pub fn run_git(dir: &Path, arguments: &[&str], input: &[u8]) -> anyhow::Result<Vec<u8>> {
    let what = || format!("running git {} in {}", arguments.join(" "), dir.display());
    let mut child = git(dir)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(what)?;
    let mut stdin = child.stdin.take().context("the pipe to git is there")?;
    // Written while the output is read: git may fill one pipe before it has emptied the other.
    let output = std::thread::scope(|scope| {
        // A failed write means that git ended early, and then its status says more.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output()
    });
    let output = output.with_context(what)?;
    ensure!(output.status.success(), "{}: {}", what(), String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}
