//! One answered row, and what a metric says about it.

use distill_chat::Task;
use serde::{Deserialize, Serialize};

/// What came back when a model was asked about a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// An answer to the task: `answer` is its canonical text (a label, or compact JSON).
    Answer { reply: String, answer: String },
    /// The model replied, but the reply is no answer to the task. Counts as wrong.
    Invalid { reply: String, problem: String },
    /// Nothing arrived. Not scored: the model was not heard.
    Missing { reason: String },
}

/// One row of an eval with a model's outcome and the reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub id: String,
    pub outcome: Outcome,
    /// The reference answer: a label, the text of a JSON object, or free text (a JSON list of
    /// strings holds several right ones). `None` where the row has none.
    pub gold: Option<String>,
    /// Rows of one group (turns of a conversation, questions about a document) are drawn together
    /// by a bootstrap. `None` for a row that stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The texts of the options that a multiple-choice row offers, in the order of their letters;
    /// empty where they are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
}

impl Sample {
    /// Reads a reply as the task reads it; `Err` says why there is none.
    pub fn read(
        id: impl Into<String>,
        task: &Task,
        reply: Result<&str, &str>,
        gold: Option<&str>,
    ) -> Self {
        let outcome = match reply {
            Err(reason) => Outcome::Missing {
                reason: reason.to_owned(),
            },
            Ok(reply) => match task.parse_reply(reply) {
                Ok(answer) => Outcome::Answer {
                    reply: reply.to_owned(),
                    answer: answer.to_text(),
                },
                Err(problem) => Outcome::Invalid {
                    reply: reply.to_owned(),
                    problem: problem.to_string(),
                },
            },
        };
        Self {
            id: id.into(),
            outcome,
            gold: gold.map(str::to_owned),
            group: None,
            choices: Vec::new(),
        }
    }

    #[must_use]
    pub fn with_group(mut self, group: Option<String>) -> Self {
        self.group = group;
        self
    }

    #[must_use]
    pub fn with_choices(mut self, choices: Vec<String>) -> Self {
        self.choices = choices;
        self
    }

    /// The canonical answer, where the reply was one.
    pub fn answer(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Answer { answer, .. } => Some(answer),
            Outcome::Invalid { .. } | Outcome::Missing { .. } => None,
        }
    }

    /// The text that arrived, valid or not.
    pub fn reply(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Answer { reply, .. } | Outcome::Invalid { reply, .. } => Some(reply),
            Outcome::Missing { .. } => None,
        }
    }

    /// The reply and the reference, or why the row cannot be scored against one.
    pub(crate) fn reply_and_gold(&self) -> Result<(&str, &str), Score> {
        let reply = self.reply_or_unscored()?;
        match &self.gold {
            Some(gold) => Ok((reply, gold)),
            None => Err(Score::unscored("the row has no reference answer")),
        }
    }

    pub(crate) fn reply_or_unscored(&self) -> Result<&str, Score> {
        match &self.outcome {
            Outcome::Missing { reason } => Err(Score::unscored(reason.as_str())),
            Outcome::Answer { reply, .. } | Outcome::Invalid { reply, .. } => Ok(reply),
        }
    }
}

/// A sample's value under a metric. There is no number that stands for "not scored".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    Value(f64),
    Unscored { reason: String },
}

impl Score {
    pub fn unscored(reason: impl Into<String>) -> Self {
        Self::Unscored {
            reason: reason.into(),
        }
    }

    pub(crate) fn right(holds: bool) -> Self {
        Self::Value(f64::from(u8::from(holds)))
    }

    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(*value),
            Self::Unscored { .. } => None,
        }
    }
}

/// A sample's score under its row's id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoredRow {
    pub id: String,
    pub score: Score,
}
