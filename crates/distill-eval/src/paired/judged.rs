use std::collections::BTreeMap;

use super::{CompareError, Comparison, Scale, comparison::Evidence, pair};
use crate::{
    ScoredRow, Settings,
    stats::{Tuning, prediction_powered_mean},
};

/// One side's answers as a judge scored them all, and people some of them.
#[derive(Debug, Clone, Copy)]
pub struct JudgedSide<'a> {
    pub judge: &'a [ScoredRow],
    /// Human scores by the row's id.
    pub human: &'a BTreeMap<String, f64>,
}

/// Compares two sides by a judge whose scores people corrected: the prediction-powered mean of the
/// differences, row by row. A judge that favours one side moves nothing but the width.
///
/// The rows that people judged on both sides must be drawn at random from all of them. Rows in
/// groups are taken one by one, so the interval is too narrow for them. With fewer than two rows
/// that people judged on both sides, or than two more that the judge alone did, there is no
/// interval, and nothing can be decided.
///
/// # Errors
/// When the two sides are not answers to the same rows.
pub fn compare_judged(
    candidate: JudgedSide<'_>,
    baseline: JudgedSide<'_>,
    scale: Scale,
    settings: &Settings,
) -> Result<Comparison, CompareError> {
    let pairs = pair(candidate.judge, baseline.judge, |row| row.id.as_str())?;
    let all = pairs.len();
    let mut rows = Rows::default();
    for (first, second) in pairs {
        let judged = first.score.value().zip(second.score.value());
        let human = candidate
            .human
            .get(&first.id)
            .copied()
            .zip(baseline.human.get(&second.id).copied());
        match (judged, human) {
            (Some(judged), Some(human)) => rows.labelled.push((human, judged)),
            (Some(judged), None) => rows.alone.push(judged),
            (None, _) => {}
        }
    }
    let n = rows.labelled.len() + rows.alone.len();
    let (values, evidence) = rows
        .corrected()
        .map_or(((None, None), None), |(values, evidence)| {
            (values, Some(evidence))
        });
    let mut comparison = Comparison::of_evidence(values, n, all - n, scale, evidence);
    comparison.interval = comparison.interval_at(settings.confidence);
    Ok(comparison)
}

/// Scores of (candidate, baseline).
#[derive(Default)]
struct Rows {
    /// By people and by the judge.
    labelled: Vec<((f64, f64), (f64, f64))>,
    /// By the judge alone.
    alone: Vec<(f64, f64)>,
}

impl Rows {
    fn corrected(&self) -> Option<((Option<f64>, Option<f64>), Evidence)> {
        let difference = |(first, second): (f64, f64)| first - second;
        let mean = |of: fn((f64, f64)) -> f64, tuning| {
            let labelled: Vec<(f64, f64)> = self
                .labelled
                .iter()
                .map(|(human, judged)| (of(*human), of(*judged)))
                .collect();
            let alone: Vec<f64> = self.alone.iter().map(|judged| of(*judged)).collect();
            // The confidence is of no account: the standard error is what is taken from it.
            prediction_powered_mean(&labelled, &alone, 0.95, tuning)
        };
        let found = mean(difference, Tuning::Power)?;
        let each = Tuning::Fixed(found.weight);
        let values = (
            mean(|scores| scores.0, each).map(|side| side.value),
            mean(|scores| scores.1, each).map(|side| side.value),
        );
        let error = (found.error.powi(2) + self.unseen(found.weight)).sqrt();
        Some((
            values,
            Evidence::Corrected {
                error,
                labelled: self.labelled.len(),
            },
        ))
    }

    /// The variance of two more rows of the size of those that matter, as the bootstrap adds them:
    /// few corrections that differ would else be taken for little error.
    fn unseen(&self, weight: f64) -> f64 {
        let terms: Vec<f64> = self
            .labelled
            .iter()
            .map(|(human, judged)| (human.0 - human.1) - weight * (judged.0 - judged.1))
            .collect();
        let count = terms.len() as f64;
        let centre = terms.iter().sum::<f64>() / count;
        let moment =
            |power: i32| -> f64 { terms.iter().map(|term| (term - centre).powi(power)).sum() };
        let square = moment(2);
        if square > 0.0 {
            2.0 * moment(4) / square / (count * count)
        } else {
            0.0
        }
    }
}
