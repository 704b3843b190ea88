//! Seeded draws for initial weights: candle's own cannot be seeded on the CPU.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A stream of draws; the same seed gives the same stream on every machine.
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Uniform in -bound .. bound.
    pub(crate) fn uniform(&mut self, count: usize, bound: f64) -> Vec<f32> {
        (0..count)
            .map(|_| ((self.unit() * 2.0 - 1.0) * bound) as f32)
            .collect()
    }

    /// Normal around 0.
    pub(crate) fn normal(&mut self, count: usize, deviation: f64) -> Vec<f32> {
        (0..count)
            .map(|_| {
                // Box-Muller: one of the pair is enough here. 1 - u lies in (0, 1].
                let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
                let angle = std::f64::consts::TAU * self.unit();
                (radius * angle.cos() * deviation) as f32
            })
            .collect()
    }

    fn unit(&mut self) -> f64 {
        self.0.random::<f64>()
    }
}
