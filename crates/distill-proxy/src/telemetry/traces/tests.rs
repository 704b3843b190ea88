use std::collections::BTreeMap;

use distill_chat::Usage;
use distill_gateway::Usd;
use serde_json::Value;

use super::{AttemptSpan, RequestSpan, TraceContext, export, spans};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn request() -> RequestSpan {
    RequestSpan {
        id: "req-1".into(),
        dialect: "anthropic.messages".into(),
        route: "fast".into(),
        task: None,
        model_asked: "fast".into(),
        streamed: true,
        status: 200,
        outcome: "answered".into(),
        answered_by: Some("openai/gpt-5-mini".into()),
        cache: None,
        started_us: 1_700_000_000_000_001,
        ended_us: 1_700_000_000_500_000,
    }
}

fn attempt(number: u32, outcome: &str) -> AttemptSpan {
    AttemptSpan {
        number,
        target: "xai/grok/4".into(),
        simulated: false,
        outcome: outcome.into(),
        usage: Usage {
            input_tokens: Some(10),
            cached_input_tokens: Some(5),
            output_tokens: Some(7),
            reasoning_tokens: Some(3),
            ..Usage::default()
        },
        usd: Some(Usd::from_dollars(0.5)),
        model: None,
        first_token_us: Some(250_000),
        started_us: 1_700_000_000_000_010,
        ended_us: 1_700_000_000_400_000,
    }
}

fn attributes(span: &Value) -> BTreeMap<&str, &Value> {
    span["attributes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attribute| {
            let value = attribute["value"].as_object().unwrap();
            assert_eq!(value.len(), 1, "one kind of value each");
            (
                attribute["key"].as_str().unwrap(),
                value.values().next().unwrap(),
            )
        })
        .collect()
}

#[test]
fn a_request_and_its_attempts_are_one_tree_below_the_callers_span() {
    let context = TraceContext::parse(PARENT).unwrap();
    let all = spans(
        &context,
        &request(),
        &[attempt(1, "server_error"), attempt(2, "answered")],
    );
    assert_eq!(all.len(), 3);
    let root = &all[0];
    assert_eq!(root["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(root["kind"], 2);
    assert_eq!(root["name"], "chat fast");
    assert_eq!(root["startTimeUnixNano"], "1700000000000001000");
    assert!(root.get("status").is_none());
    for attempt in &all[1..] {
        assert_eq!(attempt["parentSpanId"], root["spanId"]);
        assert_eq!(attempt["kind"], 3);
        assert_eq!(attempt["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(attempt["name"], "chat grok/4");
    }
    assert_ne!(all[1]["spanId"], all[2]["spanId"]);
    assert_eq!(all[1]["status"]["code"], 2);
    assert!(all[2].get("status").is_none());
}

#[test]
fn tokens_are_told_as_the_convention_counts_them() {
    let all = spans(
        &TraceContext::of_request("req-1"),
        &request(),
        &[attempt(1, "answered")],
    );
    let told = attributes(&all[1]);
    assert_eq!(told["gen_ai.provider.name"], "x_ai");
    assert_eq!(told["gen_ai.request.model"], "grok/4");
    assert_eq!(told["gen_ai.usage.input_tokens"], "15");
    assert_eq!(told["gen_ai.usage.cache_read.input_tokens"], "5");
    assert_eq!(told["gen_ai.usage.output_tokens"], "10");
    assert_eq!(told["gen_ai.usage.reasoning.output_tokens"], "3");
    assert_eq!(told["distill.cost.usd"], 0.5);
    assert!(!told.contains_key("gen_ai.usage.cache_creation.input_tokens"));
    assert!(!told.contains_key("gen_ai.response.model"));
}

#[test]
fn an_export_says_whose_it_is() {
    let body = export("proxy-eu", vec![Value::Null]);
    let resource = &body["resourceSpans"][0];
    assert_eq!(
        attributes(&resource["resource"])["service.name"],
        "proxy-eu"
    );
    assert_eq!(resource["scopeSpans"][0]["spans"][0], Value::Null);
}

#[test]
fn a_traceparent_that_is_none_is_not_taken() {
    for bad in [
        "",
        "00",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "00-é4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
    ] {
        assert_eq!(TraceContext::parse(bad), None, "{bad}");
    }
    let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-what-is-new";
    assert_eq!(TraceContext::parse(later).unwrap().sampled, Some(false));
}

#[test]
fn a_share_of_requests_is_recorded_and_the_caller_decides_for_its_own() {
    let recorded = |share: f64| {
        (0..1000)
            .filter(|number| TraceContext::of_request(&number.to_string()).is_sampled(share))
            .count()
    };
    assert_eq!(recorded(0.0), 0);
    assert_eq!(recorded(1.0), 1000);
    assert!((200..300).contains(&recorded(0.25)), "{}", recorded(0.25));
    assert!(TraceContext::parse(PARENT).unwrap().is_sampled(0.0));
}
