//! Fits the YAML tree to the sections of the spec and keeps every misfit as a finding.

use std::ops::Range;

use super::{
    finding::{Code, Finding, SourceText},
    nearest::nearest,
    tree::{Entry, Node, NodeValue},
};

/// A value of the spec with its place in the text. For a section or a list the place is its key.
#[derive(Debug, Clone, PartialEq)]
pub struct At<T> {
    pub value: T,
    /// Bytes of the text.
    pub span: Range<usize>,
}

/// One key of a section, as the reference documents it.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub required: bool,
    pub documentation: &'static str,
    /// Section below this key, if it holds one.
    pub section: Option<fn() -> Section>,
    /// What a value is, in words.
    pub expected: &'static str,
}

/// A section of the spec, as the reference documents it.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    pub documentation: &'static str,
    pub keys: &'static [Key],
}

/// Where the reader stands: `teacher.simulate`, and the place that stands for it.
#[derive(Debug, Clone)]
pub struct Place {
    pub path: String,
    /// Bytes of the text.
    pub span: Range<usize>,
}

/// Collects findings while a tree is read.
#[derive(Debug)]
pub struct Reader {
    pub source: SourceText,
    pub findings: Vec<Finding>,
}

/// A type that a node can be read as. `None` means that a finding says why not.
pub trait Read: Sized {
    /// What a value is, in words: "a number".
    const EXPECTED: &'static str;
    /// What a value is made of, for the reference.
    const SECTION: Option<fn() -> Section> = None;

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self>;
}

impl Reader {
    pub fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Reports that this node is not what its key takes.
    pub fn wrong_type(&mut self, node: &Node, place: &Place, expected: &str) {
        let hint = match (&node.value, expected) {
            (NodeValue::Integer(_) | NodeValue::Float(_) | NodeValue::Boolean(_), expected)
                if expected.starts_with("text") =>
            {
                "put it in quotes".to_owned()
            }
            (NodeValue::Text(text), expected)
                if expected.contains("number") && text.trim().parse::<f64>().is_ok() =>
            {
                "write the number without quotes".to_owned()
            }
            _ if place.path.is_empty() => self.source.document.beginning().to_owned(),
            _ => format!("give {expected}"),
        };
        let finding = self
            .source
            .finding(
                Code::WrongType,
                node.span.clone(),
                match place.path.as_str() {
                    "" => format!("{} is {expected}", self.source.document.words()),
                    path => format!("`{path}` takes {expected}"),
                },
            )
            .label(format!("this is {}", node.kind()))
            .hint(hint);
        self.report(finding);
    }

    /// The entries of a section, after its unknown keys are reported.
    pub fn entries<'n>(
        &mut self,
        node: &'n Node,
        place: &Place,
        keys: &[Key],
    ) -> Option<&'n [Entry]> {
        let NodeValue::Map(entries) = &node.value else {
            self.wrong_type(node, place, "a map of keys");
            return None;
        };
        for entry in entries {
            if keys.iter().any(|key| key.name == entry.key) {
                continue;
            }
            let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
            let message = if place.path.is_empty() {
                let words = self.source.document.words();
                format!("{words} has no key `{}`", entry.key)
            } else {
                format!("`{}` has no key `{}`", place.path, entry.key)
            };
            let hint = match nearest(&entry.key, names.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("the keys here are: {}", names.join(", ")),
            };
            let finding = self
                .source
                .finding(Code::UnknownKey, entry.key_span.clone(), message)
                .label("not a key of this section")
                .hint(hint);
            self.report(finding);
        }
        Some(entries)
    }

    /// Reads one key of a section. A key set to nothing counts as left out.
    pub fn field<T: Read>(&mut self, entries: &[Entry], place: &Place, key: &Key) -> Option<At<T>> {
        let path = if place.path.is_empty() {
            key.name.to_owned()
        } else {
            format!("{}.{}", place.path, key.name)
        };
        let entry = entries.iter().find(|entry| entry.key == key.name);
        let Some(entry) = entry.filter(|entry| entry.node.value != NodeValue::Null) else {
            if key.required {
                let span = entry.map_or_else(|| place.span.clone(), |entry| entry.key_span.clone());
                let finding = self
                    .source
                    .finding(Code::Missing, span, format!("`{path}` is missing"))
                    .label(if entry.is_some() {
                        "has no value"
                    } else {
                        "belongs in here"
                    })
                    .hint(format!(
                        "add `{}:` with {}: {}",
                        key.name,
                        key.expected,
                        first_sentence(key.documentation)
                    ));
                self.report(finding);
            }
            return None;
        };
        let span = match entry.node.value {
            NodeValue::Map(_) | NodeValue::List(_) => entry.key_span.clone(),
            _ => entry.node.span.clone(),
        };
        let place = Place {
            path,
            span: span.clone(),
        };
        T::read(&entry.node, &place, self).map(|value| At { value, span })
    }

    /// One of a list of names.
    pub fn choose<T: Copy>(
        &mut self,
        node: &Node,
        place: &Place,
        names: &[(&str, T)],
    ) -> Option<T> {
        let list = names
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ");
        let NodeValue::Text(text) = &node.value else {
            self.wrong_type(node, place, &format!("one of: {list}"));
            return None;
        };
        if let Some((_, value)) = names.iter().find(|(name, _)| name == text) {
            return Some(*value);
        }
        let hint = match nearest(text, names.iter().map(|(name, _)| *name)) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("give one of: {list}"),
        };
        let finding = self
            .source
            .finding(
                Code::UnknownName,
                node.span.clone(),
                format!("`{}` cannot be `{text}`", place.path),
            )
            .label(format!("not one of: {list}"))
            .hint(hint);
        self.report(finding);
        None
    }
}

