//! The attention of one layer: projections, norms of heads, rotation, and what it attends to.

use std::sync::Arc;

use candle_core::Tensor;

use super::config::AttentionConfig;
use super::norm::Norm;
use super::projection::{Projection, Projections};
use super::{DecoderError, Pass, shape_of};
use crate::ops::{AttentionRule, Rope};

#[derive(Debug)]
pub(super) struct Attention {
    input: Input,
    head_norms: Option<(Norm, Norm)>,
    rope: Option<Arc<Rope>>,
    rule: AttentionRule,
    /// The query projection gives each head's gate behind its query.
    gated: bool,
    output: Projection,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each layer, and all are of one kind"
)]
enum Input {
    Apart {
        q: Projection,
        k: Projection,
        v: Projection,
    },
    /// q, k and v after one another in one projection.
    Fused(Projection),
}

impl Attention {
    pub(super) fn build(
        projections: &Projections<'_>,
        prefix: &str,
        layer: usize,
        attention: AttentionConfig,
        ropes: &[Arc<Rope>],
    ) -> Result<Self, DecoderError> {
        let config = projections.weights().config();
        let linears = config.linears(layer);
        let get = |name: &str| projections.get(prefix, shape_of(&linears, name)?);
        let norm = |name: &str| Norm::build(projections, &format!("{prefix}.self_attn.{name}"));
        Ok(Self {
            input: if config.fused_projections {
                Input::Fused(get("self_attn.qkv_proj")?)
            } else {
                Input::Apart {
                    q: get("self_attn.q_proj")?,
                    k: get("self_attn.k_proj")?,
                    v: get("self_attn.v_proj")?,
                }
            },
            head_norms: if config.qk_norm {
                Some((norm("q_norm")?, norm("k_norm")?))
            } else {
                None
            },
            rope: attention.rope.and_then(|index| ropes.get(index).cloned()),
            rule: config.attention_rule(attention),
            gated: config.output_gate,
            output: get("self_attn.o_proj")?,
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
        let (q, mut k, v) = self.project(x)?;
        let (mut q, gate) = self.split_gate(q)?;
        if let Some((q_norm, k_norm)) = &self.head_norms {
            (q, k) = (q_norm.forward(&q)?, k_norm.forward(&k)?);
        }
        if let Some(rope) = &self.rope {
            q = rope.apply(&q, pass.positions)?;
            k = rope.apply(&k, pass.positions)?;
        }
        let mut mixed = pass.mix.attend(layer, &self.rule, q, k, v)?; // (T, H * E)
        if let Some(gate) = gate {
            mixed = (mixed * candle_nn::ops::sigmoid(&gate)?)?;
        }
        self.output.forward(&mixed) // (T, H * E) → (T, D)
    }

    /// # Shapes
    /// - `x`: (T, D); returns (T, H * E), or (T, H * 2E) with gates, and (T, K * E) twice
    fn project(&self, x: &Tensor) -> Result<(Tensor, Tensor, Tensor), DecoderError> {
        match &self.input {
            Input::Apart { q, k, v } => Ok((q.forward(x)?, k.forward(x)?, v.forward(x)?)),
            Input::Fused(all) => {
                let all = all.forward(x)?; // (T, D) → (T, (H + 2K) * E)
                let heads = self.rule.heads;
                let (q, k) = (heads.query * heads.width, heads.key_value * heads.width);
                Ok((
                    all.narrow(1, 0, q)?,
                    all.narrow(1, q, k)?,
                    all.narrow(1, q + k, k)?,
                ))
            }
        }
    }

    /// # Shapes
    /// - `q`: (T, H * E), or (T, H * 2E) with gates; returns (T, H * E) once or twice
    fn split_gate(&self, q: Tensor) -> Result<(Tensor, Option<Tensor>), DecoderError> {
        if !self.gated {
            return Ok((q, None));
        }
        let (tokens, heads) = (q.dim(0)?, self.rule.heads);
        let both = q.reshape((tokens, heads.query, 2 * heads.width))?;
        let part = |start| {
            both.narrow(2, start, heads.width)?
                .reshape((tokens, heads.query * heads.width))
        };
        Ok((part(0)?, Some(part(heads.width)?)))
    }
}
