//! Budgets, rates, pools, and what stands after an attempt.

use std::{sync::Arc, time::Duration};

use distill_chat::Usage;
use distill_gateway::Usd;
use distill_ledger::{
    AttemptEnd, AttemptStart, KeyLimits, LimitTable, Refusal, RequestFilter, RequestStart, Scope,
    TokenPool, UnsettledState,
};

use crate::{
    on_each_store,
    stores::{Place, answered, ask, attempt, caller, done, eventually, start, usd},
};

on_each_store!(
    a_request_is_on_record_with_what_it_cost
    the_worst_case_is_reserved_and_corrected
    parallel_attempts_never_pass_a_cap
    an_attempt_that_is_dropped_keeps_its_reservation
    days_and_months_begin_anew
    a_clock_set_back_gives_nothing_afresh
    rates_are_held
    a_pool_pays_first_whoever_asks
    what_is_spent_outlives_the_process
    a_bound_that_was_made_up_erases_nothing
    what_is_partly_known_stays_set_aside
);

async fn a_request_is_on_record_with_what_it_cost(place: Place) {
    let ledger = place.open().await;
    let alice = caller("alice", KeyLimits::default());
    let open = ledger.begin(start("r1", &alice)).await.unwrap();
    let first = open.reserve(attempt(1, "a/one", 0.5)).await.unwrap();
    assert_eq!(first.reserved(), usd(0.5));
    first.settle(distill_ledger::AttemptEnd {
        outcome: "server_error",
        usd: Some(Usd::ZERO),
        status: Some(500),
        ..distill_ledger::AttemptEnd::default()
    });
    let second = open.reserve(attempt(2, "b/two", 0.5)).await.unwrap();
    second.settle(answered(Some(0.25)));
    assert_eq!(open.usd(), Some(usd(0.25)));
    open.finish(done("b/two"));
    let record = eventually(async || {
        let found = ledger.records().requests(&RequestFilter::default()).await;
        found.unwrap().pop().filter(|found| found.outcome.is_some())
    })
    .await;
    assert_eq!(record.facts.user, "alice");
    assert_eq!(record.facts.discipline.as_deref(), Some("backend"));
    assert_eq!(record.facts.task_version.as_deref(), Some("3"));
    assert_eq!(record.attempts, Some(2));
    assert_eq!(record.answered_by.as_deref(), Some("b/two"));
    assert_eq!(record.model.as_deref(), Some("gpt-4.1-mini-2025-04-14"));
    assert_eq!((record.usd, record.unsettled), (Some(usd(0.25)), Usd::ZERO));
    assert!(record.latency.is_some() && !record.simulated);
    let attempts = ledger.records().attempts_of("r1").await.unwrap();
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0].status, Some(500));
    assert_eq!(attempts[0].usage.input_tokens, None);
    assert_eq!(attempts[1].usage.cached_input_tokens, Some(20));
    assert_eq!(attempts[1].usage.cache_write_tokens, None);
    assert_eq!(attempts[1].latency, Some(Duration::from_millis(120)));
    assert!(ledger.records().unsettled().await.unwrap().is_empty());
}

async fn the_worst_case_is_reserved_and_corrected(place: Place) {
    let ledger = place.open().await;
    let limits = KeyLimits {
        usd_total: Some(usd(1.0)),
        ..KeyLimits::default()
    };
    let alice = caller("alice", limits);
    let open = ledger.begin(start("r1", &alice)).await.unwrap();
    let first = open.reserve(attempt(1, "a/one", 0.7)).await.unwrap();
    let refused = open.reserve(attempt(2, "a/one", 0.4)).await.unwrap_err();
    let Refusal::Budget {
        what,
        cap,
        committed,
        needed,
        fresh_in,
    } = &refused
    else {
        panic!("{refused:?}");
    };
    assert!(what.contains("k_alice"), "{what}");
    assert_eq!((*cap, *committed), (usd(1.0), usd(0.7)));
    assert_eq!((*needed, *fresh_in), (usd(0.4), None));
    // It cost less than it might have, so there is room again.
    first.settle(answered(Some(0.1)));
    let second = open.reserve(attempt(2, "a/one", 0.9)).await.unwrap();
    second.settle(answered(Some(0.9)));
    assert!(
        ask(&ledger, "r2", &alice, 0.000_001, Some(0.0))
            .await
            .is_err()
    );
    let committed = ledger.committed(&Scope::User("alice".to_owned())).await;
    assert_eq!(committed.unwrap(), [usd(1.0); 3]);
}

