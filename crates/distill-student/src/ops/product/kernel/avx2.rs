//! 256-bit registers and fused multiply-add. bf16 is widened while it is packed.

use std::arch::x86_64::{
    __m256, __m256i, _MM_HINT_T1, _mm_prefetch, _mm256_add_ps, _mm256_castps_si256,
    _mm256_castsi256_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_permute2x128_si256,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_slli_epi32, _mm256_storeu_ps,
    _mm256_storeu_si256, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32,
    _mm256_unpacklo_epi64,
};
use std::ffi::c_void;

use half::bf16;

use super::{Dots, Kernel, ROWS_AHEAD, Tile, portable};
use crate::ops::frozen::nf4::LEVELS;
use crate::ops::product::pack::{Conversion, Layout, Source};

/// 12 sums, two registers of the right operand and one of the left fill 15 of 16 registers.
const ROWS: usize = 6;
const COLUMNS: usize = 16;
const LANES: usize = 8;

pub(super) static KERNEL: Kernel = Kernel {
    rows: ROWS,
    columns: COLUMNS,
    half: Layout::Single,
    single_tile: tile,
    half_tile: tile,
    interleave,
    stack,
    single_dots,
    half_dots,
    halves,
};

#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn tile(tile: Tile) {
    // SAFETY: passed on from the caller.
    unsafe {
        match tile.rows {
            1 => sized::<1>(tile),
            2 => sized::<2>(tile),
            3 => sized::<3>(tile),
            4 => sized::<4>(tile),
            5 => sized::<5>(tile),
            _ => sized::<ROWS>(tile),
        }
    }
}

#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn sized<const M: usize>(tile: Tile) {
    let mut sums = [[_mm256_setzero_ps(); 2]; M];
    // SAFETY: the caller vouches for the operands' sizes.
    unsafe {
        let (mut left, mut right) = (tile.left.cast::<f32>(), tile.right.cast::<f32>());
        for _ in 0..tile.depth {
            let b = [_mm256_loadu_ps(right), _mm256_loadu_ps(right.add(LANES))];
            for (i, sums) in sums.iter_mut().enumerate() {
                let a = _mm256_set1_ps(*left.add(i));
                sums[0] = _mm256_fmadd_ps(a, b[0], sums[0]);
                sums[1] = _mm256_fmadd_ps(a, b[1], sums[1]);
            }
            (left, right) = (left.add(M), right.add(COLUMNS));
        }
        for (i, sums) in sums.iter().enumerate() {
            for (half, &sum) in sums.iter().enumerate() {
                let out = tile.out.add(i * tile.out_stride + half * LANES);
                let sum: __m256 = if tile.accumulate {
                    _mm256_add_ps(_mm256_loadu_ps(out), sum)
                } else {
                    sum
                };
                _mm256_storeu_ps(out, sum);
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn interleave(source: Source, rows: usize, out: *mut u32, stride: usize) {
    // SAFETY: passed on from the caller.
    unsafe {
        match source.conversion {
            Conversion::Single => transposed(&source, rows, out, stride, |at| {
                _mm256_castps_si256(_mm256_loadu_ps(at.cast()))
            }),
            Conversion::Rounded => transposed(&source, rows, out, stride, |at| {
                round_to_half(_mm256_loadu_ps(at.cast()))
            }),
            _ => transposed(&source, rows, out, stride, |at| widened(at)),
        }
    }
}

/// Eight bf16 as f32.
#[inline]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "operands are reached by pointers")]
unsafe fn widened(at: *const c_void) -> __m256i {
    use std::arch::x86_64::{_mm_loadu_si128, _mm256_cvtepu16_epi32};
    // SAFETY: the caller vouches for eight elements.
    let halves = unsafe { _mm_loadu_si128(at.cast()) };
    _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves))
}

/// Rounds to the nearest bf16, ties to even, and widens again. A NaN stays one.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn round_to_half(values: __m256) -> __m256i {
    use std::arch::x86_64::{
        _CMP_UNORD_Q, _mm256_add_epi32, _mm256_and_si256, _mm256_blendv_ps, _mm256_cmp_ps,
        _mm256_set1_epi32, _mm256_srli_epi32,
    };
    let bits = _mm256_castps_si256(values);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    let rounded = _mm256_and_si256(
        _mm256_add_epi32(bits, bias),
        _mm256_set1_epi32(0xffff_0000_u32 as i32),
    );
    let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(values, values);
    _mm256_castps_si256(_mm256_blendv_ps(
        _mm256_castsi256_ps(rounded),
        _mm256_set1_ps(f32::NAN),
        nan,
    ))
}

