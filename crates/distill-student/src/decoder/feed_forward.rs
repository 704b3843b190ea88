//! The gated feed-forward block.

use candle_core::{D, Tensor};

use super::projection::{Projection, Projections};
use super::{DecoderError, shape_of};
use crate::ops::{Activation, gated};

#[derive(Debug)]
pub(super) struct FeedForward {
    input: Input,
    down: Projection,
    activation: Activation,
}

#[derive(Debug)]
enum Input {
    Apart {
        gate: Projection,
        up: Projection,
    },
    /// Gate before up in one projection.
    Fused(Projection),
}

impl FeedForward {
    pub(super) fn build(
        projections: &Projections<'_>,
        prefix: &str,
        layer: usize,
    ) -> Result<Self, DecoderError> {
        let config = projections.weights().config();
        let linears = config.linears(layer);
        let get = |name: &str| projections.get(prefix, shape_of(&linears, name)?);
        Ok(Self {
            input: if config.fused_projections {
                Input::Fused(get("mlp.gate_up_proj")?)
            } else {
                Input::Apart {
                    gate: get("mlp.gate_proj")?,
                    up: get("mlp.up_proj")?,
                }
            },
            down: get("mlp.down_proj")?,
            activation: config.activation,
        })
    }

    /// # Shapes
    /// - `x`: (T, D); returns (T, D)
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        let (gate, up) = match &self.input {
            Input::Apart { gate, up } => (gate.forward(x)?, up.forward(x)?), // (T, D) → (T, I) twice
            Input::Fused(both) => {
                let both = both.forward(x)?; // (T, D) → (T, 2 * I)
                let half = both.dim(D::Minus1)? / 2;
                (both.narrow(1, 0, half)?, both.narrow(1, half, half)?)
            }
        };
        let active = gated(&gate, &up, self.activation)?;
        self.down.forward(&active) // (T, I) → (T, D)
    }
}
