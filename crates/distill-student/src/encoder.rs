//! The encoder student: a bidirectional transformer that reads a text once and names its label.
//!
//! BERT (Devlin et al. 2018, <https://arxiv.org/abs/1810.04805>) and `ModernBERT` (Warner et al.
//! 2024, <https://arxiv.org/abs/2412.13663>) with a classification head, from a checkpoint of
//! either kind. Rows are packed without padding, as in the decoder, and share its operations.

mod config;
mod dropout;
mod embeddings;
mod head;
mod layer;
mod memory;
mod parts;
mod student;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod weights;

use std::sync::Arc;

use candle_core::Tensor;

pub use config::{EncoderConfig, Pooling};
pub use dropout::{DropoutRates, EncoderDropout};
use embeddings::Embeddings;
use head::Head;
use layer::Layer;
use parts::{LayerNorm, Parts};
pub use student::{EncoderPrediction, EncoderStudent};
pub use text::{EncodedText, EncoderTokenizer};
pub use weights::EncoderWeights;

use crate::decoder::DecoderError;
use crate::lora::LoraAdapter;
use crate::ops::{Positions, Rope, Rotation, Segment};

/// Rows of tokens laid end to end.
#[derive(Debug, Clone)]
pub struct EncoderRows {
    pub(crate) tokens: Arc<[u32]>,
    /// Which text of a pair each token is of.
    pub(crate) types: Arc<[u32]>,
    pub(crate) places: Arc<[u32]>,
    pub(crate) positions: Positions,
    pub(crate) segments: Arc<[Segment]>,
}

impl EncoderRows {
    pub fn new<'a>(rows: impl IntoIterator<Item = &'a EncodedText>) -> Self {
        let (mut tokens, mut types, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let mut segments = Vec::new();
        for row in rows {
            segments.push(Segment {
                start: tokens.len(),
                length: row.tokens.len(),
            });
            tokens.extend_from_slice(&row.tokens);
            types.extend_from_slice(&row.types);
            places.extend(0..row.tokens.len() as u32);
        }
        let places: Arc<[u32]> = places.into();
        Self {
            tokens: tokens.into(),
            types: types.into(),
            positions: Positions::new(Arc::clone(&places)),
            places,
            segments: segments.into(),
        }
    }

    /// B
    pub fn count(&self) -> usize {
        self.segments.len()
    }

    /// Refuses what the model cannot take, naming the row.
    fn check(&self, config: &EncoderConfig) -> Result<(), DecoderError> {
        for (row, segment) in self.segments.iter().enumerate() {
            let at = segment.start..segment.start + segment.length;
            if segment.length == 0 {
                return Err(DecoderError::EmptyRow { row });
            }
            if segment.length > config.max_position_embeddings {
                return Err(DecoderError::TooLong {
                    row,
                    tokens: segment.length,
                    limit: config.max_position_embeddings,
                });
            }
            let tokens = &self.tokens[at];
            if let Some(&token) = tokens.iter().find(|t| **t as usize >= config.vocab_size) {
                return Err(DecoderError::UnknownToken {
                    row,
                    token,
                    vocabulary: config.vocab_size,
                });
            }
        }
        Ok(())
    }
}

/// How an encoder is built on its weights.
#[derive(Debug, Clone, Copy, Default)]
pub struct EncoderPlan<'a> {
    /// What is added to its projections, and what takes the place of its head.
    pub adapter: Option<&'a LoraAdapter>,
    /// Values of the adapter change while the encoder is in use: training. Otherwise what follows
    /// from them is worked out once.
    pub live: bool,
    /// What is dropped in a training step.
    pub dropout: Option<&'a EncoderDropout>,
}

/// An encoder ready to run. Weights that are variables are trained. Clones share their weights.
#[derive(Debug, Clone)]
pub struct Encoder {
    config: EncoderConfig,
    embeddings: Arc<Embeddings>,
    layers: Arc<[Layer]>,
    final_norm: Option<LayerNorm>,
    head: Arc<Head>,
}

impl Encoder {
    /// Builds the encoder on plain weights.
    pub fn new(weights: &EncoderWeights) -> Result<Self, DecoderError> {
        Self::with_plan(weights, EncoderPlan::default())
    }

    /// Builds the encoder as a plan says: the adapter, whether values change while it is in use,
    /// and what is dropped.
    ///
    /// # Errors
    /// When a tensor is missing, or the adapter does not fit.
    pub fn with_plan(
        weights: &EncoderWeights,
        plan: EncoderPlan<'_>,
    ) -> Result<Self, DecoderError> {
        let parts = Parts::new(weights, plan)?;
        let config = weights.config().clone();
        let ropes: Vec<Arc<Rope>> = config
            .rope_thetas()
            .iter()
            .map(|theta| Arc::new(Rope::new(Rotation::plain(*theta, config.head_dim()))))
            .collect();
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::build(&parts, index, &ropes))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            embeddings: Arc::new(Embeddings::build(&parts)?),
            layers: layers.into(),
            final_norm: config
                .final_norm()
                .map(|name| parts.norm(name))
                .transpose()?,
            head: Arc::new(Head::build(&parts)?),
            config,
        })
    }

    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// One score for each label of each row, before the softmax.
    ///
    /// # Shapes
    /// - returns (B, labels)
    ///
    /// # Errors
    /// Names the row that is empty, too long, or outside the vocabulary.
    pub fn logits(&self, rows: &EncoderRows) -> Result<Tensor, DecoderError> {
        rows.check(&self.config)?;
        let mut x = self.embeddings.forward(rows)?; // (T, D)
        for layer in self.layers.iter() {
            x = layer.forward(&x, rows)?;
        }
        if let Some(norm) = &self.final_norm {
            x = norm.forward(&x)?;
        }
        self.head.forward(&x, rows)
    }
}