async fn parallel_attempts_never_pass_a_cap(place: Place) {
    let ledger = place.open().await;
    ledger.set_limits(LimitTable {
        teams: [(
            "search".to_owned(),
            KeyLimits {
                usd_per_day: Some(usd(1.0)),
                ..KeyLimits::default()
            },
        )]
        .into(),
        ..LimitTable::default()
    });
    let barrier = Arc::new(tokio::sync::Barrier::new(200));
    let mut asking = tokio::task::JoinSet::new();
    for index in 0..200 {
        let (ledger, barrier) = (ledger.clone(), Arc::clone(&barrier));
        asking.spawn(async move {
            let caller = caller(&format!("user{}", index % 7), KeyLimits::default());
            barrier.wait().await;
            let request = ledger.begin(start(&format!("r{index}"), &caller)).await?;
            let reserved = request.reserve(attempt(1, "a/one", 0.03)).await?;
            Ok::<_, Refusal>((request, reserved))
        });
    }
    let held: Vec<_> = asking.join_all().await;
    let granted: Vec<_> = held.into_iter().filter_map(Result::ok).collect();
    assert_eq!(granted.len(), 33, "33 times 3 cents fit a dollar");
    for (request, attempt) in granted {
        attempt.settle(answered(Some(0.01)));
        request.finish(done("a/one"));
    }
    let committed = ledger.committed(&Scope::Team("search".to_owned())).await;
    assert_eq!(committed.unwrap()[0], usd(0.33));
}

async fn an_attempt_that_is_dropped_keeps_its_reservation(place: Place) {
    let ledger = place.open().await;
    let limits = KeyLimits {
        usd_total: Some(usd(1.0)),
        ..KeyLimits::default()
    };
    let alice = caller("alice", limits);
    let open = ledger.begin(start("r1", &alice)).await.unwrap();
    drop(open.reserve(attempt(1, "a/one", 0.6)).await.unwrap());
    open.reserve(attempt(2, "a/one", 0.3))
        .await
        .unwrap()
        .settle(answered(None));
    assert_eq!(open.usd(), None, "what it cost is not known");
    drop(open);
    assert!(ask(&ledger, "r2", &alice, 0.2, Some(0.2)).await.is_err());
    let listed = eventually(async || {
        let listed = ledger.records().unsettled().await.unwrap();
        (listed.len() == 2 && listed.iter().all(|one| one.state != UnsettledState::Open))
            .then_some(listed)
    })
    .await;
    assert_eq!(listed[0].state, UnsettledState::GivenUp);
    assert_eq!(listed[0].user.as_deref(), Some("alice"));
    assert_eq!(listed[0].bound, usd(0.6));
    assert_eq!(listed[1].state, UnsettledState::Unknown);
    let records = ledger.records();
    let cancelled = eventually(async || {
        let filter = RequestFilter {
            outcome: Some("cancelled".to_owned()),
            ..RequestFilter::default()
        };
        records
            .requests(&filter)
            .await
            .unwrap()
            .into_iter()
            .find(|found| found.facts.id == "r1")
    })
    .await;
    assert_eq!((cancelled.usd, cancelled.unsettled), (None, usd(0.9)));
}

