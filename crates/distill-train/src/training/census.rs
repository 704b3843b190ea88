//! Checks on the first batch that gradients reach every tensor that trains, and no other.

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use super::variables::Variables;
use crate::TrainError;

/// How many tensors train, and how many are frozen.
pub(crate) struct Census {
    pub(crate) trained: usize,
    pub(crate) frozen: usize,
}

/// `frozen` are the tensors that must stay as they are. `may_be_zero` says of which trained ones the
/// gradient vanishes by theory.
pub(crate) fn check<'a>(
    variables: &Variables,
    frozen: impl Iterator<Item = (&'a str, &'a Tensor)>,
    gradients: &GradStore,
    may_be_zero: impl Fn(&str) -> bool,
) -> Result<Census, TrainError> {
    let mut held = 0;
    for (name, tensor) in frozen {
        held += 1;
        if gradients.get(tensor).is_some() {
            return Err(TrainError::Census {
                reason: format!("`{name}` is frozen and got one"),
            });
        }
    }
    let all: Vec<(&str, &Tensor)> = variables.iter().collect();
    for (name, tensor) in &all {
        let Some(gradient) = gradients.get(tensor) else {
            return Err(TrainError::Census {
                reason: format!("`{name}` got none"),
            });
        };
        let excused = || Ok::<_, TrainError>(may_be_zero(name) || waits_for_its_pair(name, &all)?);
        if largest(gradient)? == 0.0 && !excused()? {
            return Err(TrainError::Census {
                reason: format!("that of `{name}` is zero everywhere"),
            });
        }
    }
    Ok(Census {
        trained: all.len(),
        frozen: held,
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
