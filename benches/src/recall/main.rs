//! How many of the secrets that there are each program reports, and how many texts that only look like secrets.
//!
//! ```text
//! cargo run --release -p secretscan-benches --bin recall -- [--seed N] [--list] [--write DIR]
//! ```
//!
//! One sample in a file, named by a number and the extension of its type; a finding in a file is a report of its sample.
//! The secrets are of the forms that their providers document, with random content, made at run time; the texts around
//! them, and the near misses, are the same for every type. Secrets that have a name only (no prefix) are told
//! by it, as they are in life.
//!
//! What the columns are, and are not:
//! - `secrets` are samples, `types` are types of which at least one sample is reported.
//! - A report of something else in the file of a secret counts as well, whatever the rule says that it is.
//! - `near misses` are samples that are no secrets. A program that takes a wrong checksum for right reports it; so does one
//!   that has no rule for checksums.
//! - `seconds` is one run over some thousand small files, so mostly the start.
//!
//! The peers run with their defaults, kingfisher also with its lowest confidence, as secretscan does.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod sample;
mod table;
mod template;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use secretscan_benches::exit_code;
use secretscan_benches::programs::{self, Task, Tool};
use secretscan_benches::report::Reported;

use crate::sample::Sample;
use crate::table::Row;

/// Compares what secretscan and its peers report of samples of secrets and of near misses
#[derive(Parser)]
struct Arguments {
    /// What the random parts are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Also prints what secretscan misses, and which near misses it reports
    #[arg(long)]
    list: bool,

    /// The secretscan to measure, instead of one that is built now
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,

    /// Only writes the samples into this folder
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    exit_code("recall", &run(&Arguments::parse()))
}

/// How a program is run: what is added to its name, and its options.
fn ways(tool: Tool) -> &'static [(&'static str, &'static [&'static str])] {
    match tool {
        Tool::Reference => &[],
        Tool::Secretscan => &[("", &[]), (", confidence medium", &["--confidence", "medium"])],
        Tool::Betterleaks | Tool::Gitleaks => &[("", &[])],
        Tool::Kingfisher => {
            &[("", &["--no-dedup"]), (", confidence low", &["--no-dedup", "--confidence", "low"])]
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let samples = sample::all(arguments.seed)?;
    if let Some(folder) = &arguments.write {
        return write(&samples, folder);
    }
    let scratch = tempfile::tempdir().context("making a temporary directory")?;
    let folder = scratch.path().join("samples");
    write(&samples, &folder)?;
    println!("{}\n", table::describe(&samples));

    let mut rows = Vec::new();
    for program in programs::all(arguments.program.as_deref())? {
        for (suffix, options) in ways(program.tool) {
            let label = program.label(Task::Directory) + *suffix;
            eprintln!("{label}");
            let usage = program.run(Task::Directory, &folder, options, scratch.path())?;
            let findings = program.findings(Task::Directory, scratch.path())?.unwrap_or_default();
            let rules = rules_by_sample(&findings, samples.len());
            rows.push(Row { tool: program.tool, label, elapsed: usage.elapsed, rules });
        }
    }
    println!("{}", table::render(&rows, &samples));
    if arguments.list {
        for row in rows.iter().filter(|row| row.tool == Tool::Secretscan) {
            println!("{}", table::list(row, &samples));
        }
    }
    Ok(())
}

/// One file for each sample, named by its index.
fn write(samples: &[Sample], folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    for (index, sample) in samples.iter().enumerate() {
        let file = folder.join(format!("{index:04}.{}", sample.extension));
        fs::write(&file, &sample.text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// For each sample the rules that reported something in its file.
fn rules_by_sample(findings: &[Reported], samples: usize) -> Vec<Vec<String>> {
    let mut rules: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for finding in findings {
        let path = finding.path.as_deref().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        let index = name.split('.').next().and_then(|number| number.parse().ok());
        if let Some(index) = index {
            rules.entry(index).or_default().push(finding.rule.clone().unwrap_or_default());
        }
    }
    (0..samples).map(|index| rules.remove(&index).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn findings_belong_to_the_sample_of_their_file() {
        let finding = |path: &str, rule: &str| Reported {
            text: String::new(),
            path: Some(path.to_owned()),
            rule: Some(rule.to_owned()),
        };
        let findings = [finding("/tmp/0002.py", "a"), finding("0000.Dockerfile", "b"), finding("x", "c")];
        assert_eq!(rules_by_sample(&findings, 3), [vec!["b".to_owned()], vec![], vec!["a".to_owned()]]);
    }
}
