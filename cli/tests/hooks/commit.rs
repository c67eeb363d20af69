//! `pre-commit` and `commit-msg`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crate::support::{Place, canary, git};
use crate::{RULE, assert_stopped, leak, ran};

const COMMIT: [&str; 4] = ["commit", "--quiet", "--message", "change"];

#[test]
fn the_first_commit_is_stopped_until_the_secret_is_out() {
    let place = Place::with_hooks(&["--pre-commit"]);
    place.stage("src/config.py", &leak());
    let stopped = place.try_git(&COMMIT);
    assert_stopped(&stopped, "src/config.py:2:10");
    for part in ["1 secret in what is staged", "token = \"ghp_****\"", "secretscan:allow", "--no-verify"] {
        assert!(stopped.err.contains(part), "{part}: {}", stopped.err);
    }
    assert_ne!(place.try_git(&["rev-parse", "--verify", "HEAD"]).code, 0);
    place.stage("src/config.py", "# settings\n");
    let clean = place.try_git(&COMMIT);
    assert_eq!((clean.code, clean.out.as_str(), clean.err.as_str()), (0, "", ""));
}

#[test]
fn what_is_staged_counts_and_nothing_else() {
    let place = Place::with_hooks(&["--pre-commit"]);
    place.write("old.py", &leak());
    place.write("f", "1\n");
    place.git(&["add", "--all"]);
    place.git(&["commit", "--quiet", "--no-verify", "--message", "before the hook"]);
    let is_let_through = || {
        let ran = place.try_git(&COMMIT);
        assert_eq!(ran.code, 0, "{}", ran.shown());
    };

    // Half of the file is staged, the secret is in the other half.
    place.stage("f", "2\n");
    place.write("f", &leak());
    is_let_through();
    place.stage("f", &leak());
    place.write("f", "3\n");
    assert_stopped(&place.try_git(&COMMIT), "f:2:10");
    place.git(&["add", "f"]);

    place.write("later.py", &leak());
    place.git(&["add", "--intent-to-add", "later.py"]);
    is_let_through();
    place.git(&["rm", "--quiet", "--cached", "later.py"]);

    fs::set_permissions(place.path().join("old.py"), Permissions::from_mode(0o755)).unwrap();
    place.git(&["add", "old.py"]);
    is_let_through();
    place.git(&["mv", "old.py", "new.py"]);
    assert_stopped(&place.try_git(&COMMIT), "new.py:2:10");
    place.git(&["mv", "new.py", "old.py"]);

    let commit = place.ask(&["rev-parse", "HEAD"]);
    place.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},module")]);
    is_let_through();

    // git commit PATH shows the hook another index.
    place.write("f", &leak());
    place.stage("g", "g\n");
    assert_stopped(&place.try_git(&["commit", "--quiet", "--message", "change", "f"]), "f:2:10");
}

#[test]
fn a_working_tree_apart_from_its_repository() {
    let place = Place::with_hooks(&["--pre-commit"]);
    let git_dir = place.path().join("elsewhere");
    fs::rename(place.path().join(".git"), &git_dir).unwrap();
    let apart = ["--git-dir=elsewhere", "--work-tree=."];
    place.write("f", &leak());
    place.git(&[&apart[..], &["add", "f"]].concat());
    assert_stopped(&place.try_git(&[&apart[..], &COMMIT].concat()), "f:2:10");
}

