use serde_json::{Value, json};

use super::super::*;
use crate::{Block, Dialect, OutputFormat, Quirks, Reasoning, SEAL, ToolChoice, Turn, TurnRole};

fn writing(model: &str) -> Writing<'_> {
    Writing {
        model,
        quirks: Quirks::COMPATIBLE,
        fixed_temperature: false,
        default_max_tokens: 4096,
        meter: false,
    }
}

fn read(body: &Value) -> Request {
    read_request(body.to_string().as_bytes()).unwrap()
}

fn write(request: &Request, model: &str) -> (Value, Vec<String>) {
    let written = write_request(request, &writing(model)).unwrap();
    (
        serde_json::from_slice(&written.body).unwrap(),
        written
            .dropped
            .into_iter()
            .map(|dropped| dropped.field)
            .collect(),
    )
}

/// A string of content is one block of text.
fn spelled_out(mut body: Value) -> Value {
    fn expand(value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, value) in map.iter_mut() {
                    if matches!(name.as_str(), "content" | "system")
                        && let Value::String(text) = value
                    {
                        *value = json!([{"type": "text", "text": text}]);
                    }
                    expand(value);
                }
            }
            Value::Array(list) => list.iter_mut().for_each(expand),
            _ => {}
        }
    }
    expand(&mut body);
    body
}

/// A request of the shape that a coding harness sends, shortened.
fn harness() -> Value {
    json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 32_000,
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>\nagents\n</system-reminder>"},
                {"type": "text", "text": "fix it", "cache_control": {"type": "ephemeral"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "I look.", "signature": "EqQB"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
                {"type": "tool_use", "id": "toolu_2", "name": "Read", "input": {"file_path": "/a", "limit": 9_007_199_254_740_993_u64}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a.rs", "is_error": true},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": [
                    {"type": "text", "text": "fn main"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
                ]},
                {"type": "text", "text": "go on", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            ]},
        ],
        "system": [
            {"type": "text", "text": "You are an agent."},
            {"type": "text", "text": "Rules.", "cache_control": {"type": "ephemeral"}},
        ],
        "tools": [
            {"name": "Bash", "description": "Runs.", "input_schema": {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}},
            {"name": "Read", "description": "Reads.", "input_schema": {"type": "object", "properties": {}}, "cache_control": {"type": "ephemeral"}},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "thinking": {"type": "enabled", "budget_tokens": 31_999},
        "metadata": {"user_id": "{\"device_id\":\"723eb3dc5a60a70ac953566b03846b2ceee31489d5f38ad3\",\"session_id\":\"1\"}"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "stream": true,
    })
}

#[test]
fn what_a_harness_sends_is_read_whole_and_written_back() {
    let request = read(&harness());
    assert_eq!(request.system.len(), 2);
    assert_eq!(
        request
            .turns
            .iter()
            .map(|turn| turn.role)
            .collect::<Vec<_>>(),
        [
            TurnRole::User,
            TurnRole::Assistant,
            TurnRole::Tool,
            TurnRole::User
        ]
    );
    assert_eq!(request.parallel_tool_calls, Some(false));
    assert_eq!(request.tools[2].parameters, None);
    assert_eq!(
        request.reasoning.as_ref().unwrap().budget_tokens,
        Some(31_999)
    );
    assert!(request.extra.contains_key("context_management"));
    let (body, dropped) = write(&request, "claude-sonnet-4-5");
    assert_eq!(dropped, Vec::<String>::new());
    assert_eq!(spelled_out(body), spelled_out(harness()));
}

#[test]
fn rare_fields_are_written_back_too() {
    let body = json!({
        "model": "claude-opus-4-6",
        "max_tokens": 64_000,
        "system": "s",
        "messages": [
            {"role": "user", "content": [
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}, "citations": {"enabled": true}},
                {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
                {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "redacted_thinking", "data": "Em"},
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
                {"type": "text", "text": "x", "citations": [{"type": "char_location"}]},
            ]},
            {"role": "system", "content": "Be brief from now on."},
            {"role": "user", "content": "y"},
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "defer_loading": true, "strict": true}],
        "tool_choice": {"type": "tool", "name": "f"},
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "max", "format": {"type": "json_schema", "schema": {"type": "object"}}, "task_budget": {"total": 5}},
        "temperature": 1.0, "top_p": 0.95, "top_k": 5,
        "stop_sequences": ["END"],
        "service_tier": "standard_only",
        "metadata": {"user_id": "u", "team": "t"},
        "mcp_servers": [{"name": "m"}],
        "big": 9_223_372_036_854_775_808_u64,
    });
    let request = read(&body);
    assert!(matches!(
        request.output,
        Some(OutputFormat::JsonSchema { .. })
    ));
    let (written, dropped) = write(&request, "claude-opus-4-6");
    assert_eq!(dropped, Vec::<String>::new());
    assert_eq!(spelled_out(written), spelled_out(body));
}

