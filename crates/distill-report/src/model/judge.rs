//! What a judge said, and how far it can be believed.

use distill_eval::{Aggregate, Interval, stats::Kappa};
use serde::{Deserialize, Serialize};

/// The judge of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeFacts {
    /// More than one vote as a panel.
    pub models: Vec<String>,
    /// `pointwise` or `pairwise`.
    pub mode: String,
    #[serde(default)]
    pub rubric: String,
    /// Whether human verdicts were held beside the judge's. Without, every figure of the judge is
    /// called uncalibrated.
    pub calibrated: bool,
    /// Agreement with the human verdicts.
    pub kappa: Option<Kappa>,
    /// Whether a judge is of the teacher's family.
    #[serde(default)]
    pub same_family: bool,
    /// Pointwise: each arm's mean score.
    pub scores: Vec<JudgeScore>,
    /// Pairwise: each arm against another.
    #[serde(default)]
    pub pairs: Vec<JudgePair>,
    /// Pairs on which the two orders contradicted each other, which counts as a tie.
    pub disagreements: usize,
    /// Pairs that were asked in both orders.
    #[serde(default)]
    pub asked_both_ways: usize,
    /// What the judge cost.
    pub usd: Option<f64>,
    #[serde(default)]
    pub budget_usd: Option<f64>,
    #[serde(default)]
    pub simulated: bool,
    #[serde(default)]
    pub notes: Vec<String>,
}

/// One arm in the judge's eyes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeScore {
    pub arm: String,
    /// The judge's own mean.
    pub score: Aggregate,
    /// Corrected with the human verdicts, by prediction-powered inference.
    pub corrected: Option<Corrected>,
}

/// A judge's mean, moved by what people said on some of the rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corrected {
    pub value: Option<f64>,
    pub interval: Option<Interval>,
    /// Rows with a human verdict.
    pub labelled: usize,
    /// Rows with the judge's alone.
    pub judged: usize,
}

/// Two arms held side by side by the judge.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgePair {
    pub candidate: String,
    pub baseline: String,
    pub wins: usize,
    /// With those on which the two orders disagree.
    pub ties: usize,
    pub losses: usize,
    /// Rows without a verdict.
    pub unscored: usize,
    /// Wins and half the ties, as a share; `None` when no row was judged.
    pub value: Option<f64>,
    pub interval: Option<Interval>,
    pub corrected: Option<Corrected>,
}
