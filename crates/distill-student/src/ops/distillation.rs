//! The loss against a teacher's distribution over tokens, or against the row's own tokens, in chunks
//! of rows, so that neither the student's nor the teacher's table of tokens × vocabulary ever exists.
//!
//! With p the student's and q the teacher's distribution of a place, both at temperature τ, the
//! divergence is the forward KL(q‖p) of Hinton et al. 2015 (arXiv:1503.02531) or the reverse
//! KL(p‖q) of `MiniLLM` (Gu et al. 2023, arXiv:2306.08543) and GKD (Agarwal et al. 2023,
//! arXiv:2306.13649). It counts τ² in the loss, so that its gradient keeps its size beside
//! that of the cross-entropy whatever τ is (Hinton et al., section 2).

mod chunked;
mod composed;
mod head;
mod row;
mod score;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::frozen::{Direction, FrozenWeight, Storage, WeightRef};
use super::product::View;
use super::rows::{scale, vectorised};
use super::soft_cap::bend;
use super::storage::{elements, elements_of, output};
use chunked::Chunked;
use head::{Head, chunk_rows};
pub use head::{OutputHead, logits_at_a_time};
use row::{Prepared, Scratch};
pub use score::{token_log_probabilities, top_tokens};

/// Which way the divergence between teacher q and student p is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Divergence {
    /// KL(q‖p): the student covers all that the teacher holds likely.
    #[default]
    Forward,
    /// KL(p‖q): the student keeps to what the teacher holds likely.
    Reverse,
}

/// What becomes of the probability outside the teacher's top tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Rest {
    /// All other tokens are one event: its probability is compared as that of a token is. By the
    /// data-processing inequality this is a lower bound of the divergence over all tokens.
    #[default]
    Bucket,
    /// The teacher's top tokens are scaled to a sum of 1. Forward, other tokens are pushed
    /// to 0. Reverse, that would be infinite, so the student's probabilities are taken given that the token
    /// is one of the top ones, and the mass outside is left to the cross-entropy.
    Renormalised,
}

/// How a student is held against a teacher.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distillation {
    pub divergence: Divergence,
    pub rest: Rest,
    /// Of both distributions; a teacher's top tokens come at this temperature already.
    pub temperature: f64,
    /// Share of the divergence in the loss, 0 to 1; what is left goes to the cross-entropy of the
    /// row's own token.
    pub share: f64,
    /// Tokens that teacher and student have in common: both distributions are taken over the
    /// ids below it. Vocabularies are padded to different sizes.
    pub shared_vocabulary: usize,
}

/// The likeliest tokens of a place with their log-probabilities in nats, likeliest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TopTokens {
    /// Each at most once.
    pub tokens: Vec<u32>,
    /// One for each token.
    pub log_probabilities: Vec<f32>,
}

/// What one row of hidden states is to predict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target<'a> {
    pub token: u32,
    /// What the row counts; negative where a token is to become less likely.
    pub weight: f32,
    /// What the teacher holds likely here; without it the loss of the row is the cross-entropy of its token.
    pub teacher: Option<&'a TopTokens>,
}

/// A teacher at hand: its hidden states of the same rows, ready for its head.
#[derive(Clone, Copy)]
pub struct WholeTeacher<'a> {
    /// (N, its own width)
    pub hidden: &'a Tensor,
    /// (its vocabulary, its own width)
    pub head: OutputHead<'a>,
}

/// Returns `weight * Σ w * ((1 - share) * -log p(token) + share * τ² * divergence)` over the rows,
/// a scalar, w being the weight of a row. Gradients go to `hidden`, and to `head` where it is trained.
///
/// # Shapes
/// - `hidden`: (N, D), only rows that carry a label; `head`: (V, D); `targets`: N of them
///
/// # Errors
/// Sizes that do not fit, a token outside the vocabulary, a temperature or share out of range.
pub fn distillation<'a>(
    hidden: &Tensor,
    head: impl Into<OutputHead<'a>>,
    targets: &[Target<'_>],
    settings: &Distillation,
    weight: f64,
) -> Result<Tensor> {
    run(hidden, head.into(), targets, None, settings, weight)
}

