use serde_json::{Value, json};

use crate::{
    Block, Delta, Dialect, Event, Finish, ImageSource, Malformed, OutputFormat, Quirks, Reasoning,
    ReplyContext, Request, Tool, ToolChoice, Turn, TurnRole, Writing,
    sse::{Decoder, Frame},
};

const DIALECT: Dialect = Dialect::Cohere;

fn writing(model: &str) -> Writing<'_> {
    Writing {
        model,
        quirks: Quirks::COMPATIBLE,
        fixed_temperature: false,
        default_max_tokens: 0,
        meter: false,
    }
}

fn written(request: &Request, model: &str) -> (Value, Vec<String>) {
    let written = DIALECT.write_request(request, &writing(model)).unwrap();
    (
        serde_json::from_slice(&written.body).unwrap(),
        written
            .dropped
            .into_iter()
            .map(|dropped| dropped.field)
            .collect(),
    )
}

fn turn(role: TurnRole, blocks: Vec<Block>) -> Turn {
    Turn {
        role,
        blocks,
        name: None,
        extra: serde_json::Map::new(),
    }
}

fn tool(name: &str, strict: Option<bool>) -> Tool {
    Tool {
        name: name.into(),
        description: None,
        parameters: Some(json!({"type": "object"})),
        strict,
        cache: None,
        vendor: None,
    }
}

#[test]
fn a_request_of_another_dialect_says_the_same() {
    let request = Request {
        source: Some(Dialect::Messages),
        system: vec![Block::text("Be brief.")],
        turns: vec![
            turn(
                TurnRole::User,
                vec![
                    Block::text("see"),
                    Block::Image {
                        source: ImageSource::Base64 {
                            media_type: "image/png".into(),
                            data: "QUJD".into(),
                        },
                        detail: None,
                        cache: None,
                    },
                ],
            ),
            turn(
                TurnRole::Assistant,
                vec![
                    Block::Thinking {
                        text: "hm".into(),
                        signature: Some("sig".into()),
                        id: None,
                    },
                    Block::text("I look."),
                    Block::ToolCall {
                        id: "a".into(),
                        name: "f".into(),
                        arguments: "{}".into(),
                        cache: None,
                        signature: None,
                    },
                ],
            ),
            turn(
                TurnRole::User,
                vec![
                    Block::ToolResult {
                        id: "a".into(),
                        blocks: vec![Block::text("broken")],
                        is_error: true,
                        cache: None,
                    },
                    Block::text("go on"),
                ],
            ),
        ],
        tools: vec![tool("f", Some(true)), tool("g", None)],
        tool_choice: Some(ToolChoice::Tool("f".into())),
        max_tokens: Some(9),
        top_p: Some(0.5),
        top_k: Some(3),
        stop: vec!["END".into()],
        seed: Some(-1),
        logprobs: Some(2),
        reasoning: Some(Reasoning {
            enabled: Some(true),
            budget_tokens: Some(99),
            ..Reasoning::default()
        }),
        stream: true,
        ..Request::default()
    };
    let (body, dropped) = written(&request, "command-a-reasoning-08-2025");
    assert_eq!(
        body,
        json!({
            "model": "command-a-reasoning-08-2025",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                ]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "I look."},
                ], "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                ]},
                {"role": "tool", "tool_call_id": "a", "content": [
                    {"type": "text", "text": "Error:"}, {"type": "text", "text": "broken"},
                ]},
                {"role": "user", "content": "go on"},
            ],
            "tools": [{"type": "function", "function": {
                "name": "f", "parameters": {"type": "object"},
            }}],
            "strict_tools": true,
            "tool_choice": "REQUIRED",
            "stream": true, "max_tokens": 9, "p": 0.5, "k": 3, "stop_sequences": ["END"],
            "logprobs": true, "thinking": {"type": "enabled", "token_budget": 99},
        })
    );
    assert_eq!(dropped, ["signature", "seed", "top_logprobs"]);
    let (body, dropped) = written(&request, "command-a-03-2025");
    assert_eq!(body.get("thinking"), None);
    assert!(dropped.contains(&"reasoning".to_owned()));
}

