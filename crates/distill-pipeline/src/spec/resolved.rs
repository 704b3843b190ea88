//! The spec after every check, with defaults filled in: what the rest of the program works with.

use std::fmt;

use distill_chat::TaskDefinition;
use serde::{Deserialize, Serialize};

/// A checked pipeline. Equal for any two texts that mean the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolvedSpec {
    pub name: String,
    /// Without labels where the spec leaves them out: ingestion takes the sorted distinct gold
    /// labels of the training rows.
    pub task: TaskDefinition,
    pub data: DataSpec,
    pub teacher: Option<TeacherSpec>,
    pub evals: EvalsSpec,
    pub students: Students,
    pub train: TrainSpec,
    pub curate: Option<CurateSpec>,
    pub accept: AcceptSpec,
    pub cost: CostSpec,
    pub seed: u64,
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataSource {
    /// As written: relative to the folder of the spec.
    Path(String),
    /// A split of a data set with a card.
    Dataset { dataset: String, split: String },
}

impl fmt::Display for DataSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => formatter.write_str(path),
            Self::Dataset { dataset, split } => write!(formatter, "{dataset}:{split}"),
        }
    }
}

/// Who labels the training rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    Teacher,
    Gold,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    pub train: DataSource,
    /// Column that holds the human answer.
    pub gold: Option<String>,
    pub labels: Labels,
    /// Share of the training rows, above 0 and below 1.
    pub validation: f64,
    pub limit: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherSpec {
    /// In the order they are tried; at least one.
    pub models: Vec<ModelSpec>,
    pub budget_usd: f64,
    pub concurrency: usize,
    pub temperature: f64,
    pub max_tokens: u32,
    /// Present exactly when the embedded provider answers for a model of the chain.
    pub simulate: Option<SimulateSpec>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    pub vendor: String,
    pub model: String,
    pub base_url: Option<String>,
    /// Name of the environment variable that holds the key.
    pub api_key_env: Option<String>,
    pub input_usd_per_million: Option<f64>,
    pub output_usd_per_million: Option<f64>,
}

impl ModelSpec {
    /// `vendor/model`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.vendor, self.model)
    }

    /// Whether the answers are made up by this program.
    pub fn simulated(&self) -> bool {
        self.vendor == "simulated" || self.vendor.starts_with("simulated-")
    }

    /// Whether the provider inside this program answers: simulated, and at no address of the user's.
    pub fn embedded(&self) -> bool {
        self.simulated() && self.base_url.is_none()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulateSpec {
    pub accuracy: f64,
    pub latency_ms: LatencySpec,
    pub faults: FaultsSpec,
    pub seed: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencySpec {
    pub median: f64,
    pub p95: f64,
}

/// Shares of requests; together at most 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultsSpec {
    pub rate_limit: f64,
    pub server_error: f64,
    pub hang: f64,
    pub stall: f64,
    pub malformed: f64,
    pub truncate: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalsSpec {
    pub test: DataSource,
    /// `None`: the teacher's answers are the reference.
    pub gold: Option<String>,
    pub limit: Option<usize>,
    /// Without repeats, in the order of [`Control::ALL`].
    pub controls: Vec<Control>,
}

/// An arm that is compared besides the students.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// The base model as it is.
    Untuned,
    /// The base model with examples in its prompt.
    FewShot,
    /// Every weight of the base model trained.
    Full,
    /// Adapters on the same architecture with random weights.
    RandomLora,
    /// Every weight trained from random ones.
    RandomFull,
}

impl Control {
    pub const ALL: [Self; 5] = [
        Self::Untuned,
        Self::FewShot,
        Self::Full,
        Self::RandomLora,
        Self::RandomFull,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Untuned => "untuned",
            Self::FewShot => "few_shot",
            Self::Full => "full",
            Self::RandomLora => "random_lora",
            Self::RandomFull => "random_full",
        }
    }
}

/// Which students are trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Students {
    /// In the order written, without repeats; at least one.
    Named(Vec<StudentTarget>),
    /// Every candidate that fits the task.
    Auto,
}

/// One student, by the name the spec gives it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum StudentTarget {
    Linear,
    /// The embedded decoder.
    Nano,
    /// Directory of a Hugging Face model, relative to the folder of the spec.
    Directory(String),
}

impl StudentTarget {
    pub fn name(&self) -> &str {
        match self {
            Self::Linear => "linear",
            Self::Nano => "nano",
            Self::Directory(path) => path,
        }
    }

    pub fn is_decoder(&self) -> bool {
        !matches!(self, Self::Linear)
    }
}

impl From<String> for StudentTarget {
    fn from(name: String) -> Self {
        match name.as_str() {
            "linear" => Self::Linear,
            "nano" => Self::Nano,
            _ => Self::Directory(name),
        }
    }
}

impl From<StudentTarget> for String {
    fn from(target: StudentTarget) -> Self {
        target.name().to_owned()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
    pub linear: LinearSpec,
    pub decoder: DecoderSpec,
}

/// `None`: the trainer's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearSpec {
    pub word_ngrams: Option<usize>,
    pub character_ngrams: Option<usize>,
    /// Values of C to choose from on the validation rows; at least one.
    pub penalties: Option<Vec<f64>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderSpec {
    pub rank: usize,
    pub alpha: f64,
    pub epochs: usize,
    pub learning_rate: f64,
    pub batch_tokens: usize,
    pub accumulation: usize,
    /// Share of all steps.
    pub warmup: f64,
    pub max_steps: Option<usize>,
    pub patience: Option<usize>,
    pub weight_decay: f64,
    pub clip: f64,
}

impl Default for DecoderSpec {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 32.0,
            epochs: 4,
            learning_rate: 0.002,
            batch_tokens: 4096,
            accumulation: 1,
            warmup: 0.05,
            max_steps: None,
            patience: Some(2),
            weight_decay: 0.0,
            clip: 1.0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurateSpec {
    /// The program, then its arguments.
    pub command: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptSpec {
    pub margin: f64,
    pub confidence: f64,
    pub max_p95_ms: Option<f64>,
    pub max_usd_per_1000: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostSpec {
    pub usd_per_hour: f64,
    pub requests_per_day: f64,
    /// A figure here is a default and not the user's: reports say so.
    pub assumed: bool,
}
