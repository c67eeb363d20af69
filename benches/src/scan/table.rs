//! The table of results.

use std::fmt::Write;
use std::time::Duration;

use crate::measure::Usage;
use crate::programs::{Program, Tool};

/// One line for each program, as Markdown.
pub fn render(programs: &[Program], usages: &[Vec<Usage>], findings: &[Option<usize>]) -> String {
    let seconds: Vec<f64> = usages.iter().map(|usages| median(usages, |usage| usage.elapsed)).collect();
    let of = |wanted: fn(Tool) -> bool| {
        let times = programs.iter().zip(&seconds).filter(move |(program, _)| wanted(program.tool()));
        times.map(|(_, seconds)| *seconds).reduce(f64::min)
    };
    let decode = of(|tool| tool == Tool::GitCatFile);
    let fastest_peer = of(|tool| !matches!(tool, Tool::GitCatFile | Tool::Secretscan));

    let mut table = String::from(
        "| program | seconds | cpu s | peak MB | findings | x fastest peer | x decode |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for (((program, usages), seconds), findings) in programs.iter().zip(usages).zip(&seconds).zip(findings) {
        let peak = usages.iter().map(|usage| usage.peak_bytes).max().unwrap_or_default();
        let ratio = |to: Option<f64>| to.map_or_else(|| "-".to_owned(), |to| format!("{:.2}", seconds / to));
        writeln!(
            table,
            "| {} | {seconds:.2} | {:.2} | {:.0} | {} | {} | {} |",
            program.label,
            median(usages, |usage| usage.cpu),
            peak as f64 / 1e6,
            findings.map_or_else(|| "-".to_owned(), |findings| findings.to_string()),
            ratio(fastest_peer),
            ratio(decode),
        )
        .expect("a String takes everything");
    }
    table
}

/// The median in seconds; of an even number, the upper of the two in the middle.
fn median(usages: &[Usage], of: fn(&Usage) -> Duration) -> f64 {
    let mut durations: Vec<Duration> = usages.iter().map(of).collect();
    durations.sort();
    durations.get(durations.len() / 2).map_or(0.0, Duration::as_secs_f64)
}
