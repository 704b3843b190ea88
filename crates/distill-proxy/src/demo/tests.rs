use std::{path::Path, sync::Arc, time::Duration};

use distill_ledger::{Dimension, Ledger, LedgerEvent, Store, UsageQuery};
use tokio_util::sync::CancellationToken;

use super::{ADMIN_KEY_VARIABLE, Demo};
use crate::{
    config::{Config, Day, Sources},
    server::{Proxy, Setup, World},
};

fn configured(demo: &Demo, folder: &Path) -> Config {
    let sources = Sources {
        environment: &|name| demo.variable(name),
        folder,
        state: folder,
        today: Day(20_700),
        prices: None,
    };
    Config::load("demo", &demo.config(), &sources)
        .map_err(|findings| findings.to_string())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demos_configuration_holds_and_its_history_is_marked_as_simulated() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(folder.path()).await.unwrap();
    let config = configured(&demo, folder.path());
    assert!(config.admin_key.is_some() && config.security.require_keys);
    assert!(config.listen.ip().is_loopback());
    assert!(config.spend.is_on());
    for vendor in ["quick", "flaky", "solid", "dear"] {
        let vendor = config.vendor(vendor).unwrap();
        assert!(vendor.row.simulated);
        let address = vendor.base_url.as_deref().unwrap();
        assert!(address.starts_with("http://127.0.0.1:"), "{address}");
    }
    assert_eq!(demo.variable("HOME"), None);
    assert_eq!(
        demo.variable(ADMIN_KEY_VARIABLE).as_deref(),
        Some(demo.admin_key().expose())
    );

    let ledger = Ledger::open(Store::Sqlite(demo.ledger().to_owned()))
        .await
        .unwrap();
    let query = UsageQuery {
        by: vec![Dimension::Target],
        ..UsageQuery::default()
    };
    let usage = ledger.records().usage(&query).await.unwrap();
    assert!(usage.rows.iter().all(|row| row.simulated), "{usage:?}");
    assert!(usage.total().requests > 300, "{usage:?}");
    assert!(usage.total().failovers > 0);
    for (person, key) in demo.keys() {
        let caller = ledger.identify(key.expose()).await.unwrap();
        assert_eq!(caller.user, person.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guide_names_the_address_and_says_that_it_is_simulated() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(folder.path()).await.unwrap();
    let guide = demo.guide("127.0.0.1:4000".parse().unwrap());
    assert!(guide.contains("SIMULATED") && guide.contains("http://127.0.0.1:4000/ui"));
    for line in guide
        .lines()
        .filter(|line| line.trim_start().starts_with("curl"))
    {
        // What a shell is given in single quotes holds none itself.
        assert_eq!(line.matches('\'').count() % 2, 0, "{line}");
        let body = line.split("-d '").nth(1).unwrap().trim_end_matches('\'');
        assert!(
            serde_json::from_str::<serde_json::Value>(body).is_ok(),
            "{line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_people_are_answered_by_the_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(folder.path()).await.unwrap();
    let ledger = Ledger::open(Store::Sqlite(demo.ledger().to_owned()))
        .await
        .unwrap();
    let mut events = ledger.subscribe();
    let proxy = Proxy::start(Setup {
        config: configured(&demo, folder.path()),
        ledger,
        world: World {
            addresses: Arc::new(|_| None),
            today: Arc::new(|| Day(20_700)),
        },
        loader: None,
        log: Arc::new(|_| true),
        measure: None,
    })
    .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = {
        let (proxy, stop) = (proxy.clone(), stop.clone());
        tokio::spawn(async move {
            proxy
                .serve(listener, &proxy.connection_limits(), &stop)
                .await
        })
    };
    let answered = async {
        let mut answered = 0;
        while answered < 8 {
            if let LedgerEvent::RequestFinished(request) = events.recv().await.unwrap() {
                assert!(request.simulated || request.cache.is_some(), "{request:?}");
                answered += usize::from(request.outcome == "answered");
            }
        }
        stop.cancel();
    };
    let traffic = demo.traffic(address, stop.clone());
    let all = async { tokio::join!(traffic, answered) };
    let (traffic, ()) = tokio::time::timeout(Duration::from_mins(2), all)
        .await
        .expect("eight requests are answered");
    traffic.unwrap();
    serving.await.unwrap();
    proxy.close().await;
}
