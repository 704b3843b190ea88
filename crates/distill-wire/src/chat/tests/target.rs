//! Requests of other dialects, and how each vendor departs from this one.

use serde_json::{Value, json};

use super::{asking, body, dropped, read, write};
use crate::{
    Block, Dialect, ImageSource, OutputFormat, Quirks, Reasoning, Request, Tool, ToolChoice, Turn,
    TurnRole, proof::Proof,
};

/// Thinking in earlier turns, as a caller of the messages dialect names it.
const THOUGHT: &str = "messages[].content[].thinking";

/// A request as another dialect's reader would leave it.
fn foreign(turns: Vec<Turn>) -> Request {
    Request {
        source: Some(Dialect::Messages),
        model: "x".into(),
        turns,
        ..Request::default()
    }
}

fn turn(role: TurnRole, blocks: Vec<Block>) -> Turn {
    Turn {
        role,
        blocks,
        name: None,
        extra: serde_json::Map::new(),
    }
}

fn call(id: &str) -> Block {
    Block::ToolCall {
        id: id.into(),
        name: "look".into(),
        arguments: "{}".into(),
        cache: None,
        signature: None,
    }
}

fn result(id: &str, blocks: Vec<Block>) -> Block {
    Block::ToolResult {
        id: id.into(),
        blocks,
        is_error: true,
        cache: None,
    }
}

fn image() -> Block {
    Block::Image {
        source: ImageSource::Base64 {
            media_type: "image/png".into(),
            data: "AAAA".into(),
        },
        detail: None,
        cache: None,
    }
}

#[test]
fn parallel_results_stand_together_and_their_images_follow() {
    let request = foreign(vec![
        turn(
            TurnRole::Assistant,
            vec![Block::text("a"), call("t1"), call("t2")],
        ),
        turn(
            TurnRole::Tool,
            vec![
                result("t1", vec![Block::text("x"), image()]),
                result("t2", vec![]),
            ],
        ),
        turn(TurnRole::User, vec![Block::text("go on")]),
    ]);
    let shown = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]);
    assert_eq!(
        body(&request, Quirks::OPENAI)["messages"]
            .as_array()
            .unwrap()[1..],
        [
            json!({"role": "tool", "tool_call_id": "t1", "content": "x\n[images of this result follow: 1]"}),
            json!({"role": "tool", "tool_call_id": "t2", "content": ""}),
            json!({"role": "user", "content": shown}),
            json!({"role": "user", "content": "go on"}),
        ]
    );
    assert_eq!(dropped(&request, Quirks::OPENAI), ["is_error"]);
}

