//! From the hidden states of a row to one score for each label.

use std::sync::Arc;

use candle_core::Tensor;

use super::EncoderRows;
use super::config::{Family, Pooling};
use super::dropout::Place;
use super::parts::{LayerNorm, Parts};
use crate::decoder::{DecoderError, Projection};
use crate::ops::{gather, gelu};

#[derive(Debug)]
pub(super) struct Head {
    pooling: Pooling,
    dense: Projection,
    /// Behind a GELU; a tanh without one.
    norm: Option<LayerNorm>,
    dropped: Place,
    classifier: Projection,
}

impl Head {
    pub(super) fn build(parts: &Parts<'_>) -> Result<Self, DecoderError> {
        let classifier = parts.linear("classifier")?;
        let rate = parts.rates().classifier;
        let dropped = parts.place("dropout.classifier", rate);
        Ok(match &parts.config().family {
            Family::Bert { .. } => Self {
                pooling: Pooling::First,
                dense: parts.linear("bert.pooler.dense")?,
                norm: None,
                dropped,
                classifier,
            },
            Family::ModernBert(modern) => Self {
                pooling: modern.pooling,
                dense: parts.linear("head.dense")?,
                norm: Some(parts.norm("head.norm")?),
                dropped,
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
        self.classifier.forward(&self.dropped.forward(ready)?)
    }
}
