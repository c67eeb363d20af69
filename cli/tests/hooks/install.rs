//! `hook install` and `hook uninstall`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{Place, Ran, git};
use crate::{assert_stopped, leak, ran, secretscan};

const COMMIT: [&str; 4] = ["commit", "--quiet", "--message", "change"];

/// Writes a hook of somebody else, which notes its arguments and its standard input.
fn write_hook(path: &Path, end: &str) -> String {
    let text = format!("#!/bin/sh\necho \"$*\" >>noted\ncat >>noted\n{end}");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, &text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o750)).unwrap();
    text
}

fn assert_restored(path: &Path, text: &str) {
    assert_eq!(fs::read_to_string(path).unwrap(), text);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o750);
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.ends_with(".sample"));
    names.sort();
    names
}

#[test]
fn hooks_that_were_there_run_first_and_come_back() {
    let place = Place::repository();
    let remote = Place::empty();
    remote.git(&["init", "--quiet", "--bare"]);
    let hooks = place.path().join(".git/hooks");
    let of_push = write_hook(&hooks.join("pre-push"), "");
    let of_commit = write_hook(&hooks.join("pre-commit"), "exit 7\n");
    for _ in 0..2 {
        assert_eq!(place.install(&[]).code, 0);
    }
    let both = [
        "commit-msg",
        "pre-commit",
        "pre-commit.before-secretscan",
        "pre-push",
        "pre-push.before-secretscan",
    ];
    assert_eq!(files(&hooks), both);
    place.stage("f", &leak());
    let stopped = place.try_git(&COMMIT);
    assert!(stopped.code == 1 && !stopped.err.contains("secretscan"), "{}", stopped.shown());
    place.git(&["commit", "--quiet", "--no-verify", "--message", "change"]);
    fs::remove_file(place.path().join("noted")).unwrap();
    let url = remote.path().to_str().unwrap();
    assert_stopped(&place.try_git(&["push", "--quiet", url, "HEAD:refs/heads/x"]), "f:2:10");
    let noted = fs::read_to_string(place.path().join("noted")).unwrap();
    let id = place.ask(&["rev-parse", "HEAD"]);
    assert_eq!(noted, format!("{url} {url}\nHEAD {id} refs/heads/x {}\n", "0".repeat(40)));

    let ran = place.uninstall(&[]);
    assert!(ran.code == 0 && ran.out.contains("removed pre-push; what was there"), "{}", ran.shown());
    assert_eq!(files(&hooks), ["pre-commit", "pre-push"]);
    assert_restored(&hooks.join("pre-push"), &of_push);
    assert_restored(&hooks.join("pre-commit"), &of_commit);
    assert!(place.uninstall(&[]).out.contains("nothing of secretscan"));
}

#[test]
fn what_was_put_over_ours_is_not_touched() {
    let place = Place::with_hooks(&["--pre-commit"]);
    let hook = place.path().join(".git/hooks/pre-commit");
    fs::write(hook.with_extension("before-secretscan"), "kept").unwrap();
    let text = write_hook(&hook, "");
    let ran = place.install(&["--pre-commit"]);
    assert!(ran.code == 2 && ran.err.contains("both "), "{}", ran.shown());
    place.uninstall(&[]);
    assert_restored(&hook, &text);
}

#[test]
fn working_trees_submodules_and_folders_share_the_right_hooks() {
    let place = Place::repository();
    place.commit("README", "hello\n");
    place.git(&["worktree", "add", "--quiet", "linked", "-b", "linked"]);
    let linked = place.path().join("linked");
    let run = |dir: &Path, arguments: &[&str]| ran(secretscan(&place, arguments).current_dir(dir));
    assert_eq!(run(&linked, &["hook", "install"]).code, 0);
    assert_eq!(files(&place.path().join(".git/hooks")), ["commit-msg", "pre-commit", "pre-push"]);
    fs::write(linked.join("f"), leak()).unwrap();
    let commit = |dir: &Path| {
        assert!(git(dir, &["add", "f"]).status().unwrap().success());
        ran(&mut git(dir, &COMMIT))
    };
    assert_stopped(&commit(&linked), "f:2:10");

    let outer = Place::repository();
    let url = place.path().to_str().unwrap();
    outer.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", url, "sub"]);
    let sub = outer.path().join("sub");
    fs::create_dir(sub.join("deep")).unwrap();
    assert_eq!(run(&sub.join("deep"), &["hook", "install", "--pre-commit"]).code, 0);
    assert_eq!(files(&outer.path().join(".git/modules/sub/hooks")), ["pre-commit"]);
    fs::write(sub.join("f"), leak()).unwrap();
    assert_stopped(&commit(&sub), "f:2:10");
}

