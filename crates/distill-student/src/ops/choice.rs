//! From a row of logits to a token and its log-probability.

use super::rows::{exp, max, vectorised};

/// Sum of the exponentials, each taken relative to the largest logit.
fn largest_and_sum(logits: &[f32]) -> (f32, f32) {
    vectorised(|| {
        let largest = max(logits);
        let mut sum = 0.0;
        for part in logits.chunks(256) {
            // Kept short: one long sum of small numbers would lose the smallest.
            sum += part.iter().map(|logit| exp(logit - largest)).sum::<f32>();
        }
        (largest, sum)
    })
}

/// The logarithm of the sum of the exponentials: a logit less this is a log-probability.
pub(crate) fn log_sum_of(logits: &[f32]) -> f32 {
    let (largest, sum) = largest_and_sum(logits);
    largest + sum.ln()
}

/// The log-probability of one token.
#[cfg(test)]
pub(crate) fn log_probability_of(logits: &[f32], token: u32) -> f32 {
    logits[token as usize] - log_sum_of(logits)
}

/// Writes e^((logit - largest) / temperature) of each token: the likeliest has 1, and what lies
/// more than 87 below it, 0.
pub(crate) fn weights_of(logits: &[f32], temperature: f32, weights: &mut Vec<f32>) {
    weights.clear();
    weights.resize(logits.len(), 0.0);
    vectorised(|| {
        let largest = max(logits);
        for (weight, logit) in weights.iter_mut().zip(logits) {
            let below = (logit - largest) / temperature;
            *weight = if below > -87.0 { exp(below) } else { 0.0 };
        }
    });
}

/// The likeliest token of a row of logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Choice {
    /// The first of equals.
    pub token: u32,
    pub log_probability: f32,
    /// How far the second likeliest token's log-probability lies below: 0 for equals, infinite
    /// where there is no second token.
    pub margin: f32,
}

/// The likeliest token of a row.
pub(crate) fn best_of_row(logits: &[f32]) -> Choice {
    let (largest, sum) = largest_and_sum(logits);
    let best = logits.iter().position(|logit| *logit >= largest);
    let best = best.unwrap_or(0);
    let second = vectorised(|| max(&logits[..best]).max(max(&logits[best + 1..])));
    Choice {
        token: best as u32,
        log_probability: -sum.ln(),
        margin: largest - second,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_the_distance_to_the_second_likeliest() {
        let mut logits = vec![-3.0_f32; 300];
        logits[7] = 2.0;
        logits[290] = 0.5;
        let choice = best_of_row(&logits);
        assert_eq!((choice.token, choice.margin), (7, 1.5));
        let second = log_probability_of(&logits, 290);
        assert!((choice.log_probability - choice.margin - second).abs() < 1e-6);
        logits[290] = 2.0;
        assert!(best_of_row(&logits).margin.abs() < f32::EPSILON);
        assert_eq!(best_of_row(&logits).token, 7);
        assert!(best_of_row(&[1.0]).margin.is_infinite());
    }
}
