//! Writes a request for a target.

mod conversation;
mod reasoning;

use serde_json::{Map, Value, json};

use super::OWN;
use crate::{
    Dropped, OutputFormat, Quirks, Request, SchemaSupport, SeedParameter, TokenLimit, Tool,
    ToolChoice, Unsupported, Writing, Written,
    leftover::{caller_name, leave, leave_out},
};

/// The longest `user` that `OpenAI` takes; other dialects' names can be longer.
const LONGEST_USER: usize = 64;

pub(super) fn write(request: &Request, writing: &Writing<'_>) -> Result<Written, Unsupported> {
    let quirks = writing.quirks;
    let mut dropped = Vec::new();
    let mut body = Map::new();
    body.insert("model".to_owned(), writing.model.into());
    let messages = conversation::write(request, quirks, &mut dropped)?;
    body.insert("messages".to_owned(), messages.into());
    write_sampling(request, writing, &mut body, &mut dropped);
    write_output(request, quirks, &mut body, &mut dropped);
    write_tools(request, quirks, &mut body, &mut dropped)?;
    reasoning::write(request, writing, &mut body, &mut dropped);
    if request.stream {
        body.insert("stream".to_owned(), true.into());
        if quirks.stream_options && (request.stream_usage || writing.meter) {
            let options = json!({"include_usage": true});
            body.insert("stream_options".to_owned(), options);
        }
    }
    write_names(request, quirks, &mut body, &mut dropped);
    leave_out(request, OWN, &[], &mut dropped)?;
    if request.source == Some(OWN) {
        write_extra(&request.extra, quirks, &mut body, &mut dropped);
    }
    Ok(Written {
        body: Value::Object(body).to_string().into_bytes(),
        dropped,
    })
}

/// The order of these fields is that of the bodies whose hashes are in labelling journals.
fn write_sampling(
    request: &Request,
    writing: &Writing<'_>,
    body: &mut Map<String, Value>,
    dropped: &mut Vec<Dropped>,
) {
    let quirks = writing.quirks;
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    let limit = match quirks.token_limit {
        TokenLimit::MaxTokens => "max_tokens",
        TokenLimit::MaxCompletionTokens => "max_completion_tokens",
    };
    let bound = request.max_tokens.unwrap_or(writing.default_max_tokens);
    put(limit, bound.into());
    if let Some(temperature) = request.temperature {
        if writing.fixed_temperature {
            leave(dropped, "temperature", "this model takes none");
        } else {
            put("temperature", temperature.into());
        }
    }
    if !request.stop.is_empty() {
        put("stop", request.stop.clone().into());
    }
    match (request.seed, quirks.seed) {
        (None, _) => {}
        (Some(seed), SeedParameter::Seed) => {
            put("seed", seed.into());
        }
        (Some(seed), SeedParameter::RandomSeed) => {
            put("random_seed", seed.into());
        }
        (Some(_), SeedParameter::Unknown) => leave(dropped, "seed", "this vendor takes none"),
    }
    if let Some(top_p) = request.top_p {
        put("top_p", top_p.into());
    }
    match request.top_k {
        Some(top_k) if quirks.top_k => {
            put("top_k", top_k.into());
        }
        Some(_) => leave(dropped, "top_k", "this vendor takes none"),
        None => {}
    }
    for (name, penalty) in [
        ("presence_penalty", request.presence_penalty),
        ("frequency_penalty", request.frequency_penalty),
    ] {
        if let Some(penalty) = penalty {
            put(name, penalty.into());
        }
    }
    if let Some(n) = request.n {
        put("n", n.into());
    }
    match request.logprobs {
        Some(top) if quirks.logprobs => {
            put("logprobs", true.into());
            if top > 0 {
                put("top_logprobs", top.into());
            }
        }
        Some(_) => leave(dropped, "logprobs", "this vendor gives none"),
        None => {}
    }
}

fn write_output(
    request: &Request,
    quirks: Quirks,
    body: &mut Map<String, Value>,
    dropped: &mut Vec<Dropped>,
) {
    let object = json!({"type": "json_object"});
    let format = match (&request.output, quirks.schema) {
        (None, _) | (Some(OutputFormat::Text), SchemaSupport::None) => return,
        (Some(OutputFormat::Text), _) => json!({"type": "text"}),
        (Some(_), SchemaSupport::None) => {
            leave(
                dropped,
                caller_name(request.source, "output"),
                "this vendor cannot hold a reply to a format; a schema stands in the instructions",
            );
            return;
        }
        (Some(OutputFormat::JsonObject), _) => object,
        (Some(OutputFormat::JsonSchema { .. }), SchemaSupport::JsonObject) => {
            leave(
                dropped,
                caller_name(request.source, "output"),
                "this vendor holds a reply to JSON; the schema stands in the instructions",
            );
            object
        }
        (
            Some(OutputFormat::JsonSchema {
                name,
                description,
                schema,
                strict,
            }),
            SchemaSupport::JsonSchema,
        ) => {
            let mut format = Map::new();
            let name = name.as_deref().unwrap_or("answer");
            format.insert("name".to_owned(), name.into());
            if let Some(description) = description {
                format.insert("description".to_owned(), description.as_str().into());
            }
            format.insert("schema".to_owned(), schema.clone());
            if let Some(strict) = strict {
                format.insert("strict".to_owned(), (*strict).into());
            }
            json!({"type": "json_schema", "json_schema": format})
        }
    };
    body.insert("response_format".to_owned(), format);
}

