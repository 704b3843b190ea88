//! Agreement of two raters beyond chance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Interval, IntervalMethod, critical};

/// Cohen's kappa with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Kappa {
    /// Rows that both raters judged.
    pub n: usize,
    /// Share of rows on which they agree.
    pub agreement: f64,
    /// The share that independent raters with these habits would agree on.
    pub by_chance: f64,
    /// −1 to 1; `None` when both raters used one and the same category only, so that chance
    /// explains everything.
    pub value: Option<f64>,
    /// By the asymptotic standard error, cut at −1 and 1.
    pub interval: Option<Interval>,
}

/// Cohen's kappa of two raters' categories, row by row; `None` without a row.
///
/// J. Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological
/// Measurement 20 (1960), 37-46; the standard error from J. L. Fleiss, J. Cohen, B. S. Everitt,
/// "Large sample standard errors of kappa and weighted kappa", Psychological Bulletin 72 (1969),
/// 323-327.
pub fn cohen_kappa<L: Ord>(pairs: &[(L, L)], confidence: f64) -> Option<Kappa> {
    let mut codes = BTreeMap::new();
    for (first, second) in pairs {
        codes.insert(first, 0);
        codes.insert(second, 0);
    }
    for (code, place) in codes.values_mut().enumerate() {
        *place = code;
    }
    let size = codes.len();
    let mut counts = vec![vec![0; size]; size];
    for (first, second) in pairs {
        counts[codes[first]][codes[second]] += 1;
    }
    cohen_kappa_of_counts(&counts, confidence)
}

/// The same from counts: `counts[i][j]` rows that the first rater put into category `i` and the
/// second into `j`. `None` without a row or when the table is not square.
pub fn cohen_kappa_of_counts(counts: &[Vec<usize>], confidence: f64) -> Option<Kappa> {
    let size = counts.len();
    let n: usize = counts.iter().flatten().sum();
    if n == 0 || counts.iter().any(|row| row.len() != size) {
        return None;
    }
    let share = |first: usize, second: usize| counts[first][second] as f64 / n as f64;
    let rows: Vec<f64> = (0..size)
        .map(|row| (0..size).map(|column| share(row, column)).sum())
        .collect();
    let columns: Vec<f64> = (0..size)
        .map(|column| (0..size).map(|row| share(row, column)).sum())
        .collect();
    let agreement: f64 = (0..size).map(|label| share(label, label)).sum();
    let by_chance: f64 = (0..size).map(|label| rows[label] * columns[label]).sum();
    let mut kappa = Kappa {
        n,
        agreement,
        by_chance,
        value: None,
        interval: None,
    };
    // One category on both sides leaves 1 − by_chance at exactly 0 but for rounding.
    let beyond = 1.0 - by_chance;
    if beyond < 1e-12 {
        return Some(kappa);
    }
    let value = (agreement - by_chance) / beyond;
    let mut spread = 0.0;
    for (first, column) in columns.iter().enumerate() {
        for (second, row) in rows.iter().enumerate() {
            let habit = column + row;
            spread += if first == second {
                share(first, first) * (1.0 - habit * (1.0 - value)).powi(2)
            } else {
                share(first, second) * (1.0 - value).powi(2) * habit.powi(2)
            };
        }
    }
    spread -= (value - by_chance * (1.0 - value)).powi(2);
    let half = critical(confidence) * (spread.max(0.0) / n as f64).sqrt() / beyond;
    kappa.value = Some(value);
    kappa.interval = Some(Interval {
        low: (value - half).max(-1.0),
        high: (value + half).min(1.0),
        confidence,
        method: IntervalMethod::Asymptotic,
    });
    Some(kappa)
}
