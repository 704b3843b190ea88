//! Events to a caller's stream.

use std::collections::HashMap;

use distill_chat::Usage;
use serde_json::{Value, json};

use super::{
    OWN, failure,
    reply::{proof_for_caller, write_finish, write_logprobs},
    thinking, usage,
};
use crate::{Delta, Dialect, Event, Opening, ReplyContext, WriteStream, merge_usage};

/// Writes one stream.
pub(super) struct Writer {
    context: ReplyContext,
    source: Dialect,
    /// What every chunk begins with, up to the delta.
    head: Vec<u8>,
    /// What every chunk before the last ends with, from the delta on.
    tail: &'static [u8],
    begun: bool,
    over: bool,
    /// Each open block that needs more than its deltas.
    blocks: HashMap<usize, Block>,
    calls: usize,
    details: usize,
    usage: Usage,
}

enum Block {
    /// Place among the tool calls.
    Call(usize),
    /// What was thought: a proof is sent with the whole of it.
    Thinking { text: String, id: Option<String> },
}

impl Writer {
    pub(super) fn new(context: &ReplyContext) -> Self {
        Self {
            source: context.source.unwrap_or(OWN),
            tail: if context.stream_usage {
                b",\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n"
            } else {
                b",\"logprobs\":null,\"finish_reason\":null}]}\n\n"
            },
            context: context.clone(),
            head: Vec::new(),
            begun: false,
            over: false,
            blocks: HashMap::new(),
            calls: 0,
            details: 0,
            usage: Usage::default(),
        }
    }

    fn begin(
        &mut self,
        id: Option<&str>,
        model: Option<&str>,
        created: Option<i64>,
        fingerprint: Option<&str>,
        bytes: &mut Vec<u8>,
    ) {
        if self.begun {
            return;
        }
        self.begun = true;
        let mut head = json!({
            "id": super::reply_id(id, &self.context),
            "object": "chat.completion.chunk",
            "created": created.unwrap_or(self.context.created),
            "model": model.unwrap_or(&self.context.model),
        });
        if let Some(fingerprint) = fingerprint {
            head["system_fingerprint"] = fingerprint.into();
        }
        self.head = format!("data: {head}").into_bytes();
        // The closing brace comes with the end of each chunk.
        self.head.pop();
        self.chunk(br#"{"role":"assistant","content":""}"#, bytes);
    }

    fn chunk(&self, delta: &[u8], bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.head);
        bytes.extend_from_slice(br#","choices":[{"index":0,"delta":"#);
        bytes.extend_from_slice(delta);
        bytes.extend_from_slice(self.tail);
    }

    /// A chunk with one member of text: the common case, without a tree.
    fn piece(&self, name: &str, text: &str, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.head);
        bytes.extend_from_slice(br#","choices":[{"index":0,"delta":{""#);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b"\":");
        string(text, bytes);
        bytes.push(b'}');
        bytes.extend_from_slice(self.tail);
    }

    fn object(&self, delta: &Value, bytes: &mut Vec<u8>) {
        self.chunk(delta.to_string().as_bytes(), bytes);
    }

    /// A chunk that ends in its own way.
    fn last(&self, choices: &Value, usage: Option<&Value>, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.head);
        bytes.extend_from_slice(b",\"choices\":");
        bytes.extend_from_slice(choices.to_string().as_bytes());
        match usage {
            Some(usage) => {
                bytes.extend_from_slice(b",\"usage\":");
                bytes.extend_from_slice(usage.to_string().as_bytes());
            }
            None if self.context.stream_usage => bytes.extend_from_slice(b",\"usage\":null"),
            None => {}
        }
        bytes.extend_from_slice(b"}\n\n");
    }

    fn open(&mut self, index: usize, block: &Opening, bytes: &mut Vec<u8>) {
        match block {
            Opening::ToolCall { id, name } => {
                let place = self.calls;
                self.calls += 1;
                self.blocks.insert(index, Block::Call(place));
                let call = json!({"tool_calls": [{
                    "index": place,
                    "id": id,
                    "type": "function",
                    "function": {"name": name, "arguments": ""},
                }]});
                self.object(&call, bytes);
            }
            Opening::Thinking { id } => {
                let (text, id) = (String::new(), id.clone());
                self.blocks.insert(index, Block::Thinking { text, id });
            }
            Opening::RedactedThinking { data, id } => {
                let id = id.as_deref();
                let proof = proof_for_caller(self.source, true, Some(data), id);
                let data = proof.unwrap_or_default();
                let detail = thinking::encrypted_detail(self.details, &data, id);
                self.details += 1;
                self.object(&json!({"reasoning_details": [detail]}), bytes);
            }
            Opening::Text | Opening::Refusal | Opening::Other(_) => {}
        }
    }

