//! Where a low-rank adapter enters: an architecture asks for a projection by name, and the plan decides what it
//! gets.

use candle_core::Tensor;

use super::{DecoderError, LinearShape};
use crate::lora::{LoraAdapter, LowRank};
use crate::ops::{linear, low_rank_linear};
use crate::weights::DecoderWeights;

/// A linear layer: plain (frozen, or trained where its weight is a variable) or low-rank.
#[derive(Debug)]
pub(super) struct Projection {
    weight: Tensor,
    bias: Option<Tensor>,
    low_rank: Option<LowRank>,
}

impl Projection {
    /// # Shapes
    /// - `x`: (T, I); returns (T, O)
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        let out = match &self.low_rank {
            None => linear(x, &self.weight)?,
            Some(update) => {
                low_rank_linear(x, &self.weight, &update.down, &update.up, update.scale)?
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
            Some(self.weights.get(&format!("{name}.bias"))?.clone())
        } else {
            None
        };
        Ok(Projection {
            weight: self.weights.get(&format!("{name}.weight"))?.clone(),
            bias,
            low_rank: self.adapter.and_then(|adapter| adapter.low_rank(&name)),
        })
    }
}