#[test]
fn hooks_path_of_a_repository() {
    let place = Place::repository();
    place.git(&["config", "core.hooksPath", "tools/hooks"]);
    let text = write_hook(&place.path().join("tools/hooks/pre-commit"), "");
    assert_eq!(place.install(&["--pre-commit"]).code, 0);
    place.stage("f", &leak());
    assert_stopped(&place.try_git(&COMMIT), "f:2:10");
    assert_eq!(place.uninstall(&[]).code, 0);
    assert_restored(&place.path().join("tools/hooks/pre-commit"), &text);
}

#[test]
fn managers_of_hooks_are_left_in_charge() {
    let place = Place::repository();
    place.git(&["config", "core.hooksPath", ".husky/_"]);
    let refused = place.install(&[]);
    assert!(
        refused.code == 2 && refused.err.contains("in .husky/pre-commit: secretscan hook pre-commit"),
        "{}",
        refused.shown()
    );
    place.git(&["config", "--unset", "core.hooksPath"]);
    place.write("lefthook.yml", "");
    let refused = place.install(&["--pre-push"]);
    assert!(refused.code == 2 && refused.err.contains("use_stdin: true"), "{}", refused.shown());
    assert!(files(&place.path().join(".git/hooks")).is_empty());
}

/// A user with a configuration of their own, and what a command of theirs does.
struct User(Place);

impl User {
    fn run(&self, mut command: std::process::Command) -> Ran {
        command.env("GIT_CONFIG_GLOBAL", self.0.path().join("config")).env("XDG_DATA_HOME", self.0.path());
        ran(&mut command)
    }

    fn config(&self) -> String {
        fs::read_to_string(self.0.path().join("config")).unwrap_or_default()
    }
}

#[test]
fn all_repositories_of_a_user() {
    let user = User(Place::empty());
    let place = Place::repository();
    let hooks = place.path().join(".git/hooks");
    for hook in ["pre-commit", "post-commit"] {
        write_hook(&hooks.join(hook), "");
    }
    for _ in 0..2 {
        let ran = user.run(secretscan(&user.0, &["hook", "install", "--global"]));
        assert_eq!(ran.code, 0, "{}", ran.shown());
    }
    let dir = user.0.path().join("secretscan/hooks");
    assert!(user.config().contains(dir.to_str().unwrap()));
    place.stage("f", &leak());
    assert_stopped(&user.run(git(place.path(), &COMMIT)), "f:2:10");
    place.stage("f", "f\n");
    let committed = user.run(git(place.path(), &COMMIT));
    assert_eq!(committed.code, 0, "{}", committed.shown());
    // Twice before the commit, once after it.
    assert_eq!(fs::read_to_string(place.path().join("noted")).unwrap(), "\n\n\n");
    let refused = user.run(secretscan(&place, &["hook", "install"]));
    assert!(refused.code == 2 && refused.err.contains("--global"), "{}", refused.shown());

    let ran = user.run(secretscan(&user.0, &["hook", "uninstall", "--global"]));
    assert_eq!(ran.code, 0, "{}", ran.shown());
    assert!(!user.config().contains("hooksPath") && !dir.exists(), "{}", user.config());
}

#[test]
fn a_hooks_path_that_the_user_has_already() {
    let user = User(Place::empty());
    let dir = user.0.path().join("mine");
    let text = write_hook(&dir.join("pre-commit"), "");
    fs::write(user.0.path().join("config"), format!("[core]\n\thooksPath = {}\n", dir.display())).unwrap();
    let config = user.config();
    assert_eq!(user.run(secretscan(&user.0, &["hook", "install", "--global", "--pre-commit"])).code, 0);
    let place = Place::repository();
    place.stage("f", &leak());
    assert_stopped(&user.run(git(place.path(), &COMMIT)), "f:2:10");
    assert!(place.path().join("noted").exists());
    assert_eq!(user.run(secretscan(&user.0, &["hook", "uninstall", "--global"])).code, 0);
    assert_restored(&dir.join("pre-commit"), &text);
    assert_eq!((files(&dir), user.config()), (vec!["pre-commit".to_owned()], config));
}
