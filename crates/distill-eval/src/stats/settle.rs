use super::{critical, normal_cdf};

/// The chance that fresh rows, `times` as many as those at hand, settle on which side of the
/// margin a difference lies.
///
/// `distance` is that of the observed difference from the margin, `reach` the half-width of its
/// interval at `confidence` towards the margin. The truth is taken to be normal around what was
/// observed, the fresh rows to err like the old ones.
pub(crate) fn chance_to_settle(distance: f64, reach: f64, confidence: f64, times: f64) -> f64 {
    let z = critical(confidence);
    let errors = distance * z / reach;
    // In standard errors of the fresh rows: theirs is 1, that of the truth √times.
    let spread = (1.0 + times).sqrt();
    let centre = errors * times.sqrt();
    normal_cdf((centre - z) / spread) + normal_cdf((-centre - z) / spread)
}
