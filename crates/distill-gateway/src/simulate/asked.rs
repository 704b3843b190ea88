//! Reading a request as each vendor would: what was asked, under which name, and how it is answered.

use distill_wire::Dialect;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::request_hash::hex;

/// A request as far as the provider cares.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) model: String,
    /// The last user message.
    pub(super) prompt: String,
    /// Its last part, without what a client added in tags: what the user wants now.
    pub(super) wish: String,
    /// The text of the system prompt and the messages.
    pub(super) input_bytes: usize,
    /// Tools, schemas and tool results: counted where the provider reads them.
    pub(super) extra_bytes: usize,
    pub(super) max_tokens: Option<u64>,
    pub(super) stream: bool,
    /// Whether a stream ends with a chunk of usage (`stream_options`).
    pub(super) usage_chunk: bool,
    pub(super) tools: Vec<Offered>,
    pub(super) choice: Choice,
    /// Whether several tools may be called at once.
    pub(super) parallel: bool,
    /// What the last message says that a tool answered.
    pub(super) tool_result: Option<String>,
    pub(super) form: Form,
    pub(super) hash: String,
}

/// A tool that may be called.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Offered {
    pub(super) name: String,
    pub(super) parameters: Value,
}

/// Whether a tool must be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    Auto,
    Never,
    Required,
    Named(String),
}

/// What the text of the answer must be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Form {
    Text,
    Json,
    Schema(Value),
}

/// Reads a request body; the error is what a vendor would say. `path` holds the model and whether the
/// answer is streamed, where the dialect says both in its address.
pub(super) fn read(
    dialect: Dialect,
    body: &[u8],
    path: Option<(&str, bool)>,
) -> Result<Asked, String> {
    let mut value: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    let fields = value.as_object_mut().ok_or("the body is not an object")?;
    let stream = path.map_or_else(
        || fields.get("stream").and_then(Value::as_bool) == Some(true),
        |(_, stream)| stream,
    );
    let usage_chunk = fields
        .get("stream_options")
        .and_then(|options| options.get("include_usage"))
        .and_then(Value::as_bool)
        == Some(true);
    // How an answer is delivered does not make it another question.
    fields.shift_remove("stream");
    fields.shift_remove("stream_options");
    let model = match path {
        Some((model, _)) => model,
        None => fields
            .get("model")
            .and_then(Value::as_str)
            .ok_or("`model` is missing")?,
    }
    .to_owned();
    let conversation = conversation(dialect, fields)?;
    let prompt = conversation
        .prompt
        .ok_or("there is no user message with text")?;
    let max_tokens = [
        "/max_completion_tokens",
        "/max_tokens",
        "/max_output_tokens",
        "/generationConfig/maxOutputTokens",
    ]
    .iter()
    .find_map(|at| value.pointer(at))
    .and_then(Value::as_u64);
    if dialect == Dialect::Messages && max_tokens.is_none() {
        return Err("max_tokens: Field required".to_owned());
    }
    let tools = tools(&value);
    let form = form(&value);
    let extra_bytes = value
        .get("tools")
        .map_or(0, |tools| tools.to_string().len())
        + conversation.tool_result.as_ref().map_or(0, String::len)
        + match &form {
            Form::Schema(schema) => schema.to_string().len(),
            Form::Text | Form::Json => 0,
        };
    let mut hash = Sha256::new();
    hash.update(dialect.as_str());
    hash.update([0]);
    if let Some((model, _)) = path {
        hash.update(model);
        hash.update([0]);
    }
    hash.update(value.to_string());
    Ok(Asked {
        model,
        wish: wish(&conversation.last_part.unwrap_or_else(|| prompt.clone())),
        prompt,
        input_bytes: conversation.bytes,
        extra_bytes,
        max_tokens,
        stream,
        usage_chunk,
        tools,
        choice: choice(&value),
        parallel: value.get("parallel_tool_calls") != Some(&Value::Bool(false))
            && value.pointer("/tool_choice/disable_parallel_tool_use") != Some(&Value::Bool(true)),
        tool_result: conversation.tool_result,
        form,
        hash: hex(&hash.finalize()),
    })
}

#[derive(Debug, Default)]
struct Conversation {
    prompt: Option<String>,
    last_part: Option<String>,
    tool_result: Option<String>,
    bytes: usize,
}

