//! The spec as written: every section, every key, its type and its documentation.
//!
//! The Markdown reference is made from the comments here. Nothing is checked yet but names and
//! types; [`resolve`](super::resolve) does the rest.

mod decoder;
mod objective;

use distill_chat::TaskKind;
use serde_json::Value;

use super::{
    read::{At, Place, Read, Reader, Section, section},
    resolved::{AdapterKind, Control, JudgeMode, Labels, ModelClass},
    tree::{Node, NodeValue},
};

pub use decoder::{DecoderSection, WrittenRate};
pub use objective::ObjectiveSection;

section! {
    /// A pipeline: what a small model is to learn, from whom, and when it is good enough.
    Spec {
        /// Name of the pipeline, shown in runs and reports. It shapes no result.
        required name: String,
        /// What is asked of the model, and what an answer is.
        required task: TaskSection,
        /// The rows the student learns from.
        required data: DataSection,
        /// The model that does the job today, asked for labels and for the answers to compare with. May be left out when `data.labels` is `gold`.
        optional teacher: TeacherSection,
        /// The rows the verdict is made on. They select nothing.
        required evals: EvalsSection,
        /// What is to learn the job.
        required student: StudentSection,
        /// Settings of training.
        optional train: TrainSection,
        /// A command of yours that filters or mends the labelled rows.
        optional curate: CurateSection,
        /// The gate: when a student counts as good enough.
        optional accept: AcceptSection,
        /// What serving costs. Left out, stated assumptions are used and the report says so.
        optional cost: CostSection,
        /// How the speed of a student is measured.
        optional measure: MeasureSection,
        /// Seed of everything that is drawn at random. Default 17.
        optional seed: u64,
    }
}

section! {
    /// What is asked of the model, and what an answer is.
    TaskSection {
        /// `classify` (one label of a set), `extract` (a flat JSON object) or `generate` (free text).
        required kind: TaskKind,
        /// System message: a minijinja template over the row's columns and `labels`.
        optional system: String,
        /// User message: a minijinja template over the row's columns. `{{ text }}` is the column `text`.
        required prompt: String,
        /// The label set of a classification. Left out: the sorted distinct gold labels of `data.train`.
        optional labels: Vec<At<String>>,
        /// The JSON schema of an extraction: an object of string, number, integer, boolean or enum fields, with `required` and `additionalProperties`.
        optional schema: JsonSchema,
    }
}

section! {
    /// The rows the student learns from.
    DataSection {
        /// A path (`.csv`, `.jsonl`, `.json`, `.parquet`; relative to this file), or `{dataset: NAME, split: NAME}` of a card in `datasets/`.
        required train: WrittenSource,
        /// Column that holds the human answer.
        optional gold: String,
        /// Who labels the training rows: `teacher` (default when a teacher is given) or `gold`.
        optional labels: Labels,
        /// Share of the training rows kept apart to choose settings and to stop early. Default 0.1.
        optional validation: f64,
        /// Share of the training rows kept apart for the calibration of a cascade. Default 0.1 when `accept.risk` is set, else 0.
        optional calibration: f64,
        /// Take the first so many rows of a seeded shuffle.
        optional limit: u64,
    }
}

section! {
    /// The model that does the job today.
    TeacherSection {
        /// Models in the order they are tried: `vendor/model`, or a map with a base URL, a key variable and prices.
        required models: Vec<At<WrittenModel>>,
        /// Hard cap on what labelling may cost, in US dollars. It is reserved before each attempt and never exceeded.
        required budget_usd: f64,
        /// Requests in flight at once. Default 16.
        optional concurrency: u64,
        /// Sampling temperature. Default 0.
        optional temperature: f64,
        /// Upper bound of a reply, in tokens. Default 64 for `classify`, 256 for `extract`, 1024 for `generate`.
        optional max_tokens: u64,
        /// Settings of the embedded simulated provider, which answers for the vendors `simulated` and `simulated-anthropic`.
        optional simulate: SimulateSection,
    }
}

section! {
    /// One model, spelled out.
    ModelSection {
        /// Who answers: a vendor of the built-in table.
        required vendor: String,
        /// The vendor's name for the model.
        required model: String,
        /// Another address that speaks the vendor's dialect.
        optional base_url: String,
        /// Environment variable that holds the key. Keys themselves never stand in a spec.
        optional api_key_env: String,
        /// Price of a million input tokens in US dollars, where the built-in table has none or another.
        optional input_usd_per_million: f64,
        /// Price of a million output tokens in US dollars.
        optional output_usd_per_million: f64,
    }
}

