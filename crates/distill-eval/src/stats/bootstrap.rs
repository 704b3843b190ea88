//! Seeded bootstrap over samples: each draw counts every sample as often as it was drawn.
//!
//! Draw `i` uses stream `i` of one generator, so the result depends on the seed and the order of
//! the samples alone, never on threads. Callers sort samples by id first.

use rand::Rng;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rayon::prelude::*;

use super::{Interval, IntervalMethod, Statistic, normal_cdf, normal_quantile, quantile};

/// Share of draws that must be defined for an interval to be given.
const DEFINED: f64 = 0.9;

/// The interval of a statistic; `None` where it or too many of its draws are not defined.
pub fn interval(
    statistic: &dyn Statistic,
    confidence: f64,
    draws: usize,
    seed: u64,
) -> Option<Interval> {
    of(
        statistic.samples(),
        &|weights| statistic.value(weights),
        confidence,
        draws,
        seed,
    )
}

/// The interval of (first − second), both drawn with the same rows: the paired bootstrap.
pub fn paired_interval(
    first: &dyn Statistic,
    second: &dyn Statistic,
    confidence: f64,
    draws: usize,
    seed: u64,
) -> Option<Interval> {
    of(
        first.samples().min(second.samples()),
        &|weights| Some(first.value(weights)? - second.value(weights)?),
        confidence,
        draws,
        seed,
    )
}

fn of(
    n: usize,
    value: &(dyn Fn(&[u32]) -> Option<f64> + Sync),
    confidence: f64,
    draws: usize,
    seed: u64,
) -> Option<Interval> {
    if n == 0 || draws == 0 {
        return None;
    }
    let estimate = value(&vec![1; n])?;
    let drawn: Vec<f64> = (0..draws)
        .into_par_iter()
        .filter_map(|draw| value(&weights(n, seed, draw as u64)))
        .collect();
    if (drawn.len() as f64) < DEFINED * draws as f64 {
        return None;
    }
    let left_out: Vec<f64> = (0..n)
        .into_par_iter()
        .filter_map(|index| {
            let mut weights = vec![1; n];
            weights[index] = 0;
            value(&weights)
        })
        .collect();
    Some(bca(estimate, &drawn, &left_out, confidence))
}

fn weights(n: usize, seed: u64, draw: u64) -> Vec<u32> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(draw);
    let mut weights = vec![0; n];
    for _ in 0..n {
        weights[generator.random_range(0..n)] += 1;
    }
    weights
}

/// The bias-corrected and accelerated interval, from the bootstrap draws and the values with one
/// sample left out. Falls back to plain percentiles where the correction is not defined.
///
/// B. Efron, "Better bootstrap confidence intervals", JASA 82 (1987), 171-185.
pub fn bca(estimate: f64, drawn: &[f64], left_out: &[f64], confidence: f64) -> Interval {
    let tail = f64::midpoint(1.0, -confidence);
    let corrected = bias(estimate, drawn).zip(acceleration(left_out));
    let (method, low, high) = match corrected {
        Some((bias, acceleration)) => {
            let shifted = |probability: f64| {
                let z = bias + normal_quantile(probability);
                normal_cdf(bias + z / (1.0 - acceleration * z))
            };
            (
                IntervalMethod::BootstrapBca,
                shifted(tail),
                shifted(1.0 - tail),
            )
        }
        None => (IntervalMethod::BootstrapPercentile, tail, 1.0 - tail),
    };
    let mut sorted = drawn.to_vec();
    sorted.sort_by(f64::total_cmp);
    Interval {
        low: quantile::at(&sorted, low),
        high: quantile::at(&sorted, high),
        confidence,
        method,
    }
}

/// The normal quantile of the share of draws below the estimate, ties counted half.
fn bias(estimate: f64, drawn: &[f64]) -> Option<f64> {
    let below = drawn.iter().filter(|value| **value < estimate).count();
    let upto = drawn.iter().filter(|value| **value <= estimate).count();
    let share = (below + upto) as f64 / (2 * drawn.len()) as f64;
    (share > 0.0 && share < 1.0).then(|| normal_quantile(share))
}

fn acceleration(left_out: &[f64]) -> Option<f64> {
    let mean = left_out.iter().sum::<f64>() / left_out.len() as f64;
    let square: f64 = left_out.iter().map(|value| (mean - value).powi(2)).sum();
    let cube: f64 = left_out.iter().map(|value| (mean - value).powi(3)).sum();
    (square > 0.0).then(|| cube / (6.0 * square.powf(1.5)))
}
