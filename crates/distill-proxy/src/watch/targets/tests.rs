use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use serde_json::json;

use super::*;
use crate::{config::Sources, route::Surroundings};

const DAY_MS: i64 = 86_400_000;

struct Scene {
    targets: Targets,
    alerts: Alerts,
    now: Arc<AtomicI64>,
    log: Arc<Mutex<Vec<String>>>,
}

/// On a day of 2026.
fn scene(day: &str) -> Scene {
    let now = Arc::new(AtomicI64::new(Day::parse(day).unwrap().0 * DAY_MS + 1));
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = log.clone();
    let alerts = Alerts::new(
        Clock::ByHand(now.clone()),
        Arc::new(move |_, line| lines.lock().unwrap().push(line)),
        Arc::new(|_, _| {}),
    );
    Scene {
        targets: Targets::new(alerts.clone(), Clock::ByHand(now.clone())),
        alerts,
        now,
        log,
    }
}

fn config(text: &str) -> Config {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proxies");
    Config::load(
        "proxy.yaml",
        text,
        &Sources {
            environment: &|_| None,
            folder: &folder,
            state: &folder,
            today: Day::parse("2026-06-01").unwrap(),
            prices: None,
        },
    )
    .unwrap_or_else(|findings| panic!("{}", findings.to_text()))
}

#[test]
fn a_sunset_is_announced_in_steps_and_each_step_once() {
    let config = config(
        "models:\n  a: {members: [{model: simulated/frontier, sunset: 2026-06-30}, simulated/cheap]}\n  b: {members: [{model: simulated/cheap, sunset: 2026-12-01}]}\n",
    );
    let scene = scene("2026-05-20");
    let told = || scene.alerts.list().len();
    let after = |days: i64| {
        scene.now.fetch_add(days * DAY_MS, Ordering::Relaxed);
        scene.targets.sunsets(&config);
        scene.targets.sunsets(&config);
    };
    after(0);
    assert_eq!(told(), 0, "41 days before");
    after(11);
    assert_eq!(told(), 1);
    assert!(
        scene.alerts.list()[0]
            .wording
            .contains("30 more days; the other members answer then")
    );
    after(23);
    assert_eq!(told(), 2, "a week before");
    after(6);
    assert_eq!(told(), 3, "a day before");
    after(2);
    assert!(
        scene.alerts.list()[0]
            .wording
            .contains("is no longer asked")
    );
}

#[test]
fn a_changed_model_is_told_with_what_it_was() {
    let scene = scene("2026-06-01");
    let change = |model: &str| ModelChange {
        target: "openai/gpt".to_owned(),
        model: model.to_owned(),
        fingerprint: Some("fp-2".to_owned()),
        before: ("gpt-1".to_owned(), None),
        at_ms: 0,
    };
    scene.targets.model_changed(&change("gpt-2"));
    scene.targets.model_changed(&change("gpt-2"));
    scene.targets.model_changed(&change("gpt-3"));
    let list = scene.alerts.list();
    assert_eq!(list.len(), 2, "{list:?}");
    assert!(
        list[1]
            .wording
            .contains("`gpt-2` (fingerprint fp-2) answers now, `gpt-1` did before")
    );
}

#[test]
fn the_latest_score_demotes_and_brings_back() {
    let config = config(
        "models:\n  a: {members: [simulated/frontier, simulated/cheap], quality: {suite: ../evals/quickstart.yaml, floor: 0.9}}\n  b: [simulated/frontier]\n",
    );
    let routes = RouteTable::build(
        &config,
        &Surroundings {
            addresses: &|_| Some("http://127.0.0.1:9/v1".to_owned()),
            prices: &config.prices,
            today: Day::parse("2026-06-01").unwrap(),
        },
        None,
    )
    .unwrap();
    let scene = scene("2026-06-01");
    let fact = |at_ms, score: f64| TargetFact {
        target: "simulated/frontier".to_owned(),
        name: "quality:quickstart.yaml".to_owned(),
        at_ms,
        value: json!({"score": score, "scorer": "accuracy", "rows": 100, "unscored": 0, "simulated": true}),
    };
    let demoted = |route: &str| {
        let route = routes.find(route).unwrap();
        route
            .members()
            .iter()
            .map(crate::route::Member::is_demoted)
            .collect::<Vec<_>>()
    };
    scene.targets.quality(&config, &routes, &[]);
    assert_eq!(demoted("a"), [false, false], "nothing is known");
    scene
        .targets
        .quality(&config, &routes, &[fact(1, 0.95), fact(2, 0.85)]);
    scene
        .targets
        .quality(&config, &routes, &[fact(1, 0.95), fact(2, 0.85)]);
    assert_eq!(demoted("a"), [true, false]);
    assert_eq!(demoted("b"), [false], "a route without a suite");
    assert_eq!(scene.alerts.list().len(), 1);
    scene
        .targets
        .quality(&config, &routes, &[fact(2, 0.85), fact(3, 0.92)]);
    assert_eq!(demoted("a"), [false, false]);
    assert!(
        scene
            .log
            .lock()
            .unwrap()
            .last()
            .unwrap()
            .contains("in its turn again")
    );
    scene.targets.quality(&config, &routes, &[fact(4, 0.8)]);
    assert_eq!(scene.alerts.list().len(), 2, "told again after it was well");
    let broken = TargetFact {
        value: json!("?"),
        ..fact(5, 0.0)
    };
    scene.targets.quality(&config, &routes, &[broken]);
    assert_eq!(
        demoted("a"),
        [true, false],
        "what cannot be read changes nothing"
    );
}
