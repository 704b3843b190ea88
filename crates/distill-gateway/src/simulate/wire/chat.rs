//! Chat completions.

use axum::body::Bytes;
use distill_chat::FinishReason;
use serde_json::{Map, Value, json};

use super::{Events, Spoken};

fn reason(finish: &FinishReason) -> &'static str {
    match finish {
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        _ => "stop",
    }
}

fn usage(spoken: &Spoken) -> Value {
    json!({
        "prompt_tokens": spoken.input_tokens,
        "completion_tokens": spoken.output_tokens,
        "total_tokens": spoken.input_tokens + spoken.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": spoken.reasoning_tokens},
    })
}

pub(super) fn whole(spoken: &Spoken) -> Value {
    let mut message = Map::new();
    message.insert("role".to_owned(), "assistant".into());
    let text = (!spoken.text.is_empty() || spoken.calls.is_empty()).then_some(&spoken.text);
    message.insert("content".to_owned(), json!(text));
    message.insert("refusal".to_owned(), Value::Null);
    if !spoken.calls.is_empty() {
        let calls: Vec<Value> = spoken
            .calls
            .iter()
            .map(|call| {
                json!({"id": format!("call_{}", call.id), "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments}})
            })
            .collect();
        message.insert("tool_calls".to_owned(), calls.into());
    }
    json!({
        "id": spoken.id,
        "object": "chat.completion",
        "created": 0,
        "model": spoken.model,
        "choices": [{
            "index": 0,
            "message": message,
            "logprobs": null,
            "finish_reason": reason(&spoken.finish),
        }],
        "usage": usage(spoken),
    })
}

pub(super) fn events(spoken: &Spoken, usage_chunk: bool) -> Events {
    let chunk = |choices: Value, usage: Value| {
        let event = json!({
            "id": spoken.id, "object": "chat.completion.chunk", "created": 0,
            "model": spoken.model, "choices": choices, "usage": usage,
        });
        Bytes::from(format!("data: {event}\n\n"))
    };
    let delta = |delta: Value, finish: Value| {
        let choice =
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        chunk(choice, Value::Null)
    };
    let opening = json!({"role": "assistant", "content": ""});
    let mut all = vec![delta(opening, Value::Null)];
    all.extend(
        spoken
            .words()
            .iter()
            .map(|word| delta(json!({"content": word}), Value::Null)),
    );
    for (index, call) in spoken.calls.iter().enumerate() {
        let first = json!({"index": index, "id": format!("call_{}", call.id), "type": "function",
            "function": {"name": call.name, "arguments": ""}});
        all.push(delta(json!({"tool_calls": [first]}), Value::Null));
        all.extend(call.pieces().iter().map(|piece| {
            let more = json!({"index": index, "function": {"arguments": piece}});
            delta(json!({"tool_calls": [more]}), Value::Null)
        }));
    }
    all.push(delta(json!({}), reason(&spoken.finish).into()));
    if usage_chunk {
        all.push(chunk(json!([]), usage(spoken)));
    }
    all.push(Bytes::from_static(b"data: [DONE]\n\n"));
    Events {
        all,
        before_content: 1,
    }
}