    fn delta(&mut self, index: usize, delta: &Delta, bytes: &mut Vec<u8>) {
        match delta {
            Delta::Text(text) => self.piece("content", text, bytes),
            Delta::Refusal(text) => self.piece("refusal", text, bytes),
            Delta::Thinking(text) => {
                if let Some(Block::Thinking { text: whole, .. }) = self.blocks.get_mut(&index) {
                    whole.push_str(text);
                }
                self.piece("reasoning_content", text, bytes);
            }
            Delta::Arguments(piece) => {
                let Some(Block::Call(place)) = self.blocks.get(&index) else {
                    return;
                };
                let mut delta =
                    format!(r#"{{"tool_calls":[{{"index":{place},"function":{{"arguments":"#)
                        .into_bytes();
                string(piece, &mut delta);
                delta.extend_from_slice(b"}}]}");
                self.chunk(&delta, bytes);
            }
            Delta::Signature(signature) => self.signature(index, signature, bytes),
            Delta::Logprobs(tokens) => {
                let choice = json!([{
                    "index": 0,
                    "delta": {},
                    "logprobs": write_logprobs(tokens),
                    "finish_reason": null,
                }]);
                self.last(&choice, None, bytes);
            }
            // Another dialect's annotations have another shape.
            Delta::Annotation(annotation) if self.source == OWN => {
                self.object(&json!({"annotations": [annotation]}), bytes);
            }
            Delta::Annotation(_) => {}
        }
    }

    fn signature(&mut self, index: usize, signature: &str, bytes: &mut Vec<u8>) {
        let delta = match self.blocks.get(&index) {
            Some(Block::Thinking { text, id }) => {
                let id = id.as_deref();
                let proof = proof_for_caller(self.source, false, Some(signature), id);
                let detail = thinking::text_detail(self.details, text, proof.as_deref(), id);
                self.details += 1;
                json!({"reasoning_details": [detail]})
            }
            Some(Block::Call(place)) => {
                let proof = proof_for_caller(self.source, false, Some(signature), None);
                json!({"tool_calls": [{
                    "index": place,
                    "extra_content": {"google": {"thought_signature": proof}},
                }]})
            }
            None => return,
        };
        self.object(&delta, bytes);
    }
}

fn string(text: &str, bytes: &mut Vec<u8>) {
    // Writing a string to memory cannot fail.
    let _ = serde_json::to_writer(bytes, text);
}

impl WriteStream for Writer {
    fn write(&mut self, event: &Event, bytes: &mut Vec<u8>) {
        if self.over {
            return;
        }
        match event {
            Event::Start {
                id,
                model,
                created,
                fingerprint,
            } => {
                self.begin(
                    id.as_deref(),
                    model.as_deref(),
                    *created,
                    fingerprint.as_deref(),
                    bytes,
                );
                return;
            }
            Event::Ping => {
                bytes.extend_from_slice(b": ping\n\n");
                return;
            }
            Event::Usage(usage) => {
                merge_usage(&mut self.usage, usage);
                return;
            }
            Event::Error(error) => {
                self.over = true;
                bytes.extend_from_slice(b"data: ");
                bytes.extend_from_slice(&failure::write(error));
                bytes.extend_from_slice(b"\n\n");
                return;
            }
            _ => self.begin(None, None, None, None, bytes),
        }
        match event {
            Event::Open { index, block } => self.open(*index, block, bytes),
            Event::Delta { index, delta } => self.delta(*index, delta, bytes),
            Event::Close { index } => {
                self.blocks.remove(index);
            }
            Event::Finish { reason, .. } => {
                let reason = write_finish(reason, self.calls > 0);
                let choice = json!([{
                    "index": 0, "delta": {}, "logprobs": null, "finish_reason": reason,
                }]);
                self.last(&choice, None, bytes);
            }
            Event::End => {
                self.over = true;
                let usage = usage::write(&self.usage).filter(|_| self.context.stream_usage);
                if let Some(usage) = usage {
                    self.last(&json!([]), Some(&usage), bytes);
                }
                bytes.extend_from_slice(b"data: [DONE]\n\n");
            }
            _ => {}
        }
    }
}
