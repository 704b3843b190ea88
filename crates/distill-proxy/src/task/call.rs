//! A call of a task as callers write it, in any dialect.

use distill_chat::Fields;
use distill_wire::Dropped;
use serde_json::{Map, Value};

use super::{PREFIX, TaskProblem};

/// What a caller sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskCall {
    pub name: String,
    /// `None`: the one that answers now.
    pub version: Option<String>,
    pub variables: Fields,
    /// Text of the one user message, where the call has no variables.
    pub text: Option<String>,
    pub stream: bool,
    pub stream_usage: bool,
    pub max_tokens: Option<u64>,
    /// Fields that a task decides and the caller sent all the same.
    pub dropped: Vec<Dropped>,
    /// Size of the variables as JSON.
    pub bytes: u64,
}

/// Fields of a call that mean what they always do, or nothing.
const KNOWN: [&str; 13] = [
    "model",
    "variables",
    "metadata",
    "messages",
    "input",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "user",
    "store",
    "service_tier",
];

impl TaskCall {
    /// Whether a model's name means a task.
    pub fn is_task(model: &str) -> bool {
        model.starts_with(PREFIX)
    }

    /// Reads a call from a body of `/v1/chat/completions`, `/v1/responses` or `/v1/messages` whose
    /// model is `task/NAME` or `task/NAME@VERSION`. The variables stand in `variables`, or in
    /// `metadata.variables` as a map or as its JSON text (client libraries that let metadata hold
    /// text only).
    ///
    /// # Errors
    /// [`TaskProblem`] names the field.
    pub fn read(body: &[u8]) -> Result<Self, TaskProblem> {
        let body = object(body)?;
        let model = body
            .get("model")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let named = model.strip_prefix(PREFIX).unwrap_or(model).to_owned();
        Self::from_body(&named, &body)
    }

    /// Reads a call from a body of `/v1/tasks/NAME`: `{variables, stream, version}`.
    ///
    /// # Errors
    /// [`TaskProblem`] names the field.
    pub fn read_named(name: &str, body: &[u8]) -> Result<Self, TaskProblem> {
        let mut body = object(body)?;
        let version = match body.remove("version") {
            None | Some(Value::Null) => None,
            Some(Value::String(version)) => Some(version),
            Some(Value::Number(version)) => Some(version.to_string()),
            Some(_) => {
                return Err(TaskProblem::Invalid {
                    field: "version",
                    problem: "is the name of a version".to_owned(),
                });
            }
        };
        let mut call = Self::from_body(name, &body)?;
        call.version = version.or(call.version);
        Ok(call)
    }

    fn from_body(named: &str, body: &Map<String, Value>) -> Result<Self, TaskProblem> {
        let (name, version) = match named.split_once('@') {
            Some((name, version)) => (name, Some(version.to_owned())),
            None => (named, None),
        };
        let variables = variables(body)?;
        let bytes = serde_json::to_vec(&variables).map_or(0, |text| text.len() as u64);
        let text = text(body)?;
        let bytes = bytes.max(text.as_ref().map_or(0, |text| text.len() as u64));
        let flag = |value: Option<&Value>, field| match value {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(_) => Err(TaskProblem::Invalid {
                field,
                problem: "is true or false".to_owned(),
            }),
        };
        let stream = flag(body.get("stream"), "stream")?;
        let usage = body
            .get("stream_options")
            .and_then(|options| options.get("include_usage"));
        Ok(Self {
            name: name.to_owned(),
            version,
            variables,
            text,
            stream,
            stream_usage: flag(usage, "stream_options")?,
            max_tokens: ["max_tokens", "max_completion_tokens", "max_output_tokens"]
                .iter()
                .find_map(|name| body.get(*name)?.as_u64()),
            dropped: body
                .iter()
                .filter(|(field, value)| !KNOWN.contains(&field.as_str()) && !value.is_null())
                .map(|(field, _)| Dropped {
                    field: field.clone(),
                    reason: "the task decides it",
                })
                .collect(),
            bytes,
        })
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, TaskProblem> {
    serde_json::from_slice(body).map_err(|error| TaskProblem::Body {
        problem: error.to_string(),
    })
}

fn variables(body: &Map<String, Value>) -> Result<Fields, TaskProblem> {
    let in_metadata = body
        .get("metadata")
        .and_then(|metadata| metadata.get("variables"));
    let (field, value) = match (body.get("variables"), in_metadata) {
        (Some(_), Some(_)) => {
            return Err(TaskProblem::Invalid {
                field: "variables",
                problem: "stands beside `metadata.variables`: send one of the two".to_owned(),
            });
        }
        (Some(value), None) => ("variables", value),
        (None, Some(value)) => ("metadata.variables", value),
        (None, None) => return Ok(Fields::new()),
    };
    let parsed = match value {
        Value::Object(map) => Some(map.clone()),
        Value::Null => Some(Fields::new()),
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    };
    parsed.ok_or_else(|| TaskProblem::Invalid {
        field,
        problem: "is a map from names to values".to_owned(),
    })
}

/// The text of the one message of a call, if it has any. A conversation is none: a task asks its own
/// question, and turns beside it would be lost.
fn text(body: &Map<String, Value>) -> Result<Option<String>, TaskProblem> {
    let (field, turns) = match (body.get("messages"), body.get("input")) {
        (Some(Value::Array(turns)), None) => ("messages", turns.as_slice()),
        (None, Some(Value::String(text))) => {
            return Ok((!text.is_empty()).then(|| text.clone()));
        }
        (None, Some(Value::Array(turns))) => ("input", turns.as_slice()),
        (None | Some(Value::Null), None | Some(Value::Null)) => return Ok(None),
        _ => {
            return Err(TaskProblem::Invalid {
                field: "messages",
                problem: "is a list of messages, or empty for a task".to_owned(),
            });
        }
    };
    let problem = |problem: &str| TaskProblem::Invalid {
        field,
        problem: problem.to_owned(),
    };
    match turns {
        [] => Ok(None),
        [turn] if turn.get("role").and_then(Value::as_str) == Some("user") => {
            match turn.get("content") {
                Some(Value::String(text)) => Ok((!text.is_empty()).then(|| text.clone())),
                Some(Value::Array(parts)) => {
                    let texts: Option<String> = parts
                        .iter()
                        .map(|part| part.get("text").and_then(Value::as_str))
                        .collect();
                    texts
                        .map(|text| (!text.is_empty()).then_some(text))
                        .ok_or_else(|| {
                            problem("holds a part that is no text, which a task cannot take")
                        })
                }
                Some(Value::Null) | None => Ok(None),
                Some(_) => Err(problem("has a message without text")),
            }
        }
        _ => Err(problem(
            "holds a conversation, and a task asks its own question: send its variables in `variables`",
        )),
    }
}
