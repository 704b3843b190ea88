//! Answers that are given again.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::fixture::{Fixture, chat, json_of, messages, new_key, responses, settings};

const CACHED: &str = "cache: {ttl: 10m}\ndefaults: {cache: true}\n";

/// A question at temperature 0, so that its answer may be kept.
fn settled(mut body: Value) -> Value {
    body["temperature"] = 0.into();
    body
}

/// What the cache says of an answer: `miss`, or the first word of a hit with its kind.
fn said(response: &Response) -> Option<String> {
    let value = response.headers().get("x-distill-cache")?.to_str().unwrap();
    let mut words = value.split("; ");
    let word = words.next().unwrap().to_owned();
    Some(match words.next() {
        Some(kind) => format!("{word} {kind}"),
        None => word,
    })
}

fn asked(fixture: &Fixture) -> u64 {
    fixture.vendor.bill().requests
}

#[tokio::test]
async fn the_same_question_is_asked_once_in_every_dialect_and_form() {
    let fixture = Fixture::with(CACHED).await;
    for (path, body) in [
        ("/v1/chat/completions", settled(chat("fast"))),
        ("/v1/messages", settled(messages("fast"))),
        ("/v1/responses", settled(responses("fast"))),
    ] {
        let before = asked(&fixture);
        let first = fixture.post(path, &body).await;
        assert_eq!(said(&first).as_deref(), Some("miss"), "{path}");
        let first = json_of(first, 200).await;
        let second = fixture.post(path, &body).await;
        assert_eq!(said(&second).as_deref(), Some("hit kind=exact"), "{path}");
        let value = second.headers()["x-distill-cache"].to_str().unwrap();
        assert!(value.contains("; age=0; saved-usd=0.0"), "{value}");
        assert_eq!(second.headers()["x-distill-target"], "sim/small");
        assert!(second.headers().contains_key("x-distill-simulated"));
        assert_eq!(json_of(second, 200).await, first);
        let mut streamed = body.clone();
        streamed["stream"] = true.into();
        let third = fixture.post(path, &streamed).await;
        assert_eq!(said(&third).as_deref(), Some("hit kind=exact"), "{path}");
        assert_eq!(third.headers()["content-type"], "text/event-stream");
        let text = third.text().await.unwrap();
        assert!(text.contains("data: {"), "{text}");
        assert_eq!(asked(&fixture), before + 1, "{path}");
    }
    let metrics = fixture.get("/metrics").await.text().await.unwrap();
    assert!(
        metrics.contains("distill_cache_hits_total{route=\"fast\",kind=\"exact\"} 6"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_stream_is_kept_and_given_as_a_whole_answer() {
    let fixture = Fixture::with(CACHED).await;
    let body = settled(chat("fast"));
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    let first = fixture.post("/v1/chat/completions", &streamed).await;
    let text = first.text().await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"));
    // Whoever comes before the end was told to the cache waits for it.
    let second = fixture.post("/v1/chat/completions", &body).await;
    assert_eq!(said(&second).as_deref(), Some("hit kind=exact"));
    let whole = json_of(second, 200).await;
    assert!(whole["choices"][0]["message"]["content"].is_string());
    assert!(whole["usage"]["prompt_tokens"].is_u64(), "{whole}");
    assert_eq!(asked(&fixture), 1);
}

#[tokio::test]
async fn answers_are_shared_within_a_team_only() {
    let fixture = Fixture::with(CACHED).await;
    let body = settled(chat("fast"));
    json_of(fixture.post("/v1/chat/completions", &body).await, 200).await;
    for (user, team, found) in [
        ("bob", Some("core"), "hit kind=exact"),
        ("eve", Some("ads"), "miss"),
        ("core", None, "miss"),
    ] {
        let (key, _) = fixture
            .ledger
            .create_key(new_key(user, team))
            .await
            .unwrap();
        let response = fixture
            .request(reqwest::Method::POST, "/v1/chat/completions")
            .bearer_auth(key.expose())
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(said(&response).as_deref(), Some(found), "{user}");
    }
}

#[tokio::test]
async fn what_may_not_be_cached_is_asked_each_time() {
    let fixture = Fixture::with(CACHED).await;
    let mut tools = settled(chat("fast"));
    tools["tools"] =
        json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    for body in [chat("fast"), tools] {
        for _ in 0..2 {
            let response = fixture.post("/v1/chat/completions", &body).await;
            assert_eq!(said(&response), None);
            assert_eq!(response.status(), StatusCode::OK);
        }
    }
    assert_eq!(asked(&fixture), 4);
    let plain = Fixture::with("").await;
    let response = plain
        .post("/v1/chat/completions", &settled(chat("fast")))
        .await;
    assert_eq!(said(&response), None, "no route asks for a cache");
}

#[tokio::test]
async fn many_who_ask_the_same_at_once_wait_for_one() {
    let mut slow = settings();
    slow.latency.median = Duration::from_millis(300);
    slow.latency.p95 = Duration::from_millis(301);
    let config = format!("{}{CACHED}", crate::fixture::CONFIG);
    let fixture = Fixture::of(&config, slow, None).await;
    let body = settled(chat("fast"));
    let answers = futures_util::future::join_all(
        (0..20).map(|_| fixture.post("/v1/chat/completions", &body)),
    )
    .await;
    let mut bodies = Vec::new();
    for answer in answers {
        bodies.push(json_of(answer, 200).await);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    assert_eq!(asked(&fixture), 1);
}

#[tokio::test]
async fn a_failure_is_never_kept() {
    let fixture = Fixture::with(&format!("  bad: [sim/faulty]\n{CACHED}")).await;
    for _ in 0..2 {
        let response = fixture
            .post("/v1/chat/completions", &settled(chat("bad")))
            .await;
        assert!(response.status().is_server_error());
        assert!(!said(&response).is_some_and(|said| said.starts_with("hit")));
    }
}

#[tokio::test]
async fn nearly_the_same_words_are_answered_where_the_route_says_so() {
    let fixture =
        Fixture::with("cache: {semantic: {similarity: 0.8}}\ndefaults: {cache: true}\n").await;
    let says = |words: &str| json!({"model": "fast", "temperature": 0, "messages": [{"role": "user", "content": words}]});
    let ask = async |words: &str| {
        let response = fixture.post("/v1/chat/completions", &says(words)).await;
        said(&response)
    };
    assert_eq!(
        ask("What is the capital of France?").await.as_deref(),
        Some("miss")
    );
    assert_eq!(
        ask("what is the capital of France please").await.as_deref(),
        Some("hit kind=semantic")
    );
    assert_eq!(
        ask("Which planets have rings?").await.as_deref(),
        Some("miss")
    );
}
