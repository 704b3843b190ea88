//! 512-bit registers, with and without the units that multiply pairs of bf16.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, _mm256_loadu_si256,
    _mm256_maskz_loadu_epi16, _mm512_add_ps, _mm512_castps_si512, _mm512_cvtepu16_epi32,
    _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mask_storeu_epi32, _mm512_maskz_loadu_epi16, _mm512_maskz_loadu_ps,
    _mm512_permutex2var_epi16, _mm512_reduce_add_ps, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_slli_epi32,
    _mm512_storeu_ps, _mm512_storeu_si512, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use std::ffi::c_void;

use half::bf16;

use super::{Dots, Kernel, ROWS_AHEAD, Tile};
use crate::ops::frozen::nf4::LEVELS;
use crate::ops::product::pack::{Conversion, Layout, Source};

/// 28 sums, two registers of the right operand and one of the left fill 31 of 32 registers.
const ROWS: usize = 14;
const COLUMNS: usize = 32;
const LANES: usize = 16;

/// Without bf16 units: bf16 is widened while it is packed.
pub(super) static KERNEL: Kernel = Kernel {
    rows: ROWS,
    columns: COLUMNS,
    half: Layout::Single,
    single_tile,
    half_tile: single_tile,
    interleave,
    stack,
    single_dots,
    half_dots: widened_dots,
    halves,
};

pub(super) static PAIRED_KERNEL: Kernel = Kernel {
    half: Layout::Pair,
    half_tile: pair_tile,
    interleave: interleave_pairs,
    half_dots: pair_dots,
    rows: ROWS,
    columns: COLUMNS,
    single_tile,
    stack,
    single_dots,
    halves,
};

/// Calls a tile of a size that is known when it is compiled.
macro_rules! by_rows {
    ($tile:expr, $sized:ident, $($rows:literal)*) => {
        match $tile.rows {
            $($rows => $sized::<$rows>($tile),)*
            _ => $sized::<ROWS>($tile),
        }
    };
}

