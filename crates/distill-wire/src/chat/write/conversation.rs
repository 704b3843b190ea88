//! Messages, in the order and shape that compatible servers take.

use std::{borrow::Cow, fmt::Write as _};

use serde_json::{Map, Value, json};

use super::super::{OWN, part::write_cache, thinking};
use crate::{
    Block, CacheHint, Dropped, ImageSource, OutputFormat, Quirks, Request, SchemaSupport,
    ThinkingField, ToolCallIds, Turn, TurnRole, Unsupported,
    leftover::{caller_name, leave},
    order::settled,
    proof::Proof,
};

pub(super) const NO_CACHE_HINT: &str = "this vendor decides by itself what it caches";

pub(super) fn write(
    request: &Request,
    quirks: Quirks,
    dropped: &mut Vec<Dropped>,
) -> Result<Vec<Value>, Unsupported> {
    let mut writer = Writer {
        request,
        quirks,
        dropped,
        messages: Vec::with_capacity(request.turns.len() + 1),
        shown: Vec::new(),
    };
    let mut system = request.system.clone();
    system.extend(schema_in_words(request, quirks));
    if !system.is_empty() {
        let content = writer.instructions(&system)?;
        let message = json!({"role": "system", "content": content});
        writer.messages.push(message);
    }
    if request.source == Some(OWN) {
        for turn in &request.turns {
            writer.turn(turn)?;
        }
    } else {
        for turn in settled(request) {
            writer.turn(&turn)?;
        }
    }
    writer.show();
    Ok(writer.messages)
}

/// A caller's schema for a vendor that cannot hold a reply to it: it stands in the instructions, for
/// some of these vendors refuse to answer in JSON without a word of it. Who makes requests here has
/// said it in the prompt.
fn schema_in_words(request: &Request, quirks: Quirks) -> Option<Block> {
    match &request.output {
        Some(OutputFormat::JsonSchema { schema, .. })
            if request.source.is_some() && quirks.schema != SchemaSupport::JsonSchema =>
        {
            Some(Block::text(format!(
                "Answer with one JSON value and nothing else. It must satisfy this JSON schema:\n{schema}"
            )))
        }
        _ => None,
    }
}

struct Writer<'a> {
    request: &'a Request,
    quirks: Quirks,
    dropped: &'a mut Vec<Dropped>,
    messages: Vec<Value>,
    /// Images of tools' results: a result holds text only, and all results of parallel calls must
    /// stand together, so they are shown in a message of the user's that follows.
    shown: Vec<Value>,
}

