//! Register tiles: the innermost loops of a product, one set for each kind of processor.
//!
//! A tile multiplies a packed run of some rows of the left operand with a packed panel of the
//! right one. Packed operands are runs of four-byte units: one f32, or two bf16 that are adjacent
//! along the inner dimension.

use std::ffi::c_void;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use half::bf16;

use super::pack::{Layout, Source};
use crate::ops::frozen::nf4;

/// What this machine's processor can do. Instructions that it has not cannot be named outside this
/// module: whoever holds a value may run its kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instructions(Level);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// What every processor of the target has.
    Portable,
    /// 256-bit registers and fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit registers.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 512-bit registers and products of bf16 pairs summed in f32.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

impl Level {
    /// From the least to the most.
    #[cfg(target_arch = "x86_64")]
    const ALL: &[Self] = &[Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16];
    #[cfg(not(target_arch = "x86_64"))]
    const ALL: &[Self] = &[Self::Portable];

    fn is_here(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => Self::Avx512.is_here() && is_x86_feature_detected!("avx512bf16"),
        }
    }
}

impl Instructions {
    /// The most that this machine can do.
    pub(crate) fn detected() -> Self {
        let most = Level::ALL.iter().rev().find(|level| level.is_here());
        Self(most.copied().unwrap_or(Level::Portable))
    }

    /// All that this machine can do, and the names of what it cannot.
    #[cfg(test)]
    pub(crate) fn each() -> (Vec<Self>, Vec<String>) {
        let (here, lacking): (Vec<Level>, Vec<Level>) =
            Level::ALL.iter().partition(|level| level.is_here());
        let names = lacking.iter().map(|level| format!("{level:?}"));
        (here.into_iter().map(Self).collect(), names.collect())
    }

    /// Writes NF4 elements of one block in bf16, from their codes, two a byte, the first in the
    /// low half, and the block's scale.
    pub(crate) fn halves(self, codes: &[u8], scale: f32, out: &mut [bf16]) {
        assert!(
            2 * codes.len() >= out.len(),
            "codes of {} elements",
            out.len()
        );
        let whole = out.len() / 32 * 32;
        #[expect(unsafe_code, reason = "the kernels take pointers")]
        // SAFETY: the processor has the instructions, or there were no value of them; the codes
        // were just checked to be enough, and `whole` is a multiple of 32.
        unsafe {
            (self.kernel().halves)(codes.as_ptr(), scale, out.as_mut_ptr(), whole);
        }
        for (i, value) in out.iter_mut().enumerate().skip(whole) {
            *value = nf4::level(codes[i / 2] >> (4 * (i % 2)) & 15, scale);
        }
    }

    /// The inner loops for these instructions, which the processor has.
    pub(super) fn kernel(self) -> &'static Kernel {
        match self.0 {
            Level::Portable => &portable::KERNEL,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => &avx2::KERNEL,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => &avx512::KERNEL,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 => &avx512::PAIRED_KERNEL,
        }
    }
}

/// A tile's operands.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Rows of the tile, at most the kernel's.
    pub(super) rows: usize,
    /// Units along the inner dimension.
    pub(super) depth: usize,
    /// `depth` groups of `rows` units.
    pub(super) left: *const u32,
    /// `depth` groups of as many units as the kernel has columns.
    pub(super) right: *const u32,
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
    /// Whether the tile is added to what `out` holds.
    pub(super) accumulate: bool,
}

/// Computes one tile.
///
/// # Safety
/// The processor must have the kernel's instructions. `left` and `right` must be valid for reads
/// of what [`Tile`] says, `out` for writes of `rows` rows of the kernel's columns, `out_stride`
/// apart, and for reads of them when `accumulate`.
pub(super) type TileFn = unsafe fn(Tile);

/// Writes units `0..units` of some rows of a source, interleaved: unit q of row i goes to
/// `out[q * stride + i]`. Rows from `rows` to `stride` are written as zeros or left alone.
///
/// # Safety
/// The processor must have the kernel's instructions; the source must be valid for reads of the
/// rows and `out` for writes of `units * stride` units, `stride` being at least `rows`.
pub(super) type InterleaveFn = unsafe fn(Source, rows: usize, out: *mut u32, stride: usize);

/// Writes the panel of a right operand whose columns are adjacent: unit j of group q holds column
/// j of inner index q, or of 2q and 2q + 1.
///
/// # Safety
/// As [`InterleaveFn`]; the source's rows are the inner indices.
pub(super) type StackFn = unsafe fn(Source, rows: usize, out: *mut u32, columns: usize);

/// Writes `rows x columns` dot products; see [`super::thin`].
///
/// # Safety
/// The processor must have the kernel's instructions; every pointer must be valid for the sizes
/// of the [`Dots`].
pub(super) type DotsFn = unsafe fn(Dots);

/// Writes NF4 elements of one block in bf16, from their codes, two a byte, and the block's scale.
///
/// # Safety
/// The processor must have the kernel's instructions; `codes` and `out` must be valid for `count`
/// elements, `count` being a multiple of 32.
pub(super) type HalvesFn = unsafe fn(codes: *const u8, scale: f32, out: *mut bf16, count: usize);

/// Some rows of a left operand against some rows of a matrix, both with adjacent inner elements.
#[derive(Clone, Copy)]
pub(super) struct Dots {
    /// Rows of the left operand in bf16 or f32, `inner` apart.
    pub(super) left: *const c_void,
    pub(super) rows: usize,
    /// Rows of the matrix in the same type, `inner` apart.
    pub(super) right: *const c_void,
    pub(super) columns: usize,
    pub(super) inner: usize,
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
    /// Whether more rows of the matrix follow in memory and are wanted next: they are asked for
    /// meanwhile.
    pub(super) streamed: bool,
}

/// Rows of a streamed matrix that are asked for ahead of the one that is read. Rows are too short
/// for the processor to foresee the next ones by itself: it stops and waits at each.
const ROWS_AHEAD: usize = 8;

/// The inner loops of one kind of processor.
pub(super) struct Kernel {
    /// Rows of the largest tile.
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// How bf16 values are packed: in pairs, or widened to f32.
    pub(super) half: Layout,
    pub(super) single_tile: TileFn,
    /// For operands packed as `half` says.
    pub(super) half_tile: TileFn,
    pub(super) interleave: InterleaveFn,
    pub(super) stack: StackFn,
    pub(super) single_dots: DotsFn,
    pub(super) half_dots: DotsFn,
    pub(super) halves: HalvesFn,
}
