//! The spec after every check, with defaults filled in: what the rest of the program works with.

mod decoder;
mod objective;

use std::fmt;

use distill_chat::TaskDefinition;
use serde::{Deserialize, Serialize};

pub use decoder::{
    AdapterKind, BasePrecision, DecoderSpec, DeviceKind, LearningRate, ScheduleKind, TuningSpec,
};
pub use objective::{DivergenceKind, EstimateKind, ObjectiveKind, ObjectiveSpec, RestKind};

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
    /// What models of the hub are that nobody else knows the class of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ModelClass>,
    pub train: TrainSpec,
    pub curate: Option<CurateSpec>,
    pub accept: AcceptSpec,
    pub cost: CostSpec,
    #[serde(default, skip_serializing_if = "MeasureSpec::is_usual")]
    pub measure: MeasureSpec,
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
    /// Share of the training rows that only the calibration of a cascade sees; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub calibration: f64,
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
    /// Of the cheap model; `None`: somewhat below `accuracy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cheap_accuracy: Option<f64>,
    /// `None`: the provider's own default, as for the bias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge_accuracy: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge_position_bias: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsteady: Option<f64>,
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
    /// The metric of the verdict; `None`: the usual one of the task's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// What is shown beside the metric of the verdict; empty: the usual ones of the task's kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scorers: Vec<ScorerSpec>,
    /// Columns to slice the rows by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<String>,
    /// Column whose equal values make rows depend on each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// File of human answers to test rows, relative to the folder of the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeSpec>,
    /// Test rows that the teacher is asked a second time; 0 for none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub noise_floor: usize,
    /// Cheaper hosted models that answer the test rows too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cheaper: Vec<ModelSpec>,
}

/// One way to score answers, with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScorerSpec {
    pub name: String,
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// Models that judge answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeSpec {
    /// Each gives a judgement of its own; at least one.
    pub models: Vec<ModelSpec>,
    pub mode: JudgeMode,
    pub rubric: String,
    pub budget_usd: f64,
    /// File of human verdicts (columns `id`, `verdict`), relative to the folder of the spec.
    pub calibration: Option<String>,
    /// The user knows that a judge is of the teacher's family.
    pub same_family: bool,
}

/// What a judge is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgeMode {
    /// One answer and the rubric.
    #[default]
    Pointwise,
    /// Two answers, in both orders.
    Pairwise,
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

/// What kind of model a student is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelClass {
    Encoder,
    Decoder,
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
    /// Directory of a Hugging Face model, relative to the folder of the spec; where there is none of
    /// that name, a model of the hub: `org/name` or `org/name@revision`.
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
    #[serde(default, skip_serializing_if = "EncoderSpec::is_usual")]
    pub encoder: EncoderSpec,
    pub decoder: DecoderSpec,
    /// What decoders learn besides, or instead of, their labels; none for cross-entropy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<ObjectiveSpec>,
    /// Shares of the training rows that are trained on too, rising, each above 0 and below 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learning_curve: Vec<f64>,
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

/// How an encoder is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderSpec {
    /// `None`: every weight is trained.
    pub adapter: Option<AdapterKind>,
    pub rank: usize,
    pub alpha: f64,
    /// Ends of the adapted modules' names; empty: every linear layer.
    pub targets: Vec<String>,
    pub adapter_dropout: f64,
    /// As the model's configuration says.
    pub dropout: bool,
    pub epochs: usize,
    pub learning_rate: f64,
    pub batch_rows: usize,
    pub accumulation: usize,
    /// `None`: at the end of each epoch.
    pub validate_every: Option<usize>,
    /// Share of all steps.
    pub warmup: f64,
    pub max_steps: Option<usize>,
    pub patience: Option<usize>,
    pub weight_decay: f64,
    pub clip: f64,
}

impl EncoderSpec {
    /// Whether the spec left everything out.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for EncoderSpec {
    fn default() -> Self {
        Self {
            adapter: None,
            rank: 16,
            alpha: 32.0,
            targets: Vec::new(),
            adapter_dropout: 0.0,
            dropout: true,
            epochs: 4,
            learning_rate: 5e-5,
            batch_rows: 16,
            accumulation: 1,
            validate_every: None,
            warmup: 0.1,
            max_steps: None,
            patience: Some(2),
            weight_decay: 0.01,
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
    /// Greatest share of wrong answers among those that a cascade's student gives itself; `None`:
    /// no cascade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostSpec {
    pub usd_per_hour: f64,
    pub requests_per_day: f64,
    /// A figure here is a default and not the user's: reports say so.
    pub assumed: bool,
    /// Of the serving machine under load, for where energy cannot be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watts: Option<f64>,
}

/// How speed is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasureSpec {
    /// Requests in flight at once, one setting after the other; at least one.
    pub concurrency: Vec<usize>,
    /// Requests of each setting.
    pub requests: usize,
    /// Rate of an open loop with Poisson arrivals, measured besides.
    pub arrivals_per_second: Option<f64>,
}

impl MeasureSpec {
    /// Whether the spec left everything out.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for MeasureSpec {
    fn default() -> Self {
        Self {
            concurrency: vec![1],
            requests: 100,
            arrivals_per_second: None,
        }
    }
}

// Settings at rest are left out of what is written, so that keys of earlier runs still hold.

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_none(count: &usize) -> bool {
    *count == 0
}
