//! `train.decoder` after every check.

use serde::{Deserialize, Serialize};

/// What the adapters are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdapterKind {
    #[default]
    Lora,
    Rslora,
    Dora,
    Rsdora,
}

impl AdapterKind {
    pub const ALL: [Self; 4] = [Self::Lora, Self::Rslora, Self::Dora, Self::Rsdora];

    pub fn name(self) -> &'static str {
        match self {
            Self::Lora => "lora",
            Self::Rslora => "rslora",
            Self::Dora => "dora",
            Self::Rsdora => "rsdora",
        }
    }
}

/// How the frozen base is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BasePrecision {
    /// As its files are.
    #[default]
    Auto,
    F32,
    Bf16,
    Nf4,
}

/// Where a decoder is trained and evaluated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// The first graphics card that opens, else the processor.
    Auto,
    #[default]
    Cpu,
    Cuda,
    Metal,
}

impl DeviceKind {
    pub const ALL: [Self; 4] = [Self::Auto, Self::Cpu, Self::Cuda, Self::Metal];

    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
        }
    }

    /// What a key leaves out: there was no choice when the first ones were made.
    pub fn is_cpu(&self) -> bool {
        *self == Self::Cpu
    }
}

/// How the learning rate goes on after its rise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    #[default]
    Cosine,
    Linear,
    Constant,
    /// Stable, then a linear decay.
    Wsd,
}

/// Where the highest learning rate comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningRate {
    /// A number of the spec.
    Given(f64),
    /// By the model's family and width and by the method; so it is where the spec says nothing.
    #[default]
    Width,
    /// From a short test before the training.
    Auto,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderSpec {
    pub rank: usize,
    pub alpha: f64,
    pub epochs: usize,
    /// The highest.
    pub learning_rate: LearningRate,
    pub batch_tokens: usize,
    pub accumulation: usize,
    /// Share of all steps.
    pub warmup: f64,
    pub max_steps: Option<usize>,
    pub patience: Option<usize>,
    pub weight_decay: f64,
    pub clip: f64,
    /// What is seldom set; left out of what is written at rest, so that keys of earlier runs hold.
    #[serde(default, skip_serializing_if = "TuningSpec::is_usual")]
    pub tuning: TuningSpec,
}

impl Default for DecoderSpec {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 32.0,
            epochs: 4,
            learning_rate: LearningRate::Width,
            batch_tokens: 4096,
            accumulation: 1,
            warmup: 0.05,
            max_steps: None,
            patience: Some(2),
            weight_decay: 0.0,
            clip: 1.0,
            tuning: TuningSpec::default(),
        }
    }
}

/// The finer settings of a decoder's training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches of the spec"
)]
pub struct TuningSpec {
    pub variant: AdapterKind,
    /// Ends of the adapted modules' names; empty: every linear layer.
    pub targets: Vec<String>,
    pub dropout: f64,
    pub embeddings: bool,
    pub head: bool,
    pub base: BasePrecision,
    #[serde(default, skip_serializing_if = "DeviceKind::is_cpu")]
    pub device: DeviceKind,
    pub schedule: ScheduleKind,
    /// Share of all steps in which `Wsd` decays.
    pub decay: f64,
    /// Share of the highest rate.
    pub final_learning_rate: f64,
    pub group_by_length: bool,
    pub gradient_checkpointing: bool,
    /// `None`: at the end of each epoch.
    pub validate_every: Option<usize>,
}

impl TuningSpec {
    /// Whether the spec left everything out.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for TuningSpec {
    fn default() -> Self {
        Self {
            variant: AdapterKind::Lora,
            targets: Vec::new(),
            dropout: 0.0,
            embeddings: false,
            head: false,
            base: BasePrecision::Auto,
            device: DeviceKind::Cpu,
            schedule: ScheduleKind::Cosine,
            decay: 0.2,
            final_learning_rate: 0.0,
            group_by_length: false,
            gradient_checkpointing: false,
            validate_every: None,
        }
    }
}
