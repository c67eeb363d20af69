//! The tables of results, as Markdown.

use std::collections::BTreeSet;
use std::fmt::Write;

use secretscan_benches::programs::Tool;

use crate::outcome::{Outcome, Report, Results};
use crate::planted::{Place, Planted};

/// One line for each program.
pub fn render(results: &Results) -> String {
    let reference = results.fastest(|tool| tool == Tool::Reference);
    let fastest_peer = results.fastest(Tool::is_peer);
    let mut table = format!(
        "| {} | seconds | cpu s | peak MB | findings | planted found | others | x fastest peer | x {} |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        results.task.title(),
        results.task.reference(),
    );
    for outcome in &results.outcomes {
        let seconds = outcome.seconds();
        let ratio = |to: Option<f64>| to.map_or_else(|| "-".to_owned(), |to| format!("{:.2}", seconds / to));
        writeln!(
            table,
            "| {} | {seconds:.3} | {:.3} | {:.0} | {} | {} | {} |",
            outcome.label,
            outcome.cpu_seconds(),
            outcome.peak_bytes() as f64 / 1e6,
            found(outcome.report.as_ref()),
            ratio(fastest_peer),
            ratio(reference),
        )
        .expect("a String takes everything");
    }
    table
}

/// Three cells.
fn found(report: Option<&Report>) -> String {
    let Some(Report { findings, found }) = report else { return "- | - | -".to_owned() };
    match found.planted.len() {
        0 => format!("{findings} | - | -"),
        all => format!("{findings} | {} of {all} | {}", found.count(), found.others),
    }
}

/// How many of what was hidden each program found, a line for each place.
pub fn by_place(outcomes: &[Outcome], planted: &[Planted]) -> String {
    let looking: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.report.is_some()).collect();
    let labels: String = looking.iter().map(|outcome| format!(" {} |", outcome.label)).collect();
    let mut table =
        format!("| hidden in | secrets |{labels}\n| --- | ---: |{}\n", " ---: |".repeat(looking.len()));
    for place in Place::HISTORY {
        let at: Vec<usize> = (0..planted.len()).filter(|at| planted[*at].place == place).collect();
        let counts: String = looking.iter().map(|outcome| format!(" {} |", outcome.count(&at))).collect();
        writeln!(table, "| {} | {} |{counts}", place.label(), at.len()).expect("a String takes everything");
    }
    table
}

/// For each program the kinds of secrets that it found nowhere.
pub fn missed_kinds(outcomes: &[Outcome], planted: &[Planted]) -> String {
    let kinds: BTreeSet<&str> = planted.iter().map(|planted| planted.kind.as_str()).collect();
    let mut text = String::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.report.is_some()) {
        let is_missed = |kind: &&&str| {
            let at: Vec<usize> = (0..planted.len()).filter(|at| planted[*at].kind == **kind).collect();
            outcome.count(&at) == 0
        };
        let missed: Vec<&str> = kinds.iter().filter(is_missed).copied().collect();
        let missed = if missed.is_empty() { "none".to_owned() } else { missed.join(", ") };
        writeln!(text, "- kinds that {} finds nowhere: {missed}", outcome.label)
            .expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planted::Found;

    #[test]
    fn places_and_missed_kinds_are_counted() {
        let planted = [("a", Place::File), ("a", Place::Zip), ("b", Place::File)]
            .map(|(kind, place)| Planted { kind: kind.into(), place, values: vec!["v".into()] });
        let outcome = |tool, report| Outcome { tool, label: "it 1.0".into(), usages: Vec::new(), report };
        let found = Found { planted: vec![true, false, false], others: 1 };
        let outcomes =
            [outcome(Tool::Reference, None), outcome(Tool::Gitleaks, Some(Report { findings: 2, found }))];
        let places = by_place(&outcomes, &planted);
        assert!(
            places.starts_with("| hidden in | secrets | it 1.0 |\n| --- | ---: | ---: |\n| file | 2 | 1 |\n")
        );
        assert!(places.contains("| file in a zip | 1 | 0 |\n"), "{places}");
        assert_eq!(missed_kinds(&outcomes, &planted), "- kinds that it 1.0 finds nowhere: b\n");
    }
}
