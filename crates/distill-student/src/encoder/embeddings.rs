//! From token ids to the first hidden states.

use candle_core::Tensor;

use super::EncoderRows;
use super::config::Family;
use super::dropout::Place;
use super::parts::{LayerNorm, Parts};
use crate::decoder::DecoderError;
use crate::ops::gather;

#[derive(Debug)]
pub(super) struct Embeddings {
    words: Tensor,
    /// Of places in a row and of the texts of a pair, where the model learned them.
    learned: Option<(Tensor, Tensor)>,
    norm: LayerNorm,
    dropped: Place,
}

impl Embeddings {
    pub(super) fn build(parts: &Parts<'_>) -> Result<Self, DecoderError> {
        let get = |name: &str| parts.get(name);
        let rate = parts.rates().embeddings;
        let dropped = parts.place("dropout.embeddings", rate);
        Ok(match parts.config().family {
            Family::Bert { .. } => Self {
                words: get("bert.embeddings.word_embeddings.weight")?,
                learned: Some((
                    get("bert.embeddings.position_embeddings.weight")?,
                    get("bert.embeddings.token_type_embeddings.weight")?,
                )),
                norm: parts.norm("bert.embeddings.LayerNorm")?,
                dropped,
            },
            Family::ModernBert(_) => Self {
                words: get("model.embeddings.tok_embeddings.weight")?,
                learned: None,
                norm: parts.norm("model.embeddings.norm")?,
                dropped,
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
        self.dropped.forward(self.norm.forward(&x)?)
    }
}
