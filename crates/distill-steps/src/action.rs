//! The step kinds: one variant and its arm each.

use distill_chat::TaskDefinition;
use distill_pipeline::{
    graph,
    spec::{AcceptSpec, CostSpec},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    evaluate::Evaluate, external::External, ingest::Ingest, teacher::Teacher, train::Train,
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
    Split(Split),
    Train(Train),
    Evaluate(Evaluate),
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
}

/// All arms' answers to figures and a verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compare {
    pub task: TaskDefinition,
    pub accept: AcceptSpec,
    pub cost: CostSpec,
    /// Whether the test rows have human answers; else the teacher's are the reference.
    pub gold: bool,
    pub arms: Vec<crate::Arm>,
    pub seed: u64,
}

impl graph::Action for Action {
    fn kind(&self) -> &'static str {
        match self {
            Self::Ingest(_) => "ingest",
            Self::Smoke(_) => "smoke",
            Self::Label(_) => "label",
            Self::Curate(_) => "curate",
            Self::External(_) => "external",
            Self::Split(_) => "split",
            Self::Train(_) => "train",
            Self::Evaluate(_) => "evaluate",
            Self::Compare(_) => "compare",
            Self::Report(_) => "report",
        }
    }

    fn version(&self) -> u32 {
        1
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
            Self::Split(split) => json!({ "validation": split.validation }),
            Self::Train(train) => train.settings(),
            Self::Evaluate(evaluate) => evaluate.settings(),
            Self::Compare(compare) => {
                serde_json::to_value(compare).expect("settings are plain data")
            }
            Self::Report(lineage) => lineage.settings(),
        }
    }

    fn models(&self) -> Vec<String> {
        match self {
            Self::Smoke(ask) | Self::Label(ask) => ask.teacher.models(),
            Self::Train(train) => train.base_identity().into_iter().collect(),
            Self::Evaluate(evaluate) => evaluate.base_identity().into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn seed(&self) -> Option<u64> {
        match self {
            Self::Ingest(ingest) => ingest.limit.map(|_| ingest.seed),
            Self::Split(split) => Some(split.seed),
            Self::Train(train) => Some(train.seed),
            Self::Evaluate(evaluate) => evaluate.seed(),
            Self::Compare(compare) => Some(compare.seed),
            _ => None,
        }
    }
}