#[test]
fn what_is_wrong_is_named_by_its_place() {
    for (body, message) in [
        (json!([]), "`body` is not a JSON object"),
        (json!({"messages": []}), "`model` is missing"),
        (json!({"model": "m"}), "`messages` is missing"),
        (
            json!({"model": "m", "messages": [{"role": "robot", "content": "x"}]}),
            "`messages[0].role` must be `user` or `assistant`",
        ),
        (
            json!({"model": "m", "messages": [{"role": "user"}]}),
            "`messages[0].content` is missing",
        ),
        (
            json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]}),
            "`messages[0].content[0].text` is missing",
        ),
        (
            json!({"model": "m", "messages": [], "max_tokens": -1}),
            "`max_tokens` must be a whole number of 0 or more",
        ),
        (
            json!({"model": "m", "messages": [], "tools": [{"name": "f"}]}),
            "`tools[0].input_schema` is missing",
        ),
    ] {
        let error = read_request(body.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    assert!(matches!(read_request(b"{"), Err(RequestError::NotJson(_))));
}

fn asked(source: Dialect) -> Request {
    Request {
        source: Some(source),
        model: "gpt".into(),
        turns: vec![turn(TurnRole::User, vec![Block::text("hi")])],
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
        name: "f".into(),
        arguments: "{\"x\":1}".into(),
        cache: None,
        signature: None,
    }
}

fn result(id: &str) -> Block {
    Block::ToolResult {
        id: id.into(),
        blocks: vec![Block::text("r")],
        is_error: false,
        cache: None,
    }
}

#[test]
fn another_dialects_conversation_becomes_one_that_the_vendor_takes() {
    let mut request = asked(Dialect::ChatCompletions);
    request.system = vec![Block::text("a"), Block::text("b")];
    request.turns = vec![
        turn(TurnRole::User, vec![Block::text("hi"), Block::text("")]),
        turn(TurnRole::Assistant, vec![call("functions.f:0"), call("b")]),
        turn(TurnRole::Tool, vec![result("functions.f:0")]),
        turn(TurnRole::Tool, vec![result("b")]),
        turn(TurnRole::User, vec![Block::text("and?")]),
        turn(TurnRole::System, vec![Block::text("Be brief.")]),
        turn(TurnRole::Assistant, vec![Block::text("")]),
    ];
    request.temperature = Some(1.5);
    request.top_p = Some(0.5);
    request.seed = Some(1);
    request.frequency_penalty = Some(0.1);
    request.user = Some("u".into());
    request.output = Some(OutputFormat::JsonObject);
    let (body, dropped) = write(&request, "claude-haiku-4-5");
    assert_eq!(
        body,
        json!({
            "model": "claude-haiku-4-5", "max_tokens": 4096, "system": "a\n\nb", "temperature": 1.0,
            "metadata": {"user_id": "u"},
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "functions_f_0", "name": "f", "input": {"x": 1}},
                    {"type": "tool_use", "id": "b", "name": "f", "input": {"x": 1}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "functions_f_0", "content": "r"},
                    {"type": "tool_result", "tool_use_id": "b", "content": "r"},
                    {"type": "text", "text": "and?"},
                ]},
                {"role": "user", "content": "<system>\nBe brief.\n</system>"},
            ],
        })
    );
    assert_eq!(
        dropped,
        [
            "temperature",
            "top_p",
            "response_format",
            "frequency_penalty",
            "seed"
        ]
    );
}

#[test]
fn instructions_alone_are_asked_as_the_users_words() {
    let mut request = asked(Dialect::ChatCompletions);
    request.system = vec![Block::text("Say hi.")];
    request.turns.clear();
    let (body, _) = write(&request, "claude-haiku-4-5");
    assert_eq!(
        body["messages"],
        json!([{"role": "user", "content": "Say hi."}])
    );
    assert_eq!(body.get("system"), None);
}

#[test]
fn a_cache_key_sets_the_marks_that_this_dialect_has_instead() {
    let mut request = asked(Dialect::Responses);
    request.system = vec![Block::text("a")];
    request.prompt_cache_key = Some("k".into());
    let (body, _) = write(&request, "claude-haiku-4-5");
    let mark = json!({"type": "ephemeral"});
    assert_eq!(body["system"][0]["cache_control"], mark);
    assert_eq!(body["messages"][0]["content"][0]["cache_control"], mark);
}

