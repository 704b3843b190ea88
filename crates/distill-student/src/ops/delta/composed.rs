//! The gated delta rule in plain differentiable operations, all chunks of all heads side by side
//! but for the memory that goes from chunk to chunk of one segment.

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
    let empty = memories(heads, segments.len(), mixed)?;
    Ok(gated_delta_from(mixed, log_decay, beta, heads, segments, &empty)?.0)
}

/// As [`super::gated_delta`], each segment from a memory at hand; returns the memories that the
/// segments leave too.
///
/// # Shapes
/// - `memory`: (segments, value heads, key width, value width)
pub(crate) fn gated_delta_from(
    mixed: &Tensor,
    log_decay: &Tensor,
    beta: &Tensor,
    heads: DeltaHeads,
    segments: &[Segment],
    memory: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let rows = Rows::new(segments);
    let chunks = Chunks::new(
        &rows.filled(mixed)?,
        &rows.filled(log_decay)?,
        &rows.filled(beta)?,
        heads,
    )?;
    let device = mixed.device();
    let mut memory = memory.index_select(&indices(&rows.order, device)?, 0)?;
    let (mut answers, mut left) = (Vec::new(), Vec::new());
    // The longest segments come first, so that those that go on are always the first ones.
    let mut going = segments.len();
    for step in 0..rows.longest {
        let now = rows.first_chunks.iter().zip(&rows.chunks);
        let now: Vec<usize> = now
            .filter(|(_, chunks)| step < **chunks)
            .map(|(first, _)| first + step)
            .collect();
        if now.len() < going {
            left.push(memory.narrow(0, now.len(), going - now.len())?);
            memory = memory.narrow(0, 0, now.len())?.contiguous()?;
            going = now.len();
        }
        let (answer, next) = chunks.step(&indices(&now, device)?, &memory, heads)?;
        answers.push(answer);
        memory = next;
    }
    left.push(memory);
    left.reverse();
    let memory = Tensor::cat(&left, 0)?.contiguous()?;
    let memory = memory.index_select(&indices(&rows.back(), device)?, 0)?;
    // (N, H, C, Ev) in the order of the steps → rows of tokens
    let answers = Tensor::cat(&answers, 0)?
        .transpose(1, 2)?
        .contiguous()?
        .reshape(((), heads.value_row()))?;
    let out = answers.index_select(&indices(&rows.tokens(), device)?, 0)?;
    Ok((out, memory))
}

/// Memories of nothing.
pub(crate) fn memories(heads: DeltaHeads, count: usize, like: &Tensor) -> Result<Tensor> {
    let shape = (count, heads.value, heads.key_width, heads.value_width);
    Tensor::zeros(shape, like.dtype(), like.device())
}

fn indices(rows: &[usize], device: &Device) -> Result<Tensor> {
    let rows: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
    let count = rows.len();
    Tensor::from_vec(rows, count, device)
}

/// Where the chunks of the segments lie; segments in order of falling length.
struct Rows<'a> {
    segments: &'a [Segment],
    order: Vec<usize>,
    /// Of each segment in that order.
    chunks: Vec<usize>,
    first_chunks: Vec<usize>,
    longest: usize,
}

impl<'a> Rows<'a> {
    fn new(segments: &'a [Segment]) -> Self {
        let mut order: Vec<usize> = (0..segments.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(segments[*index].length));
        let of = |index: &usize| segments[*index].length.div_ceil(CHUNK);
        let chunks: Vec<usize> = order.iter().map(of).collect();
        let mut next = 0;
        let first_chunks = chunks
            .iter()
            .map(|chunks| {
                next += chunks;
                next - chunks
            })
            .collect();
        Self {
            segments,
            longest: chunks.first().copied().unwrap_or(0),
            order,
            chunks,
            first_chunks,
        }
    }

    /// Each segment filled up with zeros to whole chunks: (T, W) → (N, C, W).
    fn filled(&self, x: &Tensor) -> Result<Tensor> {
        let (tokens, width) = x.dims2()?;
        let rows: Vec<usize> = self
            .order
            .iter()
            .zip(&self.chunks)
            .flat_map(|(index, chunks)| {
                let segment = self.segments[*index];
                (0..chunks * CHUNK).map(move |at| {
                    if at < segment.length {
                        segment.start + at
                    } else {
                        tokens
                    }
                })
            })
            .collect();
        x.pad_with_zeros(0, 0, 1)?
            .index_select(&indices(&rows, x.device())?, 0)?
            .reshape(((), CHUNK, width))
    }

