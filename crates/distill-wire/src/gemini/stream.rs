//! Streams: one answer an event, each with what is new.

use std::collections::BTreeMap;

use distill_chat::Usage;
use serde_json::{Map, Value, json};

use super::{error, reply};
use crate::{
    Block, Delta, Event, Finish, Malformed, Opening, ReadStream, ReplyContext, WriteStream,
    event::merge_usage,
    sse::{self, Frame},
};

pub(crate) fn stream_reader() -> Box<dyn ReadStream> {
    Box::new(Reader::default())
}

#[derive(PartialEq, Clone, Copy)]
enum Kind {
    Text,
    Thinking,
}

#[derive(PartialEq, Clone, Copy)]
enum Ending {
    Whole,
    Broken,
}

#[derive(Default)]
struct Reader {
    begun: bool,
    id: Option<String>,
    /// The block that the next text of its kind goes into.
    open: Option<(usize, Kind)>,
    opened: usize,
    called: bool,
    usage: Usage,
    finish: Option<Finish>,
    /// How the stream ended; nothing follows any more.
    end: Option<Ending>,
}

impl ReadStream for Reader {
    fn read(&mut self, frame: &Frame, events: &mut Vec<Event>) -> Result<(), Malformed> {
        if self.end.is_some() {
            return Ok(());
        }
        let value: Value = serde_json::from_str(&frame.data)
            .map_err(|error| Malformed::NotJson(error.to_string()))?;
        if let Some(error) = error::read_value(&value) {
            self.end = Some(Ending::Broken);
            events.push(Event::Error(error));
            return Ok(());
        }
        let blocked = reply::block_reason(&value).is_some();
        let Value::Object(mut answer) = value else {
            return Err(Malformed::NotJson("it is no object".into()));
        };
        let (usage, _) = reply::take_usage(&mut answer);
        if !std::mem::replace(&mut self.begun, true) {
            self.id = reply::take_text(&mut answer, "responseId");
            events.push(Event::Start {
                id: self.id.clone(),
                model: reply::take_text(&mut answer, "modelVersion"),
                created: None,
                fingerprint: None,
            });
        }
        if usage != Usage::default() && usage != self.usage {
            self.usage = usage;
            events.push(Event::Usage(usage));
        }
        match reply::first_candidate(&mut answer) {
            Some(mut candidate) => self.candidate(&mut candidate, events),
            None if blocked => self.finish = Some(Finish::ContentFilter),
            None => {}
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.end == Some(Ending::Whole)
    }

    /// A reason may stand in an event before the last one: only the end of the connection tells.
    fn finish(&mut self, events: &mut Vec<Event>) {
        if self.end.is_some() {
            return;
        }
        let Some(reason) = self.finish.take() else {
            self.end = Some(Ending::Broken);
            return;
        };
        self.end = Some(Ending::Whole);
        self.close(events);
        events.push(Event::Finish {
            reason,
            stop_sequence: None,
        });
        if self.usage != Usage::default() {
            events.push(Event::Usage(self.usage));
        }
        events.push(Event::End);
    }
}

impl Reader {
    fn candidate(&mut self, candidate: &mut Map<String, Value>, events: &mut Vec<Event>) {
        let ids = reply::Ids::new(self.id.as_deref(), &self.usage);
        let mut logprobs = candidate
            .shift_remove("logprobsResult")
            .map(|result| reply::read_logprobs(&result));
        for part in reply::take_parts(candidate) {
            for block in reply::read_part(part, &ids, self.opened) {
                self.block(block, &mut logprobs, events);
            }
        }
        if let Some(reason) = reply::take_text(candidate, "finishReason") {
            self.finish = Some(reply::finish(&reason, self.called));
        }
    }

