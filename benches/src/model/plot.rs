//! Commits a second by the number of agents, and what is busy then.

use std::fmt::Write;

use crate::simulation::{Outcome, Station};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
const LEGEND: f64 = 210.0;
const BOTTOM: f64 = 50.0;

const STYLE: &str = "\
    text { font: 12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; fill: #1f2328 }\n\
    .note { fill: #59636e } .page { fill: #ffffff } .line { stroke: #d1d9e0 }\n\
    polyline { fill: none; stroke-width: 2 }\n\
    .s0 { stroke: #0969da } .s1 { stroke: #8250df } .s2 { stroke: #bf3989 }\n\
    .s3 { stroke: #cf222e } .s4 { stroke: #9a6700 } .s5 { stroke: #1a7f37 }\n\
    @media (prefers-color-scheme: dark) {\n\
      text { fill: #f0f6fc } .note { fill: #9198a1 } .page { fill: #0d1117 } .line { stroke: #39424d }\n\
      .s0 { stroke: #4493f8 } .s1 { stroke: #ab7df8 } .s2 { stroke: #db61a2 }\n\
      .s3 { stroke: #f85149 } .s4 { stroke: #d29922 } .s5 { stroke: #3fb950 }\n\
    }\n";

/// Draws an SVG picture: the share of time that each station is busy, over the number of agents, on a scale of doublings.
pub fn render(outcomes: &[(usize, Outcome)]) -> String {
    let agents = || outcomes.iter().map(|(agents, _)| (*agents).max(1) as f64);
    let (least, most) = (agents().fold(f64::MAX, f64::min).log2(), agents().fold(1.0, f64::max).log2());
    let x = |agents: usize| {
        LEFT + (WIDTH - LEFT) * ((agents.max(1) as f64).log2() - least) / (most - least).max(1.0)
    };
    let y = |share: f64| TOP + HEIGHT * (1.0 - share.clamp(0.0, 1.0));
    let mut body = String::new();
    for percent in [0, 25, 50, 75, 100] {
        let at = y(f64::from(percent) / 100.0);
        let _ = writeln!(
            body,
            "<line class='line' x1='{LEFT}' x2='{WIDTH}' y1='{at:.1}' y2='{at:.1}'/><text class='note' x='{}' y='{:.1}' text-anchor='end'>{percent}%</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for (agents, outcome) in outcomes {
        let at = x(*agents);
        let rate = outcome.commits as f64 / outcome.time;
        let _ = writeln!(
            body,
            "<text x='{at:.1}' y='{:.1}' text-anchor='middle'>{agents}</text>",
            TOP + HEIGHT + 18.0
        );
        let _ = writeln!(
            body,
            "<text class='note' x='{at:.1}' y='{:.1}' text-anchor='middle'>{:.0}k/s</text>",
            TOP + HEIGHT + 34.0,
            rate / 1e3
        );
    }
    // What stands at the same height in the legend is moved apart.
    let mut labels: Vec<(f64, usize)> = Vec::new();
    for (index, station) in Station::ALL.iter().enumerate() {
        let points: Vec<String> = outcomes
            .iter()
            .map(|(agents, outcome)| format!("{:.1},{:.1}", x(*agents), y(outcome.busy[*station as usize])))
            .collect();
        let _ = writeln!(body, "<polyline class='s{index}' points='{}'/>", points.join(" "));
        if let Some((_, last)) = outcomes.last() {
            labels.push((y(last.busy[*station as usize]), index));
        }
    }
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut lowest = f64::MIN;
    for (at, index) in labels {
        lowest = at.max(lowest + 16.0);
        let name = Station::ALL[index].name();
        let _ = writeln!(
            body,
            "<line class='s{index}' stroke-width='3' x1='{}' x2='{}' y1='{lowest:.1}' y2='{lowest:.1}'/><text x='{}' y='{:.1}'>{name}</text>",
            WIDTH + 32.0,
            WIDTH + 48.0,
            WIDTH + 54.0,
            lowest + 4.0
        );
    }
    let (width, height) = (WIDTH + LEGEND, TOP + HEIGHT + BOTTOM);
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' role='img' aria-label='How busy each part is, by the number of agents'>\n<style>\n{STYLE}</style>\n<rect class='page' width='{width}' height='{height}'/>\n<text x='{LEFT}' y='20'>How busy each part is during the first scan, by agents of each kind; below, thousands of commits a second</text>\n{body}</svg>\n"
    )
}
