//! `train.objective` after every check.

use serde::{Deserialize, Serialize};

use super::StudentTarget;

/// What a decoder's loss is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectiveKind {
    CrossEntropy,
    SoftLabels,
    TopK,
    OnPolicy,
    Rationale,
}

impl ObjectiveKind {
    pub const ALL: [Self; 5] = [
        Self::CrossEntropy,
        Self::SoftLabels,
        Self::TopK,
        Self::OnPolicy,
        Self::Rationale,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross_entropy",
            Self::SoftLabels => "soft_labels",
            Self::TopK => "top_k",
            Self::OnPolicy => "on_policy",
            Self::Rationale => "rationale",
        }
    }
}

/// What becomes of the probability outside a teacher's top tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestKind {
    #[default]
    Bucket,
    Renormalised,
}

/// Which way the divergence between teacher and student is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DivergenceKind {
    Forward,
    Reverse,
}

/// From what the divergence along a drawn reply is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EstimateKind {
    #[default]
    Whole,
    Drawn,
}

/// What a decoder learns besides, or instead of, its labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum ObjectiveSpec {
    /// A teacher's probabilities of the labels.
    SoftLabels {
        teacher: StudentTarget,
        temperature: f64,
        share: f64,
    },
    /// A teacher's likeliest tokens at each place of the reply.
    TopK {
        /// None: the vendor that gave the labels tells them with its replies.
        teacher: Option<StudentTarget>,
        top: usize,
        rest: RestKind,
        divergence: DivergenceKind,
        temperature: f64,
        share: f64,
    },
    /// A teacher's view of the student's own replies.
    OnPolicy {
        teacher: StudentTarget,
        estimate: EstimateKind,
        divergence: DivergenceKind,
        temperature: f64,
        share: f64,
        student_share: f64,
    },
    /// Answers with and without the reasoning of a column.
    Rationale { column: String, weight: f64 },
}

impl ObjectiveSpec {
    pub fn kind(&self) -> ObjectiveKind {
        match self {
            Self::SoftLabels { .. } => ObjectiveKind::SoftLabels,
            Self::TopK { .. } => ObjectiveKind::TopK,
            Self::OnPolicy { .. } => ObjectiveKind::OnPolicy,
            Self::Rationale { .. } => ObjectiveKind::Rationale,
        }
    }

    /// The local teacher, where there is one.
    pub fn teacher(&self) -> Option<&StudentTarget> {
        match self {
            Self::SoftLabels { teacher, .. } | Self::OnPolicy { teacher, .. } => Some(teacher),
            Self::TopK { teacher, .. } => teacher.as_ref(),
            Self::Rationale { .. } => None,
        }
    }
}
