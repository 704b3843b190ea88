//! Who used what, facts about targets, bodies.

use std::{sync::Arc, time::Duration};

use distill_chat::Usage;
use distill_gateway::Usd;
use distill_ledger::{
    AttemptEnd, CacheUse, Caller, Dimension, KeyLimits, Ledger, LedgerEvent, RequestEnd,
    RequestFilter, UsageQuery, UsageTable,
};
use serde_json::json;

use crate::{
    on_each_store,
    stores::{NOON, Place, answered, ask, attempt, caller, done, eventually, start, usd},
};

on_each_store!(
    usage_is_told_apart_by_anything
    what_was_not_reported_is_not_zero
    percentiles_are_of_answers_that_came_from_a_model
    a_model_that_changes_under_its_name_is_noticed
    bodies_are_kept_for_a_while
    events_tell_what_was_spent
);

async fn all_in(ledger: &Ledger, requests: usize) {
    eventually(async || {
        let filter = RequestFilter {
            limit: 10_000,
            ..RequestFilter::default()
        };
        let found = ledger.records().requests(&filter).await.unwrap();
        let ended = found.iter().filter(|found| found.outcome.is_some()).count();
        (ended == requests).then_some(())
    })
    .await;
}

async fn usage(ledger: &Ledger, by: &[Dimension]) -> UsageTable {
    let query = UsageQuery {
        by: by.to_vec(),
        ..UsageQuery::default()
    };
    ledger.records().usage(&query).await.unwrap()
}

fn of_discipline(user: &str, team: Option<&str>, discipline: &str) -> Arc<Caller> {
    let mut caller = Caller::clone(&caller(user, KeyLimits::default()));
    caller.team = team.map(str::to_owned);
    caller.discipline = Some(discipline.to_owned());
    Arc::new(caller)
}

/// Alice asks twice and fails over once, Bob asks once and hits the cache once, Carol's vendor is
/// simulated and dies.
async fn a_day(place: &Place, ledger: &Ledger) {
    let alice = of_discipline("alice", Some("search"), "backend");
    let bob = of_discipline("bob", None, "data");
    let carol = of_discipline("carol", Some("search"), "data");
    ask(ledger, "r1", &alice, 0.5, Some(0.25)).await.unwrap();
    let open = ledger.begin(start("r2", &alice)).await.unwrap();
    let first = open
        .reserve(attempt(1, "openai/gpt-4.1-mini", 0.5))
        .await
        .unwrap();
    first.settle(AttemptEnd {
        outcome: "server_error",
        usd: Some(Usd::ZERO),
        ..AttemptEnd::default()
    });
    let second = open
        .reserve(attempt(2, "mistral/small", 0.5))
        .await
        .unwrap();
    second.settle(answered(Some(0.125)));
    open.finish(done("mistral/small"));
    place.pass(Duration::from_hours(24));
    ask(ledger, "r3", &bob, 0.5, Some(0.0625)).await.unwrap();
    let open = ledger.begin(start("r4", &bob)).await.unwrap();
    open.finish(RequestEnd {
        cache: Some(CacheUse {
            kind: "exact",
            age: Duration::from_secs(5),
            saved: usd(0.0625),
        }),
        ..done("openai/gpt-4.1-mini")
    });
    let open = ledger.begin(start("r5", &carol)).await.unwrap();
    let mut simulated = attempt(1, "simulated/fast", 0.75);
    simulated.simulated = true;
    open.reserve(simulated).await.unwrap().settle(AttemptEnd {
        outcome: "stalled",
        ..AttemptEnd::default()
    });
    open.finish(RequestEnd {
        status: 502,
        outcome: "failed",
        ..RequestEnd::default()
    });
    all_in(ledger, 5).await;
}

