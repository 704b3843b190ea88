//! Trains a decoder: a low-rank adapter or all weights. The loop is [`Trainer::run`] and reads top to bottom:
//! batches, loss, backward, step, event.

mod batches;
mod census;
mod checkpoint;
mod optimizer;
mod parameters;
#[cfg(test)]
mod resume_tests;
mod schedule;
mod settings;
#[cfg(test)]
mod tests;

use std::time::Instant;

use distill_student::decoder::{Decoder, DecoderError};
use distill_student::lora::LoraAdapter;
use distill_student::weights::DecoderWeights;

pub use crate::objective::{TrainExample, packed_loss};
use batches::Batches;
use checkpoint::{Best, Progress, Store};
use optimizer::AdamW;
use parameters::Parameters;
use schedule::Schedule;
pub use settings::{Checkpointing, Method, TrainSettings};

/// Everything that a training run reads.
pub struct TrainRequest<'a> {
    pub weights: &'a DecoderWeights,
    pub settings: &'a TrainSettings,
    pub train: &'a [TrainExample],
    /// Selects the best weights and stops early; empty means that the last weights are kept.
    pub validation: &'a [TrainExample],
    /// Where to save; a matching checkpoint found there is resumed.
    pub checkpointing: Option<Checkpointing>,
    /// Asked between steps.
    pub cancelled: &'a dyn Fn() -> bool,
}

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
}

/// What came out, and how it got there.
#[derive(Debug, Clone)]
pub struct TrainOutcome {
    pub trained: Trained,
    pub summary: TrainSummary,
}

#[derive(Debug, Clone)]
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

#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error("training was cancelled after step {step}")]
    Cancelled { step: usize },
    #[error("there are no training examples")]
    NoExamples,
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
    #[error("training setting `{name}` is {value}: {reason}")]
    Setting {
        name: &'static str,
        value: String,
        reason: &'static str,
    },
    #[error("gradients do not reach what they should: {reason}")]
    Census { reason: String },
    #[error("the loss or its gradient is not finite at step {step}")]
    Diverged { step: usize },
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

/// Trains to the end, to an early stop or to a cancellation. The same request gives the same
/// bytes, whatever the number of threads and however often it was interrupted and resumed.
pub fn train_decoder(
    request: &TrainRequest<'_>,
    on_event: &mut dyn FnMut(TrainEvent),
) -> Result<TrainOutcome, TrainError> {
    request.settings.check()?;
    check_examples("training", request.train, request.weights)?;
    check_examples("validation", request.validation, request.weights)?;
    if request.train.is_empty() {
        return Err(TrainError::NoExamples);
    }
    Trainer::new(request)?.run(on_event)
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

struct Trainer<'a> {
    request: &'a TrainRequest<'a>,
    parameters: Parameters,
    /// Runs on the parameters and records gradients.
    decoder: Decoder,
    /// Runs on the same values and records nothing.
    frozen: Decoder,
    optimizer: AdamW,
    schedule: Schedule,
    batches: Batches,
    store: Option<Store>,
    progress: Progress,
    base_sha256: String,
}

impl<'a> Trainer<'a> {
    fn new(request: &'a TrainRequest<'a>) -> Result<Self, TrainError> {
        let settings = request.settings;
        let parameters = Parameters::new(request.weights, settings)?;
        let batches = Batches::new(request.train, settings);
        let steps = batches.steps();
        let base_sha256 = request.weights.sha256()?;
        let store = request
            .checkpointing
            .as_ref()
            .map(|checkpointing| Store::new(checkpointing, request, &base_sha256));
        let mut trainer = Self {
            decoder: parameters.decoder()?,
            frozen: parameters.frozen_decoder()?,
            optimizer: AdamW::new(settings, &parameters),
            schedule: Schedule::new(settings, steps),
            progress: Progress::default(),
            parameters,
            batches,
            store,
            base_sha256,
            request,
        };
        if let Some(store) = &trainer.store {
            store.load(
                &trainer.parameters,
                &mut trainer.optimizer,
                &mut trainer.progress,
            )?;
        }
        Ok(trainer)
    }

    fn run(mut self, on_event: &mut dyn FnMut(TrainEvent)) -> Result<TrainOutcome, TrainError> {
        let steps = self.batches.steps();
        on_event(TrainEvent::Started {
            steps,
            tokens_per_epoch: self.request.train.iter().map(|e| e.tokens.len()).sum(),
            trainable_parameters: self.parameters.count(),
            resumed_at: (self.progress.step > 0).then_some(self.progress.step),
        });
        let mut counted = false;
        while self.progress.step < steps && !self.progress.stopped_early {
            if (self.request.cancelled)() {
                self.save(on_event)?;
                return Err(TrainError::Cancelled {
                    step: self.progress.step,
                });
            }
            let started = Instant::now();
            let window = self.batches.window(self.request.train, self.progress.step);
            let (loss, tokens, mut gradients) = self.gradients(&window, &mut counted)?;
            let learning_rate = self.schedule.learning_rate(self.progress.step);
            let gradient_norm = optimizer::clip(&mut gradients, self.request.settings.clip);
            if !loss.is_finite() || !gradient_norm.is_finite() {
                return Err(TrainError::Diverged {
                    step: self.progress.step,
                });
            }
            self.optimizer
                .step(&self.parameters, &gradients, learning_rate)?;
            self.progress.step += 1;
            self.progress.tokens_seen += tokens as u64;
            self.progress.loss = loss;
            on_event(TrainEvent::Step {
                step: self.progress.step,
                steps,
                loss,
                learning_rate,
                gradient_norm,
                tokens,
                seconds: started.elapsed().as_secs_f64(),
            });
            self.validate(on_event)?;
            self.save_when_due(on_event)?;
        }
        self.finish()
    }

