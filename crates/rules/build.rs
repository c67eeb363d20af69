//! Compiles the rule files, so that no program has to parse them when it starts.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context;
use secretscan_detect::{Examples, RuleSet};

const FOLDER: &str = "builtin";
/// Generic rules yield to those of earlier files, so these come last.
const LAST: [&str; 3] = ["databases", "files", "generic"];

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let mut files: Vec<PathBuf> = fs::read_dir(FOLDER)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .with_context(|| format!("cannot list the rule files in {FOLDER}"))?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort_by_key(|file| {
        let place = LAST.iter().position(|name| file.file_stem().is_some_and(|stem| stem == *name));
        (place.map_or(0, |place| place + 1), file.clone())
    });
    let mut texts = Vec::with_capacity(files.len());
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        texts.push((file.display().to_string(), text));
    }
    let rules = RuleSet::join(texts.iter().map(|(origin, text)| (origin.as_str(), text.as_str())))?;
    let examples: Vec<&Examples> = rules.rules().iter().map(|rule| &rule.examples).collect();

    let out = env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?;
    let write = |name: &str, bytes: &[u8]| {
        let path = Path::new(&out).join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    write("rules.postcard", &rules.compile())?;
    write("examples.postcard", &postcard::to_allocvec(&examples)?)
}
