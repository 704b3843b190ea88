mod improvised;

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    FaultShares, GoldEntry, LatencySettings, SimulateError, SimulatedProvider, SimulatorSettings,
    answer_identity, bill_of_state,
};
use crate::{PriceSource, Target, TargetOptions, Usd};

pub(crate) fn gold(rows: usize) -> Vec<GoldEntry> {
    (0..rows)
        .map(|number| GoldEntry {
            prompt: format!("where is parcel number {number}"),
            answer: ["late delivery", "refund please", "greeting"][number % 3].to_owned(),
        })
        .collect()
}

pub(crate) fn instant(faults: FaultShares) -> SimulatorSettings {
    SimulatorSettings {
        latency: LatencySettings {
            median: Duration::ZERO,
            p95: Duration::ZERO,
        },
        faults,
        retry_after: Duration::from_millis(5),
        ..SimulatorSettings::default()
    }
}

async fn started(settings: SimulatorSettings) -> SimulatedProvider {
    SimulatedProvider::builder(gold(60), settings)
        .start()
        .await
        .unwrap()
}

fn client() -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap()
}

fn question(number: usize) -> Value {
    json!({
        "model": "frontier",
        "messages": [
            {"role": "system", "content": "Choose."},
            {"role": "user", "content": format!("where is parcel number {number}")},
        ],
        "max_tokens": 64,
    })
}

async fn post(provider: &SimulatedProvider, path: &str, body: &Value) -> (u16, String) {
    let url = format!("http://{}{path}", provider.address());
    let response = client()
        .post(url)
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

const OPENAI: &str = "/v1/chat/completions";

#[tokio::test]
async fn both_dialects_give_the_same_answer_with_usage() {
    let provider = started(SimulatorSettings {
        accuracy: 1.0,
        ..instant(FaultShares::default())
    })
    .await;
    let (status, body) = post(&provider, OPENAI, &question(1)).await;
    let openai: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(openai["choices"][0]["message"]["content"], "refund please");
    assert_eq!(openai["model"], "frontier-sim-2026-01");
    // 7 + 24 bytes in, 13 out.
    assert_eq!(openai["usage"]["prompt_tokens"], 8);
    assert_eq!(openai["usage"]["completion_tokens"], 4);
    let mut message = question(1);
    message["system"] = "Choose.".into();
    message["messages"].as_array_mut().unwrap().remove(0);
    let (status, body) = post(&provider, "/v1/messages", &message).await;
    let anthropic: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200, "{body}");
    assert_eq!(anthropic["content"][0]["text"], "refund please");
    assert_eq!(anthropic["usage"]["input_tokens"], 8);
    let bill = provider.bill();
    assert_eq!(bill.requests, 2);
    assert_eq!(
        bill.billed_usd,
        Usd::from_dollars(2.0 * (8.0 * 2.5e-6 + 4.0 * 10e-6))
    );
}

