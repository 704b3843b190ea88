//! Training: losses, optimizers, loops, checkpoints.
//!
//! Owns: how a student's weights come from examples, and that a run that was cut off ends with the
//! same bytes as one that was not.
//!
//! Must not know: vendors, executors, YAML, pipelines.
//!
//! Start reading at [`decoder::train_decoder`]. Shapes follow the legend in `distill-student`.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

pub mod bench;
pub mod corpus;
pub mod decoder;
pub mod encoder;
pub mod linear;
pub mod memory;
pub mod objective;
pub mod pretrain;
mod training;

pub use decoder::{
    Checkpointing, Method, Proof, Proofs, RangeTest, ScheduleShape, TrainError, TrainEvent,
    TrainExample, TrainOutcome, TrainRequest, TrainSettings, TrainSummary, Trained,
    default_learning_rate, learning_rate_range_test, train_decoder,
};
