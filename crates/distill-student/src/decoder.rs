//! The decoder: one definition, used to train and to serve.
//!
//! A forward pass reads top to bottom in [`Decoder::trunk`]. Whether a projection is frozen,
//! low-rank or trained is settled when the decoder is built ([`projection`]); whether tokens
//! attend within a packed batch or over a cache is the [`Mix`] that the caller brings. What tells
//! one family of models from another is data: [`DecoderConfig`].

mod attention;
pub(crate) mod config;
mod delta;
mod error;
mod family;
mod feed_forward;
mod layer;
mod memory;
mod norm;
mod packed;
mod projection;
mod recompute;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use candle_core::{Device, Tensor};

pub use config::{
    Activation, AttentionConfig, DecoderConfig, LayerConfig, MixerConfig, RopeConfig, RopeScaling,
};
pub use delta::DeltaConfig;
pub(crate) use delta::DeltaInputs;
pub use error::DecoderError;
use layer::Layer;
use norm::Norm;
pub use packed::PackedTokens;
pub(crate) use packed::check_row;
use projection::Projections;
pub use projection::{DecoderPlan, FrozenMatrices};
pub(crate) use projection::{Projection, name_number};
use recompute::TrainedByLayer;

use crate::lora::LoraAdapter;
use crate::ops::{
    AttentionRule, OutputHead, Positions, Rope, Segment, Weight, attention, causal_convolution,
    gated_delta, gather, linear,
};
use crate::weights::DecoderWeights;

/// One projection of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinearShape {
    pub(crate) name: &'static str,
    pub(crate) output: usize,
    pub(crate) input: usize,
    pub(crate) bias: bool,
}

/// The projection of this name among those of a layer.
fn shape_of(linears: &[LinearShape], name: &str) -> Result<LinearShape, DecoderError> {
    let shape = linears.iter().find(|linear| linear.name == name);
    shape.copied().ok_or_else(|| DecoderError::MissingTensor {
        name: name.to_owned(),
        expected: Vec::new(),
    })
}

/// How the tokens of a pass see one another.
pub(crate) trait Mix {
    /// Attends in one layer; q (T, H * E), k and v (T, K * E), already rotated. Returns
    /// (T, H * E).
    fn attend(
        &mut self,
        layer: usize,
        rule: &AttentionRule,
        q: Tensor,
        k: Tensor,
        v: Tensor,
    ) -> Result<Tensor, DecoderError>;

    /// Runs the convolution and the gated delta rule of one layer. Returns (T, value heads *
    /// value width).
    fn recall(&mut self, layer: usize, inputs: DeltaInputs<'_>) -> Result<Tensor, DecoderError>;
}

/// What the layers share in one pass.
pub(crate) struct Pass<'a> {
    positions: &'a Positions,
    mix: &'a mut dyn Mix,
}

/// A decoder ready to run. Clones share their weights.
#[derive(Debug, Clone)]
pub struct Decoder {
    config: DecoderConfig,
    embedding: Weight,
    layers: Arc<[Layer]>,
    norm: Norm,
    head: Weight,
    /// Where layers are run again in the backward pass instead of being kept.
    recomputed: Option<TrainedByLayer>,
}

impl Decoder {
    /// Builds the decoder on plain weights. Those that are variables are trained, the rest frozen.
    pub fn new(weights: &DecoderWeights) -> Result<Self, DecoderError> {
        Self::with_plan(weights, DecoderPlan::default())
    }

    /// Builds the decoder with a low-rank adapter on its projections.
    pub fn with_adapter(
        weights: &DecoderWeights,
        adapter: &LoraAdapter,
    ) -> Result<Self, DecoderError> {
        Self::with_plan(
            weights,
            DecoderPlan {
                adapter: Some(adapter),
                ..DecoderPlan::default()
            },
        )
    }

    /// Builds the decoder as a plan says: the adapter, how frozen matrices are held, and whether
    /// values change while it is in use.
    pub fn with_plan(
        weights: &DecoderWeights,
        plan: DecoderPlan<'_>,
    ) -> Result<Self, DecoderError> {
        Self::build(&Projections::new(weights, plan)?)
    }

