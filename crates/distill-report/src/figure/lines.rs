//! Curves: what more rows bring, what deferring brings, and how true stated probabilities are.

use std::fmt::Write;

use distill_eval::{Unit, cascade::DeferralPoint};

use super::{LETTER, Linear, Log, Plot, WIDTH, escape, number, open, short, unit};
use crate::{CascadeFacts, CurveFacts, RunReport};

/// Dashes and marks that tell lines apart without colour.
const LINES: [&str; 4] = ["solid", "dashed", "dotted", "dashdot"];
/// Paths of a circle, a square, a triangle and a diamond around a point.
const MARKS: [&str; 4] = [
    "m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0",
    "m-4 -4h8v8h-8z",
    "m0 -5.5l5.2 9.4h-10.4z",
    "m0 -6l6 6l-6 6l-6 -6z",
];

fn path(points: &[(f64, f64)]) -> String {
    points
        .iter()
        .enumerate()
        .fold(String::new(), |mut path, (place, (x, y))| {
            let _ = write!(path, "{}{x:.1} {y:.1}", if place == 0 { "M" } else { "L" });
            path
        })
}

/// Value against training rows, a line for each student.
pub(crate) fn learning(report: &RunReport, metric: &str) -> Option<String> {
    let curves: Vec<&CurveFacts> = report
        .learning_curves
        .iter()
        .filter(|curve| {
            curve
                .points
                .iter()
                .filter(|point| point.value.is_some())
                .count()
                > 1
        })
        .take(LINES.len())
        .collect();
    let known = || {
        curves
            .iter()
            .flat_map(|curve| &curve.points)
            .filter(|point| point.value.is_some() && point.train_rows > 0)
    };
    known().next()?;
    let plot = Plot::of_height(330.0);
    let values = known().flat_map(|point| {
        let value = point.value.unwrap_or_default();
        let interval = point.interval;
        [
            interval.map_or(value, |interval| interval.low),
            value,
            interval.map_or(value, |interval| interval.high),
        ]
    });
    let scale = Linear::over(unit(report), values, plot.bottom, plot.top);
    let across = Log::over(
        known().map(|point| point.train_rows as f64),
        plot.left,
        plot.right,
    );
    let mut body = String::new();
    plot.upright(&mut body, &scale, metric);
    let mut sizes: Vec<usize> = known().map(|point| point.train_rows).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut last = f64::NEG_INFINITY;
    for size in sizes {
        let (x, label) = (across.place(size as f64), number::count(size));
        let width = LETTER * label.len() as f64;
        if x - last >= width + 6.0 {
            plot.tick(&mut body, x, &label);
            last = x;
        }
    }
    plot.below(&mut body, "training rows (logarithmic)");
    for (place, curve) in curves.iter().enumerate() {
        let points: Vec<(f64, f64)> = curve
            .points
            .iter()
            .filter(|point| point.train_rows > 0)
            .filter_map(|point| {
                Some((
                    across.place(point.train_rows as f64),
                    scale.place(point.value?),
                ))
            })
            .collect();
        for point in curve.points.iter().filter(|point| point.train_rows > 0) {
            if let Some(interval) = point.interval {
                let x = across.place(point.train_rows as f64);
                let (low, high) = (scale.place(interval.low), scale.place(interval.high));
                let _ = write!(
                    body,
                    r#"<path class="whisker" d="M{x:.1} {low:.1}V{high:.1}M{:.1} {low:.1}h8M{:.1} {high:.1}h8"/>"#,
                    x - 4.0,
                    x - 4.0
                );
            }
        }
        let _ = write!(
            body,
            r#"<path class="line {}" d="{}"/>"#,
            LINES[place],
            path(&points)
        );
        for (x, y) in points {
            let _ = write!(
                body,
                r#"<path class="mark" d="M{x:.1} {y:.1}{}"/>"#,
                MARKS[place]
            );
        }
    }
    let names: Vec<(&str, Option<&str>, String)> = curves
        .iter()
        .enumerate()
        .map(|(place, curve)| (LINES[place], Some(MARKS[place]), curve.student.clone()))
        .collect();
    let end = line_legend(&mut body, plot.bottom + 60.0, &names);
    Some(format!(
        "{}{body}</svg>",
        open(end, &format!("{metric} against training rows"))
    ))
}

/// A piece of each line with its name.
fn line_legend(svg: &mut String, top: f64, names: &[(&str, Option<&str>, String)]) -> f64 {
    let (mut x, mut y) = (14.0, top);
    for (line, mark, name) in names {
        let name = short(name, 40);
        let width = 50.0 + 9.0 * name.chars().count() as f64;
        if x + width > WIDTH && x > 14.0 {
            x = 14.0;
            y += 19.0;
        }
        let _ = write!(
            svg,
            r#"<path class="line {line}" d="M{x:.1} {y:.1}h28"/>{}<text class="soft" x="{:.1}" y="{:.1}">{}</text>"#,
            mark.map_or_else(String::new, |mark| format!(
                r#"<path class="mark" d="M{:.1} {y:.1}{mark}"/>"#,
                x + 14.0
            )),
            x + 34.0,
            y + 4.0,
            escape(&name)
        );
        x += width;
    }
    y + 14.0
}

