//! What is kept of steps and runs: action records, the events of a run, and their reader.
//!
//! These types cross the border to disk: their serde shape is the documented format of
//! `actions/<key>.json`, `runs/<id>/run.json` and `runs/<id>/events.jsonl`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::graph::ArtifactKind;
use crate::hash::{ContentHash, Ingredients, Key};
use crate::plan::{Difference, MissReason};

mod stamp;
mod view;

pub use stamp::{BadRunId, BadTimestamp, RunId, Timestamp};
pub use view::{DIED_AFTER_SECONDS, Note, Progress, RunState, RunView, StepState, StepView};

/// One artifact that a step made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRecord {
    pub hash: ContentHash,
    /// Size of the content; for a directory the sum over its files.
    pub bytes: u64,
    pub kind: ArtifactKind,
}

/// That a step with this key was done, and what came out: `actions/<key>.json`.
///
/// Published last and never overwritten, so that what it names is whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionRecord {
    pub key: Key,
    pub ingredients: Ingredients,
    pub outputs: BTreeMap<String, OutputRecord>,
    /// Who made it; for people and for `explain`, never part of a key.
    pub run: RunId,
    pub pipeline: String,
    pub step: String,
    pub finished: Timestamp,
    pub seconds: f64,
    /// What the step found worth telling; may differ from run to run.
    pub facts: Value,
    /// Why it ran.
    pub because: Because,
}

/// Why a step ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Because {
    pub miss: MissReason,
    /// The run whose key the differences are counted from, when there was one.
    pub compared_with: Option<RunId>,
    pub differences: Vec<Difference>,
}

/// One step as it stands in the header of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepHeader {
    pub name: String,
    pub kind: String,
    pub needs: Vec<String>,
}

/// What a run set out to do: `runs/<id>/run.json`, written once at the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunHeader {
    pub run: RunId,
    pub pipeline: String,
    /// The spec's path as the user typed it.
    pub spec_path: Option<String>,
    pub spec_text: Option<String>,
    /// The graph's fingerprint.
    pub plan: ContentHash,
    /// Version of the program.
    pub version: String,
    pub argv: Vec<String>,
    pub started: Timestamp,
    /// In the order of the plan.
    pub steps: Vec<StepHeader>,
}

/// One line of `runs/<id>/events.jsonl`.
///
/// In JSON the fields of [`What`] stand beside `at`, and `type` names the variant:
/// `{"at":"2026-01-31T09:05:07.123Z","type":"step_skipped","step":"report","reason":"…"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub at: Timestamp,
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum What {
    RunStarted {
        run: RunId,
        pipeline: String,
    },
    /// The step would run, but another run is making the same thing.
    StepWaiting {
        step: String,
        message: String,
        made_by: Option<RunId>,
    },
    StepStarted {
        step: String,
        key: Key,
        because: Because,
    },
    StepProgress {
        step: String,
        done: u64,
        /// `None` when nobody knows how much there is.
        total: Option<u64>,
        /// What is counted, in the plural: `rows`, `steps`.
        unit: String,
        message: Option<String>,
    },
    StepMetric {
        step: String,
        name: String,
        /// `None` when the figure was not finite.
        value: Option<f64>,
        /// Where on the way it was measured, for instance the optimizer step.
        position: Option<u64>,
    },
    StepNote {
        step: String,
        level: Level,
        text: String,
    },
    /// An artifact did not hold what its name says; it was moved away and will be made again.
    ArtifactCorrupted {
        step: String,
        port: String,
        artifact: ContentHash,
        moved_to: PathBuf,
    },
    /// The step's outputs differ from those that another run published first; the first ones stand.
    RecordKept {
        step: String,
        key: Key,
        made_by: RunId,
    },
    StepFinished {
        step: String,
        key: Key,
        /// True when nothing was run.
        cached: bool,
        made_by: RunId,
        /// How long making it took, whenever that was.
        seconds: f64,
        outputs: BTreeMap<String, OutputRecord>,
        facts: Value,
    },
    StepFailed {
        step: String,
        failure: FailureRecord,
    },
    StepSkipped {
        step: String,
        reason: String,
    },
    StepInterrupted {
        step: String,
        message: String,
    },
    /// The last line of a run that ended by itself.
    RunFinished {
        outcome: RunOutcome,
        seconds: f64,
    },
}

impl What {
    /// Names the step that the event is about.
    pub fn step(&self) -> Option<&str> {
        match self {
            Self::RunStarted { .. } | Self::RunFinished { .. } => None,
            Self::StepWaiting { step, .. }
            | Self::StepStarted { step, .. }
            | Self::StepProgress { step, .. }
            | Self::StepMetric { step, .. }
            | Self::StepNote { step, .. }
            | Self::ArtifactCorrupted { step, .. }
            | Self::RecordKept { step, .. }
            | Self::StepFinished { step, .. }
            | Self::StepFailed { step, .. }
            | Self::StepSkipped { step, .. }
            | Self::StepInterrupted { step, .. } => Some(step),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Info,
    Warning,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// Every step is done.
    Done,
    /// At least one step failed.
    Failed,
    /// It was asked to stop; the next run goes on.
    Interrupted,
}

/// What kind of failure ended a step; the shell turns it into an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    Failed,
    /// The user's file or setting is at fault.
    BadInput,
    /// A cap on money or time was reached.
    Budget,
    /// It was asked to stop, and did so at a point from which it can go on.
    Interrupted,
    /// The program itself is wrong.
    Bug,
}

/// A step's failure as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRecord {
    pub kind: FailureKind,
    pub message: String,
    /// The causes below the message, outermost first.
    pub causes: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
    pub file: Option<PathBuf>,
    pub line: Option<u64>,
    /// Whether the same step may well succeed if it is run again unchanged.
    pub retryable: bool,
}

#[cfg(test)]
mod tests;
