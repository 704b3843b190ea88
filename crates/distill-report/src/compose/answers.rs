//! Where the answers are good and where they are not.

use std::collections::BTreeSet;

use distill_eval::{Aggregate, Reference};
use serde_json::{Map, Value};

use super::{
    capital, cell, metric_name, models::broken_down, quoted, reference_name, score, section,
};
use crate::{
    Arm, CONFUSION_LABELS, ConfusionFacts, Regression, Regressions, RunReport,
    document::{Align, Block, Case, Column, Line, Matrix, Section, Table},
    figure,
    number::{self, MISSING, or_missing},
};

/// Whole tables of confusions.
const MATRICES: usize = 4;
/// Confused pairs shown for each arm.
const PAIRS: usize = 8;

pub(super) fn per_label(report: &RunReport) -> Option<Section> {
    let main = contenders(report).find(|arm| !arm.labels.is_empty())?;
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
            quoted(&label.label),
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

/// Which labels are taken for which: the whole table where it can be read, else the pairs most
/// often confused.
pub(super) fn confusion(report: &RunReport) -> Option<Section> {
    let mut blocks = Vec::new();
    let tables = contenders(report).filter_map(|arm| {
        let confusion = arm.confusion.as_ref().filter(|table| fits(table))?;
        Some((arm, confusion))
    });
    for (place, (arm, confusion)) in tables.take(MATRICES).enumerate() {
        let matrix = Block::Matrix(matrix(report, arm, confusion));
        blocks.push(if place == 0 {
            matrix
        } else {
            Block::Fold {
                summary: format!("The same for {}", arm.name),
                blocks: vec![matrix],
            }
        });
    }
    let mut table = Table::new(
        "The pairs most often confused",
        &["model", reference_name(report), "was answered", ">rows"],
    );
    for arm in broken_down(report) {
        for pair in arm.confused.iter().take(PAIRS) {
            table.row(vec![
                cell(&arm.name),
                quoted(&pair.gold),
                quoted(&pair.answered),
                Line::marked(number::count(pair.count), arm.simulated),
            ]);
        }
    }
    if !table.rows.is_empty() {
        blocks.push(if blocks.is_empty() {
            Block::Table(table)
        } else {
            Block::Fold {
                summary: "The pairs most often confused, of every model".to_owned(),
                blocks: vec![Block::Table(table)],
            }
        });
    }
    (!blocks.is_empty()).then(|| section("confusion", "What is taken for what", blocks))
}

/// The arm that the verdict is about, the one whose regressions are shown, the teacher, the rest:
/// each once. A cascade has no answers of its own to count, so its student comes next.
fn contenders(report: &RunReport) -> impl Iterator<Item = &Arm> {
    let regressed = report.regressions.as_ref().and_then(|regressions| {
        let mut arms = report.arms.iter();
        arms.find(|arm| arm.name == regressions.candidate)
    });
    let mut seen: Vec<&str> = Vec::new();
    report
        .main_arm()
        .into_iter()
        .chain(regressed)
        .chain(report.teacher())
        .chain(broken_down(report))
        .filter(move |arm| {
            let new = !seen.contains(&arm.name.as_str());
            seen.push(&arm.name);
            new
        })
}

/// A table that somebody else wrote may have any shape.
fn fits(confusion: &ConfusionFacts) -> bool {
    confusion.labels.len() <= CONFUSION_LABELS
        && confusion.counts.len() == confusion.labels.len()
        && confusion.answers.len() >= confusion.labels.len()
        && confusion
            .counts
            .iter()
            .all(|row| row.len() == confusion.answers.len())
}

fn matrix(report: &RunReport, arm: &Arm, confusion: &ConfusionFacts) -> Matrix {
    let more = confusion.answers.get(confusion.labels.len()..);
    Matrix {
        caption: format!(
            "{}: rows are {}s, columns what it answered, by the same numbers",
            arm.name,
            reference_name(report)
        ),
        rows: confusion.labels.clone(),
        more: more.unwrap_or_default().to_vec(),
        counts: confusion.counts.clone(),
        simulated: arm.simulated,
    }
}

/// Models beside each other on a part of the rows.
const BESIDE: usize = 4;

pub(super) fn slices(report: &RunReport) -> Option<Section> {
    let mut arms: Vec<&Arm> = contenders(report)
        .filter(|arm| !arm.slices.is_empty())
        .collect();
    let all = arms.len();
    arms.truncate(BESIDE);
    let mut names: Vec<&str> = Vec::new();
    for slice in arms.iter().flat_map(|arm| &arm.slices) {
        if !names.contains(&slice.name.as_str()) {
            names.push(&slice.name);
        }
    }
    if names.is_empty() {
        return None;
    }
    let metric = metric_name(report, &report.task.metric);
    let mut table = Table::new(
        format!("{} on parts of the rows", capital(&metric)),
        &["rows", ">n"],
    );
    table.columns.extend(arms.iter().map(|arm| Column {
        title: arm.name.clone(),
        align: Align::Right,
    }));
    let mut unscored = Vec::new();
    for name in names {
        let found: Vec<Option<&Aggregate>> = arms
            .iter()
            .map(|arm| {
                let slice = arm.slices.iter().find(|slice| slice.name == name)?;
                Some(&slice.score)
            })
            .collect();
        for (arm, score) in arms.iter().zip(&found) {
            if let Some(score) = score.filter(|score| score.unscored > 0) {
                unscored.push(cell(format!(
                    "{} is not scored on {} rows of {name}",
                    arm.name,
                    number::count(score.unscored)
                )));
            }
        }
        let n = found.iter().copied().flatten().map(|score| score.n).max();
        let mut row = vec![cell(name), cell(or_missing(n, number::count))];
        row.extend(
            arms.iter()
                .zip(&found)
                .map(|(arm, found)| Line::marked(score(*found), arm.simulated)),
        );
        table.row(row);
    }
    let mut blocks = Vec::new();
    blocks.extend(figure::slices(report).map(|svg| Block::Figure {
        svg,
        caption: format!(
            "{} on each part with {:.0}% intervals. Many parts are looked at and none is corrected for that: one bad part among twenty is what chance gives.",
            capital(&metric),
            report.task.confidence * 100.0
        ),
    }));
    blocks.push(Block::Table(table));
    if all > arms.len() {
        blocks.push(super::text(format!(
            "{} in report.json.",
            number::several(all - arms.len(), "more model is", "more models are")
        )));
    }
    if !unscored.is_empty() {
        blocks.push(Block::Items(unscored));
    }
    Some(section("slices", "Parts of the rows", blocks))
}

pub(super) fn regressions(report: &RunReport) -> Option<Section> {
    let regressions = report.regressions.as_ref()?;
    let (candidate, baseline) = (&regressions.candidate, &regressions.baseline);
    let shown = if regressions.rows.len() < regressions.total {
        format!(
            "; the {} worst are shown",
            number::count(regressions.rows.len())
        )
    } else {
        String::new()
    };
    let what = match report.task.reference {
        Reference::Gold | Reference::Human => {
            format!("{baseline} is right and {candidate} wrong, or scores lower,")
        }
        Reference::CalibratedJudge | Reference::UncalibratedJudge => {
            format!("The judge puts {candidate} below {baseline}")
        }
        Reference::TeacherLabels => format!("{candidate} does not say what {baseline} says"),
    };
    let mut blocks = vec![Block::Text(Line::marked(
        format!(
            "{what} on {} rows{shown}. Worst first: where {candidate} was surest of its answer, or lost most.",
            number::count(regressions.total)
        ),
        regressions.simulated,
    ))];
    let cases: Vec<Case> = regressions
        .rows
        .iter()
        .map(|row| case(report, regressions, row))
        .collect();
    if !cases.is_empty() {
        blocks.push(Block::Cases(cases));
    }
    Some(section("regressions", "Worst regressions", blocks))
}

fn note(regressions: &Regressions, row: &Regression) -> Option<String> {
    let sure = row.candidate_confidence.map(|confidence| {
        format!(
            "{} was {} sure",
            regressions.candidate,
            number::percent(confidence)
        )
    });
    let fields = row.gold.as_deref().zip(row.candidate_answer.as_deref());
    let differs = fields
        .map(|(gold, answer)| different_fields(gold, answer))
        .filter(|fields| !fields.is_empty())
        .map(|fields| format!("differs in {}", fields.join(", ")));
    let parts: Vec<String> = sure.into_iter().chain(differs).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The fields in which two JSON objects differ; none when one of them is no object.
fn different_fields(gold: &str, answer: &str) -> Vec<String> {
    let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).ok();
    let Some((gold, answer)) = read(gold).zip(read(answer)) else {
        return Vec::new();
    };
    let fields: BTreeSet<&String> = gold.keys().chain(answer.keys()).collect();
    fields
        .into_iter()
        .filter(|field| gold.get(*field) != answer.get(*field))
        .cloned()
        .collect()
}

fn case(report: &RunReport, regressions: &Regressions, row: &Regression) -> Case {
    let unit = report.unit(&report.task.metric);
    let said = |answer: &Option<String>, score: Option<f64>, simulated: bool| {
        let mut line = match answer {
            Some(answer) => quoted(answer),
            None => cell("no answer"),
        };
        if let Some(score) = score {
            line.text = format!("{} [scores {}]", line.text, number::value(unit, score));
        }
        line.simulated(simulated)
    };
    let expected = match &row.gold {
        Some(gold) => quoted(gold),
        None => cell("none"),
    };
    Case {
        title: format!("row {}", row.id),
        text: quoted(&row.text),
        answers: vec![
            (reference_name(report).to_owned(), expected),
            (
                regressions.baseline.clone(),
                said(
                    &row.baseline_answer,
                    row.baseline_score,
                    regressions.simulated,
                ),
            ),
            (
                regressions.candidate.clone(),
                said(&row.candidate_answer, row.candidate_score, false),
            ),
        ],
        note: note(regressions, row),
    }
}
