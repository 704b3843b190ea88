//! Checks of `task`: templates, labels, schema.

use std::collections::HashSet;

use distill_chat::{ObjectSchema, SchemaError, Task, TaskDefinition, TaskError, TaskKind};

use super::Resolver;
use crate::spec::{
    finding::Code,
    read::At,
    written::{JsonSchema, TaskSection},
};

impl Resolver<'_> {
    pub(super) fn task(&mut self, task: &TaskSection) -> Option<TaskDefinition> {
        self.template(task.system.as_ref(), "system");
        self.template(task.prompt.as_ref(), "prompt");
        if let Some(prompt) = &task.prompt
            && prompt.value.trim().is_empty()
        {
            self.report(
                Code::Invalid,
                &prompt.span,
                "`task.prompt` is empty",
                "asks nothing",
                "name the column that holds the question: `prompt: \"{{ text }}\"`",
            );
        }
        let kind = task.kind.as_ref()?;
        match kind.value {
            TaskKind::Classify => {
                if let Some(schema) = &task.schema {
                    self.report(
                        Code::Conflict,
                        &schema.span,
                        "`task.schema` belongs to `kind: extract`, and this task classifies",
                        "not used by `classify`",
                        "remove it, or write `kind: extract`",
                    );
                }
                if let Some(labels) = &task.labels {
                    self.labels(labels);
                }
            }
            TaskKind::Generate => {
                self.no_labels(task, "writes free text", kind.value);
                if let Some(schema) = &task.schema {
                    self.report(
                        Code::Conflict,
                        &schema.span,
                        "`task.schema` belongs to `kind: extract`, and this task writes free text",
                        "not used by `generate`",
                        "remove it, or write `kind: extract`",
                    );
                }
            }
            TaskKind::Extract => {
                self.no_labels(task, "extracts", kind.value);
                match &task.schema {
                    Some(schema) => self.schema(schema),
                    None => self.report(
                        Code::Missing,
                        &kind.span,
                        "`task.schema` is missing",
                        "an extraction needs one",
                        "add `schema: {type: object, properties: {FIELD: {type: string}}, additionalProperties: false}`",
                    ),
                }
            }
        }
        Some(TaskDefinition {
            kind: kind.value,
            system: task.system.as_ref().map(|system| system.value.clone()),
            prompt: task.prompt.as_ref()?.value.clone(),
            labels: task
                .labels
                .iter()
                .flat_map(|labels| &labels.value)
                .map(|label| label.value.clone())
                .collect(),
            schema: task
                .schema
                .as_ref()
                .map(|schema| schema.value.value.clone()),
        })
    }

    fn no_labels(&mut self, task: &TaskSection, does: &str, kind: TaskKind) {
        if let Some(labels) = &task.labels {
            self.report(
                Code::Conflict,
                &labels.span,
                format!("`task.labels` belongs to `kind: classify`, and this task {does}"),
                format!("not used by `{}`", kind.name()),
                "remove it, or write `kind: classify`",
            );
        }
    }

    /// Compiles one template alone, so that each of the two can have its finding.
    fn template(&mut self, template: Option<&At<String>>, part: &str) {
        let Some(template) = template else { return };
        let alone = TaskDefinition {
            kind: TaskKind::Classify,
            system: None,
            prompt: template.value.clone(),
            labels: vec!["label".to_owned()],
            schema: None,
        };
        let problem = match Task::new(alone) {
            Err(TaskError::Template { problem, .. }) => problem,
            Err(_) => return,
            Ok(task) => match unknown_name(&task) {
                Some(problem) => problem,
                None => return,
            },
        };
        let problem = problem
            .replace("(in prompt:", "(line ")
            .replace("syntax error: ", "");
        self.report(
            Code::Template,
            &template.span,
            format!("template `task.{part}` does not compile: {problem}"),
            "not a template",
            "columns stand in double braces, `{{ text }}`; look for a brace or a quote that is not closed, and for mistyped filters",
        );
    }

    fn labels(&mut self, labels: &At<Vec<At<String>>>) {
        if labels.value.len() < 2 {
            self.report(
                Code::OutOfRange,
                &labels.span,
                format!(
                    "`task.labels` has {}, and a classification needs at least 2",
                    match labels.value.len() {
                        0 => "no label",
                        _ => "one label",
                    }
                ),
                "nothing to choose from",
                "list every label, or leave the key out to take those of the gold column",
            );
        }
        let mut seen = HashSet::new();
        for label in &labels.value {
            let problem = if label.value.trim().is_empty() {
                Some(("a label is empty".to_owned(), "says nothing"))
            } else if label.value.trim() != label.value {
                Some((
                    format!("label `{}` begins or ends with white space", label.value),
                    "a reply is read without it",
                ))
            } else if !seen.insert(label.value.as_str()) {
                Some((
                    format!("label `{}` is listed twice", label.value),
                    "a second time",
                ))
            } else {
                None
            };
            if let Some((message, words)) = problem {
                self.report(
                    Code::Invalid,
                    &label.span,
                    message,
                    words,
                    "remove or correct it",
                );
            }
        }
    }

    fn schema(&mut self, schema: &At<JsonSchema>) {
        let Err(error) = ObjectSchema::parse(&schema.value.value) else {
            return;
        };
        let path = match &error {
            SchemaError::Keyword { path, keyword } if path.is_empty() => keyword.clone(),
            SchemaError::Keyword { path, keyword } => format!("{path}.{keyword}"),
            SchemaError::Shape { path, .. } => path.clone(),
        };
        let span = schema
            .value
            .find(&path)
            .unwrap_or_else(|| schema.span.clone());
        self.report(
            Code::Schema,
            &span,
            format!("`task.schema` cannot be held: {error}"),
            "not in the supported part of JSON schema",
            "use one flat object: `type: object`, `properties` with string, number, integer, boolean or enum, `required`, `additionalProperties`",
        );
    }
}

/// A filter, function or test that minijinja does not have shows only when the template runs. The
/// columns are made up, so every other failure of the trial says nothing.
fn unknown_name(task: &Task) -> Option<String> {
    let fields = task
        .referenced_columns()
        .into_iter()
        .map(|column| (column, "text".into()))
        .collect();
    match task.messages(&fields) {
        Err(TaskError::Render { problem, .. }) if problem.starts_with("unknown ") => Some(problem),
        _ => None,
    }
}
