//! The table of cosines and sines.

use super::Rotation;

/// Cosines and sines of every position up to some length, (positions, pairs); behind them those of
/// long rows, where these turn at other speeds.
#[derive(Debug)]
pub(super) struct Angles {
    positions: usize,
    pub(super) pairs: usize,
    pub(super) cosines: Vec<f32>,
    pub(super) sines: Vec<f32>,
}

impl Angles {
    pub(super) fn new(rotation: &Rotation, positions: usize) -> Self {
        let long = rotation.long.iter().map(|(_, frequencies)| frequencies);
        // The product is rounded to single precision before its cosine is taken, as where the
        // models come from: at position 1,000 that moves an angle by up to 3e-5.
        let angles: Vec<f32> = std::iter::once(&rotation.frequencies)
            .chain(long)
            .flat_map(|frequencies| {
                (0..positions).flat_map(move |p| frequencies.iter().map(move |f| p as f32 * f))
            })
            .collect();
        let scaled = |value: f64| value as f32 * rotation.factor;
        Self {
            positions,
            pairs: rotation.frequencies.len(),
            cosines: angles.iter().map(|a| scaled(f64::from(*a).cos())).collect(),
            sines: angles.iter().map(|a| scaled(f64::from(*a).sin())).collect(),
        }
    }

    /// Positions that each set of frequencies has.
    pub(super) fn positions(&self) -> usize {
        self.positions
    }
}
