//! Measures start-up, and the rate at which every file under the given folder is scanned, all held in memory.
#![allow(clippy::print_stdout, reason = "a program for people")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use secretscan_detect::{Depth, Scanner};

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let started = Instant::now();
    let scanner = Scanner::new(secretscan_rules::builtin());
    println!("start-up {:.2?}, {} rules", started.elapsed(), scanner.rules().rules().len());

    let mut files = Vec::new();
    read(Path::new(&folder), &mut files)?;
    let bytes: usize = files.iter().map(|(_, content)| content.len()).sum();
    for round in 1..=3 {
        let started = Instant::now();
        let found: usize = files.iter().map(|(_, content)| scanner.scan(content).len()).sum();
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "round {round}: {} files, {:.1} MB, {found} matches, {:.3} s, {:.0} MB/s",
            files.len(),
            bytes as f64 / 1e6,
            seconds,
            bytes as f64 / 1e6 / seconds
        );
    }

    let plain = scanner.clone().with_depth(Depth { decode: 0, archive: 0 });
    let started = Instant::now();
    let found: usize = files.iter().map(|(_, content)| plain.scan(content).len()).sum();
    println!("nothing decoded: {found} matches, {:.3} s", started.elapsed().as_secs_f64());

    let mut by_rule: BTreeMap<&str, usize> = BTreeMap::new();
    let show = std::env::args().nth(2);
    for (path, content) in &files {
        for raw in scanner.scan(content) {
            let rule = scanner.rules().rule(raw.rule).id.as_str();
            if scanner.is_reported(&raw, path.to_string_lossy().as_bytes(), None) {
                *by_rule.entry(rule).or_default() += 1;
                if show.as_deref() == Some(rule)
                    || show.as_deref() == Some("decoded") && raw.decoded_from.is_some()
                {
                    let form = raw.decoded_from.as_deref().unwrap_or_default();
                    println!("{}:{} {form} {}", path.display(), raw.line, raw.excerpt);
                }
            }
        }
    }
    println!("{by_rule:#?}");
    Ok(())
}

fn read(folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            read(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push((entry.path(), std::fs::read(entry.path())?));
        }
    }
    Ok(())
}
