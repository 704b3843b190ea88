//! Trains a decoder: a low-rank adapter or all weights. What a step learns from is
//! [`DecoderLearner::gradients`]; the loop around it is `training.rs`.

mod error;
mod event;
mod identity;
mod learning_rate;
pub(crate) mod optimizer;
mod parameters;
#[cfg(test)]
mod parity_tests;
mod proof;
#[cfg(test)]
mod resume_tests;
mod settings;
#[cfg(test)]
mod tests;

use distill_student::decoder::Decoder;
use distill_student::lora::LoraAdapter;
use distill_student::weights::DecoderWeights;

use crate::objective;
pub use crate::objective::{TrainExample, packed_loss};
pub use error::TrainError;
pub use event::{Proof, TrainEvent};
pub use learning_rate::{RangeTest, default_learning_rate, learning_rate_range_test};
use optimizer::AdamW;
use parameters::Parameters;
pub use settings::{Checkpointing, Method, Proofs, ScheduleShape, TrainSettings};

use crate::training::batches::{BatchSize, Batches, in_order};
use crate::training::{Gradients, Learner, TrainingLoop, census, sums::Sums, variables::Variables};

/// Everything that a training run reads.
pub struct TrainRequest<'a> {
    pub weights: &'a DecoderWeights,
    pub settings: &'a TrainSettings,
    pub train: &'a [TrainExample],
    /// Selects the best weights and stops early; empty means that the last weights are kept.
    pub validation: &'a [TrainExample],
    /// An adapter to go on from, of any origin; none draws a new one.
    pub initial: Option<&'a LoraAdapter>,
    /// Where to save; a matching checkpoint found there is resumed.
    pub checkpointing: Option<Checkpointing>,
    /// Asked between steps.
    pub cancelled: &'a dyn Fn() -> bool,
}

/// What came out, and how it got there.
#[derive(Debug, Clone)]
pub struct TrainOutcome {
    pub trained: Trained,
    pub summary: TrainSummary,
}

#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "one for each training, and never many at once"
)]
pub enum Trained {
    Lora(LoraAdapter),
    Full(DecoderWeights),
}

/// Figures of a finished run; a resumed run gives the same ones as an unbroken run.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainSummary {
    pub steps: usize,
    pub examples: usize,
    pub trainable_parameters: usize,
    /// Tokens run through the model in training, prompts included.
    pub tokens_seen: u64,
    /// Loss of the last step's batch.
    pub final_training_loss: f64,
    /// Where the kept weights come from; none without validation rows.
    pub best_step: Option<usize>,
    pub best_validation_loss: Option<f64>,
    pub stopped_early: bool,
    /// Hash of the weights that training began from.
    pub base_sha256: String,
}

/// Trains to the end, to an early stop or to a cancellation. The same request gives the same
/// bytes, whatever the number of threads and however often it was interrupted and resumed.
pub fn train_decoder(
    request: &TrainRequest<'_>,
    on_event: &mut dyn FnMut(TrainEvent),
) -> Result<TrainOutcome, TrainError> {
    check(request)?;
    let (learner, summary) = trainer(request)?.run(on_event)?;
    Ok(TrainOutcome {
        trained: learner.parameters.into_trained()?,
        summary,
    })
}

/// Refuses settings and examples that cannot be trained.
fn check(request: &TrainRequest<'_>) -> Result<(), TrainError> {
    request.settings.check()?;
    check_examples("training", request.train, request.weights)?;
    check_examples("validation", request.validation, request.weights)?;
    if request.train.is_empty() {
        return Err(TrainError::NoExamples);
    }
    Ok(())
}

fn check_examples(
    set: &'static str,
    examples: &[TrainExample],
    weights: &DecoderWeights,
) -> Result<(), TrainError> {
    let limit = weights.config().max_position_embeddings;
    for (example, row) in examples.iter().enumerate() {
        let tokens = row.tokens.len();
        if tokens > limit {
            return Err(TrainError::TooLong {
                set,
                example,
                tokens,
                limit,
            });
        }
        if let Some(reason) = row.fault() {
            return Err(TrainError::Example {
                set,
                example,
                reason,
            });
        }
        if row.targets() == 0 {
            return Err(TrainError::NoTargets {
                set,
                example,
                tokens,
                loss_from: row.loss_from,
            });
        }
    }
    Ok(())
}

/// A decoder's training under way.
type Trainer<'a> = TrainingLoop<'a, DecoderLearner<'a>>;

fn trainer<'a>(request: &'a TrainRequest<'a>) -> Result<Trainer<'a>, TrainError> {
    let base_sha256 = request.weights.sha256()?;
    let checkpointing = request.checkpointing.as_ref();
    let checkpointing = checkpointing
        .map(|to| Ok::<_, TrainError>((to, identity::run_hash(request, &base_sha256)?)))
        .transpose()?;
    let learner = DecoderLearner::new(request)?;
    let (settings, cancelled) = (request.settings, request.cancelled);
    TrainingLoop::new(learner, settings, checkpointing, base_sha256, cancelled)
}

