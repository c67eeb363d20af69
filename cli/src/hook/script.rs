//! The shell scripts that Git runs, and whether a file is one of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::failure::Failure;

const HOOK: &str = include_str!("hook.sh");
const PASS_ON: &str = include_str!("pass_on.sh");
/// How the second line of a script of ours starts.
const MARK: &str = "# Written by \"secretscan hook install";
/// How a hook that was there before is called, after its name.
const KEPT: &str = ".before-secretscan";

/// Where the hook is that runs before ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Beside ours, under another name.
    Beside,
    /// In the repository, whose hooks ours take the place of.
    InRepository,
}

/// A directory of hooks.
#[derive(Debug)]
pub struct HooksDir {
    /// Where it is.
    pub dir: PathBuf,
    /// What runs before the hooks in it.
    pub before: Before,
}

/// What a hook was before it was installed or uninstalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Previous {
    /// There was none.
    None,
    /// Ours.
    Ours,
    /// One that is kept, or was.
    Other,
}

impl HooksDir {
    /// Whether this hook is ours.
    pub fn is_ours(&self, hook: &str) -> bool {
        let text = fs::read(self.dir.join(hook)).unwrap_or_default();
        text.split(|byte| *byte == b'\n').nth(1).is_some_and(|line| line.starts_with(MARK.as_bytes()))
    }

    /// Puts a hook in place, which scans, or only passes on to the repository's. One that is not ours is kept.
    pub fn install(&self, hook: &str, scans: bool) -> anyhow::Result<Previous> {
        let (path, kept) = (self.dir.join(hook), self.kept(hook));
        let previous = match fs::symlink_metadata(&path) {
            Err(_) => Previous::None,
            Ok(_) if self.is_ours(hook) => Previous::Ours,
            Ok(_) => Previous::Other,
        };
        if previous == Previous::Other && fs::symlink_metadata(&kept).is_ok() {
            let message = format!("both {} and {} are there", path.display(), kept.display());
            return Err(Failure::new(message, "remove the one that is not to run any more").into());
        }
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot make {}", self.dir.display()))?;
        // Made beside and renamed, so that Git never runs half of it.
        let new = self.dir.join(format!("{hook}.new-secretscan"));
        let doing = || format!("cannot write the hook {}", path.display());
        fs::write(&new, self.script(hook, scans)?).with_context(doing)?;
        fs::set_permissions(&new, Permissions::from_mode(0o755)).with_context(doing)?;
        if previous == Previous::Other {
            fs::rename(&path, &kept).with_context(|| format!("cannot keep {}", path.display()))?;
        }
        fs::rename(&new, &path).with_context(doing)?;
        Ok(previous)
    }

    /// Takes a hook of ours out and puts back what was there. Gives what there is now, or `None` if it was not ours.
    pub fn uninstall(&self, hook: &str) -> anyhow::Result<Option<Previous>> {
        if !self.is_ours(hook) {
            return Ok(None);
        }
        let (path, kept) = (self.dir.join(hook), self.kept(hook));
        if fs::symlink_metadata(&kept).is_ok() {
            fs::rename(&kept, &path).with_context(|| format!("cannot put back {}", kept.display()))?;
            return Ok(Some(Previous::Other));
        }
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        Ok(Some(Previous::None))
    }

    fn kept(&self, hook: &str) -> PathBuf {
        self.dir.join(format!("{hook}{KEPT}"))
    }

    fn script(&self, hook: &str, scans: bool) -> anyhow::Result<Vec<u8>> {
        let program = std::env::current_exe().context("cannot find where this program is")?;
        let before = match self.before {
            Before::Beside => format!("${{0%/*}}/$hook{KEPT}"),
            Before::InRepository => "$(git rev-parse --git-common-dir)/hooks/$hook".to_owned(),
        };
        let script = if scans { HOOK } else { PASS_ON };
        let script = script.replace("@HOOK@", hook).replace("@BEFORE@", &format!("\"{before}\""));
        Ok(script.replace("@PROGRAM@", &quoted(&program)?).into_bytes())
    }
}

/// A path as a word of the shell.
fn quoted(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().filter(|text| !text.contains('\n'));
    let text = text.with_context(|| format!("cannot write the path {} into a script", path.display()))?;
    Ok(format!("'{}'", text.replace('\'', "'\\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(quoted(Path::new("/a b/it's")).unwrap(), r"'/a b/it'\''s'");
        assert!(quoted(Path::new("/a\nb")).is_err());
    }
}
