//! A file system that is soon full.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A tmpfs of a few megabytes in a mount namespace of its own, which needs no rights on most systems. Only programs that
/// were made by [`SmallDisk::inside`] see it. Dropping it unmounts it.
#[derive(Debug)]
pub struct SmallDisk {
    // The namespace is gone when it ends.
    _holder: Child,
    pid: u32,
    dir: TempDir,
}

impl SmallDisk {
    /// Mounts one.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub async fn mount(megabytes: u32) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("making a directory to mount on")?;
        let script =
            "mount -t tmpfs -o size=$1m,mode=700 small \"$2\" && echo mounted && exec sleep infinity";
        fs::create_dir(dir.path().join("disk"))?;
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .arg(megabytes.to_string())
            .arg(dir.path().join("disk"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("running unshare (of util-linux)")?;
        let stdout = holder.stdout.take().context("its output")?;
        let said = BufReader::new(stdout).lines().next_line().await?;
        ensure!(said.as_deref() == Some("mounted"), "unshare can't mount a file system");
        let pid = holder.id().context("it runs")?;
        Ok(Self { _holder: holder, pid, dir })
    }

    /// The directory, as programs inside see it.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// The directory, as everyone else sees it.
    fn seen_from_outside(&self) -> PathBuf {
        let path = self.path();
        Path::new("/proc")
            .join(self.pid.to_string())
            .join("root")
            .join(path.strip_prefix("/").unwrap_or(&path))
    }

    /// A program that runs another inside.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn inside(&self, program: &Path) -> anyhow::Result<PathBuf> {
        let path = self.dir.path().join("inside");
        let script = format!(
            "#!/bin/sh\nexec nsenter --target {} --user --mount --preserve-credentials -- '{}' \"$@\"\n",
            self.pid,
            program.display()
        );
        fs::write(&path, script).context("writing a program")?;
        fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        Ok(path)
    }

    /// Takes all the space that is left.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn fill(&self) -> anyhow::Result<()> {
        use std::io::Write;
        let mut filler = fs::File::create(self.filler()).context("making the file that fills the disk")?;
        let piece = vec![0; 64 << 10];
        // Until there is no space.
        while filler.write_all(&piece).is_ok() {}
        while filler.write_all(&piece[..512]).is_ok() {}
        Ok(())
    }

    /// Gives the space back.
    ///
    /// # Errors
    /// When the file can't be removed.
    pub fn free(&self) -> anyhow::Result<()> {
        fs::remove_file(self.filler()).context("removing the file that fills the disk")
    }

    fn filler(&self) -> PathBuf {
        self.seen_from_outside().join("filler")
    }
}