#[tokio::test]
async fn streams_carry_the_same_text_and_end_as_each_vendor_ends_them() {
    let provider = started(SimulatorSettings {
        accuracy: 1.0,
        ..instant(FaultShares::default())
    })
    .await;
    let mut body = question(1);
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let events = |text: &str| -> Vec<Value> {
        text.lines()
            .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
            .collect()
    };
    let (_, openai) = post(&provider, OPENAI, &body).await;
    let text: String = events(&openai)
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "refund please");
    assert!(openai.ends_with("data: [DONE]\n\n"));
    assert!(
        events(&openai)
            .iter()
            .any(|event| event["usage"]["completion_tokens"] == 4)
    );
    let (_, anthropic) = post(&provider, "/v1/messages", &body).await;
    let kinds: Vec<String> = events(&anthropic)
        .iter()
        .map(|event| event["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        kinds,
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    let again = post(&provider, OPENAI, &body).await.1;
    let ids = |text: &str| events(text)[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        again.replace(&ids(&again), ""),
        openai.replace(&ids(&openai), ""),
        "deterministic"
    );
}

#[tokio::test]
async fn what_it_does_not_know_it_refuses_in_the_vendors_words() {
    let provider = started(instant(FaultShares::default())).await;
    let mut unknown_row = question(1);
    unknown_row["messages"][1]["content"] = "something else".into();
    let (status, body) = post(&provider, OPENAI, &unknown_row).await;
    assert_eq!(status, 400);
    assert!(body.contains("unknown row"), "{body}");
    let mut unknown_model = question(1);
    unknown_model["model"] = "nobody".into();
    assert_eq!(post(&provider, OPENAI, &unknown_model).await.0, 404);
    assert_eq!(post(&provider, OPENAI, &json!([])).await.0, 400);
    let mut unbounded = question(1);
    unbounded.as_object_mut().unwrap().remove("max_tokens");
    assert_eq!(post(&provider, "/v1/messages", &unbounded).await.0, 400);
    assert_eq!(
        provider.bill().requests,
        0,
        "a refused request is not billed"
    );
    let url = format!("http://{}/v1/models", provider.address());
    let models: Value = client()
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(models["data"][0]["id"], "frontier");
}

#[tokio::test]
async fn a_restart_goes_on_with_the_same_bill_and_the_same_fates() {
    let folder = tempfile::tempdir().unwrap();
    let faults = FaultShares {
        rate_limit: 0.3,
        server_error: 0.3,
        malformed: 0.2,
        ..FaultShares::default()
    };
    let fates = async |state: Option<&std::path::Path>, restart: bool| {
        let start = async || {
            let builder = SimulatedProvider::builder(gold(60), instant(faults));
            match state {
                Some(path) => builder.state(path),
                None => builder,
            }
            .start()
            .await
            .unwrap()
        };
        let mut provider = start().await;
        let mut outcomes = Vec::new();
        for number in 0..40 {
            if restart && number % 7 == 3 {
                provider.stop().await;
                provider = start().await;
            }
            outcomes.push(post(&provider, OPENAI, &question(number % 5)).await);
        }
        (outcomes, provider.bill())
    };
    let path = folder.path().join("state.jsonl");
    let unbroken = fates(None, false).await;
    let broken = fates(Some(&path), true).await;
    assert_eq!(unbroken, broken);
    assert!(unbroken.0.iter().any(|(status, _)| *status == 429));
    assert_eq!(bill_of_state(&path).unwrap(), broken.1);
    assert_eq!(broken.1.by_request.values().sum::<u64>(), 40);
}

#[tokio::test]
async fn a_half_written_line_is_dropped_and_a_damaged_one_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.jsonl");
    let start = || {
        SimulatedProvider::builder(gold(60), instant(FaultShares::default()))
            .state(&path)
            .start()
    };
    let provider = start().await.unwrap();
    post(&provider, OPENAI, &question(1)).await;
    provider.stop().await;
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{whole}{}", &whole[..whole.len() / 2])).unwrap();
    let provider = start().await.unwrap();
    post(&provider, OPENAI, &question(1)).await;
    let bill = provider.bill();
    assert_eq!(
        bill.rows.iter().map(|row| row.attempt).collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(bill_of_state(&path).unwrap(), bill);
    drop(provider);
    std::fs::write(&path, "nonsense\n").unwrap();
    let error = start().await.unwrap_err();
    assert!(matches!(error, SimulateError::State { .. }), "{error}");
}

#[tokio::test]
async fn faults_cost_what_was_generated_and_the_bill_is_there_over_http() {
    let only = |faults: FaultShares| SimulatorSettings {
        accuracy: 1.0,
        ..instant(faults)
    };
    let malformed = started(only(FaultShares {
        malformed: 1.0,
        ..FaultShares::default()
    }))
    .await;
    let (status, body) = post(&malformed, OPENAI, &question(1)).await;
    assert_eq!(status, 200);
    assert!(serde_json::from_str::<Value>(&body).is_err());
    assert!(malformed.bill().billed_usd > Usd::ZERO);
    let throttled = started(only(FaultShares {
        rate_limit: 1.0,
        ..FaultShares::default()
    }))
    .await;
    assert_eq!(post(&throttled, OPENAI, &question(1)).await.0, 429);
    assert_eq!(throttled.bill().billed_usd, Usd::ZERO);
    let truncated = started(only(FaultShares {
        truncate: 1.0,
        ..FaultShares::default()
    }))
    .await;
    let (_, body) = post(&truncated, OPENAI, &question(1)).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["choices"][0]["message"]["content"], "refund");
    let url = format!("http://{}/simulated/bill?rows", truncated.address());
    let bill: Value = client()
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(bill["requests"], 1);
    assert_eq!(bill["by_outcome"]["answered"]["requests"], 1);
    assert_eq!(bill["rows"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_port_in_use_and_impossible_settings_are_named() {
    let provider = started(instant(FaultShares::default())).await;
    let error = SimulatedProvider::builder(gold(1), SimulatorSettings::default())
        .listen(provider.address())
        .start()
        .await
        .unwrap_err();
    assert!(
        error
            .hint()
            .unwrap()
            .contains(&provider.address().port().to_string())
    );
    let impossible = SimulatorSettings {
        accuracy: 1.2,
        ..SimulatorSettings::default()
    };
    let error = SimulatedProvider::builder(gold(1), impossible)
        .start()
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "settings of the simulated provider: `accuracy` is 1.2, which is no share between 0 and 1"
    );
    let error = SimulatedProvider::builder(vec![], SimulatorSettings::default())
        .start()
        .await
        .unwrap_err();
    assert!(matches!(error, SimulateError::Gold { .. }));
}

#[tokio::test]
async fn attaching_gives_address_identity_and_simulated_price() {
    let provider = started(SimulatorSettings::default()).await;
    for (vendor, url) in [
        ("simulated", provider.openai_base_url()),
        ("simulated-anthropic", provider.anthropic_base_url()),
    ] {
        let target =
            Target::resolve(vendor, "cheap", &TargetOptions::default(), &|_| None).unwrap();
        let target = provider.attach(target);
        assert_eq!(target.base_url(), url);
        assert_eq!(
            target.identity(),
            format!("{vendor}/cheap#{}", provider.identity())
        );
        assert_eq!(target.price().source, PriceSource::Simulated);
    }
}

#[test]
fn the_identity_changes_with_what_shapes_answers_and_not_with_the_rest() {
    let rows = gold(5);
    let settings = SimulatorSettings::default();
    let identity = answer_identity(&rows, &settings);
    let with = |edit: &dyn Fn(&mut SimulatorSettings)| {
        let mut settings = settings.clone();
        edit(&mut settings);
        answer_identity(&rows, &settings)
    };
    assert_eq!(with(&|settings| settings.latency.p95 *= 2), identity);
    assert_eq!(with(&|settings| settings.faults.rate_limit = 0.5), identity);
    assert_ne!(with(&|settings| settings.accuracy = 0.5), identity);
    assert_ne!(with(&|settings| settings.seed = 1), identity);
    assert_ne!(with(&|settings| settings.faults.truncate = 0.5), identity);
    assert_ne!(answer_identity(&rows[1..], &settings), identity);
}

#[tokio::test]
async fn only_a_question_that_is_asked_again_on_purpose_meets_unsteadiness() {
    let provider = started(SimulatorSettings {
        unsteady: 0.5,
        ..instant(FaultShares::default())
    })
    .await;
    let url = format!("http://{}{OPENAI}", provider.address());
    let ask = async |number: usize, sample: Option<&str>| {
        let mut request = client().post(&url).body(question(number).to_string());
        if let Some(sample) = sample {
            request = request.header(super::SAMPLE_HEADER, sample);
        }
        let body: Value = request.send().await.unwrap().json().await.unwrap();
        body["choices"][0]["message"]["content"].clone()
    };
    let mut changed = 0;
    for number in 0..60 {
        let first = ask(number, None).await;
        assert_eq!(ask(number, None).await, first, "a repeated request");
        let again = ask(number, Some("1")).await;
        assert_eq!(ask(number, Some("1")).await, again, "a repeated sample");
        changed += usize::from(again != first);
    }
    assert!((18..=42).contains(&changed), "{changed} of 60");
}

#[tokio::test]
async fn a_judges_question_is_answered_over_http_and_billed() {
    let provider = started(instant(FaultShares::default())).await;
    let fenced = distill_chat::fence::write(&[
        ("question", "where is parcel number 1"),
        ("answer", "refund please"),
    ]);
    let body = json!({
        "model": super::JUDGE_MODEL,
        "messages": [{"role": "user", "content": format!("Judge.\n{fenced}")}],
        "max_tokens": 64,
    });
    let (status, body) = post(&provider, OPENAI, &body).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    let said: Value =
        serde_json::from_str(body["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert_eq!(said["score"], 5);
    assert!(provider.bill().billed_usd > Usd::ZERO);
}

#[test]
fn what_was_added_later_changes_the_identity_only_where_it_is_set() {
    let rows = gold(5);
    let usual = SimulatorSettings::default();
    let without_judge = SimulatorSettings {
        models: usual
            .models
            .iter()
            .filter(|model| model.name != super::JUDGE_MODEL)
            .cloned()
            .collect(),
        ..usual.clone()
    };
    let identity = answer_identity(&rows, &usual);
    assert_eq!(answer_identity(&rows, &without_judge), identity);
    let mut biased = usual.clone();
    biased.judge.position_bias = 0.3;
    assert_ne!(answer_identity(&rows, &biased), identity);
    let unsteady = SimulatorSettings {
        unsteady: 0.1,
        ..usual
    };
    assert_ne!(answer_identity(&rows, &unsteady), identity);
}
