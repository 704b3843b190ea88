//! The student that asks the teacher when it is not sure, and what more training rows would bring.

use distill_eval::Unit;

use super::{capital, cell, metric_name, text};
use crate::{
    CascadeFacts, RunReport,
    document::{Block, Line, Section, Table},
    figure,
    number::{self, MISSING, or_missing},
};

pub(super) fn section(report: &RunReport) -> Option<Section> {
    if report.cascade.is_empty() {
        return None;
    }
    let metric = metric_name(report, &report.task.metric);
    let several = report.cascade.len() > 1;
    let mut blocks = vec![Block::Table(table(report, &metric))];
    for facts in &report.cascade {
        let whose = if several {
            format!("{}: ", facts.student)
        } else {
            String::new()
        };
        blocks.push(chosen(report, facts));
        if let Some(svg) = figure::deferral(report, &metric, facts) {
            blocks.push(Block::Figure {
                svg,
                caption: format!(
                    "{whose}{} against the share of rows that the teacher answers; the triangle is the chosen threshold. The nearer the line comes to the oracle's, the more the student's confidence is worth.",
                    capital(&metric)
                ),
            });
        }
        if let Some(svg) = figure::reliability(facts) {
            blocks.push(Block::Figure {
                svg,
                caption: format!(
                    "{whose}Calibration on the eval rows: the probability that the student states against the share that was right, with {:.0}% intervals. On the diagonal it says what is true.",
                    report.task.confidence * 100.0
                ),
            });
        }
        if !facts.curve.is_empty() {
            blocks.push(Block::Fold {
                summary: format!("{whose}The figures of the curve"),
                blocks: vec![Block::Table(curve(report, facts, &metric))],
            });
        }
        if !facts.reliability.is_empty() {
            blocks.push(Block::Fold {
                summary: format!("{whose}The figures of the calibration"),
                blocks: vec![Block::Table(reliability(facts))],
            });
        }
    }
    Some(super::section("cascade", "Cascade", blocks))
}

fn table(report: &RunReport, metric: &str) -> Table {
    let mut table = Table::new(
        "Student and teacher together, at the chosen threshold, on the eval rows",
        &[
            "student",
            ">deferred",
            &format!(">{metric}"),
            ">wrong among its own answers",
            ">$ per 1,000",
            ">mean ms",
        ],
    );
    let unit = report.unit(&report.task.metric);
    for facts in &report.cascade {
        let mark = |text| Line::marked(text, facts.simulated);
        let value = or_missing(facts.accuracy, |value| {
            let interval = facts
                .accuracy_interval
                .map(|interval| format!(" ({})", number::value_interval(unit, &interval)))
                .unwrap_or_default();
            format!("{}{interval}", number::value(unit, value))
        });
        table.row(vec![
            cell(&facts.student),
            mark(or_missing(facts.deferred_share, number::percent)),
            mark(value),
            mark(or_missing(facts.observed_risk, |risk| {
                let interval = facts.observed_risk_interval.as_ref();
                let interval = interval
                    .map(|interval| format!(" ({})", number::value_interval(Unit::Share, interval)))
                    .unwrap_or_default();
                format!("{}{interval}", number::percent(risk))
            })),
            mark(or_missing(facts.usd_per_1000, number::usd)),
            mark(or_missing(facts.mean_ms, number::milliseconds)),
        ]);
    }
    table
}