#[test]
fn names_of_calls_are_as_each_vendor_takes_them() {
    let long = "toolu_".repeat(9);
    let request = foreign(vec![
        turn(
            TurnRole::Assistant,
            vec![call("toolu_01"), call(&long), call("gSIMJiOkT")],
        ),
        turn(
            TurnRole::Tool,
            vec![result("toolu_01", vec![]), result(&long, vec![])],
        ),
    ]);
    let names = |quirks| {
        let body = body(&request, quirks);
        let at = |pointer: &str| body.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        let calls = [
            at("/messages/0/tool_calls/0/id"),
            at("/messages/0/tool_calls/1/id"),
            at("/messages/0/tool_calls/2/id"),
        ];
        assert_eq!(calls[0], at("/messages/1/tool_call_id"));
        assert_eq!(calls[1], at("/messages/2/tool_call_id"));
        assert_ne!(calls[0], calls[1]);
        calls
    };
    assert_eq!(names(Quirks::COMPATIBLE)[1], long);
    let [short, hashed, _] = names(Quirks::OPENAI);
    assert_eq!((short.as_str(), hashed.len()), ("toolu_01", 20));
    let [first, second, kept] = names(Quirks::MISTRAL);
    for name in [first, second] {
        assert!(name.len() == 9 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
    assert_eq!(kept, "gSIMJiOkT");
}

#[test]
fn thinking_goes_back_only_to_the_vendor_that_thought_it() {
    let thought = |signature: Option<String>| {
        foreign(vec![turn(
            TurnRole::Assistant,
            vec![
                Block::Thinking {
                    text: "hm".into(),
                    signature,
                    id: None,
                },
                Block::text("a"),
            ],
        )])
    };
    let sealed = |dialect| {
        Proof {
            dialect,
            redacted: false,
            id: None,
            text: None,
        }
        .seal()
    };
    let another = thought(Some("EqQB".into()));
    assert_eq!(dropped(&another, Quirks::DEEPSEEK), [THOUGHT]);
    assert_eq!(
        body(&another, Quirks::DEEPSEEK)["messages"],
        json!([{"role": "assistant", "content": "a"}])
    );
    let sealed_elsewhere = thought(Some(sealed(Dialect::Responses)));
    assert_eq!(dropped(&sealed_elsewhere, Quirks::DEEPSEEK), [THOUGHT]);
    let own = thought(Some(sealed(Dialect::ChatCompletions)));
    for (quirks, message) in [
        (
            Quirks::DEEPSEEK,
            json!({"role": "assistant", "content": "a", "reasoning_content": "hm"}),
        ),
        (
            Quirks::GROQ,
            json!({"role": "assistant", "content": "a", "reasoning": "hm"}),
        ),
        (
            Quirks::MISTRAL,
            json!({"role": "assistant", "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "a"},
            ]}),
        ),
        (
            Quirks::OPENROUTER,
            json!({"role": "assistant", "content": "a", "reasoning_details": [
                {"type": "reasoning.text", "text": "hm", "index": 0},
            ]}),
        ),
    ] {
        assert_eq!(body(&own, quirks)["messages"], json!([message]));
        assert_eq!(dropped(&own, quirks), [""; 0]);
    }
    assert_eq!(dropped(&own, Quirks::OPENAI), [THOUGHT]);
}

#[test]
fn reasoning_is_asked_for_as_each_vendor_knows_it() {
    let asked = |reasoning: Reasoning| Request {
        reasoning: Some(reasoning),
        ..foreign(vec![])
    };
    let written = |request: &Request, model: &'static str| {
        let writing = crate::Writing {
            model,
            ..super::writing(Quirks::OPENAI)
        };
        let written = super::CHAT.write_request(request, &writing).unwrap();
        let body: Value = serde_json::from_slice(&written.body).unwrap();
        let names: Vec<String> = written.dropped.into_iter().map(|drop| drop.field).collect();
        (body, names)
    };
    let budget = asked(Reasoning {
        budget_tokens: Some(10_000),
        enabled: Some(true),
        ..Reasoning::default()
    });
    let (body_of, names) = written(&budget, "gpt-5-mini");
    assert_eq!(body_of["reasoning_effort"], "medium");
    assert_eq!(names, ["thinking"], "a budget became an effort");
    let (body_of, names) = written(&budget, "gpt-4.1");
    assert_eq!(body_of.get("reasoning_effort"), None, "it would refuse");
    assert_eq!(names, ["thinking"]);
    assert_eq!(
        body(&budget, Quirks::DEEPSEEK)["thinking"],
        json!({"type": "enabled"})
    );
    assert_eq!(
        body(&budget, Quirks::OPENROUTER)["reasoning"],
        json!({"max_tokens": 10_000, "enabled": true})
    );
    assert_eq!(dropped(&budget, Quirks::MISTRAL), ["thinking"]);
    let off = asked(Reasoning {
        enabled: Some(false),
        ..Reasoning::default()
    });
    let (body_of, names) = written(&off, "gpt-4.1");
    assert_eq!(body_of.get("reasoning_effort"), None);
    assert_eq!(names, [""; 0], "what does not think need not be told");
    assert_eq!(
        body(&off, Quirks::DEEPSEEK)["thinking"],
        json!({"type": "disabled"})
    );
    let most = asked(Reasoning {
        effort: Some("max".into()),
        ..Reasoning::default()
    });
    assert_eq!(written(&most, "openai/o3").0["reasoning_effort"], "high");
    let own = read(&asking(json!({"reasoning_effort": "minimal"})));
    assert_eq!(body(&own, Quirks::OPENAI)["reasoning_effort"], "minimal");
}

