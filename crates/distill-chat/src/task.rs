//! The contract of a task: how a row becomes a conversation and a reply becomes an answer.
//!
//! The same [`Task`] renders for the teacher, for training, for evaluation and for serving, so what
//! a student is asked in production is what it was taught.

use std::borrow::Cow;

use minijinja::{Environment, UndefinedBehavior};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Answer, Message, ObjectSchema, SchemaError, SchemaViolation};

/// The columns of one data row, by name.
pub type Fields = serde_json::Map<String, Value>;

/// What kind of answer a task wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// One label out of a set.
    Classify,
    /// A flat JSON object.
    Extract,
    /// Free text.
    Generate,
}

impl TaskKind {
    /// Every kind, in the order reference texts list them.
    pub const ALL: [Self; 3] = [Self::Classify, Self::Extract, Self::Generate];

    /// As written in specs and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Extract => "extract",
            Self::Generate => "generate",
        }
    }

    /// The right answers that a reference text holds. For free text, a JSON list of strings holds
    /// several, each of them right; any other text is the one right answer itself. Never empty.
    pub fn references(self, gold: &str) -> Vec<Cow<'_, str>> {
        if self == Self::Generate
            && gold.trim_start().starts_with('[')
            && let Ok(several) = serde_json::from_str::<Vec<String>>(gold)
            && !several.is_empty()
        {
            return several.into_iter().map(Cow::Owned).collect();
        }
        vec![Cow::Borrowed(gold)]
    }

    /// The answer to train on when the reference holds several: the first.
    pub fn first_reference(self, gold: &str) -> String {
        self.references(gold).swap_remove(0).into_owned()
    }
}

/// A task as data: part of the spec, of cache keys and of a student's bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskDefinition {
    pub kind: TaskKind,
    /// minijinja over the row's columns and `labels`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// minijinja over the row's columns and `labels`.
    pub prompt: String,
    /// The label set of a classification, in a fixed order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The JSON schema of an extraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

/// A definition whose templates compile and whose schema can be held.
#[derive(Debug)]
pub struct Task {
    definition: TaskDefinition,
    templates: Environment<'static>,
    schema: Option<ObjectSchema>,
}

/// Why a task cannot be made, rendered or its reply read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    #[error("template `{part}` does not compile: {problem}")]
    Template { part: &'static str, problem: String },
    #[error("template `{part}` cannot be rendered: {problem}")]
    Render { part: &'static str, problem: String },
    #[error("an extraction task needs a schema")]
    NoSchema,
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("the reply is empty")]
    EmptyReply,
    #[error("the reply is not one of the {0} labels")]
    UnknownLabel(usize),
    #[error("the reply is not JSON: {0}")]
    NotJson(String),
    #[error("the reply breaks the schema: {0}")]
    Violation(#[from] SchemaViolation),
}

const SYSTEM: &str = "system";
const PROMPT: &str = "prompt";
/// Steps a template may take: thousands of times what a prompt needs, and the end of one that loops.
const TEMPLATE_FUEL: u64 = 200_000;

impl Task {
    /// Compiles the templates and checks the schema.
    ///
    /// # Errors
    /// The first part that does not hold.
    pub fn new(definition: TaskDefinition) -> Result<Self, TaskError> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_fuel(Some(TEMPLATE_FUEL));
        // Prompts are text for a model, not HTML.
        templates.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        let mut add = |part: &'static str, source: &str| {
            templates
                .add_template_owned(part, source.to_owned())
                .map_err(|error| TaskError::Template {
                    part,
                    problem: error.to_string(),
                })
        };
        if let Some(system) = &definition.system {
            add(SYSTEM, system)?;
        }
        add(PROMPT, &definition.prompt)?;
        let schema = match (definition.kind, &definition.schema) {
            (TaskKind::Classify | TaskKind::Generate, _) => None,
            (TaskKind::Extract, None) => return Err(TaskError::NoSchema),
            (TaskKind::Extract, Some(schema)) => Some(ObjectSchema::parse(schema)?),
        };
        Ok(Self {
            definition,
            templates,
            schema,
        })
    }

    pub fn definition(&self) -> &TaskDefinition {
        &self.definition
    }

    /// The schema of an extraction.
    pub fn schema(&self) -> Option<&ObjectSchema> {
        self.schema.as_ref()
    }

    /// Names that the templates read from outside: the columns a data row must have, `labels` left
    /// out. Sorted.
    pub fn referenced_columns(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .templates
            .templates()
            .flat_map(|(_, template)| template.undeclared_variables(false))
            .filter(|name| name != "labels")
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// The conversation that asks about one row: the system message, if any, then the user's.
    ///
    /// # Errors
    /// [`TaskError::Render`] when a template reads a column that the row does not have.
    pub fn messages(&self, fields: &Fields) -> Result<Vec<Message>, TaskError> {
        let mut messages = Vec::with_capacity(2);
        if self.definition.system.is_some() {
            messages.push(Message::system(self.render(SYSTEM, fields)?));
        }
        messages.push(Message::user(self.render(PROMPT, fields)?));
        Ok(messages)
    }

    /// Reads a reply. White space around it, and a Markdown fence around JSON, are taken off.
    ///
    /// # Errors
    /// Why the reply is no answer to this task.
    pub fn parse_reply(&self, reply: &str) -> Result<Answer, TaskError> {
        let text = reply.trim();
        if text.is_empty() {
            return Err(TaskError::EmptyReply);
        }
        match (&self.schema, self.definition.kind) {
            (None, TaskKind::Generate) => Ok(Answer::Text(text.to_owned())),
            (None, _) => self.parse_label(text),
            (Some(schema), _) => {
                let value: Value = serde_json::from_str(without_fence(text))
                    .map_err(|error| TaskError::NotJson(error.to_string()))?;
                Ok(Answer::Object(schema.check(&value)?.clone()))
            }
        }
    }

    fn parse_label(&self, text: &str) -> Result<Answer, TaskError> {
        let labels = &self.definition.labels;
        let bare = text.trim_matches(|character: char| {
            matches!(character, '"' | '\'' | '`' | '.') || character.is_whitespace()
        });
        labels
            .iter()
            .find(|label| *label == text || *label == bare)
            .or_else(|| labels.iter().find(|label| label.eq_ignore_ascii_case(bare)))
            .map(|label| Answer::Label(label.clone()))
            .ok_or(TaskError::UnknownLabel(labels.len()))
    }

    fn render(&self, part: &'static str, fields: &Fields) -> Result<String, TaskError> {
        let failed = |error: minijinja::Error| TaskError::Render {
            part,
            problem: error.to_string(),
        };
        let template = self.templates.get_template(part).map_err(failed)?;
        let labels = &self.definition.labels;
        let context = minijinja::context! { labels, ..minijinja::Value::from_serialize(fields) };
        Ok(template
            .render(context)
            .map_err(failed)?
            .trim_end()
            .to_owned())
    }
}

