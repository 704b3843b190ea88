//! Held to recorded answers and to requests of the shapes that clients send.

mod requests;
mod streams;

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::{Block, Dialect, ErrorKind, Finish};

/// The folder of recorded answers, or a printed reason why the test does nothing.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(super) fn folder(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("DISTILL_PROVIDERS_DIR").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: {test}: DISTILL_PROVIDERS_DIR is not set");
    }
    folder
}

pub(super) fn context() -> ReplyContext {
    ReplyContext {
        source: Some(Dialect::Messages),
        model: "claude".into(),
        id: "7".into(),
        ..ReplyContext::default()
    }
}

#[test]
fn recorded_replies_are_read_and_written_back_field_by_field() {
    let Some(folder) =
        folder("messages::recorded_replies_are_read_and_written_back_field_by_field")
    else {
        return;
    };
    for (name, blocks, finish, input, output) in [
        ("anthropic-text.json", 1, Finish::Stop, 12, 29),
        ("anthropic-json-tool.1.json", 1, Finish::ToolCalls, 1151, 87),
        ("anthropic-tool-no-args.json", 2, Finish::ToolCalls, 602, 93),
        (
            "anthropic-json-output-format.1.json",
            1,
            Finish::Stop,
            371,
            629,
        ),
    ] {
        let body = std::fs::read(folder.join("vercel-ai-fixtures/anthropic").join(name)).unwrap();
        let reply = read_reply(&body).unwrap();
        assert_eq!(reply.blocks.len(), blocks, "{name}");
        assert_eq!(reply.finish, finish, "{name}");
        assert_eq!(reply.usage.input_tokens, Some(input), "{name}");
        assert_eq!(reply.usage.output_tokens, Some(output), "{name}");
        assert_eq!(reply.usage.cached_input_tokens, Some(0), "{name}");
        assert_eq!(reply.usage.reasoning_tokens, None, "{name}");
        assert_eq!(reply.service_tier.as_deref(), Some("standard"), "{name}");
        let mut recorded: Value = serde_json::from_slice(&body).unwrap();
        let written: Value = serde_json::from_slice(&write_reply(&reply, &context())).unwrap();
        // One recording lacks the field that the vendor always sends.
        recorded
            .as_object_mut()
            .unwrap()
            .entry("stop_sequence")
            .or_insert(Value::Null);
        assert_eq!(written, recorded, "{name}");
    }
}

#[test]
fn every_kind_of_block_of_a_reply_comes_back_as_it_was() {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-6",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
            {"type": "redacted_thinking", "data": "Emwk"},
            {"type": "text", "text": "So", "citations": [{"type": "char_location", "cited_text": "x"}]},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"n": 9_007_199_254_740_993_u64}},
        ],
        "stop_reason": "stop_sequence", "stop_sequence": "END", "container": {"id": "c"},
        "usage": {
            "input_tokens": 3, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 7,
            "output_tokens": 20, "output_tokens_details": {"thinking_tokens": 12},
            "server_tool_use": {"web_search_requests": 1},
        },
    });
    let reply = read_reply(body.to_string().as_bytes()).unwrap();
    assert_eq!(reply.usage.output_tokens, Some(8));
    assert_eq!(reply.usage.reasoning_tokens, Some(12));
    assert_eq!(reply.stop_sequence.as_deref(), Some("END"));
    assert!(matches!(reply.blocks[3], Block::Other(_)));
    let written: Value = serde_json::from_slice(&write_reply(&reply, &context())).unwrap();
    assert_eq!(written, body);
}

#[test]
fn a_stop_reason_that_is_known_by_another_name_keeps_its_own() {
    for (reason, finish) in [
        ("model_context_window_exceeded", Finish::Length),
        ("pause_turn", Finish::Pause),
        ("refusal", Finish::ContentFilter),
        ("compaction", Finish::Other("compaction".into())),
    ] {
        let body = json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": reason, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1},
        });
        let reply = read_reply(body.to_string().as_bytes()).unwrap();
        assert_eq!(reply.finish, finish);
        let written: Value = serde_json::from_slice(&write_reply(&reply, &context())).unwrap();
        assert_eq!(written, body);
    }
}

