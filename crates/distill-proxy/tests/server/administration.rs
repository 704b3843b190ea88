//! Tasks, the cache, budgets, and what an administrator sees and does.

use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{ADMIN_KEY, CONFIG, Fixture, chat, json_of, load, messages};

const TASKS: &str = "\
tasks:
  greet:
    route: fast
    versions:
      '1': {kind: generate, prompt: 'Greet {{ name }} briefly.', parameters: {max_tokens: 50}}
";

#[tokio::test]
async fn a_task_is_asked_by_its_variables_in_every_dialect() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{CONFIG}{TASKS}");
    if let Err(findings) = load(&text, folder.path()) {
        panic!("{findings}");
    }
    let fixture = Fixture::with(TASKS).await;
    let variables = json!({"name": "Ada"});
    let by_path = fixture
        .post("/v1/tasks/greet", &json!({"variables": variables}))
        .await;
    assert_eq!(json_of(by_path, 200).await["object"], "chat.completion");
    let streamed = fixture
        .post(
            "/v1/tasks/greet@1",
            &json!({"variables": variables, "stream": true}),
        )
        .await;
    assert!(streamed.text().await.unwrap().contains("[DONE]"));
    let mut body = messages("task/greet");
    body["messages"] = json!([]);
    body["metadata"] = json!({"variables": variables});
    let response = fixture.post("/v1/messages", &body).await;
    assert!(
        response.headers()["x-distill-dropped"]
            .to_str()
            .unwrap()
            .contains("max_tokens"),
        "the task decides it"
    );
    assert_eq!(json_of(response, 200).await["type"], "message");
    let missing = json_of(
        fixture
            .post("/v1/tasks/greet", &json!({"variables": {}}))
            .await,
        400,
    )
    .await;
    assert!(
        missing["error"]["message"]
            .as_str()
            .unwrap()
            .contains("`name`")
    );
    json_of(
        fixture
            .post("/v1/tasks/nothing", &json!({"variables": {}}))
            .await,
        404,
    )
    .await;
    let listed = json_of(fixture.get("/v1/models").await, 200).await;
    let names: Vec<_> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["id"])
        .collect();
    assert_eq!(names, ["fast", "claude", "both", "task/greet"]);
    let rows = eventually_rows(&fixture, 3).await;
    for row in rows.iter().filter(|row| row["outcome"] == "answered") {
        assert_eq!(row["facts"]["task"], "greet");
        assert!(
            row["facts"]["task_version"]
                .as_str()
                .unwrap()
                .starts_with("1#")
        );
    }
}

