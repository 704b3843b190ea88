//! Each endpoint, and who may use it.

use reqwest::Method;
use serde_json::json;

use crate::fixture::{ADMIN_KEY, Fixture, chat, json_of, messages, responses};

#[tokio::test]
async fn chat_completions_are_answered_whole_and_streamed() {
    let fixture = Fixture::with("").await;
    let response = fixture.post("/v1/chat/completions", &chat("fast")).await;
    let headers = response.headers().clone();
    let body = json_of(response, 200).await;
    assert_eq!(body["object"], "chat.completion");
    assert!(
        !body["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    assert!(
        headers["x-distill-request-id"]
            .to_str()
            .unwrap()
            .starts_with("req-")
    );
    assert_eq!(headers["x-distill-target"], "sim/small");
    assert_eq!(headers["x-distill-attempts"], "1");

    let mut streamed = chat("fast");
    streamed["stream"] = true.into();
    let response = fixture.post("/v1/chat/completions", &streamed).await;
    let kind = response.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let text = response.text().await.unwrap();
    assert!(
        text.contains("chat.completion.chunk") && text.trim_end().ends_with("[DONE]"),
        "{text}"
    );
}

#[tokio::test]
async fn every_dialect_is_answered_by_every_vendor() {
    let fixture = Fixture::with("").await;
    for model in ["fast", "claude"] {
        let body = json_of(fixture.post("/v1/messages", &messages(model)).await, 200).await;
        assert_eq!(
            (&body["type"], &body["role"]),
            (&json!("message"), &json!("assistant"))
        );
        let body = json_of(fixture.post("/v1/responses", &responses(model)).await, 200).await;
        assert_eq!(
            (&body["object"], &body["status"]),
            (&json!("response"), &json!("completed"))
        );
        let body = json_of(fixture.post("/chat/completions", &chat(model)).await, 200).await;
        assert_eq!(body["object"], "chat.completion");
        for (path, mut body, end) in [
            ("/v1/messages", messages(model), "message_stop"),
            ("/v1/responses", responses(model), "response.completed"),
        ] {
            body["stream"] = true.into();
            let text = fixture.post(path, &body).await.text().await.unwrap();
            assert!(text.contains(end), "{path} {model}: {text}");
        }
    }
}

#[tokio::test]
async fn models_are_listed_in_the_shape_that_is_asked_for() {
    let fixture = Fixture::with("").await;
    let list = json_of(fixture.get("/v1/models").await, 200).await;
    let ids: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["id"])
        .collect();
    assert_eq!(ids, ["fast", "claude", "both"], "in the order of the file");
    assert_eq!(list["object"], "list");
    let anthropic = fixture
        .request(Method::GET, "/v1/models")
        .header("x-api-key", fixture.key.expose())
        .header("anthropic-version", "2023-06-01")
        .send()
        .await
        .unwrap();
    let list = json_of(anthropic, 200).await;
    assert_eq!(list["data"][0]["type"], "model");
    assert_eq!(list["has_more"], false);
    assert_eq!(
        json_of(fixture.get("/v1/models/fast").await, 200).await["id"],
        "fast"
    );
    let unknown = json_of(fixture.get("/v1/models/fats").await, 404).await;
    let message = unknown["error"]["message"].as_str().unwrap();
    assert!(message.contains("did you mean `fast`?"), "{message}");
}

