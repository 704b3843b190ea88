//! What a caller may set.

use std::path::PathBuf;

use super::TrainError;

/// Which weights move.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Low-rank updates on every projection; the base stays as it is.
    Lora { rank: usize, alpha: f64 },
    /// Every weight.
    Full,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TrainSettings {
    pub method: Method,
    /// Passes over the training examples.
    pub epochs: usize,
    /// Ends earlier than the epochs do; the schedule fits itself to it.
    pub max_steps: Option<usize>,
    /// Peak, reached after warm-up.
    pub learning_rate: f64,
    /// Share of all steps over which the learning rate rises.
    pub warmup: f64,
    /// Where the cosine ends, as a share of the peak.
    pub final_learning_rate: f64,
    /// Decoupled; on matrices only.
    pub weight_decay: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Largest global norm of the gradient; 0 leaves it as it is.
    pub clip: f64,
    /// Tokens of one packed batch. A longer row makes a batch of its own.
    pub batch_tokens: usize,
    /// Batches per optimizer step.
    pub accumulation: usize,
    /// Steps between validations; none means at the end of each epoch.
    pub validate_every: Option<usize>,
    /// Validations without a better loss before training stops.
    pub patience: Option<usize>,
    pub seed: u64,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            method: Method::Lora {
                rank: 16,
                alpha: 32.0,
            },
            epochs: 4,
            max_steps: None,
            learning_rate: 2e-3,
            warmup: 0.05,
            final_learning_rate: 0.0,
            weight_decay: 0.0,
            beta2: 0.999,
            clip: 1.0,
            batch_tokens: 4096,
            accumulation: 1,
            validate_every: None,
            patience: None,
            seed: 17,
        }
    }
}

impl TrainSettings {
    /// Every setting as bits, for the hash that ties a checkpoint to its run. Destructured, so
    /// that a new setting cannot be forgotten.
    pub(super) fn bits(&self) -> Vec<u64> {
        let Self {
            method,
            epochs,
            max_steps,
            learning_rate,
            warmup,
            final_learning_rate,
            weight_decay,
            beta2,
            clip,
            batch_tokens,
            accumulation,
            validate_every,
            patience,
            seed,
        } = self;
        let (rank, alpha) = match *method {
            Method::Lora { rank, alpha } => (rank, alpha),
            Method::Full => (0, 0.0),
        };
        let optional = |value: &Option<usize>| value.map_or(u64::MAX, |value| value as u64);
        let mut bits = vec![rank as u64, *epochs as u64, *batch_tokens as u64];
        bits.extend([*accumulation as u64, *seed, optional(max_steps)]);
        bits.extend([optional(validate_every), optional(patience)]);
        bits.extend([alpha, *learning_rate, *warmup, *final_learning_rate].map(f64::to_bits));
        bits.extend([*weight_decay, *beta2, *clip].map(f64::to_bits));
        bits
    }

    /// Refuses what cannot work, by name.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        let rank = match self.method {
            Method::Lora { rank, .. } => rank,
            Method::Full => 1,
        };
        let counts = [
            ("rank", rank),
            ("epochs", self.epochs),
            ("batch_tokens", self.batch_tokens),
            ("accumulation", self.accumulation),
            ("max_steps", self.max_steps.unwrap_or(1)),
            ("validate_every", self.validate_every.unwrap_or(1)),
            ("patience", self.patience.unwrap_or(1)),
        ];
        for (name, value) in counts {
            if value == 0 {
                return Err(TrainError::Setting {
                    name,
                    value: value.to_string(),
                    reason: "it must be at least 1",
                });
            }
        }
        let numbers = [
            ("learning_rate", self.learning_rate, 1e3),
            ("warmup", self.warmup, 1.0),
            ("final_learning_rate", self.final_learning_rate, 1.0),
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

/// Where and how often progress is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpointing {
    /// Made if it is not there; holds one file.
    pub directory: PathBuf,
    pub every_steps: usize,
}
