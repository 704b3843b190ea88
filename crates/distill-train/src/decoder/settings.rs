//! What a caller may set.

use std::path::PathBuf;

use distill_student::device::DeviceChoice;
use distill_student::lora::{LoraConfig, Targets};
use distill_student::ops::Storage;

use super::TrainError;
use crate::objective::Objective;

/// Which weights move.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// Low-rank updates; the base stays as it is.
    Lora(LoraConfig),
    /// Every weight.
    Full,
}

impl Method {
    /// Plain low-rank updates on every projection.
    pub fn lora(rank: usize, alpha: f64) -> Self {
        Self::Lora(LoraConfig {
            rank,
            alpha,
            ..LoraConfig::default()
        })
    }
}

/// How the learning rate goes on after its rise.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum ScheduleShape {
    /// Half a cosine down to the floor (Loshchilov and Hutter 2017, arXiv:1608.03983).
    #[default]
    Cosine,
    /// A straight line down to the floor.
    Linear,
    /// The peak, to the end.
    Constant,
    /// Warm-up, stable, decay: the peak, then over this share of all steps a straight line down to
    /// the floor (Hu et al. 2024, arXiv:2404.06395).
    WarmupStableDecay { decay: f64 },
}

/// What is shown to hold before the first step. Nothing of it changes what is trained.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proofs {
    /// Tokens of which each reply must end in one; empty asks for nothing.
    pub stop_tokens: Vec<u32>,
    /// Rows that are learnt by heart first, on weights that are then put back; 0 for none.
    pub overfit_rows: usize,
    /// Steps that this may take.
    pub overfit_steps: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TrainSettings {
    pub method: Method,
    /// How the frozen matrices of the base are held under an adapter; none: as the checkpoint
    /// stores them. Four bits make it `QLoRA` (Dettmers et al. 2023, arXiv:2305.14314).
    pub base: Option<Storage>,
    /// Where the model runs. What is drawn at the start is drawn on the host, so that it is the
    /// same everywhere; results differ by the order of sums.
    pub device: DeviceChoice,
    /// What the loss of a batch is.
    pub objective: Objective,
    /// Blocks are run again in the backward pass instead of being kept: less memory, more time,
    /// the same gradients.
    pub gradient_checkpointing: bool,
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
    /// Tokens of one packed batch. A longer row makes a batch of its own.
    pub batch_tokens: usize,
    /// Rows of like length share a batch.
    pub group_by_length: bool,
    /// Batches per optimizer step.
    pub accumulation: usize,
    /// Steps between validations; none means at the end of each epoch.
    pub validate_every: Option<usize>,
    /// Validations without a better loss before training stops.
    pub patience: Option<usize>,
    pub proofs: Proofs,
    pub seed: u64,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            method: Method::Lora(LoraConfig::default()),
            base: None,
            device: DeviceChoice::Cpu,
            objective: Objective::CrossEntropy,
            gradient_checkpointing: false,
            epochs: 4,
            max_steps: None,
            learning_rate: 2e-3,
            schedule: ScheduleShape::Cosine,
            warmup: 0.05,
            final_learning_rate: 0.0,
            weight_decay: 0.0,
            beta2: 0.999,
            clip: 1.0,
            batch_tokens: 4096,
            group_by_length: false,
            accumulation: 1,
            validate_every: None,
            patience: None,
            proofs: Proofs::default(),
            seed: 17,
        }
    }
}

/// Bits of a text: its length, then its bytes.
fn text_bits(text: &str) -> impl Iterator<Item = u64> + '_ {
    std::iter::once(text.len() as u64).chain(text.bytes().map(u64::from))
}

