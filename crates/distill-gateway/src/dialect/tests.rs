use distill_chat::{ChatRequest, FinishReason, Message, Usage};
use distill_wire::Malformed;
use serde_json::{Value, json};

use super::{Dialect, Wire, parse, vendor_error};
use crate::vendor::vendor;

mod recorded;

fn request() -> ChatRequest {
    ChatRequest {
        temperature: Some(0.0),
        stop: vec!["\n".into()],
        seed: Some(3),
        response_schema: Some(json!({"type": "object", "properties": {}})),
        ..ChatRequest::new(
            "teacher",
            vec![Message::system("Be brief."), Message::user("Hi «there»")],
        )
    }
}

fn body(vendor_name: &str, fixed_temperature: bool) -> Value {
    let vendor = vendor(vendor_name).unwrap();
    let body = super::body(
        vendor.dialect,
        &request(),
        Wire {
            model: "m",
            quirks: vendor.quirks,
            fixed_temperature,
            max_tokens: 64,
        },
    )
    .unwrap();
    serde_json::from_str(&body).unwrap()
}

#[test]
fn an_openai_body_holds_everything_that_shapes_the_answer() {
    assert_eq!(
        body("openai", false),
        json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi «there»"},
            ],
            "max_completion_tokens": 64,
            "temperature": 0.0,
            "stop": ["\n"],
            "seed": 3,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": {"type": "object", "properties": {}}},
            },
        })
    );
    assert_eq!(body("openai", true).get("temperature"), None);
}

#[test]
fn bodies_stay_byte_for_byte_what_they_were() {
    let text = |vendor_name: &str| {
        let vendor = vendor(vendor_name).unwrap();
        let wire = Wire {
            model: "m",
            quirks: vendor.quirks,
            fixed_temperature: false,
            max_tokens: 64,
        };
        super::body(vendor.dialect, &request(), wire).unwrap()
    };
    let conversation = r#"{"model":"m","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi «there»"}]"#;
    let schema = r#"{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object","properties":{}}}}"#;
    assert_eq!(
        text("openai"),
        format!(
            r#"{conversation},"max_completion_tokens":64,"temperature":0.0,"stop":["\n"],"seed":3,"response_format":{schema}}}"#
        )
    );
    assert_eq!(
        text("groq"),
        format!(
            r#"{conversation},"max_tokens":64,"temperature":0.0,"stop":["\n"],"seed":3,"response_format":{schema}}}"#
        )
    );
    assert_eq!(
        text("deepseek"),
        format!(
            r#"{conversation},"max_tokens":64,"temperature":0.0,"stop":["\n"],"response_format":{{"type":"json_object"}}}}"#
        )
    );
    assert_eq!(
        text("anthropic"),
        r#"{"model":"m","max_tokens":64,"messages":[{"role":"user","content":"Hi «there»"}],"system":"Be brief.","temperature":0.0,"stop_sequences":["\n"],"output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{}}}}}"#
    );
}

#[test]
fn quirks_change_what_a_compatible_server_gets() {
    let groq = body("groq", false);
    assert_eq!(groq["max_tokens"], 64);
    assert_eq!(groq.get("max_completion_tokens"), None);
    let deepseek = body("deepseek", false);
    assert_eq!(deepseek["response_format"], json!({"type": "json_object"}));
    assert_eq!(deepseek.get("seed"), None);
}

