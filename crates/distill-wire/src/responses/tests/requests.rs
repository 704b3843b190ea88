use serde_json::{Value, json};

use super::{super::*, caller};
use crate::{Block, Dialect, Quirks, Reasoning, SEAL, ToolChoice, Turn, TurnRole};

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

fn write(request: &Request, dialect: Dialect, model: &str) -> (Value, Vec<String>) {
    let written = dialect.write_request(request, &writing(model)).unwrap();
    (
        serde_json::from_slice(&written.body).unwrap(),
        written
            .dropped
            .into_iter()
            .map(|dropped| dropped.field)
            .collect(),
    )
}

/// A request of the shape that a coding harness sends in mid-turn, shortened.
fn harness() -> Value {
    let mut body = caller();
    body["model"] = "gpt-5-codex".into();
    body["stream"] = true.into();
    body["prompt_cache_key"] = "01a1".into();
    body["client_metadata"] = json!({"session_id": "s"});
    body.as_object_mut().unwrap().shift_remove("instructions");
    body["input"] = json!([
        {"type": "message", "id": "msg_a", "role": "developer", "content": [{"type": "input_text", "text": "You are an agent."}]},
        {"type": "message", "id": "msg_b", "role": "developer", "content": [{"type": "input_text", "text": "Rules."}]},
        {"type": "message", "id": "msg_c", "role": "user", "content": [
            {"type": "input_text", "text": "fix it"},
            {"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "high"},
        ]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "I look."}], "encrypted_content": "gAAA"},
        {"type": "message", "id": "msg_d", "role": "assistant", "phase": "commentary", "content": [{"type": "output_text", "text": "Let me look."}]},
        {"type": "function_call", "id": "fc_1", "status": "completed", "name": "exec", "arguments": "{\"cmd\": \"ls\"}", "call_id": "call_1"},
        {"type": "custom_tool_call", "call_id": "call_2", "name": "apply_patch", "input": "*** Begin\n\"x\""},
        {"type": "function_call", "name": "close", "namespace": "agents", "arguments": "{}", "call_id": "call_3"},
        {"type": "local_shell_call", "id": "lsh_1", "call_id": "call_4", "status": "completed", "action": {"type": "exec", "command": ["ls"], "env": {}}},
        {"type": "function_call_output", "id": "fco_1", "call_id": "call_1", "output": "a.rs"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "ok"},
        {"type": "function_call_output", "call_id": "call_3", "output": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
        {"type": "local_shell_call_output", "call_id": "call_4", "output": "{}"},
        {"type": "message", "role": "developer", "content": "Now read-only."},
    ]);
    body
}

#[test]
fn what_a_harness_sends_is_read_whole() {
    let request = read(&harness());
    assert_eq!(
        request.system,
        [Block::text("You are an agent."), Block::text("Rules.")]
    );
    assert_eq!(
        request
            .turns
            .iter()
            .map(|turn| (turn.role, turn.blocks.len()))
            .collect::<Vec<_>>(),
        [
            (TurnRole::User, 2),
            (TurnRole::Assistant, 6),
            (TurnRole::Tool, 4),
            (TurnRole::System, 1)
        ]
    );
    let names: Vec<&str> = request
        .tools
        .iter()
        .map(|tool| tool.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "exec",
            "apply_patch",
            "agents__close",
            "agents__note",
            "local_shell",
            "web_search"
        ]
    );
    assert!(
        request.tools[1].parameters.as_ref().unwrap()["properties"]["input"]["description"]
            .as_str()
            .unwrap()
            .ends_with("lark grammar:\nstart: /x/")
    );
    assert_eq!(request.turns[1].extra["phase"], "commentary");
}

#[test]
fn what_a_harness_sends_is_written_back_but_for_the_names_of_items() {
    let (body, dropped) = write(&read(&harness()), Dialect::Responses, "gpt-5-codex");
    assert_eq!(dropped, Vec::<String>::new());
    let mut expected = harness();
    // Instructions come in one piece, before the conversation.
    let input = expected["input"].as_array_mut().unwrap();
    input.drain(..2);
    for item in input.iter_mut() {
        let item = item.as_object_mut().unwrap();
        if matches!(
            item["type"].as_str(),
            Some("function_call" | "local_shell_call" | "function_call_output")
        ) {
            item.shift_remove("id");
            if item["type"] == "function_call" {
                item.shift_remove("status");
            }
        }
        if item["type"] == "message" && item["content"].is_string() {
            item["content"] = json!([{"type": "input_text", "text": item["content"]}]);
        }
    }
    expected["instructions"] = "You are an agent.\n\nRules.".into();
    // Without a bound no budget can be held.
    expected["max_output_tokens"] = 4096.into();
    assert_eq!(body, expected);
}

