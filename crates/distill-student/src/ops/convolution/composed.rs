//! The convolution in candle's operations: each tap is one choice of rows, those that precede a
//! segment coming from its tail or from a row of zeros.

use candle_core::{D, Device, Result, Tensor};

use super::super::attention::Segment;
use crate::ops::composed::of_two;

/// See [`super::causal_convolution`].
pub(super) fn convolution(x: &Tensor, weight: &Tensor, segments: &[Segment]) -> Result<Tensor> {
    let taps = Taps::new(segments, weight.dim(1)?, false, x.device())?;
    let (input_tracked, weight_tracked) = (x.track_op(), weight.track_op());
    let (values, weights) = (x.detach(), weight.detach());
    let out = taps.sums(&with_zeros(&values)?, &weights)?.silu()?;
    of_two([x, weight], out, move |upstream| {
        let inputs = with_zeros(&values)?;
        let sums = taps.sums(&inputs, &weights)?;
        let sigmoid = candle_nn::ops::sigmoid(&sums)?;
        let slope = (&sigmoid * ((sums * sigmoid.affine(-1.0, 1.0)?)? + 1.0)?)?;
        let through = (upstream * slope)?;
        let of_weight = if weight_tracked {
            Some(taps.weight_gradient(&inputs, &through)?)
        } else {
            None
        };
        let of_input = if input_tracked {
            Some(taps.input_gradient(&through, &weights)?)
        } else {
            None
        };
        Ok([of_input, of_weight])
    })
}

/// Convolves new tokens behind the inputs that precede them; returns the results and the inputs
/// that the next tokens need.
///
/// # Shapes
/// - `x`: (T, C), `weight`: (C, W), `tails`: (segments, W - 1, C); returns (T, C) and the tails
pub(crate) fn convolve_behind(
    x: &Tensor,
    weight: &Tensor,
    segments: &[Segment],
    tails: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let width = weight.dim(1)?;
    let taps = Taps::new(segments, width, true, x.device())?;
    let (tokens, channels) = x.dims2()?;
    let before = tails.reshape((segments.len() * (width - 1), channels))?;
    let inputs = Tensor::cat(&[x, &before], 0)?.contiguous()?;
    let out = taps.sums(&inputs, weight)?.silu()?;
    // The last inputs of each segment, which may reach into its old tail.
    let last: Vec<u32> = segments
        .iter()
        .enumerate()
        .flat_map(|(row, segment)| {
            (0..width - 1).map(move |at| {
                let place = segment.length + at; // among the tail and the segment
                match place.checked_sub(width - 1) {
                    Some(new) => segment.start + new,
                    None => tokens + row * (width - 1) + place,
                }
            })
        })
        .map(|row| row as u32)
        .collect();
    let count = last.len();
    let last = Tensor::from_vec(last, count, x.device())?;
    let kept = inputs.index_select(&last, 0)?;
    Ok((out, kept.reshape((segments.len(), width - 1, channels))?))
}

/// (T, C) → (T + 1, C)
fn with_zeros(x: &Tensor) -> Result<Tensor> {
    x.pad_with_zeros(0, 0, 1)
}

/// Which input each token meets at each tap, and which sum each input is part of.
struct Taps {
    inputs: Vec<Tensor>,
    sums: Vec<Tensor>,
}

impl Taps {
    /// Rows in front of a segment are those of its tail, which lie behind all tokens, or zeros.
    fn new(segments: &[Segment], width: usize, tails: bool, device: &Device) -> Result<Self> {
        let tokens: usize = segments.iter().map(|segment| segment.length).sum();
        let rows = |of: &dyn Fn(usize, Segment, usize) -> usize| {
            let indices: Vec<u32> = segments
                .iter()
                .enumerate()
                .flat_map(|(row, segment)| {
                    (0..segment.length).map(move |place| of(row, *segment, place) as u32)
                })
                .collect();
            Tensor::from_vec(indices, tokens, device)
        };
        let input = |tap: usize| {
            rows(&|row, segment, place| {
                match (place + tap + 1).checked_sub(width) {
                    Some(at) => segment.start + at,
                    // The tail holds W - 1 inputs, the latest one last.
                    None if tails => tokens + row * (width - 1) + place + tap,
                    None => tokens,
                }
            })
        };
        let sum = |tap: usize| {
            rows(&|_, segment, place| {
                let at = place + width - 1 - tap;
                if at < segment.length {
                    segment.start + at
                } else {
                    tokens
                }
            })
        };
        Ok(Self {
            inputs: (0..width).map(input).collect::<Result<_>>()?,
            sums: (0..width).map(sum).collect::<Result<_>>()?,
        })
    }

    /// The weighted sums before the activation, (T, C).
    fn sums(&self, inputs: &Tensor, weight: &Tensor) -> Result<Tensor> {
        weighted(&self.inputs, inputs, weight)
    }

    fn input_gradient(&self, through: &Tensor, weight: &Tensor) -> Result<Tensor> {
        weighted(&self.sums, &with_zeros(through)?, weight)
    }

    /// (C, W)
    fn weight_gradient(&self, inputs: &Tensor, through: &Tensor) -> Result<Tensor> {
        let taps = self.inputs.iter().map(|rows| {
            let met = inputs.index_select(rows, 0)?;
            (met * through)?.sum(0)
        });
        let taps = taps.collect::<Result<Vec<_>>>()?;
        Tensor::stack(&taps, D::Minus1)
    }
}

/// Σ over the taps of the chosen rows, each scaled by the tap's weights.
fn weighted(taps: &[Tensor], table: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let mut total: Option<Tensor> = None;
    for (tap, rows) in taps.iter().enumerate() {
        let weights = weight.narrow(1, tap, 1)?.t()?.contiguous()?; // (C, 1) → (1, C)
        let term = table.index_select(rows, 0)?.broadcast_mul(&weights)?;
        total = Some(match total {
            Some(total) => (total + term)?,
            None => term,
        });
    }
    total.ok_or_else(|| candle_core::Error::msg("a convolution without taps"))
}
