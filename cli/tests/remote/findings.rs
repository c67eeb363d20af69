//! `secretscan findings list`, `show` and `triage`.

use secretscan_model::{Look, Seen, Timestamp};

use super::*;

fn seen(at: i64, request: &str, is_at_tip: bool) -> Option<Seen> {
    let look = Look { at: Timestamp(at * 1_000), request: request.parse().unwrap() };
    Some(Seen::at(look, is_at_tip))
}

/// A repository with a secret in a file that was renamed, and another secret.
async fn renamed(system: &System) -> (RepositoryId, [String; 3]) {
    let repository = system.repository("https://git.example.org/team/project").await;
    let old = Finding { seen: seen(1_780_000_100, "r1", false), ..finding("old.ini") };
    let mut new = Finding { seen: seen(1_780_000_200, "r2", true), ..finding("new/place.ini") };
    new.occurrences[0].commit = commit(2);
    new.occurrences[0].corrected_date += 60;
    let mut other = Finding { seen: seen(1_780_000_100, "r1", true), ..finding("other.tf") };
    other.secret_hash = SecretHash("11".repeat(32));
    other.severity = "low".into();
    other.id = FindingId(format!("v2-{:032x}.{:016x}", 8, 0));
    let ids = [&old, &new, &other].map(|finding| finding.id.0.clone());
    system.bus.record_findings(&repository, vec![old, new, other]).await.unwrap();
    (repository, ids)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn findings_are_listed_decided_about_and_shown() {
    let system = System::start().await;
    let (repository, [old, new, _]) = renamed(&system).await;
    assert_shown!(system.run(&["findings", "list"]));
    let paths = |arguments: &[&str]| {
        let ran = system.run(&[&["findings", "list", "--format", "json"], arguments].concat());
        let paths = |view: &Value| view["path"].as_str().unwrap().to_owned();
        ran.json().as_array().unwrap().iter().map(paths).collect::<Vec<_>>()
    };
    assert_eq!(paths(&["--tip"]), ["new/place.ini", "other.tf"]);
    assert_eq!(paths(&["--standing", "only-in-history,resolved"]), ["old.ini"]);
    assert_eq!(paths(&["--severity", "high"]), ["new/place.ini", "old.ini"]);
    assert_eq!(paths(&["--rule", "no-such-rule"]), [""; 0]);

    let name = "git.example.org/team/project";
    let accept = ["findings", "triage", name, &old, "--state", "accepted", "--expires", "2999-01-01"];
    let ran = system.run(&accept);
    assert!(ran.code == 2 && ran.err.contains("what is accepted needs a reason"), "{}", ran.shown());
    let ran = system.run(&[&accept[..], &["--reason", "a test system"]].concat());
    assert_eq!((ran.code, ran.out.as_str()), (0, format!("{old} is accepted\n").as_str()), "{}", ran.shown());
    // Of the secret, so of the file under its new name as well.
    assert_eq!(paths(&["--triage", "accepted"]), ["new/place.ini", "old.ini"]);
    assert_eq!(paths(&["--triage", "open"]), ["other.tf"]);
    assert_shown!(system.run(&["findings", "show", repository.as_str(), &new]));
    let shown = system.run(&["findings", "show", name, &new, "--format", "json"]).json();
    assert_eq!(shown["sameSecret"][0]["path"], "old.ini");
    // By its fingerprint it is found in either file: where a branch has it.
    let fingerprint = new.split('.').next().unwrap();
    assert_eq!(
        system.run(&["findings", "show", name, fingerprint, "--format", "json"]).json()["path"],
        "new/place.ini"
    );
    let ran = system.run(&["findings", "triage", name, fingerprint, "--state", "revoked"]);
    assert_eq!((ran.code, paths(&["--triage", "revoked"]).len()), (0, 2), "{}", ran.shown());
    assert_eq!(shown["decisions"][0]["by"], "ada");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_that_makes_no_sense_is_refused() {
    let system = System::start().await;
    let (_, [old, ..]) = renamed(&system).await;
    let decide = |fingerprint: &str, arguments: &[&str]| {
        let command = ["findings", "triage", "git.example.org/team/project", fingerprint, "--state"];
        let ran = system.run(&[&command, arguments].concat());
        assert_eq!(ran.code, 2, "{}", ran.shown());
        ran.err
    };
    for (arguments, expected) in [
        (&["accepted", "--reason", "x"][..], "--expires"),
        (&["accepted", "--reason", "x", "--expires", "soon"], "neither a day such as"),
        (&["accepted", "--reason", "x", "--expires", "2001-01-01"], "a time of expiry that is ahead"),
        (&["revoked", "--expires", "2999-01-01"], "only what is accepted expires"),
        (&["forgotten"], "invalid value"),
    ] {
        let error = decide(&old, arguments);
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    assert!(decide("v2-unknown", &["revoked"]).contains("no finding with this fingerprint"));
}
