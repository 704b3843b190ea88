//! The response object, which repeats much of the request.

use distill_chat::Usage;
use serde_json::{Map, Value, json};

use super::{tools, write};
use crate::{Dialect, Finish, ReplyContext, Request};

/// What a response object says besides its output, written once for a stream's several copies.
pub(super) struct Echo {
    id: String,
    model: String,
    created: i64,
    /// The members that repeat the request, without braces.
    request: String,
}

impl Echo {
    pub(super) fn new(
        context: &ReplyContext,
        id: Option<&str>,
        model: Option<&str>,
        created: Option<i64>,
    ) -> Self {
        let request = Value::Object(repeated(context.request.as_deref())).to_string();
        Self {
            id: response_id(id, context),
            model: model.unwrap_or(&context.model).to_owned(),
            created: created.unwrap_or(context.created),
            request: request[1..request.len() - 1].to_owned(),
        }
    }

    /// The name of an item: `prefix` tells its kind.
    pub(super) fn item_id(&self, prefix: &str, index: usize) -> String {
        let base = self.id.strip_prefix("resp_").unwrap_or(&self.id);
        format!("{prefix}_{base}_{index}")
    }

    /// The object as JSON text. `output` holds whole items, as JSON text.
    pub(super) fn response(&self, state: &State<'_>) -> String {
        let Self {
            id,
            model,
            created,
            request,
        } = self;
        let mut object = format!(
            r#"{{"id":{},"object":"response","created_at":{created},"status":"{}","error":{},"incomplete_details":{},"model":{},{request},"output":["#,
            Value::from(id.as_str()),
            state.status,
            state.error,
            match state.incomplete {
                Some(reason) => json!({ "reason": reason }),
                None => Value::Null,
            },
            Value::from(model.as_str()),
        );
        object.push_str(&state.output.join(","));
        object.push(']');
        let usage = usage(state.usage);
        if !usage.is_null() {
            object.push_str(",\"usage\":");
            object.push_str(&usage.to_string());
        }
        if let Some(tier) = state.service_tier {
            object.push_str(",\"service_tier\":");
            object.push_str(&Value::from(tier).to_string());
        }
        object.push('}');
        object
    }
}

/// What changes in the course of a response.
pub(super) struct State<'a> {
    pub(super) status: &'static str,
    pub(super) error: Value,
    pub(super) incomplete: Option<&'static str>,
    pub(super) output: &'a [String],
    pub(super) usage: Option<&'a Usage>,
    pub(super) service_tier: Option<&'a str>,
}

/// The status of a response that ended, and why it is not complete.
pub(super) fn status(finish: &Finish) -> (&'static str, Option<&'static str>) {
    match finish {
        Finish::Length => ("incomplete", Some("max_output_tokens")),
        Finish::ContentFilter => ("incomplete", Some("content_filter")),
        Finish::Stop | Finish::ToolCalls | Finish::Pause | Finish::Other(_) => ("completed", None),
    }
}

pub(super) fn response_id(id: Option<&str>, context: &ReplyContext) -> String {
    match id.filter(|id| id.starts_with("resp_")) {
        Some(id) => id.to_owned(),
        None if context.id.starts_with("resp_") => context.id.clone(),
        None => format!("resp_{}", context.id),
    }
}

/// The usage object: totals with their parts. Clients take a part that is there for a number, so a
/// part that was not reported is left out with its object.
pub(super) fn usage(usage: Option<&Usage>) -> Value {
    let Some(usage) = usage else {
        return Value::Null;
    };
    let sum = |counts: &[Option<u64>]| {
        counts
            .iter()
            .any(Option::is_some)
            .then(|| counts.iter().flatten().sum::<u64>())
    };
    let input = sum(&[
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
    ]);
    let output = sum(&[usage.output_tokens, usage.reasoning_tokens]);
    let (Some(input), Some(output)) = (input, output) else {
        return Value::Null;
    };
    let mut written = Map::new();
    written.insert("input_tokens".to_owned(), input.into());
    if let Some(cached) = usage.cached_input_tokens {
        let mut details = Map::new();
        details.insert("cached_tokens".to_owned(), cached.into());
        if let Some(written) = usage.cache_write_tokens {
            details.insert("cache_write_tokens".to_owned(), written.into());
        }
        written.insert("input_tokens_details".to_owned(), Value::Object(details));
    }
    written.insert("output_tokens".to_owned(), output.into());
    if let Some(reasoning) = usage.reasoning_tokens {
        written.insert(
            "output_tokens_details".to_owned(),
            json!({ "reasoning_tokens": reasoning }),
        );
    }
    written.insert("total_tokens".to_owned(), (input + output).into());
    Value::Object(written)
}

fn repeated(request: Option<&Request>) -> Map<String, Value> {
    let default = Request::default();
    let own = request.filter(|request| request.source == Some(Dialect::Responses));
    let request = own.unwrap_or(&default);
    let text = |text: Option<&str>| text.map_or(Value::Null, Value::from);
    let instructions: Vec<&str> = request
        .system
        .iter()
        .filter_map(|block| match block {
            crate::Block::Text { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let reasoning = request.reasoning.as_ref();
    let mut format = request
        .output
        .as_ref()
        .map_or_else(|| json!({"type": "text"}), write::text_format);
    let mut shown = json!({ "format": format.take() });
    if let Some(Value::Object(more)) = request.extra.get("text")
        && let Some(shown) = shown.as_object_mut()
    {
        shown.extend(more.clone());
    }
    let members = [
        (
            "instructions",
            if instructions.is_empty() {
                Value::Null
            } else {
                instructions.join("\n\n").into()
            },
        ),
        ("max_output_tokens", request.max_tokens.into()),
        (
            "parallel_tool_calls",
            request.parallel_tool_calls.unwrap_or(true).into(),
        ),
        ("previous_response_id", Value::Null),
        (
            "reasoning",
            json!({
                "effort": text(reasoning.and_then(|reasoning| reasoning.effort.as_deref())),
                "summary": text(reasoning.and_then(|reasoning| reasoning.summary.as_deref())),
            }),
        ),
        // Nobody keeps a reply that came from another dialect.
        ("store", false.into()),
        ("temperature", request.temperature.into()),
        ("text", shown),
        (
            "tool_choice",
            request.tool_choice.as_ref().map_or_else(
                || "auto".into(),
                |choice| write::tool_choice(choice, Some(request)),
            ),
        ),
        ("tools", Value::Array(tools::write_own(&request.tools))),
        ("top_p", request.top_p.into()),
        ("truncation", "disabled".into()),
        (
            "metadata",
            request.metadata.clone().unwrap_or_else(|| json!({})),
        ),
    ];
    let user = request.user.as_deref().map(|user| ("user", user.into()));
    members
        .into_iter()
        .chain(user)
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
