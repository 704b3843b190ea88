//! The optimizer of pretraining: orthogonalised momentum for the matrices between the layers,
//! Adam for the embedding and the norms.
//!
//! A matrix's momentum is turned into the nearest matrix with equal singular values (five rounds
//! of a Newton-Schulz iteration, coefficients by Keller Jordan): each step moves every direction
//! alike, which on so few tokens gets about as far as Adam does on half as many more.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var, backprop::GradStore};
use rayon::prelude::*;

use super::{OptimizerRecipe, PretrainError};

const MOMENTUM: f64 = 0.95;
const NEWTON_SCHULZ: (f64, f64, f64) = (3.4445, -4.775, 2.0315);
const ROUNDS: usize = 5;
const BETA1: f32 = 0.9;
const BETA2: f32 = 0.95;
const EPSILON: f32 = 1e-8;

/// What the optimizer remembers of one parameter: one tensor for a matrix, two for Adam.
#[derive(Debug, Clone)]
enum Memory {
    Matrix(Tensor),
    Adam { mean: Vec<f32>, square: Vec<f32> },
}

pub(super) struct Optimizer {
    variables: BTreeMap<String, Var>,
    memory: BTreeMap<String, Memory>,
    recipe: OptimizerRecipe,
}

impl Optimizer {
    pub(super) fn new(
        variables: BTreeMap<String, Var>,
        recipe: OptimizerRecipe,
    ) -> Result<Self, PretrainError> {
        let mut memory = BTreeMap::new();
        for (name, variable) in &variables {
            let fresh = if is_inner_matrix(name, variable) {
                Memory::Matrix(variable.as_tensor().zeros_like()?.detach())
            } else {
                let zeros = vec![0.0; variable.elem_count()];
                Memory::Adam {
                    mean: zeros.clone(),
                    square: zeros,
                }
            };
            memory.insert(name.clone(), fresh);
        }
        Ok(Self {
            variables,
            memory,
            recipe,
        })
    }

    /// The sum of each variable's gradients in the shards of a batch, in their order.
    pub(super) fn gather(
        &self,
        shards: &[GradStore],
    ) -> Result<BTreeMap<String, Tensor>, PretrainError> {
        let mut sums = BTreeMap::new();
        for (name, variable) in &self.variables {
            let missing = || PretrainError::NoGradient { name: name.clone() };
            let mut sum: Option<Tensor> = None;
            for shard in shards {
                let part = shard.get(variable).ok_or_else(missing)?;
                sum = Some(match sum {
                    None => part.clone(),
                    Some(sum) => (sum + part)?,
                });
            }
            sums.insert(name.clone(), sum.ok_or_else(missing)?);
        }
        Ok(sums)
    }

