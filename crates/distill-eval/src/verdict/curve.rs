use serde::{Deserialize, Serialize};

/// How far beyond the rows at hand a projection may reach.
const REACH: f64 = 8.0;

/// A candidate's value after training on that many rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    pub train_rows: usize,
    pub value: f64,
}

/// The same candidate trained on growing shares of the rows, scored on rows that are not the
/// verdict's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LearningCurve {
    pub points: Vec<CurvePoint>,
}

impl LearningCurve {
    /// The most rows that were tried.
    pub fn largest(&self) -> Option<usize> {
        self.points.iter().map(|point| point.train_rows).max()
    }

    /// About how many rows would reach `target`; `None` when the curve does not support a number.
    ///
    /// The gain of each doubling is taken as the smaller of the overall slope and the last step's,
    /// since gains shrink. At least three sizes are needed, the last step must still rise, and the
    /// answer may lie at most eight times beyond the rows at hand.
    pub fn rows_for(&self, target: f64) -> Option<usize> {
        let mut points: Vec<(f64, f64)> = self
            .points
            .iter()
            .filter(|point| point.train_rows > 0)
            .map(|point| ((point.train_rows as f64).log2(), point.value))
            .collect();
        points.sort_by(|first, second| first.0.total_cmp(&second.0));
        points.dedup_by(|first, second| first.0 <= second.0);
        let [.., before, last] = points.as_slice() else {
            return None;
        };
        if points.len() < 3 {
            return None;
        }
        let per_doubling = slope(&points).min((last.1 - before.1) / (last.0 - before.0));
        if per_doubling <= 0.0 {
            return None;
        }
        let factor = ((target - last.1).max(0.0) / per_doubling).exp2();
        (factor > 1.0 && factor <= REACH).then(|| (last.0.exp2() * factor).ceil() as usize)
    }
}

/// Least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mean_x = points.iter().map(|point| point.0).sum::<f64>() / n;
    let mean_y = points.iter().map(|point| point.1).sum::<f64>() / n;
    let covariance: f64 = points
        .iter()
        .map(|(x, y)| (x - mean_x) * (y - mean_y))
        .sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    covariance / variance
}