/// Every setting of an adapter as bits.
fn lora_bits(lora: &LoraConfig) -> Vec<u64> {
    let LoraConfig {
        rank,
        alpha,
        variant,
        targets,
        rank_pattern,
        alpha_pattern,
        train_embeddings,
        train_head,
        classifier,
        dropout,
    } = lora;
    let mut bits = vec![*rank as u64, alpha.to_bits(), dropout.to_bits()];
    bits.extend([*train_embeddings, *train_head].map(u64::from));
    bits.extend([variant.has_magnitudes(), variant.is_rank_stabilised()].map(u64::from));
    match targets {
        Targets::AllLinear => bits.push(0),
        Targets::Usual => bits.push(1),
        Targets::Names(names) => {
            bits.extend([2, names.len() as u64]);
            bits.extend(names.iter().flat_map(|name| text_bits(name)));
        }
        Targets::Pattern(pattern) => {
            bits.push(3);
            bits.extend(text_bits(pattern));
        }
    }
    bits.push(rank_pattern.len() as u64);
    for (pattern, rank) in rank_pattern {
        bits.extend(text_bits(pattern).chain([*rank as u64]));
    }
    for (pattern, alpha) in alpha_pattern {
        bits.extend(text_bits(pattern).chain([alpha.to_bits()]));
    }
    bits.extend(classifier.iter().flat_map(|module| text_bits(module)));
    bits
}

impl TrainSettings {
    /// Every setting as bits, for the hash that ties a checkpoint to its run. Destructured, so
    /// that a new setting cannot be forgotten.
    pub(crate) fn bits(&self) -> Vec<u64> {
        let Self {
            method,
            base,
            device,
            objective,
            // Neither the proofs nor what is computed again change a byte of what is trained.
            gradient_checkpointing: _,
            proofs: _,
            epochs,
            max_steps,
            learning_rate,
            schedule,
            warmup,
            final_learning_rate,
            weight_decay,
            beta2,
            clip,
            batch_tokens,
            group_by_length,
            accumulation,
            validate_every,
            patience,
            seed,
        } = self;
        let optional = |value: &Option<usize>| value.map_or(u64::MAX, |value| value as u64);
        let mut bits = match method {
            Method::Full => vec![0],
            Method::Lora(lora) => lora_bits(lora),
        };
        bits.push(match base {
            None => 0,
            Some(Storage::F32) => 1,
            Some(Storage::Bf16) => 2,
            Some(Storage::Nf4) => 3,
        });
        bits.extend(match schedule {
            ScheduleShape::Cosine => [0, 0],
            ScheduleShape::Linear => [1, 0],
            ScheduleShape::Constant => [2, 0],
            ScheduleShape::WarmupStableDecay { decay } => [3, decay.to_bits()],
        });
        bits.extend([*epochs, *batch_tokens, *accumulation].map(|count| count as u64));
        bits.extend([u64::from(*group_by_length), *seed, optional(max_steps)]);
        bits.extend([optional(validate_every), optional(patience)]);
        bits.extend([*learning_rate, *warmup, *final_learning_rate].map(f64::to_bits));
        bits.extend([*weight_decay, *beta2, *clip].map(f64::to_bits));
        bits.extend(objective.bits());
        if *device != DeviceChoice::Cpu {
            // Left out on the processor: runs that began before there was a choice go on.
            bits.extend(text_bits(&device.resolved().to_string()));
        }
        bits
    }

    /// Refuses what cannot work, by name.
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        self.objective.check()?;
        match &self.method {
            Method::Lora(lora) => lora.check()?,
            Method::Full if self.base.is_some_and(|base| base != Storage::F32) => {
                return Err(TrainError::Setting {
                    name: "base",
                    value: format!("{:?}", self.base),
                    reason: "all weights are trained in f32; take an adapter for a smaller base",
                });
            }
            Method::Full => {}
        }
        let decay = match self.schedule {
            ScheduleShape::WarmupStableDecay { decay } => decay,
            _ => 0.0,
        };
        let counts = [
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
            ("decay", decay, 1.0),
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
    /// Made if it is not there; holds the checkpoint, and what a range test found before it.
    pub directory: PathBuf,
    pub every_steps: usize,
}
