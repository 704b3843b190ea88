//! Reading a request in this dialect.

use serde_json::{Value, json};

use super::PLAN;
use crate::{
    Block, Dialect, ImageSource, OutputFormat, Reasoning, Request, RequestError, Tool, ToolChoice,
    Turn, TurnRole,
    fields::Fields,
    rest::{integer, texts},
};

pub(crate) fn read_request(body: &[u8]) -> Result<Request, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let mut request = Request {
        source: Some(Dialect::Cohere),
        model: fields.required_text("model")?,
        stream: fields.flag("stream")?.unwrap_or(false),
        max_tokens: fields.count("max_tokens")?,
        temperature: fields.number("temperature")?,
        top_p: fields.number("p")?,
        top_k: fields.count("k")?,
        presence_penalty: fields.number("presence_penalty")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        stop: texts(&mut fields, "stop_sequences")?,
        seed: integer(&mut fields, "seed")?,
        ..Request::default()
    };
    // Every stream of this dialect ends with its usage.
    request.stream_usage = request.stream;
    if fields.flag("logprobs")? == Some(true) {
        request.logprobs = Some(0);
    }
    let messages = fields
        .list("messages")?
        .ok_or_else(|| fields.missing("messages"))?;
    for (index, message) in messages.into_iter().enumerate() {
        let message = Fields::of(message, format!("messages[{index}]"))?;
        let turn = read_message(message)?;
        if turn.role == TurnRole::System && request.turns.is_empty() {
            request.system.extend(turn.blocks);
        } else {
            request.turns.push(turn);
        }
    }
    let strict = fields.flag("strict_tools")?;
    for (index, tool) in fields
        .list("tools")?
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        let mut tool = Fields::of(tool, format!("tools[{index}]"))?;
        let mut function = tool
            .object("function")?
            .ok_or_else(|| tool.missing("function"))?;
        request.tools.push(Tool {
            name: function.required_text("name")?,
            description: function.text("description")?,
            parameters: Some(
                function
                    .take("parameters")
                    .unwrap_or_else(|| json!({"type": "object"})),
            ),
            strict,
            cache: None,
            vendor: None,
        });
    }
    request.tool_choice = match fields.text("tool_choice")?.as_deref() {
        None => None,
        Some("REQUIRED") => Some(ToolChoice::Required),
        Some("NONE") => Some(ToolChoice::None),
        Some(_) => return Err(fields.invalid("tool_choice", "must be `REQUIRED` or `NONE`")),
    };
    if let Some(mut format) = fields.object("response_format")? {
        request.output = Some(read_format(&mut format)?);
    }
    if let Some(mut thinking) = fields.object("thinking")? {
        request.reasoning = Some(Reasoning {
            enabled: thinking.text("type")?.map(|kind| kind == "enabled"),
            budget_tokens: thinking.count("token_budget")?,
            ..Reasoning::default()
        });
    }
    request.extra = fields.rest();
    Ok(request)
}

fn read_format(format: &mut Fields) -> Result<OutputFormat, RequestError> {
    match (format.text("type")?.as_deref(), format.take("json_schema")) {
        (Some("json_object"), Some(schema)) => Ok(OutputFormat::JsonSchema {
            name: None,
            description: None,
            schema,
            strict: None,
        }),
        (Some("json_object"), None) => Ok(OutputFormat::JsonObject),
        (Some("text") | None, _) => Ok(OutputFormat::Text),
        (Some(_), _) => Err(format.invalid("type", "must be `text` or `json_object`")),
    }
}

fn read_message(mut message: Fields) -> Result<Turn, RequestError> {
    let role = match message.required_text("role")?.as_str() {
        "system" => TurnRole::System,
        "user" => TurnRole::User,
        "assistant" => TurnRole::Assistant,
        "tool" => TurnRole::Tool,
        _ => {
            return Err(message.invalid("role", "must be `system`, `user`, `assistant` or `tool`"));
        }
    };
    let mut blocks = Vec::new();
    if let Some(plan) = message.text("tool_plan")?.filter(|plan| !plan.is_empty()) {
        blocks.push(Block::Thinking {
            text: plan,
            signature: None,
            id: Some(PLAN.to_owned()),
        });
    }
    match message.take("content") {
        None => {}
        Some(Value::String(text)) => blocks.push(Block::text(text)),
        Some(Value::Array(parts)) => {
            for (index, part) in parts.into_iter().enumerate() {
                let place = message.name(&format!("content[{index}]"));
                blocks.push(read_part(Fields::of(part, place)?)?);
            }
        }
        Some(_) => return Err(message.invalid("content", "must be a string or an array")),
    }
    for (index, call) in message
        .list("tool_calls")?
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        let mut call = Fields::of(call, message.name(&format!("tool_calls[{index}]")))?;
        let mut function = call
            .object("function")?
            .ok_or_else(|| call.missing("function"))?;
        blocks.push(Block::ToolCall {
            id: call.required_text("id")?,
            name: function.required_text("name")?,
            arguments: function.text("arguments")?.unwrap_or_default(),
            cache: None,
            signature: None,
        });
    }
    if role == TurnRole::Tool {
        blocks = vec![Block::ToolResult {
            id: message.required_text("tool_call_id")?,
            blocks,
            is_error: false,
            cache: None,
        }];
    }
    Ok(Turn {
        role,
        blocks,
        name: None,
        extra: message.rest(),
    })
}

fn read_part(mut part: Fields) -> Result<Block, RequestError> {
    match part.peek("type") {
        Some("text") => Ok(Block::text(part.required_text("text")?)),
        Some("thinking") => Ok(Block::Thinking {
            text: part.required_text("thinking")?,
            signature: None,
            id: None,
        }),
        Some("image_url") => {
            let mut image = part
                .object("image_url")?
                .ok_or_else(|| part.missing("image_url"))?;
            Ok(Block::Image {
                source: ImageSource::Url(image.required_text("url")?),
                detail: image.text("detail")?,
                cache: None,
            })
        }
        Some(_) => Ok(Block::Other(Value::Object(part.rest()))),
        None => Err(part.missing("type")),
    }
}