fn conversation(dialect: Dialect, fields: &Map<String, Value>) -> Result<Conversation, String> {
    let mut found = Conversation::default();
    let (list, system) = match dialect {
        Dialect::Responses => ("input", "instructions"),
        Dialect::Gemini => ("contents", "systemInstruction"),
        Dialect::ChatCompletions | Dialect::Messages | Dialect::Cohere => ("messages", "system"),
    };
    found.bytes += fields
        .get(system)
        .and_then(content)
        .unwrap_or_default()
        .len();
    let list = fields
        .get(list)
        .ok_or_else(|| format!("`{list}` is missing"))?;
    if let Value::String(text) = list {
        found.bytes += text.len();
        found.prompt = Some(text.clone());
        return Ok(found);
    }
    let messages = list
        .as_array()
        .ok_or("the conversation is not a list of messages")?;
    found.bytes += messages
        .iter()
        .filter_map(|message| content(parts_of(message)?))
        .map(|text| text.len())
        .sum::<usize>();
    let asked = messages
        .iter()
        .rev()
        .find(|message| message.get("role").and_then(Value::as_str) == Some("user"))
        .and_then(parts_of);
    found.prompt = asked.and_then(content);
    found.last_part = asked.and_then(last_text);
    found.tool_result = messages.last().and_then(tool_result);
    Ok(found)
}

fn parts_of(message: &Value) -> Option<&Value> {
    message.get("content").or_else(|| message.get("parts"))
}

/// A string, or the text parts of a list (or of an object that holds such a list).
fn content(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => Some(
            parts
                .iter()
                .filter_map(|part| part.get("text").and_then(Value::as_str))
                .collect::<Vec<_>>()
                .join(""),
        ),
        Value::Object(fields) => content(fields.get("parts")?),
        _ => None,
    }
}

fn last_text(value: &Value) -> Option<String> {
    let parts = value.as_array()?;
    parts
        .iter()
        .rev()
        .find_map(|part| part.get("text").and_then(Value::as_str))
        .map(str::to_owned)
}

/// The text without the passages that coding harnesses put between tags such as
/// `<system-reminder>`: they name tools that nobody asked for.
fn wish(text: &str) -> String {
    let mut left = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        left.push_str(&rest[..open]);
        let tail = &rest[open + 1..];
        let name = tail.split(['>', ' ', '\n']).next().unwrap_or_default();
        let end = format!("</{name}>");
        let is_tag = !name.is_empty()
            && name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
        if let Some(close) = tail.find(&end).filter(|_| is_tag) {
            rest = &tail[close + end.len()..];
        } else {
            left.push('<');
            rest = tail;
        }
    }
    left.push_str(rest);
    left.trim().to_owned()
}

/// What a last message says that a tool answered, in whichever shape.
fn tool_result(message: &Value) -> Option<String> {
    let text = |value: &Value| content(value).unwrap_or_else(|| value.to_string());
    if message.get("role").and_then(Value::as_str) == Some("tool") {
        return message.get("content").map(text);
    }
    let kind = message.get("type").and_then(Value::as_str);
    if kind.is_some_and(|kind| kind.ends_with("_call_output")) {
        return message.get("output").map(text);
    }
    parts_of(message)?
        .as_array()?
        .iter()
        .rev()
        .find_map(|part| {
            if part.get("type").and_then(Value::as_str) == Some("tool_result") {
                return Some(part.get("content").map(text).unwrap_or_default());
            }
            part.pointer("/functionResponse/response").map(text)
        })
}

/// The tools of any dialect that have a name and take JSON.
fn tools(body: &Value) -> Vec<Offered> {
    let Some(list) = body.get("tools").and_then(Value::as_array) else {
        return Vec::new();
    };
    list.iter()
        .flat_map(|tool| {
            let declared = tool.get("functionDeclarations").and_then(Value::as_array);
            declared.map_or_else(|| vec![tool], |declared| declared.iter().collect())
        })
        .filter_map(|tool| {
            let function = tool.get("function").unwrap_or(tool);
            let parameters = [
                "parameters",
                "input_schema",
                "parametersJsonSchema",
                "parameters_json_schema",
            ]
            .iter()
            .find_map(|key| function.get(key))?;
            Some(Offered {
                name: function.get("name")?.as_str()?.to_owned(),
                parameters: parameters.clone(),
            })
        })
        .collect()
}

fn choice(body: &Value) -> Choice {
    if let Some(config) = body.pointer("/toolConfig/functionCallingConfig") {
        let only = config
            .pointer("/allowedFunctionNames/0")
            .and_then(Value::as_str);
        return match config.get("mode").and_then(Value::as_str) {
            Some("NONE") => Choice::Never,
            Some("ANY") => only.map_or(Choice::Required, |name| Choice::Named(name.to_owned())),
            _ => Choice::Auto,
        };
    }
    let Some(choice) = body.get("tool_choice") else {
        return Choice::Auto;
    };
    let name = choice
        .pointer("/function/name")
        .or_else(|| choice.get("name"))
        .and_then(Value::as_str);
    if let Some(name) = name {
        return Choice::Named(name.to_owned());
    }
    match choice
        .as_str()
        .or_else(|| choice.get("type").and_then(Value::as_str))
    {
        Some("none") => Choice::Never,
        Some("required" | "any") => Choice::Required,
        _ => Choice::Auto,
    }
}

