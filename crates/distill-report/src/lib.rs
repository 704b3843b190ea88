//! The report of a run: its data and its renderings.
//!
//! **Owns** [`RunReport`], the arithmetic of the cost model, and the forms of a report, which say the
//! same numbers: terminal, Markdown, JSON, HTML, `JUnit` XML and a summary for pull requests.
//!
//! **Must not know** how anything ran; it makes no model call, reads no file and asks no clock.
//!
//! **Start reading** at [`RunReport`], then `compose.rs` (what a report says) and `export.rs` (how
//! each form writes it).
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a panic is how a test fails")
)]

mod compose;
mod document;
mod export;
mod figure;
mod model;
mod number;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

pub use export::{
    FORMATS, Format, ReadError, html, json, junit, markdown, read, summary, terminal,
};
pub use model::{
    AcceptFacts, Agreement, Arm, Arrival, CONFUSION_LABELS, CandidateCost, CascadeFacts,
    ConfusionFacts, Corrected, CostInputs, CostModel, Counted, CurveFacts, CurveFactsPoint,
    DataFacts, DataSource, Difference, EnergyFacts, EnergySource, EvalDuplicate, JudgeFacts,
    JudgePair, JudgeScore, LabelConflict, LabelFacts, LabelNoiseFacts, LabelSource, LabelSuspect,
    LeakedRow, Lineage, LoadFacts, ModelSource, NoiseFloorFacts, OneOff, OtherSpend, PriceAge,
    Regression, Regressions, ReliabilityBin, Removal, RepeatFacts, Role, RunReport, SCHEMA,
    Sensitivity, SharedText, Slice, Speed, Spend, Spread, StudentCost, TaskFacts, TrainingFacts,
    Unsettled,
};