    /// Where each segment stands in the order.
    fn back(&self) -> Vec<usize> {
        let mut back = vec![0; self.order.len()];
        for (place, index) in self.order.iter().enumerate() {
            back[*index] = place;
        }
        back
    }

    /// Where each token's row lies when chunks follow one another step by step.
    fn tokens(&self) -> Vec<usize> {
        let count: usize = self.segments.iter().map(|segment| segment.length).sum();
        let mut tokens = vec![0; count];
        let mut row = 0;
        for step in 0..self.longest {
            for (index, chunks) in self.order.iter().zip(&self.chunks) {
                if step >= *chunks {
                    continue;
                }
                let segment = self.segments[*index];
                let first = step * CHUNK;
                for at in first..segment.length.min(first + CHUNK) {
                    tokens[segment.start + at] = row + at - first;
                }
                row += CHUNK;
            }
        }
        tokens
    }
}

/// What the chunks need but for the memory that they begin with, (N, H, ..) each.
struct Chunks {
    /// What a chunk writes into an empty memory, and behind it what it takes from one that is
    /// not: (N, H, C, Ev + Ek).
    solved: Tensor,
    /// (N, H, C, C)
    attended: Tensor,
    /// (N, H, C, Ek)
    asked: Tensor,
    /// (N, H, Ek, C)
    handed: Tensor,
    /// What stays of the memory at the end, (N, H, 1, 1).
    fade: Tensor,
}

impl Chunks {
    /// # Shapes
    /// - `mixed`: (N, C, `heads.mixed_row()`), `log_decay` and `beta`: (N, C, H)
    fn new(mixed: &Tensor, log_decay: &Tensor, beta: &Tensor, heads: DeltaHeads) -> Result<Self> {
        let device = mixed.device();
        let by_head = |x: &Tensor| x.transpose(1, 2)?.contiguous(); // (N, C, H, E) → (N, H, C, E)
        let (queries, keys) = (
            unit_rows(mixed, 0, heads)?,
            unit_rows(mixed, heads.key_row(), heads)?,
        );
        let queries = (by_head(&queries)? * f64::from(query_scale(heads)))?;
        let keys = by_head(&keys)?;
        let chunks = mixed.dim(0)?;
        let values = mixed.narrow(2, 2 * heads.key_row(), heads.value_row())?;
        let values = values.reshape((chunks, CHUNK, heads.value, heads.value_width))?;
        let values = by_head(&values)?;
        let beta = by_head(&beta.unsqueeze(3)?)?; // (N, H, C, 1)
        let decays = by_head(&log_decay.unsqueeze(3)?)?;

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
        let left = pairs.narrow(2, CHUNK - 1, 1)?.transpose(2, 3)?; // (N, H, C, 1)
        Ok(Self {
            solved: solve(&system, &right)?.contiguous()?,
            attended: (queries.matmul(&keys_turned)? * &pairs)?,
            asked: queries.broadcast_mul(&fades)?,
            handed: keys.broadcast_mul(&left)?.transpose(2, 3)?.contiguous()?,
            fade: fades.narrow(2, CHUNK - 1, 1)?.contiguous()?,
        })
    }

    /// Runs some chunks on from their memories: their answers, (n, H, C, Ev), and the memories.
    fn step(&self, now: &Tensor, memory: &Tensor, heads: DeltaHeads) -> Result<(Tensor, Tensor)> {
        let at = |x: &Tensor| x.index_select(now, 0);
        let solved = at(&self.solved)?;
        let fixed = solved.narrow(D::Minus1, 0, heads.value_width)?;
        let recalled = solved.narrow(D::Minus1, heads.value_width, heads.key_width)?;
        let written = (fixed - recalled.contiguous()?.matmul(memory)?)?; // (n, H, C, Ev)
        let answer = (at(&self.asked)?.matmul(memory)? + at(&self.attended)?.matmul(&written)?)?;
        let faded = memory.broadcast_mul(&at(&self.fade)?)?;
        let next = (faded + at(&self.handed)?.matmul(&written)?)?;
        Ok((answer, next))
    }
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
