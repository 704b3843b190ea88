//! The metrics there are: one file each, one line each in [`METRICS`].

use distill_chat::{Task, TaskKind};

use crate::{Sample, Score, ScoredRow, Statistic};

mod accuracy;
mod exact_match;
mod field_f1;
mod field_precision;
mod field_recall;
mod json_exact_object;
mod json_matches_schema;
mod json_parses;
mod macro_f1;
mod micro_f1;
mod normalised_match;
#[cfg(test)]
mod tests;

/// Every metric, in the order reports list them.
pub static METRICS: &[&Metric] = &[
    &accuracy::METRIC,
    &macro_f1::METRIC,
    &micro_f1::METRIC,
    &json_exact_object::METRIC,
    &json_parses::METRIC,
    &json_matches_schema::METRIC,
    &field_f1::METRIC,
    &field_precision::METRIC,
    &field_recall::METRIC,
    &exact_match::METRIC,
    &normalised_match::METRIC,
];

/// What a value is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// 0 to 1.
    Share,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Higher,
    Lower,
}

/// How a metric gets from samples to a number.
#[derive(Clone, Copy)]
pub enum Rule {
    /// Each sample is right (1) or wrong (0); the value is the share of right ones, its interval
    /// Wilson's.
    Share(fn(&Sample, &Task) -> Score),
    /// The value belongs to the whole set; its interval is a bootstrap over samples. Gets only
    /// samples that have a reply and a reference.
    Corpus(fn(&[&Sample], &Task) -> Box<dyn Statistic>),
}

/// One way to judge answers.
pub struct Metric {
    /// As written in specs, reports and files.
    pub name: &'static str,
    pub unit: Unit,
    pub direction: Direction,
    pub description: &'static str,
    /// The tasks it has a meaning for.
    pub kinds: &'static [TaskKind],
    pub rule: Rule,
}

impl std::fmt::Debug for Metric {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Metric").field(&self.name).finish()
    }
}

impl Metric {
    pub fn applies_to(&self, kind: TaskKind) -> bool {
        self.kinds.contains(&kind)
    }

    /// The score of each sample; `None` for a metric that has a value for the whole set only.
    pub fn score_all(&self, samples: &[Sample], task: &Task) -> Option<Vec<ScoredRow>> {
        let Rule::Share(score) = self.rule else {
            return None;
        };
        Some(
            samples
                .iter()
                .map(|sample| ScoredRow {
                    id: sample.id.clone(),
                    score: score(sample, task),
                })
                .collect(),
        )
    }
}

/// The metric of that name.
pub fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().copied().find(|metric| metric.name == name)
}

/// The metric that a task's verdict rests on: a share, so that it can be compared pair by pair.
pub fn primary_metric(kind: TaskKind) -> &'static Metric {
    match kind {
        TaskKind::Classify => &accuracy::METRIC,
        TaskKind::Extract => &json_exact_object::METRIC,
        TaskKind::Generate => &normalised_match::METRIC,
    }
}

const EVERY: &[TaskKind] = &TaskKind::ALL;
const CLASSIFY: &[TaskKind] = &[TaskKind::Classify];
const EXTRACT: &[TaskKind] = &[TaskKind::Extract];