/// As [`distillation`], against all of a teacher's probabilities instead of its top ones.
///
/// # Shapes
/// - `hidden`: (N, D); `head`: (V, D); `targets`: N of them, whose own teacher is not looked at
pub fn whole_distillation<'a>(
    hidden: &Tensor,
    head: impl Into<OutputHead<'a>>,
    targets: &[Target<'_>],
    teacher: WholeTeacher<'_>,
    settings: &Distillation,
    weight: f64,
) -> Result<Tensor> {
    let rows = teacher.hidden.dim(0)?;
    if rows != targets.len() {
        bail!("a teacher's {rows} rows for {} targets", targets.len());
    }
    run(
        hidden,
        head.into(),
        targets,
        Some(teacher),
        settings,
        weight,
    )
}

fn run(
    hidden: &Tensor,
    head: OutputHead<'_>,
    targets: &[Target<'_>],
    teacher: Option<WholeTeacher<'_>>,
    settings: &Distillation,
    weight: f64,
) -> Result<Tensor> {
    let vocabulary = head.vocabulary()?;
    let taught = match teacher {
        Some(teacher) => teacher.head.vocabulary()?,
        None => vocabulary,
    };
    settings.check(vocabulary.min(taught))?;
    let whole = teacher.is_some();
    let rows: Vec<Prepared> = targets
        .iter()
        .map(|target| Prepared::new(target, settings, whole))
        .collect::<Result<_>>()?;
    if !super::fused(hidden) {
        check_rows(hidden, &rows, vocabulary)?;
        let chunked = Chunked {
            head,
            rows: &rows,
            teacher,
            settings,
            weight,
        };
        return chunked.loss(hidden);
    }
    let teacher = teacher.map(Teacher::new).transpose()?;
    apply(hidden, head, rows, teacher, *settings, weight)
}

/// The loss of rows that learn their own tokens alone.
pub(super) fn of_own_tokens(
    hidden: &Tensor,
    head: OutputHead<'_>,
    targets: &[u32],
    weight: f64,
) -> Result<Tensor> {
    let rows: Vec<Prepared> = targets.iter().map(|token| Prepared::own(*token)).collect();
    let settings = Distillation {
        divergence: Divergence::Forward,
        rest: Rest::Bucket,
        temperature: 1.0,
        share: 0.0,
        shared_vocabulary: head.vocabulary()?,
    };
    if !super::fused(hidden) {
        check_rows(hidden, &rows, settings.shared_vocabulary)?;
        let chunked = Chunked {
            head,
            rows: &rows,
            teacher: None,
            settings: &settings,
            weight,
        };
        return chunked.loss(hidden);
    }
    apply(hidden, head, rows, None, settings, weight)
}

fn check_rows(hidden: &Tensor, rows: &[Prepared], vocabulary: usize) -> Result<()> {
    if hidden.dim(0)? != rows.len() {
        bail!("{} targets for hidden rows {hidden:?}", rows.len());
    }
    match rows.iter().find(|row| row.token as usize >= vocabulary) {
        Some(row) => bail!(
            "target {} is outside a vocabulary of {vocabulary}",
            row.token
        ),
        None => Ok(()),
    }
}

/// Runs the operation on the CPU.
fn apply(
    hidden: &Tensor,
    head: OutputHead<'_>,
    rows: Vec<Prepared>,
    teacher: Option<Teacher>,
    settings: Distillation,
    weight: f64,
) -> Result<Tensor> {
    check_rows(hidden, &rows, head.vocabulary()?)?;
    let operation = Operation {
        rows,
        settings,
        weight,
        teacher,
        soft_cap: head.soft_cap,
        frozen_head: match head.weight {
            WeightRef::Frozen(frozen) => Some(frozen.clone()),
            WeightRef::Trained(_) => None,
        },
        hidden_tracked: hidden.track_op(),
        head_tracked: matches!(head.weight, WeightRef::Trained(head) if head.track_op()),
        gradients: OnceLock::new(),
    };
    let hidden = hidden.contiguous()?;
    match head.weight {
        WeightRef::Trained(head) => hidden.apply_op2(head, operation),
        WeightRef::Frozen(_) => hidden.apply_op1(operation),
    }
}

impl Distillation {
    fn check(&self, most: usize) -> Result<()> {
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            bail!("a temperature of {} is not above 0", self.temperature);
        }
        if !(0.0..=1.0).contains(&self.share) {
            bail!("a share of {} is not between 0 and 1", self.share);
        }
        if self.shared_vocabulary == 0 || self.shared_vocabulary > most {
            bail!(
                "{} shared tokens of a vocabulary of {most}",
                self.shared_vocabulary
            );
        }
        Ok(())
    }
}

