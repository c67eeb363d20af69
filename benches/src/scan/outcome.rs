//! What was measured and found.

use std::time::Duration;

use secretscan_benches::measure::{Usage, middle};
use secretscan_benches::programs::{Task, Tool};

use crate::planted::Found;

/// What one program did at one task.
pub struct Outcome {
    /// Which program.
    pub tool: Tool,
    /// Its name and version.
    pub label: String,
    /// One for each round.
    pub usages: Vec<Usage>,
    /// What the last round reported; `None` for the reference.
    pub report: Option<Report>,
}

/// What a program reported.
pub struct Report {
    /// How many findings, as it counts them.
    pub findings: usize,
    /// Compared with what was hidden there.
    pub found: Found,
}

impl Outcome {
    /// The median of the rounds.
    pub fn seconds(&self) -> f64 {
        self.median(|usage| usage.elapsed)
    }

    /// User and system time, the median of the rounds.
    pub fn cpu_seconds(&self) -> f64 {
        self.median(|usage| usage.cpu)
    }

    /// The largest of all rounds.
    pub fn peak_bytes(&self) -> u64 {
        self.usages.iter().map(|usage| usage.peak_bytes).max().unwrap_or_default()
    }

    /// The share of what was hidden that was found; `None` if nothing was hidden, or nothing looked for.
    pub fn share(&self) -> Option<f64> {
        let found = &self.report.as_ref()?.found;
        (!found.planted.is_empty()).then(|| found.count() as f64 / found.planted.len() as f64)
    }

    /// How many of some of the hidden secrets were found, given their indices.
    pub fn count(&self, at: &[usize]) -> usize {
        let found = |report: &Report| at.iter().filter(|at| report.found.planted[**at]).count();
        self.report.as_ref().map_or(0, found)
    }

    fn median(&self, of: fn(&Usage) -> Duration) -> f64 {
        let durations = self.usages.iter().map(of).collect();
        middle(durations, Duration::cmp).unwrap_or_default().as_secs_f64()
    }
}

/// The outcomes of all programs at one task.
pub struct Results {
    /// Which task.
    pub task: Task,
    /// In the order of running.
    pub outcomes: Vec<Outcome>,
}

impl Results {
    /// The time of the fastest of some programs.
    pub fn fastest(&self, is_meant: fn(Tool) -> bool) -> Option<f64> {
        let meant = self.outcomes.iter().filter(|outcome| is_meant(outcome.tool));
        meant.map(Outcome::seconds).reduce(f64::min)
    }
}
