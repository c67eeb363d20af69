//! The built program, and repositories made with Git in temporary directories.
#![allow(dead_code, clippy::unwrap_used, reason = "tests, each of which uses a part")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A token that the built-in rules find, put together here so that scanners of this repository don't.
pub fn canary() -> String {
    format!("gh{}_{}", "p", "R7tBq2Xw9ZkL4mNv8YcD1sFh6JgP3a2bbik3")
}

/// A directory of its own, with a Git repository in it or not.
pub struct Place(pub TempDir);

impl Place {
    pub fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn repository() -> Self {
        Self::repository_of("sha1")
    }

    /// One with ids of this object format.
    pub fn repository_of(format: &str) -> Self {
        let place = Self::empty();
        place.git(&["init", "--quiet", "--initial-branch=main", &format!("--object-format={format}")]);
        place
    }

    /// A repository whose second of three commits has the token.
    pub fn with_leak() -> Self {
        let place = Self::repository();
        place.commit("README", "hello\n");
        place.commit("src/config.py", &format!("# settings\ntoken = \"{}\"\n", canary()));
        place.commit("src/config.py", "# settings\n");
        place
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub fn commit(&self, name: &str, content: &str) {
        self.write(name, content);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "change"]);
    }

    pub fn git(&self, arguments: &[&str]) {
        assert!(git(self.path(), arguments).status().unwrap().success(), "git {arguments:?}");
    }

    /// Runs `secretscan` here.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    pub fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = command(self.path(), arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Ran::new(child.wait_with_output().unwrap())
    }
}

pub fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_secretscan"));
    command.args(arguments).current_dir(directory).env_remove("GIT_INDEX_FILE");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn new(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    pub fn has_canary(&self) -> bool {
        // Half of it is too much.
        self.out.contains(&canary()[..20]) || self.err.contains(&canary()[..20])
    }

    /// Everything at once, for snapshots.
    pub fn shown(&self) -> String {
        format!("exit code {}\n--- stdout\n{}--- stderr\n{}", self.code, self.out, self.err)
    }
}

/// Git without the configuration of this machine.
pub fn git(directory: &Path, arguments: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.args(arguments).current_dir(directory);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIT_")) {
        git.env_remove(name);
    }
    for role in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{role}_NAME"), "Ada Lovelace");
        git.env(format!("GIT_{role}_EMAIL"), "ada@example.org");
        git.env(format!("GIT_{role}_DATE"), "1780000000 +0000");
    }
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", "/dev/null");
    git.stdin(Stdio::null());
    git
}