/// A teacher that an operation holds on to.
struct Teacher {
    hidden: Arc<[f32]>,
    width: usize,
    head: FrozenWeight,
    soft_cap: Option<f32>,
}

impl Teacher {
    fn new(teacher: WholeTeacher<'_>) -> Result<Self> {
        let hidden = teacher.hidden.contiguous()?;
        let values = elements_of(&hidden)?;
        Ok(Self {
            width: teacher.hidden.dim(1)?,
            soft_cap: teacher.head.soft_cap,
            head: match teacher.head.weight {
                WeightRef::Frozen(head) => head.clone(),
                WeightRef::Trained(head) => FrozenWeight::new(head, Storage::F32)?,
            },
            hidden: Arc::from(&*values),
        })
    }

    /// The teacher's logits of some rows.
    fn logits(&self, start: usize, rows: usize, out: &mut [f32]) -> Result<()> {
        let hidden = &self.hidden[start * self.width..(start + rows) * self.width];
        let hidden = View::new(hidden, rows, self.width);
        self.head
            .product_into(out, hidden, Direction::Forward, None)
    }
}

struct Gradients {
    hidden: Vec<f32>,
    head: Vec<f32>,
}

struct Operation {
    rows: Vec<Prepared>,
    settings: Distillation,
    weight: f64,
    teacher: Option<Teacher>,
    soft_cap: Option<f32>,
    /// None where the head is the second argument.
    frozen_head: Option<FrozenWeight>,
    hidden_tracked: bool,
    head_tracked: bool,
    /// Made in the forward pass, while a chunk's logits are at hand.
    gradients: OnceLock<Gradients>,
}

impl Operation {
    fn run(&self, hidden: &[f32], head: &Head<'_>) -> Result<f64> {
        let (vocabulary, width) = head.dims();
        let count = self.rows.len();
        if hidden.len() != count * width {
            bail!(
                "a head of width {width} cannot take {} values",
                hidden.len()
            );
        }
        let taught = self
            .teacher
            .as_ref()
            .map_or(0, |teacher| teacher.head.dims().0);
        let chunk = chunk_rows(vocabulary.max(taught)).min(count.max(1));
        let mut logits = vec![0.0; chunk * vocabulary];
        let mut taught_logits = vec![0.0; chunk * taught];
        let mut gradients = Gradients {
            hidden: vec![0.0; if self.hidden_tracked { hidden.len() } else { 0 }],
            head: vec![
                0.0;
                if self.head_tracked {
                    vocabulary * width
                } else {
                    0
                }
            ],
        };
        let mut total = 0.0;
        for start in (0..count).step_by(chunk) {
            let rows = chunk.min(count - start);
            let part = &hidden[start * width..(start + rows) * width];
            let logits = &mut logits[..rows * vocabulary];
            head.logits(part, rows, logits)?;
            let taught_logits = &mut taught_logits[..rows * taught];
            if let Some(teacher) = &self.teacher {
                teacher.logits(start, rows, taught_logits)?;
            }
            total += self.losses(start, logits, vocabulary, taught_logits, taught);
            if self.hidden_tracked {
                let out = &mut gradients.hidden[start * width..(start + rows) * width];
                head.back(logits, rows, out)?;
            }
            if self.head_tracked {
                head.add_gradient(logits, part, rows, &mut gradients.head);
            }
        }
        // One forward per op: a second value never arrives.
        let _ = self.gradients.set(gradients);
        Ok(total * self.weight)
    }

