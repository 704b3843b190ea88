//! Streams, both ways.

use distill_chat::Usage;
use serde_json::{Value, json};

use super::{
    reply::{
        error_reply, finish, finish_text, message_id, redacted_data, signature_text, take_usage,
        usage, write_error,
    },
    write::wire_id,
};
use crate::{
    Delta, Dialect, Event, Finish, Malformed, Opening, ReadStream, ReplyContext, WriteStream,
    event::merge_usage,
    sse::{self, Frame},
};

/// Reads the vendor's events.
#[derive(Default)]
pub(super) struct Reader {
    /// The vendor's index, and what is known of the block, by our index.
    open: Vec<OpenBlock>,
    whole: bool,
}

struct OpenBlock {
    index: u64,
    kind: Kind,
    /// Whether anything of a tool call's arguments was said.
    said: bool,
    closed: bool,
}

#[derive(PartialEq, Eq)]
enum Kind {
    Known,
    Tool,
    /// Only this dialect knows the block: what it says is not read.
    Foreign,
}

impl Reader {
    /// Our index of the vendor's block that is open.
    fn find(&self, event: &Value) -> Result<usize, Malformed> {
        let index = event
            .get("index")
            .and_then(Value::as_u64)
            .ok_or(Malformed::Missing("index"))?;
        self.open
            .iter()
            .rposition(|block| block.index == index && !block.closed)
            .ok_or(Malformed::OutOfOrder("a block that was not opened"))
    }

    fn start_block(&mut self, event: &Value, events: &mut Vec<Event>) -> Result<(), Malformed> {
        let block = event
            .get("content_block")
            .ok_or(Malformed::Missing("content block"))?;
        let text = |name: &str| block.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = text("type");
        let opening = match kind {
            "text" => Opening::Text,
            "thinking" => Opening::Thinking { id: None },
            "redacted_thinking" => Opening::RedactedThinking {
                data: text("data").to_owned(),
                id: None,
            },
            "tool_use" => Opening::ToolCall {
                id: text("id").to_owned(),
                name: text("name").to_owned(),
            },
            other => Opening::Other(other.to_owned()),
        };
        let index = self.open.len();
        let known = match opening {
            Opening::Other(_) => Kind::Foreign,
            Opening::ToolCall { .. } => Kind::Tool,
            _ => Kind::Known,
        };
        events.push(Event::Open {
            index,
            block: opening,
        });
        // Some servers say the whole block at once.
        let first = match kind {
            "text" if !text("text").is_empty() => Some(Delta::Text(text("text").to_owned())),
            "thinking" if !text("thinking").is_empty() => {
                Some(Delta::Thinking(text("thinking").to_owned()))
            }
            "tool_use" => block
                .get("input")
                .filter(|input| input.as_object().is_some_and(|input| !input.is_empty()))
                .map(|input| Delta::Arguments(input.to_string())),
            _ => None,
        };
        self.open.push(OpenBlock {
            index: event
                .get("index")
                .and_then(Value::as_u64)
                .ok_or(Malformed::Missing("index"))?,
            kind: known,
            said: first.is_some(),
            closed: false,
        });
        events.extend(first.map(|delta| Event::Delta { index, delta }));
        Ok(())
    }

