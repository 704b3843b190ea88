//! Columns by path: `a.b` is the field `b` of the object in the column `a`.

use distill_chat::Fields;
use serde_json::Value;

/// The value at a path; a column that is itself called `a.b` comes first.
pub(super) fn value_at<'a>(fields: &'a Fields, path: &str) -> Option<&'a Value> {
    if let Some(value) = fields.get(path) {
        return Some(value);
    }
    path.char_indices()
        .filter(|(_, character)| *character == '.')
        .find_map(|(dot, _)| match fields.get(&path[..dot])? {
            Value::Object(inner) => value_at(inner, &path[dot + 1..]),
            _ => None,
        })
}

/// Takes the value at a path out of the fields.
pub(super) fn take(fields: &mut Fields, path: &str) -> Option<Value> {
    if fields.contains_key(path) {
        return fields.shift_remove(path);
    }
    let dots: Vec<usize> = path.match_indices('.').map(|(dot, _)| dot).collect();
    for dot in dots {
        if let Some(Value::Object(inner)) = fields.get_mut(&path[..dot])
            && let Some(value) = take(inner, &path[dot + 1..])
        {
            return Some(value);
        }
    }
    None
}

/// A value as text; nothing for null.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Paths to every value of some fields, for a message: `a`, `b.c`.
pub(super) fn paths(fields: &Fields) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in fields {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                found.extend(
                    paths(inner)
                        .into_iter()
                        .map(|path| format!("{name}.{path}")),
                );
            }
            _ => found.push(name.clone()),
        }
    }
    found
}
