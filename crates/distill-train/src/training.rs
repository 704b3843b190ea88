//! The loop of every training by gradients, [`TrainingLoop::run`]: proofs, then step, event,
//! validation and checkpoint until the end, an early stop or a cancellation. What a step learns
//! from is the [`Learner`]'s.

pub(crate) mod batches;
pub(crate) mod census;
pub(crate) mod checkpoint;
pub(crate) mod placed;
pub(crate) mod rehearsal;
pub(crate) mod schedule;
pub(crate) mod sums;
pub(crate) mod variables;

use std::time::Instant;

use crate::decoder::optimizer::AdamW;
use crate::{Checkpointing, TrainError, TrainEvent, TrainSettings, TrainSummary};
use checkpoint::{Best, Progress, Store};
use schedule::Schedule;
use sums::Sums;
use variables::Variables;

/// What of a step's batches the optimizer sees.
pub(crate) struct Gradients {
    pub(crate) loss: f64,
    /// Tokens run through the model.
    pub(crate) tokens: usize,
    /// In the order of the variables.
    pub(crate) sums: Sums,
}

/// A class of students in training.
pub(crate) trait Learner {
    fn variables(&self) -> &Variables;

    /// Rows that are trained on.
    fn examples(&self) -> usize;

    fn tokens_per_epoch(&self) -> usize;

    /// Steps of the whole run.
    fn steps(&self) -> usize;

    /// Whether an epoch is complete after this many steps.
    fn ends_epoch(&self, steps: usize) -> bool;

    /// Shows before the first step what has to hold. Whatever it moves, it puts back; the optimizer
    /// is made anew afterwards.
    fn prove(
        &mut self,
        optimizer: &mut AdamW,
        on_event: &mut dyn FnMut(TrainEvent),
    ) -> Result<(), TrainError>;

    /// Loss and gradients of a step, counted from 0. The same step gives the same ones.
    fn gradients(
        &mut self,
        step: usize,
        on_event: &mut dyn FnMut(TrainEvent),
    ) -> Result<Gradients, TrainError>;

    /// The mean loss over the validation rows, nothing dropped; none where there are no rows.
    fn validation_loss(&self) -> Result<Option<f64>, TrainError>;
}

/// Figures of one step.
pub(crate) struct StepFigures {
    pub(crate) loss: f64,
    pub(crate) learning_rate: f64,
    /// Before clipping.
    pub(crate) gradient_norm: f64,
    pub(crate) tokens: usize,
}

/// A training under way.
pub(crate) struct TrainingLoop<'a, L> {
    pub(crate) learner: L,
    settings: TrainSettings,
    pub(crate) optimizer: AdamW,
    schedule: Schedule,
    pub(crate) progress: Progress,
    /// With the steps between two checkpoints.
    store: Option<(Store, usize)>,
    cancelled: &'a dyn Fn() -> bool,
    base_sha256: String,
}

impl<'a, L: Learner> TrainingLoop<'a, L> {
    /// Begins, or goes on from a checkpoint of the same run. `run` is a hash of everything that
    /// decides what training does.
    pub(crate) fn new(
        learner: L,
        settings: &TrainSettings,
        checkpointing: Option<(&Checkpointing, String)>,
        base_sha256: String,
        cancelled: &'a dyn Fn() -> bool,
    ) -> Result<Self, TrainError> {
        let mut begun = Self {
            optimizer: AdamW::new(settings, learner.variables())?,
            schedule: Schedule::new(settings, learner.steps()),
            progress: Progress::default(),
            store: checkpointing.map(|(to, run)| (Store::new(to, run), to.every_steps.max(1))),
            settings: settings.clone(),
            learner,
            cancelled,
            base_sha256,
        };
        if let Some((store, _)) = &begun.store {
            store.load(
                begun.learner.variables(),
                &mut begun.optimizer,
                &mut begun.progress,
            )?;
        }
        Ok(begun)
    }

