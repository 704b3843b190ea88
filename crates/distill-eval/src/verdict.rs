//! The decision that a comparison supports, and its reason in plain words.
//!
//! # What the rows may and may not do
//!
//! The judged rows decide once and select nothing: no hyperparameter, no threshold, no size of a
//! training set is chosen on them. [`Decision::MoreData`] reads both the candidate's distance from
//! the margin and the slope of its learning curve off rows that are judged: it is a forecast, not a
//! test, and it is never a pass. The run that follows it should be judged on fresh rows, since a
//! second look at the same rows is one more chance to pass by luck that nothing here corrects for.
//!
//! All candidates of one run are one family ([`recommend`](crate::recommend)).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Aggregate, Comparison};

mod curve;
mod number;
mod reason;
mod rows;
#[cfg(test)]
mod tests;

pub use curve::{CurvePoint, LearningCurve, Projection};
pub(crate) use number::{count, percent, points, signed};
pub(crate) use reason::decide_as;
pub(crate) use rows::rows_to_settle;

/// What the answers were held against.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// Answers that came with the rows and that somebody other than the teacher vouches for.
    #[default]
    Gold,
    /// Answers that people gave for this run.
    Human,
    /// The verdicts of a model, corrected with people's on some of the same rows
    /// ([`compare_judged`](crate::compare_judged)): agreement alone, however high, does not keep a
    /// judge from favouring one side.
    CalibratedJudge,
    /// The verdicts of a model that nobody checked.
    UncalibratedJudge,
    /// The teacher's own answers: a score is agreement with the teacher, right or wrong.
    TeacherLabels,
}

impl Reference {
    /// Whether answers held against it can show that the teacher may be replaced.
    pub fn can_replace(self) -> bool {
        match self {
            Self::Gold | Self::Human | Self::CalibratedJudge => true,
            Self::UncalibratedJudge | Self::TeacherLabels => false,
        }
    }
}

/// What a deployed student must keep to beside being right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    pub max_p95_ms: Option<f64>,
    pub max_usd_per_1000: Option<f64>,
}

/// What a candidate is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CandidateRole {
    /// A trained student.
    #[default]
    Student,
    /// The linear student: what every other must beat to be worth having.
    Floor,
    /// A student that asks the teacher on this share of the judged rows.
    Cascade { deferred: f64 },
    /// A hosted model that is sold for less than the teacher.
    CheaperApi,
}

/// All that a decision rests on.
#[derive(Debug, Clone, Copy, Default)]
pub struct DecisionInput<'a> {
    pub candidate: &'a str,
    /// Candidate against teacher on the same rows; `None` when no teacher answered them.
    pub comparison: Option<&'a Comparison>,
    /// The same with every answer that never arrived counted against the candidate: its own as
    /// wrong, the teacher's as right. `None` where each row has both answers. A candidate must not
    /// gain from the rows on which it says nothing, so what passes must pass here, too.
    pub at_worst: Option<&'a Comparison>,
    /// The loss that is accepted, as a share of the full score.
    pub margin: f64,
    /// Of the two-sided interval of the difference.
    pub confidence: f64,
    pub reference: Reference,
    pub limits: Limits,
    pub p95_ms: Option<f64>,
    pub usd_per_1000: Option<f64>,
    /// The teacher's, to hold a candidate against that is taken for being cheaper.
    pub teacher_usd_per_1000: Option<f64>,
    pub learning_curve: Option<&'a LearningCurve>,
    /// The candidate's own score: what there is to tell when there is no comparison.
    pub measured: Option<&'a Aggregate>,
}

impl DecisionInput<'_> {
    /// Whether what it rests on can show that the teacher may be replaced.
    pub(crate) fn can_replace(&self) -> bool {
        let corrected = || self.comparison.is_some_and(Comparison::is_corrected);
        self.reference.can_replace()
            && (self.reference != Reference::CalibratedJudge || corrected())
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Decision {
    /// The candidate is not worse than the teacher by the margin or more, and keeps the limits.
    Replace,
    /// The same of a student that asks the teacher on this share of the rows, 0 to 1.
    Cascade {
        deferred: f64,
    },
    /// The same of a hosted model that costs less.
    CheaperApi,
    KeepTeacher,
    /// Training on about this many rows is projected to bring the candidate within the margin.
    MoreData {
        train_rows: usize,
    },
    /// The rows do not settle it; about this many fresh ones would. `None` when rows are not what
    /// is missing.
    Undecided {
        eval_rows: Option<usize>,
    },
}

impl Decision {
    /// Whether something may stand in the teacher's place, in whole or in part: the gate is met.
    pub fn is_met(self) -> bool {
        match self {
            Self::Replace | Self::Cascade { .. } | Self::CheaperApi => true,
            Self::KeepTeacher | Self::MoreData { .. } | Self::Undecided { .. } => false,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replace => formatter.write_str("REPLACE"),
            Self::Cascade { deferred } => write!(formatter, "CASCADE({:.0}%)", deferred * 100.0),
            Self::CheaperApi => formatter.write_str("CHEAPER_API"),
            Self::KeepTeacher => formatter.write_str("KEEP_TEACHER"),
            Self::MoreData { train_rows } => write!(formatter, "MORE_DATA({train_rows})"),
            Self::Undecided {
                eval_rows: Some(rows),
            } => write!(formatter, "UNDECIDED({rows})"),
            Self::Undecided { eval_rows: None } => formatter.write_str("UNDECIDED"),
        }
    }
}

/// A decision and one sentence that says why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub decision: Decision,
    /// Whom the decision is about.
    pub candidate: Option<String>,
    pub reason: String,
}

/// Decides about a student by the two-sided interval of (student − teacher): above −margin, it may
/// replace the teacher; below it, the teacher stays; across it, more rows are needed.
///
/// For one candidate alone; several are decided by [`recommend`](crate::recommend).
pub fn decide(input: &DecisionInput<'_>) -> Verdict {
    decide_as(input, CandidateRole::Student)
}