/// JSON without the Markdown fence that models like to put around it. White space around the fence
/// is the caller's to take off.
pub fn without_fence(text: &str) -> &str {
    let Some(inner) = text
        .strip_prefix("```")
        .and_then(|text| text.strip_suffix("```"))
    else {
        return text;
    };
    inner.strip_prefix("json").unwrap_or(inner).trim()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn classify() -> Task {
        Task::new(TaskDefinition {
            kind: TaskKind::Classify,
            system: Some("One of: {{ labels | join(', ') }}.\n".into()),
            prompt: "{{ text }}".into(),
            labels: vec!["refund".into(), "delivery".into()],
            schema: None,
        })
        .unwrap()
    }

    fn fields(value: &Value) -> Fields {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_row_becomes_a_system_and_a_user_message() {
        let messages = classify()
            .messages(&fields(&json!({"text": "where is <it> & why?"})))
            .unwrap();
        assert_eq!(
            messages,
            [
                Message::system("One of: refund, delivery."),
                Message::user("where is <it> & why?")
            ]
        );
    }

    #[test]
    fn a_missing_column_is_an_error_and_not_an_empty_string() {
        assert!(matches!(
            classify().messages(&Fields::new()),
            Err(TaskError::Render { part: "prompt", .. })
        ));
        assert_eq!(classify().referenced_columns(), ["text"]);
    }

    #[test]
    fn a_label_is_read_through_quotes_and_case_but_not_guessed() {
        let task = classify();
        for reply in ["refund", " Refund.\n", "\"refund\""] {
            assert_eq!(
                task.parse_reply(reply),
                Ok(Answer::Label("refund".into())),
                "{reply:?}"
            );
        }
        assert_eq!(task.parse_reply("refunds"), Err(TaskError::UnknownLabel(2)));
        assert_eq!(task.parse_reply("  "), Err(TaskError::EmptyReply));
    }

    #[test]
    fn an_object_must_parse_and_satisfy_the_schema() {
        let task = Task::new(TaskDefinition {
            kind: TaskKind::Extract,
            system: None,
            prompt: "{{ text }}".into(),
            labels: vec![],
            schema: Some(json!({"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}}, "additionalProperties": false})),
        })
        .unwrap();
        let answer = task
            .parse_reply("```json\n{\"b\": \"1\", \"a\": \"2\"}\n```")
            .unwrap();
        assert_eq!(answer.to_text(), r#"{"b":"1","a":"2"}"#);
        assert!(matches!(
            task.parse_reply("{\"b\": 1}"),
            Err(TaskError::Violation(_))
        ));
        assert!(matches!(
            task.parse_reply("{\"b\": "),
            Err(TaskError::NotJson(_))
        ));
    }

    #[test]
    fn free_text_is_an_answer_unless_it_is_empty() {
        let task = Task::new(TaskDefinition {
            kind: TaskKind::Generate,
            labels: vec![],
            ..classify().definition().clone()
        })
        .unwrap();
        assert_eq!(
            task.parse_reply(" Two lines\nof text. \n"),
            Ok(Answer::Text("Two lines\nof text.".into()))
        );
        assert_eq!(task.parse_reply(" \n"), Err(TaskError::EmptyReply));
    }

    #[test]
    fn a_list_of_strings_holds_several_right_texts_and_any_other_text_is_one() {
        let several = r#" ["the cat", "a cat"]"#;
        assert_eq!(TaskKind::Generate.references(several), ["the cat", "a cat"]);
        assert_eq!(TaskKind::Generate.first_reference(several), "the cat");
        for one in ["[1, 2]", "[]", "[draft] text", "plain"] {
            assert_eq!(TaskKind::Generate.references(one), [one]);
        }
        assert_eq!(TaskKind::Classify.references(several), [several]);
    }

    #[test]
    fn a_kind_is_written_as_it_is_named() {
        for kind in TaskKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }

    #[test]
    fn a_template_that_loops_runs_out_of_fuel() {
        let definition = TaskDefinition {
            prompt: "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}"
                .into(),
            ..classify().definition().clone()
        };
        let task = Task::new(definition).unwrap();
        assert!(matches!(
            task.messages(&Fields::new()),
            Err(TaskError::Render { part: "prompt", .. })
        ));
    }
}
