//! One conversation in the words of each dialect that callers speak.

use distill_wire::Dialect;
use serde_json::{Value, json};

/// What a request asks for beyond the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Plain,
    Tools,
    Schema,
    Reasoning,
}

pub(crate) const WISHES: [Wish; 4] = [Wish::Plain, Wish::Tools, Wish::Schema, Wish::Reasoning];

const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=";

fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": false,
    })
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {"warmer": {"type": "string"}},
        "required": ["warmer"],
        "additionalProperties": false,
    })
}

pub(crate) fn request(dialect: Dialect, wish: Wish, stream: bool) -> Value {
    let mut body = match dialect {
        Dialect::ChatCompletions => chat(wish),
        Dialect::Responses => responses(wish),
        Dialect::Messages => messages(wish),
        other => panic!("no caller speaks {other:?}"),
    };
    body["stream"] = stream.into();
    body["temperature"] = 0.5.into();
    body
}

fn chat(wish: Wish) -> Value {
    let call = |id: &str, city: &str| {
        json!({"id": id, "type": "function", "function": {
            "name": "weather", "arguments": json!({ "city": city }).to_string(),
        }})
    };
    let mut body = json!({
        "model": "m", "max_tokens": 300, "stop": ["END", "STOP"],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "Which is warmer, on this map?"},
                {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PIXEL}")}},
            ]},
            {"role": "assistant", "content": "Let me look.", "tool_calls": [
                call("call_one", "Paris"), call("call_two", "Rome"),
            ]},
            {"role": "tool", "tool_call_id": "call_one", "content": "12 degrees"},
            {"role": "tool", "tool_call_id": "call_two", "content": "21 degrees"},
            {"role": "assistant", "content": "Rome."},
            {"role": "user", "content": "And by how much?"},
        ],
        "tools": [{"type": "function", "function": {
            "name": "weather", "description": "The weather of a city", "parameters": parameters(),
        }}],
    });
    match wish {
        Wish::Plain => {}
        Wish::Tools => {
            body["tool_choice"] = json!("required");
            body["parallel_tool_calls"] = false.into();
        }
        Wish::Schema => {
            without_tools(&mut body, "messages");
            body["response_format"] = json!({"type": "json_schema", "json_schema": {
                "name": "answer", "schema": schema(), "strict": true,
            }});
        }
        Wish::Reasoning => body["reasoning_effort"] = "high".into(),
    }
    body
}

fn responses(wish: Wish) -> Value {
    let call = |id: &str, city: &str| {
        json!({"type": "function_call", "call_id": id, "name": "weather",
            "arguments": json!({ "city": city }).to_string()})
    };
    let result = |id: &str, text: &str| json!({"type": "function_call_output", "call_id": id, "output": text});
    let mut body = json!({
        "model": "m", "max_output_tokens": 300, "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [
                {"type": "input_text", "text": "Which is warmer, on this map?"},
                {"type": "input_image", "image_url": format!("data:image/png;base64,{PIXEL}")},
            ]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Let me look.", "annotations": []}]},
            call("call_one", "Paris"),
            call("call_two", "Rome"),
            result("call_one", "12 degrees"),
            result("call_two", "21 degrees"),
            {"role": "assistant", "content": [{"type": "output_text", "text": "Rome.", "annotations": []}]},
            {"role": "user", "content": "And by how much?"},
        ],
        "tools": [{"type": "function", "name": "weather", "description": "The weather of a city",
            "parameters": parameters()}],
    });
    match wish {
        Wish::Plain => {}
        Wish::Tools => {
            body["tool_choice"] = json!("required");
            body["parallel_tool_calls"] = false.into();
        }
        Wish::Schema => {
            without_tools(&mut body, "input");
            body["text"] = json!({"format": {"type": "json_schema", "name": "answer",
                "schema": schema(), "strict": true}});
        }
        Wish::Reasoning => body["reasoning"] = json!({"effort": "high", "summary": "auto"}),
    }
    body
}

fn messages(wish: Wish) -> Value {
    let call = |id: &str, city: &str| json!({"type": "tool_use", "id": id, "name": "weather", "input": {"city": city}});
    let result =
        |id: &str, text: &str| json!({"type": "tool_result", "tool_use_id": id, "content": text});
    let mut body = json!({
        "model": "m", "max_tokens": 3000, "system": "Be brief.", "stop_sequences": ["END", "STOP"],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "Which is warmer, on this map?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            ]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "Let me look."},
                call("call_one", "Paris"), call("call_two", "Rome"),
            ]},
            {"role": "user", "content": [
                result("call_one", "12 degrees"), result("call_two", "21 degrees"),
            ]},
            {"role": "assistant", "content": "Rome."},
            {"role": "user", "content": "And by how much?"},
        ],
        "tools": [{"name": "weather", "description": "The weather of a city",
            "input_schema": parameters()}],
    });
    match wish {
        Wish::Plain => {}
        Wish::Tools => {
            body["tool_choice"] = json!({"type": "any", "disable_parallel_tool_use": true});
        }
        Wish::Schema => {
            without_tools(&mut body, "messages");
            body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema()}});
        }
        Wish::Reasoning => {
            body["thinking"] = json!({"type": "enabled", "budget_tokens": 2000});
        }
    }
    body
}

/// Some vendors hold no reply to a schema while there are tools.
fn without_tools(body: &mut Value, turns: &str) {
    if let Some(body) = body.as_object_mut() {
        body.remove("tools");
    }
    if let Some(Value::Array(turns)) = body.get_mut(turns) {
        turns.retain(|turn| {
            let text = turn.to_string();
            !text.contains("call_one")
                && !text.contains("call_two")
                && !text.contains("Let me look")
        });
    }
}
