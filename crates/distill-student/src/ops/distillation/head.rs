//! The output head as a loss sees it: products with it, there and back, a chunk of rows at a time.

use candle_core::{Result, Tensor, Var};

use crate::ops::frozen::{Direction, FrozenWeight, Weight, WeightRef};
use crate::ops::product::{Threads, View, ViewMut, product_into};

/// Rows whose logits are held at a time: fewer would read a large head too often for what they
/// compute with it.
const CHUNK_ROWS: usize = 256;
/// Bounds of the logits held at a time, which win over the number of rows: 8 and 64 MB of them.
const CHUNK_ELEMENTS: (usize, usize) = (1 << 21, 1 << 24);

/// Rows of a chunk.
pub(super) fn chunk_rows(vocabulary: usize) -> usize {
    let (least, most) = CHUNK_ELEMENTS;
    let vocabulary = vocabulary.max(1);
    CHUNK_ROWS
        .clamp(least / vocabulary, most / vocabulary)
        .max(1)
}

/// Logits that a loss over so many rows holds at a time; beside them as many of a teacher at hand.
pub fn logits_at_a_time(vocabulary: usize, rows: usize) -> usize {
    chunk_rows(vocabulary).min(rows) * vocabulary
}

/// What turns hidden states to logits: a matrix, and for some models a bend of what it gives.
#[derive(Debug, Clone, Copy)]
pub struct OutputHead<'a> {
    /// (V, D)
    pub weight: WeightRef<'a>,
    /// Logits are bent to lie within ± this: `cap * tanh(logit / cap)`.
    pub soft_cap: Option<f32>,
}

impl OutputHead<'_> {
    pub(super) fn vocabulary(&self) -> Result<usize> {
        match self.weight {
            WeightRef::Trained(weight) => weight.dim(0),
            WeightRef::Frozen(weight) => Ok(weight.dims().0),
        }
    }
}

impl<'a> From<WeightRef<'a>> for OutputHead<'a> {
    fn from(weight: WeightRef<'a>) -> Self {
        Self {
            weight,
            soft_cap: None,
        }
    }
}

impl<'a> From<&'a Tensor> for OutputHead<'a> {
    fn from(weight: &'a Tensor) -> Self {
        WeightRef::from(weight).into()
    }
}

impl<'a> From<&'a Var> for OutputHead<'a> {
    fn from(weight: &'a Var) -> Self {
        WeightRef::from(weight).into()
    }
}

impl<'a> From<&'a FrozenWeight> for OutputHead<'a> {
    fn from(weight: &'a FrozenWeight) -> Self {
        WeightRef::from(weight).into()
    }
}

impl<'a> From<&'a Weight> for OutputHead<'a> {
    fn from(weight: &'a Weight) -> Self {
        WeightRef::from(weight).into()
    }
}

/// The matrix of an [`OutputHead`] on the CPU.
pub(super) enum Head<'a> {
    Frozen(&'a FrozenWeight),
    Trained {
        values: &'a [f32],
        vocabulary: usize,
        width: usize,
    },
}

impl Head<'_> {
    /// (V, D)
    pub(super) fn dims(&self) -> (usize, usize) {
        match self {
            Self::Frozen(frozen) => frozen.dims(),
            Self::Trained {
                vocabulary, width, ..
            } => (*vocabulary, *width),
        }
    }

    /// (N, D) → (N, V)
    pub(super) fn logits(&self, hidden: &[f32], rows: usize, out: &mut [f32]) -> Result<()> {
        self.product(hidden, rows, Direction::Forward, out)
    }

    /// (N, V) → (N, D)
    pub(super) fn back(&self, errors: &[f32], rows: usize, out: &mut [f32]) -> Result<()> {
        self.product(errors, rows, Direction::Backward, out)
    }

    fn product(
        &self,
        left: &[f32],
        rows: usize,
        direction: Direction,
        out: &mut [f32],
    ) -> Result<()> {
        match self {
            Self::Frozen(frozen) => {
                let (vocabulary, width) = frozen.dims();
                let inner = match direction {
                    Direction::Forward => width,
                    Direction::Backward => vocabulary,
                };
                frozen.product_into(out, View::new(left, rows, inner), direction, None)
            }
            Self::Trained {
                values,
                vocabulary,
                width,
            } => {
                let head = View::new(values, *vocabulary, *width);
                let (head, inner, row_stride) = match direction {
                    Direction::Forward => (head.transposed(), *width, *vocabulary),
                    Direction::Backward => (head, *vocabulary, *width),
                };
                let out = ViewMut {
                    data: out,
                    row_stride,
                };
                let left = View::new(left, rows, inner);
                product_into(out, false, left, head, 1.0, Threads::Pool);
                Ok(())
            }
        }
    }

    /// Adds `errorsᵀ @ hidden` to the gradient of a trained head, (V, D).
    pub(super) fn add_gradient(
        &self,
        errors: &[f32],
        hidden: &[f32],
        rows: usize,
        gradient: &mut [f32],
    ) {
        let (vocabulary, width) = self.dims();
        let out = ViewMut {
            data: gradient,
            row_stride: width,
        };
        let errors = View::new(errors, rows, vocabulary).transposed();
        let hidden = View::new(hidden, rows, width);
        product_into(out, true, errors, hidden, 1.0, Threads::Pool);
    }
}
