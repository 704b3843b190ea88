use statrs::distribution::{ContinuousCDF, StudentsT};

use super::normal_quantile;

/// A straight line by weighted least squares, with the error of its slope.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line {
    pub(crate) slope: f64,
    /// The larger of what the points' own errors give and what their scatter about the line does.
    pub(crate) error: f64,
    /// Degrees of freedom of the error when it rests on the scatter alone; then quantiles are
    /// Student's.
    freedom: Option<f64>,
}

impl Line {
    /// Through (place, value) of at least three places; `errors` are the values' standard errors,
    /// where all are known.
    pub(crate) fn fit(points: &[(f64, f64)], errors: Option<&[f64]>) -> Self {
        let weights: Vec<f64> = errors.map_or_else(
            || vec![1.0; points.len()],
            |errors| errors.iter().map(|error| error.powi(-2)).collect(),
        );
        let total: f64 = weights.iter().sum();
        let mean = |value: &dyn Fn(f64, f64) -> f64| -> f64 {
            let sum: f64 = points
                .iter()
                .zip(&weights)
                .map(|((place, height), weight)| weight * value(*place, *height))
                .sum();
            sum / total
        };
        let (centre, level) = (mean(&|place, _| place), mean(&|_, height| height));
        let spread = mean(&|place, _| (place - centre).powi(2));
        let slope = mean(&|place, height| (place - centre) * (height - level)) / spread;
        let scatter = mean(&|place, height| (height - level - slope * (place - centre)).powi(2));
        let freedom = (points.len() - 2) as f64;
        let by_scatter = scatter / (freedom * spread);
        let by_errors = errors.map_or(0.0, |_| 1.0 / (total * spread));
        Self {
            slope,
            error: by_scatter.max(by_errors).sqrt(),
            freedom: errors.is_none().then_some(freedom),
        }
    }

    /// How far the slope may err on one side with that confidence.
    pub(crate) fn reach(&self, confidence: f64) -> f64 {
        let quantile = self
            .freedom
            .and_then(|freedom| StudentsT::new(0.0, 1.0, freedom).ok())
            .map_or_else(
                || normal_quantile(confidence),
                |student| student.inverse_cdf(confidence),
            );
        quantile * self.error
    }
}
