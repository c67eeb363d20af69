//! The samples: formats as the providers' public documentation tells them, in the surroundings in which they occur, and
//! texts that look like them. Written without a look at any scanner's rules, ours included.

use std::collections::BTreeSet;

use anyhow::Context;
use secretscan_testkit::Random;

use crate::template::fill;

/// Values that belong to a name: provider, type, name, value.
const NAMED: [&str; 7] = [
    include_str!("samples/cloud.txt"),
    include_str!("samples/code.txt"),
    include_str!("samples/talk.txt"),
    include_str!("samples/money.txt"),
    include_str!("samples/ai.txt"),
    include_str!("samples/data.txt"),
    include_str!("samples/identity.txt"),
];

/// Whole files.
const WHOLE: &str = include_str!("samples/whole.txt");

/// Near misses that belong to a name: family, name, value.
const NEAR_NAMED: &str = include_str!("samples/names.txt");

/// Near misses that are whole files: family, extension, text.
const NEAR_WHOLE: &str = include_str!("samples/lines.txt");

/// The files in which a name and its value stand.
const SURROUNDINGS: &str = include_str!("samples/surroundings.txt");

/// In how many surroundings a name and its value are put.
const REPEATS: usize = 2;

/// A file with one secret, or with none that looks like one.
pub struct Sample {
    /// What it is.
    pub kind: Kind,
    /// The type that the name of the file tells.
    pub extension: &'static str,
    /// The file.
    pub text: String,
}

/// What a sample is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A secret.
    Secret { provider: &'static str, token: &'static str },
    /// No secret.
    NearMiss { family: &'static str, text: &'static str },
}

impl Kind {
    /// Whether a finding is right.
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Secret { .. })
    }

    /// For people.
    pub fn title(&self) -> String {
        match self {
            Self::Secret { provider, token } => format!("{provider}: {token}"),
            Self::NearMiss { family, text } => format!("{family}: {text}"),
        }
    }
}

/// All samples, in an order that tells nothing.
pub fn all(seed: u64) -> anyhow::Result<Vec<Sample>> {
    let random = &mut Random::new(seed);
    let surroundings = sections(SURROUNDINGS);
    let mut samples = Vec::new();
    for line in NAMED.into_iter().flat_map(records) {
        let [provider, token, name, value] = fields(line)?;
        let kind = Kind::Secret { provider, token };
        samples.extend(surround(&kind, name, value, &surroundings, random)?);
    }
    for (header, text) in sections(WHOLE) {
        let [provider, token, extension] = fields(header)?;
        let text = fill(text, random).with_context(|| header.to_owned())?;
        samples.push(Sample { kind: Kind::Secret { provider, token }, extension, text });
    }
    for line in records(NEAR_NAMED) {
        let [family, name, value] = fields(line)?;
        let kind = Kind::NearMiss { family, text: line };
        samples.extend(surround(&kind, name, value, &surroundings, random)?);
    }
    for line in records(NEAR_WHOLE) {
        let [family, extension, text] = fields(line)?;
        let text = fill(&unescape(text), random).with_context(|| line.to_owned())? + "\n";
        samples.push(Sample { kind: Kind::NearMiss { family, text: line }, extension, text });
    }
    for at in (1..samples.len()).rev() {
        samples.swap(at, random.below(at + 1));
    }
    Ok(samples)
}

/// How many secrets there are types of, and providers.
pub fn variety(samples: &[Sample]) -> (usize, usize) {
    let secrets = samples.iter().filter_map(|sample| match sample.kind {
        Kind::Secret { provider, token } => Some((provider, token)),
        Kind::NearMiss { .. } => None,
    });
    let types: BTreeSet<_> = secrets.collect();
    let providers: BTreeSet<_> = types.iter().map(|(provider, _)| provider).collect();
    (types.len(), providers.len())
}

/// A name and its value in some of the surroundings, each with a value of its own.
fn surround(
    kind: &Kind,
    name: &str,
    value: &str,
    surroundings: &[(&'static str, &'static str)],
    random: &mut Random,
) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut taken = BTreeSet::new();
    while samples.len() < REPEATS {
        let at = random.below(surroundings.len());
        if taken.insert(at) {
            let (extension, around) = surroundings[at];
            let value = fill(value, random).with_context(|| kind.title())?;
            let text = name_all(around, name).replace("$VALUE", &value);
            samples.push(Sample { kind: kind.clone(), extension, text });
        }
    }
    Ok(samples)
}

/// Puts in the name, each time in the form that is usual there.
fn name_all(around: &str, name: &str) -> String {
    let lower = name.to_lowercase();
    let pascal: String = lower.split('_').map(capitalize).collect();
    let camel = pascal[..1].to_lowercase() + &pascal[1..];
    around
        .replace("$NAME", name)
        .replace("$name", &lower)
        .replace("$kebab", &lower.replace('_', "-"))
        .replace("$Pascal", &pascal)
        .replace("$camel", &camel)
}

fn capitalize(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// The lines that are no comments.
fn records(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.lines().filter(|line| !line.is_empty() && !line.starts_with("# "))
}

/// The parts of a line; the last one may hold anything.
fn fields<const N: usize>(line: &'static str) -> anyhow::Result<[&'static str; N]> {
    let fields: Vec<&str> = line.splitn(N, " | ").collect();
    fields.try_into().ok().with_context(|| format!("not {N} fields: {line}"))
}

/// The texts below each line that starts with `@`, with what that line says.
fn sections(list: &'static str) -> Vec<(&'static str, &'static str)> {
    let sections = list.strip_prefix("@ ").expect("a list starts with a section").split("\n@ ");
    sections.map(|section| section.split_once('\n').expect("a section has a text")).collect()
}

fn unescape(text: &str) -> String {
    let mut made = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        made.push(match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                other => other.unwrap_or('\\'),
            },
            other => other,
        });
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_many_of_each() {
        let samples = all(1).unwrap();
        let (types, providers) = variety(&samples);
        assert!(types >= 400 && providers >= 250, "{types} types of {providers} providers");
        let near_misses: BTreeSet<_> =
            samples.iter().map(|sample| &sample.kind).filter(|kind| !kind.is_secret()).collect();
        assert!(near_misses.len() >= 400, "{} near misses", near_misses.len());
        for Sample { kind, text, .. } in &samples {
            let is_left = text.contains("$VALUE") || kind.is_secret() && text.contains("${");
            assert!(!is_left, "{}: {text}", kind.title());
        }
    }

    #[test]
    fn the_same_seed_makes_the_same() {
        let texts = |seed| all(seed).unwrap().into_iter().map(|sample| sample.text).collect::<Vec<_>>();
        assert_eq!(texts(1), texts(1));
        assert_ne!(texts(1), texts(2));
    }

    #[test]
    fn names_take_the_form_that_is_usual_there() {
        assert_eq!(name_all("$NAME $name $kebab $Pascal $camel", "AN_ID"), "AN_ID an_id an-id AnId anId");
    }
}
