//! From which confidence on a student may answer itself.

use serde::{Deserialize, Serialize};

use crate::{
    cascade::Calibration,
    stats::{clopper_pearson_upper, most_successes},
};

/// Thresholds that may be tried: at shares answered of 1/40, 2/40, ... 1.
pub const THRESHOLDS: usize = 40;

/// Where the chance of error is put: at which share of the cuts, and how much of it. Half is for
/// the surest rows, since a student that is right on them can be followed down from there; the
/// rest lets one begin further down whose errors are spread evenly.
const STARTS: [(f64, f64); 3] = [(0.0, 0.5), (1.0 / 3.0, 0.25), (2.0 / 3.0, 0.25)];

/// The confidence from which on a student answers itself, and what its answers risk.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The student answers when its stated confidence is at least this.
    pub raw: f64,
    /// The same, calibrated on the rows at hand.
    pub probability: f64,
    /// Share of wrong answers among those answered here.
    pub risk: f64,
    /// Upper bound of that share (Clopper-Pearson), corrected for the thresholds tried.
    pub bound: f64,
    /// That the true risk is within what was asked, whichever threshold was chosen.
    pub confidence: f64,
    /// Thresholds that stood to be chosen.
    pub tried: usize,
    /// Rows the threshold was chosen on.
    pub n: usize,
    /// Of them, rows that the student answers itself.
    pub answered: usize,
    pub wrong: usize,
}

/// A threshold that could be chosen: rows at or above it, and how many of them are wrong.
struct Cut {
    raw: f64,
    answered: usize,
    wrong: usize,
}

/// The threshold with the largest coverage whose risk is shown to be at most `risk`; `None` when
/// none is.
///
/// `rows` are (stated confidence, whether the answer was right) of rows that neither trained the
/// student nor judge it. The risk is the share of wrong answers among those that the student gives
/// itself (selective risk: Y. Geifman, R. El-Yaniv, "Selective classification for deep neural
/// networks", NIPS 2017). Rows of equal confidence stand on the same side.
///
/// At most [`THRESHOLDS`] cuts are tried, at shares answered that the confidences alone fix, so
/// that the right and wrong answers choose nothing but among them, and the wrong answers above a
/// cut are binomial. They are tested from the surest down by Wiens' fallback procedure: the first
/// cut has half of 1 − `confidence`, those a third and two thirds down a quarter each, and a cut
/// that passes hands all it was tested at to the next. With chance `confidence`, no cut whose true
/// risk exceeds `risk` passes at all (B. L. Wiens, "A fixed sequence Bonferroni procedure for
/// testing multiple endpoints", Pharmaceutical Statistics 2 (2003), 211-215; such procedures for
/// risks: A. N. Angelopoulos, S. Bates, E. J. Candès, M. I. Jordan, L. Lei, "Learn then test",
/// 2021, arXiv 2110.01052). Cuts so high that not even an unblemished record would pass the first
/// test are not tried.
pub fn choose_threshold(rows: &[(f64, bool)], risk: f64, confidence: f64) -> Option<Threshold> {
    let sound = risk > 0.0 && risk < 1.0 && confidence > 0.0 && confidence < 1.0;
    if !sound {
        return None;
    }
    let mut sorted: Vec<(f64, bool)> = rows
        .iter()
        .filter(|(raw, _)| raw.is_finite())
        .copied()
        .collect();
    sorted.sort_by(|first, second| second.0.total_cmp(&first.0));
    let n = sorted.len();
    let level = 1.0 - confidence;
    let cuts: Vec<Cut> = cuts(&sorted)
        .into_iter()
        .filter(|cut| most_successes(cut.answered, risk, level * STARTS[0].1).is_some())
        .collect();
    let mut parts = vec![0.0; cuts.len()];
    for (place, part) in STARTS {
        let index = (place * cuts.len() as f64) as usize;
        if let Some(own) = parts.get_mut(index) {
            *own += part * level;
        }
    }
    let (mut carried, mut chosen) = (0.0, None);
    for (cut, part) in cuts.iter().zip(parts) {
        let tested_at = part + carried;
        let passes = tested_at > 0.0
            && most_successes(cut.answered, risk, tested_at).is_some_and(|most| cut.wrong <= most);
        carried = if passes { tested_at } else { 0.0 };
        if passes {
            chosen = Some((cut, tested_at));
        }
    }
    let (cut, tested_at) = chosen?;
    Some(Threshold {
        raw: cut.raw,
        probability: Calibration::fit(&sorted)?.probability(cut.raw),
        risk: cut.wrong as f64 / cut.answered as f64,
        bound: clopper_pearson_upper(cut.wrong, cut.answered, 1.0 - tested_at)?,
        confidence,
        tried: cuts.len(),
        n,
        answered: cut.answered,
        wrong: cut.wrong,
    })
}

/// The cuts at the wanted shares, surest first; each takes all rows of its lowest confidence.
fn cuts(sorted: &[(f64, bool)]) -> Vec<Cut> {
    let n = sorted.len();
    let mut cuts: Vec<Cut> = Vec::new();
    let (mut wrong, mut wanted) = (0, 1);
    for (index, (raw, right)) in sorted.iter().enumerate() {
        wrong += usize::from(!right);
        let answered = index + 1;
        let tied = sorted.get(answered).is_some_and(|(next, _)| next >= raw);
        if tied || answered * THRESHOLDS < wanted * n {
            continue;
        }
        cuts.push(Cut {
            raw: *raw,
            answered,
            wrong,
        });
        wanted = answered * THRESHOLDS / n + 1;
    }
    cuts
}
