//! The arms side by side on the same rows, and what lies between them.

use super::{cell, from, headline, metric_name, score, section};
use crate::{
    Arm, Role, RunReport,
    document::{Align, Block, Column, Line, Section, Table},
    number::{self, MISSING, or_missing},
};

pub(super) fn side_by_side(report: &RunReport) -> Option<Section> {
    if report.arms.is_empty() {
        return None;
    }
    let metric = metric_name(report, &report.task.metric);
    let mut table = Table::new(
        format!(
            "Every model on the same {} rows{}; {:.0}% intervals",
            number::count(report.task.eval_rows),
            from(report),
            report.task.confidence * 100.0
        ),
        &[
            "model",
            &format!(">{metric}"),
            ">n",
            ">unscored",
            ">p50 ms",
            ">p95 ms",
            ">answers/s",
            ">$ per 1,000",
        ],
    );
    let main = report.main_arm().map(|arm| &arm.name);
    for (place, arm) in report.arms.iter().enumerate() {
        if Some(&arm.name) == main {
            table.emphasised = Some(place);
        }
        table.row(arm_row(report, arm));
    }
    let mut blocks = vec![Block::Table(table)];
    let unscored = unscored(report);
    if !unscored.is_empty() {
        blocks.push(Block::Items(unscored));
    }
    let described: Vec<Line> = report
        .arms
        .iter()
        .filter(|arm| !arm.description.is_empty())
        .map(|arm| {
            cell(format!(
                "{} ({}): {}",
                arm.name,
                arm.role.label(),
                arm.description
            ))
        })
        .collect();
    let mut section = headline(section("models", "Side by side", blocks));
    if !described.is_empty() {
        section.blocks.push(Block::Fold {
            summary: "What each model is".to_owned(),
            blocks: vec![Block::Items(described)],
        });
    }
    Some(section)
}

fn arm_row(report: &RunReport, arm: &Arm) -> Vec<Line> {
    let main = report.primary(arm);
    let mark = |text: String| Line::marked(text, arm.simulated);
    let speed = arm.speed.as_ref();
    let label = if arm.role.label() == arm.name {
        arm.name.clone()
    } else {
        format!("{} ({})", arm.name, arm.role.label())
    };
    vec![
        cell(label),
        mark(score(main)),
        cell(or_missing(main, |main| number::count(main.n))),
        cell(or_missing(main, |main| number::count(main.unscored))),
        mark(or_missing(speed, |speed| {
            number::milliseconds(speed.per_answer_ms.p50)
        })),
        mark(or_missing(speed, |speed| {
            number::milliseconds(speed.per_answer_ms.p95)
        })),
        mark(or_missing(
            speed.and_then(|speed| speed.answers_per_second),
            number::significant,
        )),
        mark(or_missing(arm.usd_per_1000, number::usd)),
    ]
}

/// Why rows were not scored, arm by arm.
fn unscored(report: &RunReport) -> Vec<Line> {
    report
        .arms
        .iter()
        .filter_map(|arm| {
            let main = report.primary(arm)?;
            let reasons: Vec<String> = main
                .unscored_reasons
                .iter()
                .map(|(reason, rows)| format!("{reason} ({})", number::count(*rows)))
                .collect();
            (!reasons.is_empty()).then(|| {
                cell(format!(
                    "{} is not scored on {} rows: {}",
                    arm.name,
                    number::count(main.unscored),
                    reasons.join(", ")
                ))
            })
        })
        .collect()
}

pub(super) fn differences(report: &RunReport) -> Option<Section> {
    if report.differences.is_empty() {
        return None;
    }
    let mut table = Table::new(
        format!(
            "First minus second, on the rows both were scored on, in points; {:.0}% paired intervals",
            report.task.confidence * 100.0
        ),
        &[
            "first − second",
            "metric",
            ">n",
            ">left out",
            ">difference",
            ">interval",
            ">only first right",
            ">only second right",
            ">McNemar p",
        ],
    );
    for row in &report.differences {
        let unit = report.unit(&row.metric);
        let mark = |text: String| Line::marked(text, row.simulated);
        let whole_set = |value: Option<String>| match (value, row.table) {
            (Some(value), _) => mark(value),
            // A metric of the whole set has no table of right and wrong.
            (None, None) => cell("does not apply"),
            (None, Some(_)) => cell(MISSING),
        };
        table.row(vec![
            cell(format!("{} − {}", row.candidate, row.baseline)),
            cell(metric_name(report, &row.metric)),
            cell(number::count(row.n)),
            cell(number::count(row.left_out)),
            mark(or_missing(row.difference, |value| {
                number::change(unit, value)
            })),
            mark(or_missing(row.interval.as_ref(), |interval| {
                number::change_interval(unit, interval)
            })),
            whole_set(row.table.map(|table| number::count(table.only_candidate))),
            whole_set(row.table.map(|table| number::count(table.only_baseline))),
            whole_set(row.mcnemar_p.map(number::p_value)),
        ]);
    }
    let mut blocks = vec![Block::Table(table)];
    let mut methods: Vec<&str> = report
        .differences
        .iter()
        .filter_map(|row| Some(row.interval.as_ref()?.method.label()))
        .collect();
    methods.sort_unstable();
    methods.dedup();
    if !methods.is_empty() {
        blocks.push(super::text(format!(
            "Intervals: {}. McNemar's test is the exact one, two-sided.",
            methods.join(", ")
        )));
    }
    Some(headline(section("differences", "Differences", blocks)))
}

/// Every metric of every arm.
pub(super) fn other_metrics(report: &RunReport) -> Option<Section> {
    let mut names: Vec<&str> = Vec::new();
    for score in report.arms.iter().flat_map(|arm| &arm.scores) {
        if !names.contains(&score.metric.as_str()) {
            names.push(&score.metric);
        }
    }
    if names.len() < 2 {
        return None;
    }
    let mut table = Table::new("Every metric, with its interval", &["model"]);
    table.columns.extend(names.iter().map(|name| Column {
        title: metric_name(report, name),
        align: Align::Right,
    }));
    let main = report.main_arm().map(|arm| &arm.name);
    for (place, arm) in report.arms.iter().enumerate() {
        if Some(&arm.name) == main {
            table.emphasised = Some(place);
        }
        let mut row = vec![cell(&arm.name)];
        row.extend(names.iter().map(|name| {
            let found = arm.scores.iter().find(|score| score.metric == *name);
            Line::marked(score(found), arm.simulated)
        }));
        table.row(row);
    }
    let mut blocks = vec![Block::Table(table)];
    let meanings: Vec<Line> = names
        .iter()
        .filter_map(|name| {
            let metric = distill_eval::metric(name)?;
            Some(cell(format!(
                "{}: {}",
                number::metric(name),
                metric.description
            )))
        })
        .collect();
    if !meanings.is_empty() {
        blocks.push(Block::Fold {
            summary: "What each metric measures".to_owned(),
            blocks: vec![Block::Items(meanings)],
        });
    }
    Some(section("metrics", "Every metric", blocks))
}

/// Arms whose answers are worth a breakdown: students, the floor, the teacher.
pub(super) fn broken_down(report: &RunReport) -> impl Iterator<Item = &Arm> {
    report.arms.iter().filter(|arm| {
        matches!(
            arm.role,
            Role::Student | Role::Floor | Role::Cascade | Role::CheaperApi | Role::Teacher
        )
    })
}
