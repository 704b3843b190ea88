//! Products of few rows, as decoding makes them: the matrix is read once, row by row, as it lies
//! in memory, and nothing is packed.

use std::cell::RefCell;
use std::ffi::c_void;

use half::bf16;
use rayon::prelude::*;

use super::blocked::{Out, Product, Rows};
use super::kernel::Dots;
use crate::ops::rows::vectorised;

/// Most rows of the left operand: beyond, packing pays.
pub(super) const ROWS: usize = 12;
/// Elements of the matrix that one task takes.
const TASK: usize = 1 << 17;

thread_local! {
    /// A row of the matrix on its way from NF4.
    static HALVES: RefCell<Vec<bf16>> = const { RefCell::new(Vec::new()) };
}

/// Writes `left @ matrixᵀ`, and the product's term.
///
/// # Safety
/// `out` must be valid for writes of T * N elements, and not shared.
#[expect(unsafe_code, reason = "threads write to columns of one matrix")]
pub(super) unsafe fn write(product: &Product<'_>, out: Out) {
    let (inner, width) = product.matrix.sizes(product.direction);
    let left = Left::new(product);
    let task = (TASK / inner.max(1)).max(1);
    (0..width.div_ceil(task)).into_par_iter().for_each(|index| {
        let first = index * task;
        let count = task.min(width - first);
        // SAFETY: each task writes to columns of its own.
        unsafe {
            write_columns(product, &left, first, count, out);
            add_term(product, first, count, out);
        }
    });
}

/// The rows of the left operand, adjacent, in the type of the products.
enum Left {
    Single(Vec<f32>),
    Half(Vec<bf16>),
}

impl Left {
    fn new(product: &Product<'_>) -> Self {
        let view = &product.left;
        let row = |row: usize| &view.data[row * view.row_stride..][..view.columns];
        if let Rows::Single(_) = product.matrix.values() {
            let mut singles = Vec::with_capacity(view.rows * view.columns);
            for i in 0..view.rows {
                singles.extend_from_slice(row(i));
            }
            return Self::Single(singles);
        }
        let mut halves = vec![bf16::ZERO; view.rows * view.columns];
        vectorised(|| {
            for (i, halves) in halves.chunks_exact_mut(view.columns.max(1)).enumerate() {
                for (half, single) in halves.iter_mut().zip(row(i)) {
                    *half = bf16::from_f32(*single);
                }
            }
        });
        Self::Half(halves)
    }
}

#[expect(unsafe_code, reason = "the kernels take pointers")]
unsafe fn write_columns(product: &Product<'_>, left: &Left, first: usize, count: usize, out: Out) {
    let kernel = product.instructions.kernel();
    let (inner, width) = product.matrix.sizes(product.direction);
    let dots = |left: *const c_void, right: *const c_void, column: usize, columns: usize| Dots {
        left,
        rows: product.left.rows,
        right,
        columns,
        inner,
        out: out.at(column),
        out_stride: width,
        streamed: !matches!(product.matrix.values(), Rows::Nf4(_)),
    };
    let start = first * inner;
    let end = start + count * inner;
    match (left, product.matrix.values()) {
        (Left::Single(left), Rows::Single(values)) => {
            let (left, right) = (left.as_ptr().cast(), values[start..end].as_ptr().cast());
            // SAFETY: the slices hold the rows of both operands.
            unsafe { (kernel.single_dots)(dots(left, right, first, count)) };
        }
        (Left::Half(left), Rows::Half(values)) => {
            let (left, right) = (left.as_ptr().cast(), values[start..end].as_ptr().cast());
            // SAFETY: as above.
            unsafe { (kernel.half_dots)(dots(left, right, first, count)) };
        }
        (Left::Half(left), Rows::Nf4(values)) => {
            const ABREAST: usize = 4;
            let mut halves = HALVES.take();
            halves.resize(ABREAST * inner, bf16::ZERO);
            for column in (first..first + count).step_by(ABREAST) {
                let columns = ABREAST.min(first + count - column);
                let part = &mut halves[..columns * inner];
                values.halves(column * inner, part, product.instructions);
                let right = part.as_ptr().cast();
                // SAFETY: as above.
                unsafe {
                    (kernel.half_dots)(dots(left.as_ptr().cast(), right, column, columns));
                }
            }
            HALVES.set(halves);
        }
        _ => unreachable!("the left operand was made for the matrix"),
    }
}

#[expect(unsafe_code, reason = "threads write to columns of one matrix")]
unsafe fn add_term(product: &Product<'_>, first: usize, count: usize, out: Out) {
    let Some(term) = &product.term else {
        return;
    };
    let width = term.right.columns;
    for i in 0..term.left.rows {
        for j in first..first + count {
            let mut sum = 0.0;
            for r in 0..term.right.rows {
                let left = term.left.data[i * term.left.row_stride + r * term.left.column_stride];
                let at = r * term.right.row_stride + j * term.right.column_stride;
                sum += left * term.right.data[at];
            }
            // SAFETY: the caller vouches for the columns of this task.
            unsafe { *out.at(i * width + j) += term.scale * sum };
        }
    }
}
