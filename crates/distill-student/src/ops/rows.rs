//! Kernels over rows: plain loops that the compiler vectorises, run under the widest instruction
//! set that the machine has.
//!
//! No fused multiply-add is written out: without the instruction it becomes a library call, and
//! leaving it out makes these kernels give the same bits on every machine.

use std::array;

use pulp::Arch;
use rayon::prelude::*;

use super::product::fresh;

/// Partial sums per reduction: wide enough for two of the widest registers.
const LANES: usize = 32;
/// Elements that one parallel task takes. Fixed, so that results never depend on the thread count.
pub(crate) const TASK: usize = 1 << 14;

/// Rows per parallel task for rows of this width.
pub(crate) fn rows_per_task(width: usize) -> usize {
    (TASK / width.max(1)).max(1)
}

/// Elements of a result that are made at a time, in the first cache.
const PIECE: usize = 1 << 10;

/// Results made element by element from inputs of one length. `run` gets the same part of each and
/// writes all of each result's part, which holds numbers of no meaning before.
pub(crate) fn map_elements<const N: usize, const K: usize>(
    inputs: [&[f32]; N],
    run: impl Fn([&[f32]; N], [&mut [f32]; K]) + Sync,
) -> [Vec<f32>; K] {
    let length = inputs.first().map_or(0, |input| input.len());
    fresh(length, TASK, PIECE, |range, results| {
        let parts = inputs.map(|input| &input[range.clone()]);
        vectorised(|| run(parts, results));
    })
}

/// A result made row by row from inputs of the same rows. `run` gets one row of each and writes all
/// of the result's, which holds numbers of no meaning before.
pub(crate) fn map_rows<const N: usize>(
    inputs: [&[f32]; N],
    width: usize,
    run: impl Fn([&[f32]; N], &mut [f32]) + Sync,
) -> Vec<f32> {
    let length = inputs.first().map_or(0, |input| input.len());
    let piece = (PIECE / width).max(1) * width;
    let task = (TASK / piece).max(1) * piece;
    let [result] = fresh(length, task, piece, |range, [result]| {
        vectorised(|| {
            for (at, row) in range.step_by(width).zip(result.chunks_exact_mut(width)) {
                run(inputs.map(|input| &input[at..at + width]), row);
            }
        });
    });
    result
}

/// Sums of `width` over rows. `add` gets one row of each input, and a row to use as it likes; each
/// task's share is added in order.
pub(crate) fn sum_rows<const N: usize, const K: usize>(
    inputs: [&[f32]; N],
    width: usize,
    add: impl Fn([&[f32]; N], &mut [Vec<f32>; K], &mut [f32]) + Sync,
) -> [Vec<f32>; K] {
    let length = inputs.first().map_or(0, |input| input.len());
    let task = rows_per_task(width) * width;
    let shares: Vec<[Vec<f32>; K]> = (0..length.div_ceil(task))
        .into_par_iter()
        .map(|index| {
            let mut sums = array::from_fn(|_| vec![0.0; width]);
            let mut spare = vec![0.0; width];
            vectorised(|| {
                for at in (index * task..length.min((index + 1) * task)).step_by(width) {
                    add(
                        inputs.map(|input| &input[at..at + width]),
                        &mut sums,
                        &mut spare,
                    );
                }
            });
            sums
        })
        .collect();
    let mut totals: [Vec<f32>; K] = array::from_fn(|_| vec![0.0; width]);
    for sums in &shares {
        for (total, sum) in totals.iter_mut().zip(sums) {
            for (total, value) in total.iter_mut().zip(sum) {
                *total += value;
            }
        }
    }
    totals
}

/// Runs a kernel under the widest instruction set of this machine.
pub(crate) fn vectorised<R>(kernel: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(kernel)
}

/// e^x with a relative error below 3e-7, free of branches; saturates outside ±87.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    // ln 2 in two parts, the first exact in a product with a small integer
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let y = p * r * r + r + 1.0;
    y * f32::from_bits(((n as i32 + 127) << 23) as u32)
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let tail: f32 = xs
        .remainder()
        .iter()
        .zip(ys.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in xs.zip(ys) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    lanes.iter().sum::<f32>() + tail
}

/// The sum of `x * y * z`, in the order of [`dot`] of `x * y` and `z`.
#[inline(always)]
#[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
pub(crate) fn dot_of_three(x: &[f32], y: &[f32], z: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let parts = [x, y, z].map(|values| values.as_chunks::<LANES>());
    let [x, y, z] = parts;
    let tail: f32 =
        x.1.iter()
            .zip(y.1)
            .zip(z.1)
            .map(|((a, b), c)| a * b * c)
            .sum();
    for ((a, b), c) in x.0.iter().zip(y.0).zip(z.0) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i] * c[i];
        }
    }
    lanes.iter().sum::<f32>() + tail
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let tail = chunks.remainder();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = if chunk[i] > lanes[i] {
                chunk[i]
            } else {
                lanes[i]
            };
        }
    }
    lanes
        .iter()
        .chain(tail)
        .fold(f32::NEG_INFINITY, |a, b| a.max(*b))
}

/// Replaces each x by e^(x - shift); returns the sum.
#[inline(always)]
#[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
pub(crate) fn exp_shifted(x: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let mut chunks = x.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for i in 0..LANES {
            chunk[i] = exp(chunk[i] - shift);
            lanes[i] += chunk[i];
        }
    }
    let mut tail = 0.0;
    for value in chunks.into_remainder() {
        *value = exp(*value - shift);
        tail += *value;
    }
    lanes.iter().sum::<f32>() + tail
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
pub(crate) fn scale(x: &mut [f32], by: f32) {
    for value in x {
        *value *= by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_its_stated_error() {
        for i in -8_700..=8_700 {
            let x = i as f32 * 0.01;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 3e-7, "exp({x}) is off by {error}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn reductions_cover_whole_and_part_chunks() {
        for n in [0, 1, 31, 32, 33, 100] {
            let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let squares: f32 = x.iter().map(|v| v * v).sum();
            assert!((dot(&x, &x) - squares).abs() <= squares * 1e-6);
            let last = x.last().copied().unwrap_or(f32::NEG_INFINITY);
            assert_eq!(max(&x).to_bits(), last.to_bits());
        }
    }
}