    fn delta(&mut self, event: &mut Value, events: &mut Vec<Event>) -> Result<(), Malformed> {
        let index = self.find(event)?;
        if self.open[index].kind == Kind::Foreign {
            return Ok(());
        }
        let delta = event
            .get_mut("delta")
            .ok_or(Malformed::Missing("delta"))?
            .take();
        let text = |name: &str| {
            delta
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let delta = match delta.get("type").and_then(Value::as_str) {
            Some("text_delta") => Delta::Text(text("text")),
            Some("thinking_delta") => Delta::Thinking(text("thinking")),
            Some("signature_delta") => Delta::Signature(text("signature")),
            Some("input_json_delta") => Delta::Arguments(text("partial_json")),
            Some("citations_delta") => {
                Delta::Annotation(delta.get("citation").cloned().unwrap_or_default())
            }
            // What comes to be known later is no reason to give a stream up.
            _ => return Ok(()),
        };
        let empty = match &delta {
            Delta::Text(text)
            | Delta::Thinking(text)
            | Delta::Signature(text)
            | Delta::Arguments(text)
            | Delta::Refusal(text) => text.is_empty(),
            Delta::Logprobs(_) | Delta::Annotation(_) => false,
        };
        if !empty {
            self.open[index].said = true;
            events.push(Event::Delta { index, delta });
        }
        Ok(())
    }

    fn stop_block(&mut self, event: &Value, events: &mut Vec<Event>) -> Result<(), Malformed> {
        let index = self.find(event)?;
        let block = &mut self.open[index];
        block.closed = true;
        if block.kind == Kind::Tool && !block.said {
            // A call without arguments says nothing here; elsewhere that is no JSON.
            events.push(Event::Delta {
                index,
                delta: Delta::Arguments("{}".to_owned()),
            });
        }
        events.push(Event::Close { index });
        Ok(())
    }
}

/// The usage that an event reports, where it reports any.
fn reported(written: Option<&Value>) -> Option<Usage> {
    let usage = take_usage(&mut written?.as_object()?.clone());
    (usage != Usage::default()).then_some(usage)
}

impl ReadStream for Reader {
    fn read(&mut self, frame: &Frame, events: &mut Vec<Event>) -> Result<(), Malformed> {
        let mut event: Value = serde_json::from_str(&frame.data)
            .map_err(|error| Malformed::NotJson(error.to_string()))?;
        let text =
            |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        match text(&event, "type").as_deref() {
            Some("message_start") => {
                let message = event.get("message").ok_or(Malformed::Missing("message"))?;
                events.push(Event::Start {
                    id: text(message, "id"),
                    model: text(message, "model"),
                    created: None,
                    fingerprint: None,
                });
                if let Some(mut usage) = reported(message.get("usage")) {
                    // The output so far is a placeholder: the count comes at the end.
                    usage.output_tokens = None;
                    usage.reasoning_tokens = None;
                    events.push(Event::Usage(usage));
                }
            }
            Some("content_block_start") => self.start_block(&event, events)?,
            Some("content_block_delta") => self.delta(&mut event, events)?,
            Some("content_block_stop") => self.stop_block(&event, events)?,
            Some("message_delta") => {
                if let Some(delta) = event.get("delta")
                    && let Some(reason) = text(delta, "stop_reason")
                {
                    events.push(Event::Finish {
                        reason: finish(&reason),
                        stop_sequence: text(delta, "stop_sequence"),
                    });
                }
                events.extend(reported(event.get("usage")).map(Event::Usage));
            }
            Some("message_stop") => {
                self.whole = true;
                events.push(Event::End);
            }
            Some("ping") => events.push(Event::Ping),
            Some("error") => events.push(Event::Error(error_reply(
                event.get("error").unwrap_or(&Value::Null),
            ))),
            Some(_) => {}
            None => match event.get("error") {
                Some(error) => events.push(Event::Error(error_reply(error))),
                None => return Err(Malformed::Missing("type")),
            },
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.whole
    }
}

/// Writes the caller's events.
pub(super) struct Writer {
    context: ReplyContext,
    id: Option<String>,
    model: Option<String>,
    usage: Usage,
    begun: bool,
    done: bool,
    /// What is known of each block, by the index of the events.
    blocks: Vec<Written>,
    /// How many blocks the caller was told of.
    shown: u64,
    finish: Option<(Finish, Option<String>)>,
}

/// How a block stands with the caller. The dialect knows one open block at a time, so what is said
/// of a later one while another is open waits.
struct Written {
    opening: Opening,
    state: State,
    waiting: Vec<Delta>,
    closed: bool,
    /// Proof of thinking, sealed where another dialect made it.
    signature: String,
}

#[derive(PartialEq, Eq)]
enum State {
    Waiting,
    Open(u64),
    Done,
}

impl Writer {
    pub(super) fn new(context: &ReplyContext) -> Self {
        Self {
            context: context.clone(),
            id: None,
            model: None,
            usage: Usage::default(),
            begun: false,
            done: false,
            blocks: Vec::new(),
            shown: 0,
            finish: None,
        }
    }

    fn own(&self) -> bool {
        self.context
            .source
            .is_none_or(|source| source == Dialect::Messages)
    }

    fn begin(&mut self, bytes: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        // Clients add to these counts, so they must be there; the last event says what was used.
        let mut usage = usage(&self.usage);
        for name in ["input_tokens", "output_tokens"] {
            usage.entry(name).or_insert_with(|| 0.into());
        }
        let message = json!({
            "id": message_id(self.id.as_deref(), &self.context),
            "type": "message",
            "role": "assistant",
            "model": self.model.as_deref().unwrap_or(&self.context.model),
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage,
        });
        emit(&json!({"type": "message_start", "message": message}), bytes);
    }

    /// Says what can be said: the open block first, then those that wait, in the order of opening.
    fn advance(&mut self, bytes: &mut Vec<u8>) {
        loop {
            let Some(index) = self
                .blocks
                .iter()
                .position(|block| block.state != State::Done)
            else {
                return;
            };
            if self.blocks[index].state == State::Waiting {
                let number = self.shown;
                self.shown += 1;
                self.blocks[index].state = State::Open(number);
                let start = self.block_start(index);
                emit(
                    &json!({"type": "content_block_start", "index": number, "content_block": start}),
                    bytes,
                );
            }
            let State::Open(number) = self.blocks[index].state else {
                return;
            };
            for delta in std::mem::take(&mut self.blocks[index].waiting) {
                self.say(index, number, delta, bytes);
            }
            if !self.blocks[index].closed {
                return;
            }
            self.close(index, number, bytes);
        }
    }

