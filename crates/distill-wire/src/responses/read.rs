//! Requests as callers send them.

use serde_json::{Map, Value, json};

use super::tools;
use crate::{
    Block, Dialect, ImageSource, OutputFormat, Reasoning, Request, RequestError, ToolChoice, Turn,
    TurnRole,
    fields::{Fields, invalid},
    proof::Proof,
};

pub(super) fn request(body: &[u8]) -> Result<Request, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let mut request = Request {
        source: Some(Dialect::Responses),
        model: fields.required_text("model")?,
        max_tokens: fields.count("max_output_tokens")?,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        stream: fields.flag("stream")?.unwrap_or(false),
        // Every stream of this dialect ends with its usage.
        stream_usage: true,
        parallel_tool_calls: fields.flag("parallel_tool_calls")?,
        logprobs: fields.count("top_logprobs")?,
        user: fields.text("user")?,
        metadata: fields.take("metadata"),
        service_tier: fields.text("service_tier")?,
        store: fields.flag("store")?,
        prompt_cache_key: fields.text("prompt_cache_key")?,
        ..Request::default()
    };
    for (index, tool) in fields
        .list("tools")?
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        tools::read(tool, format!("tools[{index}]"), &mut request.tools)?;
    }
    if let Some(instructions) = fields.text("instructions")? {
        request.system.push(Block::text(instructions));
    }
    match fields.take("input") {
        Some(Value::String(text)) => request.turns.push(new_turn(
            TurnRole::User,
            vec![Block::text(text)],
            Map::new(),
        )),
        Some(Value::Array(items)) => {
            for (index, item) in items.into_iter().enumerate() {
                read_item(item, format!("input[{index}]"), &mut request)?;
            }
        }
        Some(_) => return Err(invalid("input", "must be a string or an array of items")),
        // A stored prompt may bring its own.
        None if fields.peek("previous_response_id").is_some() => {}
        None => return Err(fields.missing("input")),
    }
    let mut extra = Map::new();
    if let Some(choice) = fields.take("tool_choice") {
        tool_choice(choice, &mut request, &mut extra)?;
    }
    if let Some(mut reasoning) = fields.object("reasoning")? {
        request.reasoning = Some(Reasoning {
            effort: reasoning.text("effort")?,
            summary: match reasoning.text("summary")? {
                Some(summary) => Some(summary),
                None => reasoning.text("generate_summary")?,
            },
            budget_tokens: None,
            enabled: None,
        });
        if !reasoning.is_empty() {
            extra.insert("reasoning".to_owned(), Value::Object(reasoning.rest()));
        }
    }
    if let Some(mut text) = fields.object("text")? {
        if let Some(format) = text.object("format")? {
            request.output = Some(output_format(format)?);
        }
        if !text.is_empty() {
            extra.insert("text".to_owned(), Value::Object(text.rest()));
        }
    }
    if let Some(include) = fields.list("include")? {
        if include.contains(&json!("message.output_text.logprobs")) && request.logprobs.is_none() {
            request.logprobs = Some(0);
        }
        extra.insert("include".to_owned(), Value::Array(include));
    }
    extra.extend(fields.rest());
    request.extra = extra;
    Ok(request)
}

fn new_turn(role: TurnRole, blocks: Vec<Block>, extra: Map<String, Value>) -> Turn {
    Turn {
        role,
        blocks,
        name: None,
        extra,
    }
}

