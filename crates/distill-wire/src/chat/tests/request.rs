//! Callers' requests, and that a target of the same dialect gets what they meant.

use serde_json::{Value, json};

use super::{CHAT, asking, body, dropped, read};
use crate::{
    Block, CacheHint, ImageSource, OutputFormat, Quirks, Reasoning, RequestError, ToolChoice,
    TurnRole,
};

fn conversation() -> Value {
    json!({
        "model": "x",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ]},
            {"role": "assistant", "content": "", "reasoning_content": "I must look.", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"x\": 1}"}},
                {"id": "call_2", "type": "function", "function": {"name": "look", "arguments": "{\"x\": 2}"}},
            ]},
            {"role": "tool", "tool_call_id": "call_1", "content": "a cat"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "a dog"}]},
            {"role": "system", "content": "Answer in French."},
            {"role": "user", "content": "And?"},
        ],
        "tools": [{"type": "function", "function": {
            "name": "look", "description": "Looks.", "strict": true,
            "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}},
        }}],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": false,
        "max_completion_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": "END",
        "seed": -3,
        "logprobs": true,
        "top_logprobs": 2,
        "presence_penalty": 0.1,
        "frequency_penalty": -0.1,
        "n": 1,
        "user": "u",
        "metadata": {"a": "b"},
        "service_tier": "flex",
        "store": false,
        "prompt_cache_key": "k",
        "reasoning_effort": "low",
        "stream": true,
        "stream_options": {"include_usage": true, "include_obfuscation": false},
        "logit_bias": {"50256": -100},
        "response_format": {"type": "json_schema", "json_schema": {
            "name": "answer", "description": "An answer.", "schema": {"type": "object"}, "strict": true,
        }},
    })
}

#[test]
fn a_conversation_is_read_whole() {
    let request = read(&conversation());
    assert_eq!(request.system, [Block::text("Be brief.")]);
    let roles: Vec<TurnRole> = request.turns.iter().map(|turn| turn.role).collect();
    assert_eq!(
        roles,
        [
            TurnRole::User,
            TurnRole::Assistant,
            TurnRole::Tool,
            TurnRole::Tool,
            TurnRole::System,
            TurnRole::User,
        ]
    );
    assert_eq!(request.turns[0].name.as_deref(), Some("ann"));
    assert_eq!(
        request.turns[0].blocks[1..],
        [
            Block::Image {
                source: ImageSource::Url("https://a.example/b.png".into()),
                detail: Some("low".into()),
                cache: None,
            },
            Block::Image {
                source: ImageSource::Base64 {
                    media_type: "image/png".into(),
                    data: "AAAA".into(),
                },
                detail: None,
                cache: None,
            },
        ]
    );
    assert_eq!(
        request.turns[1].blocks[..2],
        [
            Block::Thinking {
                text: "I must look.".into(),
                signature: None,
                id: None,
            },
            Block::ToolCall {
                id: "call_1".into(),
                name: "look".into(),
                arguments: "{\"x\": 1}".into(),
                cache: None,
                signature: None,
            },
        ]
    );
    assert_eq!(
        request.turns[3].blocks,
        [Block::ToolResult {
            id: "call_2".into(),
            blocks: vec![Block::text("a dog")],
            is_error: false,
            cache: None,
        }]
    );
    assert_eq!(request.tool_choice, Some(ToolChoice::Tool("look".into())));
    assert_eq!(request.max_tokens, Some(9));
    assert_eq!(request.stop, ["END"]);
    assert_eq!(request.seed, Some(-3));
    assert_eq!(request.logprobs, Some(2));
    assert!(request.stream && request.stream_usage);
    assert!(matches!(
        request.output,
        Some(OutputFormat::JsonSchema {
            strict: Some(true),
            ..
        })
    ));
}

#[test]
fn what_was_read_is_written_again() {
    let request = read(&conversation());
    let mut expected = conversation();
    expected["model"] = "m-1".into();
    expected["messages"][0]["role"] = "system".into();
    expected["messages"][2]["content"] = Value::Null;
    expected["messages"][4]["content"] = "a dog".into();
    expected["stop"] = json!(["END"]);
    let quirks = Quirks {
        thinking: crate::ThinkingField::ReasoningContent,
        ..Quirks::OPENAI
    };
    assert_eq!(body(&request, quirks), expected);
    assert_eq!(dropped(&request, quirks), [""; 0]);
    assert_eq!(
        dropped(&request, Quirks::OPENAI),
        ["messages[].reasoning_content"]
    );
}

#[test]
fn fields_that_nobody_here_knows_go_on_or_are_named() {
    let request = read(&json!({
        "model": "x",
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "a", "odd": 1},
                {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                {"type": "file", "file": {"file_id": "f"}},
            ]},
            {"role": "assistant", "content": "{", "prefix": true},
        ],
        "tools": [
            {"type": "custom", "custom": {"name": "shell"}},
            {"type": "function", "function": {"name": "f"}, "odd": 2},
        ],
        "tool_choice": {"type": "custom", "custom": {"name": "shell"}},
        "prediction": {"type": "content", "content": "x"},
        "verbosity": "low",
    }));
    let body = body(&request, Quirks::OPENAI);
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [
                {"type": "text", "text": "a"},
                {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                {"type": "file", "file": {"file_id": "f"}},
            ]},
            {"role": "assistant", "content": "{", "prefix": true},
        ])
    );
    assert_eq!(body["tools"][0]["custom"]["name"], "shell");
    assert_eq!(body["tool_choice"]["type"], "custom");
    assert_eq!(body["verbosity"], "low");
    assert_eq!(body["prediction"]["content"], "x");
    assert_eq!(body.get("messages[].prefix"), None);
    assert_eq!(
        dropped(&request, Quirks::OPENAI),
        ["messages[].content[].odd", "tools[].odd"]
    );
    // A writer of another dialect finds every one of them by name.
    let names: Vec<&str> = request.extra.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "messages[].content[].odd",
            "messages[].prefix",
            "tools[].odd",
            "tool_choice",
            "prediction",
            "verbosity",
        ]
    );
}

