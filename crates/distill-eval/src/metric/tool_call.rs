//! Calls of tools: the right ones with the right arguments, or none where none is right.
//!
//! A reply may be written as `OpenAI` does (`tool_calls` with a `function`, arguments as a JSON
//! text), as Anthropic does (`tool_use` blocks with `input`), as open models do (`<tool_call>` around
//! each), or as a plain list of `{"name", "arguments"}`. Calls of one reply are parallel: their order does not count, their
//! number does.

use distill_chat::{same_json, without_fence};
use serde_json::{Map, Value};

use super::{Context, Direction, GENERATE, Metric, Rule, Unit};
use crate::{Sample, Score};

#[cfg(test)]
mod tests;

pub(super) static METRIC: Metric = Metric {
    name: "tool_call",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of rows with exactly the right calls, names and arguments, in any order; no call is an answer, too",
    kinds: GENERATE,
    settings: &[],
    rule: Rule::Share(score),
};

fn score(sample: &Sample, _context: &Context<'_>) -> Score {
    compare(sample, |said, right| {
        said.name == right.name && same_json(&said.arguments, &right.arguments)
    })
}

const OPEN: &str = "<tool_call>";

/// One call, whatever it was written as.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) name: String,
    /// An object; empty where the call has none.
    pub(super) arguments: Value,
}

/// 1 when each call of the reply has a call of its own in the reference that it equals, and none is
/// left over. `equal` must be an equivalence, so that taking the first match is enough.
pub(super) fn compare(sample: &Sample, equal: impl Fn(&Call, &Call) -> bool) -> Score {
    let (reply, gold) = match sample.reply_and_gold() {
        Ok(both) => both,
        Err(unscored) => return unscored,
    };
    let Some(mut right) = calls(gold) else {
        return Score::unscored("the reference is neither a list of tool calls nor `no call`");
    };
    let Some(said) = calls(reply) else {
        return Score::right(false);
    };
    let all_right = said.len() == right.len()
        && said.iter().all(|call| {
            let found = right.iter().position(|right| equal(call, right));
            found.map(|place| right.swap_remove(place)).is_some()
        });
    Score::right(all_right)
}

/// The calls of a text: none where it is prose, empty, `null` or `[]`. `None` where it sets out to
/// be JSON and is no call.
fn calls(text: &str) -> Option<Vec<Call>> {
    if text.contains(OPEN) {
        return text.split(OPEN).skip(1).map(tagged).collect();
    }
    let text = without_fence(text.trim());
    if !text.starts_with(['{', '[']) {
        return Some(Vec::new());
    }
    calls_of(&serde_json::from_str(text).ok()?)
}

/// The call between an opening tag and its end.
fn tagged(text: &str) -> Option<Call> {
    let (inner, _) = text.split_once("</tool_call>")?;
    call(&serde_json::from_str(inner.trim()).ok()?)
}

fn calls_of(value: &Value) -> Option<Vec<Call>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(items) => items
            .iter()
            .filter(|item| !is_prose(item))
            .map(call)
            .collect(),
        Value::Object(object) => {
            // A whole message of either vendor, or one call alone.
            let list = object.get("tool_calls").or_else(|| {
                let is_call = object.contains_key("name") || object.contains_key("function");
                object.get("content").filter(|_| !is_call)
            });
            match list {
                Some(Value::String(_)) => Some(Vec::new()),
                Some(list) => calls_of(list),
                None => Some(vec![call(value)?]),
            }
        }
        _ => None,
    }
}

/// Blocks that stand beside calls and are none.
fn is_prose(item: &Value) -> bool {
    matches!(
        item.get("type").and_then(Value::as_str),
        Some("text" | "thinking" | "redacted_thinking")
    )
}

fn call(value: &Value) -> Option<Call> {
    let outer = value.as_object()?;
    let object = match outer.get("function") {
        Some(function) => function.as_object()?,
        None => outer,
    };
    let arguments = ["arguments", "input", "parameters"]
        .iter()
        .find_map(|name| object.get(*name));
    Some(Call {
        name: object.get("name")?.as_str()?.to_owned(),
        arguments: arguments_of(arguments)?,
    })
}

fn arguments_of(value: Option<&Value>) -> Option<Value> {
    let nothing = || Value::Object(Map::new());
    match value {
        None | Some(Value::Null) => Some(nothing()),
        Some(object @ Value::Object(_)) => Some(object.clone()),
        Some(Value::String(text)) if text.trim().is_empty() => Some(nothing()),
        Some(Value::String(text)) => serde_json::from_str(text).ok().filter(Value::is_object),
        Some(_) => None,
    }
}
