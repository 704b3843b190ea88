//! Differentiable operations of the decoder.
//!
//! On the CPU each is one fused kernel on candle's tape with its own backward; on other devices
//! the same function is made of candle's operations ([`composed`]). A tensor that needs no gradient
//! gets none. Sums have one order whatever the number of threads.

mod attention;
mod choice;
mod composed;
mod convolution;
mod delta;
mod distillation;
mod frozen;
mod gated;
mod gather;
mod gelu;
mod layer_norm;
mod linear;
mod loss;
mod norm;
mod product;
mod recompute;
mod rope;
mod rows;
mod soft_cap;
mod storage;
#[cfg(test)]
mod tests;

use candle_core::{Device, Tensor};

/// Whether the kernels of this crate run on a device; elsewhere operations are made of candle's.
/// With the feature `composed` they are so everywhere, for tests of what runs on cards.
pub fn has_kernels(device: &Device) -> bool {
    device.is_cpu() && !cfg!(feature = "composed")
}

/// Whether an operation on this tensor is a kernel of this crate.
pub(crate) fn fused(tensor: &Tensor) -> bool {
    has_kernels(tensor.device())
}

pub use attention::{AttentionRule, Heads, Segment, attention};
pub(crate) use attention::{KeySpan, Piece, Queries, attend_over, attend_over_tables};
#[cfg(test)]
pub(crate) use choice::log_probability_of;
pub(crate) use choice::{Choice, best_of_row, log_sum_of, weights_of};
pub use convolution::causal_convolution;
pub(crate) use convolution::{ConvolutionRow, convolve_behind, convolve_over};
pub use delta::{DeltaHeads, gated_delta};
pub(crate) use delta::{DeltaRow, gated_delta_from, gated_delta_over, memories};
pub use distillation::{
    Distillation, Divergence, OutputHead, Rest, Target, TopTokens, WholeTeacher, distillation,
    logits_at_a_time, token_log_probabilities, top_tokens, whole_distillation,
};
pub use frozen::{FrozenWeight, Storage, Weight, WeightRef};
pub use gated::{Activation, gated};
pub use gather::gather;
pub use gelu::gelu;
pub use layer_norm::layer_norm;
pub use linear::{frozen_linear, linear, low_rank_linear};
pub use loss::cross_entropy;
pub use norm::rms_norm;
pub use product::keep_freed_memory;
pub(crate) use recompute::{Block, recomputed};
pub use rope::{Positions, Rope, Rotation};
pub(crate) use storage::elements_of;
