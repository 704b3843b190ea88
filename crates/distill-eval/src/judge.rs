//! A model as judge of free text: what it is asked, how its words are read, what several of them say
//! together, and how far people agree with it. Pure: nobody is asked here.
//!
//! What is guarded against:
//! - **Injection.** The judged texts are data of others. They stand in fences that no text can close
//!   ([`distill_chat::fence`]), and the instruction says that nothing in them is to be followed.
//! - **Position.** A pair is shown in both orders; a judge that contradicts itself has said "tie"
//!   (L. Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", 2023, section 3.4).
//! - **Identity.** No prompt says which model wrote a text, nor which of two is the student's.
//! - **Guessing.** A reply that is not exactly the JSON that was asked for is no verdict: the row is
//!   unscored, with the reason.
//!
//! Several judges are a panel: the majority of their preferences, the median of their scores.

mod agreement;
mod panel;
mod prompt;
mod reading;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use agreement::{Calibration, agreement, calibrate, corrected_mean};
pub use panel::{PanelScore, panel};
pub use prompt::{Material, pairwise, pairwise_schema, pointwise, pointwise_schema};
pub use reading::{
    Preference, Unreadable, pairwise_judgement, pointwise_judgement, read_preference, read_score,
};

/// Changes with the wording of the prompts and the reading of replies: part of a judging step's key.
pub const JUDGE_VERSION: u32 = 1;

/// The best score of the scale; the worst is 1.
pub const BEST_SCORE: u8 = 5;

/// What a judge is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgeMode {
    /// One answer, scored 1 to 5 against the rubric; a score is mapped to 0 to 1.
    Pointwise,
    /// Two answers in both orders; 1 is better, 0 worse, 0.5 a tie.
    Pairwise,
}

impl JudgeMode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pointwise => "pointwise",
            Self::Pairwise => "pairwise",
        }
    }

    /// The name of the metric that its judgements aggregate to.
    pub fn metric(self) -> &'static str {
        match self {
            Self::Pointwise => "judge",
            Self::Pairwise => "judge_win_rate",
        }
    }

    /// The verdict of a person in the words of a calibration file, as a score of 0 to 1: a whole
    /// number of 1 to 5 (pointwise), or `win`, `tie`, `loss` (pairwise, of the named arm).
    pub fn read_verdict(self, text: &str) -> Option<f64> {
        let text = text.trim();
        match self {
            Self::Pointwise => text
                .parse::<u8>()
                .ok()
                .filter(|score| (1..=BEST_SCORE).contains(score))
                .map(share),
            Self::Pairwise => match text.to_lowercase().as_str() {
                "win" => Some(1.0),
                "tie" => Some(0.5),
                "loss" => Some(0.0),
                _ => None,
            },
        }
    }

    /// What [`JudgeMode::read_verdict`] takes, in words.
    pub fn verdicts(self) -> &'static str {
        match self {
            Self::Pointwise => "a whole number from 1 (worst) to 5 (best)",
            Self::Pairwise => "`win`, `tie` or `loss`, as seen from the named arm",
        }
    }

    /// The category of a score, for agreement of two raters: the five scores, or the three outcomes.
    /// The median of several judges may lie between two scores; it counts as the lower one.
    pub(crate) fn category(self, score: f64) -> i64 {
        let steps = match self {
            Self::Pointwise => f64::from(BEST_SCORE - 1),
            Self::Pairwise => 2.0,
        };
        (score * steps + 1e-9).floor() as i64
    }
}

/// A score of the scale as a share: 1 is 0, 5 is 1.
pub(crate) fn share(score: u8) -> f64 {
    f64::from(score - 1) / f64::from(BEST_SCORE - 1)
}
