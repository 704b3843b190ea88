//! The user's YAML as a tree in which every node knows its place.
//!
//! serde stops at the first thing that does not fit a struct. Reading a generic tree first, and
//! fitting it by hand, lets all findings be reported together.

use std::{fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

use super::finding::{Code, Finding, SourceText};

/// A spec is a page or two of text; what is far beyond that is a mistake or an attack.
pub const MAX_SPEC_BYTES: usize = 1 << 20;
const MAX_NODES: usize = 50_000;
const MAX_DEPTH: usize = 32;
const MAX_ALIASES: usize = 256;
const MAX_REPLAYED: usize = 20_000;

/// A value with the bytes of the text that it stands in.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub value: NodeValue,
    pub span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum NodeValue {
    Null,
    Boolean(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_span: Range<usize>,
    pub node: Node,
}

impl Node {
    /// What the value is, in the words of a message.
    pub fn kind(&self) -> &'static str {
        match self.value {
            NodeValue::Null => "nothing",
            NodeValue::Boolean(_) => "true or false",
            NodeValue::Integer(_) | NodeValue::Float(_) => "a number",
            NodeValue::Text(_) => "text",
            NodeValue::List(_) => "a list",
            NodeValue::Map(_) => "a map",
        }
    }

    /// The same value without places.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.value {
            NodeValue::Null => Value::Null,
            NodeValue::Boolean(value) => Value::Bool(*value),
            NodeValue::Integer(value) => i64::try_from(*value)
                .map(Value::from)
                .or_else(|_| u64::try_from(*value).map(Value::from))
                .unwrap_or_else(|_| Value::from(*value as f64)),
            NodeValue::Float(value) => Value::from(*value),
            NodeValue::Text(text) => Value::String(text.clone()),
            NodeValue::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            NodeValue::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.node.to_json()))
                    .collect(),
            ),
        }
    }

    /// The key's place at the end of a dotted path, as far as the path can be followed.
    pub(super) fn find(&self, path: &str) -> Option<Range<usize>> {
        let NodeValue::Map(entries) = &self.value else {
            return None;
        };
        // A key may itself hold dots, so the longest key that fits is taken.
        let entry = entries
            .iter()
            .filter(|entry| {
                path.strip_prefix(entry.key.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
            .max_by_key(|entry| entry.key.len())?;
        let rest = path[entry.key.len()..].trim_start_matches('.');
        Some(
            entry
                .node
                .find(rest)
                .unwrap_or_else(|| entry.key_span.clone()),
        )
    }
}

/// Reads the text into a tree, within limits that hostile input meets quickly.
pub(super) fn read(source: &SourceText) -> Result<Node, Finding> {
    if source.text.len() > MAX_SPEC_BYTES {
        return Err(source
            .finding(
                Code::Limit,
                0..0,
                format!(
                    "the file has {} bytes; {} has at most {MAX_SPEC_BYTES}",
                    source.text.len(),
                    source.document.words()
                ),
            )
            .label("read no further")
            .hint(format!(
                "is this {}, or a data file? {}",
                source.document.words(),
                source.document.beginning()
            )));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_recorded_anchor_events: MAX_REPLAYED,
            max_documents: 1,
            max_merge_keys: 16,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
            max_replay_stack_depth: 8,
            max_alias_expansions_per_anchor: 64,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Spanned<NodeValue>>(&source.text, options)
        .map(Node::from)
        .map_err(|error| refused(source, &error))
}

fn refused(source: &SourceText, error: &serde_saphyr::Error) -> Finding {
    let span = error
        .location()
        .map_or(0..0, |location| match location.span().byte_offset() {
            Some(_) => span_of(location),
            None => source.at(location.line() as usize, location.column() as usize),
        });
    let words = plain_words(error);
    // The parser wraps its errors and reports some limits as free text, so the words decide.
    let limit = ["budget breached", "limit exceeded", "alias", "recursi"];
    let (code, message, label, hint) = if limit.iter().any(|word| words.contains(word)) {
        (
            Code::Limit,
            format!(
                "the file nests or repeats more than {} may ({words})",
                source.document.words()
            ),
            "stopped reading here",
            "write values out instead of repeating them by `*name`, and nest less",
        )
    } else if words.contains("duplicate") {
        (
            Code::DuplicateKey,
            "a key stands twice in one section".to_owned(),
            "given a second time",
            "keep one of the two",
        )
    } else {
        (
            Code::Syntax,
            format!("this is not YAML: {words}"),
            "reading stopped here",
            "look at the indentation and the quotes of this line and the one above; text with `: ` or `{{` in it needs quotes",
        )
    };
    source.finding(code, span, message).label(label).hint(hint)
}

/// The parser's words without the place, which the finding shows itself.
fn plain_words(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let end = [" at line ", "\n", " (defined at", " --> "]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min()
        .unwrap_or(text.len());
    text[..end].to_owned()
}

fn span_of(location: Location) -> Range<usize> {
    let span = location.span();
    let start = span.byte_offset().unwrap_or(0) as usize;
    start..start + span.byte_len().unwrap_or(0) as usize
}

impl From<Spanned<NodeValue>> for Node {
    fn from(spanned: Spanned<NodeValue>) -> Self {
        Self {
            value: spanned.value,
            span: span_of(spanned.referenced),
        }
    }
}

impl<'de> Deserialize<'de> for NodeValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = NodeValue;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<NodeValue, E> {
        Ok(NodeValue::Null)
    }

    fn visit_none<E>(self) -> Result<NodeValue, E> {
        Ok(NodeValue::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<NodeValue, D::Error> {
        NodeValue::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<NodeValue, E> {
        Ok(NodeValue::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<NodeValue, E> {
        Ok(NodeValue::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<NodeValue, E> {
        Ok(NodeValue::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<NodeValue, E> {
        Ok(NodeValue::Integer(value.into()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<NodeValue, E> {
        Ok(i128::try_from(value).map_or(NodeValue::Float(value as f64), NodeValue::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<NodeValue, E> {
        Ok(NodeValue::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<NodeValue, E> {
        Ok(NodeValue::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<NodeValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element::<Spanned<NodeValue>>()? {
            items.push(Node::from(item));
        }
        Ok(NodeValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<NodeValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let node = Node::from(access.next_value::<Spanned<NodeValue>>()?);
            entries.push(Entry {
                key: key.value,
                key_span: span_of(key.referenced),
                node,
            });
        }
        Ok(NodeValue::Map(entries))
    }
}
