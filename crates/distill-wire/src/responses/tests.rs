//! Held to requests of the shapes that clients send, and to the order of events that they rely on.

mod description;
mod requests;
mod streams;

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::{Block, Dialect, ErrorKind, Finish};

/// A caller of this dialect, answered by another.
pub(super) fn context(request: &Value) -> ReplyContext {
    ReplyContext {
        source: Some(Dialect::Messages),
        model: "task/x".into(),
        id: "7".into(),
        created: 1_700_000_000,
        stream_usage: true,
        request: Some(Arc::new(
            read_request(request.to_string().as_bytes()).unwrap(),
        )),
    }
}

pub(super) fn caller() -> Value {
    json!({
        "model": "task/x",
        "instructions": "Be brief.",
        "input": "hi",
        "include": ["reasoning.encrypted_content"],
        "store": false,
        "parallel_tool_calls": true,
        "tool_choice": "auto",
        "reasoning": {"effort": "high", "summary": "auto"},
        "text": {"verbosity": "low"},
        "tools": [
            {"type": "function", "name": "exec", "description": "Runs.", "strict": false, "parameters": {"type": "object", "properties": {}}},
            {"type": "custom", "name": "apply_patch", "description": "Patches.", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}},
            {"type": "namespace", "name": "agents", "description": "Helpers.", "tools": [
                {"type": "function", "name": "close", "strict": false, "parameters": {"type": "object"}},
                {"type": "custom", "name": "note"},
            ]},
            {"type": "local_shell"},
            {"type": "web_search", "external_web_access": true},
        ],
    })
}

pub(super) fn reply(blocks: Vec<Block>, finish: Finish) -> Reply {
    Reply {
        id: Some("msg_1".into()),
        model: Some("claude-opus-4-6".into()),
        created: None,
        blocks,
        finish,
        stop_sequence: None,
        usage: distill_chat::Usage {
            input_tokens: Some(3),
            cached_input_tokens: Some(7),
            cache_write_tokens: Some(5),
            output_tokens: Some(8),
            reasoning_tokens: Some(12),
        },
        logprobs: None,
        fingerprint: None,
        service_tier: None,
        source: Some(Dialect::Messages),
        extra: serde_json::Map::new(),
    }
}

pub(super) fn call(id: &str, name: &str, arguments: &str) -> Block {
    Block::ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
        cache: None,
        signature: None,
    }
}

#[test]
fn a_reply_of_another_dialect_is_items_with_the_callers_own_tools() {
    let blocks = vec![
        Block::Thinking {
            text: "hm".into(),
            signature: Some("EqQB".into()),
            id: None,
        },
        Block::RedactedThinking {
            data: "Em".into(),
            id: None,
        },
        Block::text("I will."),
        Block::Other(json!({"type": "server_tool_use"})),
        Block::text(" Look."),
        call("toolu_1", "exec", ""),
        call("toolu_2", "apply_patch", "{\"input\":\"*** Begin\\n\"}"),
        call("toolu_3", "agents__close", "{\"id\":1}"),
        call("toolu_4", "agents__note", "{\"input\":\"n\"}"),
        call("toolu_5", "local_shell", "{\"command\":[\"ls\"]}"),
    ];
    let written: Value = serde_json::from_slice(&write_reply(
        &reply(blocks, Finish::ToolCalls),
        &context(&caller()),
    ))
    .unwrap();
    assert_eq!(
        written["output"],
        json!([
            {"type": "reasoning", "id": "rs_7_0", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "distill-sealed:anthropic.messages:t::EqQB"},
            {"type": "reasoning", "id": "rs_7_1", "summary": [], "encrypted_content": "distill-sealed:anthropic.messages:r::Em"},
            {"type": "message", "id": "msg_7_2", "status": "completed", "role": "assistant", "content": [
                {"type": "output_text", "text": "I will.", "annotations": [], "logprobs": []},
                {"type": "output_text", "text": " Look.", "annotations": [], "logprobs": []},
            ]},
            {"type": "function_call", "id": "fc_7_3", "call_id": "toolu_1", "name": "exec", "arguments": "{}", "status": "completed"},
            {"type": "custom_tool_call", "id": "ctc_7_4", "call_id": "toolu_2", "name": "apply_patch", "input": "*** Begin\n"},
            {"type": "function_call", "id": "fc_7_5", "call_id": "toolu_3", "name": "close", "namespace": "agents", "arguments": "{\"id\":1}", "status": "completed"},
            {"type": "custom_tool_call", "id": "ctc_7_6", "call_id": "toolu_4", "name": "note", "namespace": "agents", "input": "n"},
            {"type": "local_shell_call", "id": "lsh_7_7", "call_id": "toolu_5", "action": {"type": "exec", "command": ["ls"], "env": {}}, "status": "completed"},
        ])
    );
    assert_eq!(
        written["usage"],
        json!({
            "input_tokens": 15, "input_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 5},
            "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 12}, "total_tokens": 35,
        })
    );
    assert_eq!(written["id"], "resp_7");
    assert_eq!(written["created_at"], 1_700_000_000);
    assert_eq!(written["tools"], caller()["tools"]);
    assert_eq!(written["instructions"], "Be brief.");
    assert_eq!(
        written["text"],
        json!({"format": {"type": "text"}, "verbosity": "low"})
    );
    let again = read_reply(written.to_string().as_bytes()).unwrap();
    assert_eq!(again.finish, Finish::ToolCalls);
    assert_eq!(again.usage, reply(Vec::new(), Finish::Stop).usage);
    assert_eq!(again.blocks.len(), 9);
}

