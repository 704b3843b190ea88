//! Runs a graph of steps and remembers what came of it.
//!
//! Owns: the `Step` seam ([`StepRunner`], [`Work`], [`StepContext`]) and the [`Executor`] seam, the
//! scheduler, the store of artifacts and action records, the event log of runs, cancellation.
//!
//! Must not know: what a step does, that a language model or a terminal exists.
//!
//! Start reading at [`run`], which is the scheduler's loop; then `scheduler/task.rs` for the way of
//! one step, and [`Home`] for what stands on disk.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

mod action;
mod artifact;
mod claim;
mod clock;
mod durable;
mod events;
mod executor;
mod explain;
mod heartbeat;
mod home;
mod memory;
mod runs;
mod scheduler;
mod step;
mod tree;

#[cfg(test)]
mod tests;

pub use clock::{Clock, SystemClock};
pub use events::EventReader;
pub use executor::{Executor, LocalExecutor};
pub use explain::{Basis, Compared, ExplainError, Explanation, Made, explain, plan};
pub use home::{Home, StoreError};
pub use runs::{ListedRun, RunListing, RunReading, find_run, list_runs, read_run};
pub use scheduler::{About, Budget, Observer, OnFailure, RunError, RunReport, RunRequest, run};
pub use step::{BoxFuture, Outcome, StepContext, StepEvent, StepFailure, StepRunner, Work};

pub use distill_pipeline::record::{FailureKind, Level};
