//! Spans as a picture: a row for each of what is done at once, from left to right in time.

use std::collections::BTreeMap;
use std::fmt::Write;

use secretscan_tests::collector::Span;

/// Sizes in the units of the picture.
const WIDTH: f64 = 960.0;
const MARGIN: f64 = 24.0;
const LABELS: f64 = 210.0;
const ROW: f64 = 12.0;
const GAP: f64 = 10.0;
/// What is done at once beyond this many rows stands in the last of them.
const MAX_ROWS: usize = 8;

const STYLE: &str = "\
    text { font: 12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; fill: #1f2328 }\n\
    .note { fill: #59636e }\n\
    .page { fill: #ffffff }\n\
    .line { stroke: #d1d9e0 }\n\
    .bar { fill: #1a7f5a }\n\
    .wait { fill: #9aa7b4 }\n\
    @media (prefers-color-scheme: dark) {\n\
      text { fill: #f0f6fc }\n\
      .note { fill: #9198a1 }\n\
      .page { fill: #0d1117 }\n\
      .line { stroke: #39424d }\n\
      .bar { fill: #3fb98a }\n\
      .wait { fill: #6b7683 }\n\
    }\n";

/// What is shown, in this order: the service, the name of the span, and how it is called. The last of each pair are steps of
/// agents; the scheduler's spans are waiting.
const SHOWN: [(&str, &str, &str); 12] = [
    ("secretscan-controller", "process controller-new", "controller: new request"),
    ("secretscan-scheduler", "", "scheduler: waits"),
    ("secretscan-repo-agent", "fetch", "repo-agent: fetch"),
    ("secretscan-repo-agent", "list", "repo-agent: list"),
    ("secretscan-repo-agent", "compare", "repo-agent: compare"),
    ("secretscan-repo-agent", "cut", "repo-agent: cut a batch"),
    ("secretscan-repo-agent", "put_pack", "repo-agent: store its pack"),
    ("secretscan-controller", "process controller-batches", "controller: admit it"),
    ("secretscan-batch-agent", "get_pack", "batch-agent: get the pack"),
    ("secretscan-batch-agent", "scan", "batch-agent: scan"),
    ("secretscan-batch-agent", "record_findings", "batch-agent: record findings"),
    ("secretscan-controller", "process controller-reported-batches", "controller: settle"),
];

/// Draws an SVG picture.
pub fn render(spans: &[Span]) -> String {
    let start = spans.iter().map(|span| span.times.0).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.times.1).max().unwrap_or(start + 1);
    let scale = (WIDTH - LABELS - 2.0 * MARGIN) / (end - start).max(1) as f64;
    let (mut body, mut top) = (String::new(), MARGIN + 12.0);
    for (service, name, label) in SHOWN {
        let mut shown: Vec<&Span> = spans
            .iter()
            .filter(|span| span.service == service && (name.is_empty() || span.name == name))
            .collect();
        if shown.is_empty() {
            continue;
        }
        shown.sort_by_key(|span| span.times.0);
        let rows = rows(&shown);
        let class = if name.is_empty() { "wait" } else { "bar" };
        let _ = writeln!(body, "<text x=\"{MARGIN}\" y=\"{}\">{label}</text>", top + ROW - 2.0);
        for (row, spans) in &rows {
            for span in spans {
                let x = MARGIN + LABELS + (span.times.0 - start) as f64 * scale;
                let width = ((span.times.1 - span.times.0) as f64 * scale).max(0.7);
                let y = top + *row as f64 * ROW;
                let _ = writeln!(
                    body,
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\"/>",
                    ROW - 2.0
                );
            }
        }
        top += rows.len() as f64 * ROW + GAP;
    }
    let seconds = (end - start) as f64 / 1e9;
    for part in 0..=4 {
        let x = MARGIN + LABELS + (WIDTH - LABELS - 2.0 * MARGIN) * f64::from(part) / 4.0;
        let at = seconds * f64::from(part) / 4.0;
        let _ = writeln!(
            body,
            "<line class=\"line\" x1=\"{x:.1}\" y1=\"{MARGIN}\" x2=\"{x:.1}\" y2=\"{top:.1}\"/>\
             <text class=\"note\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{at:.2} s</text>",
            top + 14.0
        );
    }
    let height = top + 14.0 + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\" \
         role=\"img\" aria-label=\"What the services do in a cold scan, in time\">\n<style>\n{STYLE}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height:.0}\" rx=\"8\"/>\n{body}</svg>\n"
    )
}

/// Spans that overlap stand in different rows.
fn rows<'a>(spans: &[&'a Span]) -> BTreeMap<usize, Vec<&'a Span>> {
    let (mut rows, mut ends): (BTreeMap<usize, Vec<&Span>>, Vec<u64>) = (BTreeMap::new(), Vec::new());
    for span in spans {
        let free = ends.iter().position(|end| *end <= span.times.0).unwrap_or(ends.len()).min(MAX_ROWS - 1);
        if free == ends.len() {
            ends.push(0);
        }
        ends[free] = ends[free].max(span.times.1);
        rows.entry(free).or_default().push(span);
    }
    rows
}
