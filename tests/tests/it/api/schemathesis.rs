//! The API does what its document says: schemathesis makes requests of it, right and wrong ones, and judges the answers.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{fs, process};

use secretscan_testkit::eventually;
use serde_json::json;

use super::{ADMIN, SOON, scanned};

const VERSION: &str = "4.32.5";

/// A Python that has schemathesis, installed from PyPI into `.tools` at the root of the workspace when it is not there yet.
fn python() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools");
    fs::create_dir_all(&tools).unwrap();
    let lock = fs::File::create(tools.join("schemathesis.lock")).unwrap();
    lock.lock().unwrap();
    let installed = tools.join(format!("schemathesis-{VERSION}"));
    let (python, done) = (installed.join("bin/python"), installed.join("done"));
    if !done.is_file() {
        // What an installation that was broken off has left.
        let _ = fs::remove_dir_all(&installed);
        run(process::Command::new("python3").args(["-m", "venv"]).arg(&installed));
        let requirement = format!("schemathesis=={VERSION}");
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", &requirement];
        run(process::Command::new(&python).args(pip));
        fs::write(done, "").unwrap();
    }
    python
}

fn run(command: &mut process::Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_is_as_its_document_says() {
    let python = tokio::task::spawn_blocking(python).await.unwrap();
    let (_system, dashboard, generated) = scanned(42).await;
    let uri = generated.repository.path().to_str().unwrap().to_owned();
    assert_eq!(dashboard.post("/requests", &json!({ "uri": uri })).await.status, 202);
    eventually(SOON, "findings show", async || {
        (!dashboard.get("/findings").await.items().is_empty()).then_some(())
    })
    .await;

    let dir = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(python);
    command
        .args(["-m", "schemathesis.cli", "run", "--phases", "examples,coverage,fuzzing"])
        // What is right by the document may be refused for what it means: a cursor, a URI, a cron pattern.
        .args(["--exclude-checks", "positive_data_acceptance"])
        // It has no end.
        .args(["--exclude-path", "/api/v1/events"])
        // One thread: with two, Python 3.11 fails now and then as it parses (SystemError: AST constructor recursion depth).
        .args(["--max-examples", "3", "--seed", "1", "--workers", "1", "--generation-database", "none"])
        .args([
            "--generation-with-security-parameters",
            "false",
            "--suppress-health-check",
            "all",
            "--header",
            &format!("Authorization: Bearer {ADMIN}"),
        ])
        .arg(format!("http://{}/api/v1/openapi.json", dashboard.address))
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command.output().await.unwrap();
    let (said, trouble) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{trouble}");
}
