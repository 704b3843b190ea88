//! The state of a run, folded from its events. Every view of a run is a reader of this.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Because, Event, FailureRecord, Level, OutputRecord, RunHeader, RunOutcome, Timestamp, What,
};
use crate::hash::Key;

/// A run without a last line counts as died when its heartbeat is older than this.
pub const DIED_AFTER_SECONDS: f64 = 10.0;

/// What is happening with a run, as far as it can be known from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Running,
    Done,
    Failed,
    Interrupted,
    /// It did not end by itself and its heart beats no more.
    Died,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    Pending,
    /// Another run is making the same thing.
    Waiting,
    Running,
    Done,
    Failed,
    Skipped,
    Interrupted,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub done: u64,
    pub total: Option<u64>,
    pub unit: String,
    pub message: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub level: Level,
    pub text: String,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    pub name: String,
    pub kind: String,
    pub needs: Vec<String>,
    pub state: StepState,
    pub key: Option<Key>,
    /// True when its outputs were in the store already.
    pub cached: bool,
    /// When it began to run in this run.
    pub started: Option<Timestamp>,
    /// How long making its outputs took, in this run or in the one that made them.
    pub seconds: Option<f64>,
    pub outputs: BTreeMap<String, OutputRecord>,
    pub facts: Value,
    pub failure: Option<FailureRecord>,
    /// Why it waits, was skipped or was interrupted.
    pub reason: Option<String>,
    pub because: Option<Because>,
    pub progress: Option<Progress>,
    pub notes: Vec<Note>,
    /// The latest value of each metric; `None` when it was not finite.
    pub metrics: BTreeMap<String, Option<f64>>,
}

/// A run, folded from its events so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    pub started: Timestamp,
    /// `None` until the last line.
    pub outcome: Option<RunOutcome>,
    /// In the order of the plan.
    pub steps: Vec<StepView>,
    /// Seconds from the start to the last event.
    pub seconds: f64,
    pub last_event: Option<Timestamp>,
}

impl RunView {
    pub fn new(header: &RunHeader) -> Self {
        let steps = header.steps.iter().map(|step| StepView {
            name: step.name.clone(),
            kind: step.kind.clone(),
            needs: step.needs.clone(),
            state: StepState::Pending,
            key: None,
            cached: false,
            started: None,
            seconds: None,
            outputs: BTreeMap::new(),
            facts: Value::Null,
            failure: None,
            reason: None,
            because: None,
            progress: None,
            notes: Vec::new(),
            metrics: BTreeMap::new(),
        });
        Self {
            started: header.started,
            outcome: None,
            steps: steps.collect(),
            seconds: 0.0,
            last_event: None,
        }
    }

    pub fn step(&self, name: &str) -> Option<&StepView> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// Gives the steps in one state.
    pub fn in_state(&self, state: StepState) -> impl Iterator<Item = &StepView> {
        self.steps.iter().filter(move |step| step.state == state)
    }

    /// Says what is happening, given the time now and when the heart last beat.
    pub fn state(&self, now: Timestamp, heartbeat: Option<Timestamp>) -> RunState {
        match self.outcome {
            Some(RunOutcome::Done) => RunState::Done,
            Some(RunOutcome::Failed) => RunState::Failed,
            Some(RunOutcome::Interrupted) => RunState::Interrupted,
            None => {
                let last = heartbeat.max(self.last_event).unwrap_or(self.started);
                if now.seconds_since(last) > DIED_AFTER_SECONDS {
                    RunState::Died
                } else {
                    RunState::Running
                }
            }
        }
    }

    /// Takes the next event in.
    pub fn apply(&mut self, event: &Event) {
        self.last_event = Some(event.at);
        self.seconds = event.at.seconds_since(self.started);
        if let What::RunFinished { outcome, seconds } = &event.what {
            self.outcome = Some(*outcome);
            self.seconds = *seconds;
        }
        let name = event.what.step();
        let step = self
            .steps
            .iter_mut()
            .find(|step| Some(step.name.as_str()) == name);
        // A step that the header does not list cannot be shown; only a log made by hand has one.
        if let Some(step) = step {
            step.apply(event);
        }
    }
}

impl StepView {
    fn apply(&mut self, event: &Event) {
        match event.what.clone() {
            What::RunStarted { .. }
            | What::RunFinished { .. }
            | What::ArtifactCorrupted { .. }
            | What::RecordKept { .. } => {}
            What::StepWaiting { message, .. } => {
                self.state = StepState::Waiting;
                self.reason = Some(message);
            }
            What::StepStarted { key, because, .. } => {
                self.state = StepState::Running;
                self.started = Some(event.at);
                self.key = Some(key);
                self.because = Some(because);
                self.reason = None;
            }
            What::StepProgress {
                done,
                total,
                unit,
                message,
                ..
            } => {
                self.progress = Some(Progress {
                    done,
                    total,
                    unit,
                    message,
                });
            }
            What::StepMetric { name, value, .. } => {
                self.metrics.insert(name, value);
            }
            What::StepNote { level, text, .. } => self.notes.push(Note { level, text }),
            What::StepFinished {
                key,
                cached,
                seconds,
                outputs,
                facts,
                ..
            } => {
                self.state = StepState::Done;
                self.key = Some(key);
                self.cached = cached;
                self.seconds = Some(seconds);
                self.outputs = outputs;
                self.facts = facts;
                self.reason = None;
            }
            What::StepFailed { failure, .. } => {
                self.state = StepState::Failed;
                self.failure = Some(failure);
                self.seconds = self.started.map(|start| event.at.seconds_since(start));
            }
            What::StepSkipped { reason, .. } => {
                self.state = StepState::Skipped;
                self.reason = Some(reason);
            }
            What::StepInterrupted { message, .. } => {
                self.state = StepState::Interrupted;
                self.reason = Some(message);
                self.seconds = self.started.map(|start| event.at.seconds_since(start));
            }
        }
    }
}
