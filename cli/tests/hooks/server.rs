//! `pre-receive` and `update`, in a repository that is pushed to.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use secretscan_testkit::HttpRemote;

use crate::support::{Place, Ran};
use crate::{RULE, assert_stopped, leak, secretscan};

/// A repository with a hook that is pushed to, and one with a clean commit.
fn pair(options: &[&str]) -> (Place, Place) {
    pair_of("sha1", options)
}

/// The same with ids of this object format.
fn pair_of(format: &str, options: &[&str]) -> (Place, Place) {
    let server = Place::empty();
    let format_option = format!("--object-format={format}");
    server.git(&["init", "--quiet", "--bare", "--initial-branch=main", &format_option]);
    let ran = server.install(options);
    assert_eq!(ran.code, 0, "{}", ran.shown());
    let place = Place::repository_of(format);
    place.git(&["remote", "add", "origin", server.path().to_str().unwrap()]);
    place.commit("README", "hello\n");
    (server, place)
}

fn assert_refused(ran: &Ran) {
    assert!(ran.code == 1 && !ran.has_canary(), "{}", ran.shown());
    for part in ["remote: secretscan: 1 secret", "f:2:10", RULE, "leaks by topic", "hook declined"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    let remote = ran.err.lines().filter(|line| line.starts_with("remote: "));
    assert!(remote.clone().all(|line| line.trim_end().chars().count() <= 80), "{}", ran.err);
}

/// Pushes what is clean and what is not.
fn push(server: &Place, place: &Place) {
    place.git(&["push", "--quiet", "origin", "main"]);
    place.git(&["switch", "--quiet", "--create", "topic"]);
    place.commit("f", &leak());
    let blob = place.ask(&["rev-parse", "topic:f"]);
    place.commit("f", "clean\n");
    // The pusher's environment does not open the door.
    let mut push = crate::support::git(place.path(), &["push", "--quiet", "origin", "topic", "main:copy"]);
    assert_refused(&crate::ran(push.env("SECRETSCAN_SKIP", "all")));
    assert_eq!(server.ask(&["branch", "--format=%(refname:short)"]), "main");
    assert_ne!(server.try_git(&["cat-file", "-e", &blob]).code, 0, "the object was let in");
    place.git(&["push", "--quiet", "origin", "main:copy"]);
    place.git(&["push", "--quiet", "origin", ":copy"]);
}

#[test]
fn a_push_by_path_is_scanned_in_quarantine() {
    let (server, place) = pair(&[]);
    push(&server, &place);
    // What the server has already is not scanned again.
    server.git(&["config", "core.hooksPath", "/dev/null"]);
    place.git(&["push", "--quiet", "origin", "topic"]);
    server.git(&["config", "--unset", "core.hooksPath"]);
    place.commit("g", "g\n");
    place.git(&["push", "--quiet", "origin", "topic:refs/heads/further"]);
    // Packed objects, as a large push brings them.
    server.git(&["config", "receive.unpackLimit", "1"]);
    place.commit("h", &leak());
    let refused = place.try_git(&["push", "--quiet", "origin", "topic"]);
    assert!(refused.code == 1 && refused.err.contains("h:2:10"), "{}", refused.shown());
}

#[test]
fn all_hooks_work_with_sha256_ids() {
    let (server, place) = pair_of("sha256", &[]);
    push(&server, &place);
    place.install(&["--pre-commit", "--pre-push"]);
    assert_stopped(&place.try_git(&["push", "--quiet", "origin", "topic"]), "f:2:10");
    place.stage("g", &leak());
    assert_stopped(&place.try_git(&["commit", "--quiet", "--message", "change"]), "g:2:10");
    place.stage("g", "clean\n");
    let clean = place.try_git(&["commit", "--quiet", "--message", "change"]);
    assert_eq!((clean.code, clean.err.as_str()), (0, ""), "{}", clean.shown());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_over_http_is_scanned_in_quarantine() {
    let (server, place) = pair(&[]);
    server.git(&["config", "http.receivepack", "true"]);
    let remote = HttpRemote::serve(server.path()).await.unwrap();
    place.git(&["remote", "set-url", "origin", &remote.url()]);
    tokio::task::spawn_blocking(move || push(&server, &place)).await.unwrap();
}

#[test]
fn the_update_hook_refuses_one_ref_and_lets_the_others_in() {
    let (server, place) = pair(&["--update"]);
    place.git(&["switch", "--quiet", "--create", "topic"]);
    place.commit("f", &leak());
    assert_refused(&place.try_git(&["push", "--quiet", "origin", "topic", "main"]));
    assert_eq!(server.ask(&["branch", "--format=%(refname:short)"]), "main");
}

#[test]
fn time_is_bounded() {
    let (server, place) = pair(&[]);
    place.git(&["push", "--quiet", "origin", "main"]);
    let id = place.ask(&["rev-parse", "main"]);
    let slow = Place::empty();
    let git = slow.write(
        "git",
        "#!/bin/sh\ncase \"$*\" in *rev-list*) exec sleep 3 ;; esac\nPATH=$REST exec git \"$@\"\n",
    );
    fs::set_permissions(&git, Permissions::from_mode(0o755)).unwrap();
    server.git(&["config", "secretscan.timeout", "1"]);
    let hook = || {
        let path = std::env::var("PATH").unwrap();
        let mut hook = secretscan(&server, &["hook", "pre-receive"]);
        hook.env("REST", &path).env("PATH", format!("{}:{path}", slow.path().display()));
        let mut child =
            hook.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let line = format!("{} {id} refs/heads/x\n", "0".repeat(40));
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), line.as_bytes()).unwrap();
        Ran::new(child.wait_with_output().unwrap())
    };
    let stopped = hook();
    assert!(stopped.code == 2 && stopped.err.contains("within 1 s"), "{}", stopped.shown());
    server.git(&["config", "secretscan.onFailure", "warn"]);
    let passed = hook();
    assert!(passed.code == 0 && passed.err.contains("NOT SCANNED"), "{}", passed.shown());
    server.git(&["config", "secretscan.timeout", "soon"]);
    assert_eq!(hook().code, 2);
}
