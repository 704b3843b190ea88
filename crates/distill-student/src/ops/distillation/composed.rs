//! The same losses in candle's differentiable operations, for other devices. All logits are held
//! at once.

use candle_core::{D, DType, Result, Tensor};

use super::row::{Prepared, Top};
use super::{Distillation, Divergence, OutputHead, WholeTeacher};
use crate::ops::linear::linear;
use crate::ops::soft_cap;

/// The least probability inside a teacher's top tokens, or of its rest, whose logarithm is taken.
const LEAST: f64 = 1e-6;

/// Added to a logarithm, it leaves nothing of its number.
const LOWERED: f64 = -1e30;

/// The loss of some rows; their logits are held at once.
pub(super) fn distillation(
    hidden: &Tensor,
    head: OutputHead<'_>,
    rows: &[Prepared],
    teacher: Option<WholeTeacher<'_>>,
    settings: &Distillation,
    weight: f64,
) -> Result<Tensor> {
    let logits = logits_of(hidden, head)?; // (N, V)
    let count = rows.len();
    let column = |of: &dyn Fn(&Prepared) -> f32| {
        let values: Vec<f32> = rows.iter().map(of).collect();
        Tensor::from_vec(values, (count, 1), hidden.device())
    };
    let tokens: Vec<u32> = rows.iter().map(|row| row.token).collect();
    let tokens = Tensor::from_vec(tokens, (count, 1), hidden.device())?;
    let own = log_softmax(&logits)?.gather(&tokens, 1)?.neg()?;
    let mut loss = (own * column(&|row| row.hard)?)?;
    let student = shared(&logits, settings)?;
    let divergence = match teacher {
        Some(teacher) => {
            let taught = logits_of(&teacher.hidden.detach(), teacher.head)?.detach();
            let log_q = log_softmax(&shared(&taught, settings)?)?;
            Some(whole(&log_softmax(&student)?, &log_q, settings.divergence)?)
        }
        None if rows.iter().any(|row| row.top.is_some()) => {
            Some(top(&student, rows, settings.divergence)?)
        }
        None => None,
    };
    if let Some(divergence) = divergence {
        loss = (loss + (divergence * column(&|row| row.soft)?)?)?;
    }
    (loss.sum_all()? * weight)?.reshape(())
}

/// (N, D), (V, D) → (N, V)
pub(super) fn logits_of(hidden: &Tensor, head: OutputHead<'_>) -> Result<Tensor> {
    let logits = linear(hidden, head.weight)?;
    match head.soft_cap {
        None => Ok(logits),
        Some(cap) => soft_cap::composed(&logits, cap.into()),
    }
}

/// z / τ of the shared tokens.
fn shared(logits: &Tensor, settings: &Distillation) -> Result<Tensor> {
    let logits = logits.narrow(1, 0, settings.shared_vocabulary)?;
    logits.contiguous()? / settings.temperature
}

fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

/// (N, n), (N, n) → (N, 1)
fn whole(log_p: &Tensor, log_q: &Tensor, divergence: Divergence) -> Result<Tensor> {
    match divergence {
        Divergence::Forward => (log_q.exp()? * (log_q - log_p)?)?.sum_keepdim(1),
        Divergence::Reverse => (log_p.exp()? * (log_p - log_q)?)?.sum_keepdim(1),
    }
}

/// The teacher's top tokens, padded to one number of columns.
struct Padded {
    /// (N, k)
    tokens: Tensor,
    /// 1 where there is a token, else 0; (N, k)
    real: Tensor,
    /// (N, k)
    log_q: Tensor,
    /// Probability of the rest, or 0, and whether it is an event of its own; (N, 1)
    rest: Tensor,
    bucket: Tensor,
}

fn padded(rows: &[Prepared], device: &candle_core::Device) -> Result<Padded> {
    let tops = || rows.iter().map(|row| row.top.as_ref());
    let width = tops().flatten().map(|top| top.tokens.len()).max();
    let width = width.unwrap_or(1);
    let (mut tokens, mut real, mut log_q) = (Vec::new(), Vec::new(), Vec::new());
    let (mut rest, mut bucket) = (Vec::new(), Vec::new());
    for top in tops() {
        let held: &[u32] = top.map_or(&[], |top| &top.tokens);
        let values: &[f64] = top.map_or(&[], |top| &top.log_probabilities);
        let fill = width - held.len();
        tokens.extend(held.iter().copied().chain(std::iter::repeat_n(0, fill)));
        real.extend((0..width).map(|at| f32::from(u8::from(at < held.len()))));
        log_q.extend(values.iter().map(|value| *value as f32));
        log_q.extend(std::iter::repeat_n(0.0f32, fill));
        let outside = top.and_then(|top: &Top| top.rest);
        rest.push(outside.unwrap_or(0.0) as f32);
        bucket.push(f32::from(u8::from(outside.is_some())));
    }
    let count = rows.len();
    Ok(Padded {
        tokens: Tensor::from_vec(tokens, (count, width), device)?,
        real: Tensor::from_vec(real, (count, width), device)?,
        log_q: Tensor::from_vec(log_q, (count, width), device)?,
        rest: Tensor::from_vec(rest, (count, 1), device)?,
        bucket: Tensor::from_vec(bucket, (count, 1), device)?,
    })
}

/// The logarithm of what the student gives to all but some tokens, as a sum of its own: one less what
/// it gives to those has no digits where it is sure of them.
///
/// # Shapes
/// - `log_p`: (N, n), `tokens` and `real`: (N, k); returns (N, 1)
fn log_outside(log_p: &Tensor, tokens: &Tensor, real: &Tensor) -> Result<Tensor> {
    let none = log_p.detach().zeros_like()?;
    let lowered = none.scatter_add(tokens, &(real * LOWERED)?, 1)?;
    let sum = (log_p + lowered)?.exp()?.sum_keepdim(1)?;
    sum.maximum(f64::from(f32::MIN_POSITIVE))?.log()
}

/// (N, n) → (N, 1)
fn top(student: &Tensor, rows: &[Prepared], divergence: Divergence) -> Result<Tensor> {
    let Padded {
        tokens,
        real,
        log_q,
        rest,
        bucket,
    } = padded(rows, student.device())?;
    let log_all = log_softmax(student)?;
    let log_outside = log_outside(&log_all, &tokens, &real)?;
    let log_p = log_all.gather(&tokens, 1)?.to_dtype(DType::F32)?;
    match divergence {
        Divergence::Forward => {
            let own = ((log_q.exp()? * (&log_q - &log_p)?)? * &real)?.sum_keepdim(1)?;
            let log_rest = rest.maximum(LEAST)?.log()?;
            own + (&rest * (log_rest - log_outside)?)?
        }
        Divergence::Reverse => {
            let inside = (log_p.exp()? * &real)?.sum_keepdim(1)?;
            // Given a top token where the rest is no event of its own.
            let given = (inside.maximum(LEAST)?.log()? * bucket.affine(-1.0, 1.0)?)?;
            let log_p = log_p.broadcast_sub(&given)?;
            let own = ((log_p.exp()? * (&log_p - &log_q)?)? * &real)?.sum_keepdim(1)?;
            let log_rest = rest.maximum(LEAST)?.log()?;
            let outside = (log_outside.exp()? * (log_outside - log_rest)?)?;
            own + (outside * bucket)?
        }
    }
}