impl Writer<'_> {
    fn turn(&mut self, turn: &Turn) -> Result<(), Unsupported> {
        if turn.role != TurnRole::Tool {
            self.show();
        }
        let mut message = Map::new();
        match turn.role {
            TurnRole::System => {
                message.insert("role".to_owned(), "system".into());
                message.insert("content".to_owned(), self.instructions(&turn.blocks)?);
            }
            TurnRole::User => {
                let (results, blocks): (Vec<&Block>, Vec<&Block>) = turn
                    .blocks
                    .iter()
                    .partition(|block| matches!(block, Block::ToolResult { .. }));
                for result in &results {
                    self.result(result, &Map::new())?;
                }
                if blocks.is_empty() && !results.is_empty() {
                    return Ok(());
                }
                self.show();
                message.insert("role".to_owned(), "user".into());
                message.insert("content".to_owned(), self.content(&blocks)?);
            }
            TurnRole::Assistant => self.assistant(&turn.blocks, &mut message)?,
            TurnRole::Tool => {
                let mut extra = turn.extra.clone();
                // The function's, which Mistral's own clients send; others know the call's alone.
                if let Some(name) = &turn.name
                    && self.quirks.tool_call_ids == ToolCallIds::Nine
                {
                    extra.insert("name".to_owned(), name.as_str().into());
                }
                for block in &turn.blocks {
                    self.result(block, &extra)?;
                }
                return Ok(());
            }
        }
        if let Some(name) = &turn.name {
            message.insert("name".to_owned(), name.as_str().into());
        }
        if self.request.source == Some(OWN) {
            message.extend(turn.extra.clone());
        }
        self.messages.push(message.into());
        Ok(())
    }

    fn show(&mut self) {
        if !self.shown.is_empty() {
            let content = std::mem::take(&mut self.shown);
            self.messages
                .push(json!({"role": "user", "content": content}));
        }
    }

    /// Instructions are one text: not every server takes parts here. Parts with cache hints stay
    /// apart where hints are known.
    fn instructions(&mut self, blocks: &[Block]) -> Result<Value, Unsupported> {
        let hinted = blocks
            .iter()
            .any(|block| matches!(block, Block::Text { cache: Some(_), .. }));
        if hinted && self.quirks.cache_control {
            return self.content(&blocks.iter().collect::<Vec<_>>());
        }
        self.text(blocks, "\n\n", "system").map(Value::from)
    }

    /// Blocks of which only text can be sent, as one text.
    fn text(
        &mut self,
        blocks: &[Block],
        between: &str,
        place: &str,
    ) -> Result<String, Unsupported> {
        let mut joined = String::new();
        for block in blocks {
            let Block::Text { text, cache, .. } = block else {
                return Err(unsupported(place, block));
            };
            self.hint(cache.as_ref());
            if !joined.is_empty() {
                joined.push_str(between);
            }
            joined.push_str(text);
        }
        Ok(joined)
    }

    /// A hint that was not written is named.
    fn hint(&mut self, hint: Option<&CacheHint>) {
        if hint.is_some() {
            leave(self.dropped, "cache_control", NO_CACHE_HINT);
        }
    }

    /// A string where that says all, else parts.
    fn content(&mut self, blocks: &[&Block]) -> Result<Value, Unsupported> {
        if let [Block::Text { text, cache, .. }] = blocks
            && (cache.is_none() || !self.quirks.cache_control)
        {
            self.hint(cache.as_ref());
            return Ok(text.as_str().into());
        }
        blocks.iter().map(|block| self.part(block)).collect()
    }

    fn part(&mut self, block: &Block) -> Result<Value, Unsupported> {
        let (mut part, cache) = match block {
            Block::Text { text, cache, .. } => (json!({"type": "text", "text": text}), cache),
            Block::Image {
                source,
                detail,
                cache,
            } => {
                let mut image = json!({"url": self.address(source)?});
                if let Some(detail) = detail {
                    image["detail"] = detail.as_str().into();
                }
                (json!({"type": "image_url", "image_url": image}), cache)
            }
            Block::Other(value) => return self.other(value, block),
            _ => return Err(unsupported("content", block)),
        };
        if let Some(hint) = cache {
            if self.quirks.cache_control {
                part["cache_control"] = write_cache(hint);
            } else {
                self.hint(Some(hint));
            }
        }
        Ok(part)
    }

    fn address(&self, source: &ImageSource) -> Result<String, Unsupported> {
        let problem = match source {
            ImageSource::Base64 { media_type, data } => {
                return Ok(format!("data:{media_type};base64,{data}"));
            }
            ImageSource::Url(url) if self.quirks.image_urls => return Ok(url.clone()),
            ImageSource::Url(_) => {
                "this vendor fetches no images; send the bytes as a `data:` address"
            }
            ImageSource::File(_) => {
                "the file is kept by another vendor; send the bytes as a `data:` address"
            }
        };
        Err(Unsupported {
            field: "image".to_owned(),
            reason: problem.to_owned(),
        })
    }

    /// A part that only one dialect knows: its own as it is, documents translated.
    fn other(&self, value: &Value, block: &Block) -> Result<Value, Unsupported> {
        if self.request.source.is_none_or(|source| source == OWN) {
            return Ok(value.clone());
        }
        let text = |at: &str| value.pointer(at).and_then(Value::as_str);
        let document = match (text("/type"), text("/source/type")) {
            (Some("document"), Some("text")) => {
                text("/source/data").map(|content| json!({"type": "text", "text": content}))
            }
            (Some("document"), Some("base64")) => text("/source/data").map(|data| {
                let media_type = text("/source/media_type").unwrap_or("application/pdf");
                json!({"type": "file", "file": {
                    "filename": text("/title").unwrap_or("document.pdf"),
                    "file_data": format!("data:{media_type};base64,{data}"),
                }})
            }),
            (Some("input_file"), _) => text("/file_data").map(|data| {
                json!({"type": "file", "file": {
                    "filename": text("/filename").unwrap_or("document.pdf"),
                    "file_data": data,
                }})
            }),
            _ => None,
        };
        document.ok_or_else(|| unsupported("content", block))
    }

    fn assistant(
        &mut self,
        blocks: &[Block],
        message: &mut Map<String, Value>,
    ) -> Result<(), Unsupported> {
        let mut parts = Parts::default();
        for block in blocks {
            self.assistant_block(block, &mut parts)?;
        }
        message.insert("role".to_owned(), "assistant".into());
        let silent = parts.text.is_empty() && (!parts.calls.is_empty() || parts.refusal.is_some());
        let content: Value =
            if self.quirks.thinking == ThinkingField::Parts && !parts.thinking.is_empty() {
                let mut content = vec![json!({
                    "type": "thinking",
                    "thinking": [{"type": "text", "text": parts.thinking}],
                })];
                if !parts.text.is_empty() {
                    content.push(json!({"type": "text", "text": parts.text}));
                }
                content.into()
            } else if silent {
                Value::Null
            } else {
                parts.text.into()
            };
        message.insert("content".to_owned(), content);
        match self.quirks.thinking {
            ThinkingField::ReasoningContent if !parts.thinking.is_empty() => {
                message.insert("reasoning_content".to_owned(), parts.thinking.into());
            }
            ThinkingField::Reasoning if !parts.thinking.is_empty() => {
                message.insert("reasoning".to_owned(), parts.thinking.into());
            }
            ThinkingField::Details if !parts.details.is_empty() => {
                message.insert("reasoning_details".to_owned(), parts.details.into());
            }
            _ => {}
        }
        if let Some(refusal) = parts.refusal {
            message.insert("refusal".to_owned(), refusal.into());
        }
        if !parts.calls.is_empty() {
            message.insert("tool_calls".to_owned(), parts.calls.into());
        }
        Ok(())
    }

    fn assistant_block(&mut self, block: &Block, parts: &mut Parts) -> Result<(), Unsupported> {
        match block {
            Block::Text {
                text,
                cache,
                annotations,
            } => {
                self.hint(cache.as_ref());
                if annotations.is_some() {
                    leave(
                        self.dropped,
                        "messages[].annotations",
                        "a reply's annotations are not sent back",
                    );
                }
                parts.text.push_str(text);
            }
            Block::Thinking {
                text,
                signature,
                id,
            } => self.thinking(text, signature.as_deref(), id.as_deref(), parts),
            Block::RedactedThinking { data, id } => {
                let proof = Proof::of_own(Some(data), id.as_deref(), self.request.source, OWN);
                match proof.and_then(|proof| Some((proof.text?, proof.id))) {
                    Some((data, id)) if self.quirks.thinking == ThinkingField::Details => {
                        let detail =
                            thinking::encrypted_detail(parts.details.len(), &data, id.as_deref());
                        parts.details.push(detail);
                    }
                    _ => self.no_thinking(),
                }
            }
            Block::Refusal { text } => parts.refusal.get_or_insert_default().push_str(text),
            Block::ToolCall {
                id,
                name,
                arguments,
                cache,
                signature,
            } => {
                self.hint(cache.as_ref());
                let mut call = json!({
                    "id": call_id(self.quirks.tool_call_ids, id),
                    "type": "function",
                    "function": {"name": name, "arguments": arguments},
                });
                let proof = signature.as_deref().and_then(|signature| {
                    Proof::of_own(Some(signature), None, self.request.source, OWN)
                });
                match proof.and_then(|proof| proof.text) {
                    Some(signature) => {
                        call["extra_content"] = json!({"google": {"thought_signature": signature}});
                    }
                    None if signature.is_some() => {
                        leave(self.dropped, "thought_signature", "another vendor made it");
                    }
                    None => {}
                }
                parts.calls.push(call);
            }
            Block::Other(value)
                if self.request.source == Some(OWN)
                    && value.get("type").is_some_and(|kind| kind == "custom") =>
            {
                parts.calls.push(value.clone());
            }
            Block::Other(value) if self.ran_elsewhere(value) => {}
            Block::Image { .. } | Block::ToolResult { .. } | Block::Other(_) => {
                return Err(unsupported("assistant", block));
            }
        }
        Ok(())
    }

    /// Whether this is the trace of a tool that another vendor ran; it is then named.
    fn ran_elsewhere(&mut self, value: &Value) -> bool {
        let kind = value
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let trace = self.request.source != Some(OWN)
            && (kind == "server_tool_use"
                || ["_call", "_call_output", "_tool_result"]
                    .iter()
                    .any(|end| kind.ends_with(end)));
        if trace {
            leave(self.dropped, kind, "only the vendor that ran it knows it");
        }
        trace
    }

    fn thinking(
        &mut self,
        text: &str,
        signature: Option<&str>,
        id: Option<&str>,
        parts: &mut Parts,
    ) {
        let Some(proof) = Proof::of_own(signature, id, self.request.source, OWN) else {
            self.no_thinking();
            return;
        };
        match self.quirks.thinking {
            ThinkingField::Unknown => self.no_thinking(),
            ThinkingField::Details => parts.details.push(thinking::text_detail(
                parts.details.len(),
                text,
                proof.text.as_deref(),
                proof.id.as_deref(),
            )),
            ThinkingField::ReasoningContent | ThinkingField::Reasoning | ThinkingField::Parts => {
                parts.thinking.push_str(text);
            }
        }
    }

    fn no_thinking(&mut self) {
        leave(
            self.dropped,
            caller_name(self.request.source, "history"),
            "another vendor thought it, or this one takes no thinking back",
        );
    }

    fn result(&mut self, block: &Block, extra: &Map<String, Value>) -> Result<(), Unsupported> {
        let Block::ToolResult {
            id,
            blocks,
            is_error,
            cache,
        } = block
        else {
            return Err(unsupported("tool", block));
        };
        self.hint(cache.as_ref());
        if *is_error {
            leave(
                self.dropped,
                "is_error",
                "this dialect tells errors by the text alone",
            );
        }
        let (images, texts): (Vec<&Block>, Vec<&Block>) = blocks
            .iter()
            .partition(|block| matches!(block, Block::Image { .. }));
        let texts: Vec<Block> = texts.into_iter().cloned().collect();
        let mut content = self.text(&texts, "\n", "tool_result")?;
        if !images.is_empty() {
            if !content.is_empty() {
                content.push('\n');
            }
            let _ = write!(content, "[images of this result follow: {}]", images.len());
        }
        let mut message = json!({
            "role": "tool",
            "tool_call_id": call_id(self.quirks.tool_call_ids, id),
            "content": content,
        });
        for image in images {
            let part = self.part(image)?;
            self.shown.push(part);
        }
        if let (Some(OWN), Some(message)) = (self.request.source, message.as_object_mut()) {
            message.extend(extra.clone());
        }
        self.messages.push(message);
        Ok(())
    }
}

