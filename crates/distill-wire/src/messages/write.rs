//! Requests as the vendor takes them.

mod parameters;

use serde_json::{Map, Value, json};

use super::thinking;
use crate::{
    Block, CacheHint, Dialect, Dropped, ImageSource, Request, Turn, TurnRole, Unsupported, Writing,
    Written,
    leftover::{caller_name, leave},
};

/// Leftover fields of other dialects that are carried here under another name.
const CARRIED: [&str; 1] = ["include"];

pub(super) fn request(request: &Request, writing: &Writing<'_>) -> Result<Written, Unsupported> {
    let mut writer = Writer {
        request,
        writing,
        own: request.source == Some(Dialect::Messages),
        dropped: Vec::new(),
        // Whoever names a cache key wants the prompt kept; this dialect marks where it ends instead.
        marks: request.prompt_cache_key.is_some() && !has_cache_hints(request),
    };
    let body = writer.body()?;
    Ok(Written {
        body: serde_json::to_vec(&body).map_err(|error| Unsupported {
            field: "body".to_owned(),
            reason: error.to_string(),
        })?,
        dropped: writer.dropped,
    })
}

struct Writer<'a> {
    request: &'a Request,
    writing: &'a Writing<'a>,
    /// Whether the caller speaks this dialect: nothing needs translating.
    own: bool,
    dropped: Vec<Dropped>,
    /// Whether marks for the prompt cache are set for a caller who cannot.
    marks: bool,
}

fn has_cache_hints(request: &Request) -> bool {
    let hinted = |block: &Block| {
        matches!(
            block,
            Block::Text { cache: Some(_), .. }
                | Block::Image { cache: Some(_), .. }
                | Block::ToolCall { cache: Some(_), .. }
                | Block::ToolResult { cache: Some(_), .. }
        )
    };
    request.tools.iter().any(|tool| tool.cache.is_some())
        || request.system.iter().any(hinted)
        || request
            .turns
            .iter()
            .any(|turn| turn.blocks.iter().any(hinted))
}