section! {
    /// The embedded simulated provider. Whatever it touches is marked SIMULATED in the report.
    SimulateSection {
        /// Share of rows it answers as the gold column does. Default 0.91.
        optional accuracy: f64,
        /// How long its answers take.
        optional latency_ms: LatencySection,
        /// Shares of requests that go wrong, each in its own way. Default none.
        optional faults: FaultsSection,
        /// Seed of its errors and faults. Default 7.
        optional seed: u64,
        /// The same share for `simulated/cheap`. Default 0.06 below `accuracy`.
        optional cheap_accuracy: f64,
        /// Share of answers and pairs that it judges rightly when it is a judge. Default 0.95.
        optional judge_accuracy: f64,
        /// Share of pairs of which it prefers the one shown first, whichever that is. Default 0.05.
        optional judge_position_bias: f64,
        /// Share of rows that it answers otherwise when it is asked a second time on purpose. Default 0.
        optional unsteady: f64,
    }
}

section! {
    /// How long the simulated provider's answers take, in milliseconds.
    LatencySection {
        /// Half of the answers are faster. Default 30.
        optional median: f64,
        /// 95 in 100 answers are faster. Default 80.
        optional p95: f64,
    }
}

section! {
    /// Shares of requests that the simulated provider lets go wrong. Together at most 1.
    FaultsSection {
        /// Answered with status 429 and a time to wait.
        optional rate_limit: f64,
        /// Answered with status 500.
        optional server_error: f64,
        /// Never answered.
        optional hang: f64,
        /// A stream that stops in the middle.
        optional stall: f64,
        /// A body that is no JSON.
        optional malformed: f64,
        /// A reply cut off by the token limit.
        optional truncate: f64,
    }
}

section! {
    /// The rows the verdict is made on.
    EvalsSection {
        /// A path or `{dataset: NAME, split: NAME}`, as for `data.train`.
        required test: WrittenSource,
        /// Column that holds the human answer. Left out: the teacher's answers are the reference, and only agreement with the teacher can be shown.
        optional gold: String,
        /// Take the first so many rows of a seeded shuffle.
        optional limit: u64,
        /// Arms to compare with, besides the students: `untuned`, `few_shot`, `full`, `random_lora`, `random_full`. Default `untuned` where a decoder is trained.
        optional controls: Vec<At<Control>>,
        /// Metric that the verdict rests on; it must apply to the kind of the task. Default `accuracy` for `classify`, `json_exact_object` for `extract`, `normalised_match` for `generate`.
        optional metric: String,
        /// Metrics shown beside it: a name, or a name with settings, `{numeric: {tolerance: 0.01}}`. Default: the usual ones of the task's kind.
        optional scorers: Vec<At<WrittenScorer>>,
        /// Columns to slice the rows by: each value gets its own figures.
        optional slices: Vec<At<String>>,
        /// Column whose equal values mark rows that depend on each other, such as the turns of one conversation. Intervals then treat each group as one draw.
        optional group: String,
        /// A file of human answers to test rows (`.csv`, columns `id` and `answer`), as `distill eval label` writes it. They beat `gold` row by row.
        optional human: String,
        /// Models that judge answers where no metric can.
        optional judge: JudgeSection,
        /// Test rows that the teacher is asked a second time, to see how often it agrees with itself. Default 0.
        optional noise_floor: u64,
        /// Cheaper hosted models that answer the test rows too, in the form of `teacher.models`. Default none.
        optional cheaper: Vec<At<WrittenModel>>,
    }
}

section! {
    /// Models that judge answers. They are asked at temperature 0, and belong to another family than the teacher.
    JudgeSection {
        /// The judges, in the form of `teacher.models`. Each judges every answer.
        required models: Vec<At<WrittenModel>>,
        /// `pointwise` (one answer and the rubric) or `pairwise` (two answers in both orders; a contradiction is a tie). Default `pointwise`.
        optional mode: JudgeMode,
        /// What a good answer is, in words. Default: right and complete, by the input and the reference.
        optional rubric: String,
        /// Hard cap on what judging may cost, in US dollars.
        required budget_usd: f64,
        /// A file of human verdicts (`.csv`, columns `id` and `verdict`) that the judges are held against and corrected by. Left out, every figure of theirs is called uncalibrated.
        optional calibration: String,
        /// Set to `true` to let a judge be of the teacher's own family. Default `false`.
        optional same_family: bool,
    }
}

section! {
    /// What is to learn the job.
    StudentSection {
        /// `linear`, `nano` (the embedded decoder), the directory of a model (`./my-model`; a decoder, or an encoder such as BERT, by its config.json), a model of the hub (`org/name`, `org/name@revision`), a list of these, or `auto`: every candidate that fits.
        required target: WrittenTargets,
        /// `encoder` or `decoder`: the class of models of the hub that are neither on this machine nor in the list of `distill models`. Default `decoder`, until they are fetched.
        optional class: ModelClass,
    }
}

