//! Writing a request in this dialect.

mod config;

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value, json};

use super::{MADE_ID, NO_SIGNATURE};
use crate::{
    Block, Dialect, Dropped, ImageSource, Request, Turn, TurnRole, Unsupported, Written,
    leftover::{leave, leave_out},
    order::settled,
    proof::Proof,
    quirks::Writing,
    rest::fill,
};
use config::generation;

pub(crate) fn write_request(
    request: &Request,
    writing: &Writing<'_>,
) -> Result<Written, Unsupported> {
    if request.n.is_some_and(|count| count > 1) {
        return Err(Unsupported::new("n", "one reply is read of each answer"));
    }
    let own = request.source == Some(Dialect::Gemini);
    let turns = if own {
        request.turns.iter().map(Cow::Borrowed).collect()
    } else {
        settled(request)
    };
    let mut writer = Writer {
        request,
        writing,
        own,
        names: BTreeMap::new(),
        dropped: Vec::new(),
    };
    let (system, contents) = writer.conversation(&turns)?;
    let mut body = Map::new();
    if !system.is_empty() {
        body.insert("systemInstruction".into(), json!({ "parts": system }));
    }
    body.insert("contents".into(), contents.into());
    writer.tools(&mut body)?;
    let config = writer.config()?;
    if !config.is_empty() {
        body.insert("generationConfig".into(), config.into());
    }
    let mut body = Value::Object(body);
    writer.leave_out()?;
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
    /// The function of each call, by the call's name.
    names: BTreeMap<&'a str, &'a str>,
    dropped: Vec<Dropped>,
}

impl<'a> Writer<'a> {
    fn drop(&mut self, field: &str, reason: &'static str) {
        leave(&mut self.dropped, field, reason);
    }

