//! A stream as a whole reply, and a whole reply as a stream.

use distill_chat::Usage;
use serde_json::{Map, Value};

use crate::{Block, Delta, Dialect, Event, Finish, Opening, Reply, TokenLogprob, merge_usage};

/// Puts the events of one stream together.
#[derive(Debug, Clone)]
pub struct Gatherer {
    reply: Reply,
    ended: bool,
    finished: bool,
}

impl Gatherer {
    /// `source`: the dialect that the stream is read from.
    pub fn new(source: Dialect) -> Self {
        Self {
            reply: Reply {
                id: None,
                model: None,
                created: None,
                blocks: Vec::new(),
                finish: Finish::Stop,
                stop_sequence: None,
                usage: Usage::default(),
                logprobs: None,
                fingerprint: None,
                service_tier: None,
                source: Some(source),
                extra: Map::new(),
            },
            ended: false,
            finished: false,
        }
    }

    pub fn take(&mut self, event: &Event) {
        match event {
            Event::Start {
                id,
                model,
                created,
                fingerprint,
            } => {
                self.reply.id.clone_from(id);
                self.reply.model.clone_from(model);
                self.reply.created = *created;
                self.reply.fingerprint.clone_from(fingerprint);
            }
            // Indices count from 0 in the order of opening, so a block's index is its place.
            Event::Open { block, .. } => self.reply.blocks.push(opened(block)),
            Event::Delta { index, delta } => {
                if let Delta::Logprobs(more) = delta {
                    self.reply
                        .logprobs
                        .get_or_insert_default()
                        .extend_from_slice(more);
                } else if let Some(block) = self.reply.blocks.get_mut(*index) {
                    add(block, delta);
                }
            }
            Event::Finish {
                reason,
                stop_sequence,
            } => {
                self.finished = true;
                self.reply.finish = reason.clone();
                self.reply.stop_sequence.clone_from(stop_sequence);
            }
            Event::Usage(usage) => merge_usage(&mut self.reply.usage, usage),
            Event::End => self.ended = true,
            Event::Close { .. } | Event::Ping | Event::Error(_) => {}
        }
    }

    /// What came so far, whole or not.
    pub fn so_far(&self) -> &Reply {
        &self.reply
    }

    /// The reply; `None` where the stream was cut or failed.
    pub fn into_reply(self) -> Option<Reply> {
        (self.ended && self.finished).then_some(self.reply)
    }
}

fn opened(block: &Opening) -> Block {
    match block {
        Opening::Text => Block::text(""),
        Opening::Thinking { id } => Block::Thinking {
            text: String::new(),
            signature: None,
            id: id.clone(),
        },
        Opening::RedactedThinking { data, id } => Block::RedactedThinking {
            data: data.clone(),
            id: id.clone(),
        },
        Opening::ToolCall { id, name } => Block::ToolCall {
            id: id.clone(),
            name: name.clone(),
            arguments: String::new(),
            cache: None,
            signature: None,
        },
        Opening::Refusal => Block::Refusal {
            text: String::new(),
        },
        Opening::Other(_) => Block::Other(Value::Null),
    }
}

fn add(block: &mut Block, delta: &Delta) {
    match (block, delta) {
        (Block::Text { text, .. }, Delta::Text(more))
        | (Block::Thinking { text, .. }, Delta::Thinking(more))
        | (Block::Refusal { text }, Delta::Refusal(more))
        | (
            Block::ToolCall {
                arguments: text, ..
            },
            Delta::Arguments(more),
        ) => text.push_str(more),
        (
            Block::Thinking { signature, .. } | Block::ToolCall { signature, .. },
            Delta::Signature(more),
        ) => signature.get_or_insert_default().push_str(more),
        (Block::Text { annotations, .. }, Delta::Annotation(annotation)) => {
            match annotations.get_or_insert_with(|| Value::Array(Vec::new())) {
                Value::Array(known) => known.push(annotation.clone()),
                other => *other = annotation.clone(),
            }
        }
        (Block::Other(part), Delta::Annotation(whole)) => *part = whole.clone(),
        _ => {}
    }
}

/// The events of a reply that is whole already, each block in one piece.
pub fn replay(reply: &Reply) -> Vec<Event> {
    let mut events = vec![Event::Start {
        id: reply.id.clone(),
        model: reply.model.clone(),
        created: reply.created,
        fingerprint: reply.fingerprint.clone(),
    }];
    let mut logprobs = reply.logprobs.clone();
    for (index, block) in reply.blocks.iter().enumerate() {
        let Some((block, deltas)) = pieces(block, &mut logprobs) else {
            continue;
        };
        events.push(Event::Open { index, block });
        events.extend(
            deltas
                .into_iter()
                .map(|delta| Event::Delta { index, delta }),
        );
        events.push(Event::Close { index });
    }
    renumber(&mut events);
    events.push(Event::Finish {
        reason: reply.finish.clone(),
        stop_sequence: reply.stop_sequence.clone(),
    });
    if reply.usage != Usage::default() {
        events.push(Event::Usage(reply.usage));
    }
    events.push(Event::End);
    events
}

