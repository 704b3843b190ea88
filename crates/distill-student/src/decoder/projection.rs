//! Where a low-rank adapter enters: an architecture asks for a projection by name, and the plan decides what it
//! gets.

use candle_core::Tensor;

use super::{DecoderError, LinearShape};
use crate::lora::{LoraAdapter, LowRank};
use crate::ops::{FrozenWeight, Storage, Weight, linear, low_rank_linear};
use crate::weights::DecoderWeights;

/// A linear layer: plain (frozen, or trained where its weight is a variable) or low-rank.
#[derive(Debug)]
pub(super) struct Projection {
    matrix: Matrix,
    bias: Option<Tensor>,
}

#[derive(Debug)]
enum Matrix {
    Plain(Weight),
    LowRank(FrozenWeight, LowRank),
}

impl Projection {
    /// # Shapes
    /// - `x`: (T, I); returns (T, O)
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        let out = match &self.matrix {
            Matrix::Plain(weight) => linear(x, weight)?,
            Matrix::LowRank(weight, update) => {
                low_rank_linear(x, weight, &update.down, &update.up, update.scale)?
            }
        };
        match &self.bias {
            None => Ok(out),
            Some(bias) => Ok(out.broadcast_add(bias)?),
        }
    }
}

/// Gives out the projections of a model under one plan.
pub(super) struct Projections<'a> {
    weights: &'a DecoderWeights,
    adapter: Option<&'a LoraAdapter>,
}

impl<'a> Projections<'a> {
    pub(super) fn plain(weights: &'a DecoderWeights) -> Self {
        Self {
            weights,
            adapter: None,
        }
    }

    pub(super) fn adapted(
        weights: &'a DecoderWeights,
        adapter: &'a LoraAdapter,
    ) -> Result<Self, DecoderError> {
        adapter.check(weights.config())?;
        Ok(Self {
            weights,
            adapter: Some(adapter),
        })
    }

    pub(super) fn weights(&self) -> &'a DecoderWeights {
        self.weights
    }

    /// The projection at `prefix.name`, such as `model.layers.0.mlp.up_proj`.
    pub(super) fn get(&self, prefix: &str, shape: LinearShape) -> Result<Projection, DecoderError> {
        let name = format!("{prefix}.{}", shape.name);
        let bias = if shape.bias {
            Some(self.weights.get_f32(&format!("{name}.bias"))?)
        } else {
            None
        };
        let weight = self.weights.get(&format!("{name}.weight"))?;
        let update = self.adapter.and_then(|adapter| adapter.low_rank(&name));
        let matrix = match update {
            Some(update) => Matrix::LowRank(FrozenWeight::new(weight, Storage::F32)?, update),
            None if weight.track_op() => Matrix::Plain(Weight::Trained(weight.clone())),
            None => Matrix::Plain(Weight::Frozen(FrozenWeight::new(weight, Storage::F32)?)),
        };
        Ok(Projection { matrix, bias })
    }
}
