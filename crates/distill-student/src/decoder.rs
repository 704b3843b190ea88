//! The decoder: one definition, used to train and to serve.
//!
//! A forward pass reads top to bottom in [`Decoder::trunk`]. Whether a projection is frozen,
//! low-rank or trained is settled when the decoder is built ([`projection`]); whether tokens
//! attend within a packed batch or over a cache is the [`Mix`] that the caller brings.

mod config;
mod error;
mod family;
mod layer;
mod packed;
mod projection;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use candle_core::Tensor;

pub use config::DecoderConfig;
pub use error::DecoderError;
use layer::Layer;
pub use packed::PackedTokens;
pub(crate) use packed::check_row;
use projection::Projections;

use crate::lora::LoraAdapter;
use crate::ops::{Heads, Rope, Segment, attention, gather, linear, rms_norm};
use crate::weights::DecoderWeights;

/// One projection of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinearShape {
    pub(crate) name: &'static str,
    pub(crate) output: usize,
    pub(crate) input: usize,
    pub(crate) bias: bool,
}

/// How the tokens of a pass see one another.
pub(crate) trait Mix {
    /// Attends in one layer; q (T, H * E), k and v (T, K * E), already rotated.
    fn mix(
        &mut self,
        layer: usize,
        q: Tensor,
        k: Tensor,
        v: Tensor,
    ) -> Result<Tensor, DecoderError>;
}

/// A decoder ready to run. Clones share their weights.
#[derive(Debug, Clone)]
pub struct Decoder {
    config: DecoderConfig,
    embedding: Tensor,
    layers: Arc<[Layer]>,
    norm: Tensor,
    head: Tensor,
    rope: Arc<Rope>,
}

impl Decoder {
    /// Builds the decoder on plain weights. Those that are variables are trained, the rest frozen.
    pub fn new(weights: &DecoderWeights) -> Result<Self, DecoderError> {
        Self::build(&Projections::plain(weights))
    }

    /// Builds the decoder with a low-rank adapter on its projections.
    pub fn with_adapter(
        weights: &DecoderWeights,
        adapter: &LoraAdapter,
    ) -> Result<Self, DecoderError> {
        Self::build(&Projections::adapted(weights, adapter)?)
    }

    fn build(projections: &Projections<'_>) -> Result<Self, DecoderError> {
        let weights = projections.weights();
        let config = weights.config().clone();
        let embedding = weights.get_f32("model.embed_tokens.weight")?;
        let head = if config.tie_word_embeddings {
            embedding.clone()
        } else {
            weights.get_f32("lm_head.weight")?
        };
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::build(projections, index))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            rope: Arc::new(Rope::new(config.rope_theta, config.head_dim)),
            norm: weights.get_f32("model.norm.weight")?,
            layers: layers.into(),
            embedding,
            head,
            config,
        })
    }

    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The output head, (V, D).
    pub fn head(&self) -> &Tensor {
        &self.head
    }

    /// Runs the layers; the final norm is not applied yet.
    ///
    /// # Shapes
    /// - `tokens`, `positions`: T each; returns (T, D)
    pub(crate) fn trunk(
        &self,
        tokens: &Arc<[u32]>,
        positions: &Arc<[u32]>,
        mix: &mut dyn Mix,
    ) -> Result<Tensor, DecoderError> {
        let mut x = gather(&self.embedding, tokens)?; // (T) → (T, D)
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, &mut |q, k, v| {
                let (q, k) = (
                    self.rope.apply(&q, positions)?,
                    self.rope.apply(&k, positions)?,
                );
                mix.mix(index, q, k, v)
            })?;
        }
        Ok(x)
    }

    /// The final hidden states of the chosen tokens of a packed batch, ready for the head.
    ///
    /// # Shapes
    /// - `rows`: N indices into the packed tokens; returns (N, D)
    pub fn hidden_rows(
        &self,
        packed: &PackedTokens,
        rows: &Arc<[u32]>,
    ) -> Result<Tensor, DecoderError> {
        packed.check(&self.config)?;
        let mut within = WithinSegments {
            heads: self.config.heads(),
            segments: Arc::clone(packed.segments()),
        };
        let x = self.trunk(packed.tokens(), packed.positions(), &mut within)?;
        self.finish(&x, rows)
    }

    /// Chooses rows of the trunk's output and applies the final norm.
    pub(crate) fn finish(&self, x: &Tensor, rows: &Arc<[u32]>) -> Result<Tensor, DecoderError> {
        let rows = gather(x, rows)?;
        Ok(rms_norm(&rows, &self.norm, self.config.rms_norm_eps)?)
    }

    /// The final hidden states of every token.
    ///
    /// # Shapes
    /// - returns (T, D)
    pub fn hidden_states(&self, packed: &PackedTokens) -> Result<Tensor, DecoderError> {
        let all: Vec<u32> = (0..packed.tokens().len() as u32).collect();
        self.hidden_rows(packed, &all.into())
    }

    /// Logits of every token: T × V of them, for tests and short inputs.
    ///
    /// # Shapes
    /// - returns (T, V)
    pub fn logits(&self, packed: &PackedTokens) -> Result<Tensor, DecoderError> {
        Ok(linear(&self.hidden_states(packed)?, &self.head)?)
    }
}

/// Each row of a packed batch sees itself.
struct WithinSegments {
    heads: Heads,
    segments: Arc<[Segment]>,
}

impl Mix for WithinSegments {
    fn mix(
        &mut self,
        _layer: usize,
        q: Tensor,
        k: Tensor,
        v: Tensor,
    ) -> Result<Tensor, DecoderError> {
        Ok(attention(&q, &k, &v, self.heads, &self.segments)?)
    }
}
