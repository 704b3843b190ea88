//! What a reply means for a task.

use serde::{Deserialize, Serialize};

/// A reply as the task understands it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// One label of the task's set.
    Label(String),
    /// A JSON object that satisfies the task's schema.
    Object(serde_json::Map<String, serde_json::Value>),
    /// Free text without white space around it; never empty.
    Text(String),
}

impl Answer {
    /// The canonical text of the answer: what a student is trained to say. Object keys keep their
    /// order; no white space beyond what a compact JSON writer emits.
    pub fn to_text(&self) -> String {
        match self {
            Self::Label(text) | Self::Text(text) => text.clone(),
            Self::Object(object) => serde_json::to_string(object)
                .expect("a map of JSON values with string keys always serialises"),
        }
    }
}
