//! A number over time as SVG: its course, the limit, and whether each drill has passed.

use std::fmt::Write;

use chrono::{DateTime, Utc};

use crate::words::span;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
/// Room for labels: left, top, right, bottom.
const MARGIN: [f64; 4] = [80.0, 12.0, 14.0, 28.0];

/// Numbers of seconds that people call round.
const STEPS: [f64; 19] = [
    0.1, 0.5, 1.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0, 21_600.0, 43_200.0,
    86_400.0, 604_800.0,
];

/// One drill. Its label is HTML.
pub struct Point {
    /// When.
    pub at: DateTime<Utc>,
    /// The number, in seconds.
    pub value: f64,
    /// What it may be at most.
    pub limit: Option<f64>,
    /// Whether the drill has passed.
    pub passed: bool,
    /// What is said of it.
    pub label: String,
}

/// From moments and seconds to places.
struct Scale {
    first: DateTime<Utc>,
    seconds: f64,
    top: f64,
}

impl Scale {
    /// `points` is not empty, oldest first.
    fn of(points: &[Point]) -> Self {
        let first = points.iter().map(|point| point.at).min().unwrap_or_default();
        let last = points.iter().map(|point| point.at).max().unwrap_or_default();
        let numbers = points.iter().flat_map(|point| [Some(point.value), point.limit]).flatten();
        let largest = numbers.filter(|number| number.is_finite()).fold(0.0, f64::max);
        Scale { first, seconds: (last - first).as_seconds_f64(), top: if largest > 0.0 { largest * 1.1 } else { 1.0 } }
    }

    /// Round numbers from 0 to the top, at most six.
    fn rounds(&self) -> Vec<f64> {
        let largest = STEPS[STEPS.len() - 1];
        let step = STEPS.into_iter().find(|step| step * 5.0 >= self.top).unwrap_or((self.top / 5.0 / largest).ceil() * largest);
        (0..6).map(|number| f64::from(number) * step).filter(|value| *value <= self.top).collect()
    }

    /// A single drill stands in the middle.
    fn x(&self, at: DateTime<Utc>) -> f64 {
        let part = if self.seconds > 0.0 { (at - self.first).as_seconds_f64() / self.seconds } else { 0.5 };
        MARGIN[0] + part * (WIDTH - MARGIN[0] - MARGIN[2])
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - MARGIN[3] - (value / self.top).clamp(0.0, 1.0) * (HEIGHT - MARGIN[1] - MARGIN[3])
    }
}

/// The chart of `points`, which are not empty, and oldest first.
pub fn draw(points: &[Point]) -> String {
    let scale = Scale::of(points);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n");
    let (left, right, bottom) = (MARGIN[0], WIDTH - MARGIN[2], HEIGHT - MARGIN[3]);
    for value in scale.rounds() {
        let y = scale.y(value);
        line(&mut svg, "axis", [(left, y), (right, y)]);
        add(
            &mut svg,
            format_args!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", left - 8.0, y + 4.0, round(value)),
        );
    }
    let day = |at: DateTime<Utc>| at.format("%Y-%m-%d").to_string();
    let (first, last) = (day(points[0].at), day(points[points.len() - 1].at));
    let dates = if first == last {
        vec![(f64::midpoint(left, right), "middle", first)]
    } else {
        vec![(left, "start", first), (right, "end", last)]
    };
    for (x, anchor, date) in dates {
        add(&mut svg, format_args!("<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{date}</text>", bottom + 18.0));
    }
    limits(&mut svg, points, &scale, [left, right]);
    let course: Vec<_> = points.iter().map(|point| (scale.x(point.at), scale.y(point.value))).collect();
    line(&mut svg, "course", course);
    for point in points {
        mark(&mut svg, point, &scale);
    }
    svg.push_str("</svg>\n");
    svg
}

/// A round number of seconds in its largest unit.
fn round(seconds: f64) -> String {
    let said =
        [(86_400.0, "d"), (3600.0, "h"), (60.0, "min")].into_iter().find(|(unit, _)| seconds >= *unit && seconds % unit == 0.0);
    said.map_or_else(|| format!("{} s", (seconds * 10.0).round() / 10.0), |(unit, name)| format!("{} {name}", seconds / unit))
}

/// The objective, which holds from each drill that names it to the next one.
fn limits(svg: &mut String, points: &[Point], scale: &Scale, [left, right]: [f64; 2]) {
    for (place, point) in points.iter().enumerate() {
        let Some(limit) = point.limit else { continue };
        let from = if place == 0 { left } else { scale.x(point.at) };
        let to = points.get(place + 1).map_or(right, |next| scale.x(next.at));
        line(svg, "limit", [(from, scale.y(limit)), (to, scale.y(limit))]);
    }
}

/// A dot for what has passed, else a cross; both say what they are.
fn mark(svg: &mut String, point: &Point, scale: &Scale) {
    let (x, y) = (scale.x(point.at), scale.y(point.value));
    let title = format!("<title>{}, {}</title>", point.label, span(point.value));
    if point.passed {
        add(svg, format_args!("<circle class=\"pass\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\">{title}</circle>"));
    } else {
        let (w, e, n, s) = (x - 4.5, x + 4.5, y - 4.5, y + 4.5);
        add(
            svg,
            format_args!("<path class=\"fail\" d=\"M{w:.1} {n:.1}L{e:.1} {s:.1}M{w:.1} {s:.1}L{e:.1} {n:.1}\">{title}</path>"),
        );
    }
}

fn line(svg: &mut String, class: &str, places: impl IntoIterator<Item = (f64, f64)>) {
    let places: Vec<_> = places.into_iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    add(svg, format_args!("<polyline class=\"{class}\" points=\"{}\"/>", places.join(" ")));
}

fn add(svg: &mut String, element: std::fmt::Arguments) {
    writeln!(svg, "{element}").expect("a string takes all");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn point(day: u32, value: f64, passed: bool) -> Point {
        let at = format!("2026-01-{day:02}T03:00:00Z").parse().unwrap();
        Point { at, value, limit: Some(100.0), passed, label: format!("day {day}") }
    }

    #[test]
    fn every_drill_has_its_mark_inside_the_chart() {
        let svg = draw(&[point(1, 0.0, true), point(8, 1e12, false), point(15, 50.0, true)]);
        assert_eq!(
            (svg.matches("<circle").count(), svg.matches("class=\"fail\"").count(), svg.matches("\"limit\"").count()),
            (2, 1, 3)
        );
        assert!(svg.contains("day 8, 11574074 d 1 h"), "{svg}");
    }

    #[test]
    fn one_drill_stands_in_the_middle() {
        assert!(draw(&[point(1, 50.0, true)]).contains("<circle class=\"pass\" cx=\"353.0\""));
    }
}