    fn build(projections: &Projections<'_>) -> Result<Self, DecoderError> {
        let weights = projections.weights();
        let config = weights.config().clone();
        let ropes: Vec<Arc<Rope>> = config
            .ropes
            .iter()
            .map(|rope| Arc::new(Rope::new(rope.rotation())))
            .collect();
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::build(projections, index, &ropes))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            norm: Norm::build(projections, "model.norm")?,
            layers: layers.into(),
            embedding: projections.embedding()?,
            head: projections.head()?,
            recomputed: projections.recomputed(),
            config,
        })
    }

    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        match &self.head {
            Weight::Trained(head) => head.device(),
            Weight::Frozen(head) => head.device(),
        }
    }

    /// The output head, (V, D).
    pub fn head(&self) -> &Weight {
        &self.head
    }

    /// The output head as a loss takes it, with the bend of its logits where the model has one.
    pub fn loss_head(&self) -> OutputHead<'_> {
        OutputHead {
            weight: (&self.head).into(),
            soft_cap: self.config.logit_soft_cap.map(|cap| cap as f32),
        }
    }

    /// Runs the layers; the final norm is not applied yet.
    ///
    /// # Shapes
    /// - `tokens`, `positions`: T each; returns (T, D)
    pub(crate) fn trunk(
        &self,
        tokens: &Arc<[u32]>,
        positions: &Positions,
        mix: &mut dyn Mix,
    ) -> Result<Tensor, DecoderError> {
        let mut x = self.embedded(tokens)?;
        let mut pass = Pass { positions, mix };
        for layer in self.layers.iter() {
            x = layer.forward(&x, &mut pass)?;
        }
        Ok(x)
    }

    /// # Shapes
    /// - `tokens`: T; returns (T, D)
    fn embedded(&self, tokens: &Arc<[u32]>) -> Result<Tensor, DecoderError> {
        let embedded = self.embedding.rows(tokens)?; // (T) → (T, D)
        multiplied(embedded, self.config.embedding_multiplier)
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
        if let Some(trained) = &self.recomputed {
            return self.finish(&self.trunk_recomputed(packed, trained)?, rows);
        }
        let mut within = WithinSegments {
            segments: Arc::clone(packed.segments()),
        };
        let x = self.trunk(packed.tokens(), &packed.placed(), &mut within)?;
        self.finish(&x, rows)
    }

    /// Chooses rows of the trunk's output and applies the final norm, and what the model
    /// multiplies its logits by.
    pub(crate) fn finish(&self, x: &Tensor, rows: &Arc<[u32]>) -> Result<Tensor, DecoderError> {
        let rows = gather(x, rows)?;
        multiplied(self.norm.forward(&rows)?, self.config.logit_multiplier)
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
        self.logits_of(&self.hidden_states(packed)?)
    }

    /// The logits of hidden states from [`Self::hidden_rows`].
    ///
    /// # Shapes
    /// - `hidden`: (N, D); returns (N, V)
    pub fn logits_of(&self, hidden: &Tensor) -> Result<Tensor, DecoderError> {
        let logits = linear(hidden, &self.head)?;
        match self.config.logit_soft_cap {
            None => Ok(logits),
            Some(cap) => Ok(((logits / cap)?.tanh()? * cap)?),
        }
    }
}

/// Most models multiply by exactly 1, which is left out.
fn multiplied(x: Tensor, by: f64) -> Result<Tensor, DecoderError> {
    if by.to_bits() == 1f64.to_bits() {
        return Ok(x);
    }
    Ok((x * by)?)
}

/// Each row of a packed batch sees itself.
struct WithinSegments {
    segments: Arc<[Segment]>,
}

impl Mix for WithinSegments {
    fn attend(
        &mut self,
        _layer: usize,
        rule: &AttentionRule,
        q: Tensor,
        k: Tensor,
        v: Tensor,
    ) -> Result<Tensor, DecoderError> {
        Ok(attention(&q, &k, &v, *rule, &self.segments)?)
    }

    fn recall(&mut self, _layer: usize, inputs: DeltaInputs<'_>) -> Result<Tensor, DecoderError> {
        let mixed = causal_convolution(&inputs.mixed, inputs.convolution, &self.segments)?;
        let (log_decay, beta) = (&inputs.log_decay, &inputs.beta);
        let heads = inputs.config.heads;
        Ok(gated_delta(&mixed, log_decay, beta, heads, &self.segments)?)
    }
}
