//! The `Step` seam: work as data goes in, events and an outcome come out.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use distill_pipeline::hash::Key;
use distill_pipeline::record::{FailureKind, FailureRecord, Level, RunId};

use crate::claim::Claim;
use crate::home::StoreError;

/// A future on the heap.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Does the work of steps. Whoever knows the kinds of step implements this.
pub trait StepRunner<A>: Send + Sync {
    /// Makes every output, or fails. Work that keeps a core busy goes through
    /// [`StepContext::blocking`].
    ///
    /// After cancellation it stops at a point from which the same work can go on, and returns
    /// [`StepFailure::interrupted`]; it has the run's grace period for that.
    fn run(
        &self,
        work: Work<A>,
        context: StepContext,
    ) -> BoxFuture<'_, Result<Outcome, StepFailure>>;
}

/// One step to do, as data: another process or machine could do it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Work<A> {
    pub run: RunId,
    pub step: String,
    pub key: Key,
    pub action: A,
    /// Input port to a file or directory, which must not be changed.
    pub inputs: BTreeMap<String, PathBuf>,
    /// Output port to a path where nothing is yet: the step makes a file or a directory there.
    pub outputs: BTreeMap<String, PathBuf>,
    /// An existing directory for checkpoints. What an earlier attempt at the same key left there
    /// is still there; after success it is deleted.
    pub work_dir: PathBuf,
    pub seed: Option<u64>,
}

impl<A> Work<A> {
    /// Gives the path behind an input port that the step declares.
    pub fn input(&self, port: &str) -> &Path {
        let path = self.inputs.get(port);
        path.unwrap_or_else(|| panic!("step `{}` declares no input `{port}`", self.step))
    }

    /// Gives the path behind an output port that the step declares.
    pub fn output(&self, port: &str) -> &Path {
        let path = self.outputs.get(port);
        path.unwrap_or_else(|| panic!("step `{}` declares no output `{port}`", self.step))
    }
}

/// What a step says while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum StepEvent {
    Progress {
        done: u64,
        total: Option<u64>,
        /// What is counted, in the plural.
        unit: String,
        message: Option<String>,
    },
    Metric {
        name: String,
        value: f64,
        /// Where on the way it was measured, for instance the optimizer step.
        position: Option<u64>,
    },
    Note {
        level: Level,
        text: String,
    },
}

type Sink = Arc<dyn Fn(StepEvent) + Send + Sync>;

/// The way from a step to the run around it. Clones are cheap.
///
/// A thread that works for the step keeps a clone: with it the thread also keeps the step's work
/// directory to itself, even when the run has given the step up.
#[derive(Clone)]
pub struct StepContext {
    run: RunId,
    step: Arc<str>,
    cancel: CancellationToken,
    sink: Sink,
    claim: Option<Arc<Claim>>,
}

impl StepContext {
    /// Makes a context around `sink`: for executors, and for tests of single steps.
    pub fn new(
        run: RunId,
        step: impl Into<String>,
        cancel: CancellationToken,
        sink: Arc<dyn Fn(StepEvent) + Send + Sync>,
    ) -> Self {
        Self {
            run,
            step: step.into().into(),
            cancel,
            sink,
            claim: None,
        }
    }

    pub(crate) fn holding(mut self, claim: Arc<Claim>) -> Self {
        self.claim = Some(claim);
        self
    }

    pub fn run(&self) -> &RunId {
        &self.run
    }

    pub fn step(&self) -> &str {
        &self.step
    }

    /// Says something; never blocks, and may be called from any thread.
    pub fn emit(&self, event: StepEvent) {
        (self.sink)(event);
    }

    /// Says how far the step is. May be called often: what comes too fast is thinned out.
    pub fn progress(&self, done: u64, total: Option<u64>, unit: &str) {
        self.emit(StepEvent::Progress {
            done,
            total,
            unit: unit.to_owned(),
            message: None,
        });
    }

    pub fn metric(&self, name: &str, value: f64, position: Option<u64>) {
        self.emit(StepEvent::Metric {
            name: name.to_owned(),
            value,
            position,
        });
    }

    pub fn note(&self, level: Level, text: impl Into<String>) {
        let text = text.into();
        self.emit(StepEvent::Note { level, text });
    }

    pub fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Runs work that keeps a core busy on a thread of its own. It should look at
    /// [`Self::is_cancelled`] now and then: nothing else stops it.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(StepContext) -> Result<T, StepFailure> + Send + 'static,
    ) -> Result<T, StepFailure> {
        let context = self.clone();
        match tokio::task::spawn_blocking(move || work(context)).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(StepFailure::interrupted()),
            },
        }
    }
}

/// What a step gives back beside its outputs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Worth telling in events and records; never part of a key, and free to differ between runs.
    pub facts: Value,
}

/// Why a step did not make its outputs.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StepFailure {
    pub kind: FailureKind,
    /// What was being done with what, in lower case, without the cause.
    pub message: String,
    pub source: Option<Box<dyn Error + Send + Sync>>,
    /// What to do next.
    pub hint: Option<String>,
    pub file: Option<PathBuf>,
    pub line: Option<u64>,
    /// Whether the same step may well succeed if it is run again unchanged.
    pub retryable: bool,
}

impl StepFailure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
            hint: None,
            file: None,
            line: None,
            retryable: false,
        }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Failed, message)
    }

    /// The user's file or setting is at fault.
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::new(FailureKind::BadInput, message)
    }

    /// A cap on money or time was reached.
    pub fn budget(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Budget, message)
    }

    /// The step was asked to stop, and the same work can go on later.
    pub fn interrupted() -> Self {
        Self {
            retryable: true,
            ..Self::new(FailureKind::Interrupted, "stopped when asked to")
        }
    }

    /// The program itself is wrong.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Bug, message)
    }

    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(cause.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Points at the user's file.
    #[must_use]
    pub fn at(mut self, file: impl Into<PathBuf>, line: Option<u64>) -> Self {
        self.file = Some(file.into());
        self.line = line;
        self
    }

    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Gives the failure as it is kept in events.
    pub fn record(&self) -> FailureRecord {
        let mut causes = Vec::new();
        let mut cause = self.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        FailureRecord {
            kind: self.kind,
            message: self.message.clone(),
            causes,
            hint: self.hint.clone(),
            file: self.file.clone(),
            line: self.line,
            retryable: self.retryable,
        }
    }
}

impl From<StoreError> for StepFailure {
    fn from(error: StoreError) -> Self {
        let mut failure = Self::failed(error.to_string());
        failure.hint = error.hint();
        failure.file = error.path().map(Path::to_owned);
        if let StoreError::Io { source, .. } = error {
            failure.source = Some(source.into());
        } else if let StoreError::Malformed { source, .. } = error {
            failure.source = Some(source.into());
        }
        failure
    }
}