fn form(body: &Value) -> Form {
    let schema = [
        "/response_format/json_schema/schema",
        "/text/format/schema",
        "/output_config/format/schema",
        "/output_format/schema",
        "/generationConfig/responseJsonSchema",
        "/generationConfig/responseSchema",
    ]
    .iter()
    .find_map(|at| body.pointer(at));
    if let Some(schema) = schema {
        return Form::Schema(schema.clone());
    }
    let kind = body
        .pointer("/response_format/type")
        .or_else(|| body.pointer("/text/format/type"))
        .and_then(Value::as_str);
    let json = kind == Some("json_object")
        || body
            .pointer("/generationConfig/responseMimeType")
            .and_then(Value::as_str)
            == Some("application/json");
    if json { Form::Json } else { Form::Text }
}

#[cfg(test)]
mod tests {
    use super::{Choice, Form, read, wish};
    use distill_wire::Dialect;
    use serde_json::json;

    #[test]
    fn what_a_client_adds_in_tags_is_not_the_users_wish() {
        assert_eq!(
            wish("<system-reminder>use Grep</system-reminder>\nlist files"),
            "list files"
        );
        assert_eq!(wish("is 1 < 2 and a<b?"), "is 1 < 2 and a<b?");
        assert_eq!(wish("<open>never closed"), "<open>never closed");
        assert_eq!(wish("</x><"), "</x><");
    }

    #[test]
    fn tools_choice_and_form_are_found_in_every_dialect() {
        let schema = json!({"type": "object"});
        let bodies = [
            (
                Dialect::ChatCompletions,
                json!({"model": "m", "messages": [{"role": "user", "content": "x"}],
                    "tools": [{"type": "function", "function": {"name": "t", "parameters": schema}}],
                    "tool_choice": {"type": "function", "function": {"name": "t"}},
                    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}}),
            ),
            (
                Dialect::Messages,
                json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}],
                    "tools": [{"name": "t", "input_schema": schema}],
                    "tool_choice": {"type": "tool", "name": "t"},
                    "output_format": {"type": "json_schema", "schema": schema}}),
            ),
            (
                Dialect::Responses,
                json!({"model": "m", "input": "x",
                    "tools": [{"type": "function", "name": "t", "parameters": schema}],
                    "tool_choice": {"type": "function", "name": "t"},
                    "text": {"format": {"type": "json_schema", "name": "a", "schema": schema}}}),
            ),
            (
                Dialect::Gemini,
                json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}],
                    "tools": [{"functionDeclarations": [{"name": "t", "parameters": schema}]}],
                    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["t"]}},
                    "generationConfig": {"responseMimeType": "application/json", "responseSchema": schema}}),
            ),
        ];
        for (dialect, body) in bodies {
            let path = (dialect == Dialect::Gemini).then_some(("m", false));
            let asked = read(dialect, body.to_string().as_bytes(), path).unwrap();
            assert_eq!(asked.prompt, "x", "{dialect:?}");
            assert_eq!(asked.tools.len(), 1, "{dialect:?}");
            assert_eq!(asked.choice, Choice::Named("t".into()), "{dialect:?}");
            assert_eq!(asked.form, Form::Schema(schema.clone()), "{dialect:?}");
            assert_eq!(asked.tool_result, None, "{dialect:?}");
        }
    }

    #[test]
    fn a_tools_answer_is_found_in_every_dialect() {
        let bodies = [
            (
                Dialect::ChatCompletions,
                json!({"model": "m", "messages": [{"role": "user", "content": "x"},
                    {"role": "tool", "tool_call_id": "1", "content": "sunny"}]}),
            ),
            (
                Dialect::Messages,
                json!({"model": "m", "max_tokens": 5, "messages": [
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "sunny"}]}]}]}),
            ),
            (
                Dialect::Responses,
                json!({"model": "m", "input": [{"role": "user", "content": "x"},
                    {"type": "function_call_output", "call_id": "1", "output": "sunny"}]}),
            ),
            (
                Dialect::Gemini,
                json!({"contents": [{"role": "user", "parts": [{"text": "x"}]},
                    {"role": "user", "parts": [{"functionResponse": {"name": "t", "response": "sunny"}}]}]}),
            ),
        ];
        for (dialect, body) in bodies {
            let path = (dialect == Dialect::Gemini).then_some(("m", false));
            let asked = read(dialect, body.to_string().as_bytes(), path).unwrap();
            assert_eq!(asked.tool_result.as_deref(), Some("sunny"), "{dialect:?}");
        }
    }
}
