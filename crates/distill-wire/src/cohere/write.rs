//! Writing a request in this dialect.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::PLAN;
use crate::{
    Block, Dialect, Dropped, ImageSource, OutputFormat, Request, Tool, ToolChoice, Turn, TurnRole,
    Unsupported, Written,
    leftover::{leave, leave_out},
    order::settled,
    quirks::Writing,
    rest::fill,
};

pub(crate) fn write_request(
    request: &Request,
    writing: &Writing<'_>,
) -> Result<Written, Unsupported> {
    if request.n.is_some_and(|count| count > 1) {
        return Err(Unsupported::new("n", "one reply is read of each answer"));
    }
    let mut writer = Writer {
        request,
        writing,
        own: request.source == Some(Dialect::Cohere),
        dropped: Vec::new(),
    };
    let mut body = Map::new();
    body.insert("model".into(), writing.model.into());
    body.insert("messages".into(), writer.messages()?.into());
    writer.tools(&mut body)?;
    writer.settings(&mut body)?;
    writer.leave_out()?;
    let mut body = Value::Object(body);
    if writer.own {
        fill(&mut body, &Value::Object(request.extra.clone()));
    }
    Ok(Written {
        body: body.to_string().into_bytes(),
        dropped: writer.dropped,
    })
}

struct Writer<'a> {
    request: &'a Request,
    writing: &'a Writing<'a>,
    /// Whether the request was read from this dialect.
    own: bool,
    dropped: Vec<Dropped>,
}