    /// Trains to the end; the learner then holds the weights that are kept.
    pub(crate) fn run(
        mut self,
        on_event: &mut dyn FnMut(TrainEvent),
    ) -> Result<(L, TrainSummary), TrainError> {
        let steps = self.learner.steps();
        on_event(TrainEvent::Started {
            steps,
            tokens_per_epoch: self.learner.tokens_per_epoch(),
            trainable_parameters: self.learner.variables().count(),
            resumed_at: (self.progress.step > 0).then_some(self.progress.step),
        });
        if self.progress.step == 0 {
            self.learner.prove(&mut self.optimizer, on_event)?;
            self.optimizer = AdamW::new(&self.settings, self.learner.variables())?;
        }
        while self.progress.step < steps && !self.progress.stopped_early {
            if (self.cancelled)() {
                self.save(on_event)?;
                return Err(TrainError::Cancelled {
                    step: self.progress.step,
                });
            }
            let started = Instant::now();
            let gradients = self.learner.gradients(self.progress.step, on_event)?;
            let figures = self.advance(gradients)?;
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
    pub(crate) fn advance(&mut self, gradients: Gradients) -> Result<StepFigures, TrainError> {
        let Gradients {
            loss,
            tokens,
            mut sums,
        } = gradients;
        let learning_rate = self.schedule.learning_rate(self.progress.step);
        let gradient_norm = sums.clip(self.settings.clip)?;
        if let Some(what) = self.not_finite(loss, gradient_norm, &sums)? {
            let step = self.progress.step + 1;
            return Err(TrainError::Diverged { step, what });
        }
        self.optimizer
            .step(self.learner.variables(), &sums, learning_rate)?;
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
    fn not_finite(
        &self,
        loss: f64,
        norm: f64,
        gradients: &Sums,
    ) -> Result<Option<String>, TrainError> {
        if !loss.is_finite() {
            return Ok(Some("the loss".to_owned()));
        }
        if norm.is_finite() {
            return Ok(None);
        }
        let variables = self.learner.variables();
        let finite = |gradient: &Vec<f32>| gradient.iter().all(|value| value.is_finite());
        let gradients = gradients.values(variables)?;
        let found = variables.iter().zip(&gradients);
        let found = found.into_iter().find(|(_, gradient)| !finite(gradient));
        Ok(Some(match found {
            Some(((name, _), _)) => format!("the gradient of `{name}`"),
            None => "the norm of the gradient".to_owned(),
        }))
    }

    /// Validates on schedule and at the end, keeps the best and decides on an early stop.
    fn validate(&mut self, on_event: &mut dyn FnMut(TrainEvent)) -> Result<(), TrainError> {
        let step = self.progress.step;
        let due = match self.settings.validate_every {
            Some(every) => step.is_multiple_of(every),
            None => self.learner.ends_epoch(step),
        };
        if !(due || step == self.learner.steps()) {
            return Ok(());
        }
        let Some(loss) = self.learner.validation_loss()? else {
            return Ok(());
        };
        if !loss.is_finite() {
            let what = "the loss on the validation rows".to_owned();
            return Err(TrainError::Diverged { step, what });
        }
        let best = self.progress.best.as_ref().is_none_or(|b| loss < b.loss);
        if best {
            let values = self.learner.variables().values()?;
            self.progress.best = Some(Best { step, loss, values });
            self.progress.without_gain = 0;
        } else {
            self.progress.without_gain += 1;
        }
        on_event(TrainEvent::Validated { step, loss, best });
        let patience = self.settings.patience;
        if patience.is_some_and(|patience| self.progress.without_gain >= patience) {
            self.progress.stopped_early = true;
            let best_step = self.progress.best.as_ref().map_or(step, |b| b.step);
            on_event(TrainEvent::StoppedEarly { step, best_step });
        }
        Ok(())
    }

    fn save_when_due(&self, on_event: &mut dyn FnMut(TrainEvent)) -> Result<(), TrainError> {
        match &self.store {
            Some((_, every)) if self.progress.step.is_multiple_of(*every) => self.save(on_event),
            _ => Ok(()),
        }
    }

    fn save(&self, on_event: &mut dyn FnMut(TrainEvent)) -> Result<(), TrainError> {
        if let Some((store, _)) = &self.store {
            store.save(self.learner.variables(), &self.optimizer, &self.progress)?;
            on_event(TrainEvent::Checkpointed {
                step: self.progress.step,
            });
        }
        Ok(())
    }

    /// Puts the best values in place, where some were kept.
    pub(crate) fn finish(self) -> Result<(L, TrainSummary), TrainError> {
        let best = self.progress.best;
        if let Some(best) = &best {
            self.learner.variables().set(&best.values)?;
        }
        let summary = TrainSummary {
            steps: self.progress.step,
            examples: self.learner.examples(),
            trainable_parameters: self.learner.variables().count(),
            tokens_seen: self.progress.tokens_seen,
            final_training_loss: self.progress.loss,
            best_step: best.as_ref().map(|b| b.step),
            best_validation_loss: best.as_ref().map(|b| b.loss),
            stopped_early: self.progress.stopped_early,
            base_sha256: self.base_sha256,
        };
        Ok((self.learner, summary))
    }
}
