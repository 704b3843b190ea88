//! Trains a decoder: a low-rank adapter or all weights. The loop is [`Trainer::run`] and reads top to bottom:
//! batches, loss, backward, step, event.

mod batches;
mod census;
mod checkpoint;
mod error;
mod event;
mod learning_rate;
pub(crate) mod optimizer;
mod parameters;
#[cfg(test)]
mod parity_tests;
mod proof;
#[cfg(test)]
mod resume_tests;
pub(crate) mod schedule;
mod settings;
#[cfg(test)]
mod tests;

use std::time::Instant;

use distill_student::decoder::Decoder;
use distill_student::lora::LoraAdapter;
use distill_student::weights::DecoderWeights;

use crate::objective;
pub use crate::objective::{TrainExample, packed_loss};
use batches::Batches;
pub(crate) use batches::in_order;
use census::Census;
use checkpoint::{Best, Progress, Store};
pub use error::TrainError;
pub use event::{Proof, TrainEvent};
pub use learning_rate::{RangeTest, default_learning_rate, learning_rate_range_test};
use optimizer::AdamW;
use parameters::Parameters;
use schedule::Schedule;
pub use settings::{Checkpointing, Method, Proofs, ScheduleShape, TrainSettings};

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
    Trainer::new(request)?.run(on_event)
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

struct StepFigures {
    loss: f64,
    learning_rate: f64,
    /// Before clipping.
    gradient_norm: f64,
    tokens: usize,
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
        let parameters = Parameters::new(request.weights, settings, request.initial)?;
        let batches = Batches::new(request.train, settings);
        let steps = batches.steps();
        let base_sha256 = request.weights.sha256()?;
        let store = request
            .checkpointing
            .as_ref()
            .map(|checkpointing| Store::new(checkpointing, request, &base_sha256))
            .transpose()?;
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
        if self.progress.step == 0 {
            self.prove(on_event)?;
        }
        let mut census = None;
        while self.progress.step < steps && !self.progress.stopped_early {
            if (self.request.cancelled)() {
                self.save(on_event)?;
                return Err(TrainError::Cancelled {
                    step: self.progress.step,
                });
            }
            let started = Instant::now();
            let window = self.batches.window(self.request.train, self.progress.step);
            let objective = &self.request.settings.objective;
            let drawn = objective.drawn(&window, &self.frozen, self.draw_seed())?;
            let window = match &drawn {
                Some(batches) => batches.iter().map(|rows| rows.iter().collect()).collect(),
                None => window,
            };
            let figures = self.step(&window, &mut census, on_event)?;
            on_event(TrainEvent::Step {
                step: self.progress.step,
                steps,
                loss: figures.loss,
                learning_rate: figures.learning_rate,
                gradient_norm: figures.gradient_norm,
                tokens: figures.tokens,
                seconds: started.elapsed().as_secs_f64(),
            });
            self.validate(on_event)?;
            self.save_when_due(on_event)?;
        }
        self.finish()
    }

    /// One optimizer step.
    fn step(
        &mut self,
        window: &[Vec<&TrainExample>],
        census: &mut Option<Census>,
        on_event: &mut dyn FnMut(TrainEvent),
    ) -> Result<StepFigures, TrainError> {
        let (loss, tokens, mut gradients) = self.gradients(window, census, on_event)?;
        let learning_rate = self.schedule.learning_rate(self.progress.step);
        let gradient_norm = optimizer::clip(&mut gradients, self.request.settings.clip);
        if let Some(what) = self.not_finite(loss, gradient_norm, &gradients) {
            let step = self.progress.step + 1;
            return Err(TrainError::Diverged { step, what });
        }
        self.optimizer
            .step(&self.parameters, &gradients, learning_rate)?;
        self.progress.step += 1;
        self.progress.tokens_seen += tokens as u64;
        self.progress.loss = loss;
        Ok(StepFigures {
            loss,
            learning_rate,
            gradient_norm,
            tokens,
        })
    }

    /// What of a step is not finite, if anything.
    fn not_finite(&self, loss: f64, norm: f64, gradients: &[Vec<f32>]) -> Option<String> {
        if !loss.is_finite() {
            return Some("the loss".to_owned());
        }
        if norm.is_finite() {
            return None;
        }
        let finite = |gradient: &Vec<f32>| gradient.iter().all(|value| value.is_finite());
        let mut tensors = self.parameters.iter().zip(gradients);
        let found = tensors.find(|(_, gradient)| !finite(gradient));
        Some(match found {
            Some(((name, _), _)) => format!("the gradient of `{name}`"),
            None => "the norm of the gradient".to_owned(),
        })
    }

    /// Seed of whatever the next step draws: a function of the run's seed and of the step, so that
    /// a resumed run draws what an unbroken one does.
    fn draw_seed(&self) -> u64 {
        let settings = self.request.settings;
        objective::step_seed(settings.seed, self.progress.step)
    }

    /// Loss, tokens and summed gradients of one optimizer step. The first one of a run is counted.
    fn gradients(
        &self,
        window: &[Vec<&TrainExample>],
        census: &mut Option<Census>,
        on_event: &mut dyn FnMut(TrainEvent),
    ) -> Result<(f64, usize, Vec<Vec<f32>>), TrainError> {
        let settings = self.request.settings;
        let weight: f64 = window.iter().flatten().map(|row| row.loss_weight()).sum();
        let tokens = window.iter().flatten().map(|row| row.tokens.len()).sum();
        let mut total = 0.0;
        let mut sums: Vec<Vec<f32>> = Vec::new();
        for (batch, rows) in window.iter().enumerate() {
            if let Some(dropout) = self.parameters.dropout() {
                dropout.begin(settings.seed, self.progress.step as u64, batch as u64);
            }
            let loss = settings.objective.loss(&self.decoder, rows, 1.0 / weight)?;
            let gradients = loss.backward()?;
            if census.is_none() {
                let counted = census::check(&self.parameters, &gradients)?;
                on_event(TrainEvent::Proved(Proof::Census {
                    trained: counted.trained,
                    frozen: counted.frozen,
                }));
                *census = Some(counted);
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
        if !loss.is_finite() {
            let what = "the loss on the validation rows".to_owned();
            return Err(TrainError::Diverged { step, what });
        }
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
        let weight: f64 = rows.iter().map(TrainExample::loss_weight).sum();
        let mut total = 0.0;
        for batch in batches::in_order(rows, self.request.settings.batch_tokens) {
            // Weight 1: a sum of nats, so that the mean is taken once.
            let loss = packed_loss(&self.frozen, &batch, 1.0)?;
            total += f64::from(loss.to_scalar::<f32>()?);
        }
        Ok(total / weight)
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
