//! What passes, what is held back, who is called back.

use std::{sync::Arc, time::Duration};

use distill_proxy::forward::Endpoint;
use distill_wire::Dialect;
use serde_json::{Value, json};

use super::{
    harness::{End, KEY, first_bytes, load, proxy, question, see},
    vendor::{Line, Vendor},
};

const CHAT: Dialect = Dialect::ChatCompletions;
const FAST: &str = ", timeouts: {first_token: 5s, between_tokens: 5s, total: 60s}";

#[tokio::test]
async fn a_caller_of_the_targets_dialect_gets_its_bytes_and_the_target_gets_the_callers() {
    let vendor = Vendor::always(Line::Answer("good words here")).await;
    for (dialect, like) in [(CHAT, "openai"), (Dialect::Messages, "anthropic")] {
        let proxy = proxy(&[("first", like, &vendor.url)], FAST).await;
        // Fields, numbers and spaces that no reader here knows.
        let body = r#"{ "model" : "fast", "max_tokens": 16, "big": 9007199254740993, "messages": [{"role":"user","content":"h\u0069","x":[1.0]}] ,"odd":{"a":null} }"#;
        let endpoint = Endpoint::Chat(dialect);
        let answer = proxy.answer_bytes("q", endpoint, body.into()).await;
        let seen = see(dialect, answer).await;
        assert_eq!((seen.status, seen.text.as_str()), (200, "good words here"));
        let (headers, sent) = vendor.bodies().pop().unwrap();
        assert_eq!(sent, body.replace("\"fast\"", "\"m\""), "{dialect:?}");
        let held = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let key = held(if like == "openai" {
            "authorization"
        } else {
            "x-api-key"
        });
        assert!(key.unwrap().ends_with(KEY), "the vendor's own key");
        assert_eq!(held("anthropic-beta"), Some("beta-1"));
        assert_eq!(held("cookie"), None, "nothing else of the caller goes on");
        assert_eq!(seen.header("x-distill-request-id"), Some("q"));
        assert_eq!(seen.header("x-distill-target"), Some("first/m"));
        assert_eq!(seen.header("x-distill-attempts"), Some("1"));
        let done = seen.done.unwrap();
        assert!(done.valid);
        assert_eq!(done.usd.unwrap().pico(), 45_000_000);
        assert_eq!(seen.headers["x-distill-cost-usd"], "0.000045000");
        assert_eq!(done.model.as_deref(), Some("model-1"));
    }
}

#[tokio::test]
async fn usage_that_only_the_proxy_asked_for_is_not_shown() {
    let vendor = Vendor::always(Line::Answer("good")).await;
    let proxy = proxy(&[("first", "openai", &vendor.url)], FAST).await;
    let seen = proxy.ask("a", CHAT, &question(CHAT, true)).await;
    assert_eq!((seen.text.as_str(), seen.end), ("good", End::Whole));
    assert!(!seen.raw.contains("prompt_tokens"), "{}", seen.raw);
    assert_eq!(seen.done.unwrap().usd.unwrap().pico(), 45_000_000);
    let (_, sent) = vendor.bodies().pop().unwrap();
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    assert_eq!(sent["stream_options"]["include_usage"], true);

    let mut asked = question(CHAT, true);
    asked["stream_options"] = json!({"include_usage": true});
    let seen = proxy.ask("b", CHAT, &asked).await;
    assert!(seen.raw.contains("prompt_tokens"), "{}", seen.raw);
}

#[tokio::test]
async fn a_caller_who_hangs_up_calls_the_vendor_back_and_the_bound_stays_listed() {
    let vendor = Vendor::always(Line::StallAfter).await;
    let proxy = proxy(
        &[("first", "openai", &vendor.url)],
        ", timeouts: {total: 60s}",
    )
    .await;
    let mut answer = proxy.answer("q", CHAT, &question(CHAT, true)).await;
    assert!(first_bytes(&mut answer).await.is_some());
    drop(answer);
    vendor.hung_up(1).await;
    let (records, attempts) = proxy.records(1).await;
    assert_eq!(records[0].outcome.as_deref(), Some("cancelled"));
    assert_eq!(attempts[0].outcome.as_deref(), Some("cancelled"));
    assert_eq!(proxy.unsettled().await.len(), 1);
}

