//! Labels, training and lineage.

use super::{capital, cell, headline, section, text};
use crate::{
    LabelFacts, LabelSource, RunReport,
    document::{Block, Line, Section, Table},
    number::{self, MISSING, or_missing},
};

pub(super) fn labels(report: &RunReport) -> Option<Section> {
    let labels = report.labels.as_ref()?;
    let mark = |text: String| Line::marked(text, labels.simulated);
    let mut items = match labels.source {
        LabelSource::Gold => vec![cell(format!(
            "The students were trained on the gold labels of {} rows.",
            number::count(labels.labelled)
        ))],
        LabelSource::Teacher => vec![mark(format!(
            "The teacher labelled {} of {} rows.",
            number::count(labels.labelled),
            number::count(labels.asked)
        ))],
    };
    items.extend(labels.unlabelled.iter().map(|reason| {
        mark(format!(
            "without a label: {} rows, {}",
            number::count(reason.count),
            reason.what
        ))
    }));
    items.extend(who(labels));
    items.extend(labels.alias_changes.iter().map(cell));
    if labels.source == LabelSource::Teacher {
        items.push(agreement(labels));
        items.extend(errors_cost(labels));
    }
    Some(headline(section(
        "training-labels",
        "Training labels",
        vec![Block::Items(items)],
    )))
}

fn who(labels: &LabelFacts) -> Option<Line> {
    if labels.teachers.is_empty() {
        return None;
    }
    let teachers: Vec<String> = labels
        .teachers
        .iter()
        .map(|teacher| format!("{} {}", teacher.what, number::count(teacher.count)))
        .collect();
    let mixed = if teachers.len() > 1 {
        "Teachers were mixed through failover"
    } else {
        "One teacher answered"
    };
    Some(Line::marked(
        format!("{mixed}: {}.", teachers.join(", ")),
        labels.simulated,
    ))
}

fn agreement(labels: &LabelFacts) -> Line {
    let Some(agreement) = labels.agreement.as_ref().filter(|found| found.n > 0) else {
        return cell(format!("Agreement of the labels with gold: {MISSING}."));
    };
    let interval = agreement
        .interval
        .as_ref()
        .map(|interval| format!(", interval {}", number::percent_interval(interval)))
        .unwrap_or_default();
    Line::marked(
        format!(
            "The labels agree with gold on {} of {} training rows ({}{interval}).",
            number::count(agreement.right),
            number::count(agreement.n),
            number::percent(agreement.right as f64 / agreement.n as f64)
        ),
        labels.simulated,
    )
}

fn errors_cost(labels: &LabelFacts) -> Vec<Line> {
    if labels.errors_cost.is_empty() {
        return vec![cell(format!(
            "What wrong labels cost the student: {MISSING} (no student was trained on gold labels beside it)."
        ))];
    }
    labels
        .errors_cost
        .iter()
        .map(|cost| {
            Line::marked(
                format!(
                    "What wrong labels cost: {} reaches {} and {} {}, {} points ({}) on {} rows.",
                    cost.candidate,
                    or_missing(cost.candidate_value, number::percent),
                    cost.baseline,
                    or_missing(cost.baseline_value, number::percent),
                    or_missing(cost.difference, number::points),
                    or_missing(cost.interval.as_ref(), number::points_interval),
                    number::count(cost.n)
                ),
                cost.simulated,
            )
        })
        .collect()
}

pub(super) fn training(report: &RunReport) -> Option<Section> {
    if report.training.is_empty() {
        return None;
    }
    let mut table = Table::new(
        "How each student was trained",
        &[
            "student",
            "method",
            ">examples",
            ">steps",
            ">time",
            ">best validation loss",
            ">trainable parameters",
            ">of",
            ">size",
            "stop token trained",
        ],
    );
    let mut items = Vec::new();
    for facts in &report.training {
        table.row(vec![
            cell(&facts.student),
            cell(&facts.method),
            cell(number::count(facts.examples)),
            cell(or_missing(facts.steps, number::count)),
            cell(or_missing(facts.seconds, number::seconds)),
            cell(or_missing(facts.best_validation_loss, |loss| {
                format!("{loss:.4}")
            })),
            cell(or_missing(facts.trainable_parameters, number::count64)),
            cell(or_missing(facts.total_parameters, number::count64)),
            cell(or_missing(facts.artifact_bytes, number::bytes)),
            cell(match facts.stop_token_trained {
                Some(true) => "yes",
                Some(false) => "no",
                None => "does not apply",
            }),
        ]);
        if let Some(census) = &facts.gradient_census {
            items.push(cell(format!("{}: {census}", facts.student)));
        }
        items.extend(
            facts
                .notes
                .iter()
                .map(|note| cell(format!("{}: {note}", facts.student))),
        );
    }
    let mut blocks = vec![Block::Table(table)];
    if !items.is_empty() {
        blocks.push(Block::Items(items));
    }
    Some(section("training", "Training", blocks))
}

pub(super) fn lineage(report: &RunReport) -> Section {
    let lineage = &report.lineage;
    let mut table = Table::new(
        "From what it was made",
        &["what", "name", "identity", ">rows"],
    );
    for source in &lineage.data {
        table.row(vec![
            cell(format!("{} data", source.role)),
            cell(&source.name),
            cell(format!("sha256 {}", source.sha256)),
            cell(number::count(source.rows)),
        ]);
    }
    for model in &lineage.models {
        table.row(vec![
            cell(&model.role),
            cell(&model.name),
            cell(&model.identity),
            cell(""),
        ]);
    }
    if let Some(labels) = &report.labels {
        for teacher in &labels.teachers {
            table.row(vec![
                cell("labels by"),
                Line::marked(&teacher.what, labels.simulated),
                cell("the model that answered"),
                cell(number::count(teacher.count)),
            ]);
        }
    }
    let known = |what: &str, value: &str| (!value.is_empty()).then(|| format!("{what} {value}"));
    let parts: Vec<String> = [
        known("run", &lineage.run_id),
        known("pipeline", &lineage.pipeline_hash),
        Some(format!("seed {}", lineage.seed)),
        known("code", &lineage.code_version),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut blocks = vec![text(format!("{}.", capital(&parts.join(", "))))];
    blocks.extend(prices(report).map(text));
    if !table.rows.is_empty() {
        blocks.push(Block::Table(table));
    }
    section("lineage", "Lineage", blocks)
}

/// The date of the prices and how old it was when the run used them.
fn prices(report: &RunReport) -> Option<String> {
    let mut dates: Vec<(&str, Option<i64>)> = report
        .price_age
        .iter()
        .filter_map(|price| Some((price.as_of.as_deref()?, price.age_days)))
        .collect();
    dates.sort_unstable();
    dates.dedup();
    if dates.is_empty() {
        return None;
    }
    let dates: Vec<String> = dates
        .into_iter()
        .map(|(date, age)| {
            let age = or_missing(age, |days| format!("{days} days"));
            format!("{date} (age at the run: {age})")
        })
        .collect();
    Some(format!("Prices as of {}.", dates.join(", ")))
}

pub(super) fn commands(report: &RunReport) -> Option<Section> {
    let lineage = &report.lineage;
    if lineage.rerun_command.is_empty() {
        return None;
    }
    Some(headline(section(
        "commands",
        "To run it again",
        vec![
            text(format!("Run {}.", lineage.run_id)),
            Block::Command(lineage.rerun_command.clone()),
        ],
    )))
}
