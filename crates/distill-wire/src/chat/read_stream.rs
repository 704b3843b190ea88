//! A vendor's stream to events.

use serde_json::Value;

use super::{
    chunk::{CallDelta, Choice, ChoiceDelta, Chunk, Content, FunctionDelta},
    failure,
    reply::{read_finish, read_logprobs},
    thinking, usage,
};
use crate::{Delta, Event, Finish, Malformed, Opening, ReadStream, sse::Frame};

/// Reads one stream. The first choice counts; others of the same stream are left to callers who read
/// the bytes themselves.
#[derive(Default)]
pub(super) struct Reader {
    begun: bool,
    /// How many blocks were opened.
    opened: usize,
    /// The block of text, thinking or refusal that is being written.
    current: Option<(Kind, usize)>,
    calls: Vec<Call>,
    progress: Progress,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Running,
    /// The vendor gave its finish reason.
    Finished,
    /// The end was seen: nothing counts any more.
    Whole,
    /// An error was seen: nothing counts any more.
    Failed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Refusal,
}

/// A tool call whose arguments are being written.
struct Call {
    /// The vendor's index; some give none.
    place: Option<u64>,
    id: String,
    index: usize,
}

impl ReadStream for Reader {
    fn read(&mut self, frame: &Frame, events: &mut Vec<Event>) -> Result<(), Malformed> {
        let data = frame.data.trim();
        if matches!(self.progress, Progress::Whole | Progress::Failed) || data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            if self.progress != Progress::Finished {
                return Err(Malformed::Missing("finish reason"));
            }
            self.finish(events);
            return Ok(());
        }
        let chunk: Chunk =
            serde_json::from_str(data).map_err(|error| Malformed::NotJson(error.to_string()))?;
        if let Some(error) = &chunk.error {
            self.progress = Progress::Failed;
            events.push(Event::Error(failure::read(error)));
            return Ok(());
        }
        self.chunk(chunk, events)
    }

    /// The finish reason is the vendor's word that nothing is missing: some servers close the
    /// connection after it without `[DONE]`.
    fn is_whole(&self) -> bool {
        matches!(self.progress, Progress::Finished | Progress::Whole)
    }

    fn finish(&mut self, events: &mut Vec<Event>) {
        if self.progress == Progress::Finished {
            self.progress = Progress::Whole;
            events.push(Event::End);
        }
    }
}

