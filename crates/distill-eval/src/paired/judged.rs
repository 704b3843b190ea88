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
/// that people judged on both sides there is no interval, and nothing can be decided; where they
/// judged all rows but one, what they said counts alone.
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
    let corrected = rows.corrected();
    let values = (
        corrected.as_ref().map(|sides| sides.candidate),
        corrected.as_ref().map(|sides| sides.baseline),
    );
    let evidence = corrected.map(|sides| Evidence::Corrected {
        error: sides.error,
        labelled: rows.labelled.len(),
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
    fn corrected(&self) -> Option<Corrected> {
        let difference = |(first, second): (f64, f64)| first - second;
        // Where people judged all there is, the judge counts for nothing.
        let by_people: Vec<(f64, f64)> = self.labelled.iter().map(|row| row.1).collect();
        let (alone, tuning) = if self.alone.len() < 2 {
            (&by_people, Tuning::Fixed(0.0))
        } else {
            (&self.alone, Tuning::Power)
        };
        let mean = |of: fn((f64, f64)) -> f64, tuning| {
            let labelled: Vec<(f64, f64)> = self
                .labelled
                .iter()
                .map(|(human, judged)| (of(*human), of(*judged)))
                .collect();
            let alone: Vec<f64> = alone.iter().map(|judged| of(*judged)).collect();
            // The confidence is of no account: the standard error is what is taken from it.
            prediction_powered_mean(&labelled, &alone, 0.95, tuning)
        };
        let found = mean(difference, tuning)?;
        let each = Tuning::Fixed(found.weight);
        Some(Corrected {
            candidate: mean(|scores| scores.0, each)?.value,
            baseline: mean(|scores| scores.1, each)?.value,
            error: found.error,
        })
    }
}

/// What people's verdicts make of the judge's.
struct Corrected {
    candidate: f64,
    baseline: f64,
    /// Of the difference.
    error: f64,
}