    fn block(
        &mut self,
        block: Block,
        logprobs: &mut Option<Vec<crate::TokenLogprob>>,
        events: &mut Vec<Event>,
    ) {
        match block {
            Block::Text { text, .. } => {
                let index = self.reopen(Kind::Text, events);
                events.push(Event::Delta {
                    index,
                    delta: Delta::Text(text),
                });
                if let Some(logprobs) = logprobs.take() {
                    events.push(Event::Delta {
                        index,
                        delta: Delta::Logprobs(logprobs),
                    });
                }
            }
            Block::Thinking {
                text, signature, ..
            } => {
                // A signature without a thought stands for itself.
                if text.is_empty() && self.open.is_some_and(|(_, kind)| kind == Kind::Text) {
                    self.close(events);
                }
                let index = self.reopen(Kind::Thinking, events);
                if !text.is_empty() {
                    events.push(Event::Delta {
                        index,
                        delta: Delta::Thinking(text),
                    });
                }
                if let Some(signature) = signature {
                    events.push(Event::Delta {
                        index,
                        delta: Delta::Signature(signature),
                    });
                    self.close(events);
                }
            }
            Block::ToolCall {
                id,
                name,
                arguments,
                signature,
                ..
            } => {
                self.called = true;
                self.close(events);
                let index = self.next(Opening::ToolCall { id, name }, events);
                events.push(Event::Delta {
                    index,
                    delta: Delta::Arguments(arguments),
                });
                if let Some(signature) = signature {
                    events.push(Event::Delta {
                        index,
                        delta: Delta::Signature(signature),
                    });
                }
                events.push(Event::Close { index });
            }
            Block::Other(part) => {
                self.close(events);
                let name = part
                    .as_object()
                    .and_then(|part| part.keys().next().cloned())
                    .unwrap_or_default();
                let index = self.next(Opening::Other(name), events);
                events.push(Event::Delta {
                    index,
                    delta: Delta::Annotation(part),
                });
                events.push(Event::Close { index });
            }
            _ => {}
        }
    }

    fn next(&mut self, block: Opening, events: &mut Vec<Event>) -> usize {
        let index = self.opened;
        self.opened += 1;
        events.push(Event::Open { index, block });
        index
    }

    fn reopen(&mut self, kind: Kind, events: &mut Vec<Event>) -> usize {
        if let Some((index, open)) = self.open
            && open == kind
        {
            return index;
        }
        self.close(events);
        let opening = match kind {
            Kind::Text => Opening::Text,
            Kind::Thinking => Opening::Thinking { id: None },
        };
        let index = self.next(opening, events);
        self.open = Some((index, kind));
        index
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        if let Some((index, _)) = self.open.take() {
            events.push(Event::Close { index });
        }
    }
}

pub(crate) fn stream_writer(context: &ReplyContext) -> Box<dyn WriteStream> {
    Box::new(Writer {
        own: context
            .source
            .is_none_or(|source| source == crate::Dialect::Gemini),
        id: context.id.clone(),
        model: context.model.clone(),
        usage: Usage::default(),
        calls: BTreeMap::new(),
        thought: BTreeMap::new(),
        proof: None,
        finish: None,
        over: false,
    })
}

#[derive(Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
    signature: Option<String>,
}

struct Writer {
    own: bool,
    id: String,
    model: String,
    usage: Usage,
    /// Calls go out whole.
    calls: BTreeMap<usize, Call>,
    /// Whether a block of thinking said anything: a signature without a thought is no thought.
    thought: BTreeMap<usize, bool>,
    /// A proof without a thought that was not written yet.
    proof: Option<String>,
    finish: Option<Finish>,
    over: bool,
}

impl Writer {
    fn frame(&self, candidate: Value, bytes: &mut Vec<u8>) {
        let mut answer = json!({ "candidates": [candidate] });
        if let Some(usage) = reply::usage_value(&self.usage, None) {
            answer["usageMetadata"] = usage;
        }
        answer["modelVersion"] = self.model.as_str().into();
        if !self.id.is_empty() {
            answer["responseId"] = self.id.as_str().into();
        }
        sse::write(None, &answer.to_string(), bytes);
    }

