//! Cross-entropy against an output head, in chunks of rows, so that the full table of
//! tokens × vocabulary never exists.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::frozen::{FrozenWeight, WeightRef};
use super::product::{Direction, Threads, View, ViewMut, product_into};
use super::rows::{add_assign, exp_shifted, max, scale, vectorised};
use super::storage::{elements, output};

/// Rows whose logits are held at a time: fewer would read a large head too often for what they
/// compute with it.
const CHUNK_ROWS: usize = 256;
/// Bounds of the logits held at a time, which win over the number of rows: 8 and 64 MB of them.
const CHUNK_ELEMENTS: (usize, usize) = (1 << 21, 1 << 24);

/// Rows of a chunk.
fn chunk_rows(vocabulary: usize) -> usize {
    let (least, most) = CHUNK_ELEMENTS;
    let vocabulary = vocabulary.max(1);
    CHUNK_ROWS
        .clamp(least / vocabulary, most / vocabulary)
        .max(1)
}

/// Returns `weight * Σ -log softmax(hidden @ headᵀ)[target]`, a scalar: `weight` is one over the
/// number of unmasked tokens of the whole optimizer step. No rows give 0.
///
/// The gradients are made in the forward pass, while a chunk's logits are at hand.
///
/// # Shapes
/// - `hidden`: (N, D), only rows that carry a label; `head`: (V, D); `targets`: N of them
pub fn cross_entropy<'a>(
    hidden: &Tensor,
    head: impl Into<WeightRef<'a>>,
    targets: &[u32],
    weight: f64,
) -> Result<Tensor> {
    let head = head.into();
    if hidden.dim(0)? != targets.len() {
        bail!("{} targets for hidden rows {:?}", targets.len(), hidden);
    }
    if !hidden.device().is_cpu() {
        return match head {
            WeightRef::Trained(head) => composed(hidden, head, targets, weight),
            WeightRef::Frozen(head) => composed(hidden, &head.dequantised()?, targets, weight),
        };
    }
    let hidden = hidden.contiguous()?;
    let losses = Losses {
        targets: targets.to_vec(),
        weight,
        hidden_tracked: hidden.track_op(),
        gradients: OnceLock::new(),
    };
    match head {
        WeightRef::Trained(head) => hidden.apply_op2(
            head,
            CrossEntropy {
                losses,
                head_tracked: head.track_op(),
            },
        ),
        WeightRef::Frozen(head) => hidden.apply_op1(FrozenCrossEntropy {
            losses,
            head: head.clone(),
        }),
    }
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

/// The head as the chunks see it.
enum Head<'a> {
    Trained { values: View<'a>, tracked: bool },
    Frozen(&'a FrozenWeight),
}

impl Head<'_> {
    /// Writes `hidden @ headᵀ`, (m, V).
    fn logits(&self, out: &mut [f32], hidden: View<'_>, vocabulary: usize) -> Result<()> {
        match self {
            Self::Trained { values, .. } => {
                write(out, vocabulary, hidden, values.transposed());
                Ok(())
            }
            Self::Frozen(head) => head.product_into(out, hidden, Direction::Forward, None),
        }
    }

    /// Writes `errors @ head`, (m, D).
    fn through(&self, out: &mut [f32], errors: View<'_>, width: usize) -> Result<()> {
        match self {
            Self::Trained { values, .. } => {
                write(out, width, errors, *values);
                Ok(())
            }
            Self::Frozen(head) => head.product_into(out, errors, Direction::Backward, None),
        }
    }
}

/// The losses of some rows, and their gradients once they are made.
struct Losses {
    targets: Vec<u32>,
    weight: f64,
    hidden_tracked: bool,
    gradients: OnceLock<Gradients>,
}

impl Losses {
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

    /// The weighted sum of the losses; keeps the gradients.
    fn run(&self, hidden: &[f32], head: &Head<'_>, width: usize, vocabulary: usize) -> Result<f64> {
        if let Some(target) = self.targets.iter().find(|t| **t as usize >= vocabulary) {
            bail!("target {target} is outside a vocabulary of {vocabulary}");
        }
        let rows = self.targets.len();
        let chunk = chunk_rows(vocabulary).min(rows.max(1));
        let mut logits = vec![0.0; chunk * vocabulary];
        let head_elements = match head {
            Head::Trained { tracked: true, .. } => vocabulary * width,
            _ => 0,
        };
        let mut gradients = Gradients {
            hidden: vec![0.0; if self.hidden_tracked { hidden.len() } else { 0 }],
            head: vec![0.0; head_elements],
        };
        let mut part = vec![0.0; head_elements];
        let mut total = 0.0;
        for start in (0..rows).step_by(chunk) {
            let m = chunk.min(rows - start);
            let hidden = View::new(&hidden[start * width..(start + m) * width], m, width);
            let logits = &mut logits[..m * vocabulary];
            head.logits(logits, hidden, vocabulary)?;
            total += self.losses(logits, vocabulary, &self.targets[start..start + m]);
            let errors = View::new(logits, m, vocabulary);
            if self.hidden_tracked {
                let out = &mut gradients.hidden[start * width..(start + m) * width];
                head.through(out, errors, width)?;
            }
            if head_elements > 0 {
                write(&mut part, width, errors.transposed(), hidden);
                add_assign(&mut gradients.head, &part);
            }
        }
        // One forward per op: a second value never arrives.
        let _ = self.gradients.set(gradients);
        Ok(total * self.weight)
    }

    fn gradients(&self) -> Result<&Gradients> {
        match self.gradients.get() {
            Some(gradients) => Ok(gradients),
            None => bail!("a loss was asked for gradients before its forward pass"),
        }
    }

    fn hidden_gradient(&self, hidden: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        if !self.hidden_tracked {
            return Ok(None);
        }
        scaled(&self.gradients()?.hidden, upstream, hidden).map(Some)
    }
}

/// Gradients that were made for a loss of weight 1, by the gradient that arrives.
fn scaled(values: &[f32], upstream: &Tensor, like: &Tensor) -> Result<Tensor> {
    let upstream = upstream.to_scalar::<f32>()?;
    let mut values = values.to_vec();
    if upstream.to_bits() != 1.0f32.to_bits() {
        scale(&mut values, upstream);
    }
    Tensor::from_vec(values, like.shape().clone(), like.device())
}

/// The sizes (D, V) of hidden rows against a head.
fn sizes(hidden: &Layout, (vocabulary, head_width): (usize, usize)) -> Result<(usize, usize)> {
    let (_, width) = hidden.shape().dims2()?;
    if width != head_width {
        bail!("a head of width {head_width} cannot take rows of {width}");
    }
    Ok((width, vocabulary))
}

fn write(out: &mut [f32], row_stride: usize, left: View<'_>, right: View<'_>) {
    let out = ViewMut {
        data: out,
        row_stride,
    };
    product_into(out, false, left, right, 1.0, Threads::Pool);
}

struct CrossEntropy {
    losses: Losses,
    head_tracked: bool,
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
        let (width, vocabulary) = sizes(hidden_layout, head_layout.shape().dims2()?)?;
        let head = Head::Trained {
            values: View::new(elements(head, head_layout)?, vocabulary, width),
            tracked: self.head_tracked,
        };
        let hidden = elements(hidden, hidden_layout)?;
        let loss = self.losses.run(hidden, &head, width, vocabulary)?;
        Ok(output(vec![loss as f32], Shape::from(())))
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        head: &Tensor,
        _result: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let head = if self.head_tracked {
            Some(scaled(&self.losses.gradients()?.head, upstream, head)?)
        } else {
            None
        };
        Ok((self.losses.hidden_gradient(hidden, upstream)?, head))
    }
}

struct FrozenCrossEntropy {
    losses: Losses,
    head: FrozenWeight,
}

impl CustomOp1 for FrozenCrossEntropy {
    fn name(&self) -> &'static str {
        "frozen-cross-entropy"
    }

    fn cpu_fwd(&self, hidden: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (width, vocabulary) = sizes(layout, self.head.dims())?;
        let hidden = elements(hidden, layout)?;
        let head = Head::Frozen(&self.head);
        let loss = self.losses.run(hidden, &head, width, vocabulary)?;
        Ok(output(vec![loss as f32], Shape::from(())))
    }

    fn bwd(&self, hidden: &Tensor, _result: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        self.losses.hidden_gradient(hidden, upstream)
    }
}
