//! What chat templates expect of their environment beyond Jinja: methods of Python's `str` and
//! `dict`, `raise_exception`, `strftime_now`, filters that print as Python does, and a bound on the
//! output.

use std::io;

use minijinja::{
    Environment, Error, ErrorKind, State, Value,
    value::{Kwargs, ValueKind, from_args},
};

use super::guard::{self, VALUE_BYTES, too_large};
use super::python::{JsonLayout, Writer, json_of, text_of};

/// Parts that a text is cut into.
const MOST_PARTS: usize = 1 << 20;

/// The day that every template is told, so that what a model was trained on does not depend on when
/// it was trained or asked. The value is the one that Llama's own templates fall back to.
const PINNED_DATE: PinnedDate = PinnedDate {
    year: "2024",
    month: "07",
    month_name: "July",
    day: "26",
    weekday: "Friday",
};

struct PinnedDate {
    year: &'static str,
    month: &'static str,
    month_name: &'static str,
    day: &'static str,
    weekday: &'static str,
}

pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        },
    );
    environment.add_function("strftime_now", |format: &str| pinned_date(format));
    environment.set_unknown_method_callback(call_python_method);
    environment.set_formatter(|out, state, value| {
        if value.is_undefined() {
            return Ok(());
        }
        let printed;
        let text = if let Some(text) = value.as_str() {
            text
        } else {
            printed = text_of(value, VALUE_BYTES).map_err(|_| too_large())?;
            &printed
        };
        guard::spend(state, text.len())?;
        out.write_str(text).map_err(Error::from)
    });
    install_filters(environment);
    guard::install(environment);
}

/// Filters whose result can be much larger than what they are given are bounded here; those of
/// them that no chat template uses are gone.
fn install_filters(environment: &mut Environment<'static>) {
    for unused in [
        "batch",
        "chain",
        "format",
        "groupby",
        "pprint",
        "slice",
        "urlencode",
        "zip",
    ] {
        environment.remove_filter(unused);
    }
    environment.remove_global("debug");
    environment.add_filter("tojson", to_json);
    environment.add_filter("string", |value: &Value| {
        text_of(value, VALUE_BYTES).map_err(|_| too_large())
    });
    environment.add_filter("trim", |value: &Value, set: Option<&str>| {
        let text = text_of(value, VALUE_BYTES).map_err(|_| too_large())?;
        Ok::<_, Error>(match set {
            None => text.trim().to_owned(),
            Some(set) => text.trim_matches(|letter| set.contains(letter)).to_owned(),
        })
    });
    environment.add_filter("replace", |text: &str, from: &str, to: &str| {
        replaced(text, from, to)
    });
    environment.add_filter("join", |values: &Value, separator: Option<&str>| {
        joined(separator.unwrap_or_default(), values)
    });
    environment.add_filter("list", |values: &Value| -> Result<Value, Error> {
        collected(values.try_iter()?)
    });
    environment.add_filter("indent", indented);
}

/// `json.dumps`, with its options.
fn to_json(value: &Value, indent: Option<usize>, options: Kwargs) -> Result<String, Error> {
    let separators: Option<Vec<String>> = options.get("separators")?;
    let separators = match separators.as_deref() {
        Some([comma, colon]) => Some((comma.clone(), colon.clone())),
        None => None,
        Some(_) => {
            let problem = "`separators` are two texts";
            return Err(Error::new(ErrorKind::InvalidOperation, problem));
        }
    };
    let layout = JsonLayout {
        indent: match indent {
            Some(indent) => Some(indent),
            None => options.get("indent")?,
        },
        separators,
        ascii: options
            .get::<Option<bool>>("ensure_ascii")?
            .unwrap_or(false),
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    json_of(value, &layout, VALUE_BYTES).map_err(|_| too_large())
}

fn indented(
    text: &str,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let width = width.or(options.get("width")?).unwrap_or(4);
    let first = first.or(options.get("first")?).unwrap_or(false);
    let blank = blank.or(options.get("blank")?).unwrap_or(false);
    options.assert_all_used()?;
    if width > VALUE_BYTES {
        return Err(too_large());
    }
    let spaces = " ".repeat(width);
    let mut out = Writer::new(VALUE_BYTES);
    for (index, line) in text.split('\n').enumerate() {
        let wanted = if index == 0 {
            first
        } else {
            blank || !line.is_empty()
        };
        out.push(if index == 0 { "" } else { "\n" })
            .and_then(|()| out.push(if wanted { &spaces } else { "" }))
            .and_then(|()| out.push(line))
            .map_err(|_| too_large())?;
    }
    Ok(out.finish())
}

fn replaced(text: &str, from: &str, to: &str) -> Result<String, Error> {
    let growth = to.len().saturating_sub(from.len());
    let bound = text.matches(from).count().saturating_mul(growth);
    if text.len().saturating_add(bound) > VALUE_BYTES {
        return Err(too_large());
    }
    Ok(text.replace(from, to))
}

fn joined(separator: &str, values: &Value) -> Result<String, Error> {
    let mut out = Writer::new(VALUE_BYTES);
    for (index, value) in values.try_iter()?.enumerate() {
        let text = text_of(&value, VALUE_BYTES);
        text.and_then(|text| {
            out.push(if index == 0 { "" } else { separator })?;
            out.push(&text)
        })
        .map_err(|_| too_large())?;
    }
    Ok(out.finish())
}

/// A list of values that are not too many.
fn collected(values: impl Iterator<Item = Value>) -> Result<Value, Error> {
    let mut out = Vec::new();
    for value in values {
        if out.len() == MOST_PARTS {
            return Err(too_large());
        }
        out.push(value);
    }
    Ok(Value::from(out))
}

/// The engine's message with what caused it: a refusal of ours stands at the end of the chain.
pub(super) fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn pinned_date(format: &str) -> Result<String, Error> {
    let mut output = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            output.push(character);
            continue;
        }
        let date = PINNED_DATE;
        output.push_str(match characters.next() {
            Some('Y') => date.year,
            Some('y') => &date.year[2..],
            Some('m') => date.month,
            Some('B') => date.month_name,
            Some('b') => &date.month_name[..3],
            Some('d') => date.day,
            Some('A') => date.weekday,
            Some('a') => &date.weekday[..3],
            Some('H' | 'M' | 'S') => "00",
            Some('%') => "%",
            other => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("strftime_now does not know `%{}`", other.unwrap_or(' ')),
                ));
            }
        });
    }
    Ok(output)
}