impl Reader {
    fn chunk(&mut self, mut chunk: Chunk<'_>, events: &mut Vec<Event>) -> Result<(), Malformed> {
        let choices = chunk.choices.take().unwrap_or_default();
        let reported = chunk
            .usage
            .take()
            .filter(Value::is_object)
            .or_else(|| chunk.x_groq.take().and_then(|groq| groq.usage));
        // Azure begins with a chunk about its filters that names no model.
        if !self.begun && (!choices.is_empty() || reported.is_some()) {
            self.begun = true;
            let said = |text: Option<std::borrow::Cow<'_, str>>| {
                text.filter(|text| !text.is_empty())
                    .map(std::borrow::Cow::into_owned)
            };
            events.push(Event::Start {
                id: said(chunk.id),
                model: said(chunk.model),
                created: chunk.created.map(|at| at as i64),
                fingerprint: said(chunk.system_fingerprint),
            });
        }
        for choice in choices {
            if choice.index.unwrap_or_default() == 0 {
                self.choice(choice, events)?;
            }
        }
        if let Some(reported) = reported {
            events.push(Event::Usage(usage::read(&reported)));
        }
        Ok(())
    }

    fn choice(&mut self, choice: Choice<'_>, events: &mut Vec<Event>) -> Result<(), Malformed> {
        if let Some(delta) = choice.delta {
            self.delta(delta, events)?;
        }
        let tokens = choice.logprobs.as_ref().and_then(read_logprobs);
        if let Some(tokens) = tokens.filter(|tokens| !tokens.is_empty()) {
            let index = self.block(Kind::Text, events);
            events.push(Event::Delta {
                index,
                delta: Delta::Logprobs(tokens),
            });
        }
        let reason = choice.finish_reason.filter(|reason| !reason.is_empty());
        if let Some(reason) = reason
            && self.progress == Progress::Running
        {
            self.progress = Progress::Finished;
            self.close(events);
            let calls = !self.calls.is_empty();
            for call in self.calls.drain(..) {
                events.push(Event::Close { index: call.index });
            }
            let mut reason = read_finish(&reason);
            if calls && reason == Finish::Stop {
                reason = Finish::ToolCalls;
            }
            events.push(Event::Finish {
                reason,
                stop_sequence: None,
            });
        }
        Ok(())
    }

    fn delta(&mut self, delta: ChoiceDelta<'_>, events: &mut Vec<Event>) -> Result<(), Malformed> {
        let speaks = !matches!(&delta.content, Content::None)
            && !matches!(&delta.content, Content::Text(text) if text.is_empty());
        let calls = delta
            .tool_calls
            .as_ref()
            .is_some_and(|calls| !calls.is_empty());
        if self.progress == Progress::Finished && (speaks || calls) {
            return Err(Malformed::OutOfOrder("content after the finish reason"));
        }
        let details = delta.reasoning_details.unwrap_or_default();
        let thought = delta.reasoning_content.or(delta.reasoning);
        if details.is_empty() {
            self.say(Kind::Thinking, thought.as_deref(), events);
        } else {
            for detail in &details {
                self.detail(detail, events);
            }
        }
        match &delta.content {
            Content::None => {}
            Content::Text(text) => self.say(Kind::Text, Some(text), events),
            Content::Parts(parts) => {
                for part in parts {
                    if part.get("type").is_some_and(|kind| kind == "thinking") {
                        let text = thinking::text_of(part.get("thinking"));
                        self.say(Kind::Thinking, Some(&text), events);
                    } else {
                        let text = part.get("text").and_then(Value::as_str);
                        self.say(Kind::Text, text, events);
                    }
                }
            }
        }
        self.say(Kind::Refusal, delta.refusal.as_deref(), events);
        for annotation in delta.annotations.unwrap_or_default() {
            let index = self.block(Kind::Text, events);
            events.push(Event::Delta {
                index,
                delta: Delta::Annotation(annotation),
            });
        }
        for call in delta.tool_calls.unwrap_or_default() {
            self.call(call, events)?;
        }
        if let Some(function) = delta.function_call {
            let id = function.name.clone();
            let call = CallDelta {
                index: Some(0),
                id,
                function: Some(function),
                extra_content: None,
            };
            self.call(call, events)?;
        }
        Ok(())
    }

    /// A piece of text of that kind, if there is one.
    fn say(&mut self, kind: Kind, piece: Option<&str>, events: &mut Vec<Event>) {
        let Some(piece) = piece.filter(|piece| !piece.is_empty()) else {
            return;
        };
        let index = self.block(kind, events);
        let piece = piece.to_owned();
        let delta = match kind {
            Kind::Text => Delta::Text(piece),
            Kind::Thinking => Delta::Thinking(piece),
            Kind::Refusal => Delta::Refusal(piece),
        };
        events.push(Event::Delta { index, delta });
    }

    fn detail(&mut self, detail: &Value, events: &mut Vec<Event>) {
        let text = |name: &str| detail.get(name).and_then(Value::as_str);
        let kind = text("type").unwrap_or_default();
        if kind == "reasoning.encrypted" {
            let Some(data) = text("data").filter(|data| !data.is_empty()) else {
                return;
            };
            self.close(events);
            let index = self.next();
            events.push(Event::Open {
                index,
                block: Opening::RedactedThinking {
                    data: data.to_owned(),
                    id: text("id").map(str::to_owned),
                },
            });
            events.push(Event::Close { index });
            return;
        }
        self.say(
            Kind::Thinking,
            text("text").or_else(|| text("summary")),
            events,
        );
        if let Some(signature) = text("signature").filter(|signature| !signature.is_empty()) {
            let index = self.block(Kind::Thinking, events);
            events.push(Event::Delta {
                index,
                delta: Delta::Signature(signature.to_owned()),
            });
            // What is thought after a proof is another block.
            self.close(events);
        }
    }

    fn next(&mut self) -> usize {
        self.opened += 1;
        self.opened - 1
    }

    /// The open block of that kind, opened if there is none.
    fn block(&mut self, kind: Kind, events: &mut Vec<Event>) -> usize {
        if let Some((open, index)) = self.current
            && open == kind
        {
            return index;
        }
        self.close(events);
        let index = self.next();
        self.current = Some((kind, index));
        events.push(Event::Open {
            index,
            block: match kind {
                Kind::Text => Opening::Text,
                Kind::Thinking => Opening::Thinking { id: None },
                Kind::Refusal => Opening::Refusal,
            },
        });
        index
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        if let Some((_, index)) = self.current.take() {
            events.push(Event::Close { index });
        }
    }

    fn call(&mut self, call: CallDelta<'_>, events: &mut Vec<Event>) -> Result<(), Malformed> {
        let id = call.id.as_deref().filter(|id| !id.is_empty());
        let function = call.function.unwrap_or(FunctionDelta {
            name: None,
            arguments: None,
        });
        // Most give an index; Mistral's older answers give none, and some servers give every call the
        // same: a name that is new begins a new call.
        let known = self.calls.iter().rposition(|known| match (id, call.index) {
            (Some(id), _) => known.id == id && (call.index.is_none() || known.place == call.index),
            (None, Some(_)) => known.place == call.index,
            (None, None) => true,
        });
        let at = match known {
            Some(at) if id.is_some() || function.name.is_none() => at,
            Some(at) if function.name.as_deref().is_some_and(str::is_empty) => at,
            _ => {
                let name = function.name.as_deref().filter(|name| !name.is_empty());
                let name =
                    name.ok_or(Malformed::OutOfOrder("a tool call that nothing has opened"))?;
                self.open_call(call.index, id, name, events)
            }
        };
        let index = self.calls[at].index;
        let signature = call
            .extra_content
            .as_ref()
            .and_then(|extra| extra.pointer("/google/thought_signature"))
            .and_then(Value::as_str);
        if let Some(signature) = signature {
            events.push(Event::Delta {
                index,
                delta: Delta::Signature(signature.to_owned()),
            });
        }
        if let Some(arguments) = function.arguments.filter(|piece| !piece.is_empty()) {
            events.push(Event::Delta {
                index,
                delta: Delta::Arguments(arguments.into_owned()),
            });
        }
        Ok(())
    }

    fn open_call(
        &mut self,
        place: Option<u64>,
        id: Option<&str>,
        name: &str,
        events: &mut Vec<Event>,
    ) -> usize {
        self.close(events);
        let index = self.next();
        let id = match id {
            Some(id) => id.to_owned(),
            // The result must be able to name its call.
            None => format!("call_{index}_{name}"),
        };
        events.push(Event::Open {
            index,
            block: Opening::ToolCall {
                id: id.clone(),
                name: name.to_owned(),
            },
        });
        self.calls.push(Call { place, id, index });
        self.calls.len() - 1
    }
}
