//! `/openapi.json` says what is there, and what is there is as it says.

use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{ADMIN_KEY, Fixture, chat, json_of, messages, responses};

/// Holds a value to the part of JSON Schema that the description uses.
fn check(value: &Value, schema: &Value, whole: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = whole.pointer(reference.trim_start_matches('#')).unwrap();
        return check(value, target, whole, place);
    }
    if let Some(options) = schema["oneOf"].as_array() {
        let fits = |option: &&Value| {
            std::panic::catch_unwind(|| check(value, option, whole, place)).is_ok()
        };
        assert_eq!(options.iter().filter(fits).count(), 1, "{place}: {value}");
    }
    if let Some(constant) = schema.get("const") {
        assert_eq!(value, constant, "{place}");
    }
    if let Some(values) = schema["enum"].as_array() {
        assert!(values.contains(value), "{place}: {value}");
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = |kind: &&str| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{place}: the description uses the type `{other}`"),
    };
    assert!(
        kinds.is_empty() || kinds.iter().any(is),
        "{place}: {value} is no {kinds:?}"
    );
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(
            value.get(name.as_str().unwrap()).is_some(),
            "{place} lacks {name}: {value}"
        );
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(inner) = value.get(name) {
            check(inner, property, whole, &format!("{place}.{name}"));
        }
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (index, inner) in values.iter().enumerate() {
            check(inner, items, whole, &format!("{place}[{index}]"));
        }
    }
}

/// The schema of an answer's JSON body.
fn answer<'a>(whole: &'a Value, method: &str, path: &str, status: &str) -> &'a Value {
    let mut response = &whole["paths"][path][method]["responses"][status];
    if let Some(reference) = response["$ref"].as_str() {
        response = whole.pointer(reference.trim_start_matches('#')).unwrap();
    }
    let schema = &response["content"]["application/json"]["schema"];
    assert!(
        schema.is_object(),
        "{method} {path} {status} is not described"
    );
    schema
}

#[tokio::test]
async fn answers_are_as_they_are_described() {
    let fixture = Fixture::with("").await;
    let whole = json_of(fixture.get("/openapi.json").await, 200).await;
    let count =
        json!({"model": "fast", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5});
    let input = json!({"model": "fast", "input": "x"});
    for (path, good) in [
        ("/v1/chat/completions", chat("fast")),
        ("/v1/responses", responses("fast")),
        ("/v1/messages", messages("fast")),
        ("/v1/messages/count_tokens", count),
        ("/v1/embeddings", input),
    ] {
        let request =
            &whole["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
        check(&good, request, &whole, path);
        let mut unknown = good.clone();
        unknown["model"] = "nobody".into();
        for (body, status) in [(good, 200), (unknown, 404), (json!([]), 400)] {
            let body = json_of(fixture.post(path, &body).await, status).await;
            check(
                &body,
                answer(&whole, "post", path, &status.to_string()),
                &whole,
                path,
            );
        }
    }
    for path in [
        "/v1/models",
        "/admin/config",
        "/admin/usage",
        "/admin/requests",
        "/admin/unsettled",
        "/admin/questions",
        "/admin/alerts",
        "/admin/keys",
        "/health",
    ] {
        let body = json_of(fixture.admin(Method::GET, path).await, 200).await;
        check(&body, answer(&whole, "get", path, "200"), &whole, path);
    }
    let model = json_of(fixture.get("/v1/models/fast").await, 200).await;
    check(
        &model,
        answer(&whole, "get", "/v1/models/{model}", "200"),
        &whole,
        "model",
    );
    let reload = json_of(fixture.admin(Method::POST, "/admin/reload").await, 200).await;
    check(
        &reload,
        answer(&whole, "post", "/admin/reload", "200"),
        &whole,
        "reload",
    );
    let key = fixture
        .request(Method::POST, "/admin/keys")
        .header("x-api-key", ADMIN_KEY)
        .json(&json!({"user": "bob"}));
    let key = json_of(key.send().await.unwrap(), 200).await;
    check(
        &key,
        answer(&whole, "post", "/admin/keys", "200"),
        &whole,
        "key",
    );
}

#[tokio::test]
async fn every_described_path_answers_something_else_than_nowhere() {
    let fixture = Fixture::with("").await;
    let whole = json_of(fixture.get("/openapi.json").await, 200).await;
    let mut seen = 0;
    for (path, methods) in whole["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let asked = path
                .replace("{model}", "fast")
                .replace("{task}", "none")
                .replace("{key}", "none")
                .replace("{question}", "none");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let response = fixture.admin(method.clone(), &asked).await;
            let text = response.text().await.unwrap();
            assert!(
                !text.contains("unknown_path") && !text.contains("method_not_allowed"),
                "{method} {asked}: {text}"
            );
            seen += 1;
        }
    }
    assert!(seen > 20);
}
