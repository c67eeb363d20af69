//! The results as a picture: for each task, bars of time, and bars of the share of hidden secrets that was found.

use std::fmt::Write;

use secretscan_benches::programs::Tool;

use crate::outcome::{Outcome, Results};

/// Sizes in the units of the picture, which are pixels when it is shown unscaled.
const WIDTH: f64 = 880.0;
const MARGIN: f64 = 24.0;
const LABELS: f64 = 160.0;
const BAR: f64 = 16.0;
const ROW: f64 = 26.0;
const TIME_WIDTH: f64 = 360.0;
const SHARE_LEFT: f64 = 620.0;
const SHARE_WIDTH: f64 = 170.0;
const HEAD: f64 = 28.0;
const GAP: f64 = 20.0;

const STYLE: &str = "\
    text { font: 13px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; fill: #1f2328 }\n\
    .title { font-size: 15px; font-weight: 600 }\n\
    .note, .value { fill: #59636e; font-size: 12px }\n\
    .page { fill: #ffffff }\n\
    .track { fill: #eff2f5 }\n\
    .peer { fill: #9aa7b4 }\n\
    .reference { fill: #d1d9e0 }\n\
    .ours { fill: #1a7f5a }\n\
    text.ours { fill: #1a7f5a; font-weight: 600 }\n\
    @media (prefers-color-scheme: dark) {\n\
      text { fill: #f0f6fc }\n\
      .note, .value { fill: #9198a1 }\n\
      .page { fill: #0d1117 }\n\
      .track { fill: #1c232b }\n\
      .peer { fill: #6b7683 }\n\
      .reference { fill: #39424d }\n\
      .ours { fill: #3fb98a }\n\
      text.ours { fill: #3fb98a }\n\
    }\n";

/// Draws an SVG picture.
pub fn render(all: &[Results], repository: &str) -> String {
    let mut body = String::new();
    let mut top = MARGIN;
    for results in all {
        top = panel(&mut body, results, top) + GAP;
    }
    let references: Vec<&str> = all.iter().map(|results| results.task.reference()).collect();
    let note = format!("{} only read, and look for nothing.", references.join(", "));
    text(&mut body, MARGIN, top + 4.0, "note", repository);
    text(&mut body, MARGIN, top + 22.0, "note", &note);
    let height = top + 22.0 + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"Seconds and share of hidden secrets found, by program and task\">\n\
         <style>\n{STYLE}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"8\"/>\n{body}</svg>\n"
    )
}

/// Draws one task from this height on, and returns the height where it ends.
fn panel(body: &mut String, results: &Results, top: f64) -> f64 {
    let slowest = results.outcomes.iter().map(Outcome::seconds).fold(f64::MIN_POSITIVE, f64::max);
    let has_shares = results.outcomes.iter().any(|outcome| outcome.share().is_some());
    let left = MARGIN + LABELS;
    text(body, MARGIN, top + 12.0, "title", results.task.title());
    text(body, left, top + 12.0, "note", "seconds, less is better");
    if has_shares {
        text(body, SHARE_LEFT, top + 12.0, "note", "hidden secrets found");
    }
    let mut row = top + HEAD;
    for outcome in &results.outcomes {
        let class = match outcome.tool {
            Tool::Secretscan => "ours",
            Tool::Reference => "reference",
            _ => "peer",
        };
        let base = row + BAR - 4.0;
        let label_class = match outcome.tool {
            Tool::Secretscan => "ours",
            Tool::Reference => "note",
            _ => "",
        };
        text(body, MARGIN, base, label_class, &outcome.label);
        let seconds = outcome.seconds();
        let length = bar(body, left, row, TIME_WIDTH * seconds / slowest, class);
        text(body, left + length + 6.0, base, "value", &duration(seconds));
        if let Some(share) = outcome.share() {
            bar(body, SHARE_LEFT, row, SHARE_WIDTH, "track");
            bar(body, SHARE_LEFT, row, SHARE_WIDTH * share, class);
            text(body, SHARE_LEFT + SHARE_WIDTH + 6.0, base, "value", &format!("{:.0}%", share * 100.0));
        }
        row += ROW;
    }
    row
}

/// Draws a bar and returns its length, which is enough to be seen.
fn bar(body: &mut String, left: f64, top: f64, length: f64, class: &str) -> f64 {
    let length = length.max(2.0);
    writeln!(
        body,
        "<rect class=\"{class}\" x=\"{left}\" y=\"{top}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>"
    )
    .expect("a String takes everything");
    length
}

fn text(body: &mut String, left: f64, base: f64, class: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(body, "<text class=\"{class}\" x=\"{left:.1}\" y=\"{base:.1}\">{text}</text>")
        .expect("a String takes everything");
}

/// Three digits at most.
fn duration(seconds: f64) -> String {
    match seconds {
        ..0.0995 => format!("{seconds:.3} s"),
        ..9.995 => format!("{seconds:.2} s"),
        ..99.95 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secretscan_benches::measure::Usage;
    use secretscan_benches::programs::Task;

    use super::*;
    use crate::outcome::Report;
    use crate::planted::Found;

    #[test]
    fn bars_are_in_proportion() {
        let outcome = |tool, label: &str, seconds, planted: &[bool]| Outcome {
            tool,
            label: label.to_owned(),
            usages: vec![Usage { elapsed: Duration::from_secs(seconds), cpu: Duration::ZERO, peak_bytes: 0 }],
            report: Some(Report { findings: 0, found: Found { planted: planted.to_vec(), others: 0 } }),
        };
        let outcomes = vec![
            outcome(Tool::Secretscan, "ours", 1, &[true, true]),
            outcome(Tool::Gitleaks, "a<b", 12, &[true, false]),
        ];
        let picture = render(&[Results { task: Task::History, outcomes }], "1 commit");
        let full = format!("width=\"{TIME_WIDTH:.1}\"");
        let twelfth = format!("width=\"{:.1}\"", TIME_WIDTH / 12.0);
        let half = format!("width=\"{:.1}\"", SHARE_WIDTH / 2.0);
        for part in
            [&full, &twelfth, &half, ">12.0 s<", ">1.00 s<", ">100%<", ">50%<", ">a&lt;b<", ">1 commit<"]
        {
            assert!(picture.contains(part), "{part} in {picture}");
        }
    }
}