#[test]
fn every_way_out_that_the_message_names() {
    let place = Place::with_hooks(&["--pre-commit"]);
    place.stage("f", &leak());
    let stopped = place.try_git(&COMMIT);
    let with = |variable: &str| {
        ran(git(place.path(), &["commit", "--quiet", "--dry-run"]).env("SECRETSCAN_SKIP", variable));
        ran(git(place.path(), &[&COMMIT[..], &["--allow-empty"]].concat()).env("SECRETSCAN_SKIP", variable))
    };
    let back = || place.git(&["update-ref", "-d", "HEAD"]);

    let other = with("aws-access-key-id,no-such-rule");
    assert_stopped(&other, "f:2:10");
    assert!(other.err.contains("names no rule: no-such-rule"), "{}", other.err);
    for variable in [RULE, "all"] {
        let skipped = with(variable);
        assert_eq!(skipped.code, 0, "{}", skipped.shown());
        assert!(skipped.err.contains("SECRETSCAN_SKIP"), "{}", skipped.err);
        back();
    }

    let command = stopped.err.lines().find(|line| line.contains("echo ")).unwrap().trim();
    let shell = std::process::Command::new("sh").arg("-c").arg(command).current_dir(place.path()).status();
    assert!(shell.unwrap().success(), "{command}");
    assert_eq!(place.try_git(&COMMIT).code, 0);
    back();
    fs::remove_file(place.path().join(".secretscanignore")).unwrap();

    let report = ["scan", "--staged", "--format", "json", "--output", ".secretscan-baseline.json"];
    assert_eq!(place.run(&report).code, 1);
    assert_eq!(place.try_git(&COMMIT).code, 0);
    back();
    fs::rename(place.path().join(".secretscan-baseline.json"), place.path().join("known.json")).unwrap();
    assert_eq!(place.try_git(&COMMIT).code, 1);
    place.git(&["config", "secretscan.baseline", "known.json"]);
    assert_eq!(place.try_git(&COMMIT).code, 0);
    place.git(&["config", "--unset", "secretscan.baseline"]);
    back();

    place.stage("f", &format!("token = \"{}\" # secretscan:allow of the example\n", canary()));
    assert_eq!(place.try_git(&COMMIT).code, 0);
}

#[test]
fn a_failure_stops_git_unless_configured() {
    let place = Place::with_hooks(&["--pre-commit"]);
    place.write(".secretscan.toml", "[[rules]\n");
    place.stage("f", &leak());
    let failed = place.try_git(&COMMIT);
    assert_eq!(failed.code, 1);
    assert!(failed.err.contains(".secretscan.toml") && failed.err.contains("hint: "), "{}", failed.err);
    let direct = place.run(&["hook", "pre-commit"]);
    assert_eq!(direct.code, 2, "{}", direct.shown());

    place.git(&["config", "secretscan.onFailure", "warm"]);
    let failed = place.try_git(&COMMIT);
    assert!(
        failed.code == 1 && failed.err.contains("secretscan.onFailure is \"warm\""),
        "{}",
        failed.shown()
    );

    place.git(&["config", "secretscan.onFailure", "warn"]);
    let passed = place.try_git(&COMMIT);
    assert_eq!(passed.code, 0, "{}", passed.shown());
    assert!(passed.err.contains("NOT SCANNED"), "{}", passed.err);
}

#[test]
fn a_program_that_is_gone_stops_git_unless_configured() {
    let place = Place::with_hooks(&["--pre-commit"]);
    let hook = place.path().join(".git/hooks/pre-commit");
    let script = fs::read_to_string(&hook).unwrap();
    fs::write(&hook, script.replace(env!("CARGO_BIN_EXE_secretscan"), "/no/such/program")).unwrap();
    place.stage("f", "f\n");
    let stopped = place.try_git(&COMMIT);
    assert!(stopped.code == 1 && stopped.err.contains("the program is gone"), "{}", stopped.shown());
    place.git(&["config", "secretscan.onFailure", "warn"]);
    assert_eq!(place.try_git(&COMMIT).code, 0);
}

#[test]
fn messages() {
    let place = Place::with_hooks(&["--commit-msg"]);
    place.stage("f", "f\n");
    let commit = |message: &str| place.try_git(&["commit", "--quiet", "--message", message]);
    assert_stopped(&commit(&format!("use the token\n\n{}", canary())), "commit message:3:1");
    assert_eq!(commit("use the other token").code, 0);
}

#[test]
fn many_findings_fit_a_screen() {
    let place = Place::with_hooks(&["--pre-commit"]);
    for n in 0..9 {
        place.write(&format!("{}{n}.py", "directory/".repeat(9)), &leak());
    }
    place.git(&["add", "--all"]);
    let stopped = place.try_git(&COMMIT);
    assert!(stopped.code == 1 && stopped.err.contains("9 secrets"), "{}", stopped.shown());
    let rows: usize = stopped.err.lines().map(|line| line.chars().count().div_ceil(80).max(1)).sum();
    assert!(rows <= 24 && stopped.err.contains(" more\n"), "{rows}: {}", stopped.err);
}
