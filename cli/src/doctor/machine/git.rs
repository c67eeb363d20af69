//! Git: fetches repositories, and reads what libraries can't.

use std::process::Command;

use super::Machine;
use crate::doctor::report::Line;

/// The oldest version that does.
const OLDEST: (u32, u32) = (2, 34);
/// From this version on, repositories with SHA-256 ids are no experiment of Git's.
const SHA256: (u32, u32) = (2, 42);

/// Whether there is one that is new enough.
pub fn check(_: &Machine) -> Line {
    let output = match Command::new("git").arg("version").output() {
        Ok(output) => output,
        Err(error) => {
            let advice = format!("install git {}.{} or newer, and put it on the PATH", OLDEST.0, OLDEST.1);
            return Line::failed("git", format!("git does not run: {error}"), advice);
        }
    };
    judge(String::from_utf8_lossy(&output.stdout).trim())
}

fn judge(says: &str) -> Line {
    let Some(version) = parse(says) else {
        let advice = "see which git is the first on the PATH";
        return Line::failed("git", format!("asked for its version, git says {says:?}"), advice);
    };
    let shown = says.trim_start_matches("git version ");
    if version < OLDEST {
        let advice = format!("install git {}.{} or newer", OLDEST.0, OLDEST.1);
        return Line::failed("git", format!("git {shown} is too old"), advice);
    }
    if version < SHA256 {
        let says = format!("git {shown}: repositories with SHA-256 ids are an experiment to it");
        return Line::warning("git", says, "install git 2.42 or newer if you have such repositories");
    }
    Line::ok("git", format!("git {shown}"))
}

/// Major and minor version.
fn parse(says: &str) -> Option<(u32, u32)> {
    let mut numbers = says.strip_prefix("git version ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;

    #[test]
    fn versions() {
        for (says, status) in [
            ("git version 2.47.3", Status::Ok),
            ("git version 2.50.1 (Apple Git-155)", Status::Ok),
            ("git version 2.39.5", Status::Warning),
            ("git version 2.30.2", Status::Failed),
            ("hello", Status::Failed),
        ] {
            assert_eq!(judge(says).status, status, "{says}");
        }
    }
}
