//! Reads the vendor's streams.

use serde_json::{Value, json};

use super::{
    reply::{error_reply, finish, read_logprob, read_usage},
    tools,
};
use crate::{Delta, Event, Malformed, Opening, ReadStream, sse::Frame};

/// Where a block stands in the vendor's stream: the item, and the part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    output: u64,
    part: Option<u64>,
}

struct OpenBlock {
    place: Place,
    kind: Kind,
    /// Whether anything was said of it.
    said: bool,
    closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Refusal,
    Thinking,
    Function,
    /// Its free text becomes the one string of a function's arguments.
    Custom,
    Other,
}

#[derive(Default)]
pub(super) struct Reader {
    blocks: Vec<OpenBlock>,
    calls: bool,
    whole: bool,
}

fn text<'a>(event: &'a Value, name: &str) -> &'a str {
    event.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn count(event: &Value, name: &str) -> u64 {
    event.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// A piece of a JSON string without its quotes.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

impl Reader {
    fn find(&self, place: Place) -> Option<usize> {
        self.blocks.iter().rposition(|block| block.place == place)
    }

    fn open(&mut self, place: Place, kind: Kind, block: Opening, events: &mut Vec<Event>) -> usize {
        let index = self.blocks.len();
        self.blocks.push(OpenBlock {
            place,
            kind,
            said: false,
            closed: false,
        });
        self.calls |= matches!(block, Opening::ToolCall { .. });
        events.push(Event::Open { index, block });
        index
    }

    fn say(&mut self, index: usize, delta: Delta, events: &mut Vec<Event>) {
        self.blocks[index].said = true;
        events.push(Event::Delta { index, delta });
    }

    fn close(&mut self, index: usize, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.blocks[index].closed, true) {
            events.push(Event::Close { index });
        }
    }

    /// The text block of a message's part, opened where the vendor left its opening out.
    fn part(&mut self, event: &Value, kind: Kind, events: &mut Vec<Event>) -> usize {
        let place = Place {
            output: count(event, "output_index"),
            part: Some(count(event, "content_index")),
        };
        let opening = match kind {
            Kind::Refusal => Opening::Refusal,
            _ => Opening::Text,
        };
        match self.find(place) {
            Some(index) => index,
            None => self.open(place, kind, opening, events),
        }
    }

    fn item_place(event: &Value) -> Place {
        Place {
            output: count(event, "output_index"),
            part: None,
        }
    }

    fn item_added(&mut self, event: &Value, events: &mut Vec<Event>) {
        let Some(item) = event.get("item") else {
            return;
        };
        let place = Self::item_place(event);
        let kind = text(item, "type");
        let (kind, block) = match kind {
            // Their blocks open with what they say: a reasoning item may say nothing.
            "message" | "reasoning" => return,
            "function_call" => (Kind::Function, call(item, text(item, "name"))),
            "custom_tool_call" => (Kind::Custom, call(item, text(item, "name"))),
            "local_shell_call" => (Kind::Function, call(item, "local_shell")),
            other => (Kind::Other, Opening::Other(other.to_owned())),
        };
        self.open(place, kind, block, events);
    }

    fn thinking(&mut self, event: &Value, events: &mut Vec<Event>) {
        let place = Self::item_place(event);
        let index = if let Some(index) = self.find(place) {
            index
        } else {
            let id = Some(text(event, "item_id").to_owned()).filter(|id| !id.is_empty());
            self.open(place, Kind::Thinking, Opening::Thinking { id }, events)
        };
        self.say(
            index,
            Delta::Thinking(text(event, "delta").to_owned()),
            events,
        );
    }

    fn arguments(&mut self, event: &Value, events: &mut Vec<Event>) -> Result<(), Malformed> {
        let index = self
            .find(Self::item_place(event))
            .ok_or(Malformed::OutOfOrder(
                "arguments of a call that was not opened",
            ))?;
        let delta = text(event, "delta");
        let piece = match self.blocks[index].kind {
            Kind::Custom if self.blocks[index].said => escaped(delta),
            Kind::Custom => format!("{{\"input\":\"{}", escaped(delta)),
            _ => delta.to_owned(),
        };
        self.say(index, Delta::Arguments(piece), events);
        Ok(())
    }

    fn item_done(&mut self, event: &Value, events: &mut Vec<Event>) {
        let Some(item) = event.get("item") else {
            return;
        };
        match text(item, "type") {
            "message" => self.message_done(event, item, events),
            "reasoning" => self.reasoning_done(event, item, events),
            _ => self.call_done(event, item, events),
        }
    }

    /// Says what the vendor has not said piece by piece.
    fn message_done(&mut self, event: &Value, item: &Value, events: &mut Vec<Event>) {
        let output = count(event, "output_index");
        let parts = item.get("content").and_then(Value::as_array);
        for (number, part) in (0u64..).zip(parts.into_iter().flatten()) {
            let (kind, words) = match text(part, "type") {
                "refusal" => (Kind::Refusal, text(part, "refusal")),
                _ => (Kind::Text, text(part, "text")),
            };
            let place = json!({"output_index": output, "content_index": number});
            let index = self.part(&place, kind, events);
            if !self.blocks[index].said && !words.is_empty() {
                let delta = match kind {
                    Kind::Refusal => Delta::Refusal(words.to_owned()),
                    _ => Delta::Text(words.to_owned()),
                };
                self.say(index, delta, events);
            }
            self.close(index, events);
        }
    }

    fn reasoning_done(&mut self, event: &Value, item: &Value, events: &mut Vec<Event>) {
        let place = Self::item_place(event);
        let id = Some(text(item, "id").to_owned()).filter(|id| !id.is_empty());
        let proof = text(item, "encrypted_content");
        let index = if let Some(index) = self.find(place) {
            index
        } else {
            let words = ["content", "summary"]
                .iter()
                .filter_map(|name| item.get(*name)?.as_array())
                .flatten()
                .map(|part| text(part, "text"))
                .filter(|words| !words.is_empty())
                .collect::<Vec<_>>()
                .join("\n\n");
            if words.is_empty() {
                if !proof.is_empty() {
                    let data = proof.to_owned();
                    let block = Opening::RedactedThinking { data, id };
                    let index = self.open(place, Kind::Other, block, events);
                    self.close(index, events);
                }
                return;
            }
            let index = self.open(place, Kind::Thinking, Opening::Thinking { id }, events);
            self.say(index, Delta::Thinking(words), events);
            index
        };
        if !proof.is_empty() && !self.blocks[index].closed {
            self.say(index, Delta::Signature(proof.to_owned()), events);
        }
        self.close(index, events);
    }

    fn call_done(&mut self, event: &Value, item: &Value, events: &mut Vec<Event>) {
        let place = Self::item_place(event);
        if self.find(place).is_none() {
            self.item_added(event, events);
        }
        let Some(index) = self.find(place) else {
            return;
        };
        let OpenBlock {
            kind, said, closed, ..
        } = self.blocks[index];
        if closed {
            return;
        }
        let rest = match (kind, said) {
            (Kind::Custom, true) => Some("\"}".to_owned()),
            (Kind::Custom, false) => Some(tools::arguments_of_input(text(item, "input"))),
            (Kind::Function, false) => match item.get("action") {
                Some(action) => Some(action.to_string()),
                None => Some(text(item, "arguments").to_owned()),
            },
            _ => None,
        };
        if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
            self.say(index, Delta::Arguments(rest), events);
        }
        self.close(index, events);
    }

    fn ended(&mut self, event: &Value, events: &mut Vec<Event>) {
        let response = event.get("response").unwrap_or(&Value::Null);
        for index in 0..self.blocks.len() {
            self.close(index, events);
        }
        events.push(Event::Finish {
            reason: finish(
                Some(text(response, "status")).filter(|status| !status.is_empty()),
                response.get("incomplete_details"),
                self.calls,
            ),
            stop_sequence: None,
        });
        if let Some(usage) = response.get("usage").filter(|usage| usage.is_object()) {
            events.push(Event::Usage(read_usage(usage)));
        }
        events.push(Event::End);
        self.whole = true;
    }
}