#[test]
fn a_schema_is_held_as_far_as_the_vendor_can() {
    let request = Request {
        output: Some(OutputFormat::JsonSchema {
            name: None,
            description: None,
            schema: json!({"type": "object"}),
            strict: None,
        }),
        ..foreign(vec![])
    };
    assert_eq!(
        body(&request, Quirks::OPENAI)["response_format"].to_string(),
        r#"{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"}}}"#
    );
    assert_eq!(
        body(&request, Quirks::DEEPSEEK)["response_format"],
        json!({"type": "json_object"})
    );
    assert_eq!(
        dropped(&request, Quirks::DEEPSEEK),
        ["output_config.format"]
    );
    let words = &body(&request, Quirks::DEEPSEEK)["messages"][0];
    assert_eq!(words["role"], "system");
    assert!(
        words["content"]
            .as_str()
            .unwrap()
            .ends_with(r#"{"type":"object"}"#)
    );
    let made_here = Request {
        source: None,
        ..request.clone()
    };
    assert_eq!(body(&made_here, Quirks::DEEPSEEK)["messages"], json!([]));
    let none = Quirks {
        schema: crate::SchemaSupport::None,
        ..Quirks::COMPATIBLE
    };
    assert_eq!(body(&request, none).get("response_format"), None);
    assert_eq!(dropped(&request, none), ["output_config.format"]);
}

#[test]
fn parameters_that_a_vendor_does_not_know_are_named() {
    let request = read(&asking(json!({
        "seed": 3, "top_k": 5, "logprobs": true, "user": "u", "metadata": {"a": "b"}, "store": true,
        "service_tier": "flex", "prompt_cache_key": "k", "parallel_tool_calls": false,
        "tools": [{"type": "function", "function": {"name": "f"}}], "stream": true,
    })));
    let mistral = body(&request, Quirks::MISTRAL);
    assert_eq!(mistral["random_seed"], 3);
    assert_eq!(mistral["max_tokens"], 512);
    for name in [
        "seed",
        "top_k",
        "logprobs",
        "user",
        "metadata",
        "stream_options",
    ] {
        assert_eq!(mistral.get(name), None, "{name}");
    }
    assert_eq!(
        dropped(&request, Quirks::MISTRAL),
        [
            "top_k",
            "logprobs",
            "user",
            "metadata",
            "service_tier",
            "store",
            "prompt_cache_key"
        ]
    );
    assert_eq!(dropped(&request, Quirks::OPENAI), ["top_k"]);
    let openai = body(&request, Quirks::OPENAI);
    assert_eq!(openai["max_completion_tokens"], 512);
    assert_eq!(openai["stream_options"], json!({"include_usage": true}));
    assert!(dropped(&request, Quirks::DEEPSEEK).contains(&"parallel_tool_calls".to_owned()));
    let fixed = crate::Writing {
        fixed_temperature: true,
        ..super::writing(Quirks::OPENAI)
    };
    let hot = read(&asking(json!({"temperature": 1.0})));
    let written = super::CHAT.write_request(&hot, &fixed).unwrap();
    assert_eq!(written.dropped[0].field, "temperature");
}

#[test]
fn what_another_vendor_runs_is_dropped_or_refused() {
    let search = Tool {
        name: "web_search".into(),
        description: None,
        parameters: None,
        strict: None,
        cache: None,
        vendor: Some(json!({"type": "web_search_20250305", "name": "web_search"})),
    };
    let function = Tool {
        name: "f".into(),
        vendor: None,
        ..search.clone()
    };
    let mut request = foreign(vec![]);
    request.tools = vec![search, function];
    request.tool_choice = Some(ToolChoice::Auto);
    let written = body(&request, Quirks::OPENAI);
    assert_eq!(
        written["tools"],
        json!([{"type": "function", "function": {
            "name": "f", "parameters": {"type": "object", "properties": {}},
        }}])
    );
    assert_eq!(dropped(&request, Quirks::OPENAI), ["tools[web_search]"]);
    request.tool_choice = Some(ToolChoice::Tool("web_search".into()));
    assert!(write(&request, Quirks::OPENAI).is_err());
    request.tools.pop();
    request.tool_choice = Some(ToolChoice::Required);
    assert!(write(&request, Quirks::OPENAI).is_err());
    request.tool_choice = Some(ToolChoice::Auto);
    let written = body(&request, Quirks::OPENAI);
    assert_eq!(written.get("tools"), None);
    assert_eq!(
        written.get("tool_choice"),
        None,
        "a choice among none is refused"
    );
}

#[test]
fn images_and_parts_that_cannot_be_sent_are_refused_with_a_reason() {
    let user = |block: Block| foreign(vec![turn(TurnRole::User, vec![block])]);
    let picture = |source| Block::Image {
        source,
        detail: None,
        cache: None,
    };
    let by_url = user(picture(ImageSource::Url("https://a.example/b.png".into())));
    assert!(write(&by_url, Quirks::OPENAI).is_ok());
    assert!(
        write(&by_url, Quirks::DEEPSEEK)
            .unwrap_err()
            .to_string()
            .contains("send the bytes")
    );
    assert!(
        write(
            &user(picture(ImageSource::File("f".into()))),
            Quirks::OPENAI
        )
        .is_err()
    );
    let odd = user(Block::Other(json!({"type": "search_result"})));
    assert!(
        write(&odd, Quirks::OPENAI)
            .unwrap_err()
            .to_string()
            .contains("`search_result`")
    );
    let trace = Block::Other(json!({"type": "server_tool_use"}));
    let traced = foreign(vec![turn(
        TurnRole::Assistant,
        vec![trace, Block::text("a")],
    )]);
    assert_eq!(dropped(&traced, Quirks::OPENAI), ["server_tool_use"]);
    for (document, part) in [
        (
            json!({"type": "document", "source": {"type": "text", "data": "abc"}}),
            json!({"type": "text", "text": "abc"}),
        ),
        (
            json!({"type": "document", "title": "a.pdf", "source": {
                "type": "base64", "media_type": "application/pdf", "data": "AA==",
            }}),
            json!({"type": "file", "file": {
                "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA==",
            }}),
        ),
    ] {
        let written = body(&user(Block::Other(document)), Quirks::OPENAI);
        assert_eq!(written["messages"][0]["content"], json!([part]));
    }
}

#[test]
fn a_request_made_here_is_written_in_the_order_of_the_journals() {
    let request = Request {
        system: vec![Block::text("Be brief.")],
        turns: vec![turn(TurnRole::User, vec![Block::text("Hi «there»")])],
        max_tokens: Some(64),
        temperature: Some(0.0),
        stop: vec!["\n".into()],
        seed: Some(3),
        output: Some(OutputFormat::JsonSchema {
            name: Some("answer".into()),
            description: None,
            schema: json!({"type": "object"}),
            strict: None,
        }),
        ..Request::default()
    };
    let written: Value = body(&request, Quirks::OPENAI);
    assert_eq!(
        written.to_string(),
        r#"{"model":"m-1","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi «there»"}],"max_completion_tokens":64,"temperature":0.0,"stop":["\n"],"seed":3,"response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"}}}}"#
    );
}

#[test]
fn what_nobody_knows_of_how_to_think_is_sent_on_at_home_and_named_elsewhere() {
    let asked = asking(json!({"reasoning": {"effort": "low", "exclude": true}}));
    let request = read(&asked);
    assert_eq!(
        body(&request, Quirks::OPENROUTER)["reasoning"],
        asked["reasoning"]
    );
    let away = Dialect::Messages
        .write_request(&request, &super::writing(Quirks::OPENROUTER))
        .unwrap();
    assert!(away.dropped.iter().any(|drop| drop.field == "reasoning"));
}

#[test]
fn a_body_that_its_vendor_refuses_is_told_from_one_that_it_takes() {
    let plain = asking(json!({"max_tokens": 9, "safe_prompt": true})).to_string();
    assert!(!Quirks::MISTRAL.refuses(plain.as_bytes()));
    for field in ["max_completion_tokens", "stream_options", "user"] {
        let body = asking(json!({field: 1}));
        assert!(Quirks::MISTRAL.refuses(body.to_string().as_bytes()));
        let spaced = serde_json::to_string_pretty(&body).unwrap();
        assert!(Quirks::MISTRAL.refuses(spaced.replace("\":", "\" :").as_bytes()));
        assert!(!Quirks::COMPATIBLE.refuses(body.to_string().as_bytes()));
    }
}

#[test]
fn the_function_of_a_result_is_named_at_home() {
    let asked = json!({"model": "m", "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "abcdefghi", "type": "function",
            "function": {"name": "look", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "abcdefghi", "name": "look", "content": "y"},
    ]});
    let sent = body(&read(&asked), Quirks::MISTRAL);
    assert_eq!(sent["messages"], asked["messages"]);
}
