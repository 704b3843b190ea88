//! The models in pictures.

use super::{capital, metric_name};
use crate::{
    Arm, RunReport,
    document::{Block, Section},
    figure::{self, Toll},
    number,
};

pub(super) fn section(report: &RunReport) -> Option<Section> {
    let metric = metric_name(report, &report.task.metric);
    let cost = Toll {
        axis: "$ per 1,000 answers (logarithmic)",
        of: |arm| arm.usd_per_1000,
        label: |tick| format!("${tick}"),
        limit: report
            .accept
            .max_usd_per_1000
            .map(|limit| (limit, format!("limit {}", number::usd(limit)))),
    };
    let latency = Toll {
        axis: "p95 ms per answer (logarithmic)",
        of: |arm| Some(arm.speed.as_ref()?.per_answer_ms.p95),
        label: |tick| tick,
        limit: report
            .accept
            .max_p95_ms
            .map(|limit| (limit, format!("limit {} ms", number::milliseconds(limit)))),
    };
    let drawn = |toll: &Toll<'_>, what: &str| {
        figure::against(report, &metric, toll).map(|svg| Block::Figure {
            svg,
            caption: format!(
                "{} against {what}; up and to the left is better. Whiskers are {:.0}% intervals, dashed lines the margin and the limit.{}",
                capital(&metric),
                report.task.confidence * 100.0,
                left_out(report, toll.of, what)
            ),
        })
    };
    let blocks: Vec<Block> = [
        drawn(&cost, "cost"),
        drawn(&latency, "latency"),
        figure::scores(report).map(|svg| Block::Figure {
            svg,
            caption: format!(
                "{} of each model with its {:.0}% interval. A model's own interval is wider than that of its difference from the teacher on the same rows, which the verdict rests on.",
                capital(&metric),
                report.task.confidence * 100.0
            ),
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!blocks.is_empty()).then(|| super::section("figures", "Accuracy, cost and latency", blocks))
}

/// The models that a figure cannot show, by name: a missing point must not look like none.
fn left_out(report: &RunReport, of: fn(&Arm) -> Option<f64>, what: &str) -> String {
    let value = |arm: &Arm| report.primary(arm).and_then(|score| score.value);
    let missing: Vec<&str> = report
        .arms
        .iter()
        .filter(|arm| of(arm).is_none_or(|value| value <= 0.0) || value(arm).is_none())
        .map(|arm| arm.name.as_str())
        .collect();
    let below: Vec<String> = figure::far_below(report)
        .into_iter()
        .filter(|arm| !missing.contains(&arm.name.as_str()))
        .filter_map(|arm| {
            let shown = number::value(report.unit(&report.task.metric), value(arm)?);
            Some(format!("{} ({shown})", arm.name))
        })
        .collect();
    let far = if below.is_empty() {
        String::new()
    } else {
        format!(" Far below and not drawn: {}.", below.join(", "))
    };
    if missing.is_empty() {
        far
    } else {
        format!("{far} Without a measured {what}: {}.", missing.join(", "))
    }
}
