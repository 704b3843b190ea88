//! Reads a caller's request.

use serde_json::{Map, Value};

use super::{OWN, part, thinking};
use crate::{
    Block, OutputFormat, Reasoning, Request, RequestError, Tool, ToolChoice, Turn, TurnRole,
    fields::Fields,
};

pub(super) fn read(body: &[u8]) -> Result<Request, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let mut request = Request {
        source: Some(OWN),
        model: fields.required_text("model")?,
        ..Request::default()
    };
    let messages = fields
        .list("messages")?
        .ok_or_else(|| fields.missing("messages"))?;
    for (index, message) in messages.into_iter().enumerate() {
        read_message(
            Fields::of(message, format!("messages[{index}]"))?,
            &mut request,
        )?;
    }
    read_tools(&mut fields, &mut request)?;
    read_sampling(&mut fields, &mut request)?;
    request.reasoning = read_reasoning(&mut fields, &mut request.extra)?;
    read_output(&mut fields, &mut request)?;
    request.stream = fields.flag("stream")?.unwrap_or_default();
    if let Some(mut options) = fields.object("stream_options")? {
        request.stream_usage = options.flag("include_usage")?.unwrap_or_default();
        if !options.is_empty() {
            request
                .extra
                .insert("stream_options".to_owned(), options.rest().into());
        }
    }
    request.user = fields.text("user")?;
    request.metadata = fields.take("metadata");
    request.service_tier = fields.text("service_tier")?;
    request.store = fields.flag("store")?;
    request.prompt_cache_key = fields.text("prompt_cache_key")?;
    request.extra.extend(said(fields.rest()));
    Ok(request)
}

/// Fields with a value.
fn said(fields: Map<String, Value>) -> impl Iterator<Item = (String, Value)> {
    fields.into_iter().filter(|(_, value)| !value.is_null())
}

/// Notes fields that no block holds, by the name under which a writer says that it leaves them out.
pub(super) fn note(extra: &mut Map<String, Value>, place: &str, fields: &Map<String, Value>) {
    for (name, value) in fields {
        if !value.is_null() {
            extra.insert(format!("{place}.{name}"), value.clone());
        }
    }
}

fn read_message(mut fields: Fields, request: &mut Request) -> Result<(), RequestError> {
    let role = fields.required_text("role")?;
    let name = fields.text("name")?;
    let extra = &mut request.extra;
    let (role, blocks) = match role.as_str() {
        "system" | "developer" => (TurnRole::System, part::read_content(&mut fields, extra)?),
        "user" => (TurnRole::User, part::read_content(&mut fields, extra)?),
        "assistant" => (TurnRole::Assistant, read_assistant(&mut fields, extra)?),
        "tool" => (
            TurnRole::Tool,
            vec![Block::ToolResult {
                id: fields.required_text("tool_call_id")?,
                blocks: part::read_content(&mut fields, extra)?,
                is_error: false,
                cache: None,
            }],
        ),
        // The form before tools: the function's name stands for the call's.
        "function" => (
            TurnRole::Tool,
            vec![Block::ToolResult {
                id: name.clone().ok_or_else(|| fields.missing("name"))?,
                blocks: part::read_content(&mut fields, extra)?,
                is_error: false,
                cache: None,
            }],
        ),
        other => {
            let problem = format!(
                "is `{other}`, which is no role; use system, developer, user, assistant or tool"
            );
            return Err(fields.invalid("role", problem));
        }
    };
    let rest: Map<String, Value> = said(fields.rest()).collect();
    if role == TurnRole::System && request.turns.is_empty() && name.is_none() && rest.is_empty() {
        request.system.extend(blocks);
        return Ok(());
    }
    note(extra, "messages[]", &rest);
    request.turns.push(Turn {
        role,
        blocks,
        name,
        extra: rest,
    });
    Ok(())
}