fn call_python_method(
    _state: &State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return call_text_method(text, method, arguments);
    }
    if value.kind() == ValueKind::Map {
        return call_map_method(value, method, arguments);
    }
    Err(Error::from(ErrorKind::UnknownMethod))
}

fn call_text_method(text: &str, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let strip_set = || -> Result<Option<Vec<char>>, Error> {
        let (set,): (Option<String>,) = from_args(arguments)?;
        Ok(set.map(|set| set.chars().collect()))
    };
    Ok(match method {
        "strip" => match strip_set()? {
            None => text.trim().into(),
            Some(set) => text.trim_matches(set.as_slice()).into(),
        },
        "lstrip" => match strip_set()? {
            None => text.trim_start().into(),
            Some(set) => text.trim_start_matches(set.as_slice()).into(),
        },
        "rstrip" => match strip_set()? {
            None => text.trim_end().into(),
            Some(set) => text.trim_end_matches(set.as_slice()).into(),
        },
        "startswith" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            text.starts_with(prefix).into()
        }
        "endswith" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            text.ends_with(suffix).into()
        }
        "split" => {
            let (separator, most): (Option<&str>, Option<usize>) = from_args(arguments)?;
            split(text, separator, most)?
        }
        "splitlines" => {
            let () = from_args(arguments)?;
            collected(text.lines().map(Value::from))?
        }
        "replace" => {
            let (from, to): (&str, &str) = from_args(arguments)?;
            replaced(text, from, to)?.into()
        }
        "join" => {
            let (values,): (Value,) = from_args(arguments)?;
            joined(text, &values)?.into()
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "count" => {
            let (needle,): (&str,) = from_args(arguments)?;
            text.matches(needle).count().into()
        }
        "isdigit" => (!text.is_empty() && text.chars().all(char::is_numeric)).into(),
        "upper" => text.to_uppercase().into(),
        "lower" => text.to_lowercase().into(),
        "title" => titled(text).into(),
        "capitalize" => capitalised(text).into(),
        "find" => {
            let (needle,): (&str,) = from_args(arguments)?;
            text.find(needle)
                .map_or(-1, |at| {
                    i64::try_from(text[..at].chars().count()).unwrap_or(i64::MAX)
                })
                .into()
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn split(text: &str, separator: Option<&str>, most: Option<usize>) -> Result<Value, Error> {
    match (separator, most) {
        (None, _) => collected(text.split_whitespace().map(Value::from)),
        (Some(separator), None) => collected(text.split(separator).map(Value::from)),
        (Some(separator), Some(most)) => collected(
            text.splitn(most.saturating_add(1), separator)
                .map(Value::from),
        ),
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first
        .chain(letters.as_str().to_lowercase().chars())
        .collect()
}

fn titled(text: &str) -> String {
    let mut within = false;
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if within {
            out.extend(letter.to_lowercase());
        } else {
            out.extend(letter.to_uppercase());
        }
        within = letter.is_alphabetic();
    }
    out
}

fn call_map_method(map: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let keys = || -> Result<Vec<Value>, Error> { Ok(map.try_iter()?.collect()) };
    Ok(match method {
        "keys" => {
            let () = from_args(arguments)?;
            Value::from(keys()?)
        }
        "values" => {
            let () = from_args(arguments)?;
            let values: Result<Vec<Value>, Error> =
                keys()?.iter().map(|key| map.get_item(key)).collect();
            Value::from(values?)
        }
        "items" => {
            let () = from_args(arguments)?;
            let items: Result<Vec<Value>, Error> = keys()?
                .into_iter()
                .map(|key| Ok(Value::from(vec![key.clone(), map.get_item(&key)?])))
                .collect();
            Value::from(items?)
        }
        "get" => {
            let (key, otherwise): (Value, Option<Value>) = from_args(arguments)?;
            let found = map.get_item(&key)?;
            if found.is_undefined() {
                otherwise.unwrap_or(Value::from(()))
            } else {
                found
            }
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

/// Collects a rendering and refuses to grow beyond a limit.
pub(super) struct BoundedOutput {
    bytes: Vec<u8>,
    limit: usize,
}

impl BoundedOutput {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
        }
    }

    pub(super) fn into_text(self) -> Result<String, std::string::FromUtf8Error> {
        String::from_utf8(self.bytes)
    }
}

impl io::Write for BoundedOutput {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + buffer.len() > self.limit {
            return Err(io::Error::other(format!(
                "the rendering exceeds {} bytes",
                self.limit
            )));
        }
        self.bytes.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
