//! The whole system on one machine, as a user runs it.
#![cfg(feature = "local")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod older;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use secretscan_testkit::{Change, GeneratedRepository, RepositoryBuilder, eventually, generate};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_secretscan");

/// A command with a data directory of its own. The nats-server is the one that the other tests installed.
fn secretscan(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).env("SECRETSCAN_DATA", data).env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(data: &Path, arguments: &[&str]) -> Output {
    secretscan(data, arguments).output().unwrap()
}

/// Rule, path, line and commit of each line of a report in JSON lines.
fn findings(report: &[u8]) -> Vec<String> {
    let mut all: Vec<String> = report
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let finding: Value = serde_json::from_slice(line).unwrap();
            let introduced = &finding["occurrences"][0];
            format!(
                "{} {} {} {}",
                finding["ruleId"], finding["path"], introduced["line"], introduced["commit"]
            )
        })
        .collect();
    all.sort();
    all
}

fn offline(data: &Path, generated: &GeneratedRepository) -> Vec<String> {
    let path = generated.repository.path();
    let offline = output(data, &["scan", "--history", "--format", "jsonl", path.to_str().unwrap()]);
    assert_eq!(offline.status.code(), Some(1), "{}", String::from_utf8_lossy(&offline.stderr));
    findings(&offline.stdout)
}

#[test]
fn run_reports_what_an_offline_scan_reports_and_remembers_it() {
    let data = tempfile::tempdir().unwrap();
    let generated = generate(31, 120).unwrap();
    let path = generated.repository.path();
    let path = path.to_str().unwrap();
    for state in ["of", "nothing new"] {
        let run = output(data.path(), &["run", "--format", "jsonl", path]);
        let progress = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(1), "{progress}");
        assert!(progress.contains("Completed") && progress.contains(state), "{progress}");
        assert_eq!(findings(&run.stdout), offline(data.path(), &generated));
        for planted in &generated.planted {
            assert!(!String::from_utf8_lossy(&run.stdout).contains(&planted.secret), "a secret is shown");
        }
    }
    let wrong = output(data.path(), &["run", "/no/such/repository"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("there is no such repository"));
}

/// Interrupts `up`, which ends well.
fn stop(mut system: Child) {
    let pid = system.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(system.wait().unwrap().code(), Some(0));
}

/// Starts `up` and waits for its URL.
fn up(data: &Path) -> (Child, String) {
    up_with(data, &[])
}