/// One item of the input, or of the output that is sent back with it.
fn read_item(item: Value, path: String, request: &mut Request) -> Result<(), RequestError> {
    let kind = item.get("type").and_then(Value::as_str).map(str::to_owned);
    let is_message = item.get("role").is_some() && item.get("content").is_some();
    match kind.as_deref() {
        Some("message") | None if is_message => message(item, path, request),
        Some("message") => Err(RequestError::Missing {
            field: format!("{path}.content"),
        }),
        None => {
            // A reference to an item that the vendor keeps may leave its type out.
            if item.get("id").is_some() {
                assistant(request, Block::Other(item));
                return Ok(());
            }
            Err(RequestError::Missing {
                field: format!("{path}.type"),
            })
        }
        Some("additional_tools") => {
            let mut fields = Fields::of(item, path)?;
            for (index, tool) in fields
                .list("tools")?
                .unwrap_or_default()
                .into_iter()
                .enumerate()
            {
                let path = format!("{}[{index}]", fields.name("tools"));
                tools::read(tool, path, &mut request.tools)?;
            }
            Ok(())
        }
        Some("function_call" | "custom_tool_call" | "local_shell_call" | "reasoning") => {
            let block = output_block(item, path)?;
            if let Some(block) = block {
                assistant(request, block);
            }
            Ok(())
        }
        Some("function_call_output" | "custom_tool_call_output" | "local_shell_call_output") => {
            let mut fields = Fields::of(item, path)?;
            let id = match fields.text("call_id")? {
                Some(id) => id,
                None => fields.required_text("id")?,
            };
            let blocks = match fields.take("output") {
                Some(output) => content(output, &fields.name("output"))?,
                None => return Err(fields.missing("output")),
            };
            let result = Block::ToolResult {
                id,
                blocks,
                is_error: false,
                cache: None,
            };
            match request.turns.last_mut() {
                Some(turn) if turn.role == TurnRole::Tool => turn.blocks.push(result),
                _ => request
                    .turns
                    .push(new_turn(TurnRole::Tool, vec![result], Map::new())),
            }
            Ok(())
        }
        Some(_) => {
            assistant(request, Block::Other(item));
            Ok(())
        }
    }
}

/// Appends to the assistant's turn that is going on.
fn assistant(request: &mut Request, block: Block) {
    match request.turns.last_mut() {
        Some(turn) if turn.role == TurnRole::Assistant => turn.blocks.push(block),
        _ => request
            .turns
            .push(new_turn(TurnRole::Assistant, vec![block], Map::new())),
    }
}

fn message(item: Value, path: String, request: &mut Request) -> Result<(), RequestError> {
    let mut fields = Fields::of(item, path)?;
    fields.take("type");
    let role = match fields.required_text("role")?.as_str() {
        "user" => TurnRole::User,
        "assistant" => TurnRole::Assistant,
        "system" | "developer" => TurnRole::System,
        _ => {
            return Err(fields.invalid(
                "role",
                "must be `user`, `assistant`, `system` or `developer`",
            ));
        }
    };
    let written = fields
        .take("content")
        .ok_or_else(|| fields.missing("content"))?;
    let blocks = content(written, &fields.name("content"))?;
    let extra = fields.rest();
    if role == TurnRole::System && request.turns.is_empty() {
        request.system.extend(blocks);
        return Ok(());
    }
    if role == TurnRole::Assistant
        && let Some(turn) = request.turns.last_mut()
        && turn.role == TurnRole::Assistant
        && turn.blocks.iter().all(|block| {
            matches!(
                block,
                Block::Thinking { .. } | Block::RedactedThinking { .. }
            )
        })
    {
        turn.blocks.extend(blocks);
        turn.extra = extra;
        return Ok(());
    }
    request.turns.push(new_turn(role, blocks, extra));
    Ok(())
}

/// A string or a list of parts.
pub(super) fn content(value: Value, path: &str) -> Result<Vec<Block>, RequestError> {
    match value {
        Value::String(text) => Ok(vec![Block::text(text)]),
        Value::Array(parts) => parts
            .into_iter()
            .enumerate()
            .map(|(index, value)| part(value, format!("{path}[{index}]")))
            .collect(),
        _ => Err(invalid(path, "must be a string or an array of parts")),
    }
}

fn part(value: Value, path: String) -> Result<Block, RequestError> {
    match value.get("type").and_then(Value::as_str) {
        Some("input_text" | "output_text" | "text" | "summary_text" | "reasoning_text") => {
            let mut fields = Fields::of(value, path)?;
            Ok(Block::Text {
                text: fields.required_text("text")?,
                cache: None,
                annotations: fields
                    .take("annotations")
                    .filter(|list| list.as_array().is_none_or(|list| !list.is_empty())),
            })
        }
        Some("refusal") => Ok(Block::Refusal {
            text: Fields::of(value, path)?.required_text("refusal")?,
        }),
        Some("input_image") => {
            let mut fields = Fields::of(value, path)?;
            let source = match (fields.text("image_url")?, fields.text("file_id")?) {
                (Some(url), _) => match url
                    .strip_prefix("data:")
                    .and_then(|rest| rest.split_once(";base64,"))
                {
                    Some((media_type, data)) => ImageSource::Base64 {
                        media_type: media_type.to_owned(),
                        data: data.to_owned(),
                    },
                    None => ImageSource::Url(url),
                },
                (None, Some(id)) => ImageSource::File(id),
                (None, None) => return Err(fields.missing("image_url")),
            };
            Ok(Block::Image {
                source,
                detail: fields.text("detail")?,
                cache: None,
            })
        }
        Some(_) => Ok(Block::Other(value)),
        None => Err(RequestError::Missing {
            field: format!("{path}.type"),
        }),
    }
}