/// How the threshold came about.
fn chosen(report: &RunReport, facts: &CascadeFacts) -> Block {
    let wanted = report
        .accept
        .risk
        .map(|risk| format!(" of at most {}", number::percent(risk)))
        .unwrap_or_default();
    let by = if facts.confidence_is.is_empty() {
        String::new()
    } else {
        format!(" Its confidence is its {}.", facts.confidence_is)
    };
    let sentence = match &facts.threshold {
        Some(threshold) => format!(
            "{} answers itself when its calibrated probability of being right is at least {}. On {} calibration rows it then answers {} and is wrong on {} ({}); the share of wrong ones is at most {} at {:.0}% confidence (Clopper-Pearson, corrected for {} thresholds tried), for a risk{wanted}.{by}",
            facts.student,
            number::percent(threshold.probability),
            number::count(threshold.n),
            number::count(threshold.answered),
            number::count(threshold.wrong),
            number::percent(threshold.risk),
            number::percent(threshold.bound),
            threshold.confidence * 100.0,
            number::count(threshold.tried)
        ),
        None => format!(
            "No threshold keeps {} to a risk{wanted} on {} calibration rows: as a cascade it would send every request to the teacher.{by}",
            facts.student,
            number::count(facts.calibration_rows)
        ),
    };
    Block::Text(Line::marked(sentence, facts.simulated))
}

fn curve(report: &RunReport, facts: &CascadeFacts, metric: &str) -> Table {
    let mut table = Table::new(
        format!("{} at each share deferred", capital(metric)),
        &[
            ">deferred",
            ">least sure first",
            ">at random",
            ">oracle",
            ">$ per 1,000",
            ">mean ms",
        ],
    );
    let unit = report.unit(&report.task.metric);
    for point in &facts.curve {
        let mark = |text| Line::marked(text, facts.simulated);
        table.row(vec![
            cell(number::percent(point.deferred)),
            mark(number::value(unit, point.value)),
            mark(number::value(unit, point.random)),
            mark(number::value(unit, point.oracle)),
            mark(or_missing(point.usd_per_1000, number::usd)),
            mark(or_missing(point.mean_ms, number::milliseconds)),
        ]);
    }
    table
}

fn reliability(facts: &CascadeFacts) -> Table {
    let mut table = Table::new(
        "Stated probability of being right against what came true",
        &[">stated", ">was right", ">interval", ">n"],
    );
    for bin in &facts.reliability {
        table.row(vec![
            cell(number::percent(bin.probability)),
            Line::marked(number::percent(bin.right), facts.simulated),
            Line::marked(
                or_missing(bin.interval.as_ref(), number::percent_interval),
                facts.simulated,
            ),
            cell(number::count(bin.n)),
        ]);
    }
    table
}

pub(super) fn learning(report: &RunReport) -> Option<Section> {
    if report.learning_curves.is_empty() {
        return None;
    }
    let metric = metric_name(report, &report.task.metric);
    let mut table = Table::new(
        "Each student by the number of its training rows",
        &["student", ">training rows", &format!(">{metric}"), ">n"],
    );
    for curve in &report.learning_curves {
        let unit = report.unit(if curve.metric.is_empty() {
            &report.task.metric
        } else {
            &curve.metric
        });
        for point in &curve.points {
            let value = point.value.map_or_else(
                || MISSING.to_owned(),
                |value| match &point.interval {
                    Some(interval) => format!(
                        "{} ({})",
                        number::value(unit, value),
                        number::value_interval(unit, interval)
                    ),
                    None => number::value(unit, value),
                },
            );
            table.row(vec![
                cell(&curve.student),
                cell(number::count(point.train_rows)),
                Line::marked(value, curve.simulated),
                cell(number::count(point.n)),
            ]);
        }
    }
    let mut scored_on: Vec<&str> = report
        .learning_curves
        .iter()
        .map(|curve| curve.scored_on.as_str())
        .filter(|scored_on| !scored_on.is_empty())
        .collect();
    scored_on.dedup();
    let mut blocks = Vec::new();
    blocks.extend(
        figure::learning(report, &metric).map(|svg| Block::Figure {
            svg,
            caption: format!(
                "{} against training rows. A line that still rises at its end says that more rows would help.",
                capital(&metric)
            ),
        }),
    );
    if table.rows.is_empty() {
        blocks.push(text(format!("Learning curve: {MISSING}.")));
    } else {
        blocks.push(Block::Table(table));
    }
    if !scored_on.is_empty() {
        blocks.push(text(format!("Scored on: {}.", scored_on.join("; "))));
    }
    Some(super::section("learning", "Learning curve", blocks))
}
