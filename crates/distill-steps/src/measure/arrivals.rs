//! When requests come in an open loop.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The first `count` arrivals of a Poisson process: seconds from its start, by exponential gaps of
/// mean `1 / per_second`. The same seed gives the same times.
pub(super) fn poisson(count: usize, per_second: f64, seed: u64) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut time = 0.0;
    (0..count)
        .map(|_| {
            // 1 − u lies in (0, 1]: its logarithm is finite.
            let gap = -(1.0 - random.random::<f64>()).ln() / per_second;
            time += gap;
            time
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::poisson;

    #[test]
    fn a_seed_draws_the_same_arrivals_and_another_seed_others() {
        let times = poisson(50, 5.0, 7);
        assert_eq!(times, poisson(50, 5.0, 7));
        assert_ne!(times, poisson(50, 5.0, 8));
        // A longer list begins with the shorter one.
        assert_eq!(times[..20], poisson(20, 5.0, 7));
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn gaps_are_exponential_with_the_rate_asked_for() {
        let count = 20_000;
        let times = poisson(count, 4.0, 1);
        let gaps: Vec<f64> = std::iter::once(times[0])
            .chain(times.windows(2).map(|pair| pair[1] - pair[0]))
            .collect();
        let mean = gaps.iter().sum::<f64>() / count as f64;
        // The mean's standard error is 0.25 / √20000 = 0.0018; four of them are allowed.
        assert!((mean - 0.25).abs() < 0.0072, "{mean}");
        // An exponential variable exceeds its mean with probability 1/e = 0.3679; the standard error
        // of the share is 0.0034.
        let above = gaps.iter().filter(|gap| **gap > 0.25).count() as f64 / count as f64;
        assert!((above - (-1.0_f64).exp()).abs() < 0.0137, "{above}");
        // Its standard deviation equals its mean, which even gaps would not show.
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05);
    }
}