    /// Loss, tokens and summed gradients of one optimizer step.
    fn gradients(
        &self,
        window: &[Vec<&TrainExample>],
        counted: &mut bool,
    ) -> Result<(f64, usize, Vec<Vec<f32>>), TrainError> {
        let unmasked: usize = window.iter().flatten().map(|row| row.targets()).sum();
        let tokens = window.iter().flatten().map(|row| row.tokens.len()).sum();
        let mut total = 0.0;
        let mut sums: Vec<Vec<f32>> = Vec::new();
        for rows in window {
            let loss = packed_loss(&self.decoder, rows, 1.0 / unmasked as f64)?;
            let gradients = loss.backward()?;
            if !*counted {
                census::check(&self.parameters, &gradients)?;
                *counted = true;
            }
            self.parameters.add_gradients(&gradients, &mut sums)?;
            total += f64::from(loss.to_scalar::<f32>()?);
        }
        Ok((total, tokens, sums))
    }

    /// Validates on schedule and at the end, keeps the best and decides on an early stop.
    fn validate(&mut self, on_event: &mut dyn FnMut(TrainEvent)) -> Result<(), TrainError> {
        let step = self.progress.step;
        let due = match self.request.settings.validate_every {
            Some(every) => step.is_multiple_of(every),
            None => self.batches.ends_epoch(step),
        };
        if self.request.validation.is_empty() || !(due || step == self.batches.steps()) {
            return Ok(());
        }
        let loss = self.validation_loss()?;
        let best = self.progress.best.as_ref().is_none_or(|b| loss < b.loss);
        if best {
            let values = self.parameters.values()?;
            self.progress.best = Some(Best { step, loss, values });
            self.progress.without_gain = 0;
        } else {
            self.progress.without_gain += 1;
        }
        on_event(TrainEvent::Validated { step, loss, best });
        let patience = self.request.settings.patience;
        if patience.is_some_and(|patience| self.progress.without_gain >= patience) {
            self.progress.stopped_early = true;
            let best_step = self.progress.best.as_ref().map_or(step, |b| b.step);
            on_event(TrainEvent::StoppedEarly { step, best_step });
        }
        Ok(())
    }

    fn validation_loss(&self) -> Result<f64, TrainError> {
        let rows = self.request.validation;
        let unmasked: usize = rows.iter().map(TrainExample::targets).sum();
        let mut total = 0.0;
        for batch in batches::in_order(rows, self.request.settings.batch_tokens) {
            // Weight 1: a sum of nats, so that the mean is taken once.
            let loss = packed_loss(&self.frozen, &batch, 1.0)?;
            total += f64::from(loss.to_scalar::<f32>()?);
        }
        Ok(total / unmasked as f64)
    }

    fn save_when_due(&self, on_event: &mut dyn FnMut(TrainEvent)) -> Result<(), TrainError> {
        match &self.request.checkpointing {
            Some(to) if self.progress.step.is_multiple_of(to.every_steps.max(1)) => {
                self.save(on_event)
            }
            _ => Ok(()),
        }
    }

    fn save(&self, on_event: &mut dyn FnMut(TrainEvent)) -> Result<(), TrainError> {
        if let Some(store) = &self.store {
            store.save(&self.parameters, &self.optimizer, &self.progress)?;
            on_event(TrainEvent::Checkpointed {
                step: self.progress.step,
            });
        }
        Ok(())
    }

    fn finish(self) -> Result<TrainOutcome, TrainError> {
        let best = self.progress.best;
        if let Some(best) = &best {
            self.parameters.set(&best.values)?;
        }
        let summary = TrainSummary {
            steps: self.progress.step,
            examples: self.request.train.len(),
            trainable_parameters: self.parameters.count(),
            tokens_seen: self.progress.tokens_seen,
            final_training_loss: self.progress.loss,
            best_step: best.as_ref().map(|b| b.step),
            best_validation_loss: best.as_ref().map(|b| b.loss),
            stopped_early: self.progress.stopped_early,
            base_sha256: self.base_sha256,
        };
        Ok(TrainOutcome {
            trained: self.parameters.into_trained()?,
            summary,
        })
    }
}
