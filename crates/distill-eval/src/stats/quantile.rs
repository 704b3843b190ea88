use serde::{Deserialize, Serialize};

/// How quantiles are read between two measurements; reports print it.
pub const QUANTILE_DEFINITION: &str =
    "linear interpolation between order statistics (Hyndman-Fan type 7)";

/// A distribution in five numbers; the unit is that of the values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    pub n: usize,
    pub mean: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

/// `None` without a value, or with one that is not a number.
pub fn quantiles(values: &[f64]) -> Option<Quantiles> {
    let sorted = sorted(values)?;
    Some(Quantiles {
        n: sorted.len(),
        mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
        p50: at(&sorted, 0.50),
        p95: at(&sorted, 0.95),
        p99: at(&sorted, 0.99),
    })
}

/// The value below which a share `q` (0 to 1) lies, by [`QUANTILE_DEFINITION`].
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    (0.0..=1.0)
        .contains(&q)
        .then(|| sorted(values).map(|sorted| at(&sorted, q)))
        .flatten()
}

fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(sorted)
}

pub(super) fn at(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}
