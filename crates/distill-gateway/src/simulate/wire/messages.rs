//! Anthropic messages.

use distill_chat::FinishReason;
use serde_json::{Value, json};

use super::{Events, Spoken, named};

fn reason(finish: &FinishReason) -> &'static str {
    match finish {
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        _ => "end_turn",
    }
}

pub(super) fn whole(spoken: &Spoken) -> Value {
    let mut content = Vec::new();
    if !spoken.text.is_empty() || spoken.calls.is_empty() {
        content.push(json!({"type": "text", "text": spoken.text}));
    }
    content.extend(spoken.calls.iter().map(|call| {
        json!({"type": "tool_use", "id": format!("toolu_{}", call.id), "name": call.name,
            "input": call.arguments_value()})
    }));
    json!({
        "id": spoken.id,
        "type": "message",
        "role": "assistant",
        "model": spoken.model,
        "content": content,
        "stop_reason": reason(&spoken.finish),
        "stop_sequence": null,
        "usage": {
            "input_tokens": spoken.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": spoken.output_tokens,
        },
    })
}

pub(super) fn events(spoken: &Spoken) -> Events {
    let mut all = vec![named(
        "message_start",
        json!({"type": "", "message": {
            "id": spoken.id, "type": "message", "role": "assistant", "model": spoken.model,
            "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": spoken.input_tokens, "output_tokens": 1},
        }}),
    )];
    let mut index = 0;
    if !spoken.text.is_empty() || spoken.calls.is_empty() {
        all.push(named(
            "content_block_start",
            json!({"type": "", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ));
        all.extend(spoken.words().iter().map(|word| {
            named(
                "content_block_delta",
                json!({"type": "", "index": 0, "delta": {"type": "text_delta", "text": word}}),
            )
        }));
        all.push(named("content_block_stop", json!({"type": "", "index": 0})));
        index = 1;
    }
    let before_content = all.len().min(2);
    for (index, call) in (index..).zip(&spoken.calls) {
        let id = format!("toolu_{}", call.id);
        all.push(named(
            "content_block_start",
            json!({"type": "", "index": index,
                "content_block": {"type": "tool_use", "id": id, "name": call.name, "input": {}}}),
        ));
        all.extend(call.pieces().iter().map(|piece| {
            named(
                "content_block_delta",
                json!({"type": "", "index": index,
                    "delta": {"type": "input_json_delta", "partial_json": piece}}),
            )
        }));
        all.push(named(
            "content_block_stop",
            json!({"type": "", "index": index}),
        ));
    }
    all.push(named(
        "message_delta",
        json!({
            "type": "",
            "delta": {"stop_reason": reason(&spoken.finish), "stop_sequence": null},
            "usage": {"output_tokens": spoken.output_tokens},
        }),
    ));
    all.push(named("message_stop", json!({"type": ""})));
    Events {
        all,
        before_content,
    }
}
