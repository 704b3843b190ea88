//! Requests as the vendor takes them.

mod parameters;

use serde_json::{Map, Value, json};

use super::tools::{self, Call, Kind};
use crate::{
    Block, Dialect, Dropped, ImageSource, OutputFormat, Request, ToolChoice, Turn, TurnRole,
    Unsupported, Writing, Written,
    leftover::{caller_name, leave},
    proof::Proof,
};

/// The least bound that the vendor takes.
const LEAST_TOKENS: u64 = 16;

/// The most bytes of the caller's name for its user.
const LONGEST_USER: usize = 64;

pub(super) fn request(request: &Request, writing: &Writing<'_>) -> Result<Written, Unsupported> {
    let mut writer = Writer {
        request,
        writing,
        own: request.source == Some(Dialect::Responses),
        dropped: Vec::new(),
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
}

/// Families of `OpenAI` that refuse to be asked to think.
fn thinks(model: &str) -> bool {
    let name = model.rsplit(['/', ':']).next().unwrap_or(model);
    !["gpt-4", "gpt-3", "chatgpt-4"]
        .iter()
        .any(|family| name.starts_with(family) || model.starts_with(&format!("ft:{family}")))
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
        let mut body = Map::new();
        body.insert("model".to_owned(), self.writing.model.into());
        let mut input = Vec::with_capacity(request.turns.len());
        self.instructions(&mut body, &mut input)?;
        for (index, turn) in request.turns.iter().enumerate() {
            self.turn(turn, index, &mut input)?;
        }
        body.insert("input".to_owned(), Value::Array(input));
        self.tools(&mut body)?;
        let bound = request
            .max_tokens
            .unwrap_or(self.writing.default_max_tokens);
        if bound < LEAST_TOKENS && !self.own {
            self.leave("max_tokens", "sent as 16, the least of this vendor");
        }
        let bound = if self.own {
            bound
        } else {
            bound.max(LEAST_TOKENS)
        };
        body.insert("max_output_tokens".to_owned(), bound.into());
        self.sampling(&mut body);
        self.reasoning(&mut body);
        self.text(&mut body);
        if request.stream {
            body.insert("stream".to_owned(), true.into());
        }
        self.about_the_caller(&mut body);
        self.not_here()?;
        if self.own {
            for (name, value) in &request.extra {
                match (body.get_mut(name), value) {
                    (Some(Value::Object(there)), Value::Object(more)) => there.extend(more.clone()),
                    _ => {
                        body.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        Ok(Value::Object(body))
    }

    fn instructions(
        &mut self,
        body: &mut Map<String, Value>,
        input: &mut Vec<Value>,
    ) -> Result<(), Unsupported> {
        let texts: Option<Vec<&str>> = self
            .request
            .system
            .iter()
            .map(|block| match block {
                Block::Text { text, cache, .. } => {
                    if cache.is_some() {
                        leave(&mut self.dropped, "cache_control", NO_MARKS);
                    }
                    Some(text.as_str())
                }
                _ => None,
            })
            .collect();
        match texts {
            Some(texts) if texts.is_empty() => {}
            Some(texts) if self.request.turns.is_empty() => {
                // Instructions alone are no input here; elsewhere they are a conversation.
                input.push(json!({"role": "developer", "content": texts.join("\n\n")}));
            }
            Some(texts) => {
                body.insert("instructions".to_owned(), texts.join("\n\n").into());
            }
            None => {
                let turn = Turn {
                    role: TurnRole::System,
                    blocks: self.request.system.clone(),
                    name: None,
                    extra: Map::new(),
                };
                self.turn(&turn, 0, input)?;
            }
        }
        Ok(())
    }

    /// A turn is as many items as it has calls, results and thoughts; what stands between is one
    /// message.
    fn turn(
        &mut self,
        turn: &Turn,
        index: usize,
        input: &mut Vec<Value>,
    ) -> Result<(), Unsupported> {
        if turn.name.is_some() {
            self.leave("messages[].name", "this dialect names no speakers");
        }
        let place = format!("messages[{index}]");
        let mut parts = Vec::new();
        let mut extra = if self.own {
            turn.extra.clone()
        } else {
            Map::new()
        };
        for block in &turn.blocks {
            if let Some(part) = self.part(block, turn.role, &place)? {
                parts.push(part);
                continue;
            }
            let Some(item) = self.item(block, &place)? else {
                continue;
            };
            flush(turn.role, &mut parts, &mut extra, input);
            input.push(item);
        }
        flush(turn.role, &mut parts, &mut extra, input);
        Ok(())
    }

    /// A part of a message; `None` where the block is an item of its own.
    fn part(
        &mut self,
        block: &Block,
        role: TurnRole,
        place: &str,
    ) -> Result<Option<Value>, Unsupported> {
        Ok(Some(match block {
            Block::Text {
                text,
                cache,
                annotations,
            } => {
                if cache.is_some() {
                    self.leave("cache_control", NO_MARKS);
                }
                let kind = if role == TurnRole::Assistant {
                    "output_text"
                } else {
                    "input_text"
                };
                let mut part = json!({"type": kind, "text": text});
                match annotations {
                    Some(annotations) if self.own => part["annotations"] = annotations.clone(),
                    Some(_) => self.leave("citations", "only its own dialect knows it"),
                    None => {}
                }
                part
            }
            Block::Refusal { text } if role == TurnRole::Assistant => {
                json!({"type": "refusal", "refusal": text})
            }
            Block::Refusal { text } => json!({"type": "input_text", "text": text}),
            Block::Image {
                source,
                detail,
                cache,
            } => {
                if cache.is_some() {
                    self.leave("cache_control", NO_MARKS);
                }
                let mut part = json!({"type": "input_image"});
                match source {
                    ImageSource::Url(url) => part["image_url"] = url.as_str().into(),
                    ImageSource::Base64 { media_type, data } => {
                        part["image_url"] = format!("data:{media_type};base64,{data}").into();
                    }
                    ImageSource::File(id) if self.own => part["file_id"] = id.as_str().into(),
                    ImageSource::File(_) => {
                        return Err(Unsupported::new(
                            place,
                            "the image is a file that another vendor keeps; send its data",
                        ));
                    }
                }
                part["detail"] = detail.as_deref().unwrap_or("auto").into();
                part
            }
            Block::Other(value) if self.own => match value.get("type").and_then(Value::as_str) {
                Some("input_file" | "input_audio") => value.clone(),
                _ => return Ok(None),
            },
            Block::Other(value) => match file(value) {
                Some(part) => part,
                None => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }

    fn item(&mut self, block: &Block, place: &str) -> Result<Option<Value>, Unsupported> {
        Ok(Some(match block {
            Block::ToolCall {
                id,
                name,
                arguments,
                cache,
                signature,
            } => {
                if cache.is_some() {
                    self.leave("cache_control", NO_MARKS);
                }
                if signature.is_some() {
                    self.leave("thought_signature", "another vendor made it");
                }
                let tool = tools::named(Some(self.request), name);
                let arguments = match arguments.as_str() {
                    "" if tool.kind != Kind::Custom => "{}",
                    arguments => arguments,
                };
                Call {
                    tool: &tool,
                    id,
                    arguments,
                    item: None,
                    status: (tool.kind == Kind::LocalShell).then_some("completed"),
                }
                .item()
            }
            Block::ToolResult {
                id,
                blocks,
                is_error,
                cache,
            } => {
                if cache.is_some() {
                    self.leave("cache_control", NO_MARKS);
                }
                if *is_error {
                    self.leave("is_error", "this dialect tells errors by the text alone");
                }
                let mut parts = Vec::with_capacity(blocks.len());
                for block in blocks {
                    match self.part(block, TurnRole::Tool, place)? {
                        Some(part) => parts.push(part),
                        None => return Err(unknown_part(place, block)),
                    }
                }
                let output = match parts.as_slice() {
                    [] => Value::from(""),
                    [only] if only["type"] == "input_text" => only["text"].clone(),
                    _ => Value::Array(parts),
                };
                let kind = match self.kind_of_call(id) {
                    Kind::Function => "function_call_output",
                    Kind::Custom => "custom_tool_call_output",
                    Kind::LocalShell => "local_shell_call_output",
                };
                json!({"type": kind, "call_id": id, "output": output})
            }
            Block::Thinking { .. } | Block::RedactedThinking { .. } => {
                let item = self.reasoning_item(block);
                if item.is_none() {
                    self.leave_named("history", "another vendor thought it");
                }
                return Ok(item);
            }
            Block::Other(value) if self.own => value.clone(),
            Block::Other(value) => {
                let kind = value.get("type").and_then(Value::as_str).unwrap_or("part");
                if kind.ends_with("_tool_use") || kind.ends_with("_tool_result") {
                    self.leave(kind, "only the vendor that ran it knows it");
                    return Ok(None);
                }
                return Err(unknown_part(place, block));
            }
            Block::Text { .. } | Block::Image { .. } | Block::Refusal { .. } => return Ok(None),
        }))
    }

    fn kind_of_call(&self, id: &str) -> Kind {
        if !self.own {
            return Kind::Function;
        }
        self.request
            .turns
            .iter()
            .flat_map(|turn| &turn.blocks)
            .find_map(|block| match block {
                Block::ToolCall { id: call, name, .. } if call == id => {
                    Some(tools::named(Some(self.request), name).kind)
                }
                _ => None,
            })
            .unwrap_or(Kind::Function)
    }

    /// An earlier thought as its vendor wants it back; `None` where another vendor thought it.
    fn reasoning_item(&self, block: &Block) -> Option<Value> {
        let own = |text, id| Proof::of_own(text, id, self.request.source, Dialect::Responses);
        let (proof, summary) = match block {
            Block::Thinking {
                text,
                signature,
                id,
            } => (own(signature.as_deref(), id.as_deref())?, text.as_str()),
            Block::RedactedThinking { data, id } => (own(Some(data.as_str()), id.as_deref())?, ""),
            _ => return None,
        };
        if !self.own && proof.text.is_none() {
            return None;
        }
        let mut item = Map::new();
        item.insert("type".to_owned(), "reasoning".into());
        if let Some(id) = proof.id {
            item.insert("id".to_owned(), id.into());
        }
        let summary = if summary.is_empty() {
            json!([])
        } else {
            json!([{"type": "summary_text", "text": summary}])
        };
        item.insert("summary".to_owned(), summary);
        if let Some(text) = proof.text {
            item.insert("encrypted_content".to_owned(), text.into());
        }
        Some(Value::Object(item))
    }
}

const NO_MARKS: &str = "this vendor caches prompts without marks";

fn unknown_part(place: &str, block: &Block) -> Unsupported {
    let kind = match block {
        Block::Other(value) => value.get("type").and_then(Value::as_str).unwrap_or("part"),
        _ => "part",
    };
    Unsupported::new(
        format!("{place}: {kind}"),
        "this dialect has no such part; leave it out or choose a model of its own dialect",
    )
}

fn include(body: &mut Map<String, Value>, what: &str) {
    if let Value::Array(list) = body
        .entry("include")
        .or_insert_with(|| Value::Array(Vec::new()))
    {
        list.push(what.into());
    }
}

fn flush(
    role: TurnRole,
    parts: &mut Vec<Value>,
    extra: &mut Map<String, Value>,
    input: &mut Vec<Value>,
) {
    if parts.is_empty() {
        return;
    }
    let role = match role {
        TurnRole::System => "developer",
        TurnRole::Assistant => "assistant",
        TurnRole::User | TurnRole::Tool => "user",
    };
    let mut message = Map::new();
    message.insert("type".to_owned(), "message".into());
    message.insert("role".to_owned(), role.into());
    message.insert("content".to_owned(), Value::Array(std::mem::take(parts)));
    message.append(extra);
    input.push(Value::Object(message));
}

/// A document or file of another dialect as a file here.
fn file(value: &Value) -> Option<Value> {
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    match value.get("type")?.as_str()? {
        "document" => {
            let source = value.get("source")?;
            let title = text(value, "title");
            match source.get("type")?.as_str()? {
                "base64" => {
                    let media_type = text(source, "media_type")?;
                    let data = text(source, "data")?;
                    Some(json!({
                        "type": "input_file",
                        "filename": title.unwrap_or_else(|| "document.pdf".to_owned()),
                        "file_data": format!("data:{media_type};base64,{data}"),
                    }))
                }
                "url" => Some(json!({"type": "input_file", "file_url": text(source, "url")?})),
                "text" => Some(json!({"type": "input_text", "text": text(source, "data")?})),
                _ => None,
            }
        }
        "file" => {
            let inner = value.get("file")?;
            Some(json!({
                "type": "input_file",
                "filename": text(inner, "filename").unwrap_or_else(|| "document.pdf".to_owned()),
                "file_data": text(inner, "file_data")?,
            }))
        }
        _ => None,
    }
}

pub(super) fn tool_choice(choice: &ToolChoice, request: Option<&Request>) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Tool(name) => {
            let hosted = request
                .and_then(|request| request.tools.iter().find(|tool| tool.name == *name))
                .is_some_and(|tool| tool.parameters.is_none());
            if hosted {
                return json!({ "type": name });
            }
            let tool = tools::named(request, name);
            match tool.kind {
                Kind::Function => json!({"type": "function", "name": tool.name}),
                Kind::Custom => json!({"type": "custom", "name": tool.name}),
                Kind::LocalShell => json!({"type": "local_shell"}),
            }
        }
    }
}

pub(super) fn text_format(output: &OutputFormat) -> Value {
    match output {
        OutputFormat::Text => json!({"type": "text"}),
        OutputFormat::JsonObject => json!({"type": "json_object"}),
        OutputFormat::JsonSchema {
            name,
            description,
            schema,
            strict,
        } => {
            let mut format = json!({
                "type": "json_schema",
                "name": name.as_deref().unwrap_or("answer"),
                "schema": schema,
            });
            if let Some(description) = description {
                format["description"] = description.as_str().into();
            }
            if let Some(strict) = strict {
                format["strict"] = (*strict).into();
            }
            format
        }
    }
}