/// Interleaves whole blocks of 8 x 8 units in registers, the rest one by one.
#[inline]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn transposed(
    source: &Source,
    rows: usize,
    out: *mut u32,
    stride: usize,
    load: impl Fn(*const c_void) -> __m256i,
) {
    let whole = source.elements / LANES * LANES;
    let element = source.conversion.element();
    for first in (0..stride).step_by(LANES) {
        let width = (stride - first).min(LANES);
        for q in (0..whole).step_by(LANES) {
            let mut block = [_mm256_setzero_si256(); LANES];
            for (i, units) in block.iter_mut().enumerate() {
                if first + i < rows {
                    let row = source.data.wrapping_add((first + i) * source.stride);
                    *units = load(row.wrapping_add(q * element));
                }
            }
            transpose(&mut block);
            for (j, &group) in block.iter().enumerate() {
                // SAFETY: the caller vouches for `units * stride` units, of which a group takes
                // `width`.
                unsafe {
                    let at = out.add((q + j) * stride + first);
                    if width == LANES {
                        _mm256_storeu_si256(at.cast(), group);
                    } else {
                        let mut units = [0u32; LANES];
                        _mm256_storeu_si256(units.as_mut_ptr().cast(), group);
                        std::ptr::copy_nonoverlapping(units.as_ptr(), at, width);
                    }
                }
            }
        }
    }
    // SAFETY: passed on from the caller.
    unsafe { portable::interleave_from(source, rows, out, stride, whole) }
}

/// Transposes 8 x 8 units.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn transpose(rows: &mut [__m256i; LANES]) {
    let mut t = [_mm256_setzero_si256(); LANES];
    for i in 0..4 {
        t[2 * i] = _mm256_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    for i in 0..2 {
        for j in 0..2 {
            let (low, high) = (t[4 * i + j], t[4 * i + 2 + j]);
            rows[4 * i + 2 * j] = _mm256_unpacklo_epi64(low, high);
            rows[4 * i + 2 * j + 1] = _mm256_unpackhi_epi64(low, high);
        }
    }
    for c in 0..4 {
        t[c] = _mm256_permute2x128_si256::<0x20>(rows[c], rows[4 + c]);
        t[4 + c] = _mm256_permute2x128_si256::<0x31>(rows[c], rows[4 + c]);
    }
    *rows = t;
}

#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn stack(source: Source, rows: usize, out: *mut u32, columns: usize) {
    // SAFETY: passed on from the caller.
    unsafe { portable::stack_any(&source, rows, out, columns) }
}

#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "operands are reached by pointers")]
unsafe fn single_dots(dots: Dots) {
    // SAFETY: passed on from the caller.
    unsafe {
        let load = |row: *const c_void, at: usize| _mm256_loadu_ps(row.cast::<f32>().add(at));
        let tail = |row: *const c_void, at: usize| *row.cast::<f32>().add(at);
        rows_by_columns(dots, 4, load, tail);
    }
}

#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "operands are reached by pointers")]
unsafe fn half_dots(dots: Dots) {
    // SAFETY: passed on from the caller.
    unsafe {
        let load = |row: *const c_void, at: usize| {
            _mm256_castsi256_ps(widened(row.cast::<bf16>().add(at).cast()))
        };
        let tail = |row: *const c_void, at: usize| (*row.cast::<bf16>().add(at)).to_f32();
        rows_by_columns(dots, 2, load, tail);
    }
}

/// Rows of the matrix whose dot products are summed side by side.
const ABREAST: usize = 4;
/// Bytes that come from memory at once.
const LINE: usize = 64;
/// Rows of the left operand that share what is loaded of the matrix.
const TOGETHER: usize = 2;

