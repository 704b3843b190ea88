use serde::{Deserialize, Serialize};

use super::{Interval, wilson};

/// How often a model gives the same answer when it is asked the same again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Rows answered twice.
    pub n: usize,
    pub agreed: usize,
    /// Share of rows with the same answer both times.
    pub share: f64,
    /// Wilson's.
    pub interval: Interval,
}

/// The noise floor from two answers a row; rows with one answer missing are left out. `None`
/// without a row answered twice.
///
/// A student measured by its agreement with one of the two answers has no reason to exceed this
/// share: what the teacher does not repeat cannot be learnt from it.
pub fn agreement<'a>(
    pairs: impl IntoIterator<Item = (Option<&'a str>, Option<&'a str>)>,
    confidence: f64,
) -> Option<Agreement> {
    let (mut n, mut agreed) = (0, 0);
    for (first, second) in pairs {
        if let (Some(first), Some(second)) = (first, second) {
            n += 1;
            agreed += usize::from(first == second);
        }
    }
    Some(Agreement {
        n,
        agreed,
        share: agreed as f64 / n as f64,
        interval: wilson(agreed, n, confidence)?,
    })
}
