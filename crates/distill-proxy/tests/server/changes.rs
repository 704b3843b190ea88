//! What changes while requests are answered: the configuration, the end of the server.

use std::time::Duration;

use distill_gateway::simulate::{LatencySettings, SimulatorSettings};
use distill_ledger::{RequestFilter, UsageQuery};
use distill_proxy::server::Drained;
use futures_util::{StreamExt as _, future::join_all};
use reqwest::Method;

use crate::fixture::{CONFIG, Fixture, chat, eventually, json_of, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_under_load_drops_no_request() {
    let fixture = Fixture::with("").await;
    let reloads = async {
        for number in 0..20 {
            let member = if number % 2 == 0 {
                "ant/claude"
            } else {
                "sim/small"
            };
            *fixture.text.lock().unwrap() =
                format!("{CONFIG}  more: [{member}]\n# number {number}\n");
            let reload = fixture.admin(Method::POST, "/admin/reload").await;
            assert_eq!(json_of(reload, 200).await["changed"], true);
            tokio::task::yield_now().await;
        }
    };
    let asking = (0..8).map(|number| {
        let fixture = &fixture;
        async move {
            for turn in 0..25 {
                let mut body = chat(if turn % 2 == 0 { "fast" } else { "both" });
                body["stream"] = (number % 2 == 0).into();
                let response = fixture.post("/v1/chat/completions", &body).await;
                assert_eq!(response.status(), 200);
                let text = response.text().await.unwrap();
                assert!(
                    text.contains("[DONE]") || text.contains("\"finish_reason\""),
                    "{text}"
                );
            }
        }
    });
    tokio::join!(reloads, join_all(asking));
    let ended = eventually(|| {
        let metrics = fixture.proxy.metrics().render(&[]);
        metrics.contains("distill_in_flight 0\n").then_some(metrics)
    })
    .await;
    assert!(ended.contains("distill_config_reloads_total 20"), "{ended}");
    let models = json_of(fixture.get("/v1/models").await, 200).await;
    assert!(
        models.to_string().contains("\"more\""),
        "the last one answers"
    );
}

#[tokio::test]
async fn a_bad_configuration_is_refused_and_the_one_before_stays() {
    let fixture = Fixture::with("").await;
    let before = fixture.proxy.live().config.digest.clone();
    *fixture.text.lock().unwrap() = format!("{CONFIG}  fats: [nobody/none]\nmodles: {{}}\n");
    let refused = json_of(fixture.admin(Method::POST, "/admin/reload").await, 409).await;
    assert_eq!(
        (&refused["taken"], &refused["config"]),
        (&false.into(), &before.clone().into())
    );
    let findings = refused["findings"].as_str().unwrap();
    assert!(
        findings.contains("nobody") && findings.contains("modles"),
        "{findings}"
    );
    assert_eq!(fixture.proxy.live().config.digest, before);
    json_of(
        fixture.post("/v1/chat/completions", &chat("fast")).await,
        200,
    )
    .await;
    assert!(
        fixture
            .lines()
            .iter()
            .any(|line| line.contains("refused, the configuration before stays"))
    );
}

fn slow() -> SimulatorSettings {
    SimulatorSettings {
        latency: LatencySettings {
            median: Duration::from_millis(300),
            p95: Duration::from_millis(400),
        },
        ..settings()
    }
}

#[tokio::test]
async fn a_stop_lets_streams_finish_and_the_ledger_has_them() {
    let mut fixture = Fixture::of(CONFIG, slow(), None).await;
    let mut body = chat("fast");
    body["stream"] = true.into();
    let response = fixture.post("/v1/chat/completions", &body).await;
    assert_eq!(response.status(), 200);
    let reading = tokio::spawn(async move {
        let pieces: Vec<_> = response.bytes_stream().collect().await;
        let bytes: Vec<u8> = pieces
            .into_iter()
            .flat_map(|piece| piece.unwrap())
            .collect();
        String::from_utf8(bytes).unwrap()
    });
    assert_eq!(fixture.stopped().await, Drained { cut: 0 });
    let text = reading.await.unwrap();
    assert!(text.trim_end().ends_with("[DONE]"), "{text}");
    assert!(
        reqwest::get(format!("{}/health", fixture.base))
            .await
            .is_err()
    );
    // Closed and opened again, the ledger has all of it.
    let Fixture {
        proxy,
        ledger,
        folder,
        ..
    } = fixture;
    proxy.close().await;
    drop(ledger);
    let store = distill_ledger::Store::Sqlite(folder.path().join("ledger.db"));
    let records = distill_ledger::Records::open(&store).await.unwrap();
    let rows = records.requests(&RequestFilter::default()).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].outcome.as_deref(), Some("answered"));
    let usage = records.usage(&UsageQuery::default()).await.unwrap();
    assert!(usage.total().usd.is_some());
}

#[tokio::test]
async fn a_caller_that_hangs_up_is_told_of_as_cancelled() {
    let fixture = Fixture::of(CONFIG, slow(), None).await;
    let hung_up = fixture
        .request(Method::POST, "/v1/chat/completions")
        .bearer_auth(fixture.key.expose())
        .json(&chat("fast"))
        .timeout(Duration::from_millis(50))
        .send()
        .await;
    assert!(hung_up.unwrap_err().is_timeout());
    let line = eventually(|| {
        fixture
            .lines()
            .into_iter()
            .find(|line| line.contains("cancelled"))
    })
    .await;
    assert!(line.contains(" 499 "), "{line}");
    let metrics = fixture.proxy.metrics().render(&[]);
    assert!(metrics.contains("distill_in_flight 0\n"), "{metrics}");
}
