//! Where the answers are good and where they are not.

use super::{cell, models::broken_down, section};
use crate::{
    RunReport,
    document::{Align, Block, Column, Line, Section, Table},
    number::{self, MISSING, or_missing},
};

/// Confused pairs shown for each arm.
const PAIRS: usize = 8;

pub(super) fn per_label(report: &RunReport) -> Option<Section> {
    let main = report.main_arm().filter(|arm| !arm.labels.is_empty())?;
    let others: Vec<_> = broken_down(report)
        .filter(|arm| arm.name != main.name && !arm.labels.is_empty())
        .collect();
    let mut table = Table::new(
        format!("Labels by {}'s F1, lowest first", main.name),
        &[
            "label",
            ">rows",
            &format!(">{} F1", main.name),
            &format!(">{} precision", main.name),
            &format!(">{} recall", main.name),
        ],
    );
    table.columns.extend(others.iter().map(|arm| Column {
        title: format!("{} F1", arm.name),
        align: Align::Right,
    }));
    let mut labels: Vec<_> = main.labels.iter().collect();
    labels.sort_by(|first, second| {
        let place = |f1: Option<f64>| f1.unwrap_or(f64::INFINITY);
        place(first.f1).total_cmp(&place(second.f1))
    });
    for label in labels {
        let mark = |value| Line::marked(or_missing(value, number::percent), main.simulated);
        let mut row = vec![
            cell(&label.label),
            cell(number::count(label.support)),
            mark(label.f1),
            mark(label.precision),
            mark(label.recall),
        ];
        row.extend(others.iter().map(|arm| {
            let found = arm.labels.iter().find(|other| other.label == label.label);
            Line::marked(
                or_missing(found.and_then(|found| found.f1), number::percent),
                arm.simulated,
            )
        }));
        table.row(row);
    }
    Some(section("labels", "Per label", vec![Block::Table(table)]))
}

pub(super) fn per_field(report: &RunReport) -> Option<Section> {
    let mut table = Table::new(
        "Each field by exact value: F1 with its interval, precision, recall",
        &[
            "field",
            "model",
            ">F1",
            ">precision",
            ">recall",
            ">in references",
            ">given",
            ">right",
        ],
    );
    let mut names: Vec<&str> = Vec::new();
    for field in report.arms.iter().flat_map(|arm| &arm.fields) {
        if !names.contains(&field.field.as_str()) {
            names.push(&field.field);
        }
    }
    for name in names {
        for arm in &report.arms {
            for field in arm.fields.iter().filter(|field| field.field == name) {
                let f1 = match (field.f1, &field.f1_interval) {
                    (Some(f1), Some(interval)) => format!(
                        "{} ({})",
                        number::percent(f1),
                        number::percent_interval(interval)
                    ),
                    (Some(f1), None) => number::percent(f1),
                    (None, _) => MISSING.to_owned(),
                };
                let mark = |text| Line::marked(text, arm.simulated);
                table.row(vec![
                    cell(name),
                    cell(&arm.name),
                    mark(f1),
                    mark(or_missing(field.precision, number::percent)),
                    mark(or_missing(field.recall, number::percent)),
                    cell(number::count(field.gold)),
                    cell(number::count(field.predicted)),
                    mark(number::count(field.correct)),
                ]);
            }
        }
    }
    (!table.rows.is_empty()).then(|| section("fields", "Per field", vec![Block::Table(table)]))
}

pub(super) fn confused(report: &RunReport) -> Option<Section> {
    let mut table = Table::new(
        "The pairs most often confused",
        &["model", "right answer", "was answered", ">rows"],
    );
    for arm in broken_down(report) {
        for pair in arm.confused.iter().take(PAIRS) {
            table.row(vec![
                cell(&arm.name),
                cell(&pair.gold),
                cell(&pair.answered),
                Line::marked(number::count(pair.count), arm.simulated),
            ]);
        }
    }
    (!table.rows.is_empty())
        .then(|| section("confused", "Confused pairs", vec![Block::Table(table)]))
}

pub(super) fn regressions(report: &RunReport) -> Option<Section> {
    let regressions = report.regressions.as_ref()?;
    let (candidate, baseline) = (&regressions.candidate, &regressions.baseline);
    let mut blocks = vec![Block::Text(Line::marked(
        format!(
            "{baseline} is right and {candidate} wrong on {} rows; {} are shown.",
            number::count(regressions.total),
            number::count(regressions.rows.len())
        ),
        regressions.simulated,
    ))];
    if !regressions.rows.is_empty() {
        let mut table = Table::new(
            "Worst first: rows on which the candidate was surest of its wrong answer, where it says",
            &[
                "row",
                "text",
                "right answer",
                baseline,
                candidate,
                ">its confidence",
            ],
        );
        for row in &regressions.rows {
            let said =
                |answer: &Option<String>| answer.clone().unwrap_or_else(|| "no answer".to_owned());
            table.row(vec![
                cell(&row.id),
                cell(&row.text),
                cell(row.gold.clone().unwrap_or_else(|| "none".to_owned())),
                Line::marked(said(&row.baseline_answer), regressions.simulated),
                cell(said(&row.candidate_answer)),
                cell(or_missing(row.candidate_confidence, number::percent)),
            ]);
        }
        blocks.push(Block::Table(table));
    }
    Some(section("regressions", "Worst regressions", blocks))
}
