//! What a student learns from a row, and how the loss of a batch is made of it.

mod example;

pub use example::{TokenTargets, TrainExample};

use std::sync::Arc;

use candle_core::Tensor;
use distill_student::decoder::{Decoder, DecoderError, PackedTokens};
use distill_student::ops::cross_entropy;

/// The loss of some rows, packed: `weight * Σ -log p(target)`, a scalar. For a mean, `weight` is
/// one over the unmasked tokens of the whole optimizer step.
pub fn packed_loss(
    decoder: &Decoder,
    rows: &[&TrainExample],
    weight: f64,
) -> Result<Tensor, DecoderError> {
    // The last token of a row is only ever a target.
    let inputs = |row: &TrainExample| row.tokens.len() - 1;
    let packed = PackedTokens::new(rows.iter().map(|row| &row.tokens[..inputs(row)]));
    let (mut sources, mut targets) = (Vec::new(), Vec::new());
    for (row, segment) in rows.iter().zip(packed.segments().iter()) {
        for at in row.first_target()..row.tokens.len() {
            sources.push((segment.start + at - 1) as u32);
            targets.push(row.tokens[at]);
        }
    }
    let sources: Arc<[u32]> = sources.into();
    let hidden = decoder.hidden_rows(&packed, &sources)?; // (N, D)
    Ok(cross_entropy(&hidden, decoder.head(), &targets, weight)?)
}