#[test]
fn what_was_not_reported_is_left_out_of_the_usage() {
    let mut silent = reply(vec![Block::text("x")], Finish::Stop);
    silent.usage.reasoning_tokens = None;
    silent.usage.cached_input_tokens = None;
    silent.usage.cache_write_tokens = None;
    let context = context(&caller());
    let usage = |reply: &Reply| {
        serde_json::from_slice::<Value>(&write_reply(reply, &context)).unwrap()["usage"].clone()
    };
    assert_eq!(
        usage(&silent),
        json!({"input_tokens": 3, "output_tokens": 8, "total_tokens": 11})
    );
    silent.usage.output_tokens = None;
    assert_eq!(usage(&silent), Value::Null);
}

#[test]
fn a_reply_that_was_cut_off_or_withheld_is_incomplete() {
    for (finish, reason) in [
        (Finish::Length, "max_output_tokens"),
        (Finish::ContentFilter, "content_filter"),
    ] {
        let reply = reply(vec![Block::text("x")], finish.clone());
        let written: Value =
            serde_json::from_slice(&write_reply(&reply, &context(&caller()))).unwrap();
        assert_eq!(written["status"], "incomplete");
        assert_eq!(written["incomplete_details"], json!({ "reason": reason }));
        assert_eq!(written["output"][0]["status"], "incomplete");
        assert_eq!(
            read_reply(written.to_string().as_bytes()).unwrap().finish,
            finish
        );
    }
}

#[test]
fn the_vendors_own_reply_comes_back_as_it_was() {
    let body = json!({
        "id": "resp_9", "object": "response", "created_at": 1_700_000_001, "status": "completed",
        "error": null, "incomplete_details": null, "model": "gpt-5.1",
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
            {"type": "message", "id": "msg_9_2", "status": "completed", "role": "assistant", "content": [
                {"type": "output_text", "text": "So", "annotations": [{"type": "url_citation", "url": "https://example.org"}],
                 "logprobs": [{"token": "So", "logprob": -0.5, "bytes": [83, 111], "top_logprobs": []}]},
                {"type": "refusal", "refusal": "no"},
            ]},
        ],
        "usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 5,
                  "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 14},
        "service_tier": "default", "temperature": 1.0, "tool_choice": "auto", "tools": [], "metadata": {"a": "b"},
    });
    let reply = read_reply(body.to_string().as_bytes()).unwrap();
    assert_eq!(reply.logprobs.as_ref().map(Vec::len), Some(1));
    let context = ReplyContext {
        source: Some(Dialect::Responses),
        ..ReplyContext::default()
    };
    let written: Value = serde_json::from_slice(&write_reply(&reply, &context)).unwrap();
    for (name, value) in body.as_object().unwrap() {
        assert_eq!(&written[name], value, "{name}");
    }
}

#[test]
fn what_is_no_reply_is_malformed() {
    assert_eq!(read_reply(b"{}"), Err(Malformed::Missing("output")));
    assert_eq!(
        read_reply(
            br#"{"status":"failed","error":{"code":"server_error","message":"sorry"},"output":[]}"#
        ),
        Err(Malformed::Error("sorry".into()))
    );
    assert!(matches!(read_reply(b"<"), Err(Malformed::NotJson(_))));
}

#[test]
fn parts_of_a_usage_that_exceed_their_whole_are_not_believed() {
    let usage = reply::read_usage(&json!({
        "input_tokens": 3, "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 6},
    }));
    assert_eq!(usage.input_tokens, Some(3));
    assert_eq!(usage.cached_input_tokens, None);
    assert_eq!(usage.output_tokens, Some(5));
    assert_eq!(usage.reasoning_tokens, None);
}

#[test]
fn an_error_has_the_shape_that_clients_read() {
    let error = ErrorReply {
        kind: ErrorKind::RateLimit,
        message: "slow down".into(),
        code: Some("rate_limit_exceeded".into()),
        param: None,
    };
    let body: Value = serde_json::from_slice(&write_error(&error)).unwrap();
    assert_eq!(
        body,
        json!({"error": {"message": "slow down", "type": "rate_limit_error", "param": null, "code": "rate_limit_exceeded"}})
    );
    assert_eq!(reply::error_reply(&body["error"]), error);
}
