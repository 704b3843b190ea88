//! What a report says, in order. Every rendering writes this one document.

use distill_eval::{Aggregate, Reference};

use crate::{
    RunReport,
    document::{Block, Document, Line, Section},
    number::{self, MISSING},
};

mod answers;
mod cost;
mod facts;
mod models;
mod verdict;

pub(crate) fn compose(report: &RunReport) -> Document {
    let sections = [
        Some(verdict::section(report)),
        models::side_by_side(report),
        models::differences(report),
        models::figures(report),
        models::other_metrics(report),
        answers::per_label(report),
        answers::per_field(report),
        answers::confused(report),
        answers::regressions(report),
        Some(facts::data(report)),
        facts::labels(report),
        cost::spend(report),
        cost::model(report),
        Some(cost::speed(report)),
        facts::training(report),
        Some(facts::lineage(report)),
        Some(facts::commands(report)),
    ];
    Document {
        title: format!("Report of {}", report.name),
        decision: verdict::decision(report),
        banner: verdict::banner(report),
        sections: sections
            .into_iter()
            .flatten()
            .filter(|section| !section.blocks.is_empty())
            .collect(),
    }
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

/// The metric's name; over rows that only the teacher labelled it is agreement, and is called so.
fn metric_name(report: &RunReport, metric: &str) -> String {
    let name = number::metric(metric);
    match report.task.reference {
        Reference::Gold => name,
        Reference::TeacherLabels => format!("agreement with teacher ({name})"),
    }
}

/// `88.2% (86.9 to 89.3%)`.
fn score(aggregate: Option<&Aggregate>) -> String {
    let Some((value, aggregate)) =
        aggregate.and_then(|aggregate| Some((aggregate.value?, aggregate)))
    else {
        return MISSING.to_owned();
    };
    match &aggregate.interval {
        Some(interval) => format!(
            "{} ({})",
            number::percent(value),
            number::percent_interval(interval)
        ),
        None => format!("{} (no interval)", number::percent(value)),
    }
}
