//! Writing commits through `git fast-import`, one by one: a history need not fit into memory.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, bail};
use secretscan_benches::succeed;

/// The time of the first commit: 2024-01-01, seconds since the Unix epoch.
const FIRST_TIME: u64 = 1_704_067_200;
/// How much later each commit is than the one before, in seconds.
const TIME_STEP: u64 = 3600;

/// A commit that was written.
#[derive(Clone, Copy)]
pub struct Mark(u64);

/// What a commit does to the tree of its first parent.
pub enum Change {
    /// Writes a file.
    Write { path: String, content: Vec<u8> },
    /// Removes a file.
    Delete { path: String },
}

/// A new repository that is being written.
pub struct Import {
    child: Child,
    stream: BufWriter<ChildStdin>,
    commits: u64,
}

impl Import {
    /// Makes a bare repository, which must not be there yet.
    pub fn start(repository: &Path) -> anyhow::Result<Self> {
        succeed(
            Command::new("git").args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(repository),
        )?;
        let mut child = Command::new("git")
            .arg("-C")
            .arg(repository)
            // Packed again at the end.
            .args(["-c", "core.compression=1", "fast-import", "--quiet", "--date-format=raw"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("starting git fast-import")?;
        let stream = BufWriter::with_capacity(1 << 20, child.stdin.take().expect("it is piped"));
        Ok(Self { child, stream, commits: 0 })
    }

    /// Writes a commit and puts the reference there.
    pub fn commit(
        &mut self,
        reference: &str,
        message: &str,
        parents: &[Mark],
        changes: &[Change],
    ) -> anyhow::Result<Mark> {
        self.commits += 1;
        let mark = Mark(self.commits);
        let stream = &mut self.stream;
        writeln!(stream, "commit {reference}\nmark :{}", mark.0)?;
        let time = FIRST_TIME + TIME_STEP * mark.0;
        for role in ["author", "committer"] {
            writeln!(stream, "{role} Ada Example <ada@example.com> {time} +0000")?;
        }
        writeln!(stream, "data {}\n{message}", message.len())?;
        for (parent, command) in parents.iter().zip(["from", "merge"]) {
            writeln!(stream, "{command} :{}", parent.0)?;
        }
        for change in changes {
            match change {
                Change::Write { path, content } => {
                    writeln!(stream, "M 100644 inline {path}\ndata {}", content.len())?;
                    stream.write_all(content)?;
                    writeln!(stream)?;
                }
                Change::Delete { path } => writeln!(stream, "D {path}")?,
            }
        }
        Ok(mark)
    }

    /// Makes an annotated tag.
    pub fn tag(&mut self, name: &str, commit: Mark, message: &str) -> anyhow::Result<()> {
        let time = FIRST_TIME + TIME_STEP * commit.0;
        writeln!(self.stream, "tag {name}\nfrom :{}", commit.0)?;
        writeln!(self.stream, "tagger Ada Example <ada@example.com> {time} +0000")?;
        writeln!(self.stream, "data {}\n{message}", message.len())?;
        Ok(())
    }

    /// Ends the writing, and packs as `git gc` does, with new deltas.
    pub fn finish(mut self, repository: &Path) -> anyhow::Result<()> {
        drop(self.stream.into_inner().context("writing to git fast-import")?);
        let status = self.child.wait().context("waiting for git fast-import")?;
        if !status.success() {
            bail!("git fast-import: {status}");
        }
        succeed(Command::new("git").arg("-C").arg(repository).args(["repack", "-a", "-d", "-f", "--quiet"]))?;
        succeed(Command::new("git").arg("-C").arg(repository).args(["gc", "--quiet"]))?;
        Ok(())
    }
}