    /// One step at `share` of the peak learning rates; returns the norm of the gradient.
    pub(super) fn step(
        &mut self,
        gradients: &BTreeMap<String, Tensor>,
        step: usize,
        share: f64,
    ) -> Result<f64, PretrainError> {
        let mut squares = 0.0;
        for gradient in gradients.values() {
            squares += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
        let norm = squares.sqrt();
        let scale = if norm > self.recipe.clip {
            self.recipe.clip / norm
        } else {
            1.0
        };
        for (name, variable) in &self.variables {
            let gradient = &gradients[name];
            let memory = self
                .memory
                .get_mut(name)
                .expect("every variable got its memory at the start");
            match memory {
                Memory::Matrix(momentum) => {
                    let rate = self.recipe.matrix_learning_rate * share;
                    *momentum = ((&*momentum * MOMENTUM)? + gradient)?.detach();
                    let ahead = ((&*momentum * MOMENTUM)? + gradient)?;
                    let (rows, columns) = ahead.dims2()?;
                    let stretch = (rows as f64 / columns as f64).max(1.0).sqrt();
                    let change = (orthogonal(&ahead)? * (rate * stretch))?;
                    let kept = (variable.as_tensor() * (1.0 - rate * self.recipe.weight_decay))?;
                    variable.set(&(kept - change)?.detach())?;
                }
                Memory::Adam { mean, square } => {
                    let adam = Adam {
                        rate: (self.recipe.vector_learning_rate * share) as f32,
                        scale: scale as f32,
                        decay: if variable.rank() > 1 {
                            self.recipe.weight_decay as f32
                        } else {
                            0.0
                        },
                        step: step as i32,
                    };
                    adam.apply(variable, gradient, mean, square)?;
                }
            }
        }
        Ok(norm)
    }

    /// Values and memory by name, for a checkpoint.
    pub(super) fn state(&self) -> Result<BTreeMap<String, Tensor>, PretrainError> {
        let mut state = BTreeMap::new();
        for (name, variable) in &self.variables {
            state.insert(format!("value.{name}"), variable.as_tensor().detach());
            match &self.memory[name] {
                Memory::Matrix(momentum) => {
                    state.insert(format!("momentum.{name}"), momentum.clone());
                }
                Memory::Adam { mean, square } => {
                    for (kind, values) in [("mean", mean), ("square", square)] {
                        let tensor = Tensor::from_slice(values, values.len(), &Device::Cpu)?;
                        state.insert(format!("{kind}.{name}"), tensor);
                    }
                }
            }
        }
        Ok(state)
    }

    /// Takes back what [`Self::state`] gave.
    pub(super) fn restore(
        &mut self,
        state: &BTreeMap<String, Tensor>,
    ) -> Result<(), PretrainError> {
        let get = |kind: &str, name: &str| {
            state
                .get(&format!("{kind}.{name}"))
                .ok_or_else(|| PretrainError::Checkpoint {
                    reason: format!("it has no {kind} of {name}"),
                })
        };
        for (name, variable) in &self.variables {
            variable.set(get("value", name)?)?;
            let memory = self
                .memory
                .get_mut(name)
                .expect("every variable got its memory at the start");
            match memory {
                Memory::Matrix(momentum) => *momentum = get("momentum", name)?.clone(),
                Memory::Adam { mean, square } => {
                    *mean = get("mean", name)?.to_vec1()?;
                    *square = get("square", name)?.to_vec1()?;
                }
            }
        }
        Ok(())
    }
}

/// The embedding is a matrix too, but its rows are words and not directions.
fn is_inner_matrix(name: &str, variable: &Var) -> bool {
    variable.rank() == 2 && name.contains(".layers.")
}

/// The nearest matrix whose singular values are all about one.
///
/// # Shapes
/// - `matrix`: (O, I); returns (O, I)
fn orthogonal(matrix: &Tensor) -> Result<Tensor, PretrainError> {
    let (rows, columns) = matrix.dims2()?;
    let flip = rows > columns;
    let (a, b, c) = NEWTON_SCHULZ;
    let norm = f64::from(matrix.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt() + 1e-7;
    let mut x = (matrix / norm)?;
    if flip {
        x = x.t()?.contiguous()?;
    }
    for _ in 0..ROUNDS {
        let square = x.matmul(&x.t()?)?;
        let polynomial = ((&square * b)? + (square.matmul(&square)? * c)?)?;
        x = ((&x * a)? + polynomial.matmul(&x)?)?;
    }
    Ok(if flip { x.t()?.contiguous()? } else { x })
}

struct Adam {
    rate: f32,
    scale: f32,
    decay: f32,
    step: i32,
}

impl Adam {
    fn apply(
        &self,
        variable: &Var,
        gradient: &Tensor,
        mean: &mut [f32],
        square: &mut [f32],
    ) -> Result<(), PretrainError> {
        let mut values: Vec<f32> = variable.flatten_all()?.to_vec1()?;
        let gradient: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
        let (first, second) = (1.0 - BETA1.powi(self.step), 1.0 - BETA2.powi(self.step));
        values
            .par_iter_mut()
            .with_min_len(1 << 14)
            .zip(gradient.par_iter())
            .zip(mean.par_iter_mut().zip(square.par_iter_mut()))
            .for_each(|((value, gradient), (mean, square))| {
                let gradient = gradient * self.scale;
                *mean = BETA1.mul_add(*mean, (1.0 - BETA1) * gradient);
                *square = BETA2.mul_add(*square, (1.0 - BETA2) * gradient * gradient);
                let direction = (*mean / first) / ((*square / second).sqrt() + EPSILON);
                *value -= self.rate * (direction + self.decay * *value);
            });
        variable.set(&Tensor::from_vec(values, variable.shape(), &Device::Cpu)?)?;
        Ok(())
    }
}
