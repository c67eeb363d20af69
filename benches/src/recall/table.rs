//! What is printed, as Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use secretscan_benches::programs::Tool;

use crate::sample::{Kind, Sample, variety};

/// What one program reported, run in one way.
pub struct Row {
    /// Which program.
    pub tool: Tool,
    /// Its name, version and way.
    pub label: String,
    /// From start to end.
    pub elapsed: Duration,
    /// For each sample the rules that reported it.
    pub rules: Vec<Vec<String>>,
}

/// What is looked at.
pub fn describe(samples: &[Sample]) -> String {
    let (types, providers) = variety(samples);
    let secrets = samples.iter().filter(|sample| sample.kind.is_secret()).count();
    format!(
        "{secrets} secrets of {types} types of {providers} providers, {} near misses",
        samples.len() - secrets
    )
}

/// One line for each program and way.
pub fn render(rows: &[Row], samples: &[Sample]) -> String {
    let mut table = "| program | secrets | types | near misses | seconds |\n\
                     | --- | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    let of = |is_secret: bool| samples.iter().filter(|sample| sample.kind.is_secret() == is_secret).count();
    let (types, _) = variety(samples);
    for row in rows {
        let reported: Vec<&Kind> = samples
            .iter()
            .zip(&row.rules)
            .filter(|(_, rules)| !rules.is_empty())
            .map(|(sample, _)| &sample.kind)
            .collect();
        let secrets: Vec<&&Kind> = reported.iter().filter(|kind| kind.is_secret()).collect();
        let found_types = secrets.iter().collect::<BTreeSet<_>>().len();
        writeln!(
            table,
            "| {} | {} | {} | {} | {:.1} |",
            row.label,
            share(secrets.len(), of(true)),
            share(found_types, types),
            share(reported.len() - secrets.len(), of(false)),
            row.elapsed.as_secs_f64(),
        )
        .expect("a String takes everything");
    }
    table
}

fn share(part: usize, whole: usize) -> String {
    format!("{part} ({:.1}%)", 100.0 * part as f64 / whole.max(1) as f64)
}

/// Which secrets a program missed, and which near misses it reported, by type.
pub fn list(row: &Row, samples: &[Sample]) -> String {
    let mut by_kind: BTreeMap<&Kind, (usize, usize, BTreeSet<&str>)> = BTreeMap::new();
    for (sample, rules) in samples.iter().zip(&row.rules) {
        let (reported, all, names) = by_kind.entry(&sample.kind).or_default();
        *reported += usize::from(!rules.is_empty());
        *all += 1;
        names.extend(rules.iter().map(String::as_str));
    }
    let mut text = format!("{} misses:\n", row.label);
    for (kind, (reported, all, _)) in by_kind.iter().filter(|(kind, _)| kind.is_secret()) {
        if reported < all {
            writeln!(text, "- {} ({} of {all})", kind.title(), all - reported)
                .expect("a String takes everything");
        }
    }
    writeln!(text, "\n{} reports wrongly:", row.label).expect("a String takes everything");
    for (kind, (reported, all, names)) in by_kind.iter().filter(|(kind, _)| !kind.is_secret()) {
        if *reported > 0 {
            let names: Vec<&str> = names.iter().copied().collect();
            writeln!(text, "- {} ({reported} of {all}: {})", kind.title(), names.join(", "))
                .expect("a String takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_secrets_and_of_near_misses() {
        let sample = |kind| Sample { kind, extension: "py", text: String::new() };
        let samples = [
            sample(Kind::Secret { provider: "a", token: "b" }),
            sample(Kind::Secret { provider: "a", token: "b" }),
            sample(Kind::Secret { provider: "a", token: "c" }),
            sample(Kind::NearMiss { family: "d", text: "e" }),
        ];
        assert_eq!(describe(&samples), "3 secrets of 2 types of 1 providers, 1 near misses");
        let rules = vec![vec!["r".to_owned()], vec![], vec![], vec!["s".to_owned()]];
        let elapsed = Duration::from_millis(1500);
        let row = Row { tool: Tool::Secretscan, label: "it 1.0".to_owned(), elapsed, rules };
        let listed = list(&row, &samples);
        let table = render(&[row], &samples);
        assert!(table.ends_with("| it 1.0 | 1 (33.3%) | 1 (50.0%) | 1 (100.0%) | 1.5 |\n"), "{table}");
        assert!(listed.contains("- a: b (1 of 2)\n- a: c (1 of 1)\n"), "{listed}");
        assert!(listed.ends_with("- d: e (1 of 1: s)\n"), "{listed}");
    }
}
