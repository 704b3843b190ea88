//! Puts back what placeholders stand for.

use std::{borrow::Cow, collections::HashMap, fmt};

use distill_wire::{Delta, Event};
use serde_json::Value;

use super::{each_string, is_json_text};

/// No placeholder is longer: a longer name of a detector is not put back in streams.
const LONGEST: usize = 80;

/// Puts back what was taken out of a request. Its `Debug` form shows nothing of it.
#[derive(Clone)]
pub struct Restorer {
    things: HashMap<String, String>,
    longest: usize,
    /// What is held back of each block of a stream, because it may be the beginning of a placeholder.
    held: HashMap<usize, Held>,
}

#[derive(Clone)]
struct Held {
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Refusal,
    Arguments,
}

impl Kind {
    fn delta(self, text: String) -> Delta {
        match self {
            Self::Text => Delta::Text(text),
            Self::Thinking => Delta::Thinking(text),
            Self::Refusal => Delta::Refusal(text),
            Self::Arguments => Delta::Arguments(text),
        }
    }
}

impl fmt::Debug for Restorer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Restorer({} things)", self.things.len())
    }
}

impl Restorer {
    pub(super) fn new(placeholders: &[(String, String)]) -> Self {
        Self {
            longest: placeholders
                .iter()
                .map(|(placeholder, _)| placeholder.len())
                .max()
                .unwrap_or(0)
                .min(LONGEST),
            things: placeholders.iter().cloned().collect(),
            held: HashMap::new(),
        }
    }

    /// A text with its placeholders filled.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.filled(text, false)
    }

    /// `escaped`: whether the text is JSON, where what is filled in must be escaped as inside a string.
    fn filled<'a>(&self, text: &'a str, escaped: bool) -> Cow<'a, str> {
        let mut new = String::new();
        let mut from = 0;
        for (start, placeholder) in spans(text) {
            let Some(thing) = self.things.get(placeholder) else {
                continue;
            };
            new.push_str(&text[from..start]);
            if escaped {
                let written = Value::from(thing.as_str()).to_string();
                new.push_str(&written[1..written.len() - 1]);
            } else {
                new.push_str(thing);
            }
            from = start + placeholder.len();
        }
        if from == 0 {
            return Cow::Borrowed(text);
        }
        new.push_str(&text[from..]);
        Cow::Owned(new)
    }

    /// Fills the placeholders in the strings of a JSON value.
    pub fn value(&self, value: &mut Value) {
        each_string(value, &mut |name, text| {
            if let Cow::Owned(new) = self.filled(text, is_json_text(name)) {
                *text = new;
            }
        });
    }

    /// Fills the placeholders of a whole reply, in any dialect.
    pub fn body(&self, body: &[u8]) -> Vec<u8> {
        match serde_json::from_slice::<Value>(body) {
            Ok(mut value) => {
                self.value(&mut value);
                value.to_string().into_bytes()
            }
            Err(_) => match std::str::from_utf8(body) {
                Ok(text) => self.text(text).into_owned().into_bytes(),
                Err(_) => body.to_vec(),
            },
        }
    }

    /// Fills the placeholders of a stream, also those that are cut between its events. Appends what
    /// may be sent on; the end of a block brings what was held back of it.
    pub fn event(&mut self, event: Event, events: &mut Vec<Event>) {
        match event {
            Event::Delta {
                index,
                delta: Delta::Text(text),
            } => self.piece(index, Kind::Text, &text, events),
            Event::Delta {
                index,
                delta: Delta::Thinking(text),
            } => self.piece(index, Kind::Thinking, &text, events),
            Event::Delta {
                index,
                delta: Delta::Refusal(text),
            } => self.piece(index, Kind::Refusal, &text, events),
            Event::Delta {
                index,
                delta: Delta::Arguments(text),
            } => self.piece(index, Kind::Arguments, &text, events),
            Event::Close { index } => {
                self.release(index, events);
                events.push(event);
            }
            Event::Finish { .. } | Event::End | Event::Error(_) => {
                let mut open: Vec<usize> = self.held.keys().copied().collect();
                open.sort_unstable();
                for index in open {
                    self.release(index, events);
                }
                events.push(event);
            }
            other => events.push(other),
        }
    }

    fn piece(&mut self, index: usize, kind: Kind, text: &str, events: &mut Vec<Event>) {
        if self.held.get(&index).is_some_and(|held| held.kind != kind) {
            self.release(index, events);
        }
        let held = self.held.remove(&index).map(|held| held.text);
        let text = match held {
            Some(held) => held + text,
            None => text.to_owned(),
        };
        let keep = self.may_begin(&text).unwrap_or(text.len());
        let (ready, rest) = text.split_at(keep);
        if !rest.is_empty() {
            let text = rest.to_owned();
            self.held.insert(index, Held { text, kind });
        }
        if !ready.is_empty() {
            let text = self.filled(ready, kind == Kind::Arguments).into_owned();
            events.push(Event::Delta {
                index,
                delta: kind.delta(text),
            });
        }
    }

    fn release(&mut self, index: usize, events: &mut Vec<Event>) {
        if let Some(Held { text, kind }) = self.held.remove(&index) {
            events.push(Event::Delta {
                index,
                delta: kind.delta(text),
            });
        }
    }

    /// Where a placeholder may have begun that is not whole yet.
    fn may_begin(&self, text: &str) -> Option<usize> {
        let start = text.rfind('<')?;
        let begun = &text[start..];
        let may = begun.len() < self.longest
            && self
                .things
                .keys()
                .any(|placeholder| placeholder != begun && placeholder.starts_with(begun));
        may.then_some(start)
    }
}

/// What looks like a placeholder in a text.
pub(super) fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    spans(text).map(|(_, placeholder)| placeholder)
}

pub(super) fn spans(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices('<').filter_map(|(start, _)| {
        let rest = &text[start + 1..];
        let length = rest.bytes().take(LONGEST).position(|byte| {
            !(byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'))
        })?;
        (length > 0 && rest.as_bytes()[length] == b'>')
            .then(|| (start, &text[start..start + length + 2]))
    })
}
