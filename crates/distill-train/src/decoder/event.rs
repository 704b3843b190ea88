//! What a training tells while it runs.

/// What happens while training. Losses are means over unmasked tokens, in nats.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainEvent {
    Started {
        steps: usize,
        tokens_per_epoch: usize,
        trainable_parameters: usize,
        resumed_at: Option<usize>,
    },
    Step {
        /// Steps done, this one included.
        step: usize,
        steps: usize,
        loss: f64,
        learning_rate: f64,
        /// Before clipping.
        gradient_norm: f64,
        tokens: usize,
        seconds: f64,
    },
    Validated {
        step: usize,
        loss: f64,
        best: bool,
    },
    Checkpointed {
        step: usize,
    },
    StoppedEarly {
        step: usize,
        best_step: usize,
    },
    /// Shown to hold before the first step counted.
    Proved(Proof),
}

/// What was shown before a run, with its figures.
#[derive(Debug, Clone, PartialEq)]
pub enum Proof {
    /// Where the loss of the first training row falls: on `tokens[loss_from..]`.
    Mask { tokens: Vec<u32>, loss_from: usize },
    /// The last token of each training row stops a reply, and carries loss.
    StopTokens { rows: usize },
    /// So many of a classifier's labels have training rows; those without are named by their
    /// places.
    LabelCoverage {
        rows: usize,
        labels: usize,
        missing: Vec<usize>,
    },
    /// The adapted model answers as its base does: the largest difference in a logit of one row.
    StartsAtBase { tokens: usize, difference: f32 },
    /// So many tensors train and got a gradient, so many are frozen and got none.
    Census { trained: usize, frozen: usize },
    /// Some rows were trained on alone, and the weights put back: they count as learnt by heart where
    /// the last loss is at most the asked one.
    Overfit {
        rows: usize,
        steps: usize,
        first_loss: f64,
        last_loss: f64,
        asked_loss: f64,
    },
}
