//! How far people agree with a judge, and its scores moved by what they said.

use std::collections::BTreeMap;

use super::JudgeMode;
use crate::{
    Score, ScoredRow,
    stats::{Kappa, PredictionPowered, Tuning, cohen_kappa, prediction_powered_mean},
};

/// A judge held beside people, over one arm's answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Human score and judge's score of each row that has both.
    pub pairs: Vec<(f64, f64)>,
    /// The judge's mean corrected with the human scores; `None` when too few rows have both.
    pub corrected: Option<PredictionPowered>,
}

/// Cohen's kappa of human and judge over the categories of the mode; `None` without a row.
pub fn agreement(mode: JudgeMode, pairs: &[(f64, f64)], confidence: f64) -> Option<Kappa> {
    let categories: Vec<(i64, i64)> = pairs
        .iter()
        .map(|(human, judge)| (mode.category(*human), mode.category(*judge)))
        .collect();
    cohen_kappa(&categories, confidence)
}

/// Holds a judge's scores beside the human ones. Unbiased when the rows with a human score are a
/// random part of all rows; rows chosen for being doubtful are not.
pub fn calibrate(
    judged: &[ScoredRow],
    human: &BTreeMap<String, f64>,
    confidence: f64,
) -> Calibration {
    let mut pairs = Vec::new();
    let mut alone = Vec::new();
    for row in judged {
        let Score::Value(judge) = row.score else {
            continue;
        };
        match human.get(&row.id) {
            Some(human) => pairs.push((*human, judge)),
            None => alone.push(judge),
        }
    }
    let corrected = corrected_mean(&pairs, &alone, confidence);
    Calibration { pairs, corrected }
}

/// A judge's mean over all rows, corrected with the rows that have a human score, too
/// (prediction-powered inference with the weight that makes the interval narrowest).
pub fn corrected_mean(
    pairs: &[(f64, f64)],
    judged_alone: &[f64],
    confidence: f64,
) -> Option<PredictionPowered> {
    prediction_powered_mean(pairs, judged_alone, confidence, Tuning::Power)
}
