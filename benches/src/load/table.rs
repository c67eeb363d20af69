//! The tables of results, as Markdown.

use std::fmt::Write;
use std::time::Duration;

use secretscan_benches::process::Usage;

/// A figure with its goal.
pub struct Row {
    what: String,
    measured: String,
    goal: Option<(String, bool)>,
}

impl Row {
    /// A figure that has no goal.
    pub fn new(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self { what: what.into(), measured: measured.into(), goal: None }
    }

    /// A figure that must be at least so large.
    pub fn at_least(what: impl Into<String>, measured: f64, goal: f64, unit: &str) -> Self {
        let goal = (format!(">= {goal:.0}{unit}"), measured >= goal);
        Self { what: what.into(), measured: format!("{measured:.0}{unit}"), goal: Some(goal) }
    }

    /// A figure that must be smaller.
    pub fn below(what: impl Into<String>, measured: f64, goal: f64, unit: &str) -> Self {
        let digits = if goal < 10.0 { 2 } else { 0 };
        let is_met = measured < goal;
        let goal = (format!("< {goal:.0}{unit}"), is_met);
        Self { what: what.into(), measured: format!("{measured:.digits$}{unit}"), goal: Some(goal) }
    }
}

/// Figures with their goals.
pub fn figures(title: &str, rows: &[Row]) -> String {
    let mut table = format!("| {title} | measured | goal | |\n| --- | ---: | ---: | --- |\n");
    for Row { what, measured, goal } in rows {
        let (goal, verdict) = match goal {
            Some((goal, true)) => (goal.as_str(), "met"),
            Some((goal, false)) => (goal.as_str(), "NOT MET"),
            None => ("", ""),
        };
        writeln!(table, "| {what} | {measured} | {goal} | {verdict} |").expect("a String takes everything");
    }
    table
}

/// What processes used: since they started, and the processor time of one measurement.
pub fn usages(title: &str, used: &[(String, Usage, Duration)]) -> String {
    let mut table = format!("| {title} | memory now | memory peak | cpu |\n| --- | ---: | ---: | ---: |\n");
    for (name, usage, cpu) in used {
        let (resident, peak, cpu) = (megabytes(usage.resident), megabytes(usage.peak), cpu.as_secs_f64());
        writeln!(table, "| {name} | {resident} | {peak} | {cpu:.1} s |").expect("a String takes everything");
    }
    table
}

/// Bytes for people.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// The value below which a share of the values lies; the values are sorted here.
pub fn quantile(values: &mut [i64], share: f64) -> i64 {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let mut values: Vec<i64> = (0..=100).rev().collect();
        assert_eq!((quantile(&mut values, 0.5), quantile(&mut values, 0.99)), (50, 99));
        assert_eq!(quantile(&mut [], 0.5), 0);
    }

    #[test]
    fn a_goal_that_is_missed_is_said_to_be() {
        let rows = [Row::at_least("rate", 999.0, 1000.0, "/s"), Row::below("memory", 0.5, 1.0, " s")];
        let table = figures("Load", &rows);
        assert!(table.contains("| rate | 999/s | >= 1000/s | NOT MET |"), "{table}");
        assert!(table.contains("| memory | 0.50 s | < 1 s | met |"), "{table}");
    }
}
