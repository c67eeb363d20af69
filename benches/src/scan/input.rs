//! What is scanned: a repository, and what is made of it for each task.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use secretscan_benches::programs::Task;
use secretscan_benches::succeed;
use secretscan_testkit::{Random, SecretKind, SecretText};

use crate::planted::{Place, Planted};

/// The folders that are scanned.
pub struct Input {
    /// Bare, one pack, what the refs reach.
    pub repository: PathBuf,
    /// The repository with its files checked out, and one change staged.
    pub checkout: PathBuf,
    /// The same files, the change left out, without a repository.
    pub directory: PathBuf,
}

impl Input {
    /// Makes what the tasks need of the repository that lies in the folder. Returns what it staged.
    pub fn prepare(scratch: &Path, tasks: &[Task]) -> anyhow::Result<(Self, Vec<Planted>)> {
        let input = Self {
            repository: scratch.join("repository.git"),
            checkout: scratch.join("checkout"),
            directory: scratch.join("directory"),
        };
        if tasks.iter().all(|task| *task == Task::History) {
            return Ok((input, Vec::new()));
        }
        succeed(Command::new("git").args(["clone", "--quiet"]).arg(&input.repository).arg(&input.checkout))?;
        let prefix = format!("--prefix={}/", input.directory.display());
        git(&input.checkout, &["checkout-index", "--all", &prefix])?;
        let staged = input.stage()?;
        Ok((input, vec![staged]))
    }

    /// The folder that a program is given for the task.
    pub fn folder(&self, task: Task) -> &Path {
        match task {
            Task::History => &self.repository,
            Task::Staged => &self.checkout,
            Task::Directory => &self.directory,
        }
    }

    /// Adds a secret to the first text file.
    fn stage(&self) -> anyhow::Result<Planted> {
        let listed = git(&self.checkout, &["grep", "--cached", "-I", "--name-only", "-z", "-e", ""])?;
        let Some(path) = listed.split('\0').find(|path| !path.is_empty()) else {
            bail!("there is no text file")
        };
        let SecretText { text, secrets } = SecretText::new(SecretKind::GitHubToken, &mut Random::new(2));
        let file = self.checkout.join(path);
        let mut file = OpenOptions::new().append(true).open(&file).context("opening the file to change")?;
        write!(file, "\n{text}").context("writing to the file to change")?;
        drop(file);
        git(&self.checkout, &["add", "--", path])?;
        let values = secrets.into_iter().map(|(_, secret)| secret).collect();
        Ok(Planted { kind: "GitHub classic token".to_owned(), place: Place::Staged, values })
    }

    /// What the repository is like, for people.
    pub fn describe(&self) -> anyhow::Result<String> {
        let commits = git(&self.repository, &["rev-list", "--all", "--count"])?;
        let counted = git(&self.repository, &["count-objects", "-v"])?;
        let count = |name: &str| -> anyhow::Result<u64> {
            let value = counted.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.and_then(|value| value.parse().ok()).with_context(|| format!("git counts no {name}"))
        };
        let files = git(&self.repository, &["ls-tree", "-r", "--name-only", "HEAD"])?;
        Ok(format!(
            "{} commits, {} objects of {:.0} MB in {:.1} MB of packs, {} files in the last commit",
            commits.trim(),
            count("in-pack")?,
            self.inflated_bytes()? as f64 / 1e6,
            count("size-pack")? as f64 * 1024.0 / 1e6,
            files.lines().count(),
        ))
    }

    /// The length of all objects.
    fn inflated_bytes(&self) -> anyhow::Result<u64> {
        let mut child = Command::new("git")
            .arg("-C")
            .arg(&self.repository)
            .args(["cat-file", "--batch-all-objects", "--unordered", "--batch-check=%(objectsize)"])
            .stdout(Stdio::piped())
            .spawn()
            .context("starting git cat-file")?;
        // Line by line: the memory of this process is where that of the programs starts.
        let sizes = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let total = sizes.map(|size| anyhow::Ok(size?.parse::<u64>()?)).sum();
        child.wait().context("waiting for git cat-file")?;
        total
    }
}

fn git(repository: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    succeed(Command::new("git").arg("-C").arg(repository).args(arguments))
}