#[test]
fn a_harness_is_understood_by_a_model_of_the_messages_dialect() {
    let (body, dropped) = write(&read(&harness()), Dialect::Messages, "claude-opus-4-6");
    assert_eq!(
        body["messages"][1]["content"],
        json!([
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "call_1", "name": "exec", "input": {"cmd": "ls"}},
            {"type": "tool_use", "id": "call_2", "name": "apply_patch", "input": {"input": "*** Begin\n\"x\""}},
            {"type": "tool_use", "id": "call_3", "name": "agents__close", "input": {}},
            {"type": "tool_use", "id": "call_4", "name": "local_shell", "input": {"command": ["ls"], "env": {}}},
        ])
    );
    let results: Vec<&str> = body["messages"][2]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["tool_use_id"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["call_1", "call_2", "call_3", "call_4"]);
    assert_eq!(
        body["messages"][3]["content"][0]["text"],
        "<system>\nNow read-only.\n</system>"
    );
    assert_eq!(body["tools"].as_array().unwrap().len(), 5);
    assert_eq!(
        dropped,
        [
            "detail",
            "input[].reasoning",
            "tools[web_search]",
            "text",
            "client_metadata"
        ]
    );
}

#[test]
fn a_harness_is_understood_by_a_model_of_the_chat_dialect() {
    let (body, dropped) = write(&read(&harness()), Dialect::ChatCompletions, "gpt-5");
    let messages = body["messages"].as_array().unwrap();
    let calls: Vec<&str> = messages
        .iter()
        .filter_map(|message| message.get("tool_calls")?.as_array())
        .flatten()
        .map(|call| call["function"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        calls,
        ["exec", "apply_patch", "agents__close", "local_shell"]
    );
    assert_eq!(
        messages
            .iter()
            .filter(|message| message["role"] == "tool")
            .count(),
        4
    );
    assert!(
        dropped.contains(&"tools[web_search]".to_owned()),
        "{dropped:?}"
    );
    assert!(
        dropped.contains(&"client_metadata".to_owned()),
        "{dropped:?}"
    );
}

#[test]
fn a_forced_tool_that_a_vendor_runs_is_refused_elsewhere() {
    let mut body = harness();
    body["tool_choice"] = json!({"type": "web_search"});
    let request = read(&body);
    assert_eq!(
        request.tool_choice,
        Some(ToolChoice::Tool("web_search".into()))
    );
    let (own, _) = write(&request, Dialect::Responses, "gpt-5");
    assert_eq!(own["tool_choice"], json!({"type": "web_search"}));
    let refused = Dialect::Messages.write_request(&request, &writing("claude-opus-4-6"));
    assert_eq!(refused.unwrap_err().field, "tool_choice");
    body["tool_choice"] = json!({"type": "custom", "name": "apply_patch"});
    let (own, _) = write(&read(&body), Dialect::Responses, "gpt-5");
    assert_eq!(own["tool_choice"], body["tool_choice"]);
}

#[test]
fn what_is_wrong_is_named_by_its_place() {
    for (body, message) in [
        (json!({"input": "x"}), "`model` is missing"),
        (json!({"model": "m"}), "`input` is missing"),
        (
            json!({"model": "m", "input": 1}),
            "`input` must be a string or an array of items",
        ),
        (
            json!({"model": "m", "input": [{"type": "function_call", "call_id": "c"}]}),
            "`input[0].name` is missing",
        ),
        (
            json!({"model": "m", "input": [{"role": "robot", "content": "x"}]}),
            "`input[0].role` must be `user`, `assistant`, `system` or `developer`",
        ),
        (
            json!({"model": "m", "input": [{"role": "user", "content": [{"type": "input_image"}]}]}),
            "`input[0].content[0].image_url` is missing",
        ),
        (
            json!({"model": "m", "input": "x", "tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function"}]}]}),
            "`tools[0].tools[0].name` is missing",
        ),
        (
            json!({"model": "m", "input": "x", "tool_choice": "maybe"}),
            "`tool_choice` must be `auto`, `none`, `required` or an object that names a tool",
        ),
        (
            json!({"model": "m", "input": "x", "text": {"format": {"type": "json_schema"}}}),
            "`text.format.schema` is missing",
        ),
    ] {
        let error = read_request(body.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn a_state_that_the_vendor_keeps_is_refused_elsewhere_and_sent_on_at_home() {
    let body = json!({"model": "m", "input": "x", "previous_response_id": "resp_1"});
    let request = read(&body);
    let (own, _) = write(&request, Dialect::Responses, "gpt-5");
    assert_eq!(own["previous_response_id"], "resp_1");
    for dialect in [Dialect::Messages, Dialect::ChatCompletions] {
        let refused = dialect.write_request(&request, &writing("m")).unwrap_err();
        assert_eq!(refused.field, "previous_response_id");
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

#[test]
fn a_caller_of_the_messages_dialect_is_understood_here() {
    let body = json!({
        "model": "claude", "max_tokens": 8,
        "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "read"},
                {"type": "document", "title": "t.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": format!("{SEAL}openai.responses:t:rs_1:gAAA")},
                {"type": "thinking", "thinking": "own", "signature": "EqQB"},
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
                ]},
            ]},
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any"},
        "thinking": {"type": "enabled", "budget_tokens": 20_000},
        "metadata": {"user_id": "a name that is longer than the sixty-four bytes that the vendor takes"},
        "top_k": 3,
        "stream": true,
    });
    let request = crate::Dialect::Messages
        .read_request(body.to_string().as_bytes())
        .unwrap();
    let (written, dropped) = write(&request, Dialect::Responses, "gpt-5");
    assert_eq!(
        written,
        json!({
            "model": "gpt-5", "instructions": "a\n\nb", "max_output_tokens": 16, "stream": true, "store": false,
            "input": [
                {"type": "message", "role": "user", "content": [
                    {"type": "input_text", "text": "read"},
                    {"type": "input_file", "filename": "t.pdf", "file_data": "data:application/pdf;base64,JVBE"},
                ]},
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"},
                {"type": "function_call", "call_id": "toolu_1", "name": "f", "arguments": "{\"x\":1}"},
                {"type": "function_call_output", "call_id": "toolu_1", "output": [
                    {"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "auto"},
                ]},
            ],
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": false}],
            "tool_choice": "required",
            "reasoning": {"effort": "high", "summary": "auto"},
            "include": ["reasoning.encrypted_content"],
        })
    );
    assert_eq!(
        dropped,
        [
            "cache_control",
            "messages[].content[].thinking",
            "server_tool_use",
            "is_error",
            "max_tokens",
            "metadata.user_id",
            "top_k"
        ]
    );
    let (_, dropped) = write(&request, Dialect::Responses, "gpt-4.1-nano");
    assert!(dropped.contains(&"thinking".to_owned()), "{dropped:?}");
}

#[test]
fn what_would_change_the_meaning_is_refused_by_name() {
    let refused = |edit: &dyn Fn(&mut Request)| {
        let mut request = Request {
            source: Some(Dialect::Messages),
            turns: vec![turn(TurnRole::User, vec![Block::text("x")])],
            ..Request::default()
        };
        edit(&mut request);
        write_request(&request, &writing("gpt-5"))
            .unwrap_err()
            .field
    };
    assert_eq!(
        refused(&|request| request.stop = vec!["END".into()]),
        "stop_sequences"
    );
    assert_eq!(refused(&|request| request.n = Some(2)), "n");
    assert_eq!(
        refused(&|request| {
            request.turns[0].blocks = vec![Block::Other(json!({"type": "search_result"}))];
        }),
        "messages[0]: search_result"
    );
    assert_eq!(
        refused(&|request| request.tool_choice = Some(ToolChoice::Required)),
        "tool_choice"
    );
}

#[test]
fn effort_is_asked_for_as_the_caller_did() {
    let mut request = read(&json!({"model": "m", "input": "x"}));
    request.source = Some(Dialect::ChatCompletions);
    request.reasoning = Some(Reasoning {
        effort: Some("minimal".into()),
        ..Reasoning::default()
    });
    let (body, _) = write(&request, Dialect::Responses, "gpt-5");
    assert_eq!(body["reasoning"], json!({"effort": "minimal"}));
}
