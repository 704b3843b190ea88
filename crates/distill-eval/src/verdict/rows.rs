//! How many rows it would take.

use super::DecisionInput;
use crate::{
    Comparison,
    stats::{PowerPlan, chance_to_settle, required_n},
};

/// Share of rows on which two models are assumed to differ before any was compared.
pub(crate) const ASSUMED_DISCORDANCE: f64 = 0.15;

/// The chance that a printed number of rows gives of a decision.
const POWER: f64 = 0.8;

/// Before any row was compared: what shows a candidate to be as good that is.
pub(super) fn rows_before_data(input: &DecisionInput<'_>) -> Option<usize> {
    required_n(&PowerPlan::noninferiority(
        input.margin,
        input.confidence,
        ASSUMED_DISCORDANCE,
    ))
}

/// Fresh rows that would settle on which side of the margin the difference lies, with chance 0.8
/// averaged over what the rows at hand leave open about it.
///
/// The observed difference is not taken for the truth: given it, the truth is normal around it
/// with its own standard error (a flat prior), and the fresh rows add theirs. So a difference seen
/// near the margin asks for many rows, and never for none. The idea is that of predictive power:
/// D. J. Spiegelhalter, L. S. Freedman, "A predictive approach to selecting the size of a clinical
/// trial", Statistics in Medicine 5 (1986), 1-13.
pub(crate) fn rows_to_settle(
    comparison: &Comparison,
    margin: f64,
    confidence: f64,
) -> Option<usize> {
    let (low, high) = comparison.gain_at(confidence)?;
    let distance = comparison.gain()? + margin;
    // The standard error that the interval shows on the side of the margin.
    let reach = if distance >= 0.0 {
        distance - (low + margin)
    } else {
        (high + margin) - distance
    };
    let chance = |times: f64| chance_to_settle(distance, reach, confidence, times);
    if reach <= 0.0 {
        return None;
    }
    let (mut few, mut many) = (0.0, 1.0);
    while chance(many) < POWER {
        few = many;
        many *= 2.0;
    }
    for _ in 0..40 {
        let middle = f64::midpoint(few, many);
        if chance(middle) < POWER {
            few = middle;
        } else {
            many = middle;
        }
    }
    Some(rounded_up(many * comparison.n as f64))
}

/// What it would take to show that the candidate is as good, if it is: the kinder assumption.
pub(super) fn rows_if_equal(input: &DecisionInput<'_>, comparison: &Comparison) -> Option<usize> {
    let discordance = comparison.table?.discordance()?;
    required_n(&PowerPlan::noninferiority(
        input.margin,
        input.confidence,
        discordance,
    ))
}

/// To two digits, so that a projection does not look like a measurement.
fn rounded_up(rows: f64) -> usize {
    let step = 10_f64.powf((rows.log10().floor() - 1.0).max(0.0));
    ((rows / step).ceil() * step) as usize
}
