//! What a request or a reply means, free of how it is cut into turns and blocks.

use std::collections::BTreeMap;

use distill_wire::{
    Block, Finish, ImageSource, OutputFormat, Reply, Request, ToolChoice, TurnRole,
};
use serde_json::{Value, json};

/// The parts of a request by name; what was not said is left out.
pub(crate) fn request(request: &Request) -> BTreeMap<&'static str, Value> {
    let mut parts = BTreeMap::new();
    let system: Vec<String> = request.system.iter().filter_map(text).collect();
    let mut system = system.join("\n\n");
    // Calls are named by their order: names are replaced where a vendor refuses them.
    let mut names: Vec<String> = Vec::new();
    let mut said = Vec::new();
    for turn in &request.turns {
        for block in &turn.blocks {
            if turn.role == TurnRole::System {
                system.push_str(&text(block).unwrap_or_default());
                continue;
            }
            said.push(line(turn.role, block, &mut names));
        }
    }
    parts.insert("system", system.into());
    parts.insert("conversation", said.into());
    let tools: Vec<Value> = request
        .tools
        .iter()
        .map(|tool| json!([tool.name, tool.description, tool.parameters]))
        .collect();
    parts.insert("tools", tools.into());
    let mut say = |name: &'static str, value: Option<Value>| {
        if let Some(value) = value {
            parts.insert(name, value);
        }
    };
    say(
        "tool_choice",
        request.tool_choice.as_ref().map(|choice| match choice {
            ToolChoice::Auto => "auto".into(),
            ToolChoice::None => "none".into(),
            ToolChoice::Required => "required".into(),
            ToolChoice::Tool(name) => json!({ "tool": name }),
        }),
    );
    // To allow what is allowed anyway says nothing.
    say(
        "parallel_tool_calls",
        request
            .parallel_tool_calls
            .filter(|allowed| !allowed)
            .map(Into::into),
    );
    say("max_tokens", request.max_tokens.map(Into::into));
    say("temperature", request.temperature.map(Into::into));
    say(
        "stop",
        (!request.stop.is_empty()).then(|| request.stop.clone().into()),
    );
    say(
        "output",
        match &request.output {
            Some(OutputFormat::JsonSchema { schema, .. }) => Some(schema.clone()),
            Some(OutputFormat::JsonObject) => Some("object".into()),
            Some(OutputFormat::Text) | None => None,
        },
    );
    say(
        "reasoning",
        request.reasoning.as_ref().map(|reasoning| {
            (reasoning.enabled != Some(false) && reasoning.effort.as_deref() != Some("none")).into()
        }),
    );
    parts
}

fn text(block: &Block) -> Option<String> {
    match block {
        Block::Text { text, .. } => Some(text.clone()),
        _ => None,
    }
}

fn line(role: TurnRole, block: &Block, names: &mut Vec<String>) -> Value {
    let speaker = if role == TurnRole::Assistant {
        "model"
    } else {
        "user"
    };
    match block {
        Block::Text { text, .. } => json!([speaker, text]),
        Block::Image { source, .. } => match source {
            ImageSource::Base64 { media_type, data } => json!([speaker, media_type, data]),
            ImageSource::Url(url) => {
                match url
                    .strip_prefix("data:")
                    .and_then(|rest| rest.split_once(";base64,"))
                {
                    Some((media_type, data)) => json!([speaker, media_type, data]),
                    None => json!([speaker, url]),
                }
            }
            ImageSource::File(name) => json!([speaker, name]),
        },
        Block::ToolCall {
            id,
            name,
            arguments,
            ..
        } => {
            names.push(id.clone());
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            json!(["call", names.len(), name, arguments])
        }
        Block::ToolResult { id, blocks, .. } => {
            let call = names
                .iter()
                .rposition(|name| name == id)
                .map(|place| place + 1);
            let text: Vec<String> = blocks.iter().filter_map(text).collect();
            json!(["result", call, text.concat()])
        }
        other => panic!("nobody said {other:?}"),
    }
}

pub(crate) fn reply(reply: &Reply) -> Value {
    let mut said = Vec::new();
    for block in &reply.blocks {
        match block {
            Block::Text { text, .. } => said.push(json!(["text", text])),
            Block::Thinking { text, .. } if text.is_empty() => {}
            Block::Thinking { text, .. } => said.push(json!(["thinking", text])),
            Block::ToolCall {
                name, arguments, ..
            } => {
                let arguments: Value = serde_json::from_str(arguments).unwrap();
                said.push(json!(["call", name, arguments]));
            }
            other => said.push(json!(["other", format!("{other:?}")])),
        }
    }
    let usage = reply.usage;
    let sum = |classes: &[Option<u64>]| classes.iter().flatten().sum::<u64>();
    json!({
        "said": said,
        "finish": match &reply.finish {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::ToolCalls => "calls",
            Finish::ContentFilter => "filter",
            Finish::Pause => "pause",
            Finish::Other(word) => word,
        },
        "input": sum(&[usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens]),
        "output": sum(&[usage.output_tokens, usage.reasoning_tokens]),
    })
}