#[test]
fn an_anthropic_body_has_the_system_prompt_apart() {
    assert_eq!(
        body("anthropic", false),
        json!({
            "model": "m",
            "max_tokens": 64,
            "messages": [{"role": "user", "content": "Hi «there»"}],
            "system": "Be brief.",
            "temperature": 0.0,
            "stop_sequences": ["\n"],
            "output_config": {"format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}},
        })
    );
}

fn openai(choice: &Value, usage: &Value) -> Result<super::Reply, Malformed> {
    let body = json!({"id": "x", "model": "m-1", "choices": [choice], "usage": usage});
    parse(Dialect::ChatCompletions, body.to_string().as_bytes())
}

#[test]
fn openai_usage_is_split_into_disjoint_classes() {
    let choice = json!({"message": {"content": "a"}, "finish_reason": "stop"});
    let inside = openai(
        &choice,
        &json!({
            "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
            "prompt_tokens_details": {"cached_tokens": 60},
            "completion_tokens_details": {"reasoning_tokens": 40},
        }),
    )
    .unwrap();
    assert_eq!(
        inside.completion.usage,
        Usage {
            input_tokens: Some(40),
            cached_input_tokens: Some(60),
            cache_write_tokens: None,
            output_tokens: Some(10),
            reasoning_tokens: Some(40),
        }
    );
    let beside = openai(
        &choice,
        &json!({
            "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 150,
            "completion_tokens_details": {"reasoning_tokens": 40},
        }),
    )
    .unwrap();
    assert_eq!(beside.completion.usage.output_tokens, Some(10));
    assert_eq!(beside.completion.usage.cached_input_tokens, None);
    let missing = openai(&choice, &Value::Null).unwrap();
    assert_eq!(missing.completion.usage, Usage::default());
}

#[test]
fn openai_finish_reasons_and_refusals_are_told_apart() {
    for (message, reason, finish, text) in [
        (json!({"content": "a"}), "stop", FinishReason::Stop, "a"),
        (
            json!({"content": "cut of"}),
            "length",
            FinishReason::Length,
            "cut of",
        ),
        (
            json!({"content": null}),
            "content_filter",
            FinishReason::ContentFilter,
            "",
        ),
        (
            json!({"content": null, "refusal": "I cannot"}),
            "stop",
            FinishReason::ContentFilter,
            "I cannot",
        ),
        (
            json!({"content": null, "tool_calls": []}),
            "tool_calls",
            FinishReason::ToolCalls,
            "",
        ),
        (
            json!({"content": "a"}),
            "insufficient_system_resource",
            FinishReason::Other("insufficient_system_resource".into()),
            "a",
        ),
        (
            json!({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "b"}]}),
            "stop",
            FinishReason::Stop,
            "b",
        ),
    ] {
        let reply = openai(
            &json!({"message": message, "finish_reason": reason}),
            &Value::Null,
        )
        .unwrap();
        assert_eq!(
            (reply.completion.finish, reply.completion.text.as_str()),
            (finish, text)
        );
    }
}

#[test]
fn a_body_without_its_parts_is_malformed_and_never_an_empty_answer() {
    for body in [
        "",
        "{\"choices\": [{\"message\": {\"content\": \"hal",
        "{}",
        r#"{"model": "m", "choices": []}"#,
        r#"{"model": "m", "choices": [{"message": {"content": null}, "finish_reason": "stop"}]}"#,
        r#"{"model": "m", "choices": [{"message": {"content": "a"}}]}"#,
        r#"{"error": {"message": "overloaded"}}"#,
    ] {
        assert!(
            parse(Dialect::ChatCompletions, body.as_bytes()).is_err(),
            "{body}"
        );
        assert!(parse(Dialect::Messages, body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn anthropic_text_blocks_join_and_cached_tokens_stand_apart() {
    let body = json!({
        "id": "msg_1", "model": "claude-1", "stop_reason": "max_tokens",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "one "},
            {"type": "text", "text": "two"},
        ],
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 5, "output_tokens": 7},
    });
    let reply = parse(Dialect::Messages, body.to_string().as_bytes()).unwrap();
    assert_eq!(reply.completion.text, "one two");
    assert_eq!(reply.completion.finish, FinishReason::Length);
    assert_eq!(reply.completion.usage.cached_input_tokens, Some(20));
    assert_eq!(reply.completion.usage.cache_write_tokens, Some(5));
    assert_eq!(reply.response_id.as_deref(), Some("msg_1"));
}

#[test]
fn error_bodies_of_every_shape_give_message_and_code() {
    for (body, message, code) in [
        (
            r#"{"error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}}"#,
            "too long",
            "context_length_exceeded",
        ),
        (
            r#"{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}"#,
            "Overloaded",
            "overloaded_error",
        ),
        (
            r#"{"message": "Unauthorized", "code": 401}"#,
            "Unauthorized",
            "401",
        ),
        (r#"{"detail": "no route"}"#, "no route", ""),
        (
            r#"{"code": "bad", "error": "Incorrect key"}"#,
            "Incorrect key",
            "bad",
        ),
        (
            "<html>\n  <b>502</b>\n</html>",
            "<html> <b>502</b> </html>",
            "",
        ),
        ("", "", ""),
    ] {
        let error = vendor_error(body.as_bytes());
        assert_eq!(
            (error.message.as_str(), error.code.as_str()),
            (message, code)
        );
    }
    assert!(vendor_error("x".repeat(9000).as_bytes()).message.len() < 400);
}