#[tokio::test]
async fn a_caller_who_hangs_up_before_anything_came_is_booked_too() {
    let vendor = Vendor::always(Line::StallBefore).await;
    let proxy = Arc::new(
        proxy(
            &[("first", "openai", &vendor.url)],
            ", timeouts: {total: 60s}",
        )
        .await,
    );
    let asking = {
        let proxy = Arc::clone(&proxy);
        tokio::spawn(async move { proxy.ask("q", CHAT, &question(CHAT, true)).await })
    };
    while vendor.total_calls() == 0 {
        tokio::task::yield_now().await;
    }
    asking.abort();
    vendor.hung_up(1).await;
    let (records, attempts) = proxy.records(1).await;
    assert_eq!(records[0].outcome.as_deref(), Some("cancelled"));
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].usd, None);
    assert_eq!(proxy.unsettled().await.len(), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_its_schema_is_paid_for_and_another_model_is_asked() {
    let first = Vendor::always(Line::Answer("no json")).await;
    let second = Vendor::always(Line::Answer(r#"{"a": 1}"#)).await;
    let mut asked = question(CHAT, false);
    asked["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "x", "schema":
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}});
    let both = [
        ("first", "openai", first.url.as_str()),
        ("second", "openai", second.url.as_str()),
    ];
    let proxy = proxy(&both, FAST).await;
    let seen = proxy.ask("q", CHAT, &asked).await;
    assert_eq!(seen.text, r#"{"a": 1}"#);
    assert_eq!(seen.header("x-distill-attempts"), Some("2"));
    let (_, attempts) = proxy.records(1).await;
    let outcomes: Vec<_> = attempts
        .iter()
        .map(|a| a.outcome.clone().unwrap())
        .collect();
    assert_eq!(outcomes, ["invalid_output", "answered"]);
    assert!(attempts.iter().all(|attempt| attempt.usd.is_some()));

    // Nobody keeps it: the answer is better than none, and is not fit for a cache.
    let alone = super::harness::proxy(&both[..1], FAST).await;
    let seen = alone.ask("q", CHAT, &asked).await;
    assert_eq!((seen.status, seen.text.as_str()), (200, "no json"));
    assert!(!seen.done.unwrap().valid);
}

#[tokio::test]
async fn a_throttled_chain_tells_the_caller_when_to_come_again() {
    let first = Vendor::always(Line::Throttled(Some("30000"))).await;
    let second = Vendor::always(Line::Throttled(Some("7000"))).await;
    for dialect in [CHAT, Dialect::Messages] {
        let proxy = proxy(
            &[
                ("first", "openai", &first.url),
                ("second", "openai", &second.url),
            ],
            FAST,
        )
        .await;
        for (id, stream) in [("a", false), ("b", true)] {
            let seen = proxy.ask(id, dialect, &question(dialect, stream)).await;
            assert_eq!((seen.status, seen.end), (429, End::Error), "{seen:?}");
            let wait: u64 = seen.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=7).contains(&wait), "{wait}");
        }
    }
    assert_eq!(
        first.total_calls(),
        2,
        "it rests: the second request asks nobody"
    );
}

#[tokio::test]
async fn when_nobody_can_answer_the_caller_learns_who_failed_and_not_what_they_said() {
    let first = Vendor::always(Line::Status(
        401,
        r#"{"error": {"message": "Incorrect API key provided: sk-planted-vendor-key"}}"#,
    ))
    .await;
    let second = Vendor::always(Line::Status(500, "{}")).await;
    let proxy = proxy(
        &[
            ("first", "openai", &first.url),
            ("second", "openai", &second.url),
        ],
        FAST,
    )
    .await;
    let seen = proxy.ask("q", CHAT, &question(CHAT, false)).await;
    assert_eq!((seen.status, seen.end), (503, End::Error));
    for part in ["`first/m` key_refused", "`second/m` server_error"] {
        assert!(seen.raw.contains(part), "{}", seen.raw);
    }
    assert!(!seen.raw.contains("planted"), "{}", seen.raw);
    assert!(
        proxy
            .alerts()
            .iter()
            .all(|alert| !alert.message.contains("planted"))
    );
    assert_eq!(proxy.alerts().len(), 1);
}

