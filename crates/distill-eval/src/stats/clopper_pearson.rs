//! Exact bounds of a proportion.
//!
//! C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case
//! of the binomial", Biometrika 26 (1934), 404-413.

use super::{Interval, IntervalMethod, binomial::at_most};

/// The exact two-sided interval of a proportion; `None` when nothing was counted.
///
/// Covers at least at its confidence whatever the true proportion is, and is wider than Wilson's.
pub fn clopper_pearson(successes: usize, n: usize, confidence: f64) -> Option<Interval> {
    let one_sided = f64::midpoint(1.0, confidence);
    Some(Interval {
        low: clopper_pearson_lower(successes, n, one_sided)?,
        high: clopper_pearson_upper(successes, n, one_sided)?,
        confidence,
        method: IntervalMethod::ClopperPearson,
    })
}

/// The exact one-sided upper bound: the largest share under which `successes` or fewer still had a
/// chance of 1 − `confidence`. `None` when nothing was counted.
pub fn clopper_pearson_upper(successes: usize, n: usize, confidence: f64) -> Option<f64> {
    if n == 0 || successes > n {
        return None;
    }
    if successes == n {
        return Some(1.0);
    }
    Some(falling_root(1.0 - confidence, |share| {
        at_most(successes, n, share)
    }))
}

/// The exact one-sided lower bound; `None` when nothing was counted.
pub fn clopper_pearson_lower(successes: usize, n: usize, confidence: f64) -> Option<f64> {
    clopper_pearson_upper(n.checked_sub(successes)?, n, confidence).map(|upper| 1.0 - upper)
}

/// The most successes of `n` at which the upper bound of confidence 1 − `level` is still at most
/// `share`; `None` when not even none would do.
pub(crate) fn most_successes(n: usize, share: f64, level: f64) -> Option<usize> {
    let passes = |successes: usize| successes < n && at_most(successes, n, share) <= level;
    if !passes(0) {
        return None;
    }
    let (mut low, mut high) = (0, n);
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if passes(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low)
}

/// Where a function that falls from 1 to 0 over the unit interval passes `level`.
fn falling_root(level: f64, value: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    // Halves the unit interval down to the spacing of doubles near 1e-3.
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if value(middle) > level {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}
