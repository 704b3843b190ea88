//! Keys and prompts come out nowhere that they were not meant to.

use std::path::Path;

use distill_ledger::UsageQuery;
use reqwest::Method;
use serde_json::json;

use crate::fixture::{ADMIN_KEY, CONFIG, Fixture, chat, eventually, messages, responses, settings};

const PROMPT: &str = "planted-prompt-7f3a";
const STRANGER: &str = "planted-stranger-key-91bc";
const VENDOR_KEY: &str = "planted-vendor-key";

/// Every file below a folder, as text.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            found.push((path.display().to_string(), text));
        }
    }
    found
}

/// What every endpoint says to who may ask and to strangers, but for the answers themselves.
async fn asked(fixture: &Fixture) -> Vec<String> {
    let mut said = Vec::new();
    for model in ["fast", "claude", "broken", "keyed", "nobody"] {
        for (path, mut body) in [
            ("/v1/chat/completions", chat(model)),
            ("/v1/messages", messages(model)),
            ("/v1/responses", responses(model)),
            ("/v1/embeddings", json!({"model": model, "input": PROMPT})),
            ("/v1/messages/count_tokens", messages(model)),
        ] {
            for list in ["messages", "input"] {
                if body[list].is_array() {
                    body[list][0]["content"] = PROMPT.into();
                }
            }
            for stream in [false, true] {
                if path != "/v1/embeddings" && path != "/v1/messages/count_tokens" {
                    body["stream"] = stream.into();
                }
                for key in [fixture.key.expose(), STRANGER] {
                    let response = fixture
                        .request(Method::POST, path)
                        .bearer_auth(key)
                        .header("x-api-key", STRANGER)
                        .header("cookie", STRANGER)
                        .json(&body)
                        .send()
                        .await
                        .unwrap();
                    let head = format!("{path} {model}: {:?}", response.headers());
                    // The simulated vendor may say the prompt's words again: an answer is for its caller.
                    let answered = response.status() == 200;
                    let body = response.text().await.unwrap();
                    said.push(head);
                    if !answered {
                        said.push(format!("{path} {model}: {body}"));
                    }
                }
            }
        }
    }
    said
}

/// What every page and list shows.
async fn shown(fixture: &Fixture) -> Vec<String> {
    let mut said = Vec::new();
    for path in [
        "/metrics",
        "/openapi.json",
        "/health",
        "/ui",
        "/ui/requests",
    ] {
        said.push(fixture.get(path).await.text().await.unwrap());
    }
    for path in [
        "/admin/config",
        "/admin/requests",
        "/admin/unsettled",
        "/admin/keys",
        "/admin/alerts",
        "/admin/questions",
        "/admin/usage",
    ] {
        said.push(fixture.admin(Method::GET, path).await.text().await.unwrap());
    }
    said.push(format!("{:?}", fixture.proxy.live().config));
    said
}

#[tokio::test]
async fn no_planted_secret_comes_out_anywhere() {
    // A vendor behind a key, one that fails, and one that nobody reaches.
    let text = format!(
        "{CONFIG}  broken: [keyed/faulty, gone/x]\n  keyed: [keyed/small]\ntelemetry: {{log: json}}\n"
    )
    .replace(
        "vendors:\n",
        "vendors:\n  keyed: {like: vllm, base_url: \"http://@AT@/v1\", key_env: TEST_VENDOR_KEY, price: {input: 1, output: 1}}\n  \
         gone: {like: vllm, base_url: \"http://127.0.0.1:9/v1\", key_env: TEST_VENDOR_KEY, price: {input: 1, output: 1}}\n",
    );
    let vendor = distill_gateway::simulate::SimulatedProvider::builder(Vec::new(), settings())
        .start()
        .await
        .unwrap();
    let text = text.replace("@AT@", &vendor.address().to_string());
    let mut fixture = Fixture::of(&text, settings(), None).await;
    let key = fixture.key.expose().to_owned();
    let mut said = asked(&fixture).await;
    said.extend(shown(&fixture).await);
    eventually(|| {
        fixture
            .proxy
            .metrics()
            .render(&[])
            .contains("distill_in_flight 0\n")
            .then_some(())
    })
    .await;
    fixture.stopped().await;
    said.extend(fixture.lines());
    assert!(
        said.iter()
            .any(|text| text.contains("\"event\":\"request\"")),
        "the log was heard"
    );
    let usage = fixture
        .ledger
        .records()
        .usage(&UsageQuery::default())
        .await
        .unwrap();
    assert!(usage.total().attempts > 0, "the vendors were asked");
    let Fixture {
        proxy,
        ledger,
        folder,
        ..
    } = fixture;
    proxy.close().await;
    drop(ledger);
    let kept = files(folder.path());
    assert!(
        kept.iter()
            .any(|(name, text)| name.contains("ledger") && text.contains("SQLite"))
    );
    for secret in [key.as_str(), STRANGER, VENDOR_KEY, ADMIN_KEY, PROMPT] {
        for text in &said {
            assert!(!text.contains(secret), "`{secret}` in {text}");
        }
        for (name, text) in &kept {
            assert!(!text.contains(secret), "`{secret}` in {name}");
        }
    }
}