struct DecoderLearner<'a> {
    request: &'a TrainRequest<'a>,
    parameters: Parameters,
    /// Runs on the parameters and records gradients.
    decoder: Decoder,
    /// Runs on the same values and records nothing.
    frozen: Decoder,
    batches: Batches,
    /// Whether gradients were seen to reach what they should.
    counted: bool,
}

impl<'a> DecoderLearner<'a> {
    fn new(request: &'a TrainRequest<'a>) -> Result<Self, TrainError> {
        let settings = request.settings;
        let parameters = Parameters::new(request.weights, settings, request.initial)?;
        let lengths = request.train.iter().map(|row| row.tokens.len()).collect();
        let size = BatchSize::Tokens(settings.batch_tokens);
        Ok(Self {
            decoder: parameters.decoder()?,
            frozen: parameters.frozen_decoder()?,
            batches: Batches::new(lengths, size, settings),
            parameters,
            request,
            counted: false,
        })
    }

    /// Loss, tokens and summed gradients of the batches of one step. The first ones of a run are
    /// counted.
    fn gradients_of(
        &mut self,
        window: &[Vec<&TrainExample>],
        step: usize,
        on_event: &mut dyn FnMut(TrainEvent),
    ) -> Result<Gradients, TrainError> {
        let settings = self.request.settings;
        let weight: f64 = window.iter().flatten().map(|row| row.loss_weight()).sum();
        let tokens = window.iter().flatten().map(|row| row.tokens.len()).sum();
        let mut total = 0.0;
        let mut sums = Sums::default();
        for (batch, rows) in window.iter().enumerate() {
            if let Some(dropout) = self.parameters.dropout() {
                dropout.begin(settings.seed, step as u64, batch as u64);
            }
            let loss = settings.objective.loss(&self.decoder, rows, 1.0 / weight)?;
            let gradients = loss.backward()?;
            if !self.counted {
                let frozen = self.parameters.frozen();
                let variables = self.parameters.variables();
                let counted = census::check(variables, frozen, &gradients, |_| false)?;
                on_event(TrainEvent::Proved(Proof::Census {
                    trained: counted.trained,
                    frozen: counted.frozen,
                }));
                self.counted = true;
            }
            let variables = self.parameters.variables();
            sums.add(variables, &gradients)?;
            total += f64::from(loss.to_scalar::<f32>()?);
        }
        Ok(Gradients {
            loss: total,
            tokens,
            sums,
        })
    }
}

impl Learner for DecoderLearner<'_> {
    fn variables(&self) -> &Variables {
        self.parameters.variables()
    }

    fn examples(&self) -> usize {
        self.request.train.len()
    }

    fn tokens_per_epoch(&self) -> usize {
        self.request.train.iter().map(|row| row.tokens.len()).sum()
    }

    fn steps(&self) -> usize {
        self.batches.steps()
    }

    fn ends_epoch(&self, steps: usize) -> bool {
        self.batches.ends_epoch(steps)
    }

    fn prove(
        &mut self,
        optimizer: &mut AdamW,
        on_event: &mut dyn FnMut(TrainEvent),
    ) -> Result<(), TrainError> {
        self.show(optimizer, on_event)
    }

    fn gradients(
        &mut self,
        step: usize,
        on_event: &mut dyn FnMut(TrainEvent),
    ) -> Result<Gradients, TrainError> {
        let window = self.batches.window(self.request.train, step);
        let settings = self.request.settings;
        // A function of the run's seed and of the step, so that a resumed run draws what an
        // unbroken one does.
        let seed = objective::step_seed(settings.seed, step);
        let drawn = settings.objective.drawn(&window, &self.frozen, seed)?;
        let window = match &drawn {
            Some(batches) => batches.iter().map(|rows| rows.iter().collect()).collect(),
            None => window,
        };
        self.gradients_of(&window, step, on_event)
    }

    fn validation_loss(&self) -> Result<Option<f64>, TrainError> {
        let rows = self.request.validation;
        if rows.is_empty() {
            return Ok(None);
        }
        let weight: f64 = rows.iter().map(TrainExample::loss_weight).sum();
        let mut total = 0.0;
        let batch_tokens = self.request.settings.batch_tokens;
        for batch in in_order(rows, |row| row.tokens.len(), batch_tokens) {
            // Weight 1: a sum of nats, so that the mean is taken once.
            let loss = packed_loss(&self.frozen, &batch, 1.0)?;
            total += f64::from(loss.to_scalar::<f32>()?);
        }
        Ok(Some(total / weight))
    }
}
