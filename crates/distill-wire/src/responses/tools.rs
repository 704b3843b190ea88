//! Tools, and calls of tools that only this dialect has, as functions that every dialect has.
//!
//! | here | elsewhere |
//! |---|---|
//! | `function` | a function |
//! | `custom` (free text, by a grammar or not) | a function with one string `input` |
//! | `namespace` of tools | its tools, each named `NAMESPACE__NAME` |
//! | `local_shell` | a function that takes the call's `action` |
//! | anything else | the vendor runs it: nobody else can |

use serde_json::{Map, Value, json};

use crate::{Dialect, Request, RequestError, Tool, fields::Fields};

/// What stands between the name of a namespace and the name of its tool.
const SEPARATOR: &str = "__";

/// How a call is written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Function,
    Custom,
    LocalShell,
}

/// A tool's name and kind here, found by its name elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) namespace: Option<String>,
}

/// Finds what a tool that a model called is here.
pub(super) fn named(request: Option<&Request>, name: &str) -> Named {
    let vendor = request
        .filter(|request| request.source == Some(Dialect::Responses))
        .and_then(|request| request.tools.iter().find(|tool| tool.name == name))
        .and_then(|tool| tool.vendor.as_ref());
    let kind = |tool: &Value| match tool.get("type").and_then(Value::as_str) {
        Some("custom") => Kind::Custom,
        Some("local_shell") => Kind::LocalShell,
        _ => Kind::Function,
    };
    let member = vendor.and_then(|vendor| {
        let member = vendor.get("tools")?.get(0)?;
        Some(Named {
            kind: kind(member),
            name: member.get("name")?.as_str()?.to_owned(),
            namespace: Some(vendor.get("name")?.as_str()?.to_owned()),
        })
    });
    member.unwrap_or_else(|| Named {
        kind: vendor.map_or(Kind::Function, kind),
        name: name.to_owned(),
        namespace: None,
    })
}

/// The name that a tool of a namespace has elsewhere.
pub(super) fn flat(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{namespace}{SEPARATOR}{name}"),
        None => name.to_owned(),
    }
}

/// The arguments of the function that stands for a custom tool.
pub(super) fn arguments_of_input(input: &str) -> String {
    json!({ "input": input }).to_string()
}

/// The free text that a model gave a custom tool.
pub(super) fn input_of_arguments(arguments: &str) -> String {
    match serde_json::from_str::<Value>(arguments) {
        Ok(Value::Object(mut object)) => match object.get_mut("input").map(Value::take) {
            Some(Value::String(text)) => text,
            _ => arguments.to_owned(),
        },
        Ok(Value::String(text)) => text,
        _ => arguments.to_owned(),
    }
}

/// Reads one entry of `tools`.
pub(super) fn read(value: Value, path: String, tools: &mut Vec<Tool>) -> Result<(), RequestError> {
    let kind = value
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match kind {
        "function" => tools.push(function(value, path)?),
        "custom" => tools.push(custom(value, path)?),
        "namespace" => namespace(&value, path, tools)?,
        "local_shell" => tools.push(Tool {
            name: "local_shell".to_owned(),
            description: Some("Runs a command on the user's machine.".to_owned()),
            parameters: Some(local_shell_parameters()),
            strict: None,
            cache: None,
            vendor: Some(value),
        }),
        "" => {
            return Err(RequestError::Missing {
                field: format!("{path}.type"),
            });
        }
        _ => tools.push(Tool::of_vendor(value)),
    }
    Ok(())
}

fn function(value: Value, path: String) -> Result<Tool, RequestError> {
    let whole = value.clone();
    let mut fields = Fields::of(value, path)?;
    fields.take("type");
    let mut tool = Tool {
        name: fields.required_text("name")?,
        description: fields.text("description")?,
        parameters: Some(
            fields
                .take("parameters")
                .unwrap_or_else(|| json!({"type": "object", "properties": {}})),
        ),
        strict: fields.flag("strict")?,
        cache: None,
        vendor: None,
    };
    if !fields.is_empty() {
        tool.vendor = Some(whole);
    }
    Ok(tool)
}

fn custom(value: Value, path: String) -> Result<Tool, RequestError> {
    let whole = value.clone();
    let mut fields = Fields::of(value, path)?;
    let mut input = Map::new();
    input.insert("type".to_owned(), "string".into());
    if let Some(format) = fields.take("format")
        && let Some(definition) = format.get("definition").and_then(Value::as_str)
    {
        let syntax = format
            .get("syntax")
            .and_then(Value::as_str)
            .unwrap_or("given");
        input.insert(
            "description".to_owned(),
            format!("Text that follows this {syntax} grammar:\n{definition}").into(),
        );
    }
    Ok(Tool {
        name: fields.required_text("name")?,
        description: fields.text("description")?,
        parameters: Some(json!({
            "type": "object",
            "properties": {"input": input},
            "required": ["input"],
            "additionalProperties": false,
        })),
        strict: None,
        cache: None,
        vendor: Some(whole),
    })
}

