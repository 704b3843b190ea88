//! Values as Python writes them: `str()` of lists, maps and numbers, and `json.dumps`.
//!
//! Chat templates are written for Python's Jinja; where one prints a list or asks for JSON, every
//! byte of the prompt depends on these forms.

use std::fmt::Write;

use minijinja::Value;
use minijinja::value::ValueKind;

/// The value is too large to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Text that refuses to grow beyond a limit.
pub(super) struct Writer {
    text: String,
    limit: usize,
}

impl Writer {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            text: String::new(),
            limit,
        }
    }

    pub(super) fn push(&mut self, text: &str) -> Result<(), TooLarge> {
        if self.text.len() + text.len() > self.limit {
            return Err(TooLarge);
        }
        self.text.push_str(text);
        Ok(())
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// `str(value)`: a text stays as it is.
pub(super) fn text_of(value: &Value, limit: usize) -> Result<String, TooLarge> {
    let mut out = Writer::new(limit);
    match value.as_str() {
        Some(text) => out.push(text)?,
        None if value.is_undefined() => {}
        None => write_repr(value, &mut out)?,
    }
    Ok(out.finish())
}

/// `repr(value)`.
fn write_repr(value: &Value, out: &mut Writer) -> Result<(), TooLarge> {
    if let Some(text) = value.as_str() {
        return out.push(&quoted(text));
    }
    match value.kind() {
        ValueKind::Map => {
            out.push("{")?;
            for (index, (key, item)) in entries(value).enumerate() {
                out.push(if index == 0 { "" } else { ", " })?;
                write_repr(&key, out)?;
                out.push(": ")?;
                write_repr(&item, out)?;
            }
            out.push("}")
        }
        ValueKind::Seq | ValueKind::Iterable => {
            out.push("[")?;
            for (index, item) in items(value).enumerate() {
                out.push(if index == 0 { "" } else { ", " })?;
                write_repr(&item, out)?;
            }
            out.push("]")
        }
        ValueKind::Number => out.push(&number(value)),
        _ => out.push(&value.to_string()),
    }
}

/// How JSON is laid out.
#[derive(Default)]
pub(super) struct JsonLayout {
    /// Spaces of each level; on one line if none.
    pub(super) indent: Option<usize>,
    /// What stands between items, and between a key and its value.
    pub(super) separators: Option<(String, String)>,
    pub(super) ascii: bool,
    pub(super) sort_keys: bool,
}

/// `json.dumps(value)`.
pub(super) fn json_of(
    value: &Value,
    layout: &JsonLayout,
    limit: usize,
) -> Result<String, TooLarge> {
    let mut out = Writer::new(limit);
    write_json(value, layout, 0, &mut out)?;
    Ok(out.finish())
}

fn write_json(
    value: &Value,
    layout: &JsonLayout,
    depth: usize,
    out: &mut Writer,
) -> Result<(), TooLarge> {
    if let Some(text) = value.as_str() {
        return out.push(&json_string(text, layout.ascii));
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => out.push("null"),
        ValueKind::Bool => out.push(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push(&number(value)),
        ValueKind::Map => {
            let mut pairs: Vec<(String, Value)> = entries(value)
                .map(|(key, item)| (json_key(&key), item))
                .collect();
            if layout.sort_keys {
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
            }
            let colon = layout.separators.as_ref().map_or(": ", |(_, colon)| colon);
            write_members(
                pairs.into_iter(),
                ["{", "}"],
                layout,
                depth,
                out,
                |pair, out| {
                    out.push(&json_string(&pair.0, layout.ascii))?;
                    out.push(colon)?;
                    write_json(&pair.1, layout, depth + 1, out)
                },
            )
        }
        ValueKind::Seq | ValueKind::Iterable => {
            write_members(items(value), ["[", "]"], layout, depth, out, |item, out| {
                write_json(&item, layout, depth + 1, out)
            })
        }
        _ => out.push(&json_string(&value.to_string(), layout.ascii)),
    }
}

fn write_members<T>(
    members: impl Iterator<Item = T>,
    brackets: [&str; 2],
    layout: &JsonLayout,
    depth: usize,
    out: &mut Writer,
    mut write: impl FnMut(T, &mut Writer) -> Result<(), TooLarge>,
) -> Result<(), TooLarge> {
    let comma = match (&layout.separators, layout.indent) {
        (Some((comma, _)), _) => comma,
        (None, Some(_)) => ",",
        (None, None) => ", ",
    };
    out.push(brackets[0])?;
    let mut any = false;
    for member in members {
        out.push(if any { comma } else { "" })?;
        any = true;
        new_line(layout, depth + 1, out)?;
        write(member, out)?;
    }
    if any {
        new_line(layout, depth, out)?;
    }
    out.push(brackets[1])
}

fn new_line(layout: &JsonLayout, depth: usize, out: &mut Writer) -> Result<(), TooLarge> {
    let Some(indent) = layout.indent else {
        return Ok(());
    };
    out.push("\n")?;
    let spaces = indent.saturating_mul(depth);
    if spaces > out.limit {
        return Err(TooLarge);
    }
    out.push(&" ".repeat(spaces))
}

fn json_key(key: &Value) -> String {
    match key.as_str() {
        Some(text) => text.to_owned(),
        None if key.is_none() => "null".to_owned(),
        None if key.kind() == ValueKind::Bool => key.to_string().to_lowercase(),
        None => number(key),
    }
}

fn items(value: &Value) -> impl Iterator<Item = Value> {
    value.try_iter().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (Value, Value)> {
    items(value).map(|key| {
        let item = value.get_item(&key).unwrap_or_default();
        (key, item)
    })
}

/// A number as Python prints it: the shortest digits that give it back, with an exponent where it
/// is very large or very small.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(number) = f64::try_from(value.clone()) else {
        return value.to_string();
    };
    if !number.is_finite() {
        return match number {
            _ if number.is_nan() => "NaN".to_owned(),
            _ if number > 0.0 => "Infinity".to_owned(),
            _ => "-Infinity".to_owned(),
        };
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let text = number.to_string();
    if text.contains('.') {
        text
    } else {
        format!("{text}.0")
    }
}

/// A text between quotes: double ones where it holds single ones and no double.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if character == quote => {
                out.push('\\');
                out.push(character);
            }
            _ if character < ' ' || character == '\u{7f}' => {
                escape(&mut out, 'x', 2, u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push(quote);
    out
}

fn json_string(text: &str, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            _ if character < ' ' || (ascii && character > '~') => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    escape(&mut out, 'u', 4, u32::from(*unit));
                }
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

fn escape(out: &mut String, letter: char, width: usize, code: u32) {
    // Writing to a string cannot fail.
    let _ = write!(out, "\\{letter}{code:0width$x}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Value {
        Value::from_serialize(serde_json::from_str::<serde_json::Value>(json).unwrap())
    }

    const MIXED: &str =
        r#"{"b": [1, 2.0, 1e-05, 1e22, -0.5, true, null], "a": {"é": "it's \"\n"}, "c": []}"#;

    #[test]
    fn values_print_as_python_prints_them() {
        let text = text_of(&value(MIXED), 1 << 20).unwrap();
        let expected =
            r#"{'b': [1, 2.0, 1e-05, 1e+22, -0.5, True, None], 'a': {'é': 'it\'s "\n'}, 'c': []}"#;
        assert_eq!(text, expected);
        assert_eq!(text_of(&value(r#"["it's"]"#), 99).unwrap(), r#"["it's"]"#);
        assert_eq!(text_of(&value(r#""it's""#), 99).unwrap(), "it's");
    }

    #[test]
    fn json_has_the_spaces_of_python() {
        let plain = json_of(&value(MIXED), &JsonLayout::default(), 1 << 20).unwrap();
        let expected =
            r#"{"b": [1, 2.0, 1e-05, 1e+22, -0.5, true, null], "a": {"é": "it's \"\n"}, "c": []}"#;
        assert_eq!(plain, expected);
        let layout = JsonLayout {
            indent: Some(2),
            ascii: true,
            sort_keys: true,
            ..JsonLayout::default()
        };
        let laid_out = json_of(&value(r#"{"é": [1, {}], "a": "𝄞"}"#), &layout, 1 << 20).unwrap();
        let expected = "{\n  \"a\": \"\\ud834\\udd1e\",\n  \"\\u00e9\": [\n    1,\n    {}\n  ]\n}";
        assert_eq!(laid_out, expected);
    }

    #[test]
    fn what_would_grow_without_end_is_refused() {
        let layout = JsonLayout {
            indent: Some(usize::MAX),
            ..JsonLayout::default()
        };
        assert_eq!(json_of(&value("[1]"), &layout, 1 << 20), Err(TooLarge));
        assert_eq!(text_of(&value("[1, 2, 3]"), 5), Err(TooLarge));
    }
}