/// What an assistant's message is put together from.
#[derive(Default)]
struct Parts {
    text: String,
    thinking: String,
    details: Vec<Value>,
    refusal: Option<String>,
    calls: Vec<Value>,
}

fn unsupported(place: &str, block: &Block) -> Unsupported {
    let kind = match block {
        Block::Text { .. } => "text",
        Block::Image { .. } => "image",
        Block::ToolCall { .. } => "tool call",
        Block::ToolResult { .. } => "tool result",
        Block::Thinking { .. } | Block::RedactedThinking { .. } => "thinking",
        Block::Refusal { .. } => "refusal",
        Block::Other(value) => value
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or("unknown"),
    };
    Unsupported {
        field: place.to_owned(),
        reason: format!("a part of type `{kind}` has no place there in this dialect"),
    }
}

/// The name of a call as the vendor takes it. A name that it does not take is replaced by a hash of
/// it: the same for the call and for its result, in this request and in the next.
fn call_id(ids: ToolCallIds, id: &str) -> Cow<'_, str> {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let (fits, length) = match ids {
        ToolCallIds::Any => return Cow::Borrowed(id),
        ToolCallIds::Short => (id.len() <= 40, 20),
        ToolCallIds::Nine => (
            id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            9,
        ),
    };
    if fits {
        return Cow::Borrowed(id);
    }
    // FNV-1a with 128 bits: no secret is kept by it, names of one conversation must only differ.
    let mut hash = id.bytes().fold(
        0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128,
        |hash, byte| {
            (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        },
    );
    let mut name = String::with_capacity(length);
    for _ in 0..length {
        name.push(char::from(LETTERS[(hash % 62) as usize]));
        hash /= 62;
    }
    Cow::Owned(name)
}