pub(super) fn first_sentence(documentation: &str) -> String {
    let text = documentation
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let end = text.find(". ").unwrap_or(text.len());
    text[..end].trim_end_matches('.').to_owned()
}

impl Read for String {
    const EXPECTED: &'static str = "text";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        if let NodeValue::Text(text) = &node.value {
            return Some(text.clone());
        }
        reader.wrong_type(node, place, Self::EXPECTED);
        None
    }
}

impl Read for f64 {
    const EXPECTED: &'static str = "a number";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        match node.value {
            NodeValue::Float(value) if value.is_finite() => return Some(value),
            NodeValue::Integer(value) => return Some(value as f64),
            _ => reader.wrong_type(node, place, Self::EXPECTED),
        }
        None
    }
}

impl Read for u64 {
    const EXPECTED: &'static str = "a whole number, 0 or more";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        if let NodeValue::Integer(value) = node.value
            && let Ok(value) = Self::try_from(value)
        {
            return Some(value);
        }
        reader.wrong_type(node, place, Self::EXPECTED);
        None
    }
}

impl Read for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        if let NodeValue::Boolean(value) = node.value {
            return Some(value);
        }
        reader.wrong_type(node, place, Self::EXPECTED);
        None
    }
}

impl<T: Read> Read for Vec<At<T>> {
    const EXPECTED: &'static str = "a list";
    const SECTION: Option<fn() -> Section> = T::SECTION;

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let NodeValue::List(items) = &node.value else {
            reader.wrong_type(node, place, "a list");
            return None;
        };
        let count = items.len();
        let read: Self = items
            .iter()
            .enumerate()
            .filter_map(|(index, node)| {
                let place = Place {
                    path: format!("{}[{index}]", place.path),
                    span: node.span.clone(),
                };
                T::read(node, &place, reader).map(|value| At {
                    value,
                    span: node.span.clone(),
                })
            })
            .collect();
        // A list with a bad item has its finding; what is left of it would raise false ones.
        (read.len() == count).then_some(read)
    }
}

/// Declares a section: a struct of optional, placed values, with its reader and documentation.
#[macro_export]
macro_rules! document_section {
    (
        $(#[doc = $documentation:literal])+
        $name:ident {
            $(
                $(#[doc = $key_documentation:literal])+
                $need:ident $key:ident: $type:ty,
            )+
        }
    ) => {
        $(#[doc = $documentation])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $(
                $(#[doc = $key_documentation])+
                pub $key: Option<$crate::spec::document::At<$type>>,
            )+
        }

        impl $name {
            const KEYS: &'static [$crate::spec::document::Key] = &[
                $(
                    $crate::spec::document::Key {
                        name: stringify!($key),
                        required: $crate::document_section!(@required $need),
                        documentation: concat!($($key_documentation, "\n"),+),
                        section: <$type as $crate::spec::document::Read>::SECTION,
                        expected: <$type as $crate::spec::document::Read>::EXPECTED,
                    },
                )+
            ];

            /// The section as the reference documents it.
            pub fn section() -> $crate::spec::document::Section {
                $crate::spec::document::Section {
                    documentation: concat!($($documentation, "\n"),+),
                    keys: Self::KEYS,
                }
            }
        }

        impl $crate::spec::document::Read for $name {
            const EXPECTED: &'static str = "a map of keys";
            const SECTION: Option<fn() -> $crate::spec::document::Section> = Some(Self::section);

            fn read(
                node: &$crate::spec::document::Node,
                place: &$crate::spec::document::Place,
                reader: &mut $crate::spec::document::Reader,
            ) -> Option<Self> {
                let entries = reader.entries(node, place, Self::KEYS)?;
                let mut keys = Self::KEYS.iter();
                Some(Self {
                    $(
                        $key: reader.field(
                            entries,
                            place,
                            keys.next().expect("a key for each field, in the same order"),
                        ),
                    )+
                })
            }
        }
    };
    (@required required) => { true };
    (@required optional) => { false };
}

pub(super) use crate::document_section as section;