#[test]
fn a_request_of_this_dialect_comes_back_as_it_was() {
    let body = json!({
        "model": "command-r",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url",
                "image_url": {"url": "https://example.org/a.png", "detail": "low"}}]},
            {"role": "assistant", "tool_plan": "I will look.", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
            ]},
            {"role": "tool", "tool_call_id": "c", "content": [
                {"type": "document", "document": {"id": "1", "data": {"x": "y"}}},
            ]},
            {"role": "assistant", "content": "done", "citations": [{"start": 0, "end": 1}]},
            {"role": "system", "content": "later"},
        ],
        "tools": [{"type": "function", "function": {
            "name": "f", "description": "d", "parameters": {"type": "object"},
        }}],
        "strict_tools": false,
        "tool_choice": "NONE",
        "documents": ["a"], "safety_mode": "OFF",
        "k": 5, "p": 0.75, "seed": 4, "temperature": 0.3, "stream": true,
        "thinking": {"type": "disabled"},
    });
    let request = DIALECT.read_request(body.to_string().as_bytes()).unwrap();
    let (back, dropped) = written(&request, "command-r");
    assert_eq!(back, body);
    assert_eq!(dropped, Vec::<String>::new());
}

#[test]
fn what_would_change_the_meaning_is_refused() {
    let refused = |change: fn(&mut Request)| {
        let mut request = Request {
            source: Some(Dialect::ChatCompletions),
            turns: vec![turn(TurnRole::User, vec![Block::text("hi")])],
            ..Request::default()
        };
        change(&mut request);
        DIALECT
            .write_request(&request, &writing("command-a"))
            .unwrap_err()
            .field
    };
    assert_eq!(refused(|request| request.n = Some(2)), "n");
    assert_eq!(
        refused(|request| request.stop = vec!["a".into(); 6]),
        "stop"
    );
    assert_eq!(
        refused(|request| request.tool_choice = Some(ToolChoice::Required)),
        "tool_choice"
    );
    assert_eq!(
        refused(|request| {
            request.tools.push(tool("f", None));
            request.output = Some(OutputFormat::JsonObject);
        }),
        "response_format"
    );
    assert_eq!(
        refused(|request| {
            request.turns[0]
                .blocks
                .push(Block::Other(json!({"type": "input_audio"})));
        }),
        "input_audio"
    );
}