/// Value against the share deferred: by confidence, at random, and at best.
pub(crate) fn deferral(report: &RunReport, metric: &str, facts: &CascadeFacts) -> Option<String> {
    let curve = &facts.curve;
    if curve.len() < 2 {
        return None;
    }
    let plot = Plot::of_height(330.0);
    let margin = curve
        .last()
        .map(|all| all.value - report.accept.margin)
        .filter(|_| report.accept.margin > 0.0 && number::is_share(unit(report)));
    let values = curve
        .iter()
        .flat_map(|point| [point.value, point.random, point.oracle])
        .chain(margin);
    let scale = Linear::over(unit(report), values, plot.bottom, plot.top);
    let across = Linear::between(Unit::Share, 0.0, 1.0, plot.left, plot.right - 12.0);
    let mut body = String::new();
    plot.upright(&mut body, &scale, metric);
    for tick in across.ticks() {
        plot.tick(&mut body, across.place(tick), &across.label(tick));
    }
    plot.below(&mut body, "share of rows that the teacher answers");
    if let Some(value) = margin {
        plot.level(
            &mut body,
            scale.place(value),
            &format!("teacher − {:.1} points", report.accept.margin * 100.0),
        );
    }
    let line = |of: fn(&DeferralPoint) -> f64| -> String {
        let points: Vec<(f64, f64)> = curve
            .iter()
            .map(|point| (across.place(point.deferred), scale.place(of(point))))
            .collect();
        path(&points)
    };
    let _ = write!(
        body,
        r#"<path class="line dotted" d="{}"/><path class="line dashed" d="{}"/><path class="line solid accent" d="{}"/>"#,
        line(|point| point.oracle),
        line(|point| point.random),
        line(|point| point.value)
    );
    if let Some(share) = facts.deferred_share {
        plot.plumb(
            &mut body,
            across.place(share),
            &format!("chosen: {}", number::percent(share)),
        );
        if let Some(value) = facts.accuracy.filter(|value| scale.holds(*value)) {
            let _ = write!(
                body,
                r#"<path class="mark accent" d="M{:.1} {:.1}{}"/>"#,
                across.place(share),
                scale.place(value),
                MARKS[2]
            );
        }
    }
    let names = [
        ("solid accent", None, "least sure first".to_owned()),
        ("dashed", None, "at random".to_owned()),
        ("dotted", None, "oracle: best possible".to_owned()),
    ];
    let end = line_legend(&mut body, plot.bottom + 60.0, &names);
    Some(format!(
        "{}{body}</svg>",
        open(end, &format!("{metric} against the share deferred"))
    ))
}

/// Stated probability against what came true.
pub(crate) fn reliability(facts: &CascadeFacts) -> Option<String> {
    if facts.reliability.len() < 2 {
        return None;
    }
    let plot = Plot::of_height(330.0);
    let values = || {
        facts.reliability.iter().flat_map(|bin| {
            [
                bin.probability,
                bin.interval.map_or(bin.right, |interval| interval.low),
            ]
        })
    };
    // Both axes run over the same values, up to 1: a diagonal is then a diagonal.
    let all = || values().chain([1.0]);
    let scale = Linear::over(Unit::Share, all(), plot.bottom, plot.top);
    let across = Linear::over(Unit::Share, all(), plot.left, plot.right - 12.0);
    let low = scale.ticks().next().unwrap_or(0.0);
    let mut body = String::new();
    plot.upright(&mut body, &scale, "share that was right");
    for tick in across.ticks() {
        plot.tick(&mut body, across.place(tick), &across.label(tick));
    }
    plot.below(&mut body, "stated probability of being right");
    let _ = write!(
        body,
        r#"<path class="line dashed" d="M{:.1} {:.1}L{:.1} {:.1}"/>"#,
        across.place(low),
        scale.place(low),
        across.place(1.0),
        scale.place(1.0)
    );
    for bin in &facts.reliability {
        let (x, y) = (across.place(bin.probability), scale.place(bin.right));
        if let Some(interval) = bin.interval {
            let (low, high) = (scale.place(interval.low), scale.place(interval.high));
            let _ = write!(
                body,
                r#"<path class="whisker accent" d="M{x:.1} {low:.1}V{high:.1}M{:.1} {low:.1}h8M{:.1} {high:.1}h8"/>"#,
                x - 4.0,
                x - 4.0
            );
        }
        let _ = write!(
            body,
            r#"<path class="mark accent" d="M{x:.1} {y:.1}{}"/>"#,
            MARKS[0]
        );
    }
    let names = [("dashed", None, "stated = came true".to_owned())];
    let end = line_legend(&mut body, plot.bottom + 60.0, &names);
    Some(format!(
        "{}{body}</svg>",
        open(end, "Stated probability against the share that was right")
    ))
}
