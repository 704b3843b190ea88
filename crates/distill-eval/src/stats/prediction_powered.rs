//! A mean over many rows that a judge scored and few that a person scored, too.
//!
//! Where judge and people differ on few of the rows that both scored, those few carry the whole
//! correction, and its error by their variance is too small: with a judge that is wrong on 3% of
//! rows and 100 verdicts of people a 95% interval holds the true mean in 93 of 100 cases, and
//! where they agree on all of them the correction would have no error at all. So two rows are
//! added to its variance, as [`bootstrap`](super::bootstrap) does, of the size of the differences
//! that matter, or where there is none of the judge's score that lies farthest from its mean.

use serde::{Deserialize, Serialize};

use super::{Interval, IntervalMethod, critical};

/// A judge's mean, corrected with human verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PredictionPowered {
    /// Rows with both a human verdict and the judge's.
    pub labelled: usize,
    /// Rows with the judge's verdict only.
    pub unlabelled: usize,
    pub value: f64,
    /// Standard error of the value.
    pub error: f64,
    pub interval: Interval,
    /// How far the judge was relied on: 0 is the human mean alone, 1 the plain correction.
    pub weight: f64,
    /// The judge's own mean over all rows, uncorrected.
    pub uncorrected: f64,
}

/// How far to rely on the judge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tuning {
    /// As far as makes the interval narrowest (PPI++).
    Power,
    /// A fixed weight; 1 is the plain method.
    Fixed(f64),
}

/// The mean of human verdicts over the rows of which most were judged by a model only.
///
/// `labelled` holds (human, judge) pairs drawn at random from the same rows as `unlabelled`, which
/// holds the judge's verdict on the others; then the result is unbiased however wrong the judge
/// is. `None` with fewer than two rows on either side.
///
/// A. N. Angelopoulos, S. Bates, C. Fannjiang, M. I. Jordan, T. Zrnic, "Prediction-powered
/// inference", Science 382 (2023), 669-674; the weight from A. N. Angelopoulos, J. C. Duchi,
/// T. Zrnic, "PPI++: efficient prediction-powered inference" (2023), arXiv 2311.01453, example 6.1.
pub fn prediction_powered_mean(
    labelled: &[(f64, f64)],
    unlabelled: &[f64],
    confidence: f64,
    tuning: Tuning,
) -> Option<PredictionPowered> {
    let finite = labelled
        .iter()
        .flat_map(|(human, judge)| [human, judge])
        .chain(unlabelled)
        .all(|value| value.is_finite());
    let (few, many) = (labelled.len(), unlabelled.len());
    if few < 2 || many < 2 || !finite {
        return None;
    }
    let human: Vec<f64> = labelled.iter().map(|pair| pair.0).collect();
    let judged: Vec<f64> = labelled.iter().map(|pair| pair.1).collect();
    let all: Vec<f64> = judged.iter().chain(unlabelled).copied().collect();
    let weight = match tuning {
        Tuning::Fixed(weight) => weight,
        Tuning::Power => {
            let spread = variance(&all);
            if spread > 0.0 {
                // The covariance with n below, as the method's authors have it.
                let shared = covariance(&human, &judged) * (few - 1) as f64 / few as f64;
                let best = shared / ((1.0 + few as f64 / many as f64) * spread);
                best.clamp(0.0, 1.0)
            } else {
                0.0
            }
        }
    };
    let corrected: Vec<f64> = labelled
        .iter()
        .map(|(human, judge)| human - weight * judge)
        .collect();
    let value = weight * mean(unlabelled) + mean(&corrected);
    let added = weight_of_one(&corrected).unwrap_or_else(|| weight * farthest(&all)) / few as f64;
    let error = (weight * weight * variance(unlabelled) / many as f64
        + variance(&corrected) / few as f64
        + 2.0 * added * added)
        .sqrt();
    let half = critical(confidence) * error;
    Some(PredictionPowered {
        labelled: few,
        unlabelled: many,
        value,
        error,
        interval: Interval {
            low: value - half,
            high: value + half,
            confidence,
            method: IntervalMethod::PredictionPowered,
        },
        weight,
        uncorrected: mean(&all),
    })
}

/// The root of the fourth over the second moment about the mean; `None` where nothing varies.
fn weight_of_one(values: &[f64]) -> Option<f64> {
    let centre = mean(values);
    let moment = |power: i32| -> f64 {
        values
            .iter()
            .map(|value| (value - centre).powi(power))
            .sum()
    };
    let square = moment(2);
    // Equal values leave nothing but rounding.
    (square > 1e-18).then(|| (moment(4) / square).sqrt())
}

/// How far the farthest value lies from the mean.
fn farthest(values: &[f64]) -> f64 {
    let centre = mean(values);
    values
        .iter()
        .map(|value| (value - centre).abs())
        .fold(0.0, f64::max)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// With n − 1 below.
fn variance(values: &[f64]) -> f64 {
    covariance(values, values)
}

fn covariance(first: &[f64], second: &[f64]) -> f64 {
    let (centre, other) = (mean(first), mean(second));
    let sum: f64 = first
        .iter()
        .zip(second)
        .map(|(first, second)| (first - centre) * (second - other))
        .sum();
    sum / (first.len() - 1) as f64
}