/// Blocks that no reply holds are left out; indices count on without them.
fn renumber(events: &mut [Event]) {
    let mut next = 0;
    for event in events {
        match event {
            Event::Open { index, .. } | Event::Delta { index, .. } => *index = next,
            Event::Close { index } => {
                *index = next;
                next += 1;
            }
            _ => {}
        }
    }
}

fn pieces(
    block: &Block,
    logprobs: &mut Option<Vec<TokenLogprob>>,
) -> Option<(Opening, Vec<Delta>)> {
    let said =
        |text: &str, delta: fn(String) -> Delta| (!text.is_empty()).then(|| delta(text.to_owned()));
    let mut deltas = Vec::new();
    let opening = match block {
        Block::Text {
            text, annotations, ..
        } => {
            deltas.extend(said(text, Delta::Text));
            deltas.extend(logprobs.take().map(Delta::Logprobs));
            match annotations {
                Some(Value::Array(annotations)) => {
                    deltas.extend(annotations.iter().cloned().map(Delta::Annotation));
                }
                Some(annotation) => deltas.push(Delta::Annotation(annotation.clone())),
                None => {}
            }
            Opening::Text
        }
        Block::Thinking {
            text,
            signature,
            id,
        } => {
            deltas.extend(said(text, Delta::Thinking));
            deltas.extend(signature.clone().map(Delta::Signature));
            Opening::Thinking { id: id.clone() }
        }
        Block::RedactedThinking { data, id } => Opening::RedactedThinking {
            data: data.clone(),
            id: id.clone(),
        },
        Block::ToolCall {
            id,
            name,
            arguments,
            signature,
            ..
        } => {
            deltas.extend(said(arguments, Delta::Arguments));
            deltas.extend(signature.clone().map(Delta::Signature));
            Opening::ToolCall {
                id: id.clone(),
                name: name.clone(),
            }
        }
        Block::Refusal { text } => {
            deltas.extend(said(text, Delta::Refusal));
            Opening::Refusal
        }
        Block::Other(part) => {
            deltas.push(Delta::Annotation(part.clone()));
            let kind = part.get("type").and_then(Value::as_str).unwrap_or("part");
            Opening::Other(kind.to_owned())
        }
        Block::Image { .. } | Block::ToolResult { .. } => return None,
    };
    Some((opening, deltas))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reply() -> Reply {
        Reply {
            id: Some("r".into()),
            model: Some("m".into()),
            created: Some(7),
            blocks: vec![
                Block::Thinking {
                    text: "hm".into(),
                    signature: Some("s".into()),
                    id: Some("rs_1".into()),
                },
                Block::Text {
                    text: "Hello".into(),
                    cache: None,
                    annotations: Some(json!([{"type": "url"}])),
                },
                Block::ToolCall {
                    id: "c".into(),
                    name: "f".into(),
                    arguments: "{}".into(),
                    cache: None,
                    signature: None,
                },
                Block::RedactedThinking {
                    data: "x".into(),
                    id: None,
                },
                Block::Refusal { text: "no".into() },
                Block::Other(json!({"type": "web_search_call"})),
            ],
            finish: Finish::ToolCalls,
            stop_sequence: Some("END".into()),
            usage: Usage {
                input_tokens: Some(1),
                output_tokens: Some(2),
                ..Usage::default()
            },
            logprobs: Some(vec![TokenLogprob {
                token: "Hello".into(),
                logprob: -0.5,
                bytes: None,
                top: Vec::new(),
            }]),
            fingerprint: Some("fp".into()),
            service_tier: None,
            source: Some(Dialect::Responses),
            extra: Map::new(),
        }
    }

    #[test]
    fn a_replayed_reply_gathers_to_itself() {
        let mut gatherer = Gatherer::new(Dialect::Responses);
        for event in replay(&reply()) {
            gatherer.take(&event);
        }
        assert_eq!(gatherer.into_reply(), Some(reply()));
    }

    #[test]
    fn a_stream_that_was_cut_is_no_reply() {
        let mut events = replay(&reply());
        events.pop();
        let mut gatherer = Gatherer::new(Dialect::Responses);
        for event in &events {
            gatherer.take(event);
        }
        assert_eq!(gatherer.so_far().blocks, reply().blocks);
        assert_eq!(gatherer.into_reply(), None);
    }
}
