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

/// A repository with our manifest, as the framework clones it.
fn manifest() -> Place {
    let manifest = Place::repository();
    manifest.commit(
        ".pre-commit-hooks.yaml",
        &fs::read_to_string(root().join(".pre-commit-hooks.yaml")).unwrap(),
    );
    manifest
}

/// That the hook with this id stops a commit by what is staged, and no other.
fn assert_runs(id: &str, manifest: &Place, path: &str) {
    let framework = framework();
    let place = Place::repository();
    let revision = manifest.ask(&["rev-parse", "HEAD"]);
    let config =
        format!("repos:\n- repo: {}\n  rev: {revision}\n  hooks:\n  - id: {id}\n", manifest.path().display());
    place.stage(".pre-commit-config.yaml", &config);
    let cache = Place::empty();
    let with_path = |mut command: Command| {
        command.env("PATH", path).env("PRE_COMMIT_HOME", cache.path()).output().unwrap()
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

#[test]
fn the_framework_runs_the_installed_program() {
    let program = Path::new(env!("CARGO_BIN_EXE_secretscan")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    assert_runs("secretscan-system", &manifest(), &path);
}

/// Building it takes minutes, so the program stands already where the script would put it.
#[test]
fn the_framework_runs_the_program_that_it_has_built() {
    let manifest = manifest();
    for name in ["scripts", "target/release"] {
        fs::create_dir_all(manifest.path().join(name)).unwrap();
    }
    fs::copy(root().join("scripts/pre-commit-hook"), manifest.path().join("scripts/pre-commit-hook"))
        .unwrap();
    let built = manifest.path().join("target/release/secretscan");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_secretscan"), built).unwrap();
    manifest.git(&["add", "--all", "--force"]);
    manifest.git(&["commit", "--quiet", "--message", "change"]);
    assert_runs("secretscan", &manifest, &std::env::var("PATH").unwrap());
}