#[test]
fn what_is_no_reply_is_malformed() {
    assert_eq!(read_reply(b"{}"), Err(Malformed::Missing("content")));
    assert!(matches!(read_reply(b"<html>"), Err(Malformed::NotJson(_))));
    assert_eq!(
        read_reply(br#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#),
        Err(Malformed::Error("busy".into()))
    );
    assert_eq!(
        read_reply(br#"{"content":[]}"#),
        Err(Malformed::Missing("stop reason"))
    );
}

#[test]
fn a_reply_of_another_dialect_hides_what_it_cannot_show_and_seals_proofs() {
    let reply = Reply {
        id: Some("chatcmpl-1".into()),
        model: Some("gpt".into()),
        created: Some(1),
        blocks: vec![
            Block::Thinking {
                text: "hm".into(),
                signature: Some("gAAA".into()),
                id: Some("rs_1".into()),
            },
            Block::Other(json!({"type": "web_search_call"})),
            Block::Refusal { text: "no".into() },
            Block::ToolCall {
                id: "call_1".into(),
                name: "f".into(),
                arguments: String::new(),
                cache: None,
                signature: None,
            },
        ],
        finish: Finish::Stop,
        stop_sequence: None,
        usage: distill_chat::Usage::default(),
        logprobs: None,
        fingerprint: None,
        service_tier: Some("default".into()),
        source: Some(Dialect::Responses),
        extra: [("object".to_owned(), "response".into())]
            .into_iter()
            .collect(),
    };
    let written: Value = serde_json::from_slice(&write_reply(&reply, &context())).unwrap();
    assert_eq!(
        written,
        json!({
            "id": "msg_7", "type": "message", "role": "assistant", "model": "gpt",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "distill-sealed:openai.responses:t:rs_1:gAAA"},
                {"type": "text", "text": "no"},
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {}},
            ],
            "stop_reason": "tool_use", "stop_sequence": null, "usage": {},
        })
    );
}

#[test]
fn errors_name_their_kind_as_the_vendor_does() {
    for (kind, name) in [
        (ErrorKind::InvalidRequest, "invalid_request_error"),
        (ErrorKind::Authentication, "authentication_error"),
        (ErrorKind::Billing, "billing_error"),
        (ErrorKind::Permission, "permission_error"),
        (ErrorKind::NotFound, "not_found_error"),
        (ErrorKind::TooLarge, "request_too_large"),
        (ErrorKind::RateLimit, "rate_limit_error"),
        (ErrorKind::Server, "api_error"),
        (ErrorKind::Overloaded, "overloaded_error"),
        (ErrorKind::Timeout, "timeout_error"),
    ] {
        let error = ErrorReply {
            kind,
            message: "m".into(),
            code: None,
            param: None,
        };
        let body: Value = serde_json::from_slice(&write_error(&error)).unwrap();
        assert_eq!(
            body,
            json!({"type": "error", "error": {"type": name, "message": "m"}})
        );
        assert_eq!(reply::error_reply(&body["error"]).kind, kind);
    }
}

/// The vendor refuses names with other letters when the conversation comes to it later.
#[test]
fn names_of_calls_that_other_servers_gave_are_such_as_the_vendor_takes() {
    let call = Block::ToolCall {
        id: "functions.look:0".into(),
        name: "look".into(),
        arguments: "{}".into(),
        cache: None,
        signature: None,
    };
    let reply = Reply {
        id: None,
        model: None,
        created: None,
        blocks: vec![call],
        finish: Finish::ToolCalls,
        stop_sequence: None,
        usage: distill_chat::Usage::default(),
        logprobs: None,
        fingerprint: None,
        service_tier: None,
        source: Some(Dialect::ChatCompletions),
        extra: serde_json::Map::new(),
    };
    let context = ReplyContext {
        source: Some(Dialect::ChatCompletions),
        ..context()
    };
    let written: Value = serde_json::from_slice(&write_reply(&reply, &context)).unwrap();
    assert_eq!(written["content"][0]["id"], "functions_look_0");
    let mut stream = Vec::new();
    let mut writer = stream_writer(&context);
    for event in crate::replay(&reply) {
        writer.write(&event, &mut stream);
    }
    let stream = String::from_utf8(stream).unwrap();
    assert!(stream.contains(r#""id":"functions_look_0""#), "{stream}");
}