/// Writes or adds the sums of a tile. A function that is not inlined would have the sums in memory,
/// and cleared there first.
macro_rules! store {
    ($tile:ident, $sums:ident) => {
        for (i, sums) in $sums.into_iter().enumerate() {
            for (half, mut sum) in sums.into_iter().enumerate() {
                let out = $tile.out.add(i * $tile.out_stride + half * LANES);
                if $tile.accumulate {
                    sum = _mm512_add_ps(_mm512_loadu_ps(out), sum);
                }
                _mm512_storeu_ps(out, sum);
            }
        }
    };
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn single_tile(tile: Tile) {
    // SAFETY: passed on from the caller.
    unsafe { by_rows!(tile, sized_single, 1 2 3 4 5 6 7 8 9 10 11 12 13) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn sized_single<const M: usize>(tile: Tile) {
    let mut sums = [[_mm512_setzero_ps(); 2]; M];
    // SAFETY: the caller vouches for the operands' sizes.
    unsafe {
        prefetch::<M>(&tile);
        let (mut left, mut right) = (tile.left.cast::<f32>(), tile.right.cast::<f32>());
        for _ in 0..tile.depth {
            let b = [_mm512_loadu_ps(right), _mm512_loadu_ps(right.add(LANES))];
            for (i, sums) in sums.iter_mut().enumerate() {
                let a = _mm512_set1_ps(*left.add(i));
                sums[0] = _mm512_fmadd_ps(a, b[0], sums[0]);
                sums[1] = _mm512_fmadd_ps(a, b[1], sums[1]);
            }
            (left, right) = (left.add(M), right.add(COLUMNS));
        }
        store!(tile, sums);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn pair_tile(tile: Tile) {
    // SAFETY: passed on from the caller.
    unsafe { by_rows!(tile, sized_pair, 1 2 3 4 5 6 7 8 9 10 11 12 13) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn sized_pair<const M: usize>(tile: Tile) {
    let mut sums = [[_mm512_setzero_ps(); 2]; M];
    // SAFETY: the caller vouches for the operands' sizes.
    unsafe {
        prefetch::<M>(&tile);
        let (mut left, mut right) = (tile.left.cast::<i32>(), tile.right);
        for _ in 0..tile.depth {
            let b = [load_pairs(right), load_pairs(right.add(LANES))];
            for (i, sums) in sums.iter_mut().enumerate() {
                let a = pairs(_mm512_set1_epi32(*left.add(i)));
                sums[0] = _mm512_dpbf16_ps(sums[0], a, b[0]);
                sums[1] = _mm512_dpbf16_ps(sums[1], a, b[1]);
            }
            (left, right) = (left.add(M), right.add(COLUMNS));
        }
        store!(tile, sums);
    }
}

/// Asks for the tile's place in `out`, which is needed when the sums are done.
#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch<const M: usize>(tile: &Tile) {
    for i in 0..M {
        let out = tile.out.wrapping_add(i * tile.out_stride).cast::<i8>();
        _mm_prefetch::<_MM_HINT_T0>(out);
        _mm_prefetch::<_MM_HINT_T0>(out.wrapping_add(64));
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "the two types are the same register")]
fn pairs(units: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits without invalid values.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(units) }
}

#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn load_pairs(units: *const u32) -> __m512bh {
    // SAFETY: passed on from the caller.
    pairs(unsafe { _mm512_loadu_si512(units.cast()) })
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn interleave(source: Source, rows: usize, out: *mut u32, stride: usize) {
    // SAFETY: passed on from the caller; the closures read 16 units where `whole`, else what the
    // row still has.
    unsafe {
        match source.conversion {
            Conversion::Rounded => transposed(&source, rows, out, stride, |at, left| {
                let singles = load_singles(at.cast(), left);
                round_to_half(singles)
            }),
            Conversion::Widened => transposed(&source, rows, out, stride, |at, left| {
                let halves = if left >= LANES {
                    _mm256_loadu_si256(at.cast())
                } else {
                    _mm256_maskz_loadu_epi16(low_bits(left) as u16, at.cast())
                };
                _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves))
            }),
            _ => transposed(&source, rows, out, stride, |at, left| {
                _mm512_castps_si512(load_singles(at.cast(), left))
            }),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn interleave_pairs(source: Source, rows: usize, out: *mut u32, stride: usize) {
    // SAFETY: as in `interleave`.
    unsafe {
        match source.conversion {
            Conversion::RoundedPair => transposed(&source, rows, out, stride, |at, left| {
                let low = load_singles(at.cast(), left);
                let high = load_singles(at.wrapping_add(64).cast(), left.saturating_sub(LANES));
                let pair = _mm512_cvtne2ps_pbh(high, low);
                std::mem::transmute::<__m512bh, __m512i>(pair)
            }),
            Conversion::Pair => transposed(&source, rows, out, stride, |at, left| {
                if left >= 2 * LANES {
                    _mm512_loadu_si512(at.cast())
                } else {
                    _mm512_maskz_loadu_epi16(low_bits(left), at.cast())
                }
            }),
            _ => interleave(source, rows, out, stride),
        }
    }
}

/// The lowest `count` bits, at most 32.
fn low_bits(count: usize) -> u32 {
    if count >= 32 {
        u32::MAX
    } else {
        (1 << count) - 1
    }
}

/// Up to 16 f32, of which the row still has `left`; the rest are zeros.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "operands are reached by pointers")]
unsafe fn load_singles(at: *const f32, left: usize) -> __m512 {
    // SAFETY: the caller vouches for `left` elements; masked ones are not read.
    unsafe {
        if left >= LANES {
            _mm512_loadu_ps(at)
        } else {
            _mm512_maskz_loadu_ps(low_bits(left) as u16, at)
        }
    }
}

/// Rounds to the nearest bf16, ties to even, and widens again. A NaN stays one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn round_to_half(values: __m512) -> __m512i {
    use std::arch::x86_64::{
        _CMP_UNORD_Q, _mm512_add_epi32, _mm512_and_si512, _mm512_cmp_ps_mask,
        _mm512_mask_mov_epi32, _mm512_srli_epi32,
    };
    let bits = _mm512_castps_si512(values);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    let rounded = _mm512_and_si512(
        _mm512_add_epi32(bits, bias),
        _mm512_set1_epi32(0xffff_0000_u32 as i32),
    );
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values, values);
    _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc0_0000))
}

/// Interleaves rows 16 at a time, 16 units of each; `load` gives 16 units of a row of which so
/// many elements are left.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn transposed(
    source: &Source,
    rows: usize,
    out: *mut u32,
    stride: usize,
    load: impl Fn(*const c_void, usize) -> __m512i,
) {
    let layout = source.conversion.layout();
    let units = layout.units(source.elements);
    let elements = if layout == Layout::Pair { 32 } else { 16 };
    let step = elements * source.conversion.element();
    let end = units * stride;
    for first in (0..stride).step_by(LANES) {
        for q in (0..units).step_by(LANES) {
            let chunk = q / LANES;
            let left = source.elements - chunk * elements;
            let mut block = [_mm512_setzero_si512(); LANES];
            for (i, units) in block.iter_mut().enumerate() {
                if first + i < rows {
                    let row = source.data.wrapping_add((first + i) * source.stride);
                    *units = load(row.wrapping_add(chunk * step), left);
                }
            }
            transpose(&mut block);
            let width = (stride - first).min(LANES);
            for (j, &group) in block.iter().enumerate().take(units - q) {
                let at = (q + j) * stride + first;
                // SAFETY: the caller vouches for `units * stride` units. A whole store may reach
                // past the group's own place, into that of the next one, which is written later.
                unsafe {
                    if width == LANES || (first == 0 && at + LANES <= end) {
                        _mm512_storeu_si512(out.add(at).cast(), group);
                    } else {
                        let mask = low_bits(width) as u16;
                        _mm512_mask_storeu_epi32(out.add(at).cast(), mask, group);
                    }
                }
            }
        }
    }
}

/// Transposes 16 x 16 units.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: &mut [__m512i; LANES]) {
    let mut t = [_mm512_setzero_si512(); LANES];
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    for i in 0..4 {
        for j in 0..2 {
            let (low, high) = (t[4 * i + j], t[4 * i + 2 + j]);
            rows[4 * i + 2 * j] = _mm512_unpacklo_epi64(low, high);
            rows[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(low, high);
        }
    }
    // rows[4 g + c] now holds, in each quarter q, unit 4 q + c of rows 4 g .. 4 g + 4.
    for c in 0..4 {
        t[c] = _mm512_shuffle_i32x4::<0x88>(rows[c], rows[4 + c]);
        t[4 + c] = _mm512_shuffle_i32x4::<0xdd>(rows[c], rows[4 + c]);
        t[8 + c] = _mm512_shuffle_i32x4::<0x88>(rows[8 + c], rows[12 + c]);
        t[12 + c] = _mm512_shuffle_i32x4::<0xdd>(rows[8 + c], rows[12 + c]);
    }
    for c in 0..4 {
        rows[c] = _mm512_shuffle_i32x4::<0x88>(t[c], t[8 + c]);
        rows[4 + c] = _mm512_shuffle_i32x4::<0x88>(t[4 + c], t[12 + c]);
        rows[8 + c] = _mm512_shuffle_i32x4::<0xdd>(t[c], t[8 + c]);
        rows[12 + c] = _mm512_shuffle_i32x4::<0xdd>(t[4 + c], t[12 + c]);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[expect(unsafe_code, reason = "packed operands are reached by pointers")]
unsafe fn stack(source: Source, rows: usize, out: *mut u32, columns: usize) {
    if source.elements < columns || columns != COLUMNS || source.conversion != Conversion::Pair {
        // SAFETY: passed on from the caller.
        return unsafe { super::portable::stack_any(&source, rows, out, columns) };
    }
    let (low, high) = (alternating(0), alternating(16));
    for q in 0..rows.div_ceil(2) {
        // SAFETY: the caller vouches for `rows` rows of 32 columns and for the panel.
        unsafe {
            let even = source.data.add(2 * q * source.stride);
            let a = _mm512_loadu_si512(even.cast());
            let b = if 2 * q + 1 < rows {
                _mm512_loadu_si512(even.add(source.stride).cast())
            } else {
                _mm512_setzero_si512()
            };
            let out = out.add(q * COLUMNS);
            let first = _mm512_permutex2var_epi16(a, low, b);
            let second = _mm512_permutex2var_epi16(a, high, b);
            _mm512_storeu_si512(out.cast(), first);
            _mm512_storeu_si512(out.add(LANES).cast(), second);
        }
    }
}

/// Takes elements from `from` on in turn from two registers of 32.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "a register is loaded from an array")]
fn alternating(from: u16) -> __m512i {
    let mut places = [0u16; 32];
    for (i, place) in places.iter_mut().enumerate() {
        *place = from + i as u16 / 2 + 32 * (i as u16 % 2);
    }
    // SAFETY: the array is 512 bits.
    unsafe { _mm512_loadu_si512(places.as_ptr().cast()) }
}

/// Rows of the matrix whose dot products are summed side by side.
const ABREAST: usize = 4;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[expect(unsafe_code, reason = "operands are reached by pointers")]
unsafe fn pair_dots(dots: Dots) {
    // SAFETY: passed on from the caller.
    unsafe {
        let load = |row: *const c_void, at: usize, left: usize| {
            let from = row.cast::<u16>().add(at);
            if left >= 32 {
                _mm512_loadu_si512(from.cast())
            } else {
                _mm512_maskz_loadu_epi16(low_bits(left), from.cast())
            }
        };
        let add = |sum: __m512, a: __m512i, b: __m512i| _mm512_dpbf16_ps(sum, pairs(a), pairs(b));
        rows_by_columns(dots, 2, 32, load, add);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[expect(unsafe_code, reason = "operands are reached by pointers")]
unsafe fn single_dots(dots: Dots) {
    // SAFETY: passed on from the caller.
    unsafe {
        let load = |row: *const c_void, at: usize, left: usize| {
            load_singles(row.cast::<f32>().add(at), left)
        };
        let add = |sum: __m512, a: __m512, b: __m512| _mm512_fmadd_ps(a, b, sum);
        rows_by_columns(dots, 4, 16, load, add);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[expect(unsafe_code, reason = "operands are reached by pointers")]
unsafe fn widened_dots(dots: Dots) {
    // SAFETY: passed on from the caller.
    unsafe {
        let load = |row: *const c_void, at: usize, left: usize| {
            let from = row.cast::<u16>().add(at);
            let halves = if left >= LANES {
                _mm256_loadu_si256(from.cast())
            } else {
                _mm256_maskz_loadu_epi16(low_bits(left) as u16, from.cast())
            };
            let wide = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves));
            std::mem::transmute::<__m512i, __m512>(wide)
        };
        let add = |sum: __m512, a: __m512, b: __m512| _mm512_fmadd_ps(a, b, sum);
        rows_by_columns(dots, 2, 16, load, add);
    }
}

/// Dot products of every row with every column, each summed in the same order whatever is summed
/// beside it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[expect(unsafe_code, reason = "operands are reached by pointers")]
unsafe fn rows_by_columns<V: Copy>(
    dots: Dots,
    element: usize,
    step: usize,
    load: impl Fn(*const c_void, usize, usize) -> V,
    add: impl Fn(__m512, V, V) -> __m512,
) {
    let row = dots.inner * element;
    for j in (0..dots.columns).step_by(ABREAST) {
        // A short last group takes its last column again, so that no sum changes its order.
        let column = |c: usize| dots.right.wrapping_add((j + c).min(dots.columns - 1) * row);
        let columns: [*const c_void; ABREAST] = std::array::from_fn(column);
        let mut i = 0;
        while i < dots.rows {
            let rows: [*const c_void; ABREAST] =
                std::array::from_fn(|r| dots.left.wrapping_add((i + r).min(dots.rows - 1) * row));
            let count = (dots.rows - i).min(ABREAST);
            let load = |row: *const c_void, at: usize| load(row, at, dots.inner - at);
            let ahead = |c: usize, at: usize| {
                if dots.streamed && i == 0 {
                    let wanted = columns[c].wrapping_add(ROWS_AHEAD * row + at * element);
                    // Into the second cache: requests of the first are few at a time.
                    _mm_prefetch::<_MM_HINT_T1>(wanted.cast());
                }
            };
            let places = (0..dots.inner).step_by(step);
            // SAFETY: passed on from the caller.
            let sums = unsafe {
                match count {
                    1 => strip::<1, V>(&rows, &columns, places, &load, &ahead, &add),
                    2 => strip::<2, V>(&rows, &columns, places, &load, &ahead, &add),
                    3 => strip::<3, V>(&rows, &columns, places, &load, &ahead, &add),
                    _ => strip::<4, V>(&rows, &columns, places, &load, &ahead, &add),
                }
            };
            for (r, sums) in sums.iter().enumerate().take(count) {
                for (c, sum) in sums.iter().enumerate().take(dots.columns - j) {
                    // SAFETY: the caller vouches for `rows x columns` places.
                    unsafe { dots.out.add((i + r) * dots.out_stride + j + c).write(*sum) };
                }
            }
            i += count;
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[expect(unsafe_code, reason = "operands are reached by pointers")]
unsafe fn strip<const M: usize, V: Copy>(
    rows: &[*const c_void; ABREAST],
    columns: &[*const c_void; ABREAST],
    places: impl Iterator<Item = usize>,
    load: &impl Fn(*const c_void, usize) -> V,
    ahead: &impl Fn(usize, usize),
    add: &impl Fn(__m512, V, V) -> __m512,
) -> [[f32; ABREAST]; ABREAST] {
    let mut sums = [[_mm512_setzero_ps(); ABREAST]; M];
    for at in places {
        let b: [V; ABREAST] = std::array::from_fn(|c| {
            ahead(c, at);
            load(columns[c], at)
        });
        for (sums, row) in sums.iter_mut().zip(rows) {
            let a = load(*row, at);
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = add(*sum, a, b);
            }
        }
    }
    let mut out = [[0.0; ABREAST]; ABREAST];
    for (out, sums) in out.iter_mut().zip(&sums) {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = _mm512_reduce_add_ps(*sum);
        }
    }
    out
}

/// Looks up 32 elements at a time in a register of levels.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[expect(unsafe_code, reason = "operands are reached by pointers")]
unsafe fn halves(codes: *const u8, scale: f32, out: *mut bf16, count: usize) {
    use std::arch::x86_64::{
        _mm_loadu_si128, _mm512_and_si512, _mm512_broadcast_i64x4, _mm512_cvtepi32_epi16,
        _mm512_cvtepu8_epi32, _mm512_mul_ps, _mm512_or_si512, _mm512_permutexvar_epi16,
        _mm512_srli_epi32,
    };
    let nibbles = _mm512_set1_epi32(0x000f_000f);
    // SAFETY: there are 16 levels; the caller vouches for `count` elements, which 32 divides.
    unsafe {
        let levels = _mm512_mul_ps(_mm512_loadu_ps(LEVELS.as_ptr()), _mm512_set1_ps(scale));
        let levels = _mm512_srli_epi32::<16>(round_to_half(levels));
        let levels = _mm512_broadcast_i64x4(_mm512_cvtepi32_epi16(levels));
        for i in (0..count).step_by(32) {
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(codes.add(i / 2).cast()));
            let both = _mm512_or_si512(bytes, _mm512_slli_epi32::<12>(bytes));
            let places = _mm512_and_si512(both, nibbles);
            let values = _mm512_permutexvar_epi16(places, levels);
            _mm512_storeu_si512(out.add(i).cast(), values);
        }
    }
}