fn read_assistant(
    fields: &mut Fields,
    extra: &mut Map<String, Value>,
) -> Result<Vec<Block>, RequestError> {
    let mut blocks = thinking::read_message(fields)?;
    let content = part::read_content(fields, extra)?;
    blocks.extend(content.into_iter().filter(
        // An empty text beside a tool call says nothing, and other vendors refuse it.
        |block| !matches!(block, Block::Text { text, .. } if text.is_empty()),
    ));
    if let Some(text) = fields.text("refusal")? {
        blocks.push(Block::Refusal { text });
    }
    let calls = fields.list("tool_calls")?.unwrap_or_default();
    for (index, call) in calls.into_iter().enumerate() {
        if call
            .get("type")
            .is_some_and(|kind| !kind.is_null() && kind != "function")
        {
            blocks.push(Block::Other(call));
            continue;
        }
        let mut call = Fields::of(call, format!("{}[{index}]", fields.name("tool_calls")))?;
        call.take("type");
        call.take("index");
        let id = call.required_text("id")?;
        let signature = call.take("extra_content").and_then(|content| {
            let signature = content.pointer("/google/thought_signature")?;
            signature.as_str().map(str::to_owned)
        });
        let mut function = call
            .object("function")?
            .ok_or_else(|| call.missing("function"))?;
        blocks.push(Block::ToolCall {
            id,
            name: function.required_text("name")?,
            arguments: arguments(&mut function),
            cache: None,
            signature,
        });
        note(extra, "messages[].tool_calls[]", &call.rest());
    }
    if let Some(mut call) = fields.object("function_call")? {
        let name = call.required_text("name")?;
        blocks.push(Block::ToolCall {
            id: name.clone(),
            name,
            arguments: arguments(&mut call),
            cache: None,
            signature: None,
        });
    }
    Ok(blocks)
}

/// Text as the dialect has it; some clients send the object itself.
fn arguments(function: &mut Fields) -> String {
    match function.take("arguments") {
        None => "{}".to_owned(),
        Some(Value::String(text)) => text,
        Some(value) => value.to_string(),
    }
}

fn read_tools(fields: &mut Fields, request: &mut Request) -> Result<(), RequestError> {
    for (index, tool) in fields
        .list("tools")?
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        let kind = tool.get("type").and_then(Value::as_str);
        if kind.is_some_and(|kind| kind != "function") {
            let named = ["/name", "/custom/name", "/type"];
            let name = named.iter().find_map(|at| tool.pointer(at)?.as_str());
            request.tools.push(Tool {
                name: name.unwrap_or_default().to_owned(),
                description: None,
                parameters: None,
                strict: None,
                cache: None,
                vendor: Some(tool),
            });
            continue;
        }
        let mut tool = Fields::of(tool, format!("tools[{index}]"))?;
        tool.take("type");
        let function = tool
            .object("function")?
            .ok_or_else(|| tool.missing("function"))?;
        let cache = part::read_cache(&mut tool);
        request.tools.push(Tool {
            cache,
            ..read_function(function, &mut request.extra)?
        });
        note(&mut request.extra, "tools[]", &tool.rest());
    }
    for (index, function) in fields
        .list("functions")?
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        let function = Fields::of(function, format!("functions[{index}]"))?;
        let tool = read_function(function, &mut request.extra)?;
        request.tools.push(tool);
    }
    let choice = match fields.take("tool_choice") {
        None => fields.take("function_call"),
        some => some,
    };
    request.tool_choice = match choice {
        None => None,
        Some(choice) => match read_choice(&choice) {
            None => {
                request.extra.insert("tool_choice".to_owned(), choice);
                None
            }
            some => some,
        },
    };
    request.parallel_tool_calls = fields.flag("parallel_tool_calls")?;
    Ok(())
}

fn read_function(
    mut function: Fields,
    extra: &mut Map<String, Value>,
) -> Result<Tool, RequestError> {
    let tool = Tool {
        name: function.required_text("name")?,
        description: function.text("description")?,
        parameters: function.take("parameters"),
        strict: function.flag("strict")?,
        cache: None,
        vendor: None,
    };
    note(extra, "tools[].function", &function.rest());
    Ok(tool)
}

/// `None` for a choice that only this dialect knows (`allowed_tools`, custom tools).
fn read_choice(choice: &Value) -> Option<ToolChoice> {
    match choice {
        Value::String(word) => match word.as_str() {
            "auto" => Some(ToolChoice::Auto),
            "none" => Some(ToolChoice::None),
            // Mistral's older word.
            "required" | "any" => Some(ToolChoice::Required),
            _ => None,
        },
        Value::Object(_) => {
            let kind = choice.get("type").and_then(Value::as_str);
            if kind.is_some_and(|kind| kind != "function") {
                return None;
            }
            let named = ["/function/name", "/name"];
            let name = named.iter().find_map(|at| choice.pointer(at)?.as_str())?;
            Some(ToolChoice::Tool(name.to_owned()))
        }
        _ => None,
    }
}

