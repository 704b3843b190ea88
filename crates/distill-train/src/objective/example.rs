//! A row to learn from.

use std::sync::Arc;

use distill_student::ops::TopTokens;

/// A row to learn from: loss falls on `tokens[loss_from..]`, each token predicted from what
/// precedes it. A `loss_from` of 0 is read as 1: nothing precedes the first token.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainExample {
    pub tokens: Vec<u32>,
    pub loss_from: usize,
    /// What each of its targets counts in the loss and in the mean, relative to other rows'; 1 is
    /// usual. Above 0.
    pub weight: f32,
    /// What a teacher holds likely at each target, in order; none where only the tokens are known.
    pub teacher: Option<Arc<[TopTokens]>>,
    /// Of a row that the student drew itself, what each target counts beside the weight.
    pub(crate) drawn: Option<Arc<[f32]>>,
}

impl TrainExample {
    /// A row whose own tokens are all that is known, of weight 1.
    pub fn new(tokens: Vec<u32>, loss_from: usize) -> Self {
        Self {
            tokens,
            loss_from,
            weight: 1.0,
            teacher: None,
            drawn: None,
        }
    }

    pub(crate) fn first_target(&self) -> usize {
        self.loss_from.max(1)
    }

    /// Number of tokens that carry loss.
    pub fn targets(&self) -> usize {
        self.tokens.len().saturating_sub(self.first_target())
    }

    /// What precedes the reply.
    pub(crate) fn prompt(&self) -> &[u32] {
        &self.tokens[..self.first_target()]
    }

    /// What the row counts in the mean of its step.
    pub(crate) fn loss_weight(&self) -> f64 {
        f64::from(self.weight) * self.targets() as f64
    }

    /// What is wrong with its weight or with what its teacher said, if anything.
    pub(crate) fn fault(&self) -> Option<String> {
        if !(self.weight > 0.0 && self.weight.is_finite()) {
            return Some(format!("its weight is {}, not above 0", self.weight));
        }
        let taught = self.teacher.as_ref()?.len();
        (taught != self.targets()).then(|| {
            format!(
                "its teacher speaks of {taught} places where {} carry loss",
                self.targets()
            )
        })
    }
}
