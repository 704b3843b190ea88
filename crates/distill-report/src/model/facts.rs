//! What happened before anything was scored: data, labels, spend, training, lineage.

use distill_eval::Interval;
use serde::{Deserialize, Serialize};

use super::Difference;

/// What became of the rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFacts {
    pub train_rows_read: usize,
    /// After cleaning and without the validation share.
    pub train_rows_used: usize,
    pub validation_rows: usize,
    pub removed: Vec<Removal>,
    /// Training rows that also stand among the eval rows.
    pub leaked: Vec<LeakedRow>,
    /// Kept apart for the cascade's calibration.
    #[serde(default)]
    pub calibration_rows: usize,
    /// How rows were compared, one sentence each, thresholds included.
    #[serde(default)]
    pub rules: Vec<String>,
    /// Eval rows whose text stands in the training rows too, whatever the context there.
    #[serde(default)]
    pub shared_texts: Vec<SharedText>,
}

/// Rows that were taken out for one reason.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    pub reason: String,
    pub rows: usize,
    /// The first of them.
    pub ids: Vec<String>,
}

/// A training row that an eval row repeats.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeakedRow {
    pub train_id: String,
    pub eval_id: String,
    pub text: String,
    /// Such as "equal", or "equal after folding case and white space".
    pub how: String,
}

/// An eval row whose text stands in the training rows too, and what was done about it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedText {
    pub eval_id: String,
    pub text: String,
    /// What the prompt puts around the text; empty where it puts nothing.
    pub context: String,
    /// Such as "equal", or "equal but for case and white space".
    pub how: String,
    /// Training rows with this text in this context: taken out.
    pub removed: usize,
    /// Training rows with this text in another context, which ask something else: kept.
    pub kept: usize,
    /// What was done and why, in one sentence.
    pub why: String,
}

/// Who said what is right on the training rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelSource {
    #[default]
    Teacher,
    Gold,
}

/// Something and how often.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    pub what: String,
    pub count: usize,
}

/// How the training rows got their labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelFacts {
    pub source: LabelSource,
    pub simulated: bool,
    /// Rows that were to be labelled.
    pub asked: usize,
    pub labelled: usize,
    /// Reason and rows.
    pub unlabelled: Vec<Counted>,
    /// Model that really answered and rows. More than one means that teachers were mixed.
    pub teachers: Vec<Counted>,
    /// With the human answers, where training rows have them.
    pub agreement: Option<Agreement>,
    /// What wrong labels cost: the same student trained on these labels (candidate) and on gold
    /// labels (baseline). Empty when that was not measured.
    pub errors_cost: Vec<Difference>,
    /// A model name that began to mean another model in mid-run, one sentence each.
    pub alias_changes: Vec<String>,
}

/// Labels that equal the human answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    pub right: usize,
    pub n: usize,
    pub interval: Option<Interval>,
}

/// What the run paid for model calls.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spend {
    pub simulated: bool,
    pub budget_usd: Option<f64>,
    /// Attempts whose price is known, summed.
    pub settled_usd: f64,
    pub requests: usize,
    /// Requests answered from the journal, at no price.
    pub journal_hits: usize,
    pub attempts: usize,
    /// Cause and attempts.
    pub failed_attempts: Vec<Counted>,
    /// Attempts that were cut and may yet be billed.
    pub unsettled: Vec<Unsettled>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    /// What other models of the run were paid, each from an account of its own: cheaper models that
    /// were compared, judges. Not in `settled_usd`.
    #[serde(default)]
    pub beside: Vec<OtherSpend>,
}

/// What a model besides the teacher was paid.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherSpend {
    pub what: String,
    /// `None` where its price is not known.
    pub settled_usd: Option<f64>,
    pub simulated: bool,
}

impl Spend {
    /// What the unsettled attempts can cost at most.
    pub fn unsettled_bound_usd(&self) -> f64 {
        self.unsettled
            .iter()
            .map(|attempt| attempt.reserved_usd)
            // `sum` of nothing is −0.0, which would be shown as such.
            .fold(0.0, |sum, usd| sum + usd)
    }
}

/// An attempt whose price is not known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsettled {
    pub model: String,
    pub row_id: Option<String>,
    pub why: String,
    /// Its upper bound.
    pub reserved_usd: f64,
}

/// How a student was trained.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingFacts {
    pub student: String,
    /// Such as "`LoRA` rank 16, alpha 32".
    pub method: String,
    pub steps: Option<usize>,
    pub examples: usize,
    pub seconds: Option<f64>,
    pub best_validation_loss: Option<f64>,
    pub trainable_parameters: Option<u64>,
    pub total_parameters: Option<u64>,
    /// What training adds: the adapter, or the whole model.
    pub artifact_bytes: Option<u64>,
    /// One line: tensors with a gradient, frozen ones without.
    pub gradient_census: Option<String>,
    pub stop_token_trained: Option<bool>,
    pub notes: Vec<String>,
}

/// From what the run was made, and how to make it again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    pub run_id: String,
    pub pipeline_hash: String,
    pub data: Vec<DataSource>,
    pub models: Vec<ModelSource>,
    pub seed: u64,
    pub code_version: String,
    pub rerun_command: String,
    /// What to type next.
    pub next_command: Option<String>,
}

/// A file of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSource {
    /// Such as "train" or "test".
    pub role: String,
    pub name: String,
    pub sha256: String,
    pub rows: usize,
}

/// A model that took part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSource {
    /// Such as "teacher" or "base".
    pub role: String,
    pub name: String,
    /// A snapshot name or a hash.
    pub identity: String,
}
