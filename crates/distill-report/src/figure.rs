//! Figures as SVG. Marks differ in shape, not only in colour; colours come from the page's styles.

use std::fmt::Write;

use crate::{Arm, Role, RunReport, export::html::escape, number};

const WIDTH: f64 = 460.0;
const ROW: f64 = 34.0;

/// An arm with a value to draw.
struct Dot<'a> {
    arm: &'a Arm,
    value: f64,
    low: f64,
    high: f64,
    main: bool,
}

fn dots(report: &RunReport) -> Vec<Dot<'_>> {
    let main = report.main_arm().map(|arm| &arm.name);
    report
        .arms
        .iter()
        .filter_map(|arm| {
            let score = arm
                .scores
                .iter()
                .find(|score| score.metric == report.task.metric)?;
            let value = score.value?;
            let (low, high) = score
                .interval
                .map_or((value, value), |interval| (interval.low, interval.high));
            Some(Dot {
                arm,
                value,
                low,
                high,
                main: Some(&arm.name) == main,
            })
        })
        .collect()
}

/// Each arm's value with its interval: a mark and a whisker.
pub(crate) fn scores(report: &RunReport) -> Option<String> {
    let dots = dots(report);
    if dots.is_empty() {
        return None;
    }
    let scale = Scale::of(&dots, 24.0, WIDTH - 24.0);
    let bottom = 8.0 + ROW * dots.len() as f64;
    let mut svg = open(bottom + 24.0, "Value of each model with its interval");
    for tick in scale.ticks() {
        let x = scale.place(tick);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="4" y2="{bottom:.1}"/><text class="soft" x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            bottom + 16.0,
            percent_tick(tick, scale.step)
        );
    }
    for (place, dot) in dots.iter().enumerate() {
        let label_y = 18.0 + ROW * place as f64;
        let y = label_y + 11.0;
        let (low, high) = (scale.place(dot.low), scale.place(dot.high));
        let accent = if dot.main { " accent" } else { "" };
        let _ = write!(
            svg,
            r#"<text x="14" y="{label_y:.1}">{}</text><text x="{:.1}" y="{label_y:.1}" text-anchor="end">{}{}</text><line class="mark{accent}" x1="{low:.1}" x2="{high:.1}" y1="{y:.1}" y2="{y:.1}"/>{}"#,
            escape(&short(&dot.arm.name, 34)),
            WIDTH - 14.0,
            number::percent(dot.value),
            simulated(dot.arm),
            mark(dot.arm.role, scale.place(dot.value), y, dot.main)
        );
    }
    svg.push_str("</svg>");
    Some(svg)
}

/// Value against the median milliseconds of an answer, where both were measured.
pub(crate) fn score_against_latency(report: &RunReport) -> Option<String> {
    let dots: Vec<(Dot<'_>, f64)> = dots(report)
        .into_iter()
        .filter_map(|dot| {
            let latency = dot.arm.speed.as_ref()?.per_answer_ms.p50;
            (latency > 0.0).then_some((dot, latency.log10()))
        })
        .collect();
    if dots.len() < 2 {
        return None;
    }
    let (left, right, top, bottom) = (44.0, WIDTH - 110.0, 12.0, 250.0);
    let least = dots
        .iter()
        .map(|dot| dot.1)
        .fold(f64::INFINITY, f64::min)
        .floor();
    let most = dots
        .iter()
        .map(|dot| dot.1)
        .fold(f64::NEG_INFINITY, f64::max)
        .ceil()
        .max(least + 1.0);
    let across = |log: f64| left + (log - least) / (most - least) * (right - left);
    let scale = Scale::over(dots.iter().map(|dot| &dot.0), bottom, top);
    let mut svg = open(bottom + 40.0, "Value against median latency");
    for tick in scale.ticks() {
        let y = scale.place(tick);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{left}" x2="{right:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="soft" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            left - 6.0,
            y + 4.0,
            percent_tick(tick, scale.step)
        );
    }
    for power in least as i32..=most as i32 {
        let x = across(f64::from(power));
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{top}" y2="{bottom}"/><text class="soft" x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            bottom + 16.0,
            power_of_ten(power)
        );
    }
    let _ = write!(
        svg,
        r#"<text class="soft" x="{:.1}" y="{:.1}" text-anchor="middle">median ms per answer</text>"#,
        f64::midpoint(left, right),
        bottom + 34.0
    );
    write_points(&mut svg, &dots, &scale, across);
    svg.push_str("</svg>");
    Some(svg)
}