section! {
    /// Settings of training.
    TrainSection {
        /// Settings of the linear student. What is left out is chosen on the validation rows.
        optional linear: LinearSection,
        /// Settings of an encoder (BERT, `ModernBERT`).
        optional encoder: EncoderSection,
        /// Settings of the adapters (`LoRA`) of a decoder.
        optional decoder: DecoderSection,
        /// What a decoder's loss is; an encoder learns soft labels.
        optional objective: ObjectiveSection,
        /// Shares of the training rows that every student is trained on too, for a learning curve: `[0.25, 0.5]`. Default none.
        optional learning_curve: Vec<At<f64>>,
    }
}

section! {
    /// The linear student: word and character n-grams and one weight for each n-gram and label.
    LinearSection {
        /// Longest word n-gram; 0 for none. Default 2.
        optional word_ngrams: u64,
        /// Longest character n-gram; 0 for none. Default 5.
        optional character_ngrams: u64,
        /// Values of C to choose from on the validation rows; a larger one penalises weights less. Default: a grid.
        optional penalties: Vec<At<f64>>,
    }
}

section! {
    /// An encoder and its classification head.
    EncoderSection {
        /// `lora`, `rslora`, `dora` or `rsdora`: low-rank updates and the classifier are trained. Default: every weight is.
        optional adapter: AdapterKind,
        /// Rank of the adapter. Default 16.
        optional rank: u64,
        /// Scale of the adapter is alpha / rank; of `rslora`, alpha / √rank. Default 32.
        optional alpha: f64,
        /// Modules that get an update, by the end of their name: `[query, value]`. Default: every linear layer but the classifier.
        optional targets: Vec<At<String>>,
        /// Share of its inputs that an update does not see in a step. Default 0.
        optional adapter_dropout: f64,
        /// Drop values in training where the model's configuration says so. Default true.
        optional dropout: bool,
        /// Passes over the examples. Default 4.
        optional epochs: u64,
        /// Highest learning rate. Default 0.00005, with an adapter 0.0005.
        optional learning_rate: f64,
        /// Rows of each batch. Default 16.
        optional batch_rows: u64,
        /// Batches for each optimizer step. Default 1.
        optional accumulation: u64,
        /// Share of all steps in which the learning rate rises. Default 0.1.
        optional warmup: f64,
        /// Stop after so many steps. Default: none.
        optional max_steps: u64,
        /// Steps between validations. Default: at the end of each epoch.
        optional validate_every: u64,
        /// Validations without a better loss before training stops. Default 2.
        optional patience: u64,
        /// Weight decay. Default 0.01.
        optional weight_decay: f64,
        /// Largest norm of the gradient. Default 1.
        optional clip: f64,
    }
}

section! {
    /// A command of yours that filters or mends the labelled rows: files in, files out.
    CurateSection {
        /// The program and its arguments, for instance `[python3, clean.py]`.
        required command: Vec<At<String>>,
    }
}

section! {
    /// The gate: when a student counts as good enough.
    AcceptSection {
        /// How much worse than the teacher the student may be, in absolute points of the main metric. Default 0.03.
        optional margin: f64,
        /// Confidence of the intervals. Default 0.95.
        optional confidence: f64,
        /// Slowest 95th percentile of an answer, in milliseconds. Default: no limit.
        optional max_p95_ms: f64,
        /// Highest cost of a thousand answers in US dollars. Default: no limit.
        optional max_usd_per_1000: f64,
        /// Greatest share of wrong answers among those that a cascade's student gives itself; the rest go to the teacher. Default: no cascade.
        optional risk: f64,
    }
}

section! {
    /// What serving costs.
    CostSection {
        /// US dollars an hour of the machine that will serve. Default 0.10, an assumption.
        optional usd_per_hour: f64,
        /// Requests a day that will be served. Default 10000, an assumption.
        optional requests_per_day: f64,
        /// Watts of the serving machine under load, for where its energy cannot be measured.
        optional watts: f64,
    }
}

section! {
    /// How the speed of a student is measured, on the engine that will serve it.
    MeasureSection {
        /// Requests in flight at once, each measured. Default `[1]`.
        optional concurrency: Vec<At<u64>>,
        /// Requests of each setting. Default 100.
        optional requests: u64,
        /// Requests a second of an open loop with Poisson arrivals, measured besides. Default: none.
        optional arrivals_per_second: f64,
    }
}

/// Rows by path or by the name of a data set.
#[derive(Debug, Clone, PartialEq)]
pub enum WrittenSource {
    Path(String),
    Dataset(DatasetSection),
}