impl Writer<'_> {
    fn drop(&mut self, field: &str, reason: &'static str) {
        leave(&mut self.dropped, field, reason);
    }

    fn cache(&mut self, hinted: bool) {
        if hinted {
            self.drop("cache_control", "Cohere caches by itself");
        }
    }

    fn messages(&mut self) -> Result<Vec<Value>, Unsupported> {
        let request = self.request;
        let mut messages = Vec::new();
        for block in &request.system {
            messages.push(json!({"role": "system", "content": self.instruction(block)?}));
        }
        let turns = if self.own {
            request.turns.iter().map(Cow::Borrowed).collect()
        } else {
            settled(request)
        };
        for turn in turns.iter().map(AsRef::as_ref) {
            if turn.name.is_some() {
                self.drop("messages.name", "Cohere knows no names of speakers");
            }
            let from = messages.len();
            match turn.role {
                TurnRole::System => {
                    for block in &turn.blocks {
                        let text = self.instruction(block)?;
                        messages.push(json!({"role": "system", "content": text}));
                    }
                }
                TurnRole::Assistant => messages.extend(self.answer(turn)?),
                TurnRole::User | TurnRole::Tool => self.question(turn, &mut messages)?,
            }
            if self.own
                && let [message] = &mut messages[from..]
            {
                fill(message, &Value::Object(turn.extra.clone()));
            }
        }
        Ok(messages)
    }

    fn instruction(&mut self, block: &Block) -> Result<Value, Unsupported> {
        match block {
            Block::Text { text, cache, .. } => {
                self.cache(cache.is_some());
                Ok(text.as_str().into())
            }
            Block::Other(part) if self.own => Ok(json!([part])),
            _ => Err(Unsupported::new("system", "Cohere's instructions are text")),
        }
    }

    /// What a person or a tool says: results become messages of their own, before the rest.
    fn question(&mut self, turn: &Turn, messages: &mut Vec<Value>) -> Result<(), Unsupported> {
        let mut parts = Vec::new();
        for block in &turn.blocks {
            match block {
                Block::Text { text, cache, .. } => {
                    self.cache(cache.is_some());
                    parts.push(json!({"type": "text", "text": text}));
                }
                Block::Refusal { text } => parts.push(json!({"type": "text", "text": text})),
                Block::Image {
                    source,
                    detail,
                    cache,
                } => {
                    self.cache(cache.is_some());
                    parts.push(self.image(source, detail.as_deref())?);
                }
                Block::ToolResult {
                    id,
                    blocks,
                    is_error,
                    cache,
                } => {
                    self.cache(cache.is_some());
                    let content = self.result(blocks, *is_error)?;
                    messages.push(json!({"role": "tool", "tool_call_id": id, "content": content}));
                }
                Block::Other(part) if self.own => parts.push(part.clone()),
                Block::Other(part) => {
                    let kind = part.get("type").and_then(Value::as_str).unwrap_or("part");
                    return Err(Unsupported::new(kind, "Cohere has no such part"));
                }
                Block::ToolCall { .. } => {
                    return Err(Unsupported::new("tool_calls", "only a model calls tools"));
                }
                Block::Thinking { .. } | Block::RedactedThinking { .. } => {
                    self.drop("thinking", "only a model thinks");
                }
            }
        }
        if !parts.is_empty() {
            messages.push(json!({"role": "user", "content": content(parts)}));
        }
        Ok(())
    }

    fn result(&mut self, blocks: &[Block], is_error: bool) -> Result<Value, Unsupported> {
        let mut parts = Vec::new();
        if is_error {
            // The dialect has no flag for it.
            parts.push(json!({"type": "text", "text": "Error:"}));
        }
        for block in blocks {
            match block {
                Block::Text { text, cache, .. } => {
                    self.cache(cache.is_some());
                    parts.push(json!({"type": "text", "text": text}));
                }
                Block::Other(part) if self.own => parts.push(part.clone()),
                _ => {
                    return Err(Unsupported::new(
                        "tool result",
                        "Cohere's tool results are text",
                    ));
                }
            }
        }
        Ok(content(parts))
    }

    fn image(&self, source: &ImageSource, detail: Option<&str>) -> Result<Value, Unsupported> {
        let url = match source {
            ImageSource::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
            ImageSource::Url(url)
                if self.own || self.writing.quirks.image_urls || url.starts_with("data:") =>
            {
                url.clone()
            }
            ImageSource::Url(_) => {
                return Err(Unsupported::new(
                    "image_url",
                    "this target takes images as data only: send the image in base64",
                ));
            }
            ImageSource::File(_) => {
                return Err(Unsupported::new(
                    "file_id",
                    "the file lies with another vendor: send the image in base64",
                ));
            }
        };
        let mut image = json!({ "url": url });
        if let Some(detail) = detail {
            image["detail"] = detail.into();
        }
        Ok(json!({"type": "image_url", "image_url": image}))
    }

    fn answer(&mut self, turn: &Turn) -> Result<Option<Value>, Unsupported> {
        let (mut parts, mut calls) = (Vec::new(), Vec::new());
        let mut plan = String::new();
        for block in &turn.blocks {
            match block {
                Block::Text {
                    text,
                    cache,
                    annotations,
                } => {
                    self.cache(cache.is_some());
                    if annotations.is_some() {
                        self.drop("annotations", "Cohere takes its own citations only");
                    }
                    parts.push(json!({"type": "text", "text": text}));
                }
                Block::Refusal { text } => parts.push(json!({"type": "text", "text": text})),
                Block::Thinking {
                    text,
                    signature,
                    id,
                } => {
                    if signature.is_some() {
                        self.drop("signature", "Cohere's thinking has no proof");
                    }
                    if id.as_deref() == Some(PLAN) {
                        plan.push_str(text);
                    } else if !text.is_empty() {
                        parts.push(json!({"type": "thinking", "thinking": text}));
                    }
                }
                Block::RedactedThinking { .. } => {
                    self.drop("redacted_thinking", "only its own vendor can read it");
                }
                Block::ToolCall {
                    id,
                    name,
                    arguments,
                    cache,
                    signature,
                } => {
                    self.cache(cache.is_some());
                    if signature.is_some() {
                        self.drop("signature", "Cohere's calls have no proof");
                    }
                    calls.push(call_value(id, name, arguments));
                }
                Block::Other(part) if self.own => parts.push(part.clone()),
                Block::Other(part) => {
                    let kind = part.get("type").and_then(Value::as_str).unwrap_or("part");
                    self.drop(kind, "a part of an answer that only its own dialect knows");
                }
                Block::Image { .. } | Block::ToolResult { .. } => {
                    return Err(Unsupported::new(
                        "messages",
                        "an answer holds text and calls",
                    ));
                }
            }
        }
        if parts.is_empty() && calls.is_empty() && plan.is_empty() {
            return Ok(None);
        }
        let mut message = json!({"role": "assistant"});
        if !parts.is_empty() {
            message["content"] = content(parts);
        }
        if !plan.is_empty() {
            message["tool_plan"] = plan.into();
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        Ok(Some(message))
    }

    fn tools(&mut self, body: &mut Map<String, Value>) -> Result<(), Unsupported> {
        let request = self.request;
        let forced = match &request.tool_choice {
            Some(ToolChoice::Tool(name)) => Some(name),
            _ => None,
        };
        let mut tools: Vec<(&Tool, &Value)> = Vec::new();
        for tool in &request.tools {
            self.cache(tool.cache.is_some());
            match &tool.parameters {
                Some(schema) => tools.push((tool, schema)),
                None if forced == Some(&tool.name) => {
                    return Err(Unsupported::new(
                        "tool_choice",
                        format!("`{}` is another vendor's own tool", tool.name),
                    ));
                }
                None => self.drop(&format!("tools.{}", tool.name), "another vendor's own tool"),
            }
        }
        // A single tool cannot be named, so it is the only one that is sent.
        if let Some(name) = forced {
            tools.retain(|(tool, _)| tool.name == *name);
        }
        let strict = tools
            .iter()
            .filter(|(tool, _)| tool.strict == Some(true))
            .count();
        if strict > 0 && strict < tools.len() {
            self.drop(
                "tools.strict",
                "Cohere holds to the schemas of all tools or of none",
            );
        }
        let choice = match &request.tool_choice {
            None | Some(ToolChoice::Auto) => None,
            Some(ToolChoice::None) => Some("NONE"),
            Some(ToolChoice::Required | ToolChoice::Tool(_)) => Some("REQUIRED"),
        };
        if choice == Some("REQUIRED") && tools.is_empty() {
            return Err(Unsupported::new(
                "tool_choice",
                "no tool is left that Cohere could call",
            ));
        }
        if request.parallel_tool_calls == Some(false) {
            self.drop(
                "parallel_tool_calls",
                "Cohere decides itself how many tools it calls at once",
            );
        }
        if tools.is_empty() {
            return Ok(());
        }
        if strict > 0 && strict == tools.len() {
            body.insert("strict_tools".into(), true.into());
        } else if self.own && tools.iter().all(|(tool, _)| tool.strict == Some(false)) {
            body.insert("strict_tools".into(), false.into());
        }
        let tools: Vec<Value> = tools
            .into_iter()
            .map(|(tool, schema)| {
                let mut function = json!({"name": tool.name});
                if let Some(description) = &tool.description {
                    function["description"] = description.as_str().into();
                }
                function["parameters"] = schema.clone();
                json!({"type": "function", "function": function})
            })
            .collect();
        body.insert("tools".into(), tools.into());
        if let Some(choice) = choice {
            body.insert("tool_choice".into(), choice.into());
        }
        Ok(())
    }

    fn settings(&mut self, body: &mut Map<String, Value>) -> Result<(), Unsupported> {
        let request = self.request;
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        set("stream", request.stream.then(|| true.into()));
        let limit = request.max_tokens.or_else(|| {
            (self.writing.default_max_tokens > 0).then_some(self.writing.default_max_tokens)
        });
        set("max_tokens", limit.map(Into::into));
        set("p", request.top_p.map(Into::into));
        set("k", request.top_k.map(Into::into));
        set("presence_penalty", request.presence_penalty.map(Into::into));
        set(
            "frequency_penalty",
            request.frequency_penalty.map(Into::into),
        );
        if request.stop.len() > 5 {
            return Err(Unsupported::new(
                "stop",
                "Cohere takes at most 5 stop sequences",
            ));
        }
        if !request.stop.is_empty() {
            set("stop_sequences", Some(request.stop.clone().into()));
        }
        if !self.writing.fixed_temperature {
            set("temperature", request.temperature.map(Into::into));
        }
        let seed = request.seed.filter(|seed| *seed >= 0);
        set("seed", seed.map(Into::into));
        set("logprobs", request.logprobs.map(|_| true.into()));
        let format = match &request.output {
            None => None,
            Some(OutputFormat::Text) => Some(json!({"type": "text"})),
            Some(_) if !request.tools.is_empty() => {
                return Err(Unsupported::new(
                    "response_format",
                    "Cohere holds no reply to a schema while it has tools",
                ));
            }
            Some(OutputFormat::JsonObject) => Some(json!({"type": "json_object"})),
            Some(OutputFormat::JsonSchema { schema, .. }) => {
                Some(json!({"type": "json_object", "json_schema": schema}))
            }
        };
        set("response_format", format);
        let thinking = self.thinking();
        if let Some(thinking) = thinking {
            body.insert("thinking".into(), thinking);
        }
        if self.writing.fixed_temperature && request.temperature.is_some() {
            self.drop("temperature", "this model has a fixed one");
        }
        if seed != request.seed {
            self.drop("seed", "Cohere's seeds are not negative");
        }
        if request.logprobs.is_some_and(|top| top > 0) {
            self.drop("top_logprobs", "Cohere shows the sampled tokens only");
        }
        Ok(())
    }

    fn thinking(&mut self) -> Option<Value> {
        let reasoning = self.request.reasoning.as_ref()?;
        let off = reasoning.enabled == Some(false) || reasoning.effort.as_deref() == Some("none");
        if !self.own && !self.writing.model.contains("reasoning") {
            if !off {
                self.drop("reasoning", "this model cannot think");
            }
            return None;
        }
        if off {
            return Some(json!({"type": "disabled"}));
        }
        if reasoning.effort.is_some() && reasoning.budget_tokens.is_none() {
            self.drop(
                "the exact reasoning effort",
                "Cohere knows on, off and a budget of tokens",
            );
        }
        let mut thinking = json!({"type": "enabled"});
        if let Some(tokens) = reasoning.budget_tokens {
            thinking["token_budget"] = tokens.into();
        }
        Some(thinking)
    }

    fn leave_out(&mut self) -> Result<(), Unsupported> {
        let request = self.request;
        let fields = [
            ("user", request.user.is_some()),
            ("metadata", request.metadata.is_some()),
            ("service_tier", request.service_tier.is_some()),
            ("store", request.store.is_some()),
            ("prompt_cache_key", request.prompt_cache_key.is_some()),
        ];
        for (field, said) in fields {
            if said {
                self.drop(field, "Cohere has no such field");
            }
        }
        leave_out(request, Dialect::Cohere, &[], &mut self.dropped)
    }
}

pub(super) fn call_value(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

/// One text stands alone.
fn content(parts: Vec<Value>) -> Value {
    match &parts[..] {
        [] => "".into(),
        [part] if part["type"] == "text" => part["text"].clone(),
        _ => parts.into(),
    }
}
