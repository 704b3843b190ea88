//! The metrics there are: one file each, one line each in [`METRICS`].

use distill_chat::{Task, TaskKind};
use serde::{Deserialize, Serialize};

use crate::{Sample, Score, Statistic};

mod accuracy;
mod bleu;
mod chrf;
mod exact_match;
mod field_f1;
mod field_precision;
mod field_recall;
mod json_exact_object;
mod json_matches_schema;
mod json_parses;
mod macro_f1;
mod micro_f1;
mod multiple_choice;
mod normalised_match;
mod numeric;
mod regex;
mod rouge;
mod rouge_1;
mod rouge_1_ascii;
mod rouge_2;
mod rouge_2_ascii;
mod rouge_l;
mod rouge_l_ascii;
mod scorer;
mod sentence_bleu;
mod sentence_chrf;
mod span_f1;
#[cfg(test)]
mod tests;
mod text;
mod token_f1;
mod tool_arguments;
mod tool_call;
mod tool_name;

pub use scorer::{Options, Scorer, ScorerError, Setting, SettingKind};

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
    &regex::METRIC,
    &numeric::METRIC,
    &multiple_choice::METRIC,
    &token_f1::METRIC,
    &rouge_1::METRIC,
    &rouge_2::METRIC,
    &rouge_l::METRIC,
    &rouge_1_ascii::METRIC,
    &rouge_2_ascii::METRIC,
    &rouge_l_ascii::METRIC,
    &bleu::METRIC,
    &sentence_bleu::METRIC,
    &chrf::METRIC,
    &sentence_chrf::METRIC,
    &span_f1::METRIC,
    &tool_call::METRIC,
    &tool_name::METRIC,
    &tool_arguments::METRIC,
];

/// What a value is measured in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// 0 to 1: so many rows (or labels, fields, spans) of all.
    #[default]
    Share,
    /// 0 to 1: the mean of a score that each row has.
    Score0To1,
    /// 0 to 100, as the field prints it.
    Score0To100,
    /// A scale of the scorer's own.
    Points,
}

impl Unit {
    /// As a listing names it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Share => "share, 0 to 1",
            Self::Score0To1 => "0 to 1",
            Self::Score0To100 => "0 to 100",
            Self::Points => "points",
        }
    }

    /// What a perfect answer is worth; `None` on a scale of the scorer's own.
    pub fn full(self) -> Option<f64> {
        match self {
            Self::Share | Self::Score0To1 => Some(1.0),
            Self::Score0To100 => Some(100.0),
            Self::Points => None,
        }
    }
}

/// Which way is better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    #[default]
    Higher,
    Lower,
}

impl Direction {
    /// As a listing names it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
        }
    }
}

/// What a rule knows beside the sample.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub task: &'a Task,
    pub options: &'a Options,
}

impl Context<'_> {
    pub(crate) fn kind(&self) -> TaskKind {
        self.task.definition().kind
    }
}

/// How a metric gets from samples to a number.
#[derive(Clone, Copy)]
pub enum Rule {
    /// Each sample is right (1) or wrong (0); the value is the share of right ones, its interval
    /// Wilson's, or a clustered bootstrap where rows share groups.
    Share(fn(&Sample, &Context<'_>) -> Score),
    /// Each sample has a real value; the value is their mean, its interval a bootstrap.
    Mean(fn(&Sample, &Context<'_>) -> Score),
    /// The value belongs to the whole set; its interval is a bootstrap over samples.
    Corpus(Corpus),
}

/// The rule of a metric that has a value for the whole set only.
#[derive(Clone, Copy)]
pub struct Corpus {
    /// `Err` says why a sample cannot be counted.
    pub scorable: fn(&Sample, &Context<'_>) -> Result<(), Score>,
    /// Gets scorable samples only.
    pub statistic: fn(&[&Sample], &Context<'_>) -> Box<dyn Statistic>,
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
    pub settings: &'static [Setting],
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

    /// Whether each row has a score of its own, so that two models can be compared row by row.
    pub fn scores_rows(&self) -> bool {
        !matches!(self.rule, Rule::Corpus(_))
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
const GENERATE: &[TaskKind] = &[TaskKind::Generate];
/// Tasks whose replies may be JSON.
const JSON: &[TaskKind] = &[TaskKind::Extract, TaskKind::Generate];

/// A reply and a reference are all that it takes.
fn has_reference(sample: &Sample, _context: &Context<'_>) -> Result<(), Score> {
    sample.reply_and_gold().map(|_| ())
}
