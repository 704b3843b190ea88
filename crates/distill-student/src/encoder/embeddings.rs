//! From token ids to the first hidden states.

use candle_core::Tensor;

use super::config::Family;
use super::parts::LayerNorm;
use super::{EncoderRows, EncoderWeights};
use crate::decoder::DecoderError;
use crate::ops::gather;

#[derive(Debug)]
pub(super) struct Embeddings {
    words: Tensor,
    /// Of places in a row and of the texts of a pair, where the model learned them.
    learned: Option<(Tensor, Tensor)>,
    norm: LayerNorm,
}

impl Embeddings {
    pub(super) fn build(weights: &EncoderWeights) -> Result<Self, DecoderError> {
        let get = |name: &str| weights.get(name).cloned();
        Ok(match weights.config().family {
            Family::Bert { .. } => Self {
                words: get("bert.embeddings.word_embeddings.weight")?,
                learned: Some((
                    get("bert.embeddings.position_embeddings.weight")?,
                    get("bert.embeddings.token_type_embeddings.weight")?,
                )),
                norm: LayerNorm::build(weights, "bert.embeddings.LayerNorm")?,
            },
            Family::ModernBert(_) => Self {
                words: get("model.embeddings.tok_embeddings.weight")?,
                learned: None,
                norm: LayerNorm::build(weights, "model.embeddings.norm")?,
            },
        })
    }

    /// # Shapes
    /// - returns (T, D)
    pub(super) fn forward(&self, rows: &EncoderRows) -> Result<Tensor, DecoderError> {
        let mut x = gather(&self.words, &rows.tokens)?;
        if let Some((places, types)) = &self.learned {
            x = (x + gather(types, &rows.types)?)?;
            x = (x + gather(places, &rows.places)?)?;
        }
        self.norm.forward(&x)
    }
}