/// The requests that the ledger shows an administrator, once there are so many.
async fn eventually_rows(fixture: &Fixture, count: usize) -> Vec<Value> {
    for _ in 0..200 {
        let rows = json_of(fixture.admin(Method::GET, "/admin/requests").await, 200).await;
        let rows = rows["data"].as_array().unwrap().clone();
        if rows.len() >= count {
            return rows;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the ledger never shows {count} requests");
}

#[tokio::test]
async fn the_same_question_is_answered_from_the_cache() {
    let fixture =
        Fixture::with("cache: {sampled: true, scope: everyone}\ndefaults: {cache: true}\n").await;
    let first = fixture.post("/v1/chat/completions", &chat("fast")).await;
    assert_eq!(first.headers()["x-distill-cache"], "miss");
    let first = json_of(first, 200).await;
    let again = fixture.post("/v1/chat/completions", &chat("fast")).await;
    let said = again.headers()["x-distill-cache"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(said.starts_with("hit; kind=exact"), "{said}");
    assert!(again.headers().contains_key("x-distill-request-id"));
    assert_eq!(json_of(again, 200).await["choices"], first["choices"]);
    let mut streamed = chat("fast");
    streamed["stream"] = true.into();
    let replayed = fixture.post("/v1/chat/completions", &streamed).await;
    let said = replayed.headers()["x-distill-cache"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        said.starts_with("hit"),
        "a whole answer is replayed as a stream: {said}"
    );
    assert!(replayed.text().await.unwrap().contains("[DONE]"));
    assert_eq!(fixture.vendor.bill().requests, 1, "asked once");
    let metrics = fixture.proxy.metrics().render(&[]);
    assert!(
        metrics.contains("distill_cache_hits_total{route=\"fast\",kind=\"exact\"} 2"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_spent_budget_refuses_on_every_endpoint_in_its_shape() {
    let fixture = Fixture::with("limits: {each_user: {usd_per_day: 0.000001}}\n").await;
    for (path, mut body) in [
        ("/v1/chat/completions", chat("fast")),
        ("/v1/messages", messages("fast")),
        ("/v1/responses", crate::fixture::responses("fast")),
        ("/v1/embeddings", json!({"model": "fast", "input": "x"})),
    ] {
        body["user"] = Value::Null;
        body.as_object_mut().unwrap().remove("user");
        let refused = json_of(fixture.post(path, &body).await, 402).await;
        assert!(
            refused["error"]["message"]
                .as_str()
                .unwrap()
                .contains("budget"),
            "{path}: {refused}"
        );
    }
    assert_eq!(fixture.vendor.bill().requests, 0);
}

#[tokio::test]
async fn an_administrator_sees_usage_and_makes_and_revokes_keys() {
    let fixture = Fixture::with("").await;
    for path in [
        "/admin/usage",
        "/admin/requests",
        "/admin/config",
        "/admin/keys",
        "/admin/alerts",
        "/admin/questions",
        "/admin/unsettled",
    ] {
        assert_eq!(fixture.get(path).await.status(), 403, "{path}");
        json_of(fixture.admin(Method::GET, path).await, 200).await;
    }
    let make = |body: Value| {
        fixture
            .request(Method::POST, "/admin/keys")
            .header("x-api-key", ADMIN_KEY)
            .json(&body)
            .send()
    };
    json_of(make(json!({"usr": "bob"})).await.unwrap(), 400).await;
    let made = json_of(
        make(json!({"user": "bob", "models": ["fast"]}))
            .await
            .unwrap(),
        200,
    )
    .await;
    let as_bob = |model: &'static str| {
        fixture
            .request(Method::POST, "/v1/chat/completions")
            .bearer_auth(made["key"].as_str().unwrap())
            .json(&chat(model))
            .send()
    };
    json_of(as_bob("fast").await.unwrap(), 200).await;
    json_of(as_bob("claude").await.unwrap(), 403).await;
    let query = "/admin/usage?by=user,model&since=1d";
    let usage = eventually_usage(&fixture, query).await;
    assert_eq!(usage["columns"], json!(["user", "model"]));
    assert_eq!(usage["rows"][0]["group"], json!(["bob", "small"]));
    let bad = json_of(
        fixture.admin(Method::GET, "/admin/usage?by=colour").await,
        400,
    )
    .await;
    assert!(bad["error"]["message"].as_str().unwrap().contains("colour"));
    let path = format!("/admin/keys/{}", made["id"].as_str().unwrap());
    json_of(fixture.admin(Method::DELETE, &path).await, 200).await;
    assert_eq!(as_bob("fast").await.unwrap().status(), 401);
    let keys = json_of(fixture.admin(Method::GET, "/admin/keys").await, 200)
        .await
        .to_string();
    assert!(
        !keys.contains(made["key"].as_str().unwrap()),
        "a key is told once"
    );
}

async fn eventually_usage(fixture: &Fixture, path: &str) -> Value {
    for _ in 0..200 {
        let usage = json_of(fixture.admin(Method::GET, path).await, 200).await;
        if usage["rows"]
            .as_array()
            .is_some_and(|rows| !rows.is_empty())
        {
            return usage;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("no usage is shown");
}

#[tokio::test]
async fn bodies_are_kept_only_where_the_route_says_so() {
    let fixture = Fixture::with("  kept: {members: [sim/small], store_bodies: true}\n").await;
    for model in ["fast", "kept"] {
        json_of(
            fixture.post("/v1/chat/completions", &chat(model)).await,
            200,
        )
        .await;
    }
    let rows = eventually_rows(&fixture, 2).await;
    for row in rows {
        let id = row["facts"]["id"].as_str().unwrap();
        let kept = row["facts"]["route"] == "kept";
        let mut body = None;
        for _ in 0..200 {
            body = fixture.ledger.records().body(id).await.unwrap();
            if body.is_some() || !kept {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(body.is_some(), kept);
        if let Some(body) = body {
            assert!(body.request.contains("Say something short."));
            assert!(body.reply.unwrap().contains("choices"));
        }
    }
}
