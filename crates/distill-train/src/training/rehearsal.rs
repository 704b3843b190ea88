//! Learning a few rows by heart before a run: a model, a rate or labels that cannot be learnt show
//! at once.

use candle_core::Tensor;

use super::sums::Sums;
use super::variables::Variables;
use crate::decoder::optimizer::AdamW;
use crate::{Proof, TrainError, TrainSettings};

/// Rows count as learnt by heart once their loss has fallen to this share of what it was.
const LEARNT: f64 = 0.5;
/// Rows that a loss below this was found on need no learning.
const KNOWN: f64 = 0.05;
/// A loss that stays above this share of what it was shows that nothing is learnt. In between, the
/// proof says how far it came.
const NOTHING_LEARNT: f64 = 0.9;

/// Learns `rows` rows, whose mean loss `loss` gives, at the peak rate, then puts the values back.
/// `floor` is a loss that no weights can go below.
pub(crate) fn rehearse(
    settings: &TrainSettings,
    (variables, optimizer): (&Variables, &mut AdamW),
    (rows, floor): (usize, f64),
    loss: impl Fn() -> Result<Tensor, TrainError>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Proof, TrainError> {
    let start = variables.values()?;
    let (mut first, mut last, mut steps) = (None, f64::INFINITY, 0);
    loop {
        let loss = loss()?;
        let now = f64::from(loss.to_scalar::<f32>()?) - floor;
        if !now.is_finite() && first.is_some() {
            variables.set(&start)?;
            return Err(TrainError::RehearsalDiverged {
                rows,
                step: steps,
                learning_rate: settings.learning_rate,
            });
        }
        last = now.min(last);
        let begun = *first.get_or_insert(last);
        if last <= asked(begun) || steps >= settings.proofs.overfit_steps || cancelled() {
            break;
        }
        let gradients = loss.backward()?;
        let mut sums = Sums::default();
        sums.add(variables, &gradients)?;
        sums.clip(settings.clip)?;
        optimizer.step(variables, &sums, settings.learning_rate)?;
        steps += 1;
    }
    variables.set(&start)?;
    let first = first.unwrap_or(last);
    let nothing = last > first * NOTHING_LEARNT && last > KNOWN;
    if !first.is_finite() || (nothing && !cancelled()) {
        return Err(TrainError::NotLearnt {
            rows,
            steps,
            first,
            last,
            learning_rate: settings.learning_rate,
        });
    }
    Ok(Proof::Overfit {
        rows,
        steps,
        first_loss: first,
        last_loss: last,
        asked_loss: asked(first),
    })
}

/// The loss at or below which rows count as learnt by heart.
fn asked(first: f64) -> f64 {
    (first * LEARNT).max(KNOWN)
}
