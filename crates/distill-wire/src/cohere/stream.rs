//! Streams: typed events, content and calls counted apart.

use std::collections::BTreeMap;

use distill_chat::Usage;
use serde_json::{Map, Value, json};

use super::{PLAN, reply};
use crate::{
    Delta, ErrorKind, ErrorReply, Event, Finish, Malformed, Opening, ReadStream, ReplyContext,
    WriteStream,
    event::merge_usage,
    sse::{self, Frame},
};

pub(crate) fn stream_reader() -> Box<dyn ReadStream> {
    Box::new(Reader::default())
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Kind {
    Plan,
    Text,
    Thinking,
    Call,
}

#[derive(Default)]
struct Reader {
    begun: bool,
    /// The open blocks, by the vendor's count of content or of calls.
    open: BTreeMap<(bool, u64), (usize, Kind)>,
    plan: Option<usize>,
    opened: usize,
    whole: bool,
}

impl ReadStream for Reader {
    fn read(&mut self, frame: &Frame, events: &mut Vec<Event>) -> Result<(), Malformed> {
        if self.whole {
            return Ok(());
        }
        let value: Value = serde_json::from_str(&frame.data)
            .map_err(|error| Malformed::NotJson(error.to_string()))?;
        let kind = value
            .get("type")
            .and_then(Value::as_str)
            .ok_or(Malformed::Missing("type"))?;
        let index = value.get("index").and_then(Value::as_u64).unwrap_or(0);
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        match kind {
            "message-start" => {
                self.begun = true;
                events.push(Event::Start {
                    id: text("/id").map(str::to_owned),
                    model: None,
                    created: None,
                    fingerprint: None,
                });
            }
            "content-start" => {
                self.close_plan(events);
                let kind = match text("/delta/message/content/type") {
                    Some("thinking") => Kind::Thinking,
                    _ => Kind::Text,
                };
                self.open_block(index, kind, events);
                self.content(index, &value, events)?;
            }
            "content-delta" => self.content(index, &value, events)?,
            "content-end" => self.close((false, index), events),
            "tool-plan-delta" => {
                let said = text("/delta/message/tool_plan").unwrap_or_default();
                let index = if let Some(index) = self.plan {
                    index
                } else {
                    let id = Some(PLAN.to_owned());
                    let index = self.next(Opening::Thinking { id }, events);
                    self.plan = Some(index);
                    index
                };
                events.push(Event::Delta {
                    index,
                    delta: Delta::Thinking(said.to_owned()),
                });
            }
            "tool-call-start" => {
                self.close_plan(events);
                let said = |pointer: &str| text(pointer).unwrap_or_default().to_owned();
                let opened = self.next(
                    Opening::ToolCall {
                        id: said("/delta/message/tool_calls/id"),
                        name: said("/delta/message/tool_calls/function/name"),
                    },
                    events,
                );
                self.open.insert((true, index), (opened, Kind::Call));
                self.arguments(index, &value, events)?;
            }
            "tool-call-delta" => self.arguments(index, &value, events)?,
            "tool-call-end" => self.close((true, index), events),
            "citation-start" => {
                if let Some(citation) = value.pointer("/delta/message/citations") {
                    let at = citation
                        .get("content_index")
                        .and_then(Value::as_u64)
                        .unwrap_or(0);
                    if let Some((index, _)) = self.open.get(&(false, at)) {
                        events.push(Event::Delta {
                            index: *index,
                            delta: Delta::Annotation(citation.clone()),
                        });
                    }
                }
            }
            "message-end" => self.end(&value, events),
            // Events of later versions say what nobody asked for.
            _ => {}
        }
        if !self.begun && !events.is_empty() {
            return Err(Malformed::OutOfOrder("content before `message-start`"));
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.whole
    }
}

impl Reader {
    fn next(&mut self, block: Opening, events: &mut Vec<Event>) -> usize {
        let index = self.opened;
        self.opened += 1;
        events.push(Event::Open { index, block });
        index
    }

    fn open_block(&mut self, index: u64, kind: Kind, events: &mut Vec<Event>) {
        let opening = if kind == Kind::Thinking {
            Opening::Thinking { id: None }
        } else {
            Opening::Text
        };
        let opened = self.next(opening, events);
        self.open.insert((false, index), (opened, kind));
    }

    fn content(
        &mut self,
        index: u64,
        value: &Value,
        events: &mut Vec<Event>,
    ) -> Result<(), Malformed> {
        let (opened, kind) = *self.open.get(&(false, index)).ok_or(Malformed::OutOfOrder(
            "`content-delta` before `content-start`",
        ))?;
        let name = if kind == Kind::Thinking {
            "thinking"
        } else {
            "text"
        };
        let said = value
            .pointer("/delta/message/content")
            .and_then(|content| content.get(name))
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !said.is_empty() {
            let said = said.to_owned();
            events.push(Event::Delta {
                index: opened,
                delta: if kind == Kind::Thinking {
                    Delta::Thinking(said)
                } else {
                    Delta::Text(said)
                },
            });
        }
        if let Some(logprob) = value.get("logprobs").filter(|value| !value.is_null()) {
            events.push(Event::Delta {
                index: opened,
                delta: Delta::Logprobs(reply::read_logprob(logprob)),
            });
        }
        Ok(())
    }

    fn arguments(
        &mut self,
        index: u64,
        value: &Value,
        events: &mut Vec<Event>,
    ) -> Result<(), Malformed> {
        let (opened, _) = *self.open.get(&(true, index)).ok_or(Malformed::OutOfOrder(
            "`tool-call-delta` before `tool-call-start`",
        ))?;
        let piece = value
            .pointer("/delta/message/tool_calls/function/arguments")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !piece.is_empty() {
            events.push(Event::Delta {
                index: opened,
                delta: Delta::Arguments(piece.to_owned()),
            });
        }
        Ok(())
    }

    fn close(&mut self, at: (bool, u64), events: &mut Vec<Event>) {
        if let Some((index, _)) = self.open.remove(&at) {
            events.push(Event::Close { index });
        }
    }

    fn close_plan(&mut self, events: &mut Vec<Event>) {
        if let Some(index) = self.plan.take() {
            events.push(Event::Close { index });
        }
    }

    fn end(&mut self, value: &Value, events: &mut Vec<Event>) {
        self.close_plan(events);
        for (index, _) in std::mem::take(&mut self.open).into_values() {
            events.push(Event::Close { index });
        }
        self.whole = true;
        let delta = value.get("delta");
        let said = |name: &str| {
            delta
                .and_then(|delta| delta.get(name))
                .and_then(Value::as_str)
        };
        let reason = said("finish_reason").unwrap_or("COMPLETE");
        if let Some(message) = said("error").or((reason == "ERROR").then_some("the vendor failed"))
        {
            self.whole = false;
            events.push(Event::Error(ErrorReply {
                kind: ErrorKind::Server,
                message: message.to_owned(),
                code: Some(reason.to_owned()),
                param: None,
            }));
            return;
        }
        events.push(Event::Finish {
            reason: reply::finish(reason),
            stop_sequence: None,
        });
        if let Some(Value::Object(delta)) = delta {
            let mut answer = Map::new();
            if let Some(usage) = delta.get("usage") {
                answer.insert("usage".into(), usage.clone());
            }
            let (usage, _) = reply::take_usage(&mut answer);
            if usage != Usage::default() {
                events.push(Event::Usage(usage));
            }
        }
        events.push(Event::End);
    }
}

pub(crate) fn stream_writer(context: &ReplyContext) -> Box<dyn WriteStream> {
    Box::new(Writer {
        id: context.id.clone(),
        ..Writer::default()
    })
}

/// What the blocks became: the vendor counts content and calls apart.
#[derive(Default)]
struct Writer {
    id: String,
    blocks: BTreeMap<usize, (Kind, u64)>,
    contents: u64,
    calls: u64,
    usage: Usage,
    finish: Option<Finish>,
    over: bool,
}

fn event(kind: &str, mut value: Value, bytes: &mut Vec<u8>) {
    value["type"] = kind.into();
    sse::write(Some(kind), &value.to_string(), bytes);
}

fn content(index: u64, content: Value) -> Value {
    json!({"index": index, "delta": {"message": {"content": content}}})
}

impl Writer {
    fn open(&mut self, index: usize, block: &Opening, bytes: &mut Vec<u8>) {
        let (kind, name) = match block {
            Opening::Text | Opening::Refusal => (Kind::Text, "text"),
            Opening::Thinking { id } if id.as_deref() == Some(PLAN) => {
                self.blocks.insert(index, (Kind::Plan, 0));
                return;
            }
            Opening::Thinking { .. } => (Kind::Thinking, "thinking"),
            Opening::ToolCall { id, name } => {
                let call = self.calls;
                self.calls += 1;
                self.blocks.insert(index, (Kind::Call, call));
                let calls = super::write::call_value(id, name, "");
                let value = json!({"index": call, "delta": {"message": {"tool_calls": calls}}});
                event("tool-call-start", value, bytes);
                return;
            }
            // Only its own dialect knows it.
            Opening::RedactedThinking { .. } | Opening::Other(_) => return,
        };
        let at = self.contents;
        self.contents += 1;
        self.blocks.insert(index, (kind, at));
        let start = json!({"type": name, name: ""});
        event("content-start", content(at, start), bytes);
    }

    fn delta(&mut self, index: usize, delta: &Delta, bytes: &mut Vec<u8>) {
        let Some((kind, at)) = self.blocks.get(&index).copied() else {
            return;
        };
        match (kind, delta) {
            (Kind::Plan, Delta::Thinking(text)) => {
                let value = json!({"delta": {"message": {"tool_plan": text}}});
                event("tool-plan-delta", value, bytes);
            }
            (Kind::Text, Delta::Text(text) | Delta::Refusal(text)) => {
                event("content-delta", content(at, json!({ "text": text })), bytes);
            }
            (Kind::Thinking, Delta::Thinking(text)) => {
                event(
                    "content-delta",
                    content(at, json!({ "thinking": text })),
                    bytes,
                );
            }
            (Kind::Call, Delta::Arguments(piece)) => {
                let calls = json!({"function": {"arguments": piece}});
                let value = json!({"index": at, "delta": {"message": {"tool_calls": calls}}});
                event("tool-call-delta", value, bytes);
            }
            (Kind::Text, Delta::Logprobs(logprobs)) => {
                for logprob in logprobs {
                    let mut value = content(at, json!({"text": ""}));
                    value["logprobs"] =
                        json!({"text": logprob.token, "logprobs": [logprob.logprob]});
                    event("content-delta", value, bytes);
                }
            }
            // A citation of this dialect; another's has no sources here.
            (Kind::Text, Delta::Annotation(citation)) if citation.get("sources").is_some() => {
                let value = json!({"index": at, "delta": {"message": {"citations": citation}}});
                event("citation-start", value, bytes);
            }
            _ => {}
        }
    }
}

impl WriteStream for Writer {
    fn write(&mut self, said: &Event, bytes: &mut Vec<u8>) {
        if self.over {
            return;
        }
        match said {
            Event::Start { id, .. } => {
                if let Some(id) = id {
                    self.id.clone_from(id);
                }
                let message = json!({
                    "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [],
                    "citations": [],
                });
                let value = json!({"id": self.id, "delta": {"message": message}});
                event("message-start", value, bytes);
            }
            Event::Open { index, block } => self.open(*index, block, bytes),
            Event::Delta { index, delta } => self.delta(*index, delta, bytes),
            Event::Close { index } => match self.blocks.remove(index) {
                Some((Kind::Text | Kind::Thinking, at)) => {
                    event("content-end", json!({ "index": at }), bytes);
                }
                Some((Kind::Call, at)) => event("tool-call-end", json!({ "index": at }), bytes),
                Some((Kind::Plan, _)) | None => {}
            },
            Event::Finish { reason, .. } => self.finish = Some(reason.clone()),
            Event::Usage(usage) => merge_usage(&mut self.usage, usage),
            Event::Ping => {}
            Event::Error(error) => {
                self.over = true;
                let delta = json!({"finish_reason": "ERROR", "error": error.message});
                event("message-end", json!({ "delta": delta }), bytes);
            }
            Event::End => {
                self.over = true;
                let reason = self.finish.take().unwrap_or(Finish::Stop);
                let mut delta = json!({"finish_reason": reply::finish_word(&reason)});
                if let Some(usage) = reply::usage_value(&self.usage, None) {
                    delta["usage"] = usage;
                }
                event("message-end", json!({ "delta": delta }), bytes);
            }
        }
    }
}
