//! Checks on the first batch that gradients reach every tensor that trains, and no other.

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use super::{Parameters, TrainError};

/// How many tensors train, and how many are frozen.
pub(super) struct Census {
    pub(super) trained: usize,
    pub(super) frozen: usize,
}

pub(super) fn check(parameters: &Parameters, gradients: &GradStore) -> Result<Census, TrainError> {
    for (name, tensor) in parameters.frozen() {
        if gradients.get(tensor).is_some() {
            return Err(TrainError::Census {
                reason: format!("`{name}` is frozen and got one"),
            });
        }
    }
    let all: Vec<(&str, &Tensor)> = parameters.iter().collect();
    for (name, tensor) in &all {
        let Some(gradient) = gradients.get(tensor) else {
            return Err(TrainError::Census {
                reason: format!("`{name}` got none"),
            });
        };
        if largest(gradient)? == 0.0 && !waits_for_its_pair(name, &all)? {
            return Err(TrainError::Census {
                reason: format!("that of `{name}` is zero everywhere"),
            });
        }
    }
    Ok(Census {
        trained: all.len(),
        frozen: parameters.frozen().count(),
    })
}

/// While B is zero, nothing reaches A: so it is at the first step.
fn waits_for_its_pair(name: &str, all: &[(&str, &Tensor)]) -> Result<bool, TrainError> {
    let Some(module) = name.strip_suffix(".lora_A.weight") else {
        return Ok(false);
    };
    let pair = format!("{module}.lora_B.weight");
    match all.iter().find(|(name, _)| *name == pair) {
        Some((_, up)) => Ok(largest(up)? == 0.0),
        None => Ok(false),
    }
}

/// The largest magnitude; NaN counts as one, and is caught as divergence.
fn largest(tensor: &Tensor) -> Result<f32, TrainError> {
    let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    Ok(values.iter().fold(0.0f32, |most, value| {
        if value.abs() <= most {
            most
        } else {
            value.abs()
        }
    }))
}