    fn part(&self, part: Value, bytes: &mut Vec<u8>) {
        self.frame(
            json!({"content": {"parts": [part], "role": "model"}, "index": 0}),
            bytes,
        );
    }

    fn delta(&mut self, index: usize, delta: &Delta, bytes: &mut Vec<u8>) {
        match delta {
            Delta::Text(text) | Delta::Refusal(text) => self.part(json!({ "text": text }), bytes),
            Delta::Thinking(text) => {
                self.thought.insert(index, true);
                self.part(json!({"text": text, "thought": true}), bytes);
            }
            Delta::Arguments(piece) => {
                self.calls
                    .entry(index)
                    .or_default()
                    .arguments
                    .push_str(piece);
            }
            // Another vendor's proof means nothing here.
            Delta::Signature(_) if !self.own => {}
            Delta::Signature(signature) => {
                if let Some(call) = self.calls.get_mut(&index) {
                    call.signature = Some(signature.clone());
                } else if self.thought.get(&index) == Some(&true) {
                    let part = json!({"text": "", "thought": true, "thoughtSignature": signature});
                    self.part(part, bytes);
                } else {
                    // It may be that of the call after it.
                    self.proof = Some(signature.clone());
                }
            }
            Delta::Logprobs(logprobs) => self.frame(
                json!({
                    "content": {"parts": [{"text": ""}], "role": "model"},
                    "index": 0,
                    "logprobsResult": reply::logprobs_value(logprobs),
                }),
                bytes,
            ),
            Delta::Annotation(part) if self.own && part.get("type").is_none() => {
                self.part(part.clone(), bytes);
            }
            Delta::Annotation(_) => {}
        }
    }
}

impl WriteStream for Writer {
    fn write(&mut self, event: &Event, bytes: &mut Vec<u8>) {
        if self.over {
            return;
        }
        let of_call = matches!(
            event,
            Event::Open {
                block: Opening::ToolCall { .. },
                ..
            } | Event::Close { .. }
                | Event::Usage(_)
                | Event::Ping
        ) || matches!(event, Event::Delta { index, .. } if self.calls.contains_key(index));
        if !of_call && let Some(proof) = self.proof.take() {
            self.part(json!({"text": "", "thoughtSignature": proof}), bytes);
        }
        match event {
            Event::Start { id, model, .. } => {
                if let Some(id) = id {
                    self.id.clone_from(id);
                }
                if let Some(model) = model {
                    self.model.clone_from(model);
                }
            }
            Event::Open {
                index,
                block: Opening::ToolCall { id, name },
            } => {
                self.calls.insert(
                    *index,
                    Call {
                        id: id.clone(),
                        name: name.clone(),
                        ..Call::default()
                    },
                );
            }
            Event::Open { .. } | Event::Ping => {}
            Event::Delta { index, delta } => self.delta(*index, delta, bytes),
            Event::Close { index } => {
                if let Some(call) = self.calls.remove(index) {
                    let mut part = reply::call_value(&call.id, &call.name, &call.arguments);
                    if let Some(signature) = call.signature {
                        self.proof = self.proof.take().filter(|proof| *proof != signature);
                        part["thoughtSignature"] = signature.into();
                    }
                    self.part(part, bytes);
                }
            }
            Event::Finish { reason, .. } => self.finish = Some(reason.clone()),
            Event::Usage(usage) => merge_usage(&mut self.usage, usage),
            Event::Error(error) => {
                self.over = true;
                sse::write(None, &error::value(error).to_string(), bytes);
            }
            Event::End => {
                self.over = true;
                let reason = self.finish.take().unwrap_or(Finish::Stop);
                self.frame(
                    json!({
                        "content": {"parts": [{"text": ""}], "role": "model"},
                        "finishReason": reply::finish_word(&reason),
                        "index": 0,
                    }),
                    bytes,
                );
            }
        }
    }
}
