//! What one caller does is not paid by the others: no request of its own takes a target from them,
//! and what it may cost is set aside as it is.

use distill_gateway::Usd;
use distill_proxy::forward::Endpoint;
use distill_wire::Dialect;
use serde_json::{Value, json};

use super::{
    harness::{End, Proxy, load, proxy, question, see},
    vendor::{Line, Vendor},
};

const CHAT: Dialect = Dialect::ChatCompletions;
const FAST: &str = ", timeouts: {first_token: 5s, between_tokens: 5s, total: 60s}";

/// A vendor that refuses the first request so, and answers every other.
async fn refuses_once(status: u16, error: &'static str) -> Vendor {
    let asked = std::sync::atomic::AtomicBool::new(false);
    Vendor::scripted(move |_| {
        if asked.swap(true, std::sync::atomic::Ordering::SeqCst) {
            Line::Answer("good")
        } else {
            Line::Status(status, error)
        }
    })
    .await
}

async fn still_answers(proxy: &Proxy) {
    let seen = proxy.ask("next", CHAT, &question(CHAT, false)).await;
    assert_eq!((seen.status, seen.text.as_str()), (200, "good"), "{seen:?}");
    assert_eq!(seen.header("x-distill-target"), Some("first/m"));
}

#[tokio::test]
async fn an_item_or_file_that_is_gone_is_not_the_models_end() {
    for (status, error) in [
        (
            404,
            r#"{"error": {"message": "Item with id 'rs_1' not found.", "type": "invalid_request_error"}}"#,
        ),
        (
            404,
            r#"{"error": {"message": "File not found: file_1", "type": "not_found_error"}}"#,
        ),
        (
            403,
            r#"{"error": {"message": "your input was flagged", "code": 403}}"#,
        ),
    ] {
        let vendor = refuses_once(status, error).await;
        let proxy = proxy(&[("first", "openai", &vendor.url)], FAST).await;
        let seen = proxy.ask("q", CHAT, &question(CHAT, false)).await;
        assert_eq!((seen.status, seen.end), (status, End::Error), "{seen:?}");
        assert!(proxy.alerts().is_empty());
        still_answers(&proxy).await;
    }
}

#[tokio::test]
async fn a_bound_beyond_the_context_closes_a_target_to_nobody() {
    let error = r#"{"error": {"message": "maximum context length is 4096 tokens. However, you requested 50010 tokens (10 in the messages, 50000 in the completion)"}}"#;
    let vendor = refuses_once(400, error).await;
    let proxy = proxy(&[("first", "openai", &vendor.url)], FAST).await;
    let mut asked = question(CHAT, false);
    asked["max_tokens"] = json!(50_000);
    assert_eq!(proxy.ask("q", CHAT, &asked).await.status, 400);
    // A prompt that is longer, with a reply that is not.
    let mut asked = question(CHAT, false);
    asked["messages"][0]["content"] = "x".repeat(1000).into();
    let seen = proxy.ask("long", CHAT, &asked).await;
    assert_eq!((seen.status, seen.text.as_str()), (200, "good"));
    still_answers(&proxy).await;
}

#[tokio::test]
async fn a_model_that_refuses_to_embed_goes_on_to_answer() {
    let error =
        r#"{"error": {"message": "You are not allowed to generate embeddings from this model"}}"#;
    let vendor = refuses_once(403, error).await;
    let proxy = proxy(&[("first", "openai", &vendor.url)], FAST).await;
    let body = json!({"model": "fast", "input": "x"}).to_string();
    let answer = proxy
        .answer_bytes("q", Endpoint::Embeddings, body.into())
        .await;
    assert_eq!(answer.status, 503);
    still_answers(&proxy).await;
}

