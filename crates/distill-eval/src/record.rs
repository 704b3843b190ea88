//! What one arm said to one row, with everything a figure can be taken from: the evidence that a
//! report rests on, one JSON line a row and one file an arm.

use std::collections::BTreeMap;

use distill_chat::Task;
use serde::{Deserialize, Serialize};

use crate::{Outcome, Sample, Score};

#[cfg(test)]
mod tests;

/// Who vouches for a row's reference answer. In the order of their weight: the later one loses to
/// an earlier one where a row has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedBy {
    /// A person who was shown this very row.
    Human,
    /// The data's own column of right answers.
    Gold,
    /// The teacher's answer: to equal it is agreement with the teacher, right or wrong.
    Teacher,
}

/// One row as one arm answered it. What is unknown is absent, never 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SampleRecord {
    pub id: String,
    /// The text that the user's message was rendered to.
    pub input: String,
    /// The raw reply, valid or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Why there is no answer: nothing arrived, or what arrived is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The reference answer in canonical text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// Present exactly when `expected` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_by: Option<ExpectedBy>,
    /// By the scorer's name; only scorers that score row by row.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, Score>,
    /// Raw confidence of the arm in its answer: higher is surer, comparable within one arm only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// End to end, asked alone; milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// The answer was paid for earlier and read back; `latency_ms` is then what it took at the time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_cache: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// What the answer cost, at the price of the day it was asked; US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// The model that answered, by the name it gave itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Values of the columns that the report slices by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slices: BTreeMap<String, String>,
    /// Rows of one group are not independent of each other: one cluster of the bootstrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The option texts of a multiple-choice row, in the order of their letters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// What judges said about the answer, by the judge's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub judged: BTreeMap<String, Judgement>,
}

/// What one judge said about one answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// 0 to 1, or why there is none.
    pub score: Score,
    /// The judge's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// Pairwise: whether the two orders contradicted each other, which counts as a tie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders_disagree: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
}

impl SampleRecord {
    /// A record of a reply as the task reads it; `Err` says why nothing arrived.
    pub fn read(
        id: impl Into<String>,
        input: impl Into<String>,
        task: &Task,
        reply: Result<&str, &str>,
        expected: Option<(&str, ExpectedBy)>,
    ) -> Self {
        let sample = Sample::read(id, task, reply, expected.map(|(answer, _)| answer));
        let problem = match &sample.outcome {
            Outcome::Answer { .. } => None,
            Outcome::Invalid { problem, .. } => Some(problem.clone()),
            Outcome::Missing { reason } => Some(reason.clone()),
        };
        Self {
            output: sample.reply().map(str::to_owned),
            id: sample.id,
            input: input.into(),
            problem,
            expected: sample.gold,
            expected_by: expected.map(|(_, by)| by),
            ..Self::default()
        }
    }

    /// The sample that scorers read.
    pub fn sample(&self, task: &Task) -> Sample {
        let reply = match (&self.output, &self.problem) {
            (Some(output), _) => Ok(output.as_str()),
            (None, Some(problem)) => Err(problem.as_str()),
            (None, None) => Err("no answer was recorded for this row"),
        };
        Sample::read(self.id.clone(), task, reply, self.expected.as_deref())
            .with_group(self.group.clone())
            .with_choices(self.choices.clone())
    }
}
