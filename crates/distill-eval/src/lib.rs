//! Scores, intervals, paired tests and the verdict.
//!
//! **Owns** what a sample is worth under a metric, the aggregates with their intervals, the paired
//! comparison of two models on the same rows, the confidence from which on a student may answer
//! itself, and the decision that follows.
//!
//! **Must not know** where a model runs, how a report looks; it reads no file and asks no clock.
//!
//! **Start reading** at [`Metric`] and [`METRICS`], then [`compare`] and [`decide`].
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a panic is how a test fails")
)]

mod aggregate;
pub mod cascade;
mod confusion;
mod fields;
pub mod judge;
mod metric;
mod paired;
mod recommend;
mod record;
mod sample;
pub mod stats;
mod verdict;

pub use aggregate::{Aggregate, Settings, aggregate, aggregate_scores};
pub use confusion::{ConfusedPair, Confusion, LabelScores, NO_VALID_ANSWER};
pub use fields::{FieldScores, per_field};
pub use metric::{
    Context, Corpus, Direction, METRICS, Metric, Options, Rule, Scorer, ScorerError, Setting,
    SettingKind, Unit, metric, primary_metric,
};
pub use paired::{
    CompareError, Comparison, CorpusComparison, JudgedSide, PairedTable, Scale, compare,
    compare_corpus, compare_judged, compare_percentiles, compare_samples, compare_values,
};
pub use recommend::{Candidate, CandidateVerdict, Recommendation, recommend};
pub use record::{ExpectedBy, Judgement, SampleRecord};
pub use sample::{Outcome, Sample, Score, ScoredRow};
pub use stats::{Interval, IntervalMethod, Quantiles, Statistic};
pub use verdict::{
    CandidateRole, CurvePoint, Decision, DecisionInput, LearningCurve, Limits, Projection,
    Reference, Verdict, decide,
};
