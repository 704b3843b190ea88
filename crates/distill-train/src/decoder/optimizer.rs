//! Adam in f32 with decoupled decay, and clipping by global norm. Moments are at hand, so that a
//! checkpoint holds them.

use rayon::prelude::*;

use super::{TrainError, TrainSettings};

/// The tensors that a training moves, in one fixed order.
pub(crate) trait Moving {
    /// Elements of each.
    fn sizes(&self) -> Vec<usize>;
    /// Whether a tensor is a matrix, which weight decay acts on.
    fn is_matrix(&self, index: usize) -> bool;
    fn read(&self, index: usize) -> Result<Vec<f32>, TrainError>;
    fn write(&self, index: usize, values: Vec<f32>) -> Result<(), TrainError>;
}

const BETA1: f64 = 0.9;
const EPSILON: f32 = 1e-8;
/// Elements per parallel task.
const TASK: usize = 1 << 14;

pub(crate) struct AdamW {
    beta2: f64,
    weight_decay: f64,
    pub(crate) steps: usize,
    /// Per parameter, in their order.
    pub(crate) first: Vec<Vec<f32>>,
    pub(crate) second: Vec<Vec<f32>>,
}

impl AdamW {
    pub(crate) fn new(settings: &TrainSettings, tensors: &impl Moving) -> Self {
        let zeros = || {
            let sizes = tensors.sizes().into_iter();
            sizes.map(|size| vec![0.0; size]).collect()
        };
        Self {
            beta2: settings.beta2,
            weight_decay: settings.weight_decay,
            steps: 0,
            first: zeros(),
            second: zeros(),
        }
    }

    pub(crate) fn step(
        &mut self,
        parameters: &impl Moving,
        gradients: &[Vec<f32>],
        learning_rate: f64,
    ) -> Result<(), TrainError> {
        self.steps += 1;
        let count = self.steps as f64;
        let (beta1, beta2) = (BETA1 as f32, self.beta2 as f32);
        let rate = (learning_rate / (1.0 - BETA1.powf(count))) as f32;
        let root_correction = (1.0 - self.beta2.powf(count)).sqrt() as f32;
        for (index, gradient) in gradients.iter().enumerate() {
            let decays = parameters.is_matrix(index);
            let decay = if decays { self.weight_decay } else { 0.0 };
            let keep = (1.0 - learning_rate * decay) as f32;
            let mut values = parameters.read(index)?;
            values
                .par_chunks_mut(TASK)
                .zip(gradient.par_chunks(TASK))
                .zip(self.first[index].par_chunks_mut(TASK))
                .zip(self.second[index].par_chunks_mut(TASK))
                .for_each(|(((values, gradient), first), second)| {
                    for i in 0..values.len() {
                        let g = gradient[i];
                        first[i] = beta1 * first[i] + (1.0 - beta1) * g;
                        second[i] = beta2 * second[i] + (1.0 - beta2) * g * g;
                        let root = second[i].sqrt() / root_correction + EPSILON;
                        values[i] = values[i] * keep - rate * first[i] / root;
                    }
                });
            parameters.write(index, values)?;
        }
        Ok(())
    }
}

/// Added to the norm before the division, as torch's `clip_grad_norm_` does.
const NORM_EPSILON: f64 = 1e-6;

/// Scales the gradients down to a global norm of at most `limit` (0: no limit); returns the norm
/// that they had.
pub(crate) fn clip(gradients: &mut [Vec<f32>], limit: f64) -> f64 {
    let squares: Vec<f64> = gradients
        .par_iter()
        .map(|gradient| gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum())
        .collect();
    let norm = squares.iter().sum::<f64>().sqrt();
    let by = limit / (norm + NORM_EPSILON);
    if limit > 0.0 && by < 1.0 {
        let by = by as f32;
        gradients
            .par_iter_mut()
            .for_each(|gradient| gradient.iter_mut().for_each(|g| *g *= by));
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_keeps_the_direction_and_bounds_the_norm() {
        let mut gradients = vec![vec![3.0, 0.0], vec![-4.0]];
        assert!((clip(&mut gradients, 0.0) - 5.0).abs() < 1e-9);
        assert_eq!(gradients, [vec![3.0, 0.0], vec![-4.0]]);
        assert!((clip(&mut gradients, 1.0) - 5.0).abs() < 1e-9);
        assert!((gradients[0][0] - 0.6).abs() < 1e-6 && (gradients[1][0] + 0.8).abs() < 1e-6);
    }
}
