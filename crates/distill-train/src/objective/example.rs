//! A row to learn from.

use std::sync::Arc;

/// A row to learn from: loss falls on `tokens[loss_from..]`, each token predicted from what
/// precedes it. A `loss_from` of 0 is read as 1: nothing precedes the first token.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainExample {
    pub tokens: Vec<u32>,
    pub loss_from: usize,
    /// What each of its targets counts in the loss and in the mean, relative to other rows'; 1 is
    /// usual.
    pub weight: f32,
    /// What a teacher holds likely at each target, in order; none where only the tokens are known.
    pub teacher: Option<Arc<[TokenTargets]>>,
}

/// The tokens that a teacher holds likeliest at one place, with their log-probabilities in nats.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenTargets {
    /// Each at most once.
    pub tokens: Vec<u32>,
    /// One for each token.
    pub log_probabilities: Vec<f32>,
}

impl TrainExample {
    /// A row whose own tokens are all that is known, of weight 1.
    pub fn new(tokens: Vec<u32>, loss_from: usize) -> Self {
        Self {
            tokens,
            loss_from,
            weight: 1.0,
            teacher: None,
        }
    }

    pub(crate) fn first_target(&self) -> usize {
        self.loss_from.max(1)
    }

    /// Number of tokens that carry loss.
    pub(crate) fn targets(&self) -> usize {
        self.tokens.len().saturating_sub(self.first_target())
    }
}