/// A call or a reasoning item; `None` where a reasoning item says nothing.
pub(super) fn output_block(item: Value, path: String) -> Result<Option<Block>, RequestError> {
    let kind = item
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let mut fields = Fields::of(item, path)?;
    if kind == "reasoning" {
        return reasoning_block(&mut fields);
    }
    let id = match fields.text("call_id")? {
        Some(id) => id,
        None => fields.required_text("id")?,
    };
    let namespace = fields.text("namespace")?;
    let (name, arguments) = match kind.as_str() {
        "custom_tool_call" => (
            fields.required_text("name")?,
            tools::arguments_of_input(&fields.required_text("input")?),
        ),
        "local_shell_call" => {
            let mut action = fields
                .object("action")?
                .ok_or_else(|| fields.missing("action"))?;
            action.take("type");
            (
                "local_shell".to_owned(),
                Value::Object(action.rest()).to_string(),
            )
        }
        _ => (
            fields.required_text("name")?,
            fields.required_text("arguments")?,
        ),
    };
    Ok(Some(Block::ToolCall {
        id,
        name: tools::flat(namespace.as_deref(), &name),
        arguments,
        cache: None,
        signature: None,
    }))
}

fn reasoning_block(fields: &mut Fields) -> Result<Option<Block>, RequestError> {
    let id = fields.text("id")?;
    let sealed = fields.text("encrypted_content")?;
    let mut texts = |name: &str| -> Result<String, RequestError> {
        let parts = fields.list(name)?.unwrap_or_default();
        let texts: Vec<&str> = parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .filter(|text| !text.is_empty())
            .collect();
        Ok(texts.join("\n\n"))
    };
    let (summary, content) = (texts("summary")?, texts("content")?);
    // What was thought says more than its summary.
    let text = if content.is_empty() { summary } else { content };
    Ok(match (text.is_empty(), sealed) {
        (false, signature) => Some(Block::Thinking {
            text,
            signature,
            id,
        }),
        (true, Some(data)) => Some(match Proof::open(&data) {
            // Another vendor's thinking, of which only the proof was shown.
            Some(proof) if !proof.redacted => Block::Thinking {
                text,
                signature: Some(data),
                id,
            },
            _ => Block::RedactedThinking { data, id },
        }),
        (true, None) => None,
    })
}

fn tool_choice(
    choice: Value,
    request: &mut Request,
    extra: &mut Map<String, Value>,
) -> Result<(), RequestError> {
    const WORDS: &str = "must be `auto`, `none`, `required` or an object that names a tool";
    let word = |word: &str| match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" => Ok(ToolChoice::Required),
        _ => Err(invalid("tool_choice", WORDS)),
    };
    let chosen = match &choice {
        Value::String(text) => word(text)?,
        Value::Object(object) => {
            let text = |name: &str| object.get(name).and_then(Value::as_str);
            match text("type") {
                Some("allowed_tools") => {
                    let mode = word(text("mode").unwrap_or("auto"))?;
                    extra.insert("tool_choice".to_owned(), choice.clone());
                    mode
                }
                Some(kind) => {
                    ToolChoice::Tool(tools::flat(text("namespace"), text("name").unwrap_or(kind)))
                }
                None => return Err(invalid("tool_choice.type", "is missing")),
            }
        }
        _ => return Err(invalid("tool_choice", WORDS)),
    };
    request.tool_choice = Some(chosen);
    Ok(())
}

fn output_format(mut format: Fields) -> Result<OutputFormat, RequestError> {
    Ok(match format.required_text("type")?.as_str() {
        "text" => OutputFormat::Text,
        "json_object" => OutputFormat::JsonObject,
        "json_schema" => OutputFormat::JsonSchema {
            name: format.text("name")?,
            description: format.text("description")?,
            schema: format
                .take("schema")
                .ok_or_else(|| format.missing("schema"))?,
            strict: format.flag("strict")?,
        },
        _ => {
            return Err(format.invalid("type", "must be `text`, `json_object` or `json_schema`"));
        }
    })
}