#[test]
fn cache_hints_are_read_and_written_where_they_are_known() {
    let request = read(&json!({"model": "x", "messages": [
        {"role": "system", "content": [
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {"type": "text", "text": "b"},
        ]},
        {"role": "user", "content": [{"type": "text", "text": "c", "cache_control": {"type": "ephemeral"}}]},
    ]}));
    assert_eq!(
        request.system[0],
        Block::Text {
            text: "a".into(),
            cache: Some(CacheHint {
                ttl: Some("1h".into())
            }),
            annotations: None,
        }
    );
    assert_eq!(
        body(&request, Quirks::OPENROUTER)["messages"],
        json!([
            {"role": "system", "content": [
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {"type": "text", "text": "b"},
            ]},
            {"role": "user", "content": [
                {"type": "text", "text": "c", "cache_control": {"type": "ephemeral"}},
            ]},
        ])
    );
    assert_eq!(
        body(&request, Quirks::OPENAI)["messages"],
        json!([{"role": "system", "content": "a\n\nb"}, {"role": "user", "content": "c"}])
    );
    assert_eq!(dropped(&request, Quirks::OPENAI), ["cache_control"]);
}

#[test]
fn older_and_other_forms_are_read_too() {
    let request = read(&json!({
        "model": "x",
        "messages": [
            {"role": "user", "content": "hi", "tool_calls": null, "name": null},
            {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": {"a": 1}}},
            {"role": "function", "name": "f", "content": "1"},
        ],
        "functions": [{"name": "f", "parameters": {"type": "object"}}],
        "function_call": {"name": "f"},
        "max_tokens": 7,
        "random_seed": 4,
        "stop": ["a", "b"],
        "thinking": {"type": "enabled", "budget_tokens": 2048},
    }));
    assert_eq!(request.tools[0].name, "f");
    assert_eq!(request.tool_choice, Some(ToolChoice::Tool("f".into())));
    assert_eq!(request.seed, Some(4));
    assert_eq!(
        request.reasoning,
        Some(Reasoning {
            budget_tokens: Some(2048),
            enabled: Some(true),
            ..Reasoning::default()
        })
    );
    let messages = &body(&request, Quirks::OPENAI)["messages"];
    assert_eq!(messages[1]["tool_calls"][0]["id"], "f");
    assert_eq!(
        messages[1]["tool_calls"][0]["function"]["arguments"],
        "{\"a\":1}"
    );
    assert_eq!(
        messages[2],
        json!({"role": "tool", "tool_call_id": "f", "content": "1"})
    );
    for word in ["required", "any"] {
        let request = read(&asking(json!({"tool_choice": word})));
        assert_eq!(request.tool_choice, Some(ToolChoice::Required));
    }
    let request = read(&asking(
        json!({"reasoning": {"effort": "high", "max_tokens": 5}}),
    ));
    assert_eq!(request.reasoning.unwrap().effort.as_deref(), Some("high"));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (body, message) in [
        (json!({"messages": []}), "`model` is missing"),
        (json!({"model": "x"}), "`messages` is missing"),
        (
            json!({"model": "x", "messages": [{"content": "a"}]}),
            "`messages[0].role` is missing",
        ),
        (
            json!({"model": "x", "messages": [{"role": "user", "content": 3}]}),
            "`messages[0].content` must be a string or an array of parts",
        ),
        (
            json!({"model": "x", "messages": [{"role": "tool", "content": "a"}]}),
            "`messages[0].tool_call_id` is missing",
        ),
        (
            json!({"model": "x", "messages": [{"role": "user", "content": [{"type": "text"}]}]}),
            "`messages[0].content[0].text` is missing",
        ),
        (
            asking(json!({"stop": [1]})),
            "`stop` must be a string or an array of strings",
        ),
        (
            asking(json!({"tools": [{"type": "function"}]})),
            "`tools[0].function` is missing",
        ),
        (
            asking(json!({"seed": 1.5})),
            "`seed` must be a whole number of 64 bits",
        ),
        (
            asking(json!({"response_format": {"type": "json_schema"}})),
            "`response_format.json_schema` is missing",
        ),
    ] {
        let error = CHAT.read_request(body.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let error = CHAT
        .read_request(br#"{"model": "x", "messages": [{"role": "bot"}]}"#)
        .unwrap_err();
    assert!(error.to_string().contains("is `bot`, which is no role"));
    assert!(matches!(
        CHAT.read_request(b"{"),
        Err(RequestError::NotJson(_))
    ));
    assert!(CHAT.read_request(b"[]").is_err());
}
