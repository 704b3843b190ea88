//! Takes personal data and secrets out of text, and puts them back into replies.
//!
//! Each thing that is found becomes a placeholder such as `<EMAIL_1>`: the same thing the same
//! placeholder, in the order in which things first occur, so that a conversation that grows turn by
//! turn keeps its placeholders. Nothing is random: the same request gives the same result.
//!
//! **Start reading** at [`Redactor`]; [`Restorer`] is the way back.

mod detect;
mod restore;
mod stream;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use distill_wire::{
    Block, Dialect, Gatherer, ReplyContext, Request, TurnRole,
    sse::{Decoder, Frame},
};
use serde_json::Value;

use crate::config::{Detector, RedactionConfig};

pub use restore::Restorer;
pub use stream::StreamRestorer;

/// A stream that is stored is put together first; a longer event than this is no model's.
const LARGEST_EVENT: usize = 8 << 20;

/// How often a text is looked at again.
const PASSES: usize = 8;

/// Finds what is to be taken out.
#[derive(Debug, Clone)]
pub struct Redactor {
    detectors: Vec<Detector>,
}

/// What was taken out of one request: its `Debug` form shows how much, not what.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Redacted {
    /// What stands for what, in the order of finding.
    placeholders: Vec<(String, String)>,
    /// The placeholder of each thing, by the kind and the thing.
    known: HashMap<(String, String), String>,
    /// Placeholders that the text held of itself: they stand for nothing.
    taken: BTreeSet<String>,
    counts: BTreeMap<String, u64>,
    /// The last number of each kind.
    numbers: HashMap<String, usize>,
}

impl fmt::Debug for Redacted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Redacted")
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl Redacted {
    /// How often each kind was found, by its name in the configuration.
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    pub fn is_empty(&self) -> bool {
        self.placeholders.is_empty()
    }

    /// What puts the things back; `None` where nothing was taken out.
    pub fn restorer(&self) -> Option<Restorer> {
        (!self.is_empty()).then(|| Restorer::new(&self.placeholders))
    }

    fn placeholder(&mut self, kind: &str, found: &str) -> String {
        *self.counts.entry(kind.to_owned()).or_default() += 1;
        let key = (kind.to_owned(), found.to_owned());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let name = kind.to_ascii_uppercase();
        let number = self.numbers.entry(kind.to_owned()).or_default();
        let placeholder = loop {
            *number += 1;
            let placeholder = format!("<{name}_{number}>");
            if !self.taken.contains(&placeholder) {
                break placeholder;
            }
        };
        self.known.insert(key, placeholder.clone());
        self.placeholders
            .push((placeholder.clone(), found.to_owned()));
        placeholder
    }
}

impl Redactor {
    pub fn new(config: &RedactionConfig) -> Self {
        Self {
            detectors: config.detectors.clone(),
        }
    }

    /// Takes everything that is found out of a request: instructions, turns, calls and their results,
    /// and what else the caller says in words. Tools' definitions and media stay as they are.
    pub fn redact(&self, request: &mut Request) -> Redacted {
        let mut redacted = Redacted {
            taken: written_by_people(request),
            ..Redacted::default()
        };
        each_text(request, &mut |text, form| {
            let new = match form {
                Form::Plain => self.text(text, &mut redacted),
                Form::Json => self.json_text(text, &mut redacted),
            };
            if let Some(new) = new {
                *text = new;
            }
        });
        redacted
    }

    /// The text without what is found; `None` where nothing is.
    pub fn text(&self, text: &str, redacted: &mut Redacted) -> Option<String> {
        let mut new = self.once(text, redacted)?;
        // What stood beside something that was found may be seen only now.
        for _ in 0..PASSES {
            match self.once(&new, redacted) {
                Some(next) => new = next,
                None => break,
            }
        }
        Some(new)
    }

    fn once(&self, text: &str, redacted: &mut Redacted) -> Option<String> {
        let found = detect::find(text, &self.detectors);
        if found.is_empty() {
            return None;
        }
        let mut new = String::with_capacity(text.len());
        let mut from = 0;
        for found in found {
            new.push_str(&text[from..found.start]);
            new.push_str(&redacted.placeholder(found.kind, &text[found.start..found.end]));
            from = found.end;
        }
        new.push_str(&text[from..]);
        Some(new)
    }

    /// The same for JSON text, of which the strings are looked at as they read, not as they are
    /// escaped.
    fn json_text(&self, text: &str, redacted: &mut Redacted) -> Option<String> {
        let Ok(mut value) = serde_json::from_str::<Value>(text) else {
            return self.text(text, redacted);
        };
        self.value(&mut value, redacted).then(|| value.to_string())
    }

    /// Takes everything that is found out of the strings of a JSON value; whether anything was.
    pub fn value(&self, value: &mut Value, redacted: &mut Redacted) -> bool {
        let mut changed = false;
        each_string(value, &mut |name, text| {
            let new = if is_json_text(name) {
                self.json_text(text, redacted)
            } else {
                self.text(text, redacted)
            };
            if let Some(new) = new {
                *text = new;
                changed = true;
            }
        });
        changed
    }

    /// A body for the ledger: the strings of JSON, and what is no JSON as text. A stream is put
    /// together to a whole reply first, because what is cut into pieces cannot be found.
    pub fn stored(&self, dialect: Dialect, body: &[u8]) -> Vec<u8> {
        let mut redacted = Redacted::default();
        if let Ok(mut value) = serde_json::from_slice::<Value>(body) {
            self.value(&mut value, &mut redacted);
            return value.to_string().into_bytes();
        }
        if let Some(whole) = gathered(dialect, body) {
            return self.stored(dialect, &whole);
        }
        let text = String::from_utf8_lossy(body);
        self.text(&text, &mut redacted)
            .unwrap_or_else(|| text.into_owned())
            .into_bytes()
    }
}

