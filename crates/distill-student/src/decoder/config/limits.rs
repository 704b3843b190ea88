//! The largest sizes that are believed. A file that says more is wrong or hostile: nothing is
//! reserved for it.

pub(super) const LAYERS: usize = 1024;
pub(super) const WIDTH: usize = 1 << 17;
pub(super) const FEED_FORWARD: usize = 1 << 20;
pub(super) const HEADS: usize = 1 << 10;
pub(super) const HEAD_WIDTH: usize = 1 << 12;
pub(super) const VOCABULARY: usize = 1 << 22;
pub(super) const POSITIONS: usize = 1 << 30;
pub(super) const TAPS: usize = 64;
