//! Values that the configuration writes in its own way: lengths of time, sizes, maps by name.

use std::{ops::Range, time::Duration};

use distill_pipeline::spec::document::{At, Node, NodeValue, Place, Read, Reader, Section};
use serde_json::{Map, Value};

/// A map from names of the user's own to sections, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Named<T>(pub(crate) Vec<Entry<T>>);

/// One name of a [`Named`] map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry<T> {
    pub(crate) name: String,
    /// Bytes of the name.
    pub(crate) span: Range<usize>,
    pub(crate) value: T,
}

impl<T: Read> Read for Named<T> {
    const EXPECTED: &'static str = "a map from names";
    const SECTION: Option<fn() -> Section> = T::SECTION;

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let NodeValue::Map(entries) = &node.value else {
            reader.wrong_type(node, place, Self::EXPECTED);
            return None;
        };
        // What could not be read has its finding; the others are still looked at.
        let read = entries.iter().filter_map(|entry| {
            let place = Place {
                path: format!("{}.{}", place.path, entry.key),
                span: entry.key_span.clone(),
            };
            T::read(&entry.node, &place, reader).map(|value| Entry {
                name: entry.key.clone(),
                span: entry.key_span.clone(),
                value,
            })
        });
        Some(Self(read.collect()))
    }
}

/// A length of time: `500ms`, `30s`, `5m`, `2h`, `14d`, or several in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Length(pub(crate) Duration);

impl Length {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim();
        let mut milliseconds = 0_f64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let amount: f64 = rest[..digits].parse().ok()?;
            rest = rest[digits..].trim_start();
            let letters = rest
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(rest.len());
            let unit = match &rest[..letters] {
                "ms" => 1.0,
                "s" => 1e3,
                "m" | "min" => 60e3,
                "h" => 3_600e3,
                "d" => 86_400e3,
                _ => return None,
            };
            milliseconds += amount * unit;
            rest = rest[letters..].trim_start();
        }
        let fits = milliseconds > 0.0 && milliseconds <= MOST_DAYS * 86_400e3;
        fits.then(|| Self(Duration::from_micros((milliseconds * 1e3).round() as u64)))
    }
}

/// Longer than anything that the configuration can mean.
const MOST_DAYS: f64 = 3_660.0;

impl Read for Length {
    const EXPECTED: &'static str = "a length of time such as 500ms, 30s, 5m, 2h or 14d";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let length = match &node.value {
            NodeValue::Text(text) => Self::parse(text),
            _ => None,
        };
        if length.is_none() {
            reader.wrong_type(node, place, Self::EXPECTED);
        }
        length
    }
}

/// A size in bytes: a number, or `200 KB`, `32 MB`, `1 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Size {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let amount: f64 = text[..digits].parse().ok()?;
        let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
            "" | "b" | "bytes" => 1.0,
            "kb" => 1e3,
            "kib" => 1024.0,
            "mb" => 1e6,
            "mib" => 1024.0 * 1024.0,
            "gb" => 1e9,
            "gib" => 1024.0 * 1024.0 * 1024.0,
            _ => return None,
        };
        let bytes = amount * unit;
        (1.0..1e15)
            .contains(&bytes)
            .then(|| Self(bytes.round() as u64))
    }
}

impl Read for Size {
    const EXPECTED: &'static str = "a size such as 200 KB, 32 MB or a number of bytes";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let size = match &node.value {
            NodeValue::Text(text) => Self::parse(text),
            NodeValue::Integer(bytes) => u64::try_from(*bytes)
                .ok()
                .filter(|bytes| *bytes > 0)
                .map(Self),
            _ => None,
        };
        if size.is_none() {
            reader.wrong_type(node, place, Self::EXPECTED);
        }
        size
    }
}

/// One text, or a list of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Texts(pub(crate) Vec<At<String>>);

impl Texts {
    pub(crate) fn values(&self) -> Vec<String> {
        self.0.iter().map(|text| text.value.clone()).collect()
    }
}

impl Read for Texts {
    const EXPECTED: &'static str = "text or a list of texts";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            NodeValue::List(_) => Vec::read(node, place, reader).map(Self),
            NodeValue::Text(text) => Some(Self(vec![At {
                value: text.clone(),
                span: node.span.clone(),
            }])),
            _ => {
                reader.wrong_type(node, place, Self::EXPECTED);
                None
            }
        }
    }
}

/// A name that may look like a number: `v2`, `2`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Word(pub(crate) String);

impl Read for Word {
    const EXPECTED: &'static str = "a name";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            NodeValue::Text(text) => Some(Self(text.clone())),
            NodeValue::Integer(number) => Some(Self(number.to_string())),
            _ => {
                reader.wrong_type(node, place, Self::EXPECTED);
                None
            }
        }
    }
}

/// Any YAML, as the JSON that it means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Json(pub(crate) Map<String, Value>);

impl Read for Json {
    const EXPECTED: &'static str = "a map, kept as it is";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        if let Value::Object(map) = node.to_json() {
            return Some(Self(map));
        }
        reader.wrong_type(node, place, Self::EXPECTED);
        None
    }
}

/// `true`, `false`, or what to do in detail.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Switch<T> {
    Plain(bool),
    Detailed(Box<T>),
}

impl<T: Read> Read for Switch<T> {
    const EXPECTED: &'static str = "true, false or a map of keys";
    const SECTION: Option<fn() -> Section> = T::SECTION;

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            NodeValue::Boolean(on) => Some(Self::Plain(*on)),
            NodeValue::Map(_) => {
                T::read(node, place, reader).map(|value| Self::Detailed(Box::new(value)))
            }
            _ => {
                reader.wrong_type(node, place, Self::EXPECTED);
                None
            }
        }
    }
}

/// Text that stands for a section with one key set, or the section.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Short<T> {
    Text(String),
    Section(Box<T>),
}

impl<T: Read> Read for Short<T> {
    const EXPECTED: &'static str = "text or a map of keys";
    const SECTION: Option<fn() -> Section> = T::SECTION;

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            NodeValue::Text(text) => Some(Self::Text(text.clone())),
            NodeValue::Map(_) => {
                T::read(node, place, reader).map(|value| Self::Section(Box::new(value)))
            }
            _ => {
                reader.wrong_type(node, place, Self::EXPECTED);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Length, Size};

    #[test]
    fn a_length_of_time_says_its_unit() {
        let parse = |text| Length::parse(text).map(|length| length.0);
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse("1h 30m"), Some(Duration::from_mins(90)));
        assert_eq!(parse("14d"), Some(Duration::from_hours(14 * 24)));
        for bad in ["", "30", "s", "5 weeks", "0s", "-1s", "1e9d", "9999999999d"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_size_may_say_its_unit() {
        let parse = |text| Size::parse(text).map(|size| size.0);
        assert_eq!(parse("200 KB"), Some(200_000));
        assert_eq!(parse("32MiB"), Some(32 << 20));
        assert_eq!(parse("17"), Some(17));
        for bad in ["", "KB", "-1", "0", "1 TB", "1e30"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
