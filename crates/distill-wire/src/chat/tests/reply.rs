//! Whole replies and errors.

use distill_chat::Usage;
use serde_json::{Value, json};

use super::CHAT;
use crate::{
    Block, Dialect, ErrorKind, ErrorReply, Finish, Malformed, Reply, ReplyContext, SEAL,
    TokenLogprob,
};

fn read(body: &Value) -> Result<Reply, Malformed> {
    CHAT.read_reply(body.to_string().as_bytes())
}

fn choice(message: &Value, reason: &str) -> Result<Reply, Malformed> {
    read(&json!({"id": "x", "model": "m", "choices": [
        {"index": 0, "message": message, "finish_reason": reason},
    ]}))
}

fn written(reply: &Reply, context: &ReplyContext) -> Value {
    serde_json::from_slice(&CHAT.write_reply(reply, context)).unwrap()
}

fn usage(reported: Value) -> Usage {
    let body = json!({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": reported});
    read(&body).unwrap().usage
}

#[test]
fn everything_that_a_reply_says_is_read_and_written_again() {
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 5, "model": "m-2",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant", "content": "a",
                    "reasoning_content": "hm", "refusal": null,
                    "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}],
                    "audio": {"id": "audio_1"},
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{"}},
                        {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}},
                    ],
                },
                "logprobs": {"content": [{
                    "token": "a", "logprob": -0.5, "bytes": [97],
                    "top_logprobs": [{"token": "b", "logprob": -1.5, "bytes": null}],
                }], "refusal": null},
                "finish_reason": "tool_calls",
                "seed": 3_859_899_181_302_555_600_u64,
            },
            {"index": 1, "message": {"role": "assistant", "content": "b"}, "finish_reason": "stop"},
        ],
        "usage": {
            "prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 2},
            "queue_time": 0.25,
        },
        "service_tier": "default",
        "system_fingerprint": "fp",
        "x_groq": {"id": "req"},
    });
    let reply = read(&body).unwrap();
    assert_eq!(
        reply.usage,
        Usage {
            input_tokens: Some(6),
            cached_input_tokens: Some(4),
            cache_write_tokens: None,
            output_tokens: Some(5),
            reasoning_tokens: Some(2),
        }
    );
    assert_eq!(
        reply.logprobs.as_deref().unwrap()[0].top[0],
        TokenLogprob {
            token: "b".into(),
            logprob: -1.5,
            bytes: None,
            top: vec![],
        }
    );
    assert_eq!(reply.blocks.len(), 4);
    assert_eq!(written(&reply, &ReplyContext::default()), body);
}

#[test]
fn usage_is_split_into_disjoint_classes_that_sum_to_the_total() {
    let beside = usage(json!({
        "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 150,
        "completion_tokens_details": {"reasoning_tokens": 40},
    }));
    assert_eq!(beside.output_tokens, Some(10));
    assert_eq!(beside.cached_input_tokens, None);
    let inside = usage(json!({
        "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
        "completion_tokens_details": {"reasoning_tokens": 40},
    }));
    assert_eq!(inside.output_tokens, Some(10));
    let hit =
        usage(json!({"prompt_tokens": 10, "completion_tokens": 1, "prompt_cache_hit_tokens": 8}));
    assert_eq!(
        (hit.input_tokens, hit.cached_input_tokens),
        (Some(2), Some(8))
    );
    let bare = usage(json!({"prompt_tokens": 4, "completion_tokens": 1, "cached_tokens": 0}));
    assert_eq!(bare.cached_input_tokens, Some(0));
    assert_eq!(usage(Value::Null), Usage::default());
    let vast = usage(json!({
        "prompt_tokens": u64::MAX, "completion_tokens": u64::MAX, "total_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": u64::MAX, "cache_write_tokens": u64::MAX},
        "completion_tokens_details": {"reasoning_tokens": u64::MAX},
    }));
    assert_eq!(vast.input_tokens, Some(0));
}

#[test]
fn another_dialects_usage_is_written_as_openai_counts() {
    let reply = Reply {
        source: Some(Dialect::Messages),
        usage: Usage {
            input_tokens: Some(1),
            cached_input_tokens: Some(2),
            cache_write_tokens: Some(4),
            output_tokens: Some(8),
            reasoning_tokens: None,
        },
        ..choice(&json!({"content": "a"}), "stop").unwrap()
    };
    let shown = written(&reply, &ReplyContext::default());
    assert_eq!(
        shown["usage"],
        json!({
            "prompt_tokens": 7, "completion_tokens": 8, "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 4},
        })
    );
    let unknown = Reply {
        usage: Usage::default(),
        ..reply
    };
    assert_eq!(
        written(&unknown, &ReplyContext::default()).get("usage"),
        None
    );
}

