//! Plain loops, for processors without wide registers and as the measure of the others.

use std::ffi::c_void;

use half::bf16;

use super::{Dots, Kernel, Tile};
use crate::ops::frozen::nf4::LEVELS;
use crate::ops::product::pack::{Conversion, Layout, Source};

const ROWS: usize = 4;
const COLUMNS: usize = 8;

pub(super) static KERNEL: Kernel = Kernel {
    rows: ROWS,
    columns: COLUMNS,
    half: Layout::Single,
    single_tile: tile,
    half_tile: tile,
    interleave,
    stack,
    single_dots: dots::<f32>,
    half_dots: dots::<bf16>,
    halves,
};

#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn tile(tile: Tile) {
    // SAFETY: passed on from the caller.
    unsafe {
        match tile.rows {
            1 => sized::<1>(tile),
            2 => sized::<2>(tile),
            3 => sized::<3>(tile),
            _ => sized::<ROWS>(tile),
        }
    }
}

#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn sized<const M: usize>(tile: Tile) {
    let mut sums = [[0.0f32; COLUMNS]; M];
    // SAFETY: the caller vouches for the operands' sizes.
    unsafe {
        for q in 0..tile.depth {
            let right = tile.right.cast::<[f32; COLUMNS]>().add(q).read_unaligned();
            let left = tile.left.cast::<[f32; M]>().add(q).read_unaligned();
            for (sums, left) in sums.iter_mut().zip(left) {
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum += left * right;
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            let out = tile.out.add(i * tile.out_stride);
            for (j, sum) in sums.iter().enumerate() {
                let before = if tile.accumulate { *out.add(j) } else { 0.0 };
                out.add(j).write(before + sum);
            }
        }
    }
}

/// The bits of the bf16 nearest to an f32, ties to even; a NaN stays one.
#[inline(always)]
#[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
fn rounded(value: f32) -> u32 {
    u32::from(bf16::from_f32(value).to_bits())
}

/// Unit `q` of a row.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must take on the instructions of its caller"
)]
#[expect(unsafe_code, reason = "operands are reached by pointers")]
pub(super) unsafe fn unit(source: &Source, row: *const c_void, q: usize) -> u32 {
    // SAFETY: the caller vouches that the row has the unit's first element; the second is read
    // only where it exists.
    unsafe {
        let single = |at: usize| row.cast::<f32>().add(at).read_unaligned();
        let half = |at: usize| u32::from(row.cast::<u16>().add(at).read_unaligned());
        match source.conversion {
            Conversion::Single => single(q).to_bits(),
            Conversion::Rounded => rounded(single(q)) << 16,
            Conversion::Widened => half(q) << 16,
            Conversion::RoundedPair if 2 * q + 1 < source.elements => {
                rounded(single(2 * q)) | rounded(single(2 * q + 1)) << 16
            }
            Conversion::RoundedPair => rounded(single(2 * q)),
            Conversion::Pair if 2 * q + 1 < source.elements => half(2 * q) | half(2 * q + 1) << 16,
            Conversion::Pair => half(2 * q),
        }
    }
}

#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn interleave(source: Source, rows: usize, out: *mut u32, stride: usize) {
    // SAFETY: passed on from the caller.
    unsafe { interleave_from(&source, rows, out, stride, 0) }
}

/// As [`super::InterleaveFn`], from unit `first` on.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must take on the instructions of its caller"
)]
#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
pub(super) unsafe fn interleave_from(
    source: &Source,
    rows: usize,
    out: *mut u32,
    stride: usize,
    first: usize,
) {
    let units = source.conversion.layout().units(source.elements);
    // SAFETY: the caller vouches for `rows` rows of the source and `units * stride` units.
    unsafe {
        for i in 0..stride {
            let row = source.data.wrapping_add(i * source.stride);
            for q in first..units {
                let value = if i < rows { unit(source, row, q) } else { 0 };
                out.add(q * stride + i).write(value);
            }
        }
    }
}

#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn stack(source: Source, rows: usize, out: *mut u32, columns: usize) {
    // SAFETY: passed on from the caller.
    unsafe { stack_any(&source, rows, out, columns) }
}

/// As [`super::StackFn`].
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must take on the instructions of its caller"
)]
#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
pub(super) unsafe fn stack_any(source: &Source, rows: usize, out: *mut u32, columns: usize) {
    let conversion = source.conversion;
    let width = source.elements.min(columns);
    for q in 0..conversion.layout().units(rows) {
        // SAFETY: the caller vouches for `rows` rows of the source and the units of the panel.
        unsafe {
            let row = |row: usize| source.data.wrapping_add(row * source.stride);
            let out = out.add(q * columns);
            let half = |row: *const c_void, j: usize| u32::from(row.cast::<u16>().add(j).read());
            match conversion {
                Conversion::Pair if 2 * q + 1 < rows => {
                    let (low, high) = (row(2 * q), row(2 * q + 1));
                    for j in 0..width {
                        out.add(j).write(half(low, j) | half(high, j) << 16);
                    }
                }
                Conversion::Pair => {
                    for j in 0..width {
                        out.add(j).write(half(row(2 * q), j));
                    }
                }
                Conversion::Widened => {
                    for j in 0..width {
                        out.add(j).write(half(row(q), j) << 16);
                    }
                }
                _ => std::ptr::copy_nonoverlapping(row(q).cast(), out, width),
            }
            for j in width..columns {
                out.add(j).write(0);
            }
        }
    }
}

#[expect(unsafe_code, reason = "operands are reached by pointers")]
unsafe fn halves(codes: *const u8, scale: f32, out: *mut bf16, count: usize) {
    let levels = LEVELS.map(|level| bf16::from_f32(level * scale));
    for i in 0..count / 2 {
        // SAFETY: the caller vouches for `count` elements.
        unsafe {
            let code = *codes.add(i);
            out.add(2 * i).write(levels[usize::from(code & 15)]);
            out.add(2 * i + 1).write(levels[usize::from(code >> 4)]);
        }
    }
}

/// An element that can be read as f32.
pub(super) trait Element: Copy {
    fn single(self) -> f32;
}

impl Element for f32 {
    #[inline]
    fn single(self) -> f32 {
        self
    }
}

impl Element for bf16 {
    #[inline]
    fn single(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

/// Partial sums of a dot product.
const LANES: usize = 16;

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must take on the instructions of its caller"
)]
#[expect(unsafe_code, reason = "operands are reached by pointers")]
pub(super) unsafe fn dots<T: Element>(dots: Dots) {
    let inner = dots.inner;
    for j in 0..dots.columns {
        // SAFETY: the caller vouches for the sizes of the operands and of `out`.
        unsafe {
            let right = dots.right.cast::<T>().add(j * inner);
            let right = std::slice::from_raw_parts(right, inner);
            for i in 0..dots.rows {
                let left = dots.left.cast::<T>().add(i * inner);
                let left = std::slice::from_raw_parts(left, inner);
                let sum = dot(left, right);
                dots.out.add(i * dots.out_stride + j).write(sum);
            }
        }
    }
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must take on the instructions of its caller"
)]
fn dot<T: Element>(left: &[T], right: &[T]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (lefts, rights) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let rest = lefts.remainder().iter().zip(rights.remainder());
    let tail: f32 = rest.map(|(a, b)| a.single() * b.single()).sum();
    for (a, b) in lefts.zip(rights) {
        for l in 0..LANES {
            lanes[l] += a[l].single() * b[l].single();
        }
    }
    lanes.iter().sum::<f32>() + tail
}
