mod errors;
mod stream;

use distill_chat::Usage;
use serde_json::{Value, json};

use crate::{
    Block, Dialect, Finish, ImageSource, Malformed, OutputFormat, Quirks, Reasoning, Reply,
    ReplyContext, Request, RequestError, Tool, ToolChoice, Turn, TurnRole, Unsupported, Writing,
    Written,
};

const DIALECT: Dialect = Dialect::Gemini;

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
    let Written { body, dropped } = DIALECT.write_request(request, &writing(model)).unwrap();
    (
        serde_json::from_slice(&body).unwrap(),
        dropped.into_iter().map(|dropped| dropped.field).collect(),
    )
}

fn user(text: &str) -> Turn {
    turn(TurnRole::User, vec![Block::text(text)])
}

fn turn(role: TurnRole, blocks: Vec<Block>) -> Turn {
    Turn {
        role,
        blocks,
        name: None,
        extra: serde_json::Map::new(),
    }
}

fn call(id: &str, arguments: &str) -> Block {
    Block::ToolCall {
        id: id.into(),
        name: format!("tool_{id}"),
        arguments: arguments.into(),
        cache: None,
        signature: None,
    }
}

fn result(id: &str, text: &str, is_error: bool) -> Block {
    Block::ToolResult {
        id: id.into(),
        blocks: vec![Block::text(text)],
        is_error,
        cache: None,
    }
}

fn weather() -> Tool {
    Tool {
        name: "weather".into(),
        description: Some("of a place".into()),
        parameters: Some(json!({"type": "object", "properties": {"at": {"type": "string"}}})),
        strict: Some(true),
        cache: None,
        vendor: None,
    }
}

fn full_request() -> Request {
    Request {
        source: Some(Dialect::ChatCompletions),
        system: vec![Block::text("Be brief.")],
        turns: vec![
            user("hello"),
            turn(
                TurnRole::Assistant,
                vec![
                    Block::text("I look."),
                    call("a", r#"{"x": 1}"#),
                    call("b", ""),
                ],
            ),
            turn(TurnRole::Tool, vec![result("b", "two\nlines", false)]),
            turn(TurnRole::Tool, vec![result("a", "no such place", true)]),
            turn(
                TurnRole::User,
                vec![Block::Image {
                    source: ImageSource::Base64 {
                        media_type: "image/png".into(),
                        data: "QUJD".into(),
                    },
                    detail: Some("low".into()),
                    cache: None,
                }],
            ),
        ],
        tools: vec![weather()],
        tool_choice: Some(ToolChoice::Tool("weather".into())),
        parallel_tool_calls: Some(false),
        max_tokens: Some(7),
        temperature: Some(0.5),
        top_p: Some(0.9),
        top_k: Some(40),
        stop: vec!["END".into()],
        seed: Some(3),
        logprobs: Some(2),
        output: Some(OutputFormat::JsonSchema {
            name: Some("answer".into()),
            description: None,
            schema: json!({"type": "object"}),
            strict: Some(true),
        }),
        user: Some("u".into()),
        extra: serde_json::Map::from_iter([("logit_bias".to_owned(), json!({"1": 2}))]),
        ..Request::default()
    }
}

#[test]
fn a_request_of_another_dialect_says_the_same() {
    let request = full_request();
    let (body, dropped) = written(&request, "gemini-2.5-flash");
    assert_eq!(
        body,
        json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "hello"}]},
                {"role": "model", "parts": [
                    {"text": "I look."},
                    {"functionCall": {"id": "a", "name": "tool_a", "args": {"x": 1}}},
                    {"functionCall": {"id": "b", "name": "tool_b", "args": {}}},
                ]},
                {"role": "user", "parts": [
                    {"functionResponse": {
                        "id": "b", "name": "tool_b", "response": {"output": "two\nlines"},
                    }},
                    {"functionResponse": {
                        "id": "a", "name": "tool_a", "response": {"error": "no such place"},
                    }},
                ]},
                {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "QUJD"}}]},
            ],
            "tools": [{"functionDeclarations": [{
                "name": "weather",
                "description": "of a place",
                "parametersJsonSchema": {"type": "object", "properties": {"at": {"type": "string"}}},
            }]}],
            "toolConfig": {"functionCallingConfig": {
                "mode": "ANY", "allowedFunctionNames": ["weather"],
            }},
            "generationConfig": {
                "maxOutputTokens": 7, "temperature": 0.5, "topP": 0.9, "topK": 40,
                "stopSequences": ["END"], "seed": 3, "responseLogprobs": true, "logprobs": 2,
                "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"},
            },
        })
    );
    assert_eq!(
        dropped,
        [
            "image_url.detail",
            "tools.strict",
            "parallel_tool_calls",
            "user",
            "logit_bias"
        ]
    );
    let back = DIALECT.read_request(body.to_string().as_bytes()).unwrap();
    assert_eq!(back.turns[1].blocks, {
        let mut blocks = request.turns[1].blocks.clone();
        blocks[1] = call("a", r#"{"x":1}"#);
        blocks[2] = call("b", "{}");
        blocks
    });
    assert_eq!(
        back.turns[2].blocks,
        [
            result("b", "two\nlines", false),
            result("a", "no such place", true)
        ]
    );
}

