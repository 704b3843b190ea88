//! The sharpness of a softmax: one number that makes probabilities honest.

/// The fitted number and what it achieves.
pub(super) struct Calibration {
    pub(super) sharpness: f64,
    /// Mean negative log probability of the right label.
    pub(super) log_loss: f64,
}

/// Finds the sharpness of least log loss on held-out scores, by golden section over its logarithm
/// (the loss is convex in the sharpness, so it has one valley). Without rows it stays 1.
pub(super) fn fit(scores: &[Vec<f32>], targets: &[usize]) -> Calibration {
    let loss = |exponent: f64| log_loss(scores, targets, exponent.exp());
    let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (0.01_f64.ln(), 1000.0_f64.ln());
    for _ in 0..60 {
        let left = high - ratio * (high - low);
        let right = low + ratio * (high - low);
        if loss(left) <= loss(right) {
            high = right;
        } else {
            low = left;
        }
    }
    let sharpness = if scores.is_empty() {
        1.0
    } else {
        f64::midpoint(low, high).exp()
    };
    Calibration {
        sharpness,
        log_loss: log_loss(scores, targets, sharpness),
    }
}

fn log_loss(scores: &[Vec<f32>], targets: &[usize], sharpness: f64) -> f64 {
    let total: f64 = scores
        .iter()
        .zip(targets)
        .map(|(scores, target)| {
            let scaled = |score: &f32| f64::from(*score) * sharpness;
            let largest = scores.iter().map(scaled).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores
                .iter()
                .map(|score| (scaled(score) - largest).exp())
                .sum();
            largest + sum.ln() - scaled(&scores[*target])
        })
        .sum();
    total / scores.len().max(1) as f64
}
