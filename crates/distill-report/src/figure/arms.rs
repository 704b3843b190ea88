//! The models in pictures: value with its interval, and value against what an answer takes.

use std::fmt::Write;

use distill_eval::Aggregate;

use super::{
    LETTER, LINE, Linear, Log, Plot, Taken, WIDTH, beside, escape, legend, mark, number, open,
    roles, short, simulated, unit,
};
use crate::{Arm, Role, RunReport};

const ROW: f64 = 36.0;

/// An arm with a value to draw.
struct Dot<'a> {
    arm: &'a Arm,
    value: f64,
    low: f64,
    high: f64,
    main: bool,
}

fn span(score: &Aggregate) -> Option<(f64, f64, f64)> {
    let value = score.value?;
    Some(score.interval.map_or((value, value, value), |interval| {
        (value, interval.low, interval.high)
    }))
}

fn dots(report: &RunReport) -> Vec<Dot<'_>> {
    let main = report.main_arm().map(|arm| &arm.name);
    report
        .arms
        .iter()
        .filter_map(|arm| {
            let (value, low, high) = span(report.primary(arm)?)?;
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

/// What the teacher has less the margin: the line that a candidate's interval must stay above.
fn bar(report: &RunReport) -> Option<(f64, String)> {
    let teacher = report.teacher()?;
    let value = report.primary(teacher)?.value?;
    let margin = report.accept.margin;
    (margin > 0.0 && number::is_share(unit(report))).then(|| {
        (
            value - margin,
            format!(
                "{} − {:.1} points",
                short(&teacher.name, 20),
                margin * 100.0
            ),
        )
    })
}

/// Each arm's value with its interval: a mark and a whisker.
pub(crate) fn scores(report: &RunReport) -> Option<String> {
    let dots = dots(report);
    if dots.is_empty() {
        return None;
    }
    let unit = unit(report);
    let bar = bar(report);
    let plot = Plot {
        left: 14.0,
        right: WIDTH - 14.0,
        top: if bar.is_some() { 20.0 } else { 6.0 },
        bottom: 26.0 + ROW * dots.len() as f64,
    };
    let values = dots
        .iter()
        .flat_map(|dot| [dot.low, dot.high])
        .chain(bar.iter().map(|bar| bar.0));
    let scale = Linear::over(unit, values, plot.left + 14.0, plot.right - 14.0);
    let mut body = String::new();
    for tick in scale.ticks() {
        plot.tick(&mut body, scale.place(tick), &scale.label(tick));
    }
    if let Some((value, name)) = &bar {
        let x = scale.place(*value);
        let anchor = if x > WIDTH / 2.0 { "end" } else { "start" };
        let _ = write!(
            body,
            r#"<line class="limit" x1="{x:.1}" x2="{x:.1}" y1="{:.1}" y2="{:.1}"/><text class="soft" x="{x:.1}" y="12" text-anchor="{anchor}">{}</text>"#,
            plot.top,
            plot.bottom,
            escape(name)
        );
    }
    for (place, dot) in dots.iter().enumerate() {
        let label_y = plot.top + 16.0 + ROW * place as f64;
        let y = label_y + 11.0;
        let (low, high) = (scale.place(dot.low), scale.place(dot.high));
        let accent = if dot.main { " accent" } else { "" };
        let strong = if dot.main { " class=\"strong\"" } else { "" };
        let _ = write!(
            body,
            r#"<text x="{:.1}" y="{label_y:.1}"{strong}>{}</text><text x="{:.1}" y="{label_y:.1}" text-anchor="end"{strong}>{}{}</text>{}{}"#,
            plot.left,
            escape(&short(&dot.arm.name, 44)),
            plot.right,
            number::value(unit, dot.value),
            simulated(dot.arm.simulated),
            whisker_across(low, high, y, accent),
            mark(dot.arm.role, scale.place(dot.value), y, dot.main)
        );
    }
    let end = legend(
        &mut body,
        plot.bottom + 38.0,
        &roles(dots.iter().map(|dot| dot.arm)),
    );
    Some(format!(
        "{}{body}</svg>",
        open(end, "Value of each model with its interval")
    ))
}

fn whisker_across(low: f64, high: f64, y: f64, accent: &str) -> String {
    format!(
        r#"<path class="whisker{accent}" d="M{low:.1} {y:.1}H{high:.1}M{low:.1} {:.1}v8M{high:.1} {:.1}v8"/>"#,
        y - 4.0,
        y - 4.0
    )
}

/// What an answer takes, as the axis below.
pub(crate) struct Toll<'a> {
    /// The axis in words, with its unit.
    pub(crate) axis: &'a str,
    pub(crate) of: fn(&Arm) -> Option<f64>,
    pub(crate) label: fn(String) -> String,
    pub(crate) limit: Option<(f64, String)>,
}

/// The arms that lie so far below what could take over that drawing them would press all others
/// into one line.
pub(crate) fn far_below(report: &RunReport) -> Vec<&Arm> {
    let dots = dots(report);
    let contends = |dot: &&Dot<'_>| {
        matches!(
            dot.arm.role,
            Role::Student | Role::Floor | Role::Cascade | Role::CheaperApi | Role::Teacher
        )
    };
    let low = dots.iter().filter(contends).map(|dot| dot.low);
    let high = dots.iter().filter(contends).map(|dot| dot.high);
    let (low, high) = (
        low.fold(f64::INFINITY, f64::min),
        high.fold(f64::NEG_INFINITY, f64::max),
    );
    let least = low - (high - low);
    dots.iter()
        .filter(|dot| !contends(dot) && dot.value < least)
        .map(|dot| dot.arm)
        .collect()
}