#[tokio::test]
async fn a_model_that_is_gone_is_left_alone_and_nobody_fails() {
    let gone = Vendor::always(Line::Status(404, "{}")).await;
    let next = Vendor::always(Line::Answer("good")).await;
    let proxy = proxy(
        &[
            ("first", "openai", &gone.url),
            ("second", "openai", &next.url),
        ],
        FAST,
    )
    .await;
    for id in ["a", "b", "c"] {
        assert_eq!(
            proxy.ask(id, CHAT, &question(CHAT, false)).await.text,
            "good"
        );
    }
    assert_eq!(gone.total_calls(), 1);
}

#[tokio::test]
async fn a_prompt_too_long_for_all_is_the_requests_own_fault() {
    let error = r#"{"error": {"message": "maximum context length is 10", "code": "context_length_exceeded"}}"#;
    let vendor = Vendor::always(Line::Status(400, error)).await;
    let proxy = proxy(&[("first", "openai", &vendor.url)], FAST).await;
    for id in ["a", "b"] {
        let seen = proxy.ask(id, CHAT, &question(CHAT, false)).await;
        assert_eq!(seen.status, 400);
        assert!(seen.raw.contains("context_length_exceeded"), "{}", seen.raw);
    }
    assert_eq!(
        vendor.total_calls(),
        2,
        "with nobody else to ask, the target itself says so"
    );
}

#[tokio::test]
async fn a_slow_target_is_outrun_where_the_route_hedges() {
    let slow = Vendor::always(Line::StallBefore).await;
    let quick = Vendor::always(Line::Answer("good")).await;
    let proxy = proxy(
        &[
            ("first", "openai", &slow.url),
            ("second", "openai", &quick.url),
        ],
        ", hedge: 50ms, timeouts: {total: 60s}",
    )
    .await;
    for (id, stream) in [("a", false), ("b", true)] {
        let seen = proxy.ask(id, CHAT, &question(CHAT, stream)).await;
        assert_eq!((seen.status, seen.text.as_str()), (200, "good"), "{seen:?}");
        assert_eq!(seen.header("x-distill-target"), Some("second/m"));
    }
    slow.hung_up(2).await;
    let (_, attempts) = proxy.records(2).await;
    assert_eq!(attempts.len(), 4);
    let open = proxy.unsettled().await;
    assert_eq!(open.len(), 2, "what the slow one costs is not known");
    assert!(open.iter().all(|attempt| attempt.target == "first/m"));
}

#[tokio::test]
async fn a_hedge_stays_at_home_when_the_first_is_quick() {
    let quick = Vendor::always(Line::Answer("good")).await;
    let other = Vendor::always(Line::Answer("other")).await;
    let proxy = proxy(
        &[
            ("first", "openai", &quick.url),
            ("second", "openai", &other.url),
        ],
        ", hedge: 20s",
    )
    .await;
    assert_eq!(
        proxy.ask("a", CHAT, &question(CHAT, false)).await.text,
        "good"
    );
    assert_eq!(other.total_calls(), 0);
}

#[tokio::test]
async fn what_a_target_cannot_be_told_is_named_or_refused() {
    let vendor = Vendor::always(Line::Answer("good")).await;
    let proxy = proxy(&[("first", "anthropic", &vendor.url)], FAST).await;
    let mut asked = question(CHAT, false);
    asked["logit_bias"] = json!({"1": 2});
    let seen = proxy.ask("a", CHAT, &asked).await;
    assert_eq!(seen.status, 200, "{}", seen.raw);
    let dropped = seen.header("x-distill-dropped").unwrap();
    assert!(dropped.contains("logit_bias"), "{dropped}");
    asked["n"] = json!(2);
    let seen = proxy.ask("b", CHAT, &asked).await;
    assert_eq!((seen.status, seen.end), (400, End::Error));
    assert_eq!(vendor.total_calls(), 1);
    assert_eq!(seen.header("x-distill-attempts"), Some("0"));
}

#[tokio::test]
async fn options_of_a_member_are_set_in_its_bodies_only() {
    let vendor = Vendor::always(Line::Answer("good")).await;
    let text = format!(
        "vendors:\n  first: {{like: openai, base_url: \"{}/v1\", price: {{input: 1, output: 1}}}}\nmodels:\n  fast: {{members: [{{target: first/m, options: {{reasoning_effort: low}}}}]}}\n",
        vendor.url
    )
    .replace("target:", "model:");
    let proxy = load(&text).await;
    assert_eq!(
        proxy.ask("a", CHAT, &question(CHAT, false)).await.text,
        "good"
    );
    let (_, sent) = vendor.bodies().pop().unwrap();
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    assert_eq!(sent["reasoning_effort"], "low");
    assert_eq!(sent["model"], "m");
}

