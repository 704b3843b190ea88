//! What a suite found: the document `summary.json`.

use std::collections::BTreeMap;

use distill_chat::TaskDefinition;
use distill_eval::{
    Aggregate, Direction, Interval, PairedTable, Quantiles, SampleRecord, Unit, stats,
};
use distill_report::JudgeFacts;
use serde::{Deserialize, Serialize};

use super::{Answers, RequirementResult, file_name};

/// The version of the document's form.
pub(super) const FORMAT: u32 = 1;

/// Everything that a suite found. A missing number is absent, never 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub format: u32,
    pub suite: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Of the program.
    pub version: String,
    pub task: TaskDefinition,
    pub rows: RowFacts,
    pub confidence: f64,
    /// Bootstrap draws.
    pub draws: usize,
    pub seed: u64,
    pub answerers: Vec<AnswererFacts>,
    /// The first is the main one.
    pub scorers: Vec<ScorerFigures>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeFacts>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirements: Vec<RequirementResult>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The rows that were answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowFacts {
    pub source: String,
    /// Of the whole file.
    pub sha256: String,
    pub count: usize,
    pub with_expected: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// One answerer: where its answers came from and what they took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswererFacts {
    pub name: String,
    /// `recorded`, `model` or `bundle`.
    pub kind: String,
    pub origin: String,
    /// The file of its records, relative to this document.
    pub samples: String,
    /// Made up by this program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
    pub answered: usize,
    /// Rows without an answer that the task can read, by the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub problems: BTreeMap<String, usize>,
    /// Answers that were paid for earlier and read back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub from_cache: usize,
    /// Milliseconds, end to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Quantiles>,
    /// Of all rows, where each row tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Of all answers at the price of the day they were asked, whenever that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// Answers by the model that gave them, by the name it gave itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, usize>,
}

/// What one scorer says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScorerFigures {
    /// With its settings: `numeric(tolerance=0.01)`.
    pub name: String,
    pub unit: Unit,
    pub direction: Direction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What must be said beside each of these figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// One an answerer, in their order.
    pub values: Vec<Aggregate>,
    /// Every pair of answerers.
    pub comparisons: Vec<PairFigures>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<SliceFigures>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// Two answerers on the rows that both have a score for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairFigures {
    pub candidate: String,
    pub baseline: String,
    pub n: usize,
    /// Rows of which a side could not be scored.
    pub left_out: usize,
    /// Groups of rows that were drawn together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<usize>,
    /// Candidate minus baseline.
    pub difference: Option<f64>,
    pub interval: Option<Interval>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<PairedTable>,
    /// Two-sided p of "there is no difference": exact `McNemar` where there is a table, else by
    /// inversion of the bootstrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// The same after Holm's correction over all pairs of this scorer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holm_p: Option<f64>,
}

/// One column's slices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceFigures {
    pub column: String,
    /// The most frequent first.
    pub values: Vec<SliceValue>,
    /// Values beyond those that are shown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_shown: usize,
}

/// The rows of one value of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceValue {
    pub value: String,
    pub rows: usize,
    /// One an answerer, in their order.
    pub values: Vec<Aggregate>,
}

/// How often a scorer says the same as somebody else's recorded right or wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub answerer: String,
    /// The column with the recorded right or wrong.
    pub column: String,
    pub agreed: usize,
    pub n: usize,
    /// Rows without a score, or without a recorded right or wrong.
    pub left_out: usize,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl AnswererFacts {
    pub(super) fn of(answers: &Answers) -> Self {
        let records = &answers.records;
        let mut problems = BTreeMap::new();
        let mut models = BTreeMap::new();
        for record in records {
            if let Some(problem) = &record.problem {
                *problems.entry(problem.clone()).or_default() += 1;
            }
            if let Some(model) = &record.model {
                *models.entry(model.clone()).or_default() += 1;
            }
        }
        let latencies: Vec<f64> = records.iter().filter_map(|row| row.latency_ms).collect();
        let name = answers.answerer.name();
        Self {
            kind: answers.answerer.kind().to_owned(),
            origin: answers.answerer.origin(),
            samples: format!("samples/{}.jsonl", file_name(&name)),
            simulated: answers.simulated,
            answered: records.iter().filter(|row| row.output.is_some()).count(),
            problems,
            from_cache: records.iter().filter(|row| row.from_cache).count(),
            latency_ms: stats::quantiles(&latencies),
            input_tokens: total(records, |row| row.input_tokens),
            output_tokens: total(records, |row| row.output_tokens),
            usd: dollars(records),
            models,
            name,
        }
    }
}

/// The sum over the answered rows; `None` when one of them does not tell.
fn total(records: &[SampleRecord], of: impl Fn(&SampleRecord) -> Option<u64>) -> Option<u64> {
    let answered: Vec<_> = records.iter().filter(|row| row.output.is_some()).collect();
    if answered.is_empty() {
        return None;
    }
    answered.into_iter().map(of).sum()
}

fn dollars(records: &[SampleRecord]) -> Option<f64> {
    let answered: Vec<_> = records.iter().filter(|row| row.output.is_some()).collect();
    if answered.is_empty() {
        return None;
    }
    answered.into_iter().map(|row| row.usd).sum()
}
