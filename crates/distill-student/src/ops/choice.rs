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

/// The log-probability of one token.
pub(crate) fn log_probability_of(logits: &[f32], token: u32) -> f32 {
    let (largest, sum) = largest_and_sum(logits);
    logits[token as usize] - largest - sum.ln()
}

/// The likeliest token, the first of equals, and its log-probability.
pub(crate) fn best_of_row(logits: &[f32]) -> (u32, f32) {
    let (largest, sum) = largest_and_sum(logits);
    let best = logits.iter().position(|logit| *logit >= largest);
    (best.unwrap_or(0) as u32, -sum.ln())
}
