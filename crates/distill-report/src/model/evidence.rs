//! What stands beside the scores: the cascade, the learning curve, the noise floor.

use distill_eval::{
    Interval,
    cascade::{Calibration, DeferralPoint, Threshold},
    stats::wilson,
};
use serde::{Deserialize, Serialize};

/// A student that answers when it is sure and asks the teacher otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CascadeFacts {
    /// The arm that answers first.
    pub student: String,
    /// The arm of the two together, where one was compared with the teacher.
    #[serde(default)]
    pub arm: Option<String>,
    /// What the raw confidence is: "label probability", "least margin between two tokens".
    #[serde(default)]
    pub confidence_is: String,
    /// Rows of the calibration split that both fits below were made on; none of them is an eval row.
    #[serde(default)]
    pub calibration_rows: usize,
    /// From raw confidence to the probability of being right.
    pub calibration: Calibration,
    /// `None`: no threshold keeps the risk that was asked for.
    pub threshold: Option<Threshold>,
    /// Over the eval rows, from nothing deferred to everything. Its value is the task's metric.
    pub curve: Vec<DeferralPoint>,
    /// Of student and teacher together at the threshold, on the eval rows.
    pub accuracy: Option<f64>,
    #[serde(default)]
    pub accuracy_interval: Option<Interval>,
    /// Share of eval rows that go to the teacher at the threshold.
    pub deferred_share: Option<f64>,
    /// Share of wrong answers among those that the student gives itself, on the eval rows.
    #[serde(default)]
    pub observed_risk: Option<f64>,
    /// Wilson's.
    #[serde(default)]
    pub observed_risk_interval: Option<Interval>,
    pub usd_per_1000: Option<f64>,
    #[serde(default)]
    pub mean_ms: Option<f64>,
    /// Stated probability against what came true, on the eval rows.
    #[serde(default)]
    pub reliability: Vec<ReliabilityBin>,
    pub simulated: bool,
}

/// Answers of about the same stated probability.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReliabilityBin {
    /// Mean stated probability of being right, 0 to 1.
    pub probability: f64,
    /// Share that was right.
    pub right: f64,
    pub n: usize,
    pub interval: Option<Interval>,
}

impl ReliabilityBin {
    /// Up to `bins` groups of equal size, by stated probability. Equal probabilities stay in one
    /// group, so that the order of the rows changes nothing.
    pub fn of(rows: &[(f64, bool)], bins: usize, confidence: f64) -> Vec<Self> {
        let mut rows: Vec<(f64, bool)> = rows
            .iter()
            .copied()
            .filter(|row| row.0.is_finite())
            .collect();
        rows.sort_by(|first, second| first.0.total_cmp(&second.0).then(first.1.cmp(&second.1)));
        let size = rows.len().div_ceil(bins.max(1)).max(1);
        let mut groups: Vec<Vec<(f64, bool)>> = Vec::new();
        for row in rows {
            match groups.last_mut() {
                Some(group)
                    if group.len() < size || group.last().is_some_and(|last| last.0 >= row.0) =>
                {
                    group.push(row);
                }
                _ => groups.push(vec![row]),
            }
        }
        groups
            .iter()
            .map(|group| {
                let n = group.len();
                let right = group.iter().filter(|row| row.1).count();
                Self {
                    probability: group.iter().map(|row| row.0).sum::<f64>() / n as f64,
                    right: right as f64 / n as f64,
                    n,
                    interval: wilson(right, n, confidence),
                }
            })
            .collect()
    }
}

/// How a student gets better with more training rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurveFacts {
    pub student: String,
    /// Which rows it was scored on, such as "validation rows"; the eval rows select nothing.
    #[serde(default)]
    pub scored_on: String,
    /// The metric of the values; empty means the task's.
    #[serde(default)]
    pub metric: String,
    pub points: Vec<CurveFactsPoint>,
    #[serde(default)]
    pub simulated: bool,
}

/// One size.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurveFactsPoint {
    pub train_rows: usize,
    pub value: Option<f64>,
    pub interval: Option<Interval>,
    /// Rows that it was scored on.
    #[serde(default)]
    pub n: usize,
}

/// The teacher asked twice: what it does not agree with itself on, no student can pass.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseFloorFacts {
    /// Rows asked twice with two usable answers.
    pub n: usize,
    /// Rows asked twice of which one answer is missing or not usable.
    #[serde(default)]
    pub left_out: usize,
    /// Share of the `n` rows with the same answer both times; `None` when there is none.
    pub agreement: Option<f64>,
    pub interval: Option<Interval>,
    /// How the second asking was done: temperature, past the journal.
    #[serde(default)]
    pub how: String,
    /// A student asked twice at temperature 0.
    pub student_repeat: Option<RepeatFacts>,
    pub simulated: bool,
}

/// A model asked twice in the same way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepeatFacts {
    pub arm: String,
    pub n: usize,
    /// Rows with the same answer, byte for byte.
    pub same: usize,
}
