//! From the hidden states of a row to one score for each label.

use std::sync::Arc;

use candle_core::Tensor;

use super::config::{Family, Pooling};
use super::parts::{LayerNorm, Linear};
use super::{EncoderRows, EncoderWeights};
use crate::decoder::DecoderError;
use crate::ops::{gather, gelu};

#[derive(Debug)]
pub(super) struct Head {
    pooling: Pooling,
    dense: Linear,
    /// Behind a GELU; a tanh without one.
    norm: Option<LayerNorm>,
    classifier: Linear,
}

impl Head {
    pub(super) fn build(weights: &EncoderWeights) -> Result<Self, DecoderError> {
        let classifier = Linear::build(weights, "classifier")?;
        Ok(match &weights.config().family {
            Family::Bert { .. } => Self {
                pooling: Pooling::First,
                dense: Linear::build(weights, "bert.pooler.dense")?,
                norm: None,
                classifier,
            },
            Family::ModernBert(modern) => Self {
                pooling: modern.pooling,
                dense: Linear::build(weights, "head.dense")?,
                norm: Some(LayerNorm::build(weights, "head.norm")?),
                classifier,
            },
        })
    }

    /// # Shapes
    /// - `x`: (T, D); returns (B, labels)
    pub(super) fn forward(&self, x: &Tensor, rows: &EncoderRows) -> Result<Tensor, DecoderError> {
        let pooled = match self.pooling {
            Pooling::First => {
                let first: Arc<[u32]> = rows.segments.iter().map(|s| s.start as u32).collect();
                gather(x, &first)?
            }
            Pooling::Mean => {
                let means = rows
                    .segments
                    .iter()
                    .map(|s| x.narrow(0, s.start, s.length)?.mean_keepdim(0))
                    .collect::<Result<Vec<_>, _>>()?;
                Tensor::cat(&means, 0)?
            }
        };
        let dense = self.dense.forward(&pooled)?;
        let ready = match &self.norm {
            Some(norm) => norm.forward(&gelu(&dense)?)?,
            None => dense.tanh()?,
        };
        self.classifier.forward(&ready)
    }
}
