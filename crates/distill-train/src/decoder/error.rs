//! What can stop a training.

use distill_student::decoder::DecoderError;

/// Why a training did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error("training was cancelled after step {step}")]
    Cancelled { step: usize },
    #[error("there are no training examples")]
    NoExamples,
    #[error(transparent)]
    Device(#[from] distill_student::device::DeviceError),
    #[error(
        "{set} example {example} has no token to learn: {tokens} tokens, loss from {loss_from}"
    )]
    NoTargets {
        set: &'static str,
        example: usize,
        tokens: usize,
        loss_from: usize,
    },
    #[error("{set} example {example} has {tokens} tokens, the model takes {limit}")]
    TooLong {
        set: &'static str,
        example: usize,
        tokens: usize,
        limit: usize,
    },
    #[error("{set} example {example} cannot be learnt: {reason}")]
    Example {
        set: &'static str,
        example: usize,
        reason: String,
    },
    #[error("training setting `{name}` is {value}: {reason}")]
    Setting {
        name: &'static str,
        value: String,
        reason: &'static str,
    },
    #[error("gradients do not reach what they should: {reason}")]
    Census { reason: String },
    #[error(
        "training example {example} ends in token {token}, which stops no reply: the student would \
         not learn to stop; see that the chat template closes each reply with a stop token"
    )]
    StopToken { example: usize, token: u32 },
    #[error(
        "before the first step the adapted model differs from its base by {difference} in a logit: \
         the update does not begin at zero"
    )]
    NotAtBase { difference: f32 },
    #[error(
        "{rows} rows cannot be learnt by heart: trained on alone, their loss went from {first:.4} to \
         {last:.4} in {steps} steps, less than a tenth; is the learning rate ({learning_rate:.2e}) \
         far off (`learning_rate: auto` looks for one), are the base's weights random, or do equal \
         prompts have different replies?"
    )]
    NotLearnt {
        rows: usize,
        steps: usize,
        first: f64,
        last: f64,
        learning_rate: f64,
    },
    #[error(
        "{rows} rows cannot be learnt by heart: trained on alone, their loss is not finite after \
         {step} steps; lower the learning rate ({learning_rate:.2e}), or take weights of higher \
         precision"
    )]
    RehearsalDiverged {
        rows: usize,
        step: usize,
        learning_rate: f64,
    },
    #[error(
        "{what} is not finite at step {step}: a lower learning rate, a longer warm-up or weights of \
         higher precision may help"
    )]
    Diverged {
        /// Counted from 1, as events count them.
        step: usize,
        /// The loss, or the gradient of a tensor by its name.
        what: String,
    },
    #[error("cannot use the checkpoint `{}`: {reason}", path.display())]
    Checkpoint {
        path: std::path::PathBuf,
        reason: String,
    },
    #[error("the model failed in training")]
    Decoder(#[from] DecoderError),
    #[error("a tensor operation failed in training")]
    Tensor(#[from] candle_core::Error),
}