#[test]
fn what_would_change_the_meaning_is_refused_by_name() {
    let refused = |edit: &dyn Fn(&mut Request)| {
        let mut request = asked(Dialect::Responses);
        edit(&mut request);
        write_request(&request, &writing("claude-haiku-4-5"))
            .unwrap_err()
            .field
    };
    assert_eq!(refused(&|request| request.n = Some(2)), "n");
    assert_eq!(
        refused(&|request| {
            request
                .extra
                .insert("previous_response_id".into(), "resp_1".into());
        }),
        "previous_response_id"
    );
    assert_eq!(
        refused(&|request| request.tool_choice = Some(ToolChoice::Required)),
        "tool_choice"
    );
    assert_eq!(
        refused(&|request| {
            request.turns[0].blocks = vec![Block::Other(json!({"type": "input_audio"}))];
        }),
        "messages[0]: input_audio"
    );
}

#[test]
fn thinking_is_asked_for_in_the_form_that_the_model_takes() {
    let mut request = asked(Dialect::Responses);
    request.max_tokens = Some(10_000);
    request.temperature = Some(0.5);
    request.reasoning = Some(Reasoning {
        effort: Some("xhigh".into()),
        summary: Some("auto".into()),
        ..Reasoning::default()
    });
    for (model, thinking, effort) in [
        ("claude-3-5-haiku-20241022", Value::Null, Value::Null),
        (
            "claude-3-7-sonnet-20250219",
            json!({"type": "enabled", "budget_tokens": 9500}),
            Value::Null,
        ),
        (
            "anthropic.claude-opus-4-20250514-v1:0",
            json!({"type": "enabled", "budget_tokens": 9500}),
            Value::Null,
        ),
        (
            "claude-sonnet-4-6",
            json!({"type": "adaptive", "display": "summarized"}),
            json!("high"),
        ),
        (
            "claude-opus-4-7",
            json!({"type": "adaptive", "display": "summarized"}),
            json!("xhigh"),
        ),
        (
            "claude-mythos-preview",
            json!({"type": "adaptive", "display": "summarized"}),
            json!("xhigh"),
        ),
        (
            "kimi-k2",
            json!({"type": "enabled", "budget_tokens": 9500}),
            Value::Null,
        ),
    ] {
        let (body, dropped) = write(&request, model);
        assert_eq!(body["thinking"], thinking, "{model}");
        assert_eq!(body["output_config"]["effort"], effort, "{model}");
        let expected: &[&str] = if thinking.is_null() {
            &["reasoning"]
        } else {
            &["temperature"]
        };
        assert_eq!(dropped, expected, "{model}");
    }
}

#[test]
fn thinking_gives_way_where_the_vendor_forbids_it() {
    let mut request = asked(Dialect::ChatCompletions);
    request.reasoning = Some(Reasoning {
        effort: Some("low".into()),
        ..Reasoning::default()
    });
    let dropped = |request: &Request| {
        let (body, dropped) = write(request, "claude-sonnet-4-5");
        assert_eq!(body.get("thinking").is_none(), !dropped.is_empty());
        dropped
    };
    assert_eq!(dropped(&request), Vec::<String>::new());
    let mut forced = request.clone();
    forced.tool_choice = Some(ToolChoice::Tool("f".into()));
    forced.tools = read(&harness()).tools;
    forced.tools.truncate(2);
    assert_eq!(dropped(&forced), ["reasoning_effort"]);
    let mut tight = request.clone();
    tight.max_tokens = Some(1000);
    assert_eq!(dropped(&tight), ["reasoning_effort"]);
    let mut running = request.clone();
    running
        .turns
        .push(turn(TurnRole::Assistant, vec![call("a")]));
    running.turns.push(turn(TurnRole::Tool, vec![result("a")]));
    assert_eq!(dropped(&running), ["reasoning_effort"]);
    running
        .turns
        .push(turn(TurnRole::Assistant, vec![Block::text("done")]));
    running
        .turns
        .push(turn(TurnRole::User, vec![Block::text("more")]));
    assert_eq!(dropped(&running), Vec::<String>::new());
}

#[test]
fn thoughts_go_back_to_the_vendor_that_thought_them_and_to_no_other() {
    let thought = |signature: Option<String>| {
        let mut request = asked(Dialect::Responses);
        request.turns.push(turn(
            TurnRole::Assistant,
            vec![
                Block::Thinking {
                    text: "hm".into(),
                    signature,
                    id: None,
                },
                Block::text("so"),
            ],
        ));
        write(&request, "claude-sonnet-4-5")
    };
    let (body, dropped) = thought(Some(format!("{SEAL}anthropic.messages:t::EqQB")));
    assert_eq!(
        body["messages"][1]["content"][0],
        json!({"type": "thinking", "thinking": "hm", "signature": "EqQB"})
    );
    assert_eq!(dropped, Vec::<String>::new());
    for foreign in [
        None,
        Some("gAAA".to_owned()),
        Some(format!("{SEAL}openai.chat_completions:t::")),
    ] {
        let (body, dropped) = thought(foreign);
        assert_eq!(body["messages"][1]["content"], "so");
        assert_eq!(dropped, ["input[].reasoning"]);
    }
}