async fn days_and_months_begin_anew(place: Place) {
    let ledger = place.open().await;
    let limits = KeyLimits {
        usd_per_day: Some(usd(1.0)),
        usd_per_month: Some(usd(2.5)),
        ..KeyLimits::default()
    };
    let alice = caller("alice", limits);
    let day = Duration::from_hours(24);
    ask(&ledger, "r1", &alice, 1.0, Some(1.0)).await.unwrap();
    let Err(Refusal::Budget { fresh_in, .. }) = ask(&ledger, "r2", &alice, 0.1, None).await else {
        panic!("the day is spent");
    };
    assert_eq!(fresh_in, Some(Duration::from_hours(12)));
    place.pass(fresh_in.unwrap());
    // An attempt that was reserved yesterday is charged to yesterday, whenever it ends.
    let open = ledger.begin(start("r3", &alice)).await.unwrap();
    let over_midnight = open.reserve(attempt(1, "a/one", 1.0)).await.unwrap();
    place.pass(day);
    over_midnight.settle(answered(Some(0.5)));
    ask(&ledger, "r4", &alice, 1.0, Some(1.0)).await.unwrap();
    place.pass(day);
    // Of the month 2.5 are spent.
    let Err(Refusal::Budget { what, fresh_in, .. }) = ask(&ledger, "r5", &alice, 0.1, None).await
    else {
        panic!("the month is spent");
    };
    assert!(what.contains("month"), "{what}");
    // It is the 24th, at midnight.
    assert_eq!(fresh_in, Some(7 * day));
    place.pass(fresh_in.unwrap());
    ask(&ledger, "r6", &alice, 1.0, Some(1.0)).await.unwrap();
}

async fn a_clock_set_back_gives_nothing_afresh(place: Place) {
    let ledger = place.open().await;
    let limits = KeyLimits {
        usd_per_day: Some(usd(1.0)),
        ..KeyLimits::default()
    };
    let alice = caller("alice", limits);
    ask(&ledger, "r1", &alice, 1.0, Some(1.0)).await.unwrap();
    place
        .now
        .fetch_sub(3 * 86_400_000, std::sync::atomic::Ordering::Relaxed);
    assert!(ask(&ledger, "r2", &alice, 0.1, None).await.is_err());
    place.pass(Duration::from_hours(4 * 24));
    ask(&ledger, "r3", &alice, 1.0, Some(1.0)).await.unwrap();
}

async fn rates_are_held(place: Place) {
    let ledger = place.open().await;
    let limits = KeyLimits {
        requests_per_minute: Some(3),
        ..KeyLimits::default()
    };
    let alice = caller("alice", limits);
    for index in 0..3 {
        ask(&ledger, &format!("r{index}"), &alice, 0.1, Some(0.1))
            .await
            .unwrap();
    }
    let refused = ask(&ledger, "r3", &alice, 0.1, None).await.unwrap_err();
    let Refusal::RateLimited { what, retry_after } = refused else {
        panic!("{refused:?}");
    };
    assert!(
        what.contains("3 requests a minute of key `k_alice`"),
        "{what}"
    );
    place.pass(retry_after);
    ask(&ledger, "r4", &alice, 0.1, Some(0.1)).await.unwrap();
    // Tokens: a worst case of 1000 is charged, and corrected to the 160 that were used.
    let limits = KeyLimits {
        tokens_per_minute: Some(1_500),
        ..KeyLimits::default()
    };
    let bob = caller("bob", limits);
    for index in 0..4 {
        ask(&ledger, &format!("b{index}"), &bob, 0.1, Some(0.1))
            .await
            .unwrap();
    }
    let refused = ask(&ledger, "b4", &bob, 0.1, None).await.unwrap_err();
    assert!(
        refused.to_string().contains("1500 tokens a minute"),
        "{refused}"
    );
}

async fn a_pool_pays_first_whoever_asks(place: Place) {
    let ledger = place.open().await;
    ledger.set_limits(LimitTable {
        pools: vec![TokenPool {
            name: "2026-q4".to_owned(),
            models: vec!["openai/*".to_owned()],
            teams: Vec::new(),
            tokens: 1_200,
            price: usd(1.0),
            expires_ms: None,
        }],
        ..LimitTable::default()
    });
    let broke = KeyLimits {
        usd_total: Some(usd(0.5)),
        ..KeyLimits::default()
    };
    let (alice, bob) = (caller("alice", broke.clone()), caller("bob", broke));
    // 160 tokens each, worth a dollar by list: more than either may spend.
    for (id, who) in [("r1", &alice), ("r2", &bob)] {
        let settled = ask(&ledger, id, who, 5.0, Some(1.0)).await.unwrap();
        assert_eq!((settled.usd, settled.pool_tokens), (Some(Usd::ZERO), 160));
    }
    assert_eq!(ledger.pools().await.unwrap()[0].1, 320);
    // 880 are left of 1000 that it may take: 12% of the price is set aside beside the pool.
    let refused = ask(&ledger, "r3", &alice, 5.0, Some(1.0))
        .await
        .unwrap_err();
    assert!(matches!(refused, Refusal::Budget { needed, .. } if needed == usd(0.6)));
    assert_eq!(
        ledger.pools().await.unwrap()[0].1,
        320,
        "a refusal draws nothing"
    );
    let settled = ask(&ledger, "r4", &alice, 4.0, Some(1.0)).await.unwrap();
    assert_eq!((settled.usd, settled.pool_tokens), (Some(Usd::ZERO), 160));
    // Another model does not draw on it.
    let open = ledger.begin(start("r5", &alice)).await.unwrap();
    assert!(
        open.reserve(attempt(1, "mistral/small", 0.6))
            .await
            .is_err()
    );
}