#[test]
fn a_request_of_this_dialect_comes_back_as_it_was() {
    let body = json!({
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}, {"fileData": {
                "mimeType": "video/mp4", "fileUri": "https://example.org/v",
            }}]},
            {"role": "model", "parts": [
                {"text": "plan", "thought": true, "thoughtSignature": "AAA"},
                {"functionCall": {"name": "f", "args": {"x": [1, 2]}}, "thoughtSignature": "BBB"},
                {"functionCall": {"name": "f", "args": {}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "f", "response": {"celsius": 21.5}}},
                {"functionResponse": {"name": "f", "response": {"error": "no"}}},
            ]},
            {"role": "model", "parts": [{"text": "It is warm.", "thoughtSignature": "CCC"}]},
        ],
        "systemInstruction": {"role": "user", "parts": [{"text": "s"}]},
        "tools": [
            {"functionDeclarations": [{"name": "f", "description": "d"}]},
            {"googleSearch": {}},
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}, "retrievalConfig": {"a": 1}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
        "cachedContent": "cachedContents/1",
        "generationConfig": {
            "temperature": 0.0, "mediaResolution": "MEDIA_RESOLUTION_LOW", "stopSequences": ["a"],
            "thinkingConfig": {"thinkingBudget": 512, "includeThoughts": true},
        },
    });
    let request = DIALECT.read_request(body.to_string().as_bytes()).unwrap();
    assert_eq!(request.turns[2].role, TurnRole::Tool);
    let (back, dropped) = written(&request, "gemini-2.5-pro");
    assert_eq!(back, body);
    assert_eq!(dropped, Vec::<String>::new());
}