/// Value against cost or latency, where both are known and the latter is above 0.
pub(crate) fn against(report: &RunReport, metric: &str, toll: &Toll<'_>) -> Option<String> {
    let below = far_below(report);
    let dots: Vec<(Dot<'_>, f64)> = dots(report)
        .into_iter()
        .filter(|dot| !below.iter().any(|arm| arm.name == dot.arm.name))
        .filter_map(|dot| {
            let taken = (toll.of)(dot.arm).filter(|taken| *taken > 0.0 && taken.is_finite())?;
            Some((dot, taken))
        })
        .collect();
    if dots.len() < 2 {
        return None;
    }
    let plot = Plot::of_height(350.0);
    let bar = bar(report);
    let values = dots
        .iter()
        .flat_map(|(dot, _)| [dot.low, dot.high])
        .chain(bar.iter().map(|bar| bar.0));
    let scale = Linear::over(unit(report), values, plot.bottom, plot.top);
    let limit = toll.limit.as_ref().filter(|limit| limit.0 > 0.0);
    let across = Log::over(
        dots.iter()
            .map(|dot| dot.1)
            .chain(limit.map(|limit| limit.0)),
        plot.left,
        plot.right,
    );
    let mut body = String::new();
    plot.upright(&mut body, &scale, metric);
    for tick in across.ticks() {
        plot.tick(
            &mut body,
            across.place(tick),
            &(toll.label)(Log::label(tick)),
        );
    }
    plot.below(&mut body, toll.axis);
    if let Some((value, name)) = &bar {
        plot.level(&mut body, scale.place(*value), name);
    }
    if let Some((value, name)) = limit {
        plot.plumb(&mut body, across.place(*value), name);
    }
    let mut taken = Taken::default();
    if let Some((value, name)) = &bar {
        let y = scale.place(*value);
        taken.add(plot.left, y - 2.0, plot.right, y + 2.0);
        let end = plot.left + 5.0 + LETTER * name.chars().count() as f64;
        taken.add(plot.left, y - LINE - 2.0, end, y);
    }
    points(&mut body, &plot, &scale, &across, &dots, taken);
    let end = legend(
        &mut body,
        plot.bottom + 60.0,
        &roles(dots.iter().map(|dot| dot.0.arm)),
    );
    let title = format!("{metric} against {}", toll.axis);
    Some(format!("{}{body}</svg>", open(end, &title)))
}

fn points(
    svg: &mut String,
    plot: &Plot,
    scale: &Linear,
    across: &Log,
    dots: &[(Dot<'_>, f64)],
    mut taken: Taken,
) {
    for (dot, toll) in dots {
        let x = across.place(*toll);
        let (low, high) = (scale.place(dot.low), scale.place(dot.high));
        let y = scale.place(dot.value);
        taken.add(x - 7.0, y - 7.0, x + 7.0, y + 7.0);
        taken.add(x - 2.0, high, x + 2.0, low);
        let accent = if dot.main { " accent" } else { "" };
        let _ = write!(
            svg,
            r#"<path class="whisker{accent}" d="M{x:.1} {low:.1}V{high:.1}M{:.1} {low:.1}h8M{:.1} {high:.1}h8"/>{}"#,
            x - 4.0,
            x - 4.0,
            mark(dot.arm.role, x, y, dot.main)
        );
    }
    let mut order: Vec<&(Dot<'_>, f64)> = dots.iter().collect();
    // The one that the verdict is about gets the best place for its name, then the higher ones.
    order.sort_by(|first, second| {
        second
            .0
            .main
            .cmp(&first.0.main)
            .then(second.0.value.total_cmp(&first.0.value))
    });
    for (dot, toll) in order {
        let (x, y) = (across.place(*toll), scale.place(dot.value));
        let name = short(&dot.arm.name, 24);
        let letters = name.chars().count() + if dot.arm.simulated { 5 } else { 0 };
        let (at, line, anchor) = beside(&mut taken, plot, x, y, LETTER * letters as f64);
        let strong = if dot.main { " class=\"strong\"" } else { "" };
        let _ = write!(
            svg,
            r#"<text x="{at:.1}" y="{line:.1}" text-anchor="{anchor}"{strong}>{}{}</text>"#,
            escape(&name),
            simulated(dot.arm.simulated)
        );
    }
}

/// Slices drawn in one figure.
const SLICES: usize = 24;

/// The main arm beside the teacher on each part of the rows.
pub(crate) fn slices(report: &RunReport) -> Option<String> {
    let candidates = report.main_arm().into_iter().chain(&report.arms);
    let main = candidates
        .filter(|arm| {
            matches!(
                arm.role,
                Role::Student | Role::Cascade | Role::CheaperApi | Role::Floor
            )
        })
        .find(|arm| !arm.slices.is_empty())?;
    let shown: Vec<&Arm> = [Some(main), report.teacher()]
        .into_iter()
        .flatten()
        .filter(|arm| !arm.slices.is_empty())
        .collect();
    let names: Vec<&str> = main
        .slices
        .iter()
        .filter(|slice| slice.score.value.is_some())
        .map(|slice| slice.name.as_str())
        .collect();
    if names.len() < 2 || names.len() > SLICES {
        return None;
    }
    let parts = |arm: &'_ Arm| -> Vec<(usize, f64, f64, f64)> {
        arm.slices
            .iter()
            .filter_map(|slice| {
                let place = names.iter().position(|name| *name == slice.name)?;
                let (value, low, high) = span(&slice.score)?;
                Some((place, value, low, high))
            })
            .collect()
    };
    let rows = 26.0;
    let plot = Plot {
        left: 200.0,
        right: WIDTH - 14.0,
        top: 8.0,
        bottom: 14.0 + rows * names.len() as f64,
    };
    let all: Vec<f64> = shown
        .iter()
        .flat_map(|arm| parts(arm))
        .flat_map(|(_, value, low, high)| [value, low, high])
        .collect();
    let scale = Linear::over(
        unit(report),
        all.into_iter(),
        plot.left + 8.0,
        plot.right - 8.0,
    );
    let mut body = String::new();
    for tick in scale.ticks() {
        plot.tick(&mut body, scale.place(tick), &scale.label(tick));
    }
    for (place, name) in names.iter().enumerate() {
        let y = plot.top + LINE + 3.0 + rows * place as f64;
        let _ = write!(
            body,
            r#"<text x="{:.1}" y="{y:.1}" text-anchor="end">{}</text>"#,
            plot.left - 8.0,
            escape(&short(name, 22))
        );
    }
    for (layer, arm) in shown.iter().enumerate().rev() {
        let is_main = arm.name == main.name && arm.role != Role::Teacher;
        let accent = if is_main { " accent" } else { "" };
        for (place, value, low, high) in parts(arm) {
            let y = plot.top + 9.0 + rows * place as f64 + 9.0 * layer as f64;
            body += &whisker_across(scale.place(low), scale.place(high), y, accent);
            body += &mark(arm.role, scale.place(value), y, is_main);
        }
    }
    let end = legend(&mut body, plot.bottom + 38.0, &roles(shown.iter().copied()));
    Some(format!(
        "{}{body}</svg>",
        open(end, "Value on each part of the rows, with intervals")
    ))
}