/// Dot products of every row with every column, each summed in the same order whatever is summed
/// beside it.
#[inline]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "operands are reached by pointers")]
unsafe fn rows_by_columns(
    dots: Dots,
    element: usize,
    load: impl Fn(*const c_void, usize) -> __m256,
    tail: impl Fn(*const c_void, usize) -> f32,
) {
    let (inner, row) = (dots.inner, dots.inner * element);
    for j in (0..dots.columns).step_by(ABREAST) {
        // A short last group takes its last column again.
        let column = |c: usize| dots.right.wrapping_add((j + c).min(dots.columns - 1) * row);
        let columns: [*const c_void; ABREAST] = std::array::from_fn(column);
        for i in (0..dots.rows).step_by(TOGETHER) {
            let place = |r: usize| dots.left.wrapping_add((i + r).min(dots.rows - 1) * row);
            let rows: [*const c_void; TOGETHER] = std::array::from_fn(place);
            let mut sums = [[_mm256_setzero_ps(); ABREAST]; TOGETHER];
            let whole = inner / LANES * LANES;
            for at in (0..whole).step_by(LANES) {
                if dots.streamed && i == 0 && (at * element).is_multiple_of(LINE) {
                    for column in columns {
                        let wanted = column.wrapping_add(ROWS_AHEAD * row + at * element);
                        // Into the second cache: requests of the first are few at a time.
                        _mm_prefetch::<_MM_HINT_T1>(wanted.cast());
                    }
                }
                let b: [__m256; ABREAST] = std::array::from_fn(|c| load(columns[c], at));
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let a = load(row, at);
                    for (sum, b) in sums.iter_mut().zip(b) {
                        *sum = _mm256_fmadd_ps(a, b, *sum);
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate().take(dots.rows - i) {
                for (c, sum) in sums.iter().enumerate().take(dots.columns - j) {
                    let mut lanes = [0.0f32; LANES];
                    // SAFETY: the lanes fill a register; the caller vouches for the operands and
                    // for `rows x columns` places.
                    unsafe {
                        _mm256_storeu_ps(lanes.as_mut_ptr(), *sum);
                        let rest =
                            (whole..inner).map(|at| tail(rows[r], at) * tail(columns[c], at));
                        let sum = lanes.iter().sum::<f32>() + rest.sum::<f32>();
                        dots.out.add((i + r) * dots.out_stride + j + c).write(sum);
                    }
                }
            }
        }
    }
}

/// Looks up the low and the high byte of 16 elements at a time.
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "operands are reached by pointers")]
unsafe fn halves(codes: *const u8, scale: f32, out: *mut bf16, count: usize) {
    use std::arch::x86_64::{
        _mm_and_si128, _mm_loadl_epi64, _mm_set1_epi8, _mm_setr_epi8, _mm_shuffle_epi8,
        _mm_srli_epi16, _mm_storeu_si128, _mm_unpackhi_epi8, _mm_unpackhi_epi64, _mm_unpacklo_epi8,
        _mm_unpacklo_epi32, _mm_unpacklo_epi64, _mm256_broadcastsi128_si256,
        _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_mul_ps, _mm256_shuffle_epi8,
    };
    let nibble = _mm_set1_epi8(15);
    let gathered = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        2, 6, 10, 14, 3, 7, 11, 15, -1, -1, -1, -1, -1, -1, -1, -1,
    ));
    // SAFETY: the tables have 16 bytes; the caller vouches for `count` elements, which 16 divides.
    unsafe {
        let scale = _mm256_set1_ps(scale);
        let scaled = |from: usize| {
            let levels = _mm256_loadu_ps(LEVELS.as_ptr().add(from));
            let bits = round_to_half(_mm256_mul_ps(levels, scale));
            // The bytes of each bf16 side by side, at the start of each half: low ones, high ones.
            let bytes = _mm256_shuffle_epi8(bits, gathered);
            let (a, b) = (
                _mm256_castsi256_si128(bytes),
                _mm256_extracti128_si256::<1>(bytes),
            );
            _mm_unpacklo_epi32(a, b)
        };
        // Each holds the low bytes of eight levels, then their high bytes.
        let (first, second) = (scaled(0), scaled(8));
        let (low, high) = (
            _mm_unpacklo_epi64(first, second),
            _mm_unpackhi_epi64(first, second),
        );
        for i in (0..count).step_by(16) {
            let bytes = _mm_loadl_epi64(codes.add(i / 2).cast());
            let even = _mm_and_si128(bytes, nibble);
            let odd = _mm_and_si128(_mm_srli_epi16::<4>(bytes), nibble);
            let places = _mm_unpacklo_epi8(even, odd);
            let (low, high) = (
                _mm_shuffle_epi8(low, places),
                _mm_shuffle_epi8(high, places),
            );
            _mm_storeu_si128(out.add(i).cast(), _mm_unpacklo_epi8(low, high));
            _mm_storeu_si128(out.add(i + 8).cast(), _mm_unpackhi_epi8(low, high));
        }
    }
}