fn call(item: &Value, name: &str) -> Opening {
    let id = match text(item, "call_id") {
        "" => text(item, "id"),
        id => id,
    };
    let namespace = Some(text(item, "namespace")).filter(|namespace| !namespace.is_empty());
    Opening::ToolCall {
        id: id.to_owned(),
        name: tools::flat(namespace, name),
    }
}

impl ReadStream for Reader {
    fn read(&mut self, frame: &Frame, events: &mut Vec<Event>) -> Result<(), Malformed> {
        // Some servers of this dialect end as chat completions do.
        if frame.data == "[DONE]" {
            return Ok(());
        }
        let event: Value = serde_json::from_str(&frame.data)
            .map_err(|error| Malformed::NotJson(error.to_string()))?;
        let kind = event
            .get("type")
            .and_then(Value::as_str)
            .or(frame.event.as_deref());
        match kind {
            Some("response.created") => {
                let response = event
                    .get("response")
                    .ok_or(Malformed::Missing("response"))?;
                let some = |name: &str| {
                    Some(text(response, name).to_owned()).filter(|text| !text.is_empty())
                };
                events.push(Event::Start {
                    id: some("id"),
                    model: some("model"),
                    created: response
                        .get("created_at")
                        .and_then(Value::as_f64)
                        .map(|created| created as i64),
                    fingerprint: None,
                });
            }
            Some("response.output_item.added") => self.item_added(&event, events),
            Some("response.content_part.added") => {
                let part = event.get("part").unwrap_or(&Value::Null);
                match text(part, "type") {
                    "output_text" => {
                        self.part(&event, Kind::Text, events);
                    }
                    "refusal" => {
                        self.part(&event, Kind::Refusal, events);
                    }
                    _ => {}
                }
            }
            Some("response.output_text.delta") => {
                let index = self.part(&event, Kind::Text, events);
                let words = text(&event, "delta");
                if !words.is_empty() {
                    self.say(index, Delta::Text(words.to_owned()), events);
                }
                if let Some(list) = event.get("logprobs").and_then(Value::as_array)
                    && !list.is_empty()
                {
                    let logprobs = list.iter().filter_map(read_logprob).collect();
                    self.say(index, Delta::Logprobs(logprobs), events);
                }
            }
            Some("response.refusal.delta") => {
                let index = self.part(&event, Kind::Refusal, events);
                let words = text(&event, "delta").to_owned();
                self.say(index, Delta::Refusal(words), events);
            }
            Some("response.output_text.annotation.added") => {
                let index = self.part(&event, Kind::Text, events);
                let annotation = event.get("annotation").cloned().unwrap_or_default();
                events.push(Event::Delta {
                    index,
                    delta: Delta::Annotation(annotation),
                });
            }
            Some("response.reasoning_summary_part.added") if count(&event, "summary_index") > 0 => {
                let mut event = event;
                event["delta"] = "\n\n".into();
                self.thinking(&event, events);
            }
            Some("response.reasoning_summary_text.delta" | "response.reasoning_text.delta") => {
                self.thinking(&event, events);
            }
            Some(
                "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta",
            ) => self.arguments(&event, events)?,
            Some("response.output_item.done") => self.item_done(&event, events),
            Some("response.completed" | "response.incomplete") => self.ended(&event, events),
            Some("response.failed") => {
                let error = event.pointer("/response/error").unwrap_or(&Value::Null);
                events.push(Event::Error(error_reply(error)));
            }
            Some("error") => {
                // Some servers put the error in an object of its own.
                let error = event.get("error").filter(|error| error.is_object());
                events.push(Event::Error(error_reply(error.unwrap_or(&event))));
            }
            Some("keepalive") => events.push(Event::Ping),
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
