//! What chat templates expect of their environment beyond Jinja: methods of Python's `str` and
//! `dict`, `raise_exception`, `strftime_now`, the `generation` tag, and a bound on the output.

use std::io;

use minijinja::{
    Environment, Error, ErrorKind, State, Value,
    value::{ValueKind, from_args},
};

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

/// `{% generation %}` marks the assistant's words for other trainers; here it groups and no more.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut output = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else {
            break;
        };
        let tag = &rest[start..start + length + 2];
        let inside = &tag[2..tag.len() - 2];
        output.push_str(&rest[..start]);
        match inside.trim_matches(['-', '+', ' ', '\n', '\t']) {
            "generation" => output.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => output.push_str(&tag.replace("endgeneration", "endif")),
            _ => output.push_str(tag),
        }
        rest = &rest[start + tag.len()..];
    }
    output.push_str(rest);
    output
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
            split(text, separator, most)
        }
        "replace" => {
            let (from, to): (&str, &str) = from_args(arguments)?;
            text.replace(from, to).into()
        }
        "upper" => text.to_uppercase().into(),
        "lower" => text.to_lowercase().into(),
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

fn split(text: &str, separator: Option<&str>, most: Option<usize>) -> Value {
    let parts: Vec<&str> = match (separator, most) {
        (None, _) => text.split_whitespace().collect(),
        (Some(separator), None) => text.split(separator).collect(),
        (Some(separator), Some(most)) => text.splitn(most.saturating_add(1), separator).collect(),
    };
    parts.into_iter().map(Value::from).collect()
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
