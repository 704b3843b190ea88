//! Matrix products over plain slices: with a matrix that lies whole in memory through kernels of our
//! own ([`Product`]), of other f32 views through the `gemm` crate.
//!
//! The only unsafe code of the crate. Every entry checks that each operand's last element lies
//! inside its slice before a pointer is made, and that the processor has the instructions of a
//! kernel, so the wrappers are safe to call.

mod blocked;
mod fresh;
mod heap;
mod kernel;
mod pack;
#[cfg(test)]
mod tests;
mod thin;

use gemm::Parallelism;

use super::rows;

pub(crate) use blocked::{Direction, LowRankTerm, Matrix, Product, Rows};
pub(crate) use fresh::fresh;
pub use heap::keep_freed_memory;
pub(crate) use kernel::Instructions;

/// A read-only matrix over a slice.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// A dense row-major matrix.
    pub(crate) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// Rows that lie `row_stride` apart; elements of a row are adjacent.
    pub(crate) fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        let view = Self {
            data,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        };
        assert!(
            last_index(rows, columns, row_stride) <= data.len(),
            "a view of {rows} x {columns} by {row_stride} needs more than {} elements",
            data.len()
        );
        view
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// One past the last element that a row-major matrix touches.
fn last_index(rows: usize, columns: usize, row_stride: usize) -> usize {
    if rows == 0 || columns == 0 {
        0
    } else {
        // A size that overflows must not pass for a small one.
        (rows - 1)
            .saturating_mul(row_stride)
            .saturating_add(columns)
    }
}

/// Whether a product may use the thread pool: not from inside a parallel section.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    One,
    Pool,
}

impl Threads {
    fn parallelism(self) -> Parallelism {
        let threads = rayon::current_num_threads();
        if self == Self::Pool && threads > 1 {
            Parallelism::Rayon(threads)
        } else {
            Parallelism::None
        }
    }
}

/// Columns of a result from which on the kernels for held matrices are the faster ones.
const WIDE: usize = 32;

/// The right operand as the kernels for held matrices take it: whole, its rows or its columns
/// adjacent in memory.
fn as_matrix<'a>(right: &View<'a>) -> Option<(Matrix<'a>, Direction)> {
    let (rows, columns, direction) = if right.column_stride == 1 {
        (right.rows, right.columns, Direction::Backward)
    } else {
        (right.columns, right.rows, Direction::Forward)
    };
    if right.row_stride.max(right.column_stride) != columns {
        return None;
    }
    let values = Rows::Single(&right.data[..rows * columns]);
    Some((Matrix::new(values, rows, columns), direction))
}

/// Returns `scale * left @ right` in a fresh row-major buffer.
pub(crate) fn product(left: View<'_>, right: View<'_>, scale: f32) -> Vec<f32> {
    let size = left.rows * right.columns;
    if left.columns == 0 {
        return vec![0.0; size];
    }
    if left.column_stride == 1
        && right.columns >= WIDE
        && let Some((matrix, direction)) = as_matrix(&right)
    {
        assert_eq!(left.columns, right.rows, "inner sizes of a product differ");
        let mut out = Product {
            left,
            matrix,
            direction,
            term: None,
            instructions: Instructions::detected(),
        }
        .run();
        if scale.to_bits() != 1f32.to_bits() {
            rows::scale(&mut out, scale);
        }
        return out;
    }
    let mut out: Vec<f32> = Vec::with_capacity(size);
    #[expect(
        unsafe_code,
        reason = "the product writes straight into fresh memory: zeroing it first costs a pass"
    )]
    // SAFETY: `out` has room for `size` elements and is not shared; `run` writes all of them
    // (it does not read the destination, and the inner size is not 0), after which the length
    // covers initialised elements only.
    unsafe {
        run(
            out.as_mut_ptr(),
            right.columns,
            false,
            left,
            right,
            scale,
            Threads::Pool,
        );
        out.set_len(size);
    }
    out
}

/// A matrix to write to, rows `row_stride` apart.
pub(crate) struct ViewMut<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) row_stride: usize,
}

/// Writes `out = scale * left @ right`, or adds to `out` when `accumulate`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a view is made for one call, as a slice is"
)]
pub(crate) fn product_into(
    out: ViewMut<'_>,
    accumulate: bool,
    left: View<'_>,
    right: View<'_>,
    scale: f32,
    threads: Threads,
) {
    assert!(
        right.columns <= out.row_stride
            && last_index(left.rows, right.columns, out.row_stride) <= out.data.len(),
        "the destination is too small for {} x {}",
        left.rows,
        right.columns
    );
    #[expect(unsafe_code, reason = "the gemm crate takes raw pointers")]
    // SAFETY: the destination is exclusively borrowed and was just checked to hold every element
    // that is written.
    unsafe {
        run(
            out.data.as_mut_ptr(),
            out.row_stride,
            accumulate,
            left,
            right,
            scale,
            threads,
        );
    }
}

/// Calls the kernel.
///
/// # Safety
/// `out` must be valid for writes of `left.rows` rows of `right.columns` elements, `row_stride`
/// apart, and for reads of them when `accumulate`.
#[expect(unsafe_code, reason = "the gemm crate takes raw pointers")]
unsafe fn run(
    out: *mut f32,
    row_stride: usize,
    accumulate: bool,
    left: View<'_>,
    right: View<'_>,
    scale: f32,
    threads: Threads,
) {
    assert_eq!(left.columns, right.rows, "inner sizes of a product differ");
    let stride = |value: usize| isize::try_from(value).expect("a stride fits an address");
    // SAFETY: `View` checked both operands against their slices when it was made; the
    // destination is the caller's duty.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            out,
            1,
            stride(row_stride),
            accumulate,
            left.data.as_ptr(),
            stride(left.column_stride),
            stride(left.row_stride),
            right.data.as_ptr(),
            stride(right.column_stride),
            stride(right.row_stride),
            1.0,
            scale,
            false,
            false,
            false,
            threads.parallelism(),
        );
    }
}
