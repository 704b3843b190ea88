//! The step kinds: one variant and its arm each.

use distill_chat::TaskDefinition;
use distill_pipeline::{
    graph,
    spec::{AcceptSpec, CostSpec, ScorerSpec},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    cascade::Cascade,
    curve::{Curve, CurveFigures},
    evaluate::Evaluate,
    external::External,
    ingest::Ingest,
    judge::JudgeStep,
    label_noise::LabelNoise,
    measure::Measure,
    noise::{NoiseFloor, Repeat},
    teacher::Teacher,
    train::Train,
    write_report::Lineage,
};

/// What a step does, as data: a remote executor receives nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Ingest(Ingest),
    Smoke(Ask),
    Label(Ask),
    Curate(Curate),
    External(External),
    LabelNoise(LabelNoise),
    Split(Split),
    Train(Train),
    Curve(Curve),
    CurveFigures(CurveFigures),
    Cascade(Cascade),
    Evaluate(Evaluate),
    Measure(Measure),
    NoiseFloor(NoiseFloor),
    Repeat(Repeat),
    Judge(Box<JudgeStep>),
    Compare(Compare),
    Report(Box<Lineage>),
}

/// A question to the teacher about each row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    pub task: TaskDefinition,
    pub teacher: Teacher,
}

/// Labelled rows to examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curate {
    pub task: TaskDefinition,
}

/// Examples to train and validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Split {
    pub validation: f64,
    pub seed: u64,
    /// Set apart before that, for a cascade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibrate>,
}

/// Examples that only the calibration of a cascade sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibrate {
    /// Above 0 and below 1.
    pub share: f64,
    /// What examples are compared by, so that none of the others repeats one set apart.
    pub task: TaskDefinition,
}

/// All arms' answers to figures and a verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compare {
    pub task: TaskDefinition,
    pub accept: AcceptSpec,
    pub cost: CostSpec,
    pub arms: Vec<crate::Arm>,
    /// The student on whose base the controls are made, where others have bases of their own: those
    /// are not compared with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controls_of: Option<String>,
    pub seed: u64,
    /// What the verdict rests on; `None`: the usual metric of the task's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// What is shown beside it; empty: the usual ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scorers: Vec<ScorerSpec>,
    /// Columns to slice the rows by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<String>,
    /// Column whose equal values make rows depend on each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The one among the slices that holds the right answers: rows keep those apart from the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold_slice: Option<String>,
}

impl graph::Action for Action {
    fn kind(&self) -> &'static str {
        match self {
            Self::Ingest(_) => "ingest",
            Self::Smoke(_) => "smoke",
            Self::Label(_) => "label",
            Self::Curate(_) => "curate",
            Self::External(_) => "external",
            Self::LabelNoise(_) => "label-noise",
            Self::Split(_) => "split",
            Self::Train(_) => "train",
            Self::Curve(_) => "curve",
            Self::CurveFigures(_) => "curve-figures",
            Self::Cascade(_) => "cascade",
            Self::Evaluate(_) => "evaluate",
            Self::Measure(_) => "measure",
            Self::NoiseFloor(_) => "noise-floor",
            Self::Repeat(_) => "repeat",
            Self::Judge(_) => "judge",
            Self::Compare(_) => "compare",
            Self::Report(_) => "report",
        }
    }

    fn version(&self) -> u32 {
        match self {
            // 2: equal rows are settled by majority, near duplicates need the same context; answers
            // come with what each took, and figures are made of records; decoders turn by angles in single
            // precision, and learn as fast as their width says where the spec does not.
            Self::Curate(_)
            | Self::Label(_)
            | Self::Train(_)
            | Self::Curve(_)
            | Self::Evaluate(_)
            | Self::Compare(_)
            | Self::Report(_) => 2,
            _ => 1,
        }
    }

    fn settings(&self) -> Value {
        match self {
            Self::Ingest(ingest) => json!({
                "format": ingest.format,
                "gold": ingest.gold,
                "limit": ingest.limit,
                "labels": ingest.task.labels,
                "prompt": ingest.task,
            }),
            Self::Smoke(ask) | Self::Label(ask) => {
                json!({ "task": ask.task, "teacher": ask.teacher.answer_settings() })
            }
            Self::Curate(curate) => json!({ "task": curate.task }),
            Self::External(external) => json!({ "command": external.command }),
            Self::LabelNoise(noise) => noise.settings(),
            // Without a calibration share the key is what it was before there was one.
            Self::Split(split) => match &split.calibration {
                None => json!({ "validation": split.validation }),
                Some(calibrate) => json!({
                    "validation": split.validation,
                    "calibration": calibrate,
                }),
            },
            Self::Train(train) => train.settings(),
            Self::Curve(curve) => curve.settings(),
            Self::CurveFigures(figures) => figures.settings(),
            Self::Cascade(cascade) => cascade.settings(),
            Self::Evaluate(evaluate) => evaluate.settings(),
            Self::Measure(measure) => measure.settings(),
            Self::NoiseFloor(floor) => json!({
                "task": floor.ask.task,
                "teacher": floor.ask.teacher.answer_settings(),
                "rows": floor.rows,
                "confidence": floor.confidence,
            }),
            // The student's artifact says which one it is; its name must not enter the key.
            Self::Repeat(repeat) => json!({ "task": repeat.task, "rows": repeat.rows }),
            Self::Judge(step) => step.settings(),
            Self::Compare(compare) => {
                serde_json::to_value(compare).expect("settings are plain data")
            }
            Self::Report(lineage) => lineage.settings(),
        }
    }

    fn models(&self) -> Vec<String> {
        match self {
            Self::Smoke(ask) | Self::Label(ask) => ask.teacher.models(),
            Self::NoiseFloor(floor) => floor.ask.teacher.models(),
            Self::Judge(step) => step.judge.models(),
            Self::Train(train) => train.base_identity().into_iter().collect(),
            Self::Curve(curve) => curve.train.base_identity().into_iter().collect(),
            Self::Evaluate(evaluate) => evaluate.base_identity().into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn seed(&self) -> Option<u64> {
        match self {
            Self::Ingest(ingest) => ingest.limit.map(|_| ingest.seed),
            Self::Split(split) => Some(split.seed),
            Self::LabelNoise(noise) => Some(noise.seed),
            Self::Train(train) => Some(train.seed),
            Self::Curve(curve) => Some(curve.train.seed),
            Self::Evaluate(evaluate) => evaluate.seed(),
            Self::Measure(measure) => measure.seed(),
            Self::NoiseFloor(floor) => Some(floor.seed),
            Self::Repeat(repeat) => Some(repeat.seed),
            Self::Judge(step) => Some(step.seed),
            Self::Compare(compare) => Some(compare.seed),
            _ => None,
        }
    }
}
