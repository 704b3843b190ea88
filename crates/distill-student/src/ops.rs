//! Differentiable operations of the decoder.
//!
//! On the CPU each is one fused kernel on candle's tape with its own backward; on other devices
//! the same function composes candle's differentiable operations. A tensor that needs no gradient
//! gets none. Sums have one order whatever the number of threads.

mod attention;
mod choice;
mod frozen;
mod gather;
mod linear;
mod loss;
mod norm;
mod product;
mod rope;
mod rows;
mod storage;
mod swiglu;
#[cfg(test)]
mod tests;

pub use attention::{Heads, Segment, attention};
pub(crate) use attention::{Piece, Queries, attend_over};
pub(crate) use choice::{Choice, best_of_row, log_probability_of};
pub use frozen::{FrozenWeight, Storage, Weight, WeightRef};
pub use gather::gather;
pub use linear::{frozen_linear, linear, low_rank_linear};
pub use loss::cross_entropy;
pub use norm::rms_norm;
pub use rope::Rope;
pub(crate) use storage::elements_of;
pub use swiglu::swiglu;
