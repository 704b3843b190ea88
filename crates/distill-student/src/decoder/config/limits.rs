//! The largest sizes that are believed. A file that says more is wrong or hostile: nothing is
//! reserved for it.

pub(crate) const LAYERS: usize = 1024;
pub(crate) const WIDTH: usize = 1 << 17;
pub(crate) const FEED_FORWARD: usize = 1 << 20;
pub(crate) const HEADS: usize = 1 << 10;
pub(crate) const HEAD_WIDTH: usize = 1 << 12;
pub(crate) const VOCABULARY: usize = 1 << 22;
pub(crate) const POSITIONS: usize = 1 << 30;
pub(crate) const TAPS: usize = 64;