fn read_sampling(fields: &mut Fields, request: &mut Request) -> Result<(), RequestError> {
    let bound = fields.count("max_tokens")?;
    request.max_tokens = fields.count("max_completion_tokens")?.or(bound);
    request.temperature = fields.number("temperature")?;
    request.top_p = fields.number("top_p")?;
    request.top_k = fields.count("top_k")?;
    request.presence_penalty = fields.number("presence_penalty")?;
    request.frequency_penalty = fields.number("frequency_penalty")?;
    request.n = fields.count("n")?;
    request.stop = match fields.take("stop") {
        None => Vec::new(),
        Some(Value::String(stop)) => vec![stop],
        Some(Value::Array(stops)) => stops
            .into_iter()
            .map(|stop| match stop {
                Value::String(stop) => Ok(stop),
                _ => Err(fields.invalid("stop", "must be a string or an array of strings")),
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(fields.invalid("stop", "must be a string or an array of strings")),
    };
    for name in ["random_seed", "seed"] {
        if let Some(seed) = fields.take(name) {
            let seed = seed
                .as_i64()
                .ok_or_else(|| fields.invalid(name, "must be a whole number of 64 bits"))?;
            request.seed = Some(seed);
        }
    }
    let top = fields.count("top_logprobs")?;
    request.logprobs = match fields.flag("logprobs")? {
        Some(true) => Some(top.unwrap_or_default()),
        _ => top.filter(|top| *top > 0),
    };
    Ok(())
}

/// The ways in which compatible servers are asked to think.
fn read_reasoning(
    fields: &mut Fields,
    extra: &mut Map<String, Value>,
) -> Result<Option<Reasoning>, RequestError> {
    let mut reasoning = Reasoning::default();
    if let Some(mut object) = fields.object("reasoning")? {
        reasoning.effort = object.text("effort")?;
        reasoning.budget_tokens = object.count("max_tokens")?;
        reasoning.enabled = object.flag("enabled")?;
        reasoning.summary = object.text("summary")?;
        keep("reasoning", object, extra);
    }
    if let Some(mut switch) = fields.object("thinking")? {
        reasoning.enabled = switch.text("type")?.map(|word| word != "disabled");
        reasoning.budget_tokens = switch.count("budget_tokens")?.or(reasoning.budget_tokens);
        keep("thinking", switch, extra);
    }
    reasoning.effort = fields.text("reasoning_effort")?.or(reasoning.effort);
    Ok((reasoning != Reasoning::default()).then_some(reasoning))
}

/// Keeps what nobody knows of an object, by the object's name.
fn keep(name: &str, object: Fields, extra: &mut Map<String, Value>) {
    let rest: Map<String, Value> = said(object.rest()).collect();
    if !rest.is_empty() {
        extra.insert(name.to_owned(), rest.into());
    }
}

fn read_output(fields: &mut Fields, request: &mut Request) -> Result<(), RequestError> {
    let Some(format) = fields.take("response_format") else {
        return Ok(());
    };
    let kind = format
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    request.output = match kind {
        "text" => Some(OutputFormat::Text),
        "json_object" => Some(OutputFormat::JsonObject),
        "json_schema" => {
            let mut format = Fields::of(format, "response_format")?;
            let mut schema = format
                .object("json_schema")?
                .ok_or_else(|| format.missing("json_schema"))?;
            Some(OutputFormat::JsonSchema {
                name: schema.text("name")?,
                description: schema.text("description")?,
                strict: schema.flag("strict")?,
                // Mistral's own client calls it so.
                schema: match schema.take("schema") {
                    None => schema.take("schema_definition"),
                    some => some,
                }
                .ok_or_else(|| schema.missing("schema"))?,
            })
        }
        _ => {
            request.extra.insert("response_format".to_owned(), format);
            None
        }
    };
    Ok(())
}