fn write_tools(
    request: &Request,
    quirks: Quirks,
    body: &mut Map<String, Value>,
    dropped: &mut Vec<Dropped>,
) -> Result<(), Unsupported> {
    let own = request.source == Some(OWN);
    let mut tools = Vec::new();
    for tool in &request.tools {
        match &tool.vendor {
            Some(vendor) if own => tools.push(vendor.clone()),
            Some(_) if tool.parameters.is_none() => {
                if request.tool_choice == Some(ToolChoice::Tool(tool.name.clone())) {
                    return Err(Unsupported {
                        field: "tool_choice".to_owned(),
                        reason: format!("`{}` is a tool that another vendor runs", tool.name),
                    });
                }
                leave(
                    dropped,
                    &format!("tools[{}]", tool.name),
                    "another vendor runs it",
                );
            }
            _ => tools.push(write_function(tool, quirks, dropped)),
        }
    }
    // A choice among no tools is refused.
    if tools.is_empty() {
        if matches!(
            request.tool_choice,
            Some(ToolChoice::Required | ToolChoice::Tool(_))
        ) {
            return Err(Unsupported {
                field: "tool_choice".to_owned(),
                reason: "no tool is left that this model can be given".to_owned(),
            });
        }
        return Ok(());
    }
    body.insert("tools".to_owned(), tools.into());
    let choice: Option<Value> = request.tool_choice.as_ref().map(|choice| match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Tool(name) => json!({"type": "function", "function": {"name": name}}),
    });
    if let Some(choice) = choice {
        body.insert("tool_choice".to_owned(), choice);
    }
    if let Some(parallel) = request.parallel_tool_calls {
        if quirks.parallel_tool_calls {
            body.insert("parallel_tool_calls".to_owned(), parallel.into());
        } else if !parallel {
            leave(
                dropped,
                "parallel_tool_calls",
                "this vendor cannot be held to one call at a time",
            );
        }
    }
    Ok(())
}

fn write_function(tool: &Tool, quirks: Quirks, dropped: &mut Vec<Dropped>) -> Value {
    let mut function = Map::new();
    function.insert("name".to_owned(), tool.name.as_str().into());
    if let Some(description) = &tool.description {
        function.insert("description".to_owned(), description.as_str().into());
    }
    let parameters = tool.parameters.clone();
    function.insert(
        "parameters".to_owned(),
        parameters.unwrap_or_else(|| json!({"type": "object", "properties": {}})),
    );
    if let Some(strict) = tool.strict {
        function.insert("strict".to_owned(), strict.into());
    }
    let mut value = json!({"type": "function", "function": function});
    match &tool.cache {
        Some(hint) if quirks.cache_control => {
            value["cache_control"] = super::part::write_cache(hint);
        }
        Some(_) => leave(dropped, "cache_control", conversation::NO_CACHE_HINT),
        None => {}
    }
    value
}

/// Names and notes for the vendor's books.
fn write_names(
    request: &Request,
    quirks: Quirks,
    body: &mut Map<String, Value>,
    dropped: &mut Vec<Dropped>,
) {
    const UNKNOWN: &str = "only OpenAI itself knows it";
    let user_name = caller_name(request.source, "user");
    match &request.user {
        Some(user) if !quirks.user => leave(dropped, user_name, "this vendor takes none"),
        Some(user) if user.len() > LONGEST_USER && request.source != Some(OWN) => {
            leave(dropped, user_name, "it is longer than this dialect allows");
        }
        Some(user) => {
            body.insert("user".to_owned(), user.as_str().into());
        }
        None => {}
    }
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    for (name, value) in [
        ("metadata", request.metadata.clone()),
        ("service_tier", text(&request.service_tier)),
        ("store", request.store.map(Value::from)),
        ("prompt_cache_key", text(&request.prompt_cache_key)),
    ] {
        let Some(value) = value else { continue };
        // Another dialect's tiers have other names, and its notes another shape.
        let foreign = request.source.is_some_and(|source| {
            source != OWN && !(source == crate::Dialect::Responses && name != "store")
        });
        if name == "store" && value == false {
            // Not to keep anything is what happens where it is not said.
            if quirks.openai_fields {
                body.insert(name.to_owned(), value);
            }
        } else if !quirks.openai_fields {
            leave(dropped, name, UNKNOWN);
        } else if foreign {
            leave(dropped, name, "only its own dialect knows it");
        } else {
            body.insert(name.to_owned(), value);
        }
    }
}

fn write_extra(
    extra: &Map<String, Value>,
    quirks: Quirks,
    body: &mut Map<String, Value>,
    dropped: &mut Vec<Dropped>,
) {
    for (name, value) in extra {
        if name.starts_with("messages[].content") || name.starts_with("messages[].tool_calls") {
            leave(
                dropped,
                name,
                "it has no place in a conversation that was read",
            );
        } else if name.starts_with("tools[]") {
            leave(dropped, name, "it has no place in a tool that was read");
        } else if name.starts_with("messages[]") {
            // Sent with its turn.
        } else if name == "stream_options" {
            if let (Some(Value::Object(options)), Value::Object(more), true) =
                (body.get_mut("stream_options"), value, quirks.stream_options)
            {
                options.extend(more.clone());
            }
        } else if let (Some(Value::Object(there)), Value::Object(more)) =
            (body.get_mut(name), value)
        {
            there.extend(more.clone());
        } else {
            body.insert(name.clone(), value.clone());
        }
    }
}
