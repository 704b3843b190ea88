use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Envelope, scan};
use crate::{Dialect, RequestError};

fn chat(body: &str) -> Envelope {
    scan(Dialect::ChatCompletions, body.as_bytes()).unwrap()
}

fn refused(body: impl AsRef<[u8]>) -> String {
    scan(Dialect::ChatCompletions, body.as_ref())
        .unwrap_err()
        .to_string()
}

#[test]
fn of_two_bounds_the_larger_is_what_a_reply_can_come_to() {
    for body in [
        r#"{"max_completion_tokens": 1, "max_tokens": 4000}"#,
        r#"{"max_tokens": 4000, "max_completion_tokens": 1}"#,
        r#"{"max_tokens": 4000, "max_completion_tokens": null}"#,
    ] {
        assert_eq!(chat(body).max_tokens, Some(4000), "{body}");
    }
}

#[test]
fn a_chat_body_tells_what_routing_rests_on() {
    let body = r#" {"model" : "fa\u0073t", "messages": [{"role": "user", "content": [
        {"type": "text", "text": "}]\\\" \u00e9"}, {"type": "image_url", "image_url": {"url": "x"}}]}],
        "max_tokens": 10, "max_completion_tokens": 20, "temperature": 0, "n": 2, "stream": true,
        "tools": [{"type": "function"}], "stream_options": {"include_usage": true},
        "response_format": {"type": "json_schema", "json_schema": {}}, "user": "u", "metadata": {"user_id": "m"}} "#;
    let envelope = chat(body);
    assert_eq!(envelope.model.as_deref(), Some("fast"));
    assert_eq!(&body[envelope.model_span.unwrap()], r#""fa\u0073t""#);
    assert!(envelope.stream && envelope.stream_usage);
    assert!(envelope.has_tools && envelope.has_images && envelope.has_schema);
    assert_eq!(envelope.max_tokens, Some(20));
    assert_eq!(envelope.temperature, Some(0.0));
    assert_eq!(envelope.n, Some(2));
    assert_eq!(envelope.session.as_deref(), Some("m"));
    assert_eq!(envelope.end, body.rfind('}').unwrap());
    assert_eq!(
        chat(r#"{"prompt_cache_key": "k", "metadata": {"user_id": "m"}}"#)
            .session
            .as_deref(),
        Some("k")
    );
}

#[test]
fn what_is_not_there_is_not_known() {
    assert_eq!(
        chat(r#"{"messages": [], "tools": [], "max_tokens": null, "model": null, "stream": null}"#),
        Envelope {
            end: 79,
            ..Envelope::default()
        }
    );
    let other = r#"{"messages": [{"role": "user", "content": "image_url"}], "response_format": {"type": "text"}}"#;
    let envelope = chat(other);
    assert!(!envelope.has_images && !envelope.has_schema);
}

#[test]
fn a_sealed_proof_is_seen_wherever_it_stands() {
    let body = r#"{"messages": [{"reasoning_details": [{"signature": "distill-sealed:a:t::b"}]}]}"#;
    assert!(chat(body).has_seal);
    assert!(!chat(r#"{"messages": [{"content": "distilled"}]}"#).has_seal);
}

#[test]
fn each_dialect_has_its_own_names() {
    let body = br#"{"model": "m", "max_output_tokens": 7, "max_tokens": 9, "tools": [{}],
        "input": [{"type": "function_call_output", "output": [{"type": "input_image"}]}],
        "text": {"verbosity": "low", "format": {"type": "json_schema"}}, "prompt_cache_key": "k"}"#;
    let envelope = scan(Dialect::Responses, body).unwrap();
    assert_eq!(envelope.max_tokens, Some(7));
    assert!(envelope.has_tools && envelope.has_images && envelope.has_schema);
    assert_eq!(envelope.session.as_deref(), Some("k"));
    let body = br#"{"model": "m", "max_tokens": 9, "metadata": {"user_id": "u"}, "messages": [
        {"role": "assistant", "content": [{"type": "tool_use", "input": {"type": "image"}}]},
        {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text"}]}]}],
        "output_config": {"effort": "low", "format": {"type": "json_schema"}}}"#;
    let envelope = scan(Dialect::Messages, body).unwrap();
    assert_eq!(envelope.max_tokens, Some(9));
    assert!(!envelope.has_images, "a tool's arguments are no image");
    assert!(envelope.has_schema && envelope.stream_usage);
    assert_eq!(envelope.session.as_deref(), Some("u"));
    let body = br#"{"messages": [{"role": "user", "content": [
        {"type": "tool_result", "content": [{"type": "image"}]}]}]}"#;
    assert!(scan(Dialect::Messages, body).unwrap().has_images);
}