impl Writer<'_> {
    fn leave(&mut self, field: &str, reason: &'static str) {
        leave(&mut self.dropped, field, reason);
    }

    fn leave_named(&mut self, field: &'static str, reason: &'static str) {
        let name = caller_name(self.request.source, field);
        self.leave(name, reason);
    }

    fn body(&mut self) -> Result<Value, Unsupported> {
        let request = self.request;
        let max_tokens = request
            .max_tokens
            .unwrap_or(self.writing.default_max_tokens);
        let mut body = Map::new();
        body.insert("model".to_owned(), self.writing.model.into());
        body.insert("max_tokens".to_owned(), max_tokens.into());
        let mut messages = self.messages()?;
        let system = self.system(&mut messages)?;
        body.insert("messages".to_owned(), Value::Array(messages));
        if let Some(system) = system {
            body.insert("system".to_owned(), system);
        }
        self.tools(&mut body)?;
        self.thinking_and_sampling(&mut body, max_tokens);
        if !request.stop.is_empty() {
            body.insert("stop_sequences".to_owned(), request.stop.clone().into());
        }
        self.output(&mut body);
        if request.stream {
            body.insert("stream".to_owned(), true.into());
        }
        self.about_the_caller(&mut body);
        self.not_here()?;
        if self.own {
            for (name, value) in &request.extra {
                match (body.get_mut(name), value) {
                    (Some(Value::Object(there)), Value::Object(more)) => {
                        there.extend(more.clone());
                    }
                    _ => {
                        body.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        Ok(Value::Object(body))
    }

    fn system(&mut self, messages: &mut Vec<Value>) -> Result<Option<Value>, Unsupported> {
        let request = self.request;
        if request.system.is_empty() {
            return Ok(None);
        }
        let plain: Option<Vec<&str>> = request
            .system
            .iter()
            .map(|block| match block {
                Block::Text {
                    text,
                    cache: None,
                    annotations: None,
                } => Some(text.as_str()),
                _ => None,
            })
            .collect();
        let value = match plain {
            Some(texts) if !self.own && !self.marks => texts.join("\n\n").into(),
            Some(texts) if self.own && texts.len() == 1 => texts[0].into(),
            _ => {
                let mut blocks = self.blocks(&request.system, "system")?;
                if self.marks {
                    mark(blocks.last_mut());
                }
                Value::Array(blocks)
            }
        };
        if messages.is_empty() {
            // Instructions alone are no conversation here; elsewhere they are.
            messages.push(json!({"role": "user", "content": value}));
            return Ok(None);
        }
        Ok(Some(value))
    }

    fn messages(&mut self) -> Result<Vec<Value>, Unsupported> {
        let mut messages: Vec<Value> = Vec::with_capacity(self.request.turns.len());
        let mut previous = None;
        for (index, turn) in self.request.turns.iter().enumerate() {
            let blocks = self.turn(turn, index)?;
            if blocks.is_empty() && !self.own {
                continue;
            }
            // What a user says beside results of tools is one message with them.
            let joins = previous == Some(TurnRole::Tool)
                && matches!(turn.role, TurnRole::Tool | TurnRole::User);
            previous = Some(turn.role);
            if joins
                && let Some(Value::Array(there)) = messages
                    .last_mut()
                    .and_then(|message| message.get_mut("content"))
            {
                there.extend(blocks);
                continue;
            }
            let role = match turn.role {
                TurnRole::System if self.own => "system",
                TurnRole::Assistant => "assistant",
                TurnRole::System | TurnRole::User | TurnRole::Tool => "user",
            };
            let mut message = Map::new();
            message.insert("role".to_owned(), role.into());
            message.insert("content".to_owned(), Value::Array(blocks));
            if self.own {
                message.extend(turn.extra.clone());
            }
            messages.push(Value::Object(message));
        }
        if self.marks {
            mark(
                messages
                    .last_mut()
                    .and_then(|message| message.get_mut("content"))
                    .and_then(Value::as_array_mut)
                    .and_then(|blocks| blocks.last_mut()),
            );
        }
        for message in &mut messages {
            shorten(&mut message["content"]);
        }
        Ok(messages)
    }

    fn turn(&mut self, turn: &Turn, index: usize) -> Result<Vec<Value>, Unsupported> {
        if turn.name.is_some() {
            self.leave("messages[].name", "this dialect names no speakers");
        }
        let mut blocks = self.blocks(&turn.blocks, &format!("messages[{index}]"))?;
        if turn.role == TurnRole::System && !self.own {
            // Not every model of this dialect takes instructions in mid-conversation.
            for block in &mut blocks {
                if let Some(Value::String(text)) = block.get_mut("text") {
                    *text = format!("<system>\n{text}\n</system>");
                }
            }
        }
        Ok(blocks)
    }

    fn blocks(&mut self, blocks: &[Block], place: &str) -> Result<Vec<Value>, Unsupported> {
        let mut written = Vec::with_capacity(blocks.len());
        for block in blocks {
            written.extend(self.block(block, place)?);
        }
        Ok(written)
    }

    fn block(&mut self, block: &Block, place: &str) -> Result<Option<Value>, Unsupported> {
        let (mut value, cache) = match block {
            Block::Text {
                text,
                cache,
                annotations,
            } => {
                // The vendor refuses empty text.
                if text.is_empty() && !self.own {
                    return Ok(None);
                }
                let mut value = json!({"type": "text", "text": text});
                match annotations {
                    Some(citations) if self.own => value["citations"] = citations.clone(),
                    Some(_) => self.leave("annotations", "only its own dialect knows it"),
                    None => {}
                }
                (value, cache)
            }
            Block::Refusal { text } => (json!({"type": "text", "text": text}), &None),
            Block::Image {
                source,
                detail,
                cache,
            } => {
                if matches!(detail.as_deref(), Some("low" | "high" | "original")) {
                    self.leave("detail", "this dialect has one resolution of images");
                }
                (
                    json!({"type": "image", "source": self.image(source, place)?}),
                    cache,
                )
            }
            Block::ToolCall {
                id,
                name,
                arguments,
                cache,
                signature,
            } => {
                if signature.is_some() {
                    self.leave("thought_signature", "another vendor made it");
                }
                let value = json!({
                    "type": "tool_use",
                    "id": wire_id(id),
                    "name": name,
                    "input": input(arguments),
                });
                (value, cache)
            }
            Block::ToolResult {
                id,
                blocks,
                is_error,
                cache,
            } => {
                let mut content = Value::Array(self.blocks(blocks, place)?);
                shorten(&mut content);
                let mut value = json!({"type": "tool_result", "tool_use_id": wire_id(id)});
                if content.as_array().is_none_or(|list| !list.is_empty()) {
                    value["content"] = content;
                }
                if *is_error {
                    value["is_error"] = true.into();
                }
                (value, cache)
            }
            Block::Thinking { .. } | Block::RedactedThinking { .. } => {
                let value = thinking::sent_back(block, self.request.source);
                if value.is_none() {
                    self.leave_named("history", "another vendor thought it");
                }
                return Ok(value);
            }
            Block::Other(value) => return self.other(value, place),
        };
        if let Some(cache) = cache {
            value["cache_control"] = cache_control(cache);
        }
        Ok(Some(value))
    }

    fn image(&mut self, source: &ImageSource, place: &str) -> Result<Value, Unsupported> {
        match source {
            ImageSource::Url(_) if !self.own && !self.writing.quirks.image_urls => {
                Err(Unsupported::new(
                    place,
                    "this vendor takes no image by address; send its data",
                ))
            }
            ImageSource::Url(url) => Ok(json!({"type": "url", "url": url})),
            ImageSource::Base64 { media_type, data } => {
                Ok(json!({"type": "base64", "media_type": media_type, "data": data}))
            }
            ImageSource::File(id) if self.own => Ok(json!({"type": "file", "file_id": id})),
            ImageSource::File(_) => Err(Unsupported::new(
                place,
                "the image is a file that another vendor keeps; send its data",
            )),
        }
    }

    /// A part that only another dialect knows: files become documents, traces of tools that a vendor
    /// ran are left out, anything else would change what is asked.
    fn other(&mut self, value: &Value, place: &str) -> Result<Option<Value>, Unsupported> {
        if self.own {
            return Ok(Some(value.clone()));
        }
        let kind = value.get("type").and_then(Value::as_str).unwrap_or("part");
        let file = value.get("file").unwrap_or(value);
        let text = |name: &str| file.get(name).and_then(Value::as_str);
        if let Some(url) = text("file_url") {
            return Ok(Some(
                json!({"type": "document", "source": {"type": "url", "url": url}}),
            ));
        }
        if let Some((media_type, data)) = text("file_data").and_then(data_url) {
            let mut document = json!({
                "type": "document",
                "source": {"type": "base64", "media_type": media_type, "data": data},
            });
            if let Some(name) = text("filename") {
                document["title"] = name.into();
            }
            return Ok(Some(document));
        }
        if kind.ends_with("_call") || kind.ends_with("_call_output") {
            self.leave(kind, "only the vendor that ran it knows it");
            return Ok(None);
        }
        Err(Unsupported::new(
            format!("{place}: {kind}"),
            "this dialect has no such part; leave it out or choose a model of its own dialect",
        ))
    }
}

/// One text without marks is written as a string.
fn shorten(content: &mut Value) {
    if let Value::Array(blocks) = content
        && let [Value::Object(block)] = blocks.as_mut_slice()
        && block.len() == 2
        && let Some(text @ Value::String(_)) = block.get_mut("text")
    {
        *content = text.take();
    }
}

fn mark(block: Option<&mut Value>) {
    if let Some(block) = block
        && !matches!(
            block.get("type").and_then(Value::as_str),
            Some("thinking" | "redacted_thinking")
        )
    {
        block["cache_control"] = json!({"type": "ephemeral"});
    }
}

fn cache_control(cache: &CacheHint) -> Value {
    match &cache.ttl {
        Some(ttl) => json!({"type": "ephemeral", "ttl": ttl}),
        None => json!({"type": "ephemeral"}),
    }
}

/// The vendor takes letters, digits, `_` and `-` in the name of a call.
pub(super) fn wire_id(id: &str) -> String {
    if id.is_empty() {
        return "call".to_owned();
    }
    id.chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-') {
                letter
            } else {
                '_'
            }
        })
        .collect()
}

/// Arguments as an object. A model may have written none; what is no object is kept as text.
pub(super) fn input(arguments: &str) -> Value {
    if arguments.trim().is_empty() {
        return Value::Object(Map::new());
    }
    match serde_json::from_str(arguments) {
        Ok(value @ Value::Object(_)) => value,
        _ => json!({"arguments": arguments}),
    }
}

/// Splits `data:MEDIA;base64,DATA`.
fn data_url(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("data:")?.split_once(";base64,")
}