#[tokio::test]
async fn a_server_that_does_not_count_tokens_goes_on_to_answer() {
    for status in [404, 405, 429, 501] {
        // One retry is permitted after a status of 500 and more.
        let vendor = Vendor::scripted(move |_| Line::Status(status, "{}")).await;
        let proxy = proxy(&[("first", "anthropic", &vendor.url)], FAST).await;
        let body = question(Dialect::Messages, false).to_string();
        let answer = proxy
            .answer_bytes("q", Endpoint::CountTokens, body.into())
            .await;
        assert!(answer.headers.contains_key("x-distill-estimate"));
        let seen = see(Dialect::Messages, answer).await;
        assert_eq!(seen.status, 200, "{}", seen.raw);
        let counted: Value = serde_json::from_str(&seen.raw).unwrap();
        assert!(counted["input_tokens"].as_u64().unwrap() > 0, "{counted}");
        assert!(proxy.alerts().is_empty());
        let (records, attempts) = proxy.records(1).await;
        assert_eq!(records[0].outcome.as_deref(), Some("answered"));
        assert!(attempts.iter().all(|one| one.usd == Some(Usd::ZERO)));
        let member = &proxy.table.find("fast").unwrap();
        let health = member.members()[0].live().health();
        assert!(health.could_be_asked(10, tokio::time::Instant::now()));
        assert!(!health.was_asked(), "{status}");
    }
}

/// What is set aside for a request, in pico-dollars.
async fn reserved(proxy: &Proxy, id: &str, dialect: Dialect, body: &Value) -> i64 {
    let seen = proxy.ask(id, dialect, body).await;
    assert_eq!(seen.status, 200, "{}", seen.raw);
    let attempts = proxy.ledger.records();
    for _ in 0..2000 {
        if let Some(attempt) = attempts.attempts_of(id).await.unwrap().first() {
            return attempt.reserved.pico();
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{id} was never on record");
}

#[tokio::test]
async fn what_is_set_aside_is_the_most_that_it_may_cost() {
    let vendor = Vendor::always(Line::Answer("good")).await;
    // A dollar a million tokens: a token is a million pico-dollars.
    let text = format!(
        "vendors:\n  first: {{like: openai, base_url: \"{}/v1\", price: {{input: 1, output: 1}}}}\nmodels:\n  fast: {{members: [first/m]}}\n  long: {{members: [{{model: first/m, options: {{max_completion_tokens: 100000}}}}]}}\n",
        vendor.url
    );
    let proxy = load(&text).await;
    let plain = question(CHAT, false);
    let with = |name: &str, value: Value| {
        let mut body = plain.clone();
        body[name] = value;
        body
    };
    let bound = reserved(&proxy, "plain", CHAT, &plain).await;
    let tokens =
        async |id: &str, body: Value| (reserved(&proxy, id, CHAT, &body).await - bound) / 1_000_000;
    assert!((bound / 1_000_000) < 200, "{bound}");
    let more = tokens("replies", with("n", json!(3))).await;
    assert!((32..48).contains(&more), "two replies more: {more}");
    let more = tokens("options", with("model", json!("long"))).await;
    assert!((99_900..100_100).contains(&more), "{more}");
    let image = json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}});
    let messages = |parts: Value| json!([{"role": "user", "content": parts}]);
    let more = tokens(
        "images",
        with("messages", messages(json!([image, image, image]))),
    )
    .await;
    assert!(more >= 3 * 16_384, "each image counts: {more}");
    // An image that stands in the body is no text of a million tokens.
    let data = format!("data:image/png;base64,{}", "A".repeat(1_000_000));
    let inline = json!([{"type": "image_url", "image_url": {"url": data}}]);
    let more = tokens("inline", with("messages", messages(inline))).await;
    assert!((16_000..20_000).contains(&more), "{more}");
    let file = json!([{"type": "file", "file": {"file_id": "f"}}]);
    let more = tokens("file", with("messages", messages(file))).await;
    assert!(more >= 262_000, "{more}");
    // Another tier has another price, which is not known: twice as much is set aside, and it stays.
    reserved(
        &proxy,
        "tier",
        CHAT,
        &with("service_tier", json!("priority")),
    )
    .await;
    let open = proxy.unsettled().await;
    assert_eq!(open.len(), 1);
    assert!(open[0].bound.pico() > 2 * bound, "{open:?}");
    // Nobody writes as much as a caller may ask for.
    let more = tokens("endless", with("max_tokens", json!(u64::MAX))).await;
    assert!((9_999_000..10_000_100).contains(&more), "{more}");
}
