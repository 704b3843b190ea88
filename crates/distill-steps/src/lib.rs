//! The steps of a distillation: what each kind does, and how a spec becomes a graph of them.
//!
//! **Owns** one module per step kind, the [`Action`] enum, the expansion of a spec into a graph,
//! and the readers of data sets.
//!
//! **Must not know** the terminal, the scheduling, which executor runs a step.
//!
//! **Start reading** at [`compile`], which lays out the graph, then [`Steps`], which does one step.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a panic is how a test fails")
)]

mod action;
mod arm;
mod base;
mod cascade;
mod compare;
mod compile;
pub mod curate;
mod curve;
pub mod dataset;
mod evaluate;
mod external;
pub mod gate;
pub mod human;
mod ingest;
mod inspect;
pub mod judge;
mod label;
mod label_noise;
mod measure;
pub mod models;
mod noise;
mod plausible;
pub mod prices;
pub mod rows;
mod smoke;
mod split;
mod steps;
mod student;
pub mod suite;
pub mod teacher;
mod train;
pub mod write_report;

pub use action::Action;
pub use arm::Arm;
pub use compile::{CompileError, Compiled, REPORT_STEP, compile, parse_spec};
pub use inspect::{Inspection, SpendAccount, SpendEstimate, SpendLine};
pub use steps::Steps;
