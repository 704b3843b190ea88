//! Tasks: what callers name when they send variables and nothing else.

use std::sync::Arc;

use distill_chat::Task;
use distill_wire::Reasoning;

use super::RedactConfig;

/// A versioned prompt with its route and its rules.
#[derive(Debug, Clone)]
pub struct TaskConfig {
    pub name: String,
    /// In the order of the file; at least one.
    pub versions: Vec<TaskVersion>,
    /// The version that answers when nothing was released: the one that the file names, or its last.
    pub active: String,
    /// A route, or `vendor/model` where models are passed through.
    pub route: String,
    pub policy: TaskPolicy,
}

impl TaskConfig {
    /// The route by which a version answers: the task's, with the task's rules applied to its members.
    /// The configuration has one for every version.
    pub fn live_route(&self, version: &str) -> String {
        format!("task/{}@{version}", self.name)
    }

    /// The version of that name.
    pub fn version(&self, name: &str) -> Option<&TaskVersion> {
        self.versions.iter().find(|version| version.version == name)
    }
}

/// One version of a task's prompt.
#[derive(Debug, Clone)]
pub struct TaskVersion {
    pub version: String,
    /// Hash of all that shapes the question (templates, labels, schema, parameters), in hexadecimal.
    pub digest: String,
    /// Renders the question and reads the answer; the same that trains and evaluates students.
    pub task: Arc<Task>,
    pub parameters: TaskParameters,
    /// A route of its own; `None`: the task's.
    pub route: Option<String>,
}

/// How a task samples.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskParameters {
    pub max_tokens: Option<u64>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub stop: Vec<String>,
    pub seed: Option<i64>,
    pub reasoning: Option<Reasoning>,
}

/// Who may call a task, with what, and where that may go.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskPolicy {
    /// `vendor/model` patterns that may answer; empty: all of the route.
    pub models: Vec<String>,
    /// Vendors that may answer; empty: all of the route.
    pub vendors: Vec<String>,
    pub data_class: Option<String>,
    pub redact: RedactConfig,
    /// Bytes of the variables at most.
    pub max_bytes: Option<u64>,
    /// Users, `team:NAME`s or `role:admin`; empty: all whose key allows it.
    pub allow: Vec<String>,
}