/// The reply that a stream brought, as a body of its dialect.
fn gathered(dialect: Dialect, body: &[u8]) -> Option<Vec<u8>> {
    let (mut decoder, mut frames) = (Decoder::new(LARGEST_EVENT), Vec::<Frame>::new());
    decoder.push(body, &mut frames).ok()?;
    let (mut reader, mut gatherer) = (dialect.stream_reader(), Gatherer::new(dialect));
    let mut events = Vec::new();
    for frame in &frames {
        reader.read(frame, &mut events).ok()?;
    }
    reader.finish(&mut events);
    if events.is_empty() {
        return None;
    }
    for event in &events {
        gatherer.take(event);
    }
    let context = ReplyContext {
        source: Some(dialect),
        ..ReplyContext::default()
    };
    Some(dialect.write_reply(gatherer.so_far(), &context))
}

/// What looks like a placeholder and is none. A model's own turns hold real ones where nothing is put
/// back: they stand for what they stood for when it wrote them.
fn written_by_people(request: &mut Request) -> BTreeSet<String> {
    let mut taken = BTreeSet::new();
    let mut note = |text: &mut String, _| {
        taken.extend(restore::placeholders(text).map(str::to_owned));
    };
    for block in &mut request.system {
        each_block(block, &mut note);
    }
    for turn in &mut request.turns {
        if turn.role != TurnRole::Assistant {
            turn.blocks
                .iter_mut()
                .for_each(|block| each_block(block, &mut note));
        }
    }
    taken
}

/// How a text of a request is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    /// JSON: the arguments of a call.
    Json,
}

fn each_text(request: &mut Request, visit: &mut dyn FnMut(&mut String, Form)) {
    for block in &mut request.system {
        each_block(block, visit);
    }
    for turn in &mut request.turns {
        if let Some(name) = &mut turn.name {
            visit(name, Form::Plain);
        }
        for block in &mut turn.blocks {
            each_block(block, visit);
        }
        each_member(turn.extra.values_mut(), visit);
    }
    for name in [&mut request.user, &mut request.prompt_cache_key]
        .into_iter()
        .flatten()
    {
        visit(name, Form::Plain);
    }
    each_member(request.metadata.iter_mut(), visit);
    each_member(request.extra.values_mut(), visit);
}

fn each_member<'a>(
    members: impl Iterator<Item = &'a mut Value>,
    visit: &mut dyn FnMut(&mut String, Form),
) {
    for member in members {
        each_string(member, &mut |name, text| {
            let form = if is_json_text(name) {
                Form::Json
            } else {
                Form::Plain
            };
            visit(text, form);
        });
    }
}

fn each_block(block: &mut Block, visit: &mut dyn FnMut(&mut String, Form)) {
    match block {
        Block::Text {
            text, annotations, ..
        } => {
            visit(text, Form::Plain);
            each_member(annotations.iter_mut(), visit);
        }
        Block::Thinking { text, .. } | Block::Refusal { text } => visit(text, Form::Plain),
        Block::ToolCall { arguments, .. } => visit(arguments, Form::Json),
        Block::ToolResult { blocks, .. } => {
            for block in blocks {
                each_block(block, visit);
            }
        }
        Block::Other(part) => each_member(std::iter::once(part), visit),
        // Media, and what only its vendor can read.
        Block::Image { .. } | Block::RedactedThinking { .. } => {}
    }
}

/// Fields that hold media or what only a vendor can read, where their text looks like it.
const OPAQUE: [&str; 6] = [
    "data",
    "file_data",
    "encrypted_content",
    "signature",
    "thoughtSignature",
    "thought_signature",
];

/// Bytes of the shortest text that is taken for media or a proof. Whatever is looked for is shorter or
/// has other letters, but for keys, which nobody keeps in such a field.
const SHORTEST_OPAQUE: usize = 40;

/// Whether a text is media, or a proof that only a vendor can read: a name alone does not tell, for
/// plain documents and arguments of calls have fields of these names too.
fn is_opaque(name: &str, text: &str) -> bool {
    let encoded = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte))
    };
    if let Some((media_type, data)) = text
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(";base64,"))
    {
        return !media_type.contains(char::is_whitespace) && encoded(data);
    }
    OPAQUE.contains(&name)
        && (text.starts_with(distill_wire::SEAL) || text.len() >= SHORTEST_OPAQUE && encoded(text))
}

/// Each string below a value with the name of its field; names of fields themselves are left alone.
fn each_string(value: &mut Value, visit: &mut dyn FnMut(&str, &mut String)) {
    // Bodies come from a parser that bounds their depth, so this ends.
    fn go(name: &str, value: &mut Value, visit: &mut dyn FnMut(&str, &mut String)) {
        match value {
            Value::String(text) if !is_opaque(name, text) => visit(name, text),
            Value::Array(items) => items.iter_mut().for_each(|item| go(name, item, visit)),
            Value::Object(map) => {
                for (name, member) in map {
                    go(name, member, visit);
                }
            }
            _ => {}
        }
    }
    go("", value, visit);
}

/// Fields whose text is JSON itself.
fn is_json_text(name: &str) -> bool {
    matches!(name, "arguments" | "partial_json")
}

#[cfg(test)]
mod tests;
