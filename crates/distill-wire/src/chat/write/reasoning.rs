//! How a target is asked to think.

use serde_json::{Map, Value, json};

use super::super::OWN;
use crate::{
    Dialect, Dropped, Reasoning, ReasoningParameter, Request, Writing,
    leftover::{caller_name, leave},
    messages::effort_of_budget,
};

pub(super) fn write(
    request: &Request,
    writing: &Writing<'_>,
    body: &mut Map<String, Value>,
    dropped: &mut Vec<Dropped>,
) {
    let Some(reasoning) = &request.reasoning else {
        return;
    };
    let name = caller_name(request.source, "reasoning");
    let off =
        reasoning.enabled == Some(false) || matches!(reasoning.effort.as_deref(), Some("none"));
    match writing.quirks.reasoning {
        ReasoningParameter::Effort => {
            // Callers of the same dialect know whom they ask. For others thinking is a wish, and a
            // model that cannot think refuses to be asked.
            let own = request.source.is_none_or(|source| source == OWN);
            if !own && !thinks(writing.model) {
                if !off {
                    leave(dropped, name, "this model is not known to think");
                }
                return;
            }
            write_effort(request.source, reasoning, off, body, dropped);
        }
        ReasoningParameter::Switch => {
            if reasoning.effort.is_some() || reasoning.budget_tokens.is_some() {
                leave(dropped, name, "of this only on or off was sent");
            }
            let said = reasoning.enabled.is_some()
                || reasoning.effort.is_some()
                || reasoning.budget_tokens.is_some();
            if said {
                let kind = if off { "disabled" } else { "enabled" };
                body.insert("thinking".to_owned(), json!({"type": kind}));
            }
        }
        ReasoningParameter::Object => {
            let mut object = Map::new();
            // One of both is taken.
            if let Some(effort) = &reasoning.effort {
                object.insert("effort".to_owned(), effort.as_str().into());
            } else if let Some(budget) = reasoning.budget_tokens {
                object.insert("max_tokens".to_owned(), budget.into());
            }
            if let Some(enabled) = reasoning.enabled {
                object.insert("enabled".to_owned(), enabled.into());
            }
            if !object.is_empty() {
                body.insert("reasoning".to_owned(), object.into());
            }
        }
        ReasoningParameter::Unknown => leave(dropped, name, "this vendor cannot be told"),
    }
    if reasoning.summary.is_some() && writing.quirks.reasoning != ReasoningParameter::Unknown {
        leave(
            dropped,
            "reasoning.summary",
            "this vendor shows thinking as it likes",
        );
    }
}

fn write_effort(
    source: Option<Dialect>,
    reasoning: &Reasoning,
    off: bool,
    body: &mut Map<String, Value>,
    dropped: &mut Vec<Dropped>,
) {
    let name = caller_name(source, "reasoning");
    let effort = match (reasoning.effort.as_deref(), reasoning.budget_tokens) {
        // Words of another vendor for more than there is here.
        (Some("max" | "xhigh"), _) if source == Some(Dialect::Messages) => {
            leave(dropped, name, "it was sent as `high`");
            "high"
        }
        (Some(effort), _) => effort,
        (None, Some(budget)) if !off => {
            leave(dropped, name, "its budget was sent as an effort");
            effort_of_budget(budget)
        }
        _ if reasoning.enabled.is_some() => {
            leave(dropped, name, "this vendor's models decide by themselves");
            return;
        }
        _ => return,
    };
    body.insert("reasoning_effort".to_owned(), effort.into());
}

/// Families that take an effort. Those of chat models refuse it, and which do is not in any answer.
fn thinks(model: &str) -> bool {
    const FAMILIES: [&str; 14] = [
        "o1",
        "o3",
        "o4",
        "gpt-5",
        "gpt-6",
        "gpt-oss",
        "codex",
        "deepseek-r",
        "deepseek-v3.",
        "qwen3",
        "qwq",
        "grok-3-mini",
        "gemini-2.5",
        "gemini-3",
    ];
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.strip_prefix("ft:").unwrap_or(name);
    FAMILIES.iter().any(|family| name.starts_with(family))
        || ["thinking", "reason"]
            .iter()
            .any(|word| name.contains(word))
}