#[tokio::test]
async fn tokens_are_counted_or_estimated_and_an_estimate_says_so() {
    let fixture = Fixture::with("").await;
    let response = fixture
        .post("/v1/messages/count_tokens", &messages("fast"))
        .await;
    assert!(response.headers().contains_key("x-distill-estimate"));
    let body = json_of(response, 200).await;
    assert!(body["input_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn embeddings_are_answered() {
    let fixture = Fixture::with("").await;
    let body = json!({"model": "fast", "input": ["one", "two"]});
    let body = json_of(fixture.post("/v1/embeddings", &body).await, 200).await;
    assert_eq!(body["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn errors_have_the_shape_of_the_path() {
    let fixture = Fixture::with("").await;
    for (path, anthropic) in [
        ("/v1/chat/completions", false),
        ("/v1/responses", false),
        ("/v1/embeddings", false),
        ("/v1/messages", true),
        ("/v1/messages/count_tokens", true),
    ] {
        for (body, status) in [
            (
                json!({"model": "nobody", "messages": [], "max_tokens": 1, "input": "x"}),
                404,
            ),
            (json!({"messages": [], "max_tokens": 1, "input": "x"}), 400),
            (json!([1]), 400),
        ] {
            let response = fixture.post(path, &body).await;
            assert!(response.headers().contains_key("x-distill-request-id"));
            let body = json_of(response, status).await;
            assert!(body["error"]["message"].is_string(), "{path}: {body}");
            assert_eq!(body["type"] == "error", anthropic, "{path}: {body}");
        }
    }
    let nowhere = json_of(fixture.get("/v1/nothing").await, 404).await;
    assert!(
        nowhere["error"]["message"]
            .as_str()
            .unwrap()
            .contains("/openapi.json")
    );
    let response = fixture.get("/v1/chat/completions").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &"POST".parse().unwrap())
    );
}

#[tokio::test]
async fn keys_are_asked_for_and_taken_from_either_header() {
    let fixture = Fixture::with("").await;
    for path in [
        "/v1/chat/completions",
        "/v1/messages",
        "/v1/responses",
        "/v1/embeddings",
    ] {
        let body = messages("fast");
        let send = |name: &'static str, value: String| {
            fixture
                .request(Method::POST, path)
                .header(name, value)
                .json(&body)
                .send()
        };
        let key = fixture.key.expose();
        for response in [
            send("x-api-key", "dk-planted-nobody".into()).await.unwrap(),
            send("authorization", "Basic eDp5".into()).await.unwrap(),
            send("accept", "*/*".into()).await.unwrap(),
        ] {
            assert_eq!(response.status(), 401, "{path}");
            assert!(!response.text().await.unwrap().contains("planted"));
        }
        for response in [
            send("x-api-key", key.to_owned()).await.unwrap(),
            send("authorization", format!("Bearer {key}"))
                .await
                .unwrap(),
        ] {
            assert_ne!(response.status(), 401, "{path}");
        }
    }
    let info = fixture.ledger.list_keys().await.unwrap().remove(0);
    fixture.ledger.revoke_key(&info.id).await.unwrap();
    assert_eq!(
        fixture.get("/v1/models").await.status(),
        401,
        "a revoked key"
    );
}

#[tokio::test]
async fn without_keys_this_machine_asks_as_anonymous() {
    let fixture = Fixture::with("security: {require_keys: false}\n").await;
    let send = |origin: Option<&'static str>| {
        let mut request = fixture
            .request(Method::POST, "/v1/chat/completions")
            .json(&chat("fast"));
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.send()
    };
    assert_eq!(send(None).await.unwrap().status(), 200);
    assert_eq!(
        send(Some("http://localhost:3000")).await.unwrap().status(),
        200
    );
    assert_eq!(
        send(Some("https://evil.example")).await.unwrap().status(),
        403
    );
    let admin = fixture
        .request(Method::POST, "/admin/reload")
        .send()
        .await
        .unwrap();
    assert_eq!(admin.status(), 403, "nobody is an admin without the key");
}

#[tokio::test]
async fn the_service_says_how_it_is() {
    let fixture = Fixture::with("").await;
    let plain = |method: Method, path: &str| fixture.request(method, path).send();
    let health = json_of(plain(Method::GET, "/health").await.unwrap(), 200).await;
    assert_eq!(health["status"], "ok");
    let root = plain(Method::HEAD, "/").await.unwrap();
    assert_eq!(
        root.status(),
        200,
        "Claude Code looks whether anybody is there"
    );
    json_of(
        fixture.post("/v1/chat/completions", &chat("fast")).await,
        200,
    )
    .await;
    let metrics = plain(Method::GET, "/metrics")
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains(
            "distill_requests_total{route=\"fast\",dialect=\"openai.chat_completions\",status=\"200\",outcome=\"answered\"} 1"
        ),
        "{metrics}"
    );
    let passed_on = fixture
        .request(Method::GET, "/metrics")
        .header("x-forwarded-for", "10.0.0.1");
    assert_eq!(
        passed_on
            .try_clone()
            .unwrap()
            .send()
            .await
            .unwrap()
            .status(),
        401
    );
    let with_key = passed_on
        .header("x-api-key", ADMIN_KEY)
        .send()
        .await
        .unwrap();
    assert_eq!(with_key.status(), 200);
}
