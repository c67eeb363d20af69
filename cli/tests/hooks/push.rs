//! `pre-push`.

use crate::support::{Place, canary};
use crate::{assert_stopped, leak};

/// A repository with the hook, a clean commit, and an empty remote called `origin`.
fn pair() -> (Place, Place) {
    let remote = Place::empty();
    remote.git(&["init", "--quiet", "--bare", "--initial-branch=main"]);
    let place = Place::with_hooks(&["--pre-push"]);
    place.git(&["remote", "add", "origin", remote.path().to_str().unwrap()]);
    place.commit("README", "hello\n");
    (place, remote)
}

fn push(place: &Place, arguments: &[&str]) -> crate::support::Ran {
    place.try_git(&[&["push", "--quiet"], arguments].concat())
}

fn is_let_through(place: &Place, arguments: &[&str]) {
    let ran = push(place, arguments);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}: {}", ran.shown());
}

#[test]
fn the_ref_that_leaks_is_named() {
    let (place, remote) = pair();
    is_let_through(&place, &["origin", "main"]);
    place.git(&["switch", "--quiet", "--create", "topic"]);
    place.commit("src/config.py", &leak());
    place.commit("src/config.py", "# settings\n");
    place.git(&["branch", "other", "main"]);
    let stopped = push(&place, &["origin", "main", "other", "topic"]);
    assert_stopped(&stopped, "src/config.py:2:10");
    assert!(stopped.err.contains("leaks by topic\n"), "{}", stopped.err);
    let commit = place.ask(&["rev-parse", "HEAD~1"]);
    assert!(stopped.err.contains(&format!("commit {}", &commit[..10])), "{}", stopped.err);
    assert_eq!(remote.ask(&["branch", "--format=%(refname:short)"]), "main");
    is_let_through(&place, &["origin", "other"]);

    // Each commit once, however many refs hold it; by a name that is no branch; at the same time as a deletion.
    place.git(&["branch", "more"]);
    place.git(&["tag", "light"]);
    let stopped = push(&place, &["origin", "topic", "more", "light", "HEAD~1:refs/heads/raw", ":other"]);
    assert_stopped(&stopped, "1 secret in what the remote lacks");
    assert!(stopped.err.contains("leaks by"), "{}", stopped.err);
    for name in ["topic", "more", "1 more"] {
        assert!(stopped.err.contains(name), "{name}: {}", stopped.err);
    }
    is_let_through(&place, &["origin", ":other"]);
}

#[test]
fn a_rewritten_branch_may_be_forced() {
    let (place, remote) = pair();
    place.commit("f", "1\n");
    is_let_through(&place, &["origin", "main"]);
    place.write("f", &leak());
    place.git(&["commit", "--quiet", "--all", "--amend", "--no-edit"]);
    assert_stopped(&push(&place, &["--force", "origin", "main"]), "f:2:10");
    place.write("f", "2\n");
    place.git(&["commit", "--quiet", "--all", "--amend", "--no-edit"]);
    is_let_through(&place, &["--force", "origin", "main"]);
    assert_eq!(remote.ask(&["rev-parse", "main"]), place.ask(&["rev-parse", "main"]));
}

#[test]
fn tags_speak_themselves() {
    let (place, _remote) = pair();
    let message = format!("release\n\nwith {}", canary());
    place.git(&["tag", "--annotate", "--message", &message, "v1"]);
    place.git(&["tag", "--annotate", "--message", "release", "v2"]);
    let stopped = push(&place, &["origin", "main", "v1", "v2"]);
    assert_stopped(&stopped, "refs/tags/v1:");
    assert!(stopped.err.contains("leaks by tags/v1\n"), "{}", stopped.err);
    is_let_through(&place, &["origin", "main", "v2"]);

    place.write("blob", &leak());
    let blob = place.ask(&["hash-object", "-w", "blob"]);
    place.git(&["tag", "blob", &blob]);
    assert_stopped(&push(&place, &["origin", "blob"]), "refs/tags/blob:2:10");
}

#[test]
fn a_url_stands_for_the_remote_that_has_it() {
    let (place, remote) = pair();
    place.commit("f", &leak());
    place.git(&["push", "--quiet", "--no-verify", "origin", "main"]);
    place.commit("g", "g\n");
    place.git(&["branch", "new"]);
    is_let_through(&place, &[remote.path().to_str().unwrap(), "new"]);

    // Of a place that is not configured only what Git says is known.
    let (_, stranger) = pair();
    let url = stranger.path().to_str().unwrap();
    assert_stopped(&push(&place, &[url, "main"]), "f:2:10");
    place.git(&["push", "--quiet", "--no-verify", url, "main"]);
    place.commit("h", "h\n");
    is_let_through(&place, &[url, "main"]);
}

#[test]
fn a_remote_that_has_moved_on() {
    let (place, remote) = pair();
    is_let_through(&place, &["origin", "main"]);
    let other = Place::empty();
    other.git(&["clone", "--quiet", remote.path().to_str().unwrap(), "."]);
    other.commit("theirs", "1\n");
    other.git(&["push", "--quiet", "origin", "main"]);
    place.commit("ours", "1\n");
    let rejected = push(&place, &["origin", "main"]);
    assert!(rejected.code == 1 && rejected.err.contains("fetch first"), "{}", rejected.shown());
    assert!(!rejected.err.contains("secretscan"), "{}", rejected.err);
    place.commit("ours", &leak());
    assert_stopped(&push(&place, &["origin", "main"]), "ours:2:10");
}

#[test]
fn a_shallow_clone_is_scanned_as_far_as_it_goes() {
    let (place, remote) = pair();
    place.commit("f", "f\n");
    is_let_through(&place, &["origin", "main"]);
    let shallow = Place::empty();
    let url = format!("file://{}", remote.path().display());
    shallow.git(&["clone", "--quiet", "--depth=1", &url, "."]);
    shallow.install(&["--pre-push"]);
    shallow.commit("g", "g\n");
    let noted = push(&shallow, &["origin", "main"]);
    assert!(noted.code == 0 && noted.err.contains("a shallow clone"), "{}", noted.shown());
    shallow.commit("h", &leak());
    let stopped = push(&shallow, &["origin", "main"]);
    assert!(
        stopped.code == 1 && stopped.err.contains("h:2:10") && !stopped.has_canary(),
        "{}",
        stopped.shown()
    );
}

#[test]
fn what_git_would_not_write_is_refused() {
    let (place, _remote) = pair();
    let ran = place.run_with(&["hook", "pre-push", "origin"], "refs/heads/main\n");
    assert!(ran.code == 2 && ran.err.contains("githooks(5)"), "{}", ran.shown());
    assert_eq!(place.run(&["hook", "pre-push", "origin"]).code, 0);
}