#[test]
fn another_tier_than_the_usual_is_seen() {
    for (body, dearer) in [
        (r#"{"model": "m"}"#, None),
        (r#"{"service_tier": "auto"}"#, None),
        (r#"{"service_tier": null}"#, None),
        (r#"{"service_tier": "flex"}"#, Some(1)),
        (r#"{"service_tier": "priority"}"#, Some(2)),
    ] {
        assert_eq!(chat(body).dearer, dearer, "{body}");
    }
    let fast = br#"{"service_tier": "standard_only", "speed": "fast"}"#;
    assert_eq!(scan(Dialect::Messages, fast).unwrap().dearer, Some(6));
}

#[test]
fn what_is_attached_is_counted_apart() {
    let image = r#"{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}"#;
    let file = r#"{"file": {"file_id": "f"}, "type": "file"}"#;
    let body = format!(
        r#"{{"messages": [{{"role": "user", "content": [{image}, {image}, {file},
        {{"type": "image", "type": "text", "text": "AAAA"}}]}}]}}"#
    );
    let envelope = chat(&body);
    assert_eq!((envelope.images, envelope.files), (2, 1));
    assert_eq!(envelope.attached_bytes, 2 * image.len() + file.len());
    // Nothing is counted twice.
    let nested = r#"{"type": "tool_result", "content": [{"type": "image"}]}"#;
    let body = format!(r#"{{"messages": [{{"role": "user", "content": [{nested}]}}]}}"#);
    let envelope = scan(Dialect::Messages, body.as_bytes()).unwrap();
    assert_eq!((envelope.images, envelope.attached_bytes), (1, 17));
    for (body, refers) in [
        (r#"{"previous_response_id": "r"}"#, true),
        (r#"{"previous_response_id": null, "input": "x"}"#, false),
        (r#"{"prompt": {"id": "p"}, "conversation": "c"}"#, true),
    ] {
        let envelope = scan(Dialect::Responses, body.as_bytes()).unwrap();
        assert_eq!(envelope.refers_back, refers, "{body}");
    }
}

#[test]
fn what_is_no_object_is_refused_with_its_place() {
    for (body, place) in [
        ("", "line 1, column 1"),
        ("[]", "line 1, column 1"),
        ("\u{feff}{}", "line 1, column 1"),
        ("{\"a\": 1}x", "line 1, column 9"),
        ("{\"a\":\n 01}", "line 2, column 3"),
        ("{\"a\": .5}", "line 1, column 7"),
        ("{\"a\": \"b}", "line 1, column 7"),
        ("{\"a\": \"b\\", "line 1, column 7"),
        ("{\"a\" 1}", "line 1, column 6"),
        ("{\"a\": [1,]}", "line 1, column 10"),
        ("{\"a\": {]}", "line 1, column 8"),
        ("{\"a\": tru}", "line 1, column 7"),
        ("{\"a\": 1", "line 1, column 8"),
        ("{\"a\": 1e}", "line 1, column 9"),
        ("{'a': 1}", "line 1, column 2"),
    ] {
        let message = refused(body);
        assert!(message.contains(place), "{body}: {message}");
    }
    assert!(refused(b"{\"a\": \"\xff\"}").contains("byte 7 is not UTF-8"));
}

#[test]
fn a_key_that_is_read_stands_once_and_has_its_type() {
    for (body, message) in [
        (
            r#"{"model": "a", "mod\u0065l": "b"}"#,
            "`model` stands twice",
        ),
        (
            r#"{"stream_options": {"include_usage": true, "include_usage": false}}"#,
            "`stream_options.include_usage` stands twice",
        ),
        (r#"{"model": 3}"#, "`model` must be a string"),
        (r#"{"stream": "yes"}"#, "`stream` must be true or false"),
        (
            r#"{"max_tokens": -1}"#,
            "`max_tokens` must be a whole number, 0 or more",
        ),
        (
            r#"{"max_tokens": 100000000000000000000}"#,
            "`max_tokens` must be a whole number, 0 or more",
        ),
        (r#"{"temperature": 1e999}"#, "`temperature` is too large"),
        (r#"{"n": [1]}"#, "`n` must be a number"),
    ] {
        assert_eq!(refused(body), message, "{body}");
    }
    assert!(chat(r#"{"a": 1, "a": 1e999}"#).model.is_none());
}

#[test]
fn values_nested_without_end_are_refused_at_once() {
    let bomb = format!("{{\"a\": {}", "[".repeat(1_000_000));
    assert!(refused(&bomb).contains("nested too deep"));
    let bomb = "{\"a\":".repeat(1_000_000);
    assert!(refused(&bomb).contains("nested too deep"));
    for depth in [125, 126, 127] {
        let body = format!("{{\"a\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(
            scan(Dialect::ChatCompletions, body.as_bytes()).is_ok(),
            serde_json::from_str::<Value>(&body).is_ok(),
            "{depth}"
        );
    }
}

#[test]
fn only_the_model_and_the_usage_change() {
    for (body, metered) in [
        (
            r#"{"model":"a","n":9007199254740993,  "x":1.10}"#,
            r#"{"model":"b\"","n":9007199254740993,  "x":1.10}"#,
        ),
        (
            r#"{"stream": true, "model": "a" }"#,
            r#"{"stream": true, "model": "b\"" ,"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"stream": true, "stream_options": {"include_usage": false}, "model": "a"}"#,
            r#"{"stream": true, "stream_options": {"include_usage": true}, "model": "b\""}"#,
        ),
        (
            r#"{"stream": true, "stream_options": { "other": 1 }, "model": "a"}"#,
            r#"{"stream": true, "stream_options": {"include_usage":true, "other": 1 }, "model": "b\""}"#,
        ),
        (
            r#"{"stream": true, "model": "a", "stream_options": { }}"#,
            r#"{"stream": true, "model": "b\"", "stream_options": {"include_usage":true }}"#,
        ),
        (
            r#"{"stream": true, "model": "a", "stream_options": null}"#,
            r#"{"stream": true, "model": "b\"", "stream_options": {"include_usage":true}}"#,
        ),
        (
            r#"{"stream": true, "model": "a", "stream_options": {"include_usage": true}}"#,
            r#"{"stream": true, "model": "b\"", "stream_options": {"include_usage": true}}"#,
        ),
        ("{ }\n", "{ \"model\":\"b\\\"\"}\n"),
        (
            r#"{"stream":true}"#,
            r#"{"stream":true,"model":"b\"","stream_options":{"include_usage":true}}"#,
        ),
    ] {
        let rewritten = chat(body).rewritten(body.as_bytes(), "b\"", true);
        assert_eq!(String::from_utf8(rewritten).unwrap(), metered, "{body}");
        let plain = chat(body).rewritten(body.as_bytes(), "b\"", false);
        let plain: Value = serde_json::from_slice(&plain).unwrap();
        let before: Value = serde_json::from_str(body).unwrap();
        assert_eq!(plain.get("stream_options"), before.get("stream_options"));
    }
    let body = br#"{"model": "a", "stream": true}"#;
    let envelope = scan(Dialect::Messages, body).unwrap();
    assert_eq!(
        envelope.rewritten(body, "b", true),
        br#"{"model": "b", "stream": true}"#
    );
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        Just(json!("image_url")),
        Just(json!("json_schema")),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..5)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        ".*",
        "(type|content|user_id|include_usage|format)".prop_map(String::from)
    ]
}

/// An object with the keys that are read, in any order, each with a value of its type or another's.
fn object() -> impl Strategy<Value = Map<String, Value>> {
    let known = prop_oneof![
        (Just("model".to_owned()), ".*".prop_map(Value::from)),
        (
            Just("stream".to_owned()),
            any::<bool>().prop_map(Value::from)
        ),
        (
            Just("max_tokens".to_owned()),
            any::<u64>().prop_map(Value::from)
        ),
        (
            Just("temperature".to_owned()),
            any::<f64>().prop_map(Value::from)
        ),
        (Just("tools".to_owned()), value()),
        (Just("messages".to_owned()), value()),
        (Just("metadata".to_owned()), value()),
        (Just("response_format".to_owned()), value()),
        (Just("user".to_owned()), ".*".prop_map(Value::from)),
        (
            "(model|stream|max_tokens|n|temperature|user)".prop_map(String::from),
            value()
        ),
        (key(), value()),
    ];
    prop::collection::vec(known, 0..8).prop_map(|members| members.into_iter().collect())
}

/// The facts as a full parse gives them; `None` where a field has another type.
#[expect(
    clippy::option_option,
    reason = "wrong, absent and there are three cases"
)]
fn parsed(object: &Map<String, Value>) -> Option<Envelope> {
    fn field<T>(
        object: &Map<String, Value>,
        name: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<Option<T>> {
        match object.get(name) {
            None | Some(Value::Null) => Some(None),
            Some(value) => read(value).map(Some),
        }
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let user = field(object, "user", text)?;
    let metadata = object
        .get("metadata")
        .and_then(|metadata| metadata.get("user_id"))
        .and_then(text);
    Some(Envelope {
        model: field(object, "model", text)?,
        stream: field(object, "stream", Value::as_bool)?.unwrap_or_default(),
        max_tokens: field(object, "max_tokens", Value::as_u64)?,
        n: field(object, "n", Value::as_u64)?,
        temperature: field(object, "temperature", Value::as_f64)?,
        has_tools: object
            .get("tools")
            .and_then(Value::as_array)
            .is_some_and(|tools| !tools.is_empty()),
        has_schema: object
            .get("response_format")
            .and_then(|format| format.get("type"))
            .is_some_and(|kind| kind == "json_schema"),
        session: metadata.or(user).filter(|session| !session.is_empty()),
        ..Envelope::default()
    })
}

proptest! {
    #[test]
    fn the_scan_agrees_with_a_parse(object in object(), pretty in any::<bool>()) {
        let value = Value::from(object.clone());
        let body = if pretty { format!("{value:#}") } else { value.to_string() };
        let found = scan(Dialect::ChatCompletions, body.as_bytes());
        let Some(expected) = parsed(&object) else {
            let invalid = matches!(found, Err(RequestError::Invalid { .. }));
            prop_assert!(invalid);
            return Ok(());
        };
        let found = found.unwrap();
        let span = found.model_span.clone();
        prop_assert_eq!(span.map(|span| serde_json::from_str::<String>(&body[span]).unwrap()), expected.model.clone());
        prop_assert_eq!(found.end, body.len() - 1);
        prop_assert_eq!(
            Envelope {
                has_images: false, images: 0, files: 0, attached_bytes: 0,
                model_span: None, end: 0, ..found
            },
            expected
        );
    }

    #[test]
    fn rewriting_changes_nothing_else(object in object(), model in ".*", meter in any::<bool>()) {
        let body = Value::from(object.clone()).to_string();
        let Ok(envelope) = scan(Dialect::ChatCompletions, body.as_bytes()) else { return Ok(()) };
        let rewritten: Map<String, Value> =
            serde_json::from_slice(&envelope.rewritten(body.as_bytes(), &model, meter)).unwrap();
        let mut expected = object;
        expected.insert("model".to_owned(), model.into());
        if meter && envelope.stream {
            expected.insert("stream_options".to_owned(), json!({"include_usage": true}));
        }
        prop_assert_eq!(rewritten, expected);
    }

    #[test]
    fn no_body_makes_the_scan_fall(bytes in prop::collection::vec(any::<u8>(), 0..64), dialect in 0..3_usize) {
        let dialect = Dialect::ALL[dialect];
        if let Ok(envelope) = scan(dialect, &bytes) {
            prop_assert_eq!(bytes[envelope.end], b'}');
        }
    }

    #[test]
    fn what_a_parse_refuses_for_its_shape_is_refused(cut in 0..200_usize, put in "[\\[\\]{},:\"0-9a-z ]") {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"a\"b"},{"x":[1,2.5e-3,null,{}]}],"stream":true}"#;
        let at = cut % body.len();
        let broken = format!("{}{put}{}", &body[..at], &body[at + 1..]);
        let parsed = serde_json::from_str::<Map<String, Value>>(&broken);
        let found = scan(Dialect::ChatCompletions, broken.as_bytes());
        if parsed.is_err() && found.is_ok() {
            // Only an escape inside a string that nobody reads may pass.
            prop_assert!(parsed.unwrap_err().to_string().contains("escape"));
        }
    }
}