#[tokio::test]
async fn requests_beyond_a_vendors_places_go_to_the_next() {
    let slow = Vendor::always(Line::StallAfter).await;
    let next = Vendor::always(Line::Answer("good")).await;
    let text = format!(
        "vendors:\n  first: {{like: openai, base_url: \"{}/v1\", price: {{input: 1, output: 1}}, max_in_flight: 1}}\n  second: {{like: openai, base_url: \"{}/v1\", price: {{input: 1, output: 1}}}}\nmodels:\n  fast: [first/m, second/m]\n",
        slow.url, next.url
    );
    let proxy = load(&text).await;
    let mut held = proxy.answer("a", CHAT, &question(CHAT, true)).await;
    assert!(first_bytes(&mut held).await.is_some());
    assert_eq!(
        proxy.ask("b", CHAT, &question(CHAT, true)).await.text,
        "good"
    );
    assert_eq!(slow.total_calls(), 1);
    drop(held);
    slow.hung_up(1).await;
    let mut again = proxy.answer("c", CHAT, &question(CHAT, true)).await;
    assert!(first_bytes(&mut again).await.is_some());
    assert_eq!(slow.total_calls(), 2, "the place is free again");
}

#[tokio::test]
async fn the_whole_time_of_a_request_is_bounded_whatever_the_targets_do() {
    let first = Vendor::always(Line::Hang).await;
    let second = Vendor::always(Line::Hang).await;
    let proxy = proxy(
        &[
            ("first", "openai", &first.url),
            ("second", "openai", &second.url),
        ],
        ", timeouts: {first_token: 400ms, between_tokens: 400ms, total: 600ms}",
    )
    .await;
    for (id, stream) in [("a", false), ("b", true)] {
        let asked = question(CHAT, stream);
        let asked = proxy.ask(id, CHAT, &asked);
        let seen = tokio::time::timeout(Duration::from_secs(20), asked)
            .await
            .unwrap();
        assert_eq!((seen.status, seen.end), (504, End::Error), "{}", seen.raw);
    }
}

#[tokio::test]
async fn a_vendor_that_refuses_what_another_of_its_dialect_takes_is_sent_none_of_it() {
    let vendor = Vendor::always(Line::Answer("good")).await;
    let proxy = proxy(&[("first", "mistral", &vendor.url)], FAST).await;
    let body = json!({"model": "fast", "max_completion_tokens": 16, "user": "ann", "seed": 7,
    "safe_prompt": true, "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "call_0123456789",
            "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_0123456789", "content": "42"},
    ]});
    let seen = proxy.ask("q", CHAT, &body).await;
    assert_eq!((seen.status, seen.text.as_str()), (200, "good"));
    assert!(seen.header("x-distill-dropped").unwrap().contains("user"));
    let (_, sent) = vendor.bodies().pop().unwrap();
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    assert_eq!(
        (&sent["max_tokens"], &sent["random_seed"]),
        (&json!(16), &json!(7))
    );
    assert_eq!(sent["safe_prompt"], true);
    for field in ["max_completion_tokens", "user", "seed"] {
        assert!(sent.get(field).is_none(), "{sent}");
    }
    let call = &sent["messages"][1]["tool_calls"][0]["id"];
    assert_eq!(call.as_str().unwrap().len(), 9);
    assert_eq!(&sent["messages"][2]["tool_call_id"], call);
}

#[tokio::test]
async fn tokens_of_a_conversation_with_another_vendors_proof_are_counted_without_it() {
    let vendor = Vendor::always(Line::Answer("good")).await;
    let proxy = proxy(&[("first", "anthropic", &vendor.url)], FAST).await;
    let seal = format!("{}openai.responses:t:rs_1:x", distill_wire::SEAL);
    let body = json!({"model": "fast", "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": seal}, {"type": "text", "text": "yes"}]},
        {"role": "user", "content": "why"},
    ]});
    let body = body.to_string();
    let _ = proxy
        .answer_bytes("q", Endpoint::CountTokens, body.into())
        .await;
    let (_, sent) = vendor.bodies().pop().unwrap();
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    let fields: Vec<&String> = sent.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["model", "messages"], "{sent}");
    assert_eq!(sent["messages"][1]["content"], "yes");
}
