//! Requests as callers send them.

use serde_json::{Map, Value};

use crate::{
    Block, CacheHint, Dialect, ImageSource, OutputFormat, Reasoning, Request, RequestError, Tool,
    ToolChoice, Turn, TurnRole,
    fields::{Fields, invalid},
};

pub(super) fn request(body: &[u8]) -> Result<Request, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let mut request = Request {
        source: Some(Dialect::Messages),
        model: fields.required_text("model")?,
        max_tokens: fields.count("max_tokens")?,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.count("top_k")?,
        stream: fields.flag("stream")?.unwrap_or(false),
        // Every stream of this dialect ends with its usage.
        stream_usage: true,
        service_tier: fields.text("service_tier")?,
        ..Request::default()
    };
    if let Some(system) = fields.take("system") {
        request.system = content(system, "system")?;
    }
    let messages = fields
        .list("messages")?
        .ok_or_else(|| fields.missing("messages"))?;
    for (index, message) in messages.into_iter().enumerate() {
        turn(message, index, &mut request.turns)?;
    }
    for (index, tool) in fields
        .list("tools")?
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        request.tools.push(self::tool(tool, index)?);
    }
    if let Some(choice) = fields.object("tool_choice")? {
        tool_choice(choice, &mut request)?;
    }
    for (index, stop) in fields
        .list("stop_sequences")?
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        match stop {
            Value::String(stop) => request.stop.push(stop),
            _ => {
                return Err(invalid(
                    format!("stop_sequences[{index}]"),
                    "must be a string",
                ));
            }
        }
    }
    let mut extra = Map::new();
    if let Some(thinking) = fields.take("thinking") {
        match reasoning(thinking.clone())? {
            Some(reasoning) => request.reasoning = Some(reasoning),
            None => {
                extra.insert("thinking".to_owned(), thinking);
            }
        }
    }
    if let Some(config) = fields.object("output_config")? {
        output_config(config, &mut request, &mut extra)?;
    }
    if let Some(format) = fields.object("output_format")? {
        request.output = output_format(format)?.or(request.output);
    }
    if let Some(mut metadata) = fields.object("metadata")? {
        request.user = metadata.text("user_id")?;
        request.metadata = (!metadata.is_empty()).then(|| Value::Object(metadata.rest()));
    }
    extra.extend(fields.rest());
    request.extra = extra;
    Ok(request)
}

/// One message is one turn, but a user's message that brings results of tools is two: the results,
/// then what the user says.
fn turn(message: Value, index: usize, turns: &mut Vec<Turn>) -> Result<(), RequestError> {
    let mut fields = Fields::of(message, format!("messages[{index}]"))?;
    let role = match fields.required_text("role")?.as_str() {
        "user" => TurnRole::User,
        "assistant" => TurnRole::Assistant,
        "system" => TurnRole::System,
        _ => return Err(fields.invalid("role", "must be `user` or `assistant`")),
    };
    let written = fields
        .take("content")
        .ok_or_else(|| fields.missing("content"))?;
    let blocks = content(written, &fields.name("content"))?;
    let mut extra = fields.rest();
    if role != TurnRole::User
        || !blocks
            .iter()
            .any(|block| matches!(block, Block::ToolResult { .. }))
    {
        turns.push(Turn {
            role,
            blocks,
            name: None,
            extra,
        });
        return Ok(());
    }
    let mut last = None;
    for block in blocks {
        let role = if matches!(block, Block::ToolResult { .. }) {
            TurnRole::Tool
        } else {
            TurnRole::User
        };
        if last != Some(role) {
            turns.push(Turn {
                role,
                blocks: Vec::new(),
                name: None,
                extra: std::mem::take(&mut extra),
            });
            last = Some(role);
        }
        if let Some(turn) = turns.last_mut() {
            turn.blocks.push(block);
        }
    }
    Ok(())
}

/// A string or a list of blocks.
fn content(value: Value, path: &str) -> Result<Vec<Block>, RequestError> {
    match value {
        Value::String(text) => Ok(vec![Block::text(text)]),
        Value::Array(blocks) => blocks
            .into_iter()
            .enumerate()
            .map(|(index, value)| block(value, format!("{path}[{index}]")))
            .collect(),
        _ => Err(invalid(path, "must be a string or an array of blocks")),
    }
}