    /// Turns logits into the gradients of the loss by them; returns the sum of the rows' losses.
    fn losses(
        &self,
        start: usize,
        logits: &mut [f32],
        vocabulary: usize,
        taught_logits: &mut [f32],
        taught: usize,
    ) -> f64 {
        let rows = &self.rows[start..start + logits.len() / vocabulary];
        let scratch = Scratch::default;
        let losses: Vec<f64> = if taught == 0 {
            logits
                .par_chunks_mut(vocabulary)
                .zip(rows)
                .map_init(scratch, |scratch, (logits, row)| {
                    self.loss(row, logits, None, scratch)
                })
                .collect()
        } else {
            logits
                .par_chunks_mut(vocabulary)
                .zip(taught_logits.par_chunks_mut(taught))
                .zip(rows)
                .map_init(scratch, |scratch, ((logits, taught), row)| {
                    self.loss(row, logits, Some(taught), scratch)
                })
                .collect()
        };
        losses.iter().sum()
    }

    /// One row's loss, without the weight of all; bends its logits first, and its gradient back.
    fn loss(
        &self,
        row: &Prepared,
        logits: &mut [f32],
        mut taught: Option<&mut [f32]>,
        scratch: &mut Scratch,
    ) -> f64 {
        let teacher_cap = self.teacher.as_ref().and_then(|teacher| teacher.soft_cap);
        if let (Some(taught), Some(cap)) = (&mut taught, teacher_cap) {
            vectorised(|| bend(taught, cap));
        }
        if let Some(cap) = self.soft_cap {
            scratch.bend(logits, cap);
        }
        let loss = row.loss(logits, taught, scratch, &self.settings, self.weight as f32);
        if self.soft_cap.is_some() {
            scratch.unbend(logits);
        }
        loss
    }

    /// The gradients, times the one that arrives from above.
    fn gradient_of_hidden(&self, hidden: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        self.scaled(|made| &made.hidden, self.hidden_tracked, hidden, upstream)
    }

    fn scaled(
        &self,
        of: impl Fn(&Gradients) -> &Vec<f32>,
        tracked: bool,
        like: &Tensor,
        upstream: &Tensor,
    ) -> Result<Option<Tensor>> {
        if !tracked {
            return Ok(None);
        }
        let Some(made) = self.gradients.get() else {
            bail!("a loss was asked for gradients before its forward pass");
        };
        let mut values = of(made).clone();
        let upstream = upstream.to_scalar::<f32>()?;
        if upstream.to_bits() != 1.0f32.to_bits() {
            scale(&mut values, upstream);
        }
        Tensor::from_vec(values, like.shape().clone(), like.device()).map(Some)
    }
}

const NAME: &str = "loss-of-tokens";

impl CustomOp1 for Operation {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, hidden: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some(head) = &self.frozen_head else {
            bail!("a trained head is an argument of its own");
        };
        let loss = self.run(elements(hidden, layout)?, &Head::Frozen(head))?;
        Ok(output(vec![loss as f32], Shape::from(())))
    }

    fn bwd(&self, hidden: &Tensor, _result: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        self.gradient_of_hidden(hidden, upstream)
    }
}

impl CustomOp2 for Operation {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
        head: &CpuStorage,
        head_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (vocabulary, width) = head_layout.shape().dims2()?;
        let head = Head::Trained {
            values: elements(head, head_layout)?,
            vocabulary,
            width,
        };
        let loss = self.run(elements(hidden, hidden_layout)?, &head)?;
        Ok(output(vec![loss as f32], Shape::from(())))
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        head: &Tensor,
        _result: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((
            self.gradient_of_hidden(hidden, upstream)?,
            self.scaled(|made| &made.head, self.head_tracked, head, upstream)?,
        ))
    }
}
