//! What every part of an encoder is made of.

use candle_core::{Device, Tensor};

use super::EncoderWeights;
use crate::decoder::DecoderError;
use crate::ops::{layer_norm, linear};

/// A linear layer with its bias, if it has one.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn build(weights: &EncoderWeights, name: &str) -> Result<Self, DecoderError> {
        Ok(Self {
            weight: weights.get(&format!("{name}.weight"))?.clone(),
            bias: weights.find(&format!("{name}.bias")).cloned(),
        })
    }

    /// # Shapes
    /// - `x`: (T, I); returns (T, O)
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        let out = linear(x, &self.weight)?;
        match &self.bias {
            None => Ok(out),
            Some(bias) => Ok(out.broadcast_add(bias)?),
        }
    }
}

/// A layer norm with its weight, and its bias or zeros.
#[derive(Debug, Clone)]
pub(super) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    pub(super) fn build(weights: &EncoderWeights, name: &str) -> Result<Self, DecoderError> {
        let weight = weights.get(&format!("{name}.weight"))?.clone();
        let bias = match weights.find(&format!("{name}.bias")) {
            Some(bias) => bias.clone(),
            None => Tensor::zeros(weight.dims(), weight.dtype(), &Device::Cpu)?
                .to_device(weight.device())?,
        };
        Ok(Self {
            weight,
            bias,
            epsilon: weights.config().norm_eps,
        })
    }

    /// # Shapes
    /// - `x`: (T, D); returns the same
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        Ok(layer_norm(x, &self.weight, &self.bias, self.epsilon)?)
    }
}
