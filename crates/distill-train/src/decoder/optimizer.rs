//! Adam in f32 with decoupled decay, and clipping by global norm. Moments are at hand, so that a
//! checkpoint holds them.

use distill_student::ops::has_kernels;
use rayon::prelude::*;

use super::{TrainError, TrainSettings};
use crate::training::placed::{PlacedMoments, StepNumbers};
use crate::training::sums::Sums;
use crate::training::variables::Variables;

/// The tensors that a training moves, in one fixed order.
pub(crate) trait Moving {
    /// Elements of each.
    fn sizes(&self) -> Vec<usize>;
    /// Whether a tensor is a matrix, which weight decay acts on.
    fn is_matrix(&self, index: usize) -> bool;
    fn read(&self, index: usize) -> Result<Vec<f32>, TrainError>;
    fn write(&self, index: usize, values: Vec<f32>) -> Result<(), TrainError>;
}

pub(crate) const BETA1: f64 = 0.9;
pub(crate) const EPSILON: f32 = 1e-8;
/// Elements per parallel task.
const TASK: usize = 1 << 14;

pub(crate) struct AdamW {
    beta2: f64,
    weight_decay: f64,
    pub(crate) steps: usize,
    moments: Moments,
}

enum Moments {
    /// Per parameter, in their order.
    Host {
        first: Vec<Vec<f32>>,
        second: Vec<Vec<f32>>,
    },
    Placed(PlacedMoments),
}

impl AdamW {
    pub(crate) fn new(settings: &TrainSettings, tensors: &Variables) -> Result<Self, TrainError> {
        let zeros = || {
            let sizes = tensors.sizes().into_iter();
            sizes.map(|size| vec![0.0; size]).collect()
        };
        let moments = if has_kernels(tensors.device()) {
            Moments::Host {
                first: zeros(),
                second: zeros(),
            }
        } else {
            Moments::Placed(PlacedMoments::new(tensors)?)
        };
        Ok(Self {
            beta2: settings.beta2,
            weight_decay: settings.weight_decay,
            steps: 0,
            moments,
        })
    }

    /// First and second moments, tensor by tensor.
    pub(crate) fn moments(&self, tensors: &Variables) -> Result<[Vec<Vec<f32>>; 2], TrainError> {
        match &self.moments {
            Moments::Host { first, second } => Ok([first.clone(), second.clone()]),
            Moments::Placed(placed) => placed.read(tensors),
        }
    }

    /// Goes on after so many steps with the moments that they left.
    pub(crate) fn restore(
        &mut self,
        steps: usize,
        moments: [Vec<Vec<f32>>; 2],
    ) -> Result<(), TrainError> {
        self.steps = steps;
        match &mut self.moments {
            Moments::Host { first, second } => [*first, *second] = moments,
            Moments::Placed(placed) => placed.write(moments)?,
        }
        Ok(())
    }

    pub(crate) fn step(
        &mut self,
        parameters: &Variables,
        gradients: &Sums,
        learning_rate: f64,
    ) -> Result<(), TrainError> {
        self.steps += 1;
        let count = self.steps as f64;
        let numbers = StepNumbers {
            beta2: self.beta2,
            rate: learning_rate / (1.0 - BETA1.powf(count)),
            root_correction: (1.0 - self.beta2.powf(count)).sqrt(),
            decay: learning_rate * self.weight_decay,
        };
        match (&mut self.moments, gradients) {
            (Moments::Host { first, second }, Sums::Host(gradients)) => {
                step_here(parameters, gradients, &numbers, (first, second))
            }
            (Moments::Placed(placed), Sums::Placed(row)) => placed.step(parameters, row, &numbers),
            // There were no batches.
            _ => Ok(()),
        }
    }
}

/// A step in main memory.
fn step_here(
    parameters: &impl Moving,
    gradients: &[Vec<f32>],
    of: &StepNumbers,
    (first, second): (&mut [Vec<f32>], &mut [Vec<f32>]),
) -> Result<(), TrainError> {
    let (beta1, beta2) = (BETA1 as f32, of.beta2 as f32);
    let (rate, root_correction) = (of.rate as f32, of.root_correction as f32);
    for (index, gradient) in gradients.iter().enumerate() {
        let decay = if parameters.is_matrix(index) {
            of.decay
        } else {
            0.0
        };
        let keep = (1.0 - decay) as f32;
        let mut values = parameters.read(index)?;
        values
            .par_chunks_mut(TASK)
            .zip(gradient.par_chunks(TASK))
            .zip(first[index].par_chunks_mut(TASK))
            .zip(second[index].par_chunks_mut(TASK))
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

/// Added to the norm before the division, as torch's `clip_grad_norm_` does.
pub(crate) const NORM_EPSILON: f64 = 1e-6;

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
