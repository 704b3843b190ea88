//! One block: attention and a gated feed-forward, each behind a norm and a residual.

use candle_core::Tensor;

use super::DecoderError;
use super::projection::{Projection, Projections};
use crate::ops::{rms_norm, swiglu};

#[derive(Debug)]
pub(super) struct Layer {
    input_norm: Tensor,
    q: Projection,
    k: Projection,
    v: Projection,
    head_norms: Option<(Tensor, Tensor)>,
    output: Projection,
    feed_forward_norm: Tensor,
    gate: Projection,
    up: Projection,
    down: Projection,
    epsilon: f64,
}

/// Rotates and attends: takes q, k and v of one layer.
pub(super) type Attend<'a> =
    &'a mut dyn FnMut(Tensor, Tensor, Tensor) -> Result<Tensor, DecoderError>;

impl Layer {
    pub(super) fn build(projections: &Projections<'_>, index: usize) -> Result<Self, DecoderError> {
        let weights = projections.weights();
        let config = weights.config();
        let prefix = format!("model.layers.{index}");
        let norm = |name: &str| weights.get_f32(&format!("{prefix}.{name}.weight"));
        let head_norms = if config.qk_norm {
            Some((norm("self_attn.q_norm")?, norm("self_attn.k_norm")?))
        } else {
            None
        };
        let [q, k, v, output, gate, up, down] = config.linears();
        Ok(Self {
            input_norm: norm("input_layernorm")?,
            q: projections.get(&prefix, q)?,
            k: projections.get(&prefix, k)?,
            v: projections.get(&prefix, v)?,
            head_norms,
            output: projections.get(&prefix, output)?,
            feed_forward_norm: norm("post_attention_layernorm")?,
            gate: projections.get(&prefix, gate)?,
            up: projections.get(&prefix, up)?,
            down: projections.get(&prefix, down)?,
            epsilon: config.rms_norm_eps,
        })
    }

    /// # Shapes
    /// - `x`: (T, D); returns (T, D)
    pub(super) fn forward(&self, x: &Tensor, attend: Attend<'_>) -> Result<Tensor, DecoderError> {
        let h = rms_norm(x, &self.input_norm, self.epsilon)?;
        let (mut q, mut k) = (self.q.forward(&h)?, self.k.forward(&h)?); // (T, D) → (T, H * E), (T, K * E)
        let v = self.v.forward(&h)?; // (T, D) → (T, K * E)
        if let Some((q_norm, k_norm)) = &self.head_norms {
            q = rms_norm(&q, q_norm, self.epsilon)?;
            k = rms_norm(&k, k_norm, self.epsilon)?;
        }
        let mixed = attend(q, k, v)?;
        let x = (x + self.output.forward(&mixed)?)?; // (T, H * E) → (T, D)
        let h = rms_norm(&x, &self.feed_forward_norm, self.epsilon)?;
        let active = swiglu(&self.gate.forward(&h)?, &self.up.forward(&h)?)?; // (T, D) → (T, I)
        Ok((&x + self.down.forward(&active)?)?) // (T, I) → (T, D)
    }
}
