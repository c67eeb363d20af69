//! A repository of many commits, each with a new version of a file of some kilobytes.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use secretscan_testkit::Random;

/// Files, in so many directories.
const FILES: usize = 2_000;
const DIRECTORIES: usize = 50;
/// Lines of a file, each of about 45 bytes.
const LINES: usize = 130;
/// So many commits in a row change the same file: `git fast-import` stores a content as a delta of the one before it only.
const IN_A_ROW: usize = 20;
/// A line in so many commits assigns a password.
const PLANTED_EVERY: usize = 10_000;

/// Makes it; gives how many passwords were hidden in it.
pub fn make(path: &Path, commits: usize) -> anyhow::Result<usize> {
    let init =
        Command::new("git").args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(path).status();
    ensure!(init.context("running git")?.success(), "git init failed");
    let mut import = Command::new("git")
        .arg("-C")
        .arg(path)
        .args(["-c", "core.packedGitLimit=256m", "fast-import", "--quiet", "--depth=20"])
        .stdin(Stdio::piped())
        .spawn()
        .context("running git fast-import")?;
    let input = import.stdin.take().context("its input")?;
    let planted = write(BufWriter::with_capacity(1 << 20, input), commits)?;
    ensure!(import.wait()?.success(), "git fast-import failed");
    Ok(planted)
}

fn write(mut to: impl Write, commits: usize) -> anyhow::Result<usize> {
    let mut random = Random::new(5);
    let alphabet = "abcdefghijklmnopqrstuvwxyz";
    let line = |random: &mut Random| {
        format!(
            "{}_{} = call({}, {});\n",
            random.text(alphabet, 8),
            random.text(alphabet, 6),
            random.text(alphabet, 9),
            random.below(9_999_999)
        )
    };
    let mut files: Vec<Vec<String>> = vec![Vec::new(); FILES];
    let (mut planted, mut number) = (0, 0);
    for commit in 0..commits {
        if commit % IN_A_ROW == 0 {
            number = random.below(FILES);
        }
        let file = &mut files[number];
        if file.is_empty() {
            file.extend((0..LINES).map(|_| line(&mut random)));
        }
        for _ in 0..3 {
            let at = random.below(LINES);
            file[at] = line(&mut random);
        }
        if commit % PLANTED_EVERY == PLANTED_EVERY / 2 {
            let digits = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789";
            file[0] = format!("db_password = \"{}\"\n", random.text(digits, 24));
            planted += 1;
        }
        let content = file.concat();
        let time = 1_400_000_000 + commit * 60;
        write!(
            to,
            "commit refs/heads/main\ncommitter Bench <bench@example.org> {time} +0000\ndata 6\nChange\nM 100644 inline src/d{}/f{number}.c\ndata {}\n{content}\n",
            number % DIRECTORIES,
            content.len(),
        )?;
    }
    to.write_all(b"done\n").and_then(|()| to.flush())?;
    Ok(planted)
}
