//! Cross-entropy against an output head: the loss of rows that learn their own tokens alone.

#[cfg(test)]
use candle_core::D;
use candle_core::{Result, Tensor};

use super::distillation::{OutputHead, of_own_tokens};

/// Returns `weight * Σ -log softmax(hidden @ headᵀ)[target]`, a scalar: `weight` is one over the
/// number of unmasked tokens of the whole optimizer step. No rows give 0.
///
/// Logits are made for a chunk of rows at a time, so that the full table of tokens × vocabulary
/// never exists. The gradients are made in the forward pass, while a chunk's logits are at hand.
///
/// # Shapes
/// - `hidden`: (N, D), only rows that carry a label; `head`: (V, D); `targets`: N of them
///
/// # Errors
/// Sizes that do not fit, or a target outside the vocabulary.
pub fn cross_entropy<'a>(
    hidden: &Tensor,
    head: impl Into<OutputHead<'a>>,
    targets: &[u32],
    weight: f64,
) -> Result<Tensor> {
    of_own_tokens(hidden, head.into(), targets, weight)
}

/// The same in plain differentiable operations, for tests.
#[cfg(test)]
pub(super) fn composed(
    hidden: &Tensor,
    head: &Tensor,
    targets: &[u32],
    weight: f64,
) -> Result<Tensor> {
    let logits = hidden.matmul(&head.t()?)?;
    let targets = Tensor::from_slice(targets, (targets.len(), 1), hidden.device())?;
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let normalizer = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let chosen = shifted.gather(&targets, 1)?;
    ((normalizer - chosen)?.sum_all()? * weight)?.reshape(())
}
