//! What a report says, in order. Every rendering writes this one document.

use distill_eval::{Aggregate, Reference};

use crate::{
    RunReport,
    document::{Block, Document, Line, Section},
    number::{self, MISSING},
};

mod answers;
mod cascade;
mod cost;
mod data;
mod facts;
mod figures;
mod gates;
mod judge;
mod models;
mod summary;
mod terms;
mod verdict;

pub(crate) use gates::{Gate, Outcome, gates};
pub(crate) use summary::summary;
pub(crate) use terms::explain;

pub(crate) fn compose(report: &RunReport) -> Document {
    let sections = [
        Some(verdict::section(report)),
        figures::section(report),
        models::side_by_side(report),
        models::differences(report),
        cascade::section(report),
        cascade::learning(report),
        models::other_metrics(report),
        answers::slices(report),
        answers::per_label(report),
        answers::per_field(report),
        answers::confusion(report),
        answers::regressions(report),
        judge::noise_floor(report),
        judge::section(report),
        Some(data::section(report)),
        data::label_noise(report),
        facts::labels(report),
        cost::spend(report),
        cost::model(report),
        Some(cost::speed(report)),
        facts::training(report),
        Some(facts::lineage(report)),
        facts::commands(report),
    ];
    let mut document = Document {
        sections: sections
            .into_iter()
            .flatten()
            .filter(|section| !section.blocks.is_empty())
            .collect(),
        ..verdict::head(report)
    };
    if let Some(terms) = terms::section(&document) {
        document.sections.push(terms);
    }
    document
}

fn section(id: &'static str, title: impl Into<String>, blocks: Vec<Block>) -> Section {
    Section {
        id,
        title: title.into(),
        headline: false,
        blocks,
    }
}

fn headline(section: Section) -> Section {
    Section {
        headline: true,
        ..section
    }
}

fn text(text: impl Into<String>) -> Block {
    Block::Text(Line::new(text))
}

fn cell(text: impl Into<String>) -> Line {
    Line::new(text)
}

/// A text of a row or of a model.
fn quoted(text: &str) -> Line {
    Line::quoted(text)
}

/// The metric's name; over rows that only the teacher labelled it is agreement, and is called so.
fn metric_name(report: &RunReport, metric: &str) -> String {
    let name = number::metric(metric);
    match report.task.reference {
        Reference::Gold | Reference::Human => name,
        Reference::CalibratedJudge => format!("{name} (calibrated judge)"),
        Reference::UncalibratedJudge => format!("{name} (uncalibrated judge)"),
        Reference::TeacherLabels => format!("agreement with the teacher ({name})"),
    }
}

/// ` of test.csv`, where the eval rows' source has a name.
fn from(report: &RunReport) -> String {
    match report.task.eval_source.as_str() {
        "" => String::new(),
        source => format!(" of {source}"),
    }
}

/// With a capital at the start, as a sentence has it.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// What the answers are held against, in a table's head.
fn reference_name(report: &RunReport) -> &'static str {
    match report.task.reference {
        Reference::Gold => "right answer",
        Reference::Human => "people's answer",
        Reference::CalibratedJudge | Reference::UncalibratedJudge => "reference",
        Reference::TeacherLabels => "the teacher's label",
    }
}

/// `88.2% (86.9 to 89.3%)`.
fn score(aggregate: Option<&Aggregate>) -> String {
    let Some((value, aggregate)) =
        aggregate.and_then(|aggregate| Some((aggregate.value?, aggregate)))
    else {
        return MISSING.to_owned();
    };
    let unit = aggregate.unit;
    match &aggregate.interval {
        Some(interval) => format!(
            "{} ({})",
            number::value(unit, value),
            number::value_interval(unit, interval)
        ),
        None => format!("{} (no interval)", number::value(unit, value)),
    }
}