/// A content block of a request or a reply.
pub(super) fn block(value: Value, path: String) -> Result<Block, RequestError> {
    let kind = value
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if kind.is_empty() {
        return Err(RequestError::Missing {
            field: format!("{path}.type"),
        });
    }
    if !matches!(
        kind,
        "text" | "image" | "tool_use" | "tool_result" | "thinking" | "redacted_thinking"
    ) {
        return Ok(Block::Other(value));
    }
    let source = value.pointer("/source/type").and_then(Value::as_str);
    if kind == "image" && !matches!(source, None | Some("base64" | "url" | "file")) {
        return Ok(Block::Other(value));
    }
    let kind = kind.to_owned();
    let mut fields = Fields::of(value, path)?;
    Ok(match kind.as_str() {
        "text" => Block::Text {
            text: fields.required_text("text")?,
            cache: cache(&mut fields)?,
            annotations: fields
                .take("citations")
                .filter(|citations| citations.as_array().is_none_or(|list| !list.is_empty())),
        },
        "image" => {
            let cache = cache(&mut fields)?;
            let source = fields
                .object("source")?
                .ok_or_else(|| fields.missing("source"))?;
            Block::Image {
                source: image(source)?,
                detail: None,
                cache,
            }
        }
        "tool_use" => Block::ToolCall {
            id: fields.required_text("id")?,
            name: fields.required_text("name")?,
            arguments: fields
                .take("input")
                .map_or_else(|| "{}".to_owned(), |input| input.to_string()),
            cache: cache(&mut fields)?,
            signature: None,
        },
        "tool_result" => Block::ToolResult {
            id: fields.required_text("tool_use_id")?,
            blocks: match fields.take("content") {
                Some(written) => content(written, &fields.name("content"))?,
                None => Vec::new(),
            },
            is_error: fields.flag("is_error")?.unwrap_or(false),
            cache: cache(&mut fields)?,
        },
        "thinking" => Block::Thinking {
            text: fields.required_text("thinking")?,
            signature: fields.text("signature")?.filter(|text| !text.is_empty()),
            id: None,
        },
        _ => Block::RedactedThinking {
            data: fields.required_text("data")?,
            id: None,
        },
    })
}

fn image(mut source: Fields) -> Result<ImageSource, RequestError> {
    Ok(match source.required_text("type")?.as_str() {
        "base64" => ImageSource::Base64 {
            media_type: source.required_text("media_type")?,
            data: source.required_text("data")?,
        },
        "url" => ImageSource::Url(source.required_text("url")?),
        _ => ImageSource::File(source.required_text("file_id")?),
    })
}

fn cache(fields: &mut Fields) -> Result<Option<CacheHint>, RequestError> {
    fields
        .object("cache_control")?
        .map(|mut control| {
            Ok(CacheHint {
                ttl: control.text("ttl")?,
            })
        })
        .transpose()
}

fn tool(value: Value, index: usize) -> Result<Tool, RequestError> {
    let path = format!("tools[{index}]");
    let kind = value.get("type").and_then(Value::as_str);
    if kind.is_some_and(|kind| kind != "custom") {
        return Ok(Tool::of_vendor(value));
    }
    let whole = value.clone();
    let mut fields = Fields::of(value, path)?;
    fields.take("type");
    let mut tool = Tool {
        name: fields.required_text("name")?,
        description: fields.text("description")?,
        parameters: Some(
            fields
                .take("input_schema")
                .ok_or_else(|| fields.missing("input_schema"))?,
        ),
        strict: fields.flag("strict")?,
        cache: cache(&mut fields)?,
        vendor: None,
    };
    if !fields.is_empty() {
        tool.vendor = Some(whole);
    }
    Ok(tool)
}

fn tool_choice(mut choice: Fields, request: &mut Request) -> Result<(), RequestError> {
    request.tool_choice = Some(match choice.required_text("type")?.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Tool(choice.required_text("name")?),
        _ => return Err(choice.invalid("type", "must be `auto`, `any`, `tool` or `none`")),
    });
    request.parallel_tool_calls = choice
        .flag("disable_parallel_tool_use")?
        .map(|disabled| !disabled);
    Ok(())
}

/// `None` where only this dialect knows the form.
fn reasoning(thinking: Value) -> Result<Option<Reasoning>, RequestError> {
    let mut fields = Fields::of(thinking, "thinking")?;
    let kind = fields.required_text("type")?;
    let reasoning = Reasoning {
        enabled: Some(kind != "disabled"),
        budget_tokens: fields.count("budget_tokens")?,
        summary: fields.text("display")?,
        effort: None,
    };
    let known = matches!(kind.as_str(), "enabled" | "adaptive" | "disabled");
    Ok((known && fields.is_empty()).then_some(reasoning))
}

fn output_config(
    mut config: Fields,
    request: &mut Request,
    extra: &mut Map<String, Value>,
) -> Result<(), RequestError> {
    if let Some(effort) = config.text("effort")? {
        request
            .reasoning
            .get_or_insert_with(Reasoning::default)
            .effort = Some(effort);
    }
    if let Some(format) = config.object("format")? {
        request.output = output_format(format)?;
    }
    if !config.is_empty() {
        extra.insert("output_config".to_owned(), Value::Object(config.rest()));
    }
    Ok(())
}

fn output_format(mut format: Fields) -> Result<Option<OutputFormat>, RequestError> {
    match format.required_text("type")?.as_str() {
        "json_schema" => Ok(Some(OutputFormat::JsonSchema {
            name: None,
            description: None,
            schema: format
                .take("schema")
                .ok_or_else(|| format.missing("schema"))?,
            strict: None,
        })),
        _ => Err(format.invalid("type", "must be `json_schema`")),
    }
}
