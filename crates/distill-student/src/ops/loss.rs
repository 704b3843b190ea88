//! Cross-entropy against an output head, in chunks of rows, so that the full table of
//! tokens × vocabulary never exists.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::product::{Threads, View, ViewMut, product_into};
use super::rows::{add_assign, exp_shifted, max, scale, vectorised};
use super::storage::{elements, output};

/// Logits held at a time: 8 MB of them.
const CHUNK_ELEMENTS: usize = 1 << 21;

/// Returns `weight * Σ -log softmax(hidden @ headᵀ)[target]`, a scalar: `weight` is one over the
/// number of unmasked tokens of the whole optimizer step. No rows give 0.
///
/// The gradients are made in the forward pass, while a chunk's logits are at hand.
///
/// # Shapes
/// - `hidden`: (N, D), only rows that carry a label; `head`: (V, D); `targets`: N of them
pub fn cross_entropy(
    hidden: &Tensor,
    head: &Tensor,
    targets: &[u32],
    weight: f64,
) -> Result<Tensor> {
    if hidden.dim(0)? != targets.len() {
        bail!("{} targets for hidden rows {:?}", targets.len(), hidden);
    }
    if hidden.device().is_cpu() {
        let operation = CrossEntropy {
            targets: targets.to_vec(),
            weight,
            hidden_tracked: hidden.track_op(),
            head_tracked: head.track_op(),
            gradients: OnceLock::new(),
        };
        return hidden.contiguous()?.apply_op2(head, operation);
    }
    composed(hidden, head, targets, weight)
}

/// The same in plain differentiable operations.
pub(super) fn composed(
    hidden: &Tensor,
    head: &Tensor,
    targets: &[u32],
    weight: f64,
) -> Result<Tensor> {
    let logits = hidden.matmul(&head.t()?)?;
    let targets = Tensor::from_slice(targets, (targets.len(), 1), hidden.device())?;
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let normalizer = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let chosen = shifted.gather(&targets, 1)?;
    ((normalizer - chosen)?.sum_all()? * weight)?.reshape(())
}

struct Gradients {
    hidden: Vec<f32>,
    head: Vec<f32>,
}

struct CrossEntropy {
    targets: Vec<u32>,
    weight: f64,
    hidden_tracked: bool,
    head_tracked: bool,
    gradients: OnceLock<Gradients>,
}

impl CrossEntropy {
    /// Turns logits into `weight * (softmax - one hot)`; returns the sum of the rows' losses.
    fn losses(&self, logits: &mut [f32], vocabulary: usize, targets: &[u32]) -> f64 {
        let weight = self.weight as f32;
        let losses: Vec<f64> = logits
            .par_chunks_mut(vocabulary)
            .zip(targets)
            .map(|(row, &target)| {
                let target = target as usize;
                let chosen = row[target];
                vectorised(|| {
                    let largest = max(row);
                    let sum = exp_shifted(row, largest);
                    scale(row, weight / sum);
                    row[target] -= weight;
                    f64::from(largest - chosen) + f64::from(sum).ln()
                })
            })
            .collect();
        losses.iter().sum()
    }

    fn run(&self, hidden: &[f32], head: &[f32], width: usize, vocabulary: usize) -> f64 {
        let rows = self.targets.len();
        let chunk = (CHUNK_ELEMENTS / vocabulary.max(1)).clamp(1, rows.max(1));
        let mut logits = vec![0.0; chunk * vocabulary];
        let mut gradients = Gradients {
            hidden: vec![0.0; if self.hidden_tracked { hidden.len() } else { 0 }],
            head: vec![0.0; if self.head_tracked { head.len() } else { 0 }],
        };
        let mut part = vec![0.0; gradients.head.len()];
        let head = View::new(head, vocabulary, width);
        let mut total = 0.0;
        for start in (0..rows).step_by(chunk) {
            let m = chunk.min(rows - start);
            let hidden = View::new(&hidden[start * width..(start + m) * width], m, width);
            let logits = &mut logits[..m * vocabulary];
            write(logits, vocabulary, hidden, head.transposed()); // (m, V)
            total += self.losses(logits, vocabulary, &self.targets[start..start + m]);
            let errors = View::new(logits, m, vocabulary);
            if self.hidden_tracked {
                let out = &mut gradients.hidden[start * width..(start + m) * width];
                write(out, width, errors, head);
            }
            if self.head_tracked {
                write(&mut part, width, errors.transposed(), hidden);
                add_assign(&mut gradients.head, &part);
            }
        }
        // One forward per op: a second value never arrives.
        let _ = self.gradients.set(gradients);
        total * self.weight
    }
}

fn write(out: &mut [f32], row_stride: usize, left: View<'_>, right: View<'_>) {
    let out = ViewMut {
        data: out,
        row_stride,
    };
    product_into(out, false, left, right, 1.0, Threads::Pool);
}

impl CustomOp2 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
        head: &CpuStorage,
        head_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = hidden_layout.shape().dims2()?;
        let (vocabulary, head_width) = head_layout.shape().dims2()?;
        if width != head_width {
            bail!("a head of width {head_width} cannot take rows of {width}");
        }
        if let Some(target) = self.targets.iter().find(|t| **t as usize >= vocabulary) {
            bail!("target {target} is outside a vocabulary of {vocabulary}");
        }
        let (hidden, head) = (
            elements(hidden, hidden_layout)?,
            elements(head, head_layout)?,
        );
        let loss = self.run(hidden, head, width, vocabulary);
        Ok(output(vec![loss as f32], Shape::from(())))
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        head: &Tensor,
        _result: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(gradients) = self.gradients.get() else {
            bail!("a loss was asked for gradients before its forward pass");
        };
        let upstream = upstream.to_scalar::<f32>()?;
        let scaled = |values: &[f32], tracked: bool, like: &Tensor| -> Result<Option<Tensor>> {
            if !tracked {
                return Ok(None);
            }
            let mut values = values.to_vec();
            if upstream.to_bits() != 1.0f32.to_bits() {
                scale(&mut values, upstream);
            }
            Tensor::from_vec(values, like.shape().clone(), like.device()).map(Some)
        };
        Ok((
            scaled(&gradients.hidden, self.hidden_tracked, hidden)?,
            scaled(&gradients.head, self.head_tracked, head)?,
        ))
    }
}
