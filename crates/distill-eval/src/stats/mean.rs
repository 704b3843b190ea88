use super::Statistic;

/// The mean of values as a statistic.
#[derive(Debug, Clone, PartialEq)]
pub struct Mean(pub Vec<f64>);

impl Statistic for Mean {
    fn samples(&self) -> usize {
        self.0.len()
    }

    fn value(&self, weights: &[u32]) -> Option<f64> {
        let count: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let sum: f64 = self
            .0
            .iter()
            .zip(weights)
            .map(|(value, weight)| value * f64::from(*weight))
            .sum();
        (count > 0).then(|| sum / count as f64)
    }
}
