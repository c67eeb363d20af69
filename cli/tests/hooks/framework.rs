//! The pre-commit framework, as its manifest `.pre-commit-hooks.yaml` is used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{Place, Ran, git};
use crate::{assert_stopped, leak, with_environment};

const VERSION: &str = "4.7.0";

/// The Python that has the framework, installed from PyPI into `.tools` at the root of the workspace when it is not there
/// yet. Its own program `pre-commit` would not be found any more after the workspace was moved.
fn framework() -> PathBuf {
    let tools = root().join(".tools");
    fs::create_dir_all(&tools).unwrap();
    let lock = fs::File::create(tools.join("pre-commit.lock")).unwrap();
    lock.lock().unwrap();
    let installed = tools.join(format!("pre-commit-{VERSION}"));
    let python = installed.join("bin/python");
    if !installed.join("bin/pre-commit").is_file() {
        // What an installation that was broken off has left. pip writes the program last.
        let _ = fs::remove_dir_all(&installed);
        run(Command::new("python3").args(["-m", "venv"]).arg(&installed));
        let requirement = format!("pre-commit=={VERSION}");
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", &requirement];
        run(Command::new(&python).args(pip));
    }
    python
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn the_framework_runs_the_installed_program() {
    let framework = framework();
    let manifest = Place::repository();
    let text = fs::read_to_string(root().join(".pre-commit-hooks.yaml")).unwrap();
    manifest.commit(".pre-commit-hooks.yaml", &text);
    let place = Place::repository();
    let revision = manifest.ask(&["rev-parse", "HEAD"]);
    let config = format!(
        "repos:\n- repo: {}\n  rev: {revision}\n  hooks:\n  - id: secretscan-system\n",
        manifest.path().display()
    );
    place.stage(".pre-commit-config.yaml", &config);
    let cache = Place::empty();
    let program = Path::new(env!("CARGO_BIN_EXE_secretscan")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let with_path = |mut command: Command| {
        command.env("PATH", &path).env("PRE_COMMIT_HOME", cache.path()).output().unwrap()
    };
    let install = with_environment(Command::new(&framework), &place, &["-m", "pre_commit", "install"]);
    let installed = with_path(install);
    assert!(installed.status.success(), "{installed:?}");
    let commit = || Ran::new(with_path(git(place.path(), &["commit", "--quiet", "--message", "change"])));
    place.stage("f", &leak());
    place.write("f", "not staged\n");
    let stopped = commit();
    assert_stopped(
        &Ran { err: stopped.err.replace(place.path().to_str().unwrap(), ""), ..stopped },
        "f:2:10",
    );
    place.git(&["add", "f"]);
    let committed = commit();
    assert_eq!(committed.code, 0, "{}", committed.shown());
}
