use super::Statistic;

/// A percentile of measurements (latencies, say) as a statistic, read as [`super::quantile`] does.
#[derive(Debug, Clone, PartialEq)]
pub struct Percentile {
    values: Vec<f64>,
    /// Places in `values`, by rising value.
    order: Vec<usize>,
    share: f64,
}

impl Percentile {
    /// `share` is 0 to 1, 0.95 for p95. `None` for another, or with a value that is not a number.
    pub fn new(values: Vec<f64>, share: f64) -> Option<Self> {
        let sound = (0.0..=1.0).contains(&share) && values.iter().all(|value| !value.is_nan());
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|first, second| values[*first].total_cmp(&values[*second]));
        sound.then_some(Self {
            values,
            order,
            share,
        })
    }
}

impl Statistic for Percentile {
    fn samples(&self) -> usize {
        self.values.len()
    }

    fn value(&self, weights: &[u32]) -> Option<f64> {
        let count: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let place = self.share * count.checked_sub(1)? as f64;
        let (below, part) = (place.floor() as u64, place.fract());
        let (mut passed, mut lower) = (0, None);
        for index in &self.order {
            passed += u64::from(weights[*index]);
            if lower.is_none() && passed > below {
                lower = Some(self.values[*index]);
            }
            if let Some(lower) = lower
                && (part == 0.0 || passed > below + 1)
            {
                return Some(lower + part * (self.values[*index] - lower));
            }
        }
        lower
    }
}