#[test]
fn a_body_that_is_no_request_names_the_field() {
    for (body, field) in [
        (json!({}), "contents"),
        (json!({"contents": [{"role": "bot"}]}), "contents[0].role"),
        (
            json!({"contents": [{"parts": [{"text": 1}]}]}),
            "contents[0].parts[0].text",
        ),
        (
            json!({"contents": [{"parts": [{"functionResponse": {"name": "f"}}]}]}),
            "contents[0].parts[0].functionResponse.name",
        ),
        (
            json!({"contents": [], "generationConfig": {"topP": "x"}}),
            "generationConfig.topP",
        ),
    ] {
        match DIALECT.read_request(body.to_string().as_bytes()) {
            Err(
                RequestError::Missing { field: named } | RequestError::Invalid { field: named, .. },
            ) => {
                assert_eq!(named, field);
            }
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn what_would_change_the_meaning_is_refused() {
    let refused = |change: fn(&mut Request)| {
        let mut request = Request {
            turns: vec![user("hi")],
            source: Some(Dialect::ChatCompletions),
            ..Request::default()
        };
        change(&mut request);
        let Unsupported { field, .. } = DIALECT
            .write_request(&request, &writing("gemini-2.5-flash"))
            .unwrap_err();
        field
    };
    assert_eq!(refused(|request| request.n = Some(2)), "n");
    assert_eq!(
        refused(|request| request.stop = vec!["a".into(); 6]),
        "stop"
    );
    assert_eq!(
        refused(|request| request
            .turns
            .push(turn(TurnRole::Tool, vec![result("x", "", false)]))),
        "tool_call_id"
    );
    assert_eq!(
        refused(|request| {
            request.turns[0]
                .blocks
                .push(Block::Other(json!({"type": "video"})));
        }),
        "video"
    );
    assert_eq!(
        refused(|request| {
            request.turns[0].blocks.push(Block::Image {
                source: ImageSource::File("file-1".into()),
                detail: None,
                cache: None,
            });
        }),
        "file_id"
    );
    assert_eq!(
        refused(|request| {
            request.tools.push(Tool {
                name: "web_search".into(),
                parameters: None,
                vendor: Some(json!({"type": "web_search"})),
                ..weather()
            });
            request.tool_choice = Some(ToolChoice::Tool("web_search".into()));
        }),
        "tool_choice"
    );
}

#[test]
fn reasoning_is_a_level_or_a_budget_by_generation() {
    let config = |model: &str, reasoning: Reasoning| {
        let request = Request {
            turns: vec![user("hi")],
            reasoning: Some(reasoning),
            ..Request::default()
        };
        let (body, dropped) = written(&request, model);
        (
            body["generationConfig"]["thinkingConfig"].clone(),
            dropped.len(),
        )
    };
    let effort = |effort: &str| Reasoning {
        effort: Some(effort.into()),
        ..Reasoning::default()
    };
    for (model, word, wanted, said) in [
        (
            "gemini-2.5-flash",
            "medium",
            json!({"thinkingBudget": 8192}),
            0,
        ),
        ("gemini-2.5-flash", "none", json!({"thinkingBudget": 0}), 0),
        (
            "gemini-3-flash",
            "medium",
            json!({"thinkingLevel": "medium"}),
            0,
        ),
        (
            "gemini-3-pro-preview",
            "minimal",
            json!({"thinkingLevel": "low"}),
            1,
        ),
        (
            "gemini-3.1-flash",
            "xhigh",
            json!({"thinkingLevel": "high"}),
            1,
        ),
        ("gemini-2.0-flash", "high", Value::Null, 1),
        ("gemini-2.0-flash", "none", Value::Null, 0),
    ] {
        assert_eq!(
            config(model, effort(word)),
            (wanted, said),
            "{model} {word}"
        );
    }
    let budget = Reasoning {
        budget_tokens: Some(2000),
        enabled: Some(true),
        ..Reasoning::default()
    };
    assert_eq!(
        config("gemini-3-pro", budget),
        (json!({"thinkingBudget": 2000, "includeThoughts": true}), 0)
    );
}

#[test]
fn another_models_call_is_marked_for_gemini_3() {
    let request = Request {
        source: Some(Dialect::Messages),
        turns: vec![
            user("hi"),
            turn(
                TurnRole::Assistant,
                vec![
                    Block::Thinking {
                        text: "hm".into(),
                        signature: Some("EqQB".into()),
                        id: None,
                    },
                    call("a", "{}"),
                    call("b", "[1]"),
                ],
            ),
        ],
        ..Request::default()
    };
    let (body, dropped) = written(&request, "models/gemini-3-pro-preview");
    let parts = &body["contents"][1]["parts"];
    assert_eq!(parts[0], json!({"text": "hm", "thought": true}));
    assert_eq!(
        parts[1]["thoughtSignature"],
        "skip_thought_signature_validator"
    );
    assert_eq!(parts[2].get("thoughtSignature"), None);
    assert_eq!(
        parts[2]["functionCall"]["args"],
        json!({"arguments": "[1]"})
    );
    assert_eq!(dropped, ["signature", "the form of a call's arguments"]);
    let (body, _) = written(&request, "gemini-2.5-pro");
    assert_eq!(
        body["contents"][1]["parts"][1].get("thoughtSignature"),
        None
    );
}

fn reply(body: &Value) -> Reply {
    DIALECT.read_reply(body.to_string().as_bytes()).unwrap()
}

fn usage(metadata: Value) -> Usage {
    reply(&json!({
        "candidates": [{"content": {"parts": []}, "finishReason": "STOP"}],
        "usageMetadata": metadata,
    }))
    .usage
}

#[test]
fn the_classes_of_usage_are_disjoint_and_add_up() {
    let all = usage(json!({
        "promptTokenCount": 100, "cachedContentTokenCount": 60, "toolUsePromptTokenCount": 7,
        "candidatesTokenCount": 20, "thoughtsTokenCount": 5, "totalTokenCount": 132,
    }));
    let wanted = Usage {
        input_tokens: Some(47),
        cached_input_tokens: Some(60),
        cache_write_tokens: None,
        output_tokens: Some(20),
        reasoning_tokens: Some(5),
    };
    assert_eq!(all, wanted);
    let inside = usage(json!({
        "promptTokenCount": 10, "candidatesTokenCount": 20, "thoughtsTokenCount": 5,
        "totalTokenCount": 30,
    }));
    assert_eq!(
        (inside.output_tokens, inside.reasoning_tokens),
        (Some(15), Some(5))
    );
    let unsaid = usage(json!({
        "promptTokenCount": 10, "thoughtsTokenCount": 5, "totalTokenCount": 18,
    }));
    assert_eq!(unsaid.output_tokens, Some(3));
    let untrue = usage(json!({"promptTokenCount": 10, "cachedContentTokenCount": 11}));
    assert_eq!(
        (untrue.input_tokens, untrue.cached_input_tokens),
        (Some(10), None)
    );
    assert_eq!(usage(json!({})), Usage::default());
}

#[test]
fn a_blocked_prompt_is_a_reply_without_content() {
    let body = json!({
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4},
        "modelVersion": "gemini-2.5-flash",
    });
    let read = reply(&body);
    assert_eq!(read.finish, Finish::ContentFilter);
    assert!(read.blocks.is_empty());
    let back = DIALECT.write_reply(&read, &ReplyContext::default());
    assert_eq!(serde_json::from_slice::<Value>(&back).unwrap(), body);
}

#[test]
fn what_is_no_answer_is_malformed() {
    let read = |body: Value| DIALECT.read_reply(body.to_string().as_bytes()).unwrap_err();
    assert_eq!(
        read(json!({"error": {"code": 500, "message": "sorry"}})),
        Malformed::Error("sorry".into())
    );
    assert_eq!(read(json!({})), Malformed::Missing("candidate"));
    assert_eq!(
        read(json!({"candidates": [{"content": {"parts": [{"text": "a"}]}}]})),
        Malformed::Missing("finish reason")
    );
}

#[test]
fn calls_get_names_that_last_and_differ() {
    let body = |response: Option<&str>, tokens: u64| {
        let mut body = json!({
            "candidates": [{"finishReason": "STOP", "content": {"parts": [
                {"functionCall": {"name": "f", "args": {"a": 1}}},
                {"functionCall": {"name": "f", "args": {"a": 1}}},
            ]}}],
            "usageMetadata": {"promptTokenCount": tokens},
        });
        if let Some(response) = response {
            body["responseId"] = response.into();
        }
        body
    };
    let names = |body: &Value| -> Vec<String> {
        let read = reply(body);
        assert_eq!(read.finish, Finish::ToolCalls);
        read.blocks
            .iter()
            .map(|block| match block {
                Block::ToolCall { id, .. } => id.clone(),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    for response in [
        Some("m36LaZGyCLz1xs0PtNSB-QU"),
        Some(&*"x".repeat(90)),
        None,
    ] {
        let first = names(&body(response, 5));
        assert_eq!(first, names(&body(response, 5)));
        assert_ne!(first[0], first[1]);
        assert!(first.iter().all(|id| {
            id.len() <= 40
                && id
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
        }));
        let back = DIALECT.write_reply(&reply(&body(response, 5)), &ReplyContext::default());
        assert!(!String::from_utf8(back).unwrap().contains("call_g"));
    }
    assert_ne!(names(&body(None, 5)), names(&body(None, 6)));
}

#[test]
fn logprobs_come_back() {
    let body = json!({
        "candidates": [{
            "content": {"parts": [{"text": "a"}], "role": "model"},
            "finishReason": "STOP", "index": 0,
            "logprobsResult": {
                "chosenCandidates": [{"token": "a", "logProbability": -0.25}],
                "topCandidates": [{"candidates": [
                    {"token": "a", "logProbability": -0.25}, {"token": "b", "logProbability": -3.5},
                ]}],
            },
        }],
        "modelVersion": "m", "responseId": "r",
    });
    let read = reply(&body);
    let logprobs = read.logprobs.as_ref().unwrap();
    assert!((logprobs[0].top[1].logprob + 3.5).abs() < 1e-12);
    let back = DIALECT.write_reply(&read, &ReplyContext::default());
    assert_eq!(serde_json::from_slice::<Value>(&back).unwrap(), body);
}

#[test]
fn the_model_stands_in_the_path() {
    assert_eq!(
        super::path("gemini-2.5-pro", false),
        "/models/gemini-2.5-pro:generateContent"
    );
    assert_eq!(
        super::path("models/gemini-2.5-pro", true),
        "/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
    );
}
