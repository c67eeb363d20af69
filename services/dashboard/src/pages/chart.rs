//! Charts: SVG made here, with a sentence that says the same for who can't see them.

use std::fmt::Write;

use minijinja::Value;

use super::render::number;

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 130.0;
/// Room for the scale on the left and the days below.
const LEFT: f64 = 30.0;
const BOTTOM: f64 = 18.0;
const TOP: f64 = 8.0;

/// One bar: what it stands for, what is written below it, and the heights of its parts, the lowest first.
pub(super) struct Bar {
    pub title: String,
    pub label: Option<String>,
    pub parts: Vec<i64>,
}

/// Stacked bars. The classes colour the parts; `says` is the sentence.
pub(super) fn bars(bars: &[Bar], classes: &[&str], says: &str) -> Value {
    let highest = bars.iter().map(|bar| bar.parts.iter().sum::<i64>()).max().unwrap_or_default();
    let top = round_up(highest);
    let mut svg = open(WIDTH, HEIGHT, says);
    for value in [0, top / 2, top] {
        let at = height_of(value, top);
        let _ = write!(
            svg,
            "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 5.0,
            at + 3.5,
            number(value),
        );
    }
    let step = (WIDTH - LEFT) / bars.len().max(1) as f64;
    for (place, bar) in bars.iter().enumerate() {
        let x = LEFT + place as f64 * step;
        column(&mut svg, bar, classes, top, (x, step));
        // The outer ones stay within the picture.
        let (at, anchor) = match place {
            0 => (x, "start"),
            _ if place + 1 == bars.len() => (WIDTH, "end"),
            _ => (x + step / 2.0, "middle"),
        };
        if let Some(label) = &bar.label {
            let (y, label) = (HEIGHT - 4.0, escape(label));
            let _ = write!(svg, "<text x=\"{at:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{label}</text>");
        }
    }
    svg.push_str("</svg>");
    Value::from_safe_string(svg)
}

/// Where a value is, from the upper edge.
fn height_of(value: i64, top: i64) -> f64 {
    HEIGHT - BOTTOM - value as f64 * (HEIGHT - BOTTOM - TOP) / top as f64
}

/// The parts of a bar, within a column that is so wide from there, all of which can be pointed at.
fn column(svg: &mut String, bar: &Bar, classes: &[&str], top: i64, (x, width): (f64, f64)) {
    let _ = write!(
        svg,
        "<g><title>{}</title><rect x=\"{x:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"transparent\"/>",
        escape(&bar.title),
        HEIGHT - BOTTOM - TOP
    );
    let mut below = 0;
    for (part, class) in bar.parts.iter().zip(classes).filter(|(part, _)| **part > 0) {
        let upper = height_of(below + part, top);
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{upper:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            x + width * 0.12,
            width * 0.76,
            // Few among many can be seen as well.
            (height_of(below, top) - upper).max(0.8),
        );
        below += part;
    }
    svg.push_str("</g>");
}

/// A row of squares, so many of them filled: slots of agents.
pub(super) fn slots(busy: u64, all: u64, says: &str) -> Value {
    const MOST: u64 = 40;
    let (busy, all) = if all > MOST { (busy * MOST / all, MOST) } else { (busy, all) };
    let mut svg = open((MOST / 2) as f64 * 14.0, if all > MOST / 2 { 28.0 } else { 14.0 }, says);
    for slot in 0..all {
        let class = if slot < busy { "fill-main" } else { "fill-none" };
        let (x, y) = (slot % (MOST / 2) * 14, slot / (MOST / 2) * 14);
        let _ =
            write!(svg, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"12\" height=\"12\" rx=\"3\"/>");
    }
    svg.push_str("</svg>");
    Value::from_safe_string(svg)
}

/// A line of the calendar: its name, and its times as parts (0 to 1) of the strip, each with what it stands for.
pub(super) struct Strip {
    pub name: String,
    pub marks: Vec<(f64, String)>,
}

/// When schedules run: a line each, over days that are named.
pub(super) fn calendar(strips: &[Strip], days: &[String], says: &str) -> Value {
    const WIDE: f64 = 720.0;
    const NAMES: f64 = 170.0;
    const LINE: f64 = 22.0;
    let height = LINE * strips.len() as f64 + 20.0;
    let mut svg = open(WIDE, height, says);
    let day = (WIDE - NAMES) / days.len().max(1) as f64;
    for (place, name) in days.iter().enumerate() {
        let x = NAMES + place as f64 * day;
        let _ = write!(
            svg,
            "<line class=\"rule\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{height}\"/>\
             <text x=\"{:.1}\" y=\"12\">{}</text>",
            x + 4.0,
            escape(name)
        );
    }
    for (place, strip) in strips.iter().enumerate() {
        let y = 20.0 + (place as f64 + 0.5) * LINE;
        let mut name: String =
            strip.name.chars().rev().take(22).collect::<Vec<_>>().into_iter().rev().collect();
        if name.chars().count() < strip.name.chars().count() {
            name.insert(0, '…');
        }
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            NAMES - 8.0,
            y + 4.0,
            escape(&name)
        );
        for (at, title) in &strip.marks {
            let x = NAMES + at * (WIDE - NAMES);
            let _ = write!(
                svg,
                "<circle class=\"fill-main\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{}</title></circle>",
                escape(title)
            );
        }
    }
    svg.push_str("</svg>");
    Value::from_safe_string(svg)
}

fn open(width: f64, height: f64, says: &str) -> String {
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">",
        escape(says)
    )
}

/// The next number above that is even and round, so that the half of it is whole.
fn round_up(highest: i64) -> i64 {
    let mut power = 1;
    loop {
        if let Some(round) = [2, 4, 10].into_iter().map(|round| round * power).find(|round| *round >= highest)
        {
            return round;
        }
        power *= 10;
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round() {
        let tops = [0, 1, 3, 5, 10, 11, 41, 999_999].map(round_up);
        assert_eq!(tops, [2, 2, 4, 10, 10, 20, 100, 1_000_000]);
    }

    #[test]
    fn names_are_text_and_no_markup() {
        let bar = Bar { title: "<b>\"".into(), label: None, parts: vec![1] };
        let svg = bars(&[bar], &["fill-main"], "a \"b\" <c>").to_string();
        assert!(
            svg.contains("&lt;b&gt;") && svg.contains("aria-label=\"a &quot;b&quot; &lt;c&gt;\""),
            "{svg}"
        );
    }
}
