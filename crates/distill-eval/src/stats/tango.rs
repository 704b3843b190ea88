//! Tango's score test and interval for the difference of two paired proportions.
//!
//! T. Tango, "Equivalence test and confidence interval for the difference in proportions for the
//! paired-sample design", Statistics in Medicine 17 (1998), 891-908.

use super::{Interval, IntervalMethod, critical, normal_cdf};
use crate::PairedTable;

/// The interval of (candidate − baseline); `None` when there is no pair.
pub fn tango(table: &PairedTable, confidence: f64) -> Option<Interval> {
    let n = table.pairs();
    if n == 0 {
        return None;
    }
    let z = critical(confidence);
    let estimate = table.difference().expect("there is a pair");
    // The score falls as the assumed difference rises, from +inf at -1 to -inf at 1.
    let low = bisect(-1.0, estimate, |delta| score(table, delta) > z);
    let high = bisect(estimate, 1.0, |delta| score(table, delta) > -z);
    Some(Interval {
        low,
        high,
        confidence,
        method: IntervalMethod::Tango,
    })
}

/// The one-sided p of "the candidate is worse than the baseline by the margin or more".
///
/// Below (1 − confidence) / 2 exactly when the lower end of [`tango`] lies above −margin.
pub fn noninferiority_p(table: &PairedTable, margin: f64) -> Option<f64> {
    (table.pairs() > 0).then(|| normal_cdf(-score(table, -margin)))
}

/// How many standard errors the observed difference lies above `delta`.
fn score(table: &PairedTable, delta: f64) -> f64 {
    score_at(
        table.only_candidate,
        table.only_baseline,
        table.pairs(),
        delta,
    )
}

pub(super) fn score_at(only_candidate: usize, only_baseline: usize, n: usize, delta: f64) -> f64 {
    let (b, c, n) = (only_candidate as f64, only_baseline as f64, n as f64);
    let numerator = b - c - n * delta;
    let variance = n * variance_at(b, c, n, delta);
    if variance > 0.0 {
        numerator / variance.sqrt()
    } else if numerator == 0.0 {
        0.0
    } else {
        numerator * f64::INFINITY
    }
}

/// The variance of one pair's difference when the true difference is `delta`: the share of the
/// baseline-only cell is its most likely one under that restriction. Takes shares as well as counts.
pub(super) fn variance_at(b: f64, c: f64, n: f64, delta: f64) -> f64 {
    let square = 2.0 * n;
    let linear = (2.0 * n - b + c) * delta - b - c;
    let constant = -c * delta * (1.0 - delta);
    let root = (linear * linear - 4.0 * square * constant).max(0.0).sqrt();
    // Of the two forms of the larger root, the one that does not subtract near-equal numbers.
    let cell = if linear > 0.0 {
        -2.0 * constant / (linear + root)
    } else {
        (root - linear) / (2.0 * square)
    };
    2.0 * cell + delta * (1.0 - delta)
}

/// Where `above` turns from true to false.
fn bisect(mut low: f64, mut high: f64, above: impl Fn(f64) -> bool) -> f64 {
    // Halves an interval of at most 2 down to less than the spacing of doubles near 1e-3.
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if above(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}
