//! How operands are laid out for the tiles.

use std::ffi::c_void;

/// What a packed unit of four bytes holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// One f32.
    Single,
    /// Two bf16, adjacent along the inner dimension, the first in the low half.
    Pair,
}

impl Layout {
    /// Units of a run of so many inner elements.
    pub(super) fn units(self, elements: usize) -> usize {
        match self {
            Self::Single => elements,
            Self::Pair => elements.div_ceil(2),
        }
    }
}

/// What is read, and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversion {
    /// f32 as it is, to `Single`.
    Single,
    /// f32 rounded to bf16 and widened again, to `Single`.
    Rounded,
    /// f32 rounded to bf16, to `Pair`.
    RoundedPair,
    /// bf16 widened, to `Single`.
    Widened,
    /// bf16 as it is, to `Pair`.
    Pair,
}

impl Conversion {
    pub(super) fn layout(self) -> Layout {
        match self {
            Self::Single | Self::Rounded | Self::Widened => Layout::Single,
            Self::RoundedPair | Self::Pair => Layout::Pair,
        }
    }

    /// Bytes of an element that is read.
    pub(super) fn element(self) -> usize {
        match self {
            Self::Single | Self::Rounded | Self::RoundedPair => 4,
            Self::Widened | Self::Pair => 2,
        }
    }
}

/// A block of a row-major matrix.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) data: *const c_void,
    /// Bytes from one row to the next.
    pub(super) stride: usize,
    /// Elements of a row.
    pub(super) elements: usize,
    pub(super) conversion: Conversion,
}
