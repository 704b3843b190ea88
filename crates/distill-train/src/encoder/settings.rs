//! What a caller may set.

use crate::{Method, Proofs, ScheduleShape, TrainError, TrainSettings};

/// The defaults are in the ranges that BERT was fine-tuned in (Devlin et al. 2018, appendix A.3).
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderSettings {
    /// An adapter trains the head's classifier whole beside its updates.
    pub method: Method,
    /// Values are dropped where the model's configuration says so.
    pub dropout: bool,
    /// Passes over the training examples.
    pub epochs: usize,
    /// Ends earlier than the epochs do; the schedule fits itself to it.
    pub max_steps: Option<usize>,
    /// Peak, reached after warm-up.
    pub learning_rate: f64,
    pub schedule: ScheduleShape,
    /// Share of all steps over which the learning rate rises.
    pub warmup: f64,
    /// Where the schedule ends, as a share of the peak.
    pub final_learning_rate: f64,
    /// Decoupled; on matrices only.
    pub weight_decay: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Largest global norm of the gradient; 0 leaves it as it is.
    pub clip: f64,
    /// Rows of one batch.
    pub batch_rows: usize,
    /// Batches per optimizer step.
    pub accumulation: usize,
    /// Steps between validations; none means at the end of each epoch.
    pub validate_every: Option<usize>,
    /// Validations without a better loss before training stops.
    pub patience: Option<usize>,
    /// Rows that are learnt by heart first, on weights that are then put back; 0 for none.
    pub overfit_rows: usize,
    /// Steps that this may take.
    pub overfit_steps: usize,
    pub seed: u64,
}

impl Default for EncoderSettings {
    fn default() -> Self {
        Self {
            method: Method::Full,
            dropout: true,
            epochs: 4,
            max_steps: None,
            learning_rate: 5e-5,
            schedule: ScheduleShape::Linear,
            warmup: 0.1,
            final_learning_rate: 0.0,
            weight_decay: 0.01,
            beta2: 0.999,
            clip: 1.0,
            batch_rows: 16,
            accumulation: 1,
            validate_every: None,
            patience: None,
            overfit_rows: 0,
            overfit_steps: 0,
            seed: 17,
        }
    }
}

impl EncoderSettings {
    /// In the form of the loop that every training shares.
    pub(super) fn shared(&self) -> TrainSettings {
        TrainSettings {
            method: self.method.clone(),
            epochs: self.epochs,
            max_steps: self.max_steps,
            learning_rate: self.learning_rate,
            schedule: self.schedule,
            warmup: self.warmup,
            final_learning_rate: self.final_learning_rate,
            weight_decay: self.weight_decay,
            beta2: self.beta2,
            clip: self.clip,
            // Its batches are of rows.
            batch_tokens: self.batch_rows,
            accumulation: self.accumulation,
            validate_every: self.validate_every,
            patience: self.patience,
            proofs: Proofs {
                stop_tokens: Vec::new(),
                overfit_rows: self.overfit_rows,
                overfit_steps: self.overfit_steps,
            },
            seed: self.seed,
            ..TrainSettings::default()
        }
    }

    /// Refuses what cannot work, by name.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        if self.batch_rows == 0 {
            return Err(TrainError::Setting {
                name: "batch_rows",
                value: "0".to_owned(),
                reason: "it must be at least 1",
            });
        }
        self.shared().check()
    }
}
