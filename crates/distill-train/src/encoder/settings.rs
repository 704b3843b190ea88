//! What a caller may set.

use crate::{ScheduleShape, TrainError, TrainSettings};

/// The defaults are in the ranges that BERT was fine-tuned in (Devlin et al. 2018, appendix A.3).
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderSettings {
    /// Passes over the training examples.
    pub epochs: usize,
    /// Ends earlier than the epochs do; the schedule fits itself to it.
    pub max_steps: Option<usize>,
    /// Peak, reached after warm-up.
    pub learning_rate: f64,
    pub schedule: ScheduleShape,
    /// Share of all steps over which the learning rate rises.
    pub warmup: f64,
    /// Decoupled; on matrices only.
    pub weight_decay: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Largest global norm of the gradient; 0 leaves it as it is.
    pub clip: f64,
    /// Rows of one step.
    pub batch_rows: usize,
    /// Epochs without a better validation loss before training stops.
    pub patience: Option<usize>,
    pub seed: u64,
}

impl Default for EncoderSettings {
    fn default() -> Self {
        Self {
            epochs: 4,
            max_steps: None,
            learning_rate: 5e-5,
            schedule: ScheduleShape::Linear,
            warmup: 0.1,
            weight_decay: 0.01,
            beta2: 0.999,
            clip: 1.0,
            batch_rows: 16,
            patience: None,
            seed: 17,
        }
    }
}

impl EncoderSettings {
    /// Those that the schedule of a decoder reads.
    pub(super) fn schedule(&self) -> TrainSettings {
        TrainSettings {
            learning_rate: self.learning_rate,
            schedule: self.schedule,
            warmup: self.warmup,
            ..TrainSettings::default()
        }
    }

    /// Refuses what cannot work, by name.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        let counts = [
            ("epochs", self.epochs),
            ("batch_rows", self.batch_rows),
            ("max_steps", self.max_steps.unwrap_or(1)),
            ("patience", self.patience.unwrap_or(1)),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return Err(TrainError::Setting {
                name,
                value: "0".to_owned(),
                reason: "it must be at least 1",
            });
        }
        let numbers = [
            ("learning_rate", self.learning_rate, 1e3),
            ("warmup", self.warmup, 1.0),
            ("weight_decay", self.weight_decay, 1e3),
            ("beta2", self.beta2, 1.0),
            ("clip", self.clip, f64::MAX),
        ];
        for (name, value, most) in numbers {
            if !(0.0..=most).contains(&value) {
                return Err(TrainError::Setting {
                    name,
                    value: value.to_string(),
                    reason: "it is outside its range",
                });
            }
        }
        Ok(())
    }
}
