//! The gated delta net of one layer: a mixer whose memory does not grow with the row.
//!
//! Queries, keys and values come out of one projection and pass a short causal convolution; the
//! gated delta rule (`crate::ops::gated_delta`, with its source there) mixes them; a norm per head,
//! gated by a projection of its own, closes the block. Names and formulas are those of the text
//! model of Qwen3.5.

#[cfg(test)]
mod tests;

use candle_core::{DType, Tensor};

use super::norm::Norm;
use super::projection::{Projection, Projections};
use super::{DecoderError, LinearShape, Pass, shape_of};
use crate::ops::{Activation, DeltaHeads, gated};

/// The shape of a gated delta net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaConfig {
    pub heads: DeltaHeads,
    /// Taps of the convolution: a token and those that precede it.
    pub taps: usize,
}

impl DeltaConfig {
    /// The projections, in the order of the forward pass.
    pub(super) fn linears(&self, hidden_size: usize) -> Vec<LinearShape> {
        let shape = |name, output, input| LinearShape {
            name,
            output,
            input,
            bias: false,
        };
        let (heads, d) = (self.heads, hidden_size);
        vec![
            shape("linear_attn.in_proj_qkv", heads.mixed_row(), d),
            shape("linear_attn.in_proj_z", heads.value_row(), d),
            shape("linear_attn.in_proj_b", heads.value, d),
            shape("linear_attn.in_proj_a", heads.value, d),
            shape("linear_attn.out_proj", d, heads.value_row()),
        ]
    }

    /// The tensors that are not projections, below the layer.
    pub(super) fn tensors(&self) -> Vec<(&'static str, Vec<usize>)> {
        let heads = self.heads;
        vec![
            ("linear_attn.dt_bias", vec![heads.value]),
            ("linear_attn.A_log", vec![heads.value]),
            (
                "linear_attn.conv1d.weight",
                vec![heads.mixed_row(), 1, self.taps],
            ),
            ("linear_attn.norm.weight", vec![heads.value_width]),
        ]
    }

    /// Elements that a row of tokens leaves behind in this layer, however long it is.
    pub fn cache_elements(&self) -> usize {
        self.heads.state() + self.tail()
    }

    /// Elements of the inputs that the convolution still needs.
    pub(crate) fn tail(&self) -> usize {
        (self.taps - 1) * self.heads.mixed_row()
    }
}

/// What a delta net hands to a pass, one row per token.
pub(crate) struct DeltaInputs<'a> {
    pub(crate) config: DeltaConfig,
    /// (C, W) for the C columns of `mixed`.
    pub(crate) convolution: &'a Tensor,
    /// Queries, keys and values before the convolution, (T, C).
    pub(crate) mixed: Tensor,
    /// The logarithm of what stays of the memory, (T, value heads).
    pub(crate) log_decay: Tensor,
    /// How far a token replaces what its key recalls, (T, value heads).
    pub(crate) beta: Tensor,
}

#[derive(Debug)]
pub(super) struct DeltaNet {
    config: DeltaConfig,
    mixed: Projection,
    gate: Projection,
    beta: Projection,
    decay: Projection,
    /// (C, W)
    convolution: Tensor,
    /// Logarithm of each head's rate of decay.
    log_rate: Tensor,
    step_bias: Tensor,
    norm: Norm,
    output: Projection,
}

impl DeltaNet {
    pub(super) fn build(
        projections: &Projections<'_>,
        prefix: &str,
        layer: usize,
        config: DeltaConfig,
    ) -> Result<Self, DecoderError> {
        let weights = projections.weights();
        let linears = weights.config().linears(layer);
        let get = |name: &str| {
            let name = format!("linear_attn.{name}");
            projections.get(prefix, shape_of(&linears, &name)?)
        };
        let plain = |name: &str| projections.get_f32(&format!("{prefix}.linear_attn.{name}"));
        Ok(Self {
            mixed: get("in_proj_qkv")?,
            gate: get("in_proj_z")?,
            beta: get("in_proj_b")?,
            decay: get("in_proj_a")?,
            convolution: plain("conv1d.weight")?.squeeze(1)?, // (C, 1, W) → (C, W)
            log_rate: plain("A_log")?,
            step_bias: plain("dt_bias")?,
            norm: Norm::plain(projections, &format!("{prefix}.linear_attn.norm"))?,
            output: get("out_proj")?,
            config,
        })
    }

    /// # Shapes
    /// - `x`: (T, D); returns (T, D)
    pub(super) fn forward(
        &self,
        x: &Tensor,
        layer: usize,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor, DecoderError> {
        let inputs = DeltaInputs {
            config: self.config,
            convolution: &self.convolution,
            mixed: self.mixed.forward(x)?,
            log_decay: self.log_decay(x)?,
            beta: candle_nn::ops::sigmoid(&self.beta.forward(x)?)?,
        };
        let recalled = pass.mix.recall(layer, inputs)?; // (T, value heads * value width)
        let normed = self.norm.forward(&recalled)?;
        let active = gated(&self.gate.forward(x)?, &normed, Activation::Silu)?;
        self.output.forward(&active)
    }

    /// g = -e^A · softplus(a + b), never above 0.
    ///
    /// # Shapes
    /// - `x`: (T, D); returns (T, value heads)
    fn log_decay(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        let step = self.decay.forward(x)?.broadcast_add(&self.step_bias)?;
        let rate = self.log_rate.to_dtype(DType::F32)?.exp()?.neg()?;
        Ok(softplus(&step)?.broadcast_mul(&rate)?)
    }
}

/// ln(1 + e^x), without overflow for large x.
fn softplus(x: &Tensor) -> Result<Tensor, DecoderError> {
    let far = (x.abs()?.neg()?.exp()? + 1.0)?.log()?;
    Ok((x.relu()? + far)?)
}
