//! Gradient checkpointing of a decoder: each layer keeps its input and is run again in the
//! backward pass.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::{Error, Tensor};

use super::{Decoder, DecoderError, PackedTokens, Pass, WithinSegments};
use crate::ops::{Block, Positions, recomputed};

/// The trained tensors of each layer, in the order of the layers.
#[derive(Debug, Clone)]
pub(super) struct TrainedByLayer(pub(super) Arc<[Vec<Tensor>]>);

/// What runs the layers of one batch, as often as asked for.
struct Layers {
    decoder: Decoder,
    packed: PackedTokens,
    positions: Positions,
}

impl Layers {
    fn run(&self, layer: usize, x: &Tensor) -> Result<Tensor, DecoderError> {
        let mut within = WithinSegments {
            segments: Arc::clone(self.packed.segments()),
        };
        let mut pass = Pass {
            positions: &self.positions,
            mix: &mut within,
        };
        self.decoder.layers[layer].forward(x, &mut pass)
    }
}

impl Decoder {
    /// As [`Self::trunk`] within the rows of a packed batch; of each layer only its input is kept
    /// for the backward pass.
    ///
    /// # Shapes
    /// - returns (T, D)
    pub(super) fn trunk_recomputed(
        &self,
        packed: &PackedTokens,
        trained: &TrainedByLayer,
    ) -> Result<Tensor, DecoderError> {
        let layers = Arc::new(Layers {
            decoder: self.clone(),
            packed: packed.clone(),
            positions: packed.placed(),
        });
        let mut x = self.embedded(packed.tokens())?;
        for (layer, trained) in trained.0.iter().enumerate() {
            let layers = Arc::clone(&layers);
            let block: Block =
                Arc::new(move |x: &Tensor| layers.run(layer, x).map_err(Error::wrap));
            x = recomputed(&x, trained, block)?;
        }
        Ok(x)
    }
}