async fn a_bound_that_was_made_up_erases_nothing(place: Place) {
    let ledger = place.open().await;
    let alice = caller("alice", KeyLimits::default());
    ask(&ledger, "r1", &alice, 5.0, Some(5.0)).await.unwrap();
    let made_up = RequestStart {
        worst_tokens: u64::MAX,
        ..start("r2", &alice)
    };
    let open = ledger.begin(made_up).await.unwrap();
    let endless = AttemptStart {
        reserved: Usd::from_pico(i64::MAX),
        ..attempt(1, "a/one", 0.0)
    };
    assert!(matches!(
        open.reserve(endless).await,
        Err(Refusal::Budget { .. })
    ));
    drop(open);
    let committed = ledger.committed(&Scope::Global).await.unwrap();
    assert_eq!(committed, [usd(5.0); 3]);
    // Nor are others kept out.
    let made_up = RequestStart {
        worst_tokens: u64::MAX,
        ..start("r3", &alice)
    };
    let open = ledger.begin(made_up).await.unwrap();
    let bob = caller("bob", KeyLimits::default());
    ask(&ledger, "r4", &bob, 1.0, Some(1.0)).await.unwrap();
    drop(open);
}

async fn what_is_partly_known_stays_set_aside(place: Place) {
    let ledger = place.open().await;
    let pool = TokenPool {
        name: "bulk".to_owned(),
        models: vec!["openai/*".to_owned()],
        teams: Vec::new(),
        tokens: 1_500,
        price: usd(1.0),
        expires_ms: None,
    };
    ledger.set_limits(LimitTable {
        pools: vec![pool],
        ..LimitTable::default()
    });
    let alice = caller(
        "alice",
        KeyLimits {
            tokens_per_minute: Some(1_500),
            ..KeyLimits::default()
        },
    );
    // A stream that its caller left: its input was told, its output never was.
    let open = ledger.begin(start("r1", &alice)).await.unwrap();
    let attempt = open
        .reserve(attempt(1, "openai/gpt-4.1-mini", 5.0))
        .await
        .unwrap();
    let settled = attempt.settle(AttemptEnd {
        outcome: "cancelled",
        usage: Usage {
            input_tokens: Some(10),
            ..Usage::default()
        },
        ..AttemptEnd::default()
    });
    open.finish(done("openai/gpt-4.1-mini"));
    assert_eq!((settled.usd, settled.pool_tokens), (None, 1_000));
    assert_eq!(ledger.pools().await.unwrap()[0].1, 1_000);
    assert!(matches!(
        ledger.begin(start("r2", &alice)).await,
        Err(Refusal::RateLimited { .. })
    ));
}

async fn what_is_spent_outlives_the_process(place: Place) {
    let limits = KeyLimits {
        usd_per_month: Some(usd(1.0)),
        ..KeyLimits::default()
    };
    let alice = caller("alice", limits);
    let ledger = place.open().await;
    ask(&ledger, "r1", &alice, 0.7, Some(0.7)).await.unwrap();
    ledger.close().await;
    let ledger = place.open().await;
    assert!(ask(&ledger, "r2", &alice, 0.4, None).await.is_err());
    ask(&ledger, "r3", &alice, 0.3, Some(0.3)).await.unwrap();
}
