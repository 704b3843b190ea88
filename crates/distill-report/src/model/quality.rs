//! What may be wrong with the rows themselves.

use distill_eval::{Confusion, NO_VALID_ANSWER};
use serde::{Deserialize, Serialize};

/// More labels than this make no table that anybody reads.
pub const CONFUSION_LABELS: usize = 20;

/// Labels that look wrong, by the students' own out-of-fold answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelNoiseFacts {
    /// How it was estimated, in one sentence.
    pub method: String,
    /// Rows looked at.
    pub n: usize,
    /// Share of labels that are likely wrong; `None` when it could not be estimated. With an upper
    /// share beside it, it is the lower one.
    pub estimated_share: Option<f64>,
    /// What the share may be at most, the estimating student's own errors included.
    #[serde(default)]
    pub upper_share: Option<f64>,
    /// All that look wrong; the list below may be shorter.
    #[serde(default)]
    pub suspected: usize,
    /// The likeliest first.
    pub suspects: Vec<LabelSuspect>,
    /// Whether a simulated provider gave the labels.
    #[serde(default)]
    pub simulated: bool,
}

/// A label that looks wrong.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelSuspect {
    pub id: String,
    /// The label that the row has.
    pub given: String,
    /// The label that it likely ought to have.
    pub likely: String,
    /// Of the given label, 0 to 1.
    pub probability: f64,
    pub text: String,
}

/// An eval row that repeats another one: the two count as one observation, not as two.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalDuplicate {
    pub id: String,
    /// The earlier row.
    pub of: String,
    pub text: String,
    /// Such as "equal", or "near, Jaccard 0.91".
    pub how: String,
}

/// Rows with one text and more than one label.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelConflict {
    pub text: String,
    pub ids: Vec<String>,
    /// The label of each of `ids`.
    pub labels: Vec<String>,
}

/// Reference label against answer, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfusionFacts {
    /// Of the rows of `counts`.
    pub labels: Vec<String>,
    /// Of the columns: the labels, then "(no valid answer)".
    pub answers: Vec<String>,
    /// `counts[reference][answer]`.
    pub counts: Vec<Vec<usize>>,
}

impl ConfusionFacts {
    /// The whole table; `None` with more than [`CONFUSION_LABELS`] labels, or with none.
    pub fn of(confusion: &Confusion) -> Option<Self> {
        let labels: Vec<String> = confusion
            .per_label()
            .into_iter()
            .map(|scores| scores.label)
            .collect();
        if labels.is_empty() || labels.len() > CONFUSION_LABELS {
            return None;
        }
        let mut answers = labels.clone();
        answers.push(NO_VALID_ANSWER.to_owned());
        let counts = labels
            .iter()
            .map(|label| {
                answers
                    .iter()
                    .map(|answer| confusion.count_of(label, answer))
                    .collect()
            })
            .collect();
        Some(Self {
            labels,
            answers,
            counts,
        })
    }
}