fn up_with(data: &Path, arguments: &[&str]) -> (Child, String) {
    let mut child = secretscan(data, &[&["up"], arguments].concat()).stderr(Stdio::null()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
    assert!(url.starts_with("nats://127.0.0.1:"), "{url}");
    (child, url.trim().to_owned())
}

#[tokio::test]
async fn up_killed_in_the_middle_and_started_again_ends_with_the_same_findings() {
    let data = tempfile::tempdir().unwrap();
    let generated = generate(32, 3_000).unwrap();
    let path = generated.repository.path();
    let expected = offline(data.path(), &generated);
    let (mut killed, _) = up(data.path());
    let sent = output(data.path(), &["request", path.to_str().unwrap(), "--id", "the-request"]);
    assert_eq!(sent.status.code(), Some(0), "{}", String::from_utf8_lossy(&sent.stderr));
    let show = async || -> Option<String> {
        let shown = output(data.path(), &["request", "show", "the-request", "--format", "json"]);
        let request: Value = serde_json::from_slice(&shown.stdout).ok()?;
        request.get("state").and_then(Value::as_str).map(str::to_owned)
    };
    eventually(Duration::from_secs(60), "the request is in progress", async || {
        (show().await? == "InProgress").then_some(())
    })
    .await;
    killed.kill().unwrap();
    killed.wait().unwrap();

    let (again, url) = up(data.path());
    eventually(Duration::from_secs(60), "the request has completed", async || {
        (show().await? == "Completed").then_some(())
    })
    .await;
    let found = output(
        data.path(),
        &["findings", "--format", "jsonl", "--nats", &url, "--repository", path.to_str().unwrap()],
    );
    assert_eq!(findings(&found.stdout), expected);

    let second = output(data.path(), &["up"]);
    assert_eq!(second.status.code(), Some(2), "the data directory is in use");
    stop(again);
}

#[tokio::test]
async fn up_makes_the_consumers_of_a_version_before_anew() {
    let data = tempfile::tempdir().unwrap();
    let (before, url) = up(data.path());
    let key = data.path().join("nats-keys/setup.nk");
    let seed = std::fs::read_to_string(&key).unwrap().trim().to_owned();
    let client = async_nats::ConnectOptions::with_nkey(seed).connect(&url).await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream("COMMIT_BATCHES").await.unwrap();
    older::make_without_order(&stream, "batch-agents").await;
    stop(before);

    let (after, url) = up(data.path());
    let migrate = ["nats-config", "migrate", "--nats", &url, "--nkey", key.to_str().unwrap()];
    let plan = output(data.path(), &migrate);
    let shown = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert_eq!(plan.status.code(), Some(0), "{shown}{}", String::from_utf8_lossy(&plan.stderr));
    stop(after);
}

#[test]
fn the_history_of_a_repository_is_shown_proved_and_forgotten() {
    let data = tempfile::tempdir().unwrap();
    let generated = generate(33, 60).unwrap();
    let path = generated.repository.path();
    let repository = path.to_str().unwrap();
    let commits =
        secretscan_git::list(&path, &secretscan_git::Refs::All, &secretscan_git::ChildLimits::NONE).unwrap();
    let (system, _) = up(data.path());
    // What a command ends with and says.
    let run = |arguments: &[&str]| {
        let ran = output(data.path(), arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (ran.status.code().unwrap(), text(&ran.stdout), text(&ran.stderr))
    };
    let json = |arguments: &[&str]| -> (i32, Value) {
        let (code, shown, error) = run(&[arguments, &["--format", "json"]].concat());
        (code, serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{shown}{error}")))
    };
    let (code, _, error) = run(&["request", repository, "--watch"]);
    assert_eq!(code, 1, "{error}");

    let (_, history) = json(&["history", repository]);
    assert_eq!(history["commits"], commits.len());
    assert_eq!(history["totals"][0]["state"], "Scanned");
    let rule_set = &history["totals"][0]["ruleSet"];
    let last = commits[commits.len() - 1].id.to_string();
    let (_, commit) = json(&["history", "show", repository, &last]);
    assert_eq!((&commit["state"], &commit["ruleSet"]), (&"Scanned".into(), rule_set));
    let (code, shown, error) = run(&["history", "verify", repository]);
    assert_eq!((code, shown), (0, format!("{} commits reachable, all scanned\n", commits.len())), "{error}");

    // One, then all.
    assert_eq!(run(&["history", "forget", repository, &last]).1, "1 commit is forgotten\n");
    assert_eq!(run(&["history", "show", repository, &last]).0, 2);
    let (code, proof) = json(&["history", "verify", repository]);
    assert_eq!((code, &proof["notScanned"], &proof["named"][0]["what"]), (1, &1.into(), &last.into()));
    assert_eq!(proof["named"][0]["reason"], "the ledger does not know it: ask for a scan");
    assert!(run(&["history", "forget", repository, "--all"]).1.ends_with("commits are forgotten\n"));
    assert_eq!(run(&["history", repository]).1, "no commit is scanned\n");
    let (code, _, error) = run(&["request", repository, "--watch"]);
    assert!(code == 1 && error.contains(&format!("of {} new commits", commits.len())), "{error}");
    assert_eq!(run(&["history", "verify", repository]).0, 0);
    stop(system);
}

#[tokio::test]
async fn other_rules_scan_again_what_they_have_to() {
    let data = tempfile::tempdir().unwrap();
    let names = ["alpha", "beta", "gamma"];
    let mut builder = RepositoryBuilder::new().unwrap();
    for name in names {
        builder.commit("main", [Change::write(name, format!("{name}-0123456789abcdef"))]);
    }
    let repository = builder.build().unwrap();
    let path = repository.path();
    let rules = data.path().join("rules.toml");
    let write_rules = |names: [&str; 2]| {
        let rule = |name| format!("[[rules]]\nid = \"{name}\"\nregex = \"{name}-[0-9a-f]{{16}}\"\n");
        std::fs::write(&rules, names.map(rule).concat()).unwrap();
    };
    let json = |arguments: &[&str]| -> Value {
        let ran = output(data.path(), &[arguments, &["--format", "json"]].concat());
        let error = String::from_utf8_lossy(&ran.stderr).into_owned();
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {error}"))
    };
    // The rules of the findings that are shown.
    let found = |arguments: &[&str]| -> Vec<String> {
        let report = json(&[&["findings"], arguments].concat());
        let ids = report["findings"].as_array().unwrap().iter().map(|finding| finding["ruleId"].as_str());
        let mut ids: Vec<String> = ids.map(|id| id.unwrap().to_owned()).collect();
        ids.sort();
        ids
    };

    write_rules(["alpha", "beta"]);
    let (system, _) = up_with(data.path(), &["--rules", rules.to_str().unwrap()]);
    assert_eq!(output(data.path(), &["request", path.to_str().unwrap(), "--watch"]).status.code(), Some(1));
    assert_eq!(found(&[]), ["alpha", "beta"]);
    stop(system);

    write_rules(["alpha", "gamma"]);
    let (system, _) = up_with(data.path(), &["--rules", rules.to_str().unwrap()]);
    let asked = json(&["rescan", "--outdated", "--all-repositories"]);
    assert_eq!((asked.as_array().unwrap().len(), &asked[0]["outdated"]), (1, &3.into()));
    let id = asked[0]["requestId"].as_str().unwrap();
    let shown = eventually(Duration::from_secs(60), "the request has completed", async || {
        let shown = json(&["request", "show", id]);
        (shown["state"] == "Completed").then_some(shown)
    })
    .await;
    assert_eq!((&shown["priority"], &shown["purpose"]), (&"scheduled".into(), &"rescan".into()));
    assert_eq!((&shown["batches"][0]["commits"], &shown["batches"][0]["rules"]), (&3.into(), &1.into()));
    let version = &asked[0]["ruleSet"];
    let text = output(data.path(), &["request", "show", id]).stdout;
    let chosen = format!("gamma of {}", version.as_str().unwrap());
    assert!(String::from_utf8_lossy(&text).contains(&chosen), "only that one runs");

    assert_eq!(found(&[]), ["alpha", "gamma"]);
    assert_eq!(found(&["--resolved-by-rule-change"]), ["beta"], "kept, and marked");
    let resolved = json(&["findings", "--resolved-by-rule-change"]);
    assert_eq!(&resolved["findings"][0]["resolvedByRuleChange"]["ruleSet"], version);
    let totals = &json(&["history", path.to_str().unwrap()])["totals"];
    assert_eq!((totals.as_array().unwrap().len(), &totals[0]["ruleSet"]), (1, version));
    assert_eq!(json(&["rescan", "--outdated", "--all-repositories"]), Value::Array(vec![]));
    stop(system);
}