section! {
    /// A split of a data set that a card in `datasets/` describes.
    DatasetSection {
        /// Name of the data set: a folder of `datasets/`.
        required dataset: String,
        /// Name of the split, as the card gives it.
        required split: String,
    }
}

/// A model of the teacher's chain.
#[derive(Debug, Clone, PartialEq)]
pub enum WrittenModel {
    /// `vendor/model`.
    Name(String),
    Detailed(Box<ModelSection>),
}

/// One way to score answers: a name, or a map of one name to its settings.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenScorer {
    pub name: At<String>,
    pub settings: serde_json::Map<String, Value>,
}

/// What `student.target` may be.
#[derive(Debug, Clone, PartialEq)]
pub enum WrittenTargets {
    One(String),
    Several(Vec<At<String>>),
}

/// A JSON schema with the tree it came from, so that a finding can point into it.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonSchema {
    pub value: Value,
    node: Node,
}

impl JsonSchema {
    /// The place of a dotted path in the schema.
    pub(super) fn find(&self, path: &str) -> Option<std::ops::Range<usize>> {
        self.node.find(path)
    }
}

impl Read for JsonSchema {
    const EXPECTED: &'static str = "a JSON schema";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        if matches!(node.value, NodeValue::Map(_)) {
            return Some(Self {
                value: node.to_json(),
                node: node.clone(),
            });
        }
        reader.wrong_type(node, place, "a map: a JSON schema");
        None
    }
}

impl Read for WrittenSource {
    const EXPECTED: &'static str = "a path or `{dataset: NAME, split: NAME}`";
    const SECTION: Option<fn() -> Section> = Some(DatasetSection::section);

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            NodeValue::Text(path) => Some(Self::Path(path.clone())),
            NodeValue::Map(_) => DatasetSection::read(node, place, reader).map(Self::Dataset),
            _ => {
                reader.wrong_type(node, place, Self::EXPECTED);
                None
            }
        }
    }
}

impl Read for WrittenModel {
    const EXPECTED: &'static str = "text such as `openai/gpt-5-mini`, or a map";
    const SECTION: Option<fn() -> Section> = Some(ModelSection::section);

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            NodeValue::Text(name) => Some(Self::Name(name.clone())),
            NodeValue::Map(_) => ModelSection::read(node, place, reader)
                .map(|section| Self::Detailed(Box::new(section))),
            _ => {
                reader.wrong_type(node, place, Self::EXPECTED);
                None
            }
        }
    }
}

impl Read for WrittenScorer {
    const EXPECTED: &'static str = "the name of a metric, or `{name: {setting: value}}`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let named = |name: &str, span: &std::ops::Range<usize>| At {
            value: name.to_owned(),
            span: span.clone(),
        };
        match &node.value {
            NodeValue::Text(name) => {
                return Some(Self {
                    name: named(name, &node.span),
                    settings: serde_json::Map::new(),
                });
            }
            NodeValue::Map(entries) => {
                if let [entry] = entries.as_slice()
                    && let Value::Object(settings) = entry.node.to_json()
                {
                    return Some(Self {
                        name: named(&entry.key, &entry.key_span),
                        settings,
                    });
                }
            }
            _ => {}
        }
        reader.wrong_type(node, place, Self::EXPECTED);
        None
    }
}

impl Read for WrittenTargets {
    const EXPECTED: &'static str = "a name, a list of names, or `auto`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            NodeValue::Text(name) => Some(Self::One(name.clone())),
            NodeValue::List(_) => Read::read(node, place, reader).map(Self::Several),
            _ => {
                reader.wrong_type(node, place, Self::EXPECTED);
                None
            }
        }
    }
}

impl Read for TaskKind {
    const EXPECTED: &'static str = "`classify`, `extract` or `generate`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let names = Self::ALL.map(|kind| (kind.name(), kind));
        reader.choose(node, place, &names)
    }
}

impl Read for Labels {
    const EXPECTED: &'static str = "`teacher` or `gold`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let names = [("teacher", Self::Teacher), ("gold", Self::Gold)];
        reader.choose(node, place, &names)
    }
}

impl Read for ModelClass {
    const EXPECTED: &'static str = "`encoder` or `decoder`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let names = [("encoder", Self::Encoder), ("decoder", Self::Decoder)];
        reader.choose(node, place, &names)
    }
}

impl Read for Control {
    const EXPECTED: &'static str = "the name of a control";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let names = Self::ALL.map(|control| (control.name(), control));
        reader.choose(node, place, &names)
    }
}

impl Read for JudgeMode {
    const EXPECTED: &'static str = "`pointwise` or `pairwise`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let names = [("pointwise", Self::Pointwise), ("pairwise", Self::Pairwise)];
        reader.choose(node, place, &names)
    }
}