    fn block_start(&self, index: usize) -> Value {
        match &self.blocks[index].opening {
            Opening::Text | Opening::Refusal | Opening::Other(_) => {
                json!({"type": "text", "text": ""})
            }
            Opening::Thinking { .. } => {
                json!({"type": "thinking", "thinking": "", "signature": ""})
            }
            Opening::RedactedThinking { data, id } => json!({
                "type": "redacted_thinking",
                "data": redacted_data(data, id.as_deref(), self.context.source),
            }),
            Opening::ToolCall { id, name } => {
                json!({"type": "tool_use", "id": wire_id(id), "name": name, "input": {}})
            }
        }
    }

    fn say(&mut self, index: usize, number: u64, delta: Delta, bytes: &mut Vec<u8>) {
        let delta = match delta {
            Delta::Text(text) | Delta::Refusal(text) => json!({"type": "text_delta", "text": text}),
            Delta::Thinking(text) => json!({"type": "thinking_delta", "thinking": text}),
            Delta::Arguments(text) => json!({"type": "input_json_delta", "partial_json": text}),
            Delta::Signature(text) => {
                self.blocks[index].signature.push_str(&text);
                return;
            }
            Delta::Annotation(citation) if self.own() => {
                json!({"type": "citations_delta", "citation": citation})
            }
            Delta::Annotation(_) | Delta::Logprobs(_) => return,
        };
        emit(
            &json!({"type": "content_block_delta", "index": number, "delta": delta}),
            bytes,
        );
    }

    fn close(&mut self, index: usize, number: u64, bytes: &mut Vec<u8>) {
        let block = &mut self.blocks[index];
        block.state = State::Done;
        if let Opening::Thinking { id } = &block.opening {
            let signature = Some(block.signature.as_str()).filter(|text| !text.is_empty());
            let signature = signature_text(signature, id.as_deref(), self.context.source);
            if !signature.is_empty() {
                let delta = json!({"type": "signature_delta", "signature": signature});
                emit(
                    &json!({"type": "content_block_delta", "index": number, "delta": delta}),
                    bytes,
                );
            }
        }
        emit(
            &json!({"type": "content_block_stop", "index": number}),
            bytes,
        );
    }

    fn end(&mut self, bytes: &mut Vec<u8>) {
        self.begin(bytes);
        for block in &mut self.blocks {
            block.closed = true;
        }
        self.advance(bytes);
        let (finish, stop_sequence) = self.finish.take().unwrap_or((Finish::Stop, None));
        let calls = self
            .blocks
            .iter()
            .any(|block| matches!(block.opening, Opening::ToolCall { .. }));
        let finish = match finish {
            Finish::Stop if calls && !self.own() => Finish::ToolCalls,
            finish => finish,
        };
        emit(
            &json!({
                "type": "message_delta",
                "delta": {
                    "stop_reason": finish_text(&finish, stop_sequence.as_deref()),
                    "stop_sequence": stop_sequence,
                },
                "usage": usage(&self.usage),
            }),
            bytes,
        );
        emit(&json!({"type": "message_stop"}), bytes);
        self.done = true;
    }
}

impl WriteStream for Writer {
    fn write(&mut self, event: &Event, bytes: &mut Vec<u8>) {
        if self.done {
            return;
        }
        match event {
            Event::Start { id, model, .. } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
            }
            Event::Usage(more) => merge_usage(&mut self.usage, more),
            Event::Open { block, index } => {
                self.begin(bytes);
                // A block that only another dialect knows is not told of; nor is what it says.
                let hidden = matches!(block, Opening::Other(_));
                while self.blocks.len() <= *index {
                    self.blocks.push(Written {
                        opening: block.clone(),
                        state: if hidden { State::Done } else { State::Waiting },
                        waiting: Vec::new(),
                        closed: hidden,
                        signature: String::new(),
                    });
                }
                self.advance(bytes);
            }
            Event::Delta { index, delta } => {
                self.begin(bytes);
                if let Some(block) = self.blocks.get_mut(*index)
                    && block.state != State::Done
                {
                    block.waiting.push(delta.clone());
                    self.advance(bytes);
                }
            }
            Event::Close { index } => {
                if let Some(block) = self.blocks.get_mut(*index) {
                    block.closed = true;
                    self.advance(bytes);
                }
            }
            Event::Finish {
                reason,
                stop_sequence,
            } => self.finish = Some((reason.clone(), stop_sequence.clone())),
            Event::Ping => {
                if self.begun {
                    emit(&json!({"type": "ping"}), bytes);
                }
            }
            Event::Error(error) => {
                emit(&write_error(error), bytes);
                self.done = true;
            }
            Event::End => self.end(bytes),
        }
    }
}

fn emit(event: &Value, bytes: &mut Vec<u8>) {
    let name = event.get("type").and_then(Value::as_str);
    sse::write(name, &event.to_string(), bytes);
}
