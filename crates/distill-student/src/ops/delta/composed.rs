//! The gated delta rule in plain differentiable operations, all chunks of all heads side by side
//! but for the memory that goes from chunk to chunk.

use candle_core::{D, Device, Result, Tensor};

use super::super::attention::Segment;
use super::{CHUNK, DeltaHeads, LENGTH_EPSILON, chunk::query_scale};

/// Inner size below which a triangular system is solved by its finite series.
const SERIES: usize = 4;

/// See [`super::gated_delta`].
pub(super) fn composed(
    mixed: &Tensor,
    log_decay: &Tensor,
    beta: &Tensor,
    heads: DeltaHeads,
    segments: &[Segment],
) -> Result<Tensor> {
    let device = mixed.device();
    let padded = |x: &Tensor| padded_chunks(x, segments); // (T, W) → (N, C, W)
    let mixed = padded(mixed)?;
    let by_head = |x: &Tensor| x.transpose(1, 2)?.contiguous(); // (N, C, H, E) → (N, H, C, E)
    let (queries, keys) = (
        unit_rows(&mixed, 0, heads)?,
        unit_rows(&mixed, heads.key_row(), heads)?,
    );
    let queries = (by_head(&queries)? * f64::from(query_scale(heads)))?;
    let keys = by_head(&keys)?;
    let chunks = mixed.dim(0)?;
    let values = mixed.narrow(2, 2 * heads.key_row(), heads.value_row())?;
    let values = values.reshape((chunks, CHUNK, heads.value, heads.value_width))?;
    let values = by_head(&values)?;
    let beta = by_head(&padded(beta)?.unsqueeze(3)?)?; // (N, H, C, 1)
    let decays = by_head(&padded(log_decay)?.unsqueeze(3)?)?;

    let lower = triangle(device, |i, j| if j <= i { 1.0 } else { 0.0 })?;
    let below = triangle(device, |i, j| if j < i { 1.0 } else { 0.0 })?;
    let hidden = triangle(device, |i, j| if j <= i { 0.0 } else { f32::NEG_INFINITY })?;
    let running = lower.broadcast_matmul(&decays)?; // (N, H, C, 1)
    let pairs = running
        .broadcast_sub(&running.transpose(2, 3)?)?
        .broadcast_add(&hidden)?
        .exp()?; // (N, H, C, C)
    let fades = running.exp()?;
    let keys_turned = keys.transpose(2, 3)?.contiguous()?;
    let system = (keys.matmul(&keys_turned)? * &pairs)?
        .broadcast_mul(&beta)?
        .broadcast_mul(&below)?;
    let faded_keys = keys.broadcast_mul(&(&beta * &fades)?)?;
    let right = Tensor::cat(&[values.broadcast_mul(&beta)?, faded_keys], 3)?;
    let solved = solve(&system, &right)?; // (N, H, C, Ev + Ek)
    let attended = (queries.matmul(&keys_turned)? * &pairs)?;
    let asked = queries.broadcast_mul(&fades)?;
    let left = pairs.narrow(2, CHUNK - 1, 1)?.transpose(2, 3)?; // (N, H, C, 1)
    let handed = keys.broadcast_mul(&left)?.transpose(2, 3)?.contiguous()?; // (N, H, Ek, C)

    let (mut out, mut index) = (Vec::with_capacity(segments.len()), 0);
    let empty = (heads.value, heads.key_width, heads.value_width);
    for segment in segments {
        let mut memory = Tensor::zeros(empty, mixed.dtype(), device)?;
        let mut rows = Vec::new();
        for _ in 0..segment.length.div_ceil(CHUNK) {
            let at = |x: &Tensor| x.get(index)?.contiguous();
            let solved = at(&solved)?;
            let fixed = solved.narrow(D::Minus1, 0, heads.value_width)?;
            let recalled = solved.narrow(D::Minus1, heads.value_width, heads.key_width)?;
            let written = (fixed - recalled.contiguous()?.matmul(&memory)?)?; // (H, C, Ev)
            rows.push((at(&asked)?.matmul(&memory)? + at(&attended)?.matmul(&written)?)?);
            let fade = fades.get(index)?.narrow(1, CHUNK - 1, 1)?; // (H, 1, 1)
            memory = (memory.broadcast_mul(&fade)? + at(&handed)?.matmul(&written)?)?;
            index += 1;
        }
        let answers = Tensor::stack(&rows, 0)? // (n, H, C, Ev)
            .transpose(1, 2)?
            .reshape((rows.len() * CHUNK, heads.value_row()))?;
        out.push(answers.narrow(0, 0, segment.length)?);
    }
    Tensor::cat(&out, 0)
}

/// Each segment filled up with zeros to whole chunks: (T, W) → (N, C, W).
fn padded_chunks(x: &Tensor, segments: &[Segment]) -> Result<Tensor> {
    let rows = segments
        .iter()
        .map(|segment| {
            let fill = segment.length.next_multiple_of(CHUNK) - segment.length;
            x.narrow(0, segment.start, segment.length)?
                .pad_with_zeros(0, 0, fill)
        })
        .collect::<Result<Vec<_>>>()?;
    let rows = Tensor::cat(&rows, 0)?;
    let width = rows.dim(1)?;
    rows.reshape(((), CHUNK, width))
}

/// The rows of one kind at unit length, one per value head: (N, C, value heads, Ek).
fn unit_rows(mixed: &Tensor, column: usize, heads: DeltaHeads) -> Result<Tensor> {
    let chunks = mixed.dim(0)?;
    let rows = mixed.narrow(2, column, heads.key_row())?;
    let rows = rows.reshape((chunks, CHUNK, heads.key, 1, heads.key_width))?;
    let squares = rows.sqr()?.sum_keepdim(D::Minus1)?;
    let rows = rows.broadcast_div(&(squares + f64::from(LENGTH_EPSILON))?.sqrt()?)?;
    rows.broadcast_as((chunks, CHUNK, heads.key, heads.group(), heads.key_width))?
        .reshape((chunks, CHUNK, heads.value, heads.key_width))
}

fn triangle(device: &Device, value: impl Fn(usize, usize) -> f32) -> Result<Tensor> {
    let values: Vec<f32> = (0..CHUNK * CHUNK)
        .map(|at| value(at / CHUNK, at % CHUNK))
        .collect();
    Tensor::from_vec(values, (1, 1, CHUNK, CHUNK), device)
}

/// Solves (I + A) X = B for A below the diagonal, half by half.
fn solve(system: &Tensor, right: &Tensor) -> Result<Tensor> {
    let size = system.dim(2)?;
    if size <= SERIES {
        // (I + A)⁻¹ = (I - A)(I + A²) where A⁴ = 0.
        let once = (right - system.matmul(right)?)?;
        let square = system.matmul(system)?;
        // The two factors commute.
        return &once + square.matmul(&once)?;
    }
    let half = size / 2;
    let block = |row: usize, column: usize| {
        system
            .narrow(2, row * half, half)?
            .narrow(3, column * half, half)?
            .contiguous()
    };
    let rows = |row: usize| right.narrow(2, row * half, half)?.contiguous();
    let upper = solve(&block(0, 0)?, &rows(0)?)?;
    let rest = (rows(1)? - block(1, 0)?.matmul(&upper)?)?;
    let lower = solve(&block(1, 1)?, &rest)?;
    Tensor::cat(&[upper, lower], 2)
}
