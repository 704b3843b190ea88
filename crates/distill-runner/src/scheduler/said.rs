//! What tasks tell the loop while they run.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use distill_pipeline::hash::{ContentHash, Key};
use distill_pipeline::record::{RunId, What};

use crate::step::StepEvent;

/// What a task tells the loop.
pub(super) enum Said {
    Step(StepEvent),
    Waiting {
        message: String,
        made_by: Option<RunId>,
    },
    Corrupted {
        port: String,
        artifact: ContentHash,
        moved_to: PathBuf,
    },
    Kept {
        key: Key,
        made_by: RunId,
    },
}

impl Said {
    pub(super) fn into_what(self, step: &str) -> What {
        let step = step.to_owned();
        match self {
            Self::Step(StepEvent::Progress {
                done,
                total,
                unit,
                message,
            }) => What::StepProgress {
                step,
                done,
                total,
                unit,
                message,
            },
            Self::Step(StepEvent::Metric {
                name,
                value,
                position,
            }) => What::StepMetric {
                step,
                name,
                // JSON has no NaN; a figure that is none is shown missing.
                value: value.is_finite().then_some(value),
                position,
            },
            Self::Step(StepEvent::Note { level, text }) => What::StepNote { step, level, text },
            Self::Waiting { message, made_by } => What::StepWaiting {
                step,
                message,
                made_by,
            },
            Self::Corrupted {
                port,
                artifact,
                moved_to,
            } => What::ArtifactCorrupted {
                step,
                port,
                artifact,
                moved_to,
            },
            Self::Kept { key, made_by } => What::RecordKept { step, key, made_by },
        }
    }
}

/// Progress is logged no more often than this.
const EVERY: Duration = Duration::from_millis(100);

/// Thins out the progress of one step, so that its first, its last, and ten a second are logged.
#[derive(Default)]
pub(super) struct Thinned {
    last: Option<Instant>,
    held: Option<What>,
}

impl Thinned {
    /// Gives back what is to be logged now; everything but progress always is.
    pub(super) fn thin(&mut self, what: What) -> Option<What> {
        let What::StepProgress { done, total, .. } = &what else {
            return Some(what);
        };
        let complete = *total == Some(*done);
        let due = self.last.is_none_or(|last| last.elapsed() >= EVERY);
        if complete || due {
            self.last = Some(Instant::now());
            self.held = None;
            Some(what)
        } else {
            self.held = Some(what);
            None
        }
    }

    /// Gives the latest progress if it was held back.
    pub(super) fn rest(&mut self) -> Option<What> {
        self.held.take()
    }
}