fn reply_body() -> Value {
    json!({
        "id": "r",
        "message": {
            "role": "assistant",
            "tool_plan": "I will look.",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hi"}],
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
                {"id": "d", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
            "citations": [{"start": 0, "end": 2, "text": "Hi", "sources": []}],
        },
        "finish_reason": "TOOL_CALL",
        "usage": {"tokens": {"input_tokens": 50.0, "output_tokens": 9.0},
            "billed_units": {"input_tokens": 5, "output_tokens": 7, "search_units": 1}},
        "logprobs": [{"text": "Hi", "logprobs": [-0.5]}],
    })
}

#[test]
fn a_reply_comes_back_as_it_was_and_its_bill_counts() {
    let body = reply_body();
    let reply = DIALECT.read_reply(body.to_string().as_bytes()).unwrap();
    assert_eq!(reply.finish, Finish::ToolCalls);
    assert_eq!(reply.blocks.len(), 5);
    assert_eq!(
        (reply.usage.input_tokens, reply.usage.output_tokens),
        (Some(5), Some(7))
    );
    let back = DIALECT.write_reply(&reply, &ReplyContext::default());
    assert_eq!(serde_json::from_slice::<Value>(&back).unwrap(), body);
}

#[test]
fn without_a_bill_the_tokens_count() {
    let mut body = reply_body();
    body["usage"] =
        json!({"tokens": {"input_tokens": 50, "output_tokens": 9}, "cached_tokens": 20});
    let reply = DIALECT.read_reply(body.to_string().as_bytes()).unwrap();
    assert_eq!(
        (reply.usage.input_tokens, reply.usage.cached_input_tokens),
        (Some(30), Some(20))
    );
    let back = DIALECT.write_reply(&reply, &ReplyContext::default());
    assert_eq!(serde_json::from_slice::<Value>(&back).unwrap(), body);
}

#[test]
fn what_is_no_answer_is_malformed() {
    let read = |body: Value| DIALECT.read_reply(body.to_string().as_bytes()).unwrap_err();
    assert_eq!(
        read(json!({"message": "invalid api token"})),
        Malformed::Error("invalid api token".into())
    );
    assert_eq!(
        read(json!({"message": {"role": "assistant"}})),
        Malformed::Missing("finish reason")
    );
}

fn read_stream(frames: &[Frame]) -> Vec<Event> {
    let mut reader = DIALECT.stream_reader();
    let mut events = Vec::new();
    for frame in frames {
        reader.read(frame, &mut events).unwrap();
    }
    events
}

fn frame(value: &Value) -> Frame {
    Frame {
        event: None,
        data: value.to_string(),
    }
}

#[test]
fn a_stream_with_a_plan_and_parallel_calls() {
    let call = |index: u64, id: &str| {
        json!({"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": {
            "id": id, "type": "function", "function": {"name": "f", "arguments": ""},
        }}}})
    };
    let arguments = |index: u64, piece: &str| {
        json!({"type": "tool-call-delta", "index": index, "delta": {"message": {"tool_calls": {
            "function": {"arguments": piece},
        }}}})
    };
    let frames: Vec<Frame> = [
        json!({"type": "message-start", "id": "r", "delta": {"message": {"role": "assistant"}}}),
        json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I "}}}),
        json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "look"}}}),
        call(0, "a"),
        arguments(0, "{\"x\""),
        arguments(0, ":1}"),
        json!({"type": "tool-call-end", "index": 0}),
        call(1, "b"),
        arguments(1, "{}"),
        json!({"type": "tool-call-end", "index": 1}),
        json!({"type": "message-end", "delta": {"finish_reason": "TOOL_CALL",
            "usage": {"billed_units": {"input_tokens": 3, "output_tokens": 4}}}}),
    ]
    .iter()
    .map(frame)
    .collect();
    let events = read_stream(&frames);
    let pieces: Vec<String> = events
        .iter()
        .filter_map(|event| match event {
            Event::Delta {
                index,
                delta: Delta::Thinking(text) | Delta::Arguments(text),
            } => Some(format!("{index}:{text}")),
            _ => None,
        })
        .collect();
    assert_eq!(pieces, ["0:I ", "0:look", "1:{\"x\"", "1::1}", "2:{}"]);
    assert_eq!(events.last(), Some(&Event::End));
    let mut writer = DIALECT.stream_writer(&ReplyContext::default());
    let mut bytes = Vec::new();
    for event in &events {
        writer.write(event, &mut bytes);
    }
    let mut back = Vec::new();
    Decoder::new(1 << 20).push(&bytes, &mut back).unwrap();
    assert_eq!(read_stream(&back), events);
}

#[test]
fn a_stream_that_failed_or_was_cut_is_not_whole() {
    let mut reader = DIALECT.stream_reader();
    let mut events = Vec::new();
    reader
        .read(
            &frame(&json!({"type": "message-start", "id": "r"})),
            &mut events,
        )
        .unwrap();
    assert!(!reader.is_whole());
    let end = json!({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "boom"}});
    reader.read(&frame(&end), &mut events).unwrap();
    assert!(!reader.is_whole());
    assert!(matches!(events.last(), Some(Event::Error(error)) if error.message == "boom"));
}