async fn usage_is_told_apart_by_anything(place: Place) {
    let ledger = place.open().await;
    a_day(&place, &ledger).await;
    let total = usage(&ledger, &[]).await.rows.remove(0);
    assert_eq!((total.requests, total.attempts), (5, 5));
    assert_eq!((total.failures, total.failovers), (1, 1));
    assert_eq!(
        (total.usd, total.usd_unsettled),
        (Some(usd(0.4375)), usd(0.75))
    );
    assert_eq!((total.unsettled, total.cache_hits), (1, 1));
    assert_eq!(total.cache_saved, usd(0.0625));
    assert_eq!(total.tokens.input, Some(300));
    assert_eq!(total.tokens.cache_write, None, "nobody reported it");
    assert_eq!(total.reasoning_share, Some(0.25));
    assert!(total.simulated);

    let by_user = usage(&ledger, &[Dimension::User]).await;
    let of = |table: &UsageTable| -> Vec<String> {
        let group = |row: &distill_ledger::UsageRow| {
            let names: Vec<&str> = row
                .group
                .iter()
                .map(|name| name.as_deref().unwrap_or("-"))
                .collect();
            names.join(" ")
        };
        table.rows.iter().map(group).collect()
    };
    // The dearest first; what is unsettled counts with its bound.
    assert_eq!(of(&by_user), ["carol", "alice", "bob"]);
    assert_eq!(by_user.rows[0].usd, None, "what it cost is not known");
    assert!(!by_user.rows[1].simulated);
    assert_eq!(by_user.total().requests, 5);

    let by_model = usage(&ledger, &[Dimension::Vendor, Dimension::Model]).await;
    assert_eq!(
        of(&by_model),
        [
            "simulated fast",
            "openai gpt-4.1-mini",
            "mistral small",
            "- -"
        ]
    );
    let openai = &by_model.rows[1];
    assert_eq!((openai.requests, openai.attempts), (3, 3));
    assert_eq!(openai.usd, Some(usd(0.3125)));
    assert_eq!(by_model.rows[2].failovers, 1);
    assert_eq!(by_model.rows[3].failures, 1, "nobody answered it");

    let by_team = usage(&ledger, &[Dimension::Team, Dimension::Level]).await;
    assert_eq!(of(&by_team), ["search senior", "- senior"]);
    let by_day = usage(&ledger, &[Dimension::Day]).await;
    assert_eq!(of(&by_day), ["2026-11-21", "2026-11-22"]);
    let by_hour = usage(&ledger, &[Dimension::Hour, Dimension::Discipline]).await;
    assert_eq!(by_hour.rows[0].group[0].as_deref(), Some("2026-11-21T12"));
    let query = UsageQuery {
        by: vec![Dimension::User],
        since_ms: Some(NOON + 1),
        until_ms: Some(NOON + 10 * 86_400_000),
        only: vec![(Dimension::Vendor, "openai".to_owned())],
    };
    let recent = ledger.records().usage(&query).await.unwrap();
    assert_eq!(of(&recent), ["bob"]);
    assert_eq!(recent.rows[0].requests, 2);
    for by in Dimension::ALL {
        let sums = usage(&ledger, &[by]).await.total();
        assert_eq!((sums.requests, sums.attempts), (5, 5), "{by:?}");
        assert_eq!(sums.usd, Some(usd(0.4375)), "{by:?}");
    }
}

async fn what_was_not_reported_is_not_zero(place: Place) {
    let ledger = place.open().await;
    let alice = caller("alice", KeyLimits::default());
    let open = ledger.begin(start("r1", &alice)).await.unwrap();
    open.reserve(attempt(1, "a/one", 0.5))
        .await
        .unwrap()
        .settle(AttemptEnd {
            usage: Usage::default(),
            usd: None,
            ..answered(None)
        });
    open.finish(done("a/one"));
    all_in(&ledger, 1).await;
    let row = usage(&ledger, &[Dimension::User]).await.rows.remove(0);
    assert_eq!((row.tokens.input, row.tokens.output), (None, None));
    assert_eq!((row.usd, row.reasoning_share), (None, None));
    assert_eq!((row.without_usage, row.usd_unsettled), (1, usd(0.5)));
}

async fn percentiles_are_of_answers_that_came_from_a_model(place: Place) {
    let ledger = place.open().await;
    let alice = caller("alice", KeyLimits::default());
    for index in 0..10 {
        ask(&ledger, &format!("r{index}"), &alice, 0.1, Some(0.1))
            .await
            .unwrap();
    }
    drop(ledger.begin(start("cancelled", &alice)).await.unwrap());
    all_in(&ledger, 11).await;
    let found = ledger
        .records()
        .requests(&RequestFilter::default())
        .await
        .unwrap();
    let mut latencies: Vec<Duration> = found
        .iter()
        .filter(|found| found.outcome.as_deref() == Some("answered"))
        .map(|found| found.latency.unwrap())
        .collect();
    latencies.sort();
    let row = usage(&ledger, &[Dimension::Team]).await.rows.remove(0);
    assert_eq!(row.cancelled, 1);
    assert_eq!(row.latency_p50, Some(latencies[4]));
    assert_eq!(row.latency_p95, Some(latencies[9]));
}

