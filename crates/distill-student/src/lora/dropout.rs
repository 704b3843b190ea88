//! Dropout of an update's input, and of other values: a function of the run's seed, the batch and
//! the place in the model alone, so that a batch run again (a resumed step, a recomputed layer) drops the same values.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::splitmix::{STEP, mix};

/// Elements per parallel task.
const TASK: usize = 1 << 14;

/// The dropout of a decoder in training. Clones share the batch.
#[derive(Debug, Clone)]
pub struct Dropout {
    rate: f64,
    batch: Arc<AtomicU64>,
}

impl Dropout {
    /// `rate` is the share that is dropped, at least 0 and below 1.
    pub fn new(rate: f64) -> Self {
        Self {
            rate,
            batch: Arc::new(AtomicU64::new(0)),
        }
    }

    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    /// Another share, of the same batches.
    pub(crate) fn with_rate(&self, rate: f64) -> Self {
        Self {
            rate,
            batch: Arc::clone(&self.batch),
        }
    }

    /// Chooses what the next batch drops; the same three numbers choose the same.
    pub fn begin(&self, seed: u64, step: u64, batch: u64) {
        let key = mix(mix(mix(seed) ^ step) ^ batch);
        self.batch.store(key, Ordering::Relaxed);
    }

    /// Drops values and scales the rest up, so that the mean stays.
    ///
    /// # Shapes
    /// - `x`: any; returns the same
    pub(crate) fn apply(&self, x: &Tensor, projection: u64) -> Result<Tensor> {
        let key = mix(self.batch.load(Ordering::Relaxed) ^ mix(projection));
        // A draw is dropped below this: 32 bits of it are compared.
        let threshold = (self.rate * 2f64.powi(32)) as u64;
        let kept = (1.0 / (1.0 - self.rate)) as f32;
        let mut mask = vec![0.0f32; x.elem_count()];
        mask.par_chunks_mut(TASK)
            .enumerate()
            .for_each(|(task, values)| {
                for (at, pair) in values.chunks_mut(2).enumerate() {
                    let counter = (task * TASK / 2 + at) as u64;
                    let draw = mix(key.wrapping_add(counter.wrapping_mul(STEP)));
                    for (value, bits) in pair.iter_mut().zip([draw & 0xffff_ffff, draw >> 32]) {
                        *value = if bits < threshold { 0.0 } else { kept };
                    }
                }
            });
        x * Tensor::from_vec(mask, x.shape(), x.device())?
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn it_drops_its_share_keeps_the_mean_and_repeats_itself() {
        let x = Tensor::ones((300, 101), DType::F32, &Device::Cpu).unwrap();
        let dropout = Dropout::new(0.2);
        let values = |seed, step, batch, projection| -> Vec<f32> {
            dropout.begin(seed, step, batch);
            let x = dropout.apply(&x, projection).unwrap();
            x.flatten_all().unwrap().to_vec1().unwrap()
        };
        let first = values(1, 2, 3, 4);
        let dropped = first.iter().filter(|v| **v == 0.0).count() as f64 / first.len() as f64;
        // Five standard deviations of a share among 30,300 draws.
        assert!(
            (dropped - 0.2).abs() < 5.0 * (0.16f64 / 30_300.0).sqrt(),
            "{dropped}"
        );
        assert!(first.iter().all(|v| *v == 0.0 || (*v - 1.25).abs() < 1e-6));
        assert_eq!(first, values(1, 2, 3, 4));
        for other in [(9, 2, 3, 4), (1, 9, 3, 4), (1, 2, 9, 4), (1, 2, 3, 9)] {
            assert_ne!(first, values(other.0, other.1, other.2, other.3));
        }
    }
}
