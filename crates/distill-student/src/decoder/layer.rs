//! One block: a mixer of tokens and a gated feed-forward, each behind a norm and a residual.

use std::sync::Arc;

use candle_core::Tensor;

use super::attention::Attention;
use super::config::MixerConfig;
use super::delta::DeltaNet;
use super::feed_forward::FeedForward;
use super::norm::Norm;
use super::projection::Projections;
use super::{DecoderError, Pass, multiplied};
use crate::ops::Rope;

#[derive(Debug)]
pub(super) struct Layer {
    index: usize,
    input_norm: Norm,
    mixer: Mixer,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
    /// Norms of what the mixer and the feed-forward give.
    post_norms: Option<(Norm, Norm)>,
    residual_multiplier: f64,
}

/// How a layer mixes the tokens of a row.
#[derive(Debug)]
enum Mixer {
    Attention(Attention),
    DeltaNet(DeltaNet),
}

impl Mixer {
    /// # Shapes
    /// - `x`: (T, D); returns (T, D)
    fn forward(
        &self,
        x: &Tensor,
        layer: usize,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor, DecoderError> {
        match self {
            Self::Attention(attention) => attention.forward(x, layer, pass),
            Self::DeltaNet(net) => net.forward(x, layer, pass),
        }
    }
}

impl Layer {
    pub(super) fn build(
        projections: &Projections<'_>,
        index: usize,
        ropes: &[Arc<Rope>],
    ) -> Result<Self, DecoderError> {
        let config = projections.weights().config();
        let prefix = format!("model.layers.{index}");
        let norm = |name: &str| Norm::build(projections, &format!("{prefix}.{name}"));
        let mixer = match &config.layers[index].mixer {
            MixerConfig::Attention(attention) => Mixer::Attention(Attention::build(
                projections,
                &prefix,
                index,
                *attention,
                ropes,
            )?),
            MixerConfig::DeltaNet(net) => {
                Mixer::DeltaNet(DeltaNet::build(projections, &prefix, index, *net)?)
            }
        };
        let (feed_forward_norm, post_norms) = if config.post_norms {
            let behind = (
                norm("post_attention_layernorm")?,
                norm("post_feedforward_layernorm")?,
            );
            (norm("pre_feedforward_layernorm")?, Some(behind))
        } else {
            (norm("post_attention_layernorm")?, None)
        };
        Ok(Self {
            index,
            input_norm: norm("input_layernorm")?,
            mixer,
            feed_forward_norm,
            feed_forward: FeedForward::build(projections, &prefix, index)?,
            post_norms,
            residual_multiplier: config.residual_multiplier,
        })
    }

    /// # Shapes
    /// - `x`: (T, D); returns (T, D)
    pub(super) fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, DecoderError> {
        let post_norms = self.post_norms.as_ref();
        let h = self.input_norm.forward(x)?;
        let mixed = self.mixer.forward(&h, self.index, pass)?;
        let x = self.add(x, mixed, post_norms.map(|(norm, _)| norm))?;
        let h = self.feed_forward_norm.forward(&x)?;
        let fed = self.feed_forward.forward(&h)?;
        self.add(&x, fed, post_norms.map(|(_, norm)| norm))
    }

    /// Adds what a block gives to the residual stream.
    fn add(&self, x: &Tensor, block: Tensor, norm: Option<&Norm>) -> Result<Tensor, DecoderError> {
        let block = match norm {
            None => block,
            Some(norm) => norm.forward(&block)?,
        };
        Ok((x + multiplied(block, self.residual_multiplier)?)?)
    }
}
