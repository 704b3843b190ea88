//! Responses.

use axum::body::Bytes;
use distill_chat::FinishReason;
use serde_json::{Value, json};

use super::{Events, Spoken, named};

fn is_cut(spoken: &Spoken) -> bool {
    spoken.finish == FinishReason::Length
}

fn state(spoken: &Spoken) -> &'static str {
    if is_cut(spoken) {
        "incomplete"
    } else {
        "completed"
    }
}

/// The response around its items; an empty list of them stands for one that has only begun.
fn response(spoken: &Spoken, output: &[Value], status: &str) -> Value {
    let ended = status != "in_progress";
    let usage = json!({
        "input_tokens": spoken.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": spoken.output_tokens,
        "output_tokens_details": {"reasoning_tokens": spoken.reasoning_tokens},
        "total_tokens": spoken.input_tokens + spoken.output_tokens,
    });
    let details = (ended && is_cut(spoken)).then(|| json!({"reason": "max_output_tokens"}));
    json!({
        "id": spoken.id,
        "object": "response",
        "created_at": 0,
        "status": status,
        "error": null,
        "incomplete_details": details,
        "instructions": null,
        "metadata": {},
        "model": spoken.model,
        "output": output,
        "parallel_tool_calls": true,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": ended.then_some(usage),
    })
}

fn message(spoken: &Spoken, status: &str, content: Value) -> Value {
    json!({"id": format!("msg_{}", spoken.id), "type": "message", "status": status,
        "role": "assistant", "content": content})
}

fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

fn call_item(call: &super::Call, status: &str, arguments: &str) -> Value {
    json!({"id": format!("fc_{}", call.id), "type": "function_call", "status": status,
        "call_id": format!("call_{}", call.id), "name": call.name, "arguments": arguments})
}

fn has_text(spoken: &Spoken) -> bool {
    !spoken.text.is_empty() || spoken.calls.is_empty()
}

fn items(spoken: &Spoken) -> Vec<Value> {
    let mut items = Vec::new();
    if has_text(spoken) {
        let content = json!([text_part(&spoken.text)]);
        items.push(message(spoken, state(spoken), content));
    }
    items.extend(
        spoken
            .calls
            .iter()
            .map(|call| call_item(call, "completed", &call.arguments)),
    );
    items
}

pub(super) fn whole(spoken: &Spoken) -> Value {
    response(spoken, &items(spoken), state(spoken))
}

/// Numbers the events as it goes.
struct Sequence(Vec<Bytes>);

impl Sequence {
    fn push(&mut self, kind: &str, mut data: Value) {
        data["sequence_number"] = self.0.len().into();
        self.0.push(named(kind, data));
    }
}

pub(super) fn events(spoken: &Spoken) -> Events {
    let mut all = Sequence(Vec::new());
    for kind in ["response.created", "response.in_progress"] {
        let begun = response(spoken, &[], "in_progress");
        all.push(kind, json!({"type": "", "response": begun}));
    }
    let mut before_content = 2;
    let mut index = 0;
    if has_text(spoken) {
        text_events(spoken, &mut all);
        before_content = 4;
        index = 1;
    }
    for (index, call) in (index..).zip(&spoken.calls) {
        let id = format!("fc_{}", call.id);
        all.push(
            "response.output_item.added",
            json!({"type": "", "output_index": index, "item": call_item(call, "in_progress", "")}),
        );
        for piece in call.pieces() {
            all.push(
                "response.function_call_arguments.delta",
                json!({"type": "", "item_id": id, "output_index": index, "delta": piece}),
            );
        }
        all.push(
            "response.function_call_arguments.done",
            json!({"type": "", "item_id": id, "output_index": index, "name": call.name,
                "arguments": call.arguments}),
        );
        let item = call_item(call, "completed", &call.arguments);
        all.push(
            "response.output_item.done",
            json!({"type": "", "output_index": index, "item": item}),
        );
    }
    let last = if is_cut(spoken) {
        "response.incomplete"
    } else {
        "response.completed"
    };
    all.push(last, json!({"type": "", "response": whole(spoken)}));
    Events {
        all: all.0,
        before_content,
    }
}

fn text_events(spoken: &Spoken, all: &mut Sequence) {
    let id = format!("msg_{}", spoken.id);
    let place = |mut data: Value| {
        data["item_id"] = id.as_str().into();
        data["output_index"] = 0.into();
        data["content_index"] = 0.into();
        data
    };
    let begun = message(spoken, "in_progress", json!([]));
    all.push(
        "response.output_item.added",
        json!({"type": "", "output_index": 0, "item": begun}),
    );
    all.push(
        "response.content_part.added",
        place(json!({"type": "", "part": text_part("")})),
    );
    for word in spoken.words() {
        all.push(
            "response.output_text.delta",
            place(json!({"type": "", "delta": word, "logprobs": []})),
        );
    }
    all.push(
        "response.output_text.done",
        place(json!({"type": "", "text": spoken.text, "logprobs": []})),
    );
    all.push(
        "response.content_part.done",
        place(json!({"type": "", "part": text_part(&spoken.text)})),
    );
    let item = message(spoken, state(spoken), json!([text_part(&spoken.text)]));
    all.push(
        "response.output_item.done",
        json!({"type": "", "output_index": 0, "item": item}),
    );
}
