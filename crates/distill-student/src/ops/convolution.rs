//! Causal depthwise convolution over packed rows, followed by `SiLU`: each channel mixes a token
//! with the few that precede it in its own segment.

mod composed;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

pub(crate) use composed::convolve_behind;

use super::attention::Segment;
use super::rows::{exp, rows_per_task, vectorised};
use super::storage::{elements, elements_of, gradient, output};

/// Convolves each channel along the tokens of each segment and applies `SiLU`. What precedes a
/// segment counts as zeros.
///
/// # Shapes
/// - `x`: (T, C), `weight`: (C, W), the last tap on the token itself; the segments cover 0..T in
///   order
/// - returns (T, C)
pub fn causal_convolution(
    x: &Tensor,
    weight: &Tensor,
    segments: &Arc<[Segment]>,
) -> Result<Tensor> {
    let ((tokens, channels), (rows, taps)) = (x.dims2()?, weight.dims2()?);
    let covered: usize = segments.iter().map(|segment| segment.length).sum();
    if rows != channels || taps == 0 || covered != tokens {
        bail!("cannot convolve {x:?} with {weight:?} over {covered} tokens");
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    if super::fused(&x) {
        let operation = Convolution {
            segments: Arc::clone(segments),
        };
        return x.apply_op2(&weight, operation);
    }
    composed::convolution(&x, &weight, segments)
}

/// New tokens of one row of a cache, behind the inputs that precede them.
pub(crate) struct ConvolutionRow<'a> {
    /// The inputs of the last W - 1 tokens, rows of C: zeros where there were none. Brought up to
    /// date.
    pub(crate) tail: &'a mut [f32],
    /// New tokens.
    pub(crate) tokens: usize,
}