#[test]
fn finish_reasons_and_refusals_are_told_apart() {
    for (word, finish) in [
        ("stop", Finish::Stop),
        ("length", Finish::Length),
        ("model_length", Finish::Length),
        ("content_filter", Finish::ContentFilter),
        (
            "insufficient_system_resource",
            Finish::Other("insufficient_system_resource".into()),
        ),
    ] {
        let reply = choice(&json!({"content": "a"}), word).unwrap();
        assert_eq!(reply.finish, finish);
    }
    let refused = choice(&json!({"content": null, "refusal": "no"}), "stop").unwrap();
    assert_eq!(refused.blocks, [Block::Refusal { text: "no".into() }]);
    let call = json!({"content": "", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]});
    let called = choice(&call, "stop").unwrap();
    assert_eq!(called.finish, Finish::ToolCalls, "some servers say `stop`");
    assert_eq!(
        called.blocks,
        [Block::ToolCall {
            id: "c".into(),
            name: "f".into(),
            arguments: "{\"a\":1}".into(),
            cache: None,
            signature: None,
        }]
    );
}

#[test]
fn a_body_that_is_no_reply_is_refused() {
    for (body, error) in [
        (json!([]), Malformed::Missing("choice")),
        (json!({"choices": []}), Malformed::Missing("choice")),
        (
            json!({"choices": [{"finish_reason": "stop"}]}),
            Malformed::Missing("message"),
        ),
        (
            json!({"choices": [{"message": {"content": "a"}}]}),
            Malformed::Missing("finish reason"),
        ),
        (
            json!({"choices": [{"message": {"role": "assistant"}, "finish_reason": "stop"}]}),
            Malformed::Missing("content"),
        ),
        (
            json!({"error": {"message": "overloaded", "code": 503}}),
            Malformed::Error("overloaded".into()),
        ),
    ] {
        assert_eq!(read(&body).unwrap_err(), error, "{body}");
    }
    assert!(matches!(
        CHAT.read_reply(b"<html>"),
        Err(Malformed::NotJson(_))
    ));
}

#[test]
fn thinking_is_read_from_every_field_that_a_vendor_has_for_it() {
    let thought = |text: &str| Block::Thinking {
        text: text.into(),
        signature: None,
        id: None,
    };
    for message in [
        json!({"content": "a", "reasoning_content": "hm"}),
        json!({"content": "a", "reasoning": "hm"}),
        json!({"content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]},
            {"type": "text", "text": "a"},
        ]}),
        json!({"content": "a", "reasoning": "hm", "reasoning_details": [
            {"type": "reasoning.text", "text": "hm", "index": 0},
        ]}),
    ] {
        let reply = choice(&message, "stop").unwrap();
        assert_eq!(reply.blocks, [thought("hm"), Block::text("a")], "{message}");
    }
    let details = json!({"content": "a", "reasoning_details": [
        {"type": "reasoning.text", "text": "hm", "signature": "sig", "id": "r"},
        {"type": "reasoning.encrypted", "data": "xyz"},
    ]});
    assert_eq!(
        choice(&details, "stop").unwrap().blocks[..2],
        [
            Block::Thinking {
                text: "hm".into(),
                signature: Some("sig".into()),
                id: Some("r".into()),
            },
            Block::RedactedThinking {
                data: "xyz".into(),
                id: None,
            },
        ]
    );
}

#[test]
fn a_proof_of_another_dialect_comes_back_sealed() {
    let reply = Reply {
        source: Some(Dialect::Messages),
        id: Some("msg_1".into()),
        blocks: vec![
            Block::Thinking {
                text: "hm".into(),
                signature: Some("EqQB".into()),
                id: None,
            },
            Block::RedactedThinking {
                data: "xyz".into(),
                id: None,
            },
            Block::text("a"),
        ],
        ..choice(&json!({"content": "a"}), "stop").unwrap()
    };
    let context = ReplyContext {
        id: "chatcmpl-9".into(),
        ..ReplyContext::default()
    };
    let shown = written(&reply, &context);
    assert_eq!(shown["id"], "chatcmpl-9");
    let message = &shown["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "hm");
    let sealed = message["reasoning_details"][0]["signature"]
        .as_str()
        .unwrap();
    assert!(sealed.starts_with(SEAL) && sealed.contains("EqQB"));
    // A caller that sends its message back gives the proof back.
    let request = super::read(&json!({"model": "x", "messages": [message]}));
    assert!(matches!(
        &request.turns[0].blocks[0],
        Block::Thinking { text, signature: Some(proof), .. } if text == "hm" && proof == sealed
    ));
    assert!(matches!(
        &request.turns[0].blocks[1],
        Block::RedactedThinking { data, .. } if data.starts_with(SEAL) && data.contains("xyz")
    ));
}

#[test]
fn errors_have_the_shape_that_openais_clients_read() {
    let mut error = ErrorReply {
        kind: ErrorKind::RateLimit,
        message: "Slow down.".into(),
        code: None,
        param: None,
    };
    let shown: Value = serde_json::from_slice(&CHAT.write_error(&error)).unwrap();
    assert_eq!(
        shown,
        json!({"error": {
            "message": "Slow down.", "type": "rate_limit_error", "param": null,
            "code": "rate_limit_exceeded",
        }})
    );
    error.kind = ErrorKind::InvalidRequest;
    error.code = Some("context_length_exceeded".into());
    error.param = Some("messages".into());
    let shown: Value = serde_json::from_slice(&CHAT.write_error(&error)).unwrap();
    assert_eq!(shown["error"]["type"], "invalid_request_error");
    assert_eq!(shown["error"]["code"], "context_length_exceeded");
    assert_eq!(shown["error"]["param"], "messages");
}