fn write_points(
    svg: &mut String,
    dots: &[(Dot<'_>, f64)],
    scale: &Scale,
    across: impl Fn(f64) -> f64,
) {
    let mut order: Vec<&(Dot<'_>, f64)> = dots.iter().collect();
    order.sort_by(|first, second| second.0.value.total_cmp(&first.0.value));
    let mut taken: Vec<(f64, f64)> = Vec::new();
    for (dot, log) in order {
        let (x, y) = (across(*log), scale.place(dot.value));
        let (low, high) = (scale.place(dot.low), scale.place(dot.high));
        // Labels near each other are pushed down, one line at a time.
        let mut label = y + 4.0;
        while taken
            .iter()
            .any(|(other_x, other)| (other_x - x).abs() < 110.0 && (other - label).abs() < 13.0)
        {
            label += 2.0;
        }
        taken.push((x, label));
        let accent = if dot.main { " accent" } else { "" };
        let _ = write!(
            svg,
            r#"<line class="mark{accent}" x1="{x:.1}" x2="{x:.1}" y1="{low:.1}" y2="{high:.1}"/>{}<text x="{:.1}" y="{label:.1}">{}{}</text>"#,
            mark(dot.arm.role, x, y, dot.main),
            x + 10.0,
            escape(&short(&dot.arm.name, 15)),
            simulated(dot.arm)
        );
    }
}

fn open(height: f64, title: &str) -> String {
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-label="{title}" xmlns="http://www.w3.org/2000/svg">"#
    )
}

/// A shape for each kind of model.
fn mark(role: Role, x: f64, y: f64, main: bool) -> String {
    let accent = if main { " accent" } else { "" };
    match role {
        Role::Student | Role::Cascade | Role::CheaperApi => {
            format!(r#"<circle class="mark{accent}" cx="{x:.1}" cy="{y:.1}" r="5.5"/>"#)
        }
        Role::Floor => format!(
            r#"<rect class="mark{accent}" x="{:.1}" y="{:.1}" width="9" height="9"/>"#,
            x - 4.5,
            y - 4.5
        ),
        Role::Teacher => format!(
            r#"<path class="mark" d="M{x:.1} {:.1}l6.5 6.5l-6.5 6.5l-6.5 -6.5z"/>"#,
            y - 6.5
        ),
        Role::Constant => format!(
            r#"<path class="mark hollow" d="M{:.1} {y:.1}h9m-4.5 -4.5v9"/>"#,
            x - 4.5
        ),
        Role::Untuned | Role::FewShot | Role::Control => {
            format!(r#"<circle class="mark hollow" cx="{x:.1}" cy="{y:.1}" r="5"/>"#)
        }
    }
}

fn simulated(arm: &Arm) -> &'static str {
    if arm.simulated {
        r#" <tspan class="sim-text">SIM</tspan>"#
    } else {
        ""
    }
}

fn short(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    let mut short: String = name.chars().take(most - 1).collect();
    short.push('…');
    short
}

fn power_of_ten(power: i32) -> String {
    if power >= 0 {
        number::significant(10_f64.powi(power))
            .replace(".00", "")
            .replace("10.0", "10")
    } else {
        format!("{:.*}", power.unsigned_abs() as usize, 10_f64.powi(power))
    }
}

fn percent_tick(share: f64, step: f64) -> String {
    let digits = usize::from(step < 0.01);
    format!("{:.digits$}%", share * 100.0)
}

/// Shares on a line, with round ticks.
struct Scale {
    from: f64,
    to: f64,
    step: f64,
    start: f64,
    end: f64,
}

impl Scale {
    fn of(dots: &[Dot<'_>], start: f64, end: f64) -> Self {
        Self::over(dots.iter(), start, end)
    }

    fn over<'a>(dots: impl Iterator<Item = &'a Dot<'a>>, start: f64, end: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for dot in dots {
            low = low.min(dot.low);
            high = high.max(dot.high);
        }
        let span = (high - low).max(0.01);
        let step = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2]
            .into_iter()
            .find(|step| span / step <= 6.0)
            .unwrap_or(0.25);
        Self {
            from: ((low / step).floor() * step).max(0.0),
            to: ((high / step).ceil() * step).min(1.0),
            step,
            start,
            end,
        }
    }

    fn place(&self, share: f64) -> f64 {
        let along = (share - self.from) / (self.to - self.from).max(1e-9);
        self.start + along * (self.end - self.start)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let steps = ((self.to - self.from) / self.step).round() as usize;
        (0..=steps).map(|step| self.from + step as f64 * self.step)
    }
}
