//! Git hooks, run by the real Git on the built program.
#![allow(clippy::unwrap_used, reason = "tests")]

mod commit;
mod framework;
mod install;
mod push;
#[cfg(feature = "remote")]
mod record;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::process::Command;

use crate::support::{Place, Ran, canary, git};

/// The rule that finds the token.
const RULE: &str = "github-token";

/// A file with the token.
fn leak() -> String {
    format!("# settings\ntoken = \"{}\"\n", canary())
}

impl Place {
    /// Runs Git, whatever comes of it.
    fn try_git(&self, arguments: &[&str]) -> Ran {
        ran(&mut git(self.path(), arguments))
    }

    /// What Git says, which must succeed.
    fn ask(&self, arguments: &[&str]) -> String {
        let ran = self.try_git(arguments);
        assert_eq!(ran.code, 0, "git {arguments:?}: {}", ran.shown());
        ran.out.trim_end().to_owned()
    }

    /// Installs hooks with these options.
    fn install(&self, options: &[&str]) -> Ran {
        ran(&mut secretscan(self, &[&["hook", "install"], options].concat()))
    }

    fn uninstall(&self, options: &[&str]) -> Ran {
        ran(&mut secretscan(self, &[&["hook", "uninstall"], options].concat()))
    }

    /// A repository with these hooks.
    fn with_hooks(options: &[&str]) -> Self {
        let place = Self::repository();
        let ran = place.install(options);
        assert_eq!(ran.code, 0, "{}", ran.shown());
        place
    }

    fn stage(&self, name: &str, content: &str) {
        self.write(name, content);
        self.git(&["add", name]);
    }
}

/// The built program with Git's environment of the tests.
fn secretscan(place: &Place, arguments: &[&str]) -> Command {
    with_environment(Command::new(env!("CARGO_BIN_EXE_secretscan")), place, arguments)
}

fn with_environment(mut command: Command, place: &Place, arguments: &[&str]) -> Command {
    for (name, value) in git(place.path(), &[]).get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.args(arguments).current_dir(place.path());
    command
}

fn ran(command: &mut Command) -> Ran {
    Ran::new(command.output().unwrap())
}

/// That it stopped, said where, and fits a screen without the secret.
fn assert_stopped(ran: &Ran, place: &str) {
    assert_eq!(ran.code, 1, "{}", ran.shown());
    assert!(ran.err.contains(place) && ran.err.contains(RULE), "{}", ran.shown());
    assert!(!ran.has_canary(), "the secret is shown");
    let lines: Vec<&str> = ran.err.lines().collect();
    assert!(lines.len() <= 24 && lines.iter().all(|line| line.chars().count() <= 80), "{}", ran.err);
}

#[test]
fn help_fits_a_screen_and_has_an_example() {
    let place = Place::empty();
    let hooks = ["pre-commit", "commit-msg", "pre-push", "pre-receive", "update", "install", "uninstall"];
    for arguments in hooks.iter().map(|hook| vec!["hook", *hook]).chain([vec!["hook"]]) {
        let ran = ran(&mut secretscan(&place, &[&arguments[..], &["--help"]].concat()));
        assert!(ran.code == 0 && ran.out.contains("Example"), "{arguments:?}: {}", ran.shown());
        assert!(ran.out.lines().count() <= 40, "{}", ran.out);
    }
}