async fn a_model_that_changes_under_its_name_is_noticed(place: Place) {
    let ledger = place.open().await;
    let mut events = ledger.subscribe();
    let alice = caller("alice", KeyLimits::default());
    let mut asked = 0;
    for (model, print) in [
        ("m-1", None),
        ("m-1", None),
        ("m-2", Some("fp")),
        ("m-1", None),
    ] {
        asked += 1;
        place.pass(Duration::from_secs(1));
        let open = ledger
            .begin(start(&format!("r{asked}"), &alice))
            .await
            .unwrap();
        open.reserve(attempt(1, "a/one", 0.1))
            .await
            .unwrap()
            .settle(AttemptEnd {
                model: Some(model.to_owned()),
                fingerprint: print.map(str::to_owned),
                ..answered(Some(0.1))
            });
        open.finish(done("a/one"));
    }
    let mut changes = Vec::new();
    while changes.len() < 2 {
        if let LedgerEvent::ModelChanged(change) = events.recv().await.unwrap() {
            changes.push(change);
        }
    }
    assert_eq!(changes[0].model, "m-2");
    assert_eq!(changes[0].before, ("m-1".to_owned(), None));
    assert_eq!(changes[1].model, "m-1");
    all_in(&ledger, asked).await;
    let seen = ledger.records().sightings(Some("a/one")).await.unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[1].model.as_str(), seen[1].answers), ("m-1", 3));
    assert_eq!(seen[1].first_ms, NOON + 1_000);
    assert_eq!(seen[1].last_ms, NOON + 4_000);
    let records = ledger.records();
    records
        .note_fact("a/one", "quality:intents", &json!({ "score": 0.91 }))
        .await
        .unwrap();
    place.pass(Duration::from_secs(1));
    records
        .note_fact("a/one", "quality:intents", &json!({ "score": 0.84 }))
        .await
        .unwrap();
    let facts = records
        .facts(Some("a/one"), Some("quality:intents"))
        .await
        .unwrap();
    assert_eq!(facts.len(), 2);
    assert_eq!(facts[1].value["score"], 0.84);
    assert!(records.facts(Some("b/two"), None).await.unwrap().is_empty());
}

async fn bodies_are_kept_for_a_while(place: Place) {
    let ledger = place.open().await;
    assert!(ledger.store_body("r1", "{}".to_owned(), Some("[]".to_owned())));
    let records = ledger.records();
    let body = eventually(async || records.body("r1").await.unwrap()).await;
    assert_eq!(
        (body.request.as_str(), body.reply.as_deref()),
        ("{}", Some("[]"))
    );
    ledger.clone().close().await;
    drop(ledger);
    place.pass(Duration::from_hours(31 * 24));
    let ledger = place.open().await;
    let records = ledger.records();
    eventually(async || records.body("r1").await.unwrap().is_none().then_some(())).await;
}

async fn events_tell_what_was_spent(place: Place) {
    let ledger = place.open().await;
    let mut events = ledger.subscribe();
    let alice = caller("alice", KeyLimits::default());
    ask(&ledger, "r1", &alice, 0.5, Some(0.25)).await.unwrap();
    let LedgerEvent::AttemptSettled(settled) = events.recv().await.unwrap() else {
        panic!("first the attempt");
    };
    assert_eq!((settled.usd, settled.reserved), (Some(usd(0.25)), usd(0.5)));
    let LedgerEvent::RequestFinished(finished) = events.recv().await.unwrap() else {
        panic!("then the request");
    };
    assert_eq!(finished.usd, Some(usd(0.25)));
    assert_eq!(finished.usage.reasoning_tokens, Some(10));
    assert_eq!(finished.first_token, Some(Duration::from_millis(40)));
    assert_eq!(finished.facts.session.as_deref(), Some("s1"));
}