    fn conversation(
        &mut self,
        turns: &'a [Cow<'a, Turn>],
    ) -> Result<(Vec<Value>, Vec<Value>), Unsupported> {
        let request = self.request;
        let mut system = Vec::new();
        for block in &request.system {
            self.system_part(block, &mut system)?;
        }
        let mut contents: Vec<Value> = Vec::new();
        let mut last: Option<TurnRole> = None;
        for turn in turns {
            if turn.role == TurnRole::System {
                self.drop(
                    "the place of a system message in mid-conversation",
                    "Gemini reads all instructions before the conversation",
                );
                for block in &turn.blocks {
                    self.system_part(block, &mut system)?;
                }
                continue;
            }
            if turn.name.is_some() {
                self.drop("messages.name", "Gemini knows no names of speakers");
            }
            let parts = self.turn(turn)?;
            if parts.is_empty() {
                continue;
            }
            // The results of parallel calls belong into one content.
            if turn.role == TurnRole::Tool
                && last == Some(TurnRole::Tool)
                && let Some(Value::Array(earlier)) = contents
                    .last_mut()
                    .and_then(|content| content.get_mut("parts"))
            {
                earlier.extend(parts);
                continue;
            }
            last = Some(turn.role);
            let role = if turn.role == TurnRole::Assistant {
                "model"
            } else {
                "user"
            };
            let mut content = json!({"parts": parts, "role": role});
            if self.own {
                fill(&mut content, &Value::Object(turn.extra.clone()));
            }
            contents.push(content);
        }
        Ok((system, contents))
    }

    fn system_part(&mut self, block: &Block, parts: &mut Vec<Value>) -> Result<(), Unsupported> {
        match block {
            Block::Text { text, cache, .. } => {
                self.cache(cache.is_some());
                parts.push(json!({ "text": text }));
                Ok(())
            }
            Block::Other(part) if self.own => {
                parts.push(part.clone());
                Ok(())
            }
            _ => Err(Unsupported::new("system", "Gemini's instructions are text")),
        }
    }

    fn cache(&mut self, hinted: bool) {
        if hinted {
            self.drop("cache_control", "Gemini caches long prompts by itself");
        }
    }

    fn turn(&mut self, turn: &'a Turn) -> Result<Vec<Value>, Unsupported> {
        let mut parts: Vec<Value> = Vec::new();
        let mut first_call = None;
        let mut proof = self.proof_of_call(turn);
        for block in &turn.blocks {
            match block {
                Block::Text {
                    text,
                    cache,
                    annotations,
                } => {
                    self.cache(cache.is_some());
                    if annotations.is_some() {
                        self.drop("annotations", "Gemini takes no citations back");
                    }
                    parts.push(json!({ "text": text }));
                }
                Block::Refusal { text } => parts.push(json!({ "text": text })),
                Block::Image {
                    source,
                    detail,
                    cache,
                } => {
                    self.cache(cache.is_some());
                    if detail.is_some() {
                        self.drop("image_url.detail", "Gemini has one resolution a request");
                    }
                    parts.push(self.image(source)?);
                }
                Block::ToolCall { .. } => {
                    let part = self.call(block);
                    first_call.get_or_insert(parts.len());
                    parts.push(part);
                }
                Block::ToolResult { .. } => self.result(block, &mut parts)?,
                Block::Thinking {
                    text,
                    signature: Some(signature),
                    ..
                } if text.is_empty() && proof.as_ref() == Some(signature) => {}
                Block::Thinking {
                    text, signature, ..
                } => self.thinking(text, signature.as_deref(), &mut parts),
                Block::RedactedThinking { .. } => {
                    self.drop("redacted_thinking", "only its own vendor can read it");
                }
                Block::Other(part) => {
                    if let Some(part) = self.other(part, turn.role)? {
                        parts.push(part);
                    }
                }
            }
        }
        if let Some(call) = first_call {
            let proof = proof.take().and_then(|proof| self.own_signature(&proof));
            self.sign(&mut parts, call, proof);
        }
        Ok(parts)
    }

    /// The proof of a turn's calls that came back as thinking without a thought.
    fn proof_of_call(&self, turn: &Turn) -> Option<String> {
        let calls = turn
            .blocks
            .iter()
            .any(|block| matches!(block, Block::ToolCall { .. }));
        turn.blocks.iter().rev().find_map(|block| match block {
            Block::Thinking {
                text,
                signature: Some(signature),
                ..
            } if calls && text.is_empty() && self.own_signature(signature).is_some() => {
                Some(signature.clone())
            }
            _ => None,
        })
    }

    /// The proof belongs to the first of parallel calls. Gemini 3 wants one there; another model's call
    /// has none.
    fn sign(&self, parts: &mut [Value], call: usize, proof: Option<String>) {
        let signed = parts.iter().any(|part| {
            part.get("functionCall").is_some() && part.get("thoughtSignature").is_some()
        });
        if signed {
            return;
        }
        if let Some(proof) = proof {
            parts[call]["thoughtSignature"] = proof.into();
        } else if generation(self.writing.model) >= 3 {
            parts[call]["thoughtSignature"] = NO_SIGNATURE.into();
        }
    }

    fn image(&self, source: &ImageSource) -> Result<Value, Unsupported> {
        match source {
            ImageSource::Base64 { media_type, data } => {
                Ok(json!({"inlineData": {"mimeType": media_type, "data": data}}))
            }
            ImageSource::Url(address) => {
                if let Some(part) = inline(address) {
                    return Ok(part);
                }
                if !self.own && !self.writing.quirks.image_urls {
                    return Err(Unsupported::new(
                        "image_url",
                        "this target takes images as data only: send the image in base64",
                    ));
                }
                Ok(json!({"fileData": {"mimeType": image_type(address), "fileUri": address}}))
            }
            ImageSource::File(name) if name.contains("://") => {
                Ok(json!({"fileData": {"fileUri": name}}))
            }
            ImageSource::File(_) => Err(Unsupported::new(
                "file_id",
                "the file lies with another vendor: send the image in base64",
            )),
        }
    }

    fn call(&mut self, block: &'a Block) -> Value {
        let Block::ToolCall {
            id,
            name,
            arguments,
            cache,
            signature,
        } = block
        else {
            return Value::Null;
        };
        self.cache(cache.is_some());
        self.names.insert(id, name);
        let args = match serde_json::from_str(arguments) {
            Ok(Value::Object(args)) => args,
            _ if arguments.trim().is_empty() => Map::new(),
            _ => {
                self.drop(
                    "the form of a call's arguments",
                    "they are no JSON object and are sent as text under `arguments`",
                );
                Map::from_iter([("arguments".to_owned(), Value::from(arguments.as_str()))])
            }
        };
        let mut call = json!({"name": name, "args": args});
        if !id.starts_with(MADE_ID) {
            call["id"] = id.as_str().into();
        }
        let mut part = json!({ "functionCall": call });
        if let Some(signature) = signature {
            match self.own_signature(signature) {
                Some(signature) => part["thoughtSignature"] = signature.into(),
                None => self.drop_signature(),
            }
        }
        part
    }

    fn drop_signature(&mut self) {
        self.drop("signature", "another vendor's proof of thinking");
    }

    /// The signature where Gemini made it.
    fn own_signature(&self, signature: &str) -> Option<String> {
        Proof::of_own(Some(signature), None, self.request.source, Dialect::Gemini)?.text
    }

    fn result(&mut self, block: &Block, parts: &mut Vec<Value>) -> Result<(), Unsupported> {
        let Block::ToolResult {
            id,
            blocks,
            is_error,
            cache,
        } = block
        else {
            return Ok(());
        };
        self.cache(cache.is_some());
        let Some(name) = self.names.get(id.as_str()).copied() else {
            return Err(Unsupported::new(
                "tool_call_id",
                format!(
                    "the conversation holds no call `{id}`, and Gemini wants the function's name"
                ),
            ));
        };
        let mut text = String::new();
        let mut beside = Vec::new();
        for block in blocks {
            match block {
                Block::Text {
                    text: more, cache, ..
                } => {
                    self.cache(cache.is_some());
                    if !text.is_empty() {
                        text.push('\n');
                    }
                    text.push_str(more);
                }
                Block::Image { source, .. } => beside.push(self.image(source)?),
                Block::Other(part) => beside.extend(self.other(part, TurnRole::Tool)?),
                _ => {
                    return Err(Unsupported::new(
                        "tool result",
                        "it holds more than text and images",
                    ));
                }
            }
        }
        let mut response = json!({"name": name, "response": response(text, *is_error)});
        if !id.starts_with(MADE_ID) {
            response["id"] = id.as_str().into();
        }
        parts.push(json!({ "functionResponse": response }));
        parts.extend(beside);
        Ok(())
    }

    fn thinking(&mut self, text: &str, signature: Option<&str>, parts: &mut Vec<Value>) {
        let own = signature.and_then(|signature| self.own_signature(signature));
        if signature.is_some() && own.is_none() {
            self.drop_signature();
        }
        if !text.is_empty() {
            let mut part = json!({"text": text, "thought": true});
            if let Some(signature) = own {
                part["thoughtSignature"] = signature.into();
            }
            parts.push(part);
        } else if let Some(signature) = own {
            // It came beside the text before it.
            match parts.last_mut() {
                Some(Value::Object(part))
                    if part.contains_key("text") && !part.contains_key("thought") =>
                {
                    part.insert("thoughtSignature".into(), signature.into());
                }
                _ => parts.push(json!({"text": "", "thoughtSignature": signature})),
            }
        }
    }

    /// Documents and audio in base64, in the shapes in which the other dialects write them.
    fn other(&mut self, part: &Value, role: TurnRole) -> Result<Option<Value>, Unsupported> {
        if self.own {
            return Ok(Some(part.clone()));
        }
        let text = |pointer: &str| part.pointer(pointer).and_then(Value::as_str);
        let kind = text("/type").unwrap_or("part");
        let converted = match kind {
            "document" => match (text("/source/type"), text("/source/data")) {
                (Some("base64"), Some(data)) => Some(json!({"inlineData": {
                    "mimeType": text("/source/media_type").unwrap_or("application/pdf"),
                    "data": data,
                }})),
                (Some("text"), Some(data)) => Some(json!({ "text": data })),
                _ => None,
            },
            "input_audio" => text("/input_audio/data").map(|data| {
                let format = text("/input_audio/format").unwrap_or("wav");
                json!({"inlineData": {"mimeType": format!("audio/{format}"), "data": data}})
            }),
            "file" | "input_file" => text("/file/file_data")
                .or_else(|| text("/file_data"))
                .and_then(inline),
            _ => None,
        };
        if converted.is_some() {
            return Ok(converted);
        }
        if role == TurnRole::Assistant {
            self.drop(kind, "a part of an answer that only its own dialect knows");
            return Ok(None);
        }
        Err(Unsupported::new(kind, "Gemini has no such part"))
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
                self.drop(field, "Gemini has no such field");
            }
        }
        leave_out(request, Dialect::Gemini, &[], &mut self.dropped)
    }
}

/// A text that is a JSON object in its shortest form goes as that object, any other as `output`.
fn response(text: String, is_error: bool) -> Value {
    if is_error {
        return json!({ "error": text });
    }
    if text.starts_with('{')
        && let Ok(Value::Object(map)) = serde_json::from_str::<Value>(&text)
        && !(map.len() == 1 && (map.contains_key("output") || map.contains_key("error")))
    {
        let object = Value::Object(map);
        let shortest = object.to_string();
        if shortest == text {
            return object;
        }
    }
    json!({ "output": text })
}

/// A `data:` address as the data itself.
fn inline(address: &str) -> Option<Value> {
    let (media_type, data) = address.strip_prefix("data:")?.split_once(";base64,")?;
    Some(json!({"inlineData": {"mimeType": media_type, "data": data}}))
}

/// The vendor wants a type beside an address.
fn image_type(address: &str) -> &'static str {
    let path = address.split(['?', '#']).next().unwrap_or(address);
    match path
        .rsplit('.')
        .next()
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        Some("heic") => "image/heic",
        Some("heif") => "image/heif",
        Some("gif") => "image/gif",
        _ => "image/jpeg",
    }
}