fn namespace(value: &Value, path: String, tools: &mut Vec<Tool>) -> Result<(), RequestError> {
    let mut fields = Fields::of(value.clone(), path)?;
    let name = fields.required_text("name")?;
    let members = fields
        .list("tools")?
        .ok_or_else(|| fields.missing("tools"))?;
    for (index, member) in members.into_iter().enumerate() {
        let path = format!("{}[{index}]", fields.name("tools"));
        let mut alone = value.clone();
        alone["tools"] = json!([member]);
        let before = tools.len();
        read(member, path, tools)?;
        for tool in &mut tools[before..] {
            tool.name = flat(Some(&name), &tool.name);
            tool.vendor = Some(alone.clone());
        }
    }
    Ok(())
}

fn local_shell_parameters() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "properties": {
            "command": {"type": "array", "items": text, "description": "Program and arguments."},
            "working_directory": text,
            "timeout_ms": {"type": "integer"},
            "env": {"type": "object", "additionalProperties": text},
        },
        "required": ["command"],
    })
}

/// Writes the tools of a caller of this dialect as they came: tools of one namespace together.
pub(super) fn write_own(tools: &[Tool]) -> Vec<Value> {
    let mut written: Vec<Value> = Vec::with_capacity(tools.len());
    for tool in tools {
        let Some(vendor) = &tool.vendor else {
            written.push(write_function(tool));
            continue;
        };
        if vendor["type"] == "namespace"
            && let Some(last) = written.last_mut()
            && last["type"] == "namespace"
            && last["name"] == vendor["name"]
            && let (Some(there), Some(more)) =
                (last["tools"].as_array_mut(), vendor["tools"].as_array())
        {
            there.extend(more.iter().cloned());
            continue;
        }
        written.push(vendor.clone());
    }
    written
}

pub(super) fn write_function(tool: &Tool) -> Value {
    let mut written = Map::new();
    written.insert("type".to_owned(), "function".into());
    written.insert("name".to_owned(), tool.name.as_str().into());
    if let Some(description) = &tool.description {
        written.insert("description".to_owned(), description.as_str().into());
    }
    written.insert(
        "parameters".to_owned(),
        tool.parameters.clone().unwrap_or(Value::Null),
    );
    // Left out, it would be true here.
    written.insert("strict".to_owned(), tool.strict.unwrap_or(false).into());
    Value::Object(written)
}

/// An item that calls a tool.
pub(super) struct Call<'a> {
    pub(super) tool: &'a Named,
    pub(super) id: &'a str,
    pub(super) arguments: &'a str,
    /// The item's own name; `None` in a request, which needs none.
    pub(super) item: Option<&'a str>,
    pub(super) status: Option<&'static str>,
}

impl Call<'_> {
    pub(super) fn item(&self) -> Value {
        let mut item = Map::new();
        let kind = match self.tool.kind {
            Kind::Function => "function_call",
            Kind::Custom => "custom_tool_call",
            Kind::LocalShell => "local_shell_call",
        };
        item.insert("type".to_owned(), kind.into());
        if let Some(id) = self.item {
            item.insert("id".to_owned(), id.into());
        }
        item.insert("call_id".to_owned(), self.id.into());
        match self.tool.kind {
            Kind::Function | Kind::Custom => {
                item.insert("name".to_owned(), self.tool.name.as_str().into());
                if let Some(namespace) = &self.tool.namespace {
                    item.insert("namespace".to_owned(), namespace.as_str().into());
                }
            }
            Kind::LocalShell => {}
        }
        match self.tool.kind {
            Kind::Function => {
                item.insert("arguments".to_owned(), self.arguments.into());
            }
            Kind::Custom => {
                let input = if self.arguments.is_empty() {
                    String::new()
                } else {
                    input_of_arguments(self.arguments)
                };
                item.insert("input".to_owned(), input.into());
            }
            Kind::LocalShell => {
                let mut action = Map::new();
                action.insert("type".to_owned(), "exec".into());
                action.insert("command".to_owned(), json!([]));
                action.insert("env".to_owned(), json!({}));
                if let Ok(Value::Object(said)) = serde_json::from_str(self.arguments) {
                    action.extend(said);
                }
                item.insert("action".to_owned(), Value::Object(action));
            }
        }
        if let Some(status) = self.status.filter(|_| self.tool.kind != Kind::Custom) {
            item.insert("status".to_owned(), status.into());
        }
        Value::Object(item)
    }
}
