use serde::{Deserialize, Serialize};

use crate::{
    Interval,
    stats::{Line, normal_quantile},
};

/// How far beyond the rows at hand a projection may reach.
const REACH: f64 = 8.0;
/// One-sided confidence that the curve rises at all.
const RISE_CONFIDENCE: f64 = 0.95;

/// A candidate's value after training on that many rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    pub train_rows: usize,
    pub value: f64,
    /// Of the value, over the rows it was measured on; `None` where it is not known, which leaves
    /// the curve's error to its own scatter.
    #[serde(default)]
    pub interval: Option<Interval>,
}

/// The same candidate trained on growing shares of the rows, every size scored on the same rows.
/// They may be the verdict's: the curve forecasts and lets nothing pass. What the sizes have in
/// common by sharing rows moves the curve up or down and not its slope, so the points' own errors,
/// taken as independent, are on the safe side for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LearningCurve {
    pub points: Vec<CurvePoint>,
}

/// Training rows that a curve projects, with what its error leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Projection {
    pub train_rows: usize,
    /// Had the curve the steepest slope that its error allows.
    pub at_best: usize,
    /// Had it the flattest.
    pub at_worst: usize,
}

impl LearningCurve {
    /// The most rows that were tried.
    pub fn largest(&self) -> Option<usize> {
        self.points.iter().map(|point| point.train_rows).max()
    }

    /// About how many training rows would gain `gap` over the largest size tried, in the values'
    /// unit; `None` when the curve does not support a number.
    ///
    /// Values are taken to rise by the same amount with each doubling, weighted by their errors;
    /// since gains shrink, the last step's rise is used where it is the smaller one. It takes at
    /// least three sizes, a last step that still rises, a rise that is certain at 95% (one-sided,
    /// by the larger of the points' own errors and their scatter about the line), and an answer
    /// within eight times the rows at hand even at the flattest slope of the middle half of what
    /// the error allows.
    pub fn rows_to_gain(&self, gap: f64) -> Option<Projection> {
        let points = self.sizes();
        let [.., before, last] = points.as_slice() else {
            return None;
        };
        if points.len() < 3 || gap.is_nan() || gap <= 0.0 {
            return None;
        }
        let errors: Option<Vec<f64>> = points.iter().map(error).collect();
        let places: Vec<(f64, f64)> = points
            .iter()
            .map(|point| (doublings(point), point.value))
            .collect();
        let line = Line::fit(&places, errors.as_deref());
        let last_step = (last.value - before.value) / (doublings(last) - doublings(before));
        if line.slope - line.reach(RISE_CONFIDENCE) <= 0.0 || last_step <= 0.0 {
            return None;
        }
        let slope = line.slope.min(last_step);
        let quarter = line.reach(0.75);
        let rows = |slope: f64| {
            let factor = (gap / slope).exp2();
            (slope > 0.0 && factor <= REACH)
                .then(|| (last.train_rows as f64 * factor).ceil() as usize)
        };
        Some(Projection {
            train_rows: rows(slope)?,
            at_best: rows(slope + quarter)?,
            at_worst: rows(slope - quarter)?,
        })
    }

    /// One point a size, by rising size.
    fn sizes(&self) -> Vec<CurvePoint> {
        let mut points: Vec<CurvePoint> = self
            .points
            .iter()
            .filter(|point| point.train_rows > 0 && point.value.is_finite())
            .copied()
            .collect();
        points.sort_by(|first, second| {
            first
                .train_rows
                .cmp(&second.train_rows)
                .then(first.value.total_cmp(&second.value))
        });
        points.dedup_by_key(|point| point.train_rows);
        points
    }
}

fn doublings(point: &CurvePoint) -> f64 {
    (point.train_rows as f64).log2()
}

/// The standard error that an interval stands for.
fn error(point: &CurvePoint) -> Option<f64> {
    let interval = point.interval?;
    let error = (interval.high - interval.low)
        / (2.0 * normal_quantile(f64::midpoint(1.0, interval.confidence)));
    (error > 0.0).then_some(error)
}