/// Convolves the new tokens of some rows, laid end to end in `x`.
///
/// # Shapes
/// - `x`: (T, C), `weight`: (C, W); returns (T, C)
pub(crate) fn convolve_over(
    x: &[f32],
    weight: &[f32],
    channels: usize,
    rows: &mut [ConvolutionRow<'_>],
) -> Vec<f32> {
    let taps = tap_rows(weight, channels);
    let mut out = Vec::with_capacity(x.len());
    let mut start = 0;
    for row in rows {
        let new = &x[start * channels..(start + row.tokens) * channels];
        let mut inputs = row.tail.to_vec();
        inputs.extend_from_slice(new);
        let from = out.len();
        out.resize(from + new.len(), 0.0);
        let behind = row.tail.len() / channels;
        sums(&inputs, &taps, channels, behind, &mut out[from..]);
        vectorised(|| {
            out[from..]
                .iter_mut()
                .for_each(|value| *value = silu(*value));
        });
        let kept = inputs.len() - row.tail.len();
        row.tail.copy_from_slice(&inputs[kept..]);
        start += row.tokens;
    }
    out
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// (C, W) → (W, C): the channels of a tap side by side.
fn tap_rows(weight: &[f32], channels: usize) -> Vec<f32> {
    let taps = weight.len() / channels.max(1);
    let mut out = vec![0.0; weight.len()];
    for (channel, row) in weight.chunks_exact(taps.max(1)).enumerate() {
        for (tap, value) in row.iter().enumerate() {
            out[tap * channels + channel] = *value;
        }
    }
    out
}

/// Adds to `out` the weighted sums of the tokens of `inputs` from `first` on; tokens before the
/// inputs are zeros.
fn sums(inputs: &[f32], taps: &[f32], channels: usize, first: usize, out: &mut [f32]) {
    let width = taps.len() / channels;
    vectorised(|| {
        for (row, out) in out.chunks_exact_mut(channels).enumerate() {
            let token = first + row;
            for (tap, weights) in taps.chunks_exact(channels).enumerate() {
                let Some(at) = (token + tap + 1).checked_sub(width) else {
                    continue;
                };
                let input = &inputs[at * channels..(at + 1) * channels];
                for ((sum, weight), value) in out.iter_mut().zip(weights).zip(input) {
                    *sum += weight * value;
                }
            }
        }
    });
}

struct Convolution {
    segments: Arc<[Segment]>,
}

/// Tokens of one segment that one parallel task takes.
struct Block {
    segment: Segment,
    /// Within the segment.
    first: usize,
    tokens: usize,
}

impl Convolution {
    fn blocks(&self, channels: usize) -> Vec<Block> {
        let rows = rows_per_task(channels);
        let mut blocks = Vec::new();
        for &segment in self.segments.iter() {
            for first in (0..segment.length).step_by(rows) {
                blocks.push(Block {
                    segment,
                    first,
                    tokens: rows.min(segment.length - first),
                });
            }
        }
        blocks
    }

    /// The weighted sums, before the activation.
    fn sums(&self, x: &[f32], taps: &[f32], channels: usize) -> Vec<f32> {
        let mut out = vec![0.0; x.len()];
        self.split(&mut out, channels)
            .into_par_iter()
            .for_each(|(block, out)| {
                sums(
                    within(x, block.segment, channels),
                    taps,
                    channels,
                    block.first,
                    out,
                );
            });
        out
    }

    /// The blocks, each with its rows of `out`.
    fn split<'a>(&self, out: &'a mut [f32], channels: usize) -> Vec<(Block, &'a mut [f32])> {
        let mut rest = out;
        self.blocks(channels)
            .into_iter()
            .map(|block| {
                let (rows, after) = std::mem::take(&mut rest).split_at_mut(block.tokens * channels);
                rest = after;
                (block, rows)
            })
            .collect()
    }

    /// Each input meets the taps in the reverse order: the sums that it is part of lie after it.
    fn input_gradient(&self, through: &[f32], taps: &[f32], channels: usize) -> Vec<f32> {
        let width = taps.len() / channels;
        let mut out = vec![0.0; through.len()];
        self.split(&mut out, channels)
            .into_par_iter()
            .for_each(|(block, out)| {
                let through = within(through, block.segment, channels);
                vectorised(|| {
                    for (row, out) in out.chunks_exact_mut(channels).enumerate() {
                        let token = block.first + row;
                        for (tap, weights) in taps.chunks_exact(channels).enumerate() {
                            let at = token + width - 1 - tap;
                            if at >= block.segment.length {
                                continue;
                            }
                            let upstream = &through[at * channels..(at + 1) * channels];
                            for ((sum, weight), value) in out.iter_mut().zip(weights).zip(upstream)
                            {
                                *sum += weight * value;
                            }
                        }
                    }
                });
            });
        out
    }

    /// (C, W), each block's share added in order.
    fn weight_gradient(
        &self,
        x: &[f32],
        through: &[f32],
        width: usize,
        channels: usize,
    ) -> Vec<f32> {
        let shares: Vec<Vec<f32>> = self
            .blocks(channels)
            .into_par_iter()
            .map(|block| {
                let (x, through) = (
                    within(x, block.segment, channels),
                    within(through, block.segment, channels),
                );
                let mut share = vec![0.0; width * channels];
                vectorised(|| {
                    for token in block.first..block.first + block.tokens {
                        let upstream = &through[token * channels..(token + 1) * channels];
                        for (tap, sums) in share.chunks_exact_mut(channels).enumerate() {
                            let Some(at) = (token + tap + 1).checked_sub(width) else {
                                continue;
                            };
                            let input = &x[at * channels..(at + 1) * channels];
                            for ((sum, value), up) in sums.iter_mut().zip(input).zip(upstream) {
                                *sum += value * up;
                            }
                        }
                    }
                });
                share
            })
            .collect();
        let mut out = vec![0.0; width * channels];
        for share in &shares {
            for (tap, sums) in share.chunks_exact(channels).enumerate() {
                for (channel, sum) in sums.iter().enumerate() {
                    out[channel * width + tap] += sum;
                }
            }
        }
        out
    }
}

fn within(x: &[f32], segment: Segment, channels: usize) -> &[f32] {
    &x[segment.start * channels..(segment.start + segment.length) * channels]
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "causal-convolution"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, channels) = x_layout.shape().dims2()?;
        let taps = tap_rows(elements(weight, weight_layout)?, channels);
        let mut out = self.sums(elements(x, x_layout)?, &taps, channels);
        out.par_chunks_mut(super::rows::TASK).for_each(|values| {
            vectorised(|| values.iter_mut().for_each(|value| *value = silu(*value)));
        });
        Ok(output(out, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _result: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((_, channels), (_, width)) = (x.dims2()?, weight.dims2()?);
        let upstream = upstream.contiguous()?;
        let (values, weights) = (elements_of(x)?, elements_of(weight)?);
        let upstream = elements_of(&upstream)?;
        let taps = tap_rows(&weights, channels);
        // The sums are made again: keeping them would cost a row of C per token and layer.
        let mut through = self.sums(&values, &taps, channels);
        through
            .par_chunks_mut(super::rows::TASK)
            .zip(upstream.par_chunks(super::rows::TASK))
            .for_each(|(through, upstream)| {
                vectorised(|| {
                    for (sum, up) in through.iter_mut().zip(upstream) {
                        let sigmoid = 1.0 / (1.0 + exp(-*sum));
                        *sum = up * sigmoid * (1.0 + *sum * (1.0 - sigmoid));
                    }
                });
            });
        let input_gradient = if x.track_op() {
            gradient(self.input_gradient(&through, &taps, channels), x)?
        } else {
            None
        };
        let weight_gradient = if weight.track_op() {
            gradient(
                self.weight_gradient(&values, &through, width, channels),
                weight,
            )?
        } else {
            None
        };
        Ok((input_gradient, weight_gradient))
    }
}
