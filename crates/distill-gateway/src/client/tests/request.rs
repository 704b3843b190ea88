//! What leaves, what is kept, and what happens when a caller goes away.

use std::time::Duration;

use distill_chat::{ChatModel, ErrorKind, FinishReason};
use tokio_util::sync::CancellationToken;

use super::{
    Fixture, SCOPE, ask,
    scripted::{Line, Vendor},
    settings, target,
};
use crate::{
    AskError, Gateway, GatewayError, GatewaySettings, Journal, Target, TargetOptions, Usd,
};

#[tokio::test]
async fn a_request_carries_its_key_its_name_and_nothing_else_of_ours() {
    let vendor = Vendor::always(Line::Answer("good")).await;
    let fixture = Fixture::new();
    let gateway = fixture.gateway(settings(vec![target("gpt-4.1", vendor.url())]));
    gateway.chat(&ask("hi")).await.unwrap();
    let (headers, body) = vendor.requests().remove(0);
    assert_eq!(headers["authorization"], "Bearer sk-planted");
    let mut names: Vec<&str> = headers.keys().map(axum::http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "user-agent",
            "x-client-request-id"
        ]
    );
    assert_eq!(
        body,
        r#"{"model":"gpt-4.1","messages":[{"role":"user","content":"hi"}],"max_completion_tokens":16}"#
    );
    let attempts = fixture.journal.attempts(SCOPE).unwrap();
    assert_eq!(headers["x-client-request-id"], attempts[0].id.as_str());
    assert_eq!(attempts[0].response_id.as_deref(), Some("r-1"));
}

#[tokio::test]
async fn a_second_sample_is_a_call_of_its_own_and_then_in_the_journal_too() {
    let vendor = Vendor::new(
        [Line::Answer("one"), Line::Answer("two")],
        Line::Answer("three"),
    )
    .await;
    let fixture = Fixture::new();
    let gateway = fixture.gateway(settings(vec![target("gpt-4.1", vendor.url())]));
    let question = ask("hi");
    for _ in 0..2 {
        assert_eq!(gateway.ask(&question).await.unwrap().completion.text, "one");
        let again = gateway.ask_again(&question, 1).await.unwrap();
        assert_eq!(again.completion.text, "two");
    }
    let first = gateway.ask_again(&question, 0).await.unwrap();
    assert!(first.from_journal && first.completion.text == "one");
    let requests = vendor.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].1, requests[1].1, "the same question is sent");
    assert!(!requests[1].0.contains_key("x-simulated-sample"));
}

#[tokio::test]
async fn the_key_is_nowhere_in_the_journal() {
    let vendor = Vendor::new(
        [Line::Status(
            500,
            r#"{"error": {"message": "your key sk-planted"}}"#,
        )],
        Line::Answer("good"),
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = Journal::open(&path).unwrap();
    let settings = settings(vec![target("gpt-4.1", vendor.url())]);
    let gateway = Gateway::new(journal, settings, CancellationToken::new()).unwrap();
    gateway.ask(&ask("hi")).await.unwrap();
    assert!(!format!("{gateway:?}").contains("planted"));
    drop(gateway);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(
                !bytes.windows(7).any(|part| part == b"planted"),
                "{}",
                path.display()
            );
        }
    }
}

#[tokio::test]
async fn an_answered_request_is_never_asked_again_by_any_gateway_of_the_journal() {
    let vendor = Vendor::always(Line::Answer("good")).await;
    let fixture = Fixture::new();
    let settings = settings(vec![target("gpt-4.1", vendor.url())]);
    let first = fixture
        .gateway(settings.clone())
        .ask(&ask("hi"))
        .await
        .unwrap();
    assert!(!first.from_journal);
    drop(vendor);
    let again = fixture
        .gateway(GatewaySettings {
            scope: "another".into(),
            ..settings
        })
        .ask(&ask("hi"))
        .await
        .unwrap();
    assert!(again.from_journal);
    assert_eq!(again.completion, first.completion);
    assert_eq!((again.usd, again.target), (first.usd, first.target));
    assert_eq!(
        fixture.journal.spend("another").unwrap().committed_usd,
        Usd::ZERO
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_requests_at_once_are_asked_once() {
    let vendor = Vendor::always(Line::Slow(50)).await;
    let fixture = Fixture::new();
    let other = Journal::open(&fixture.folder.path().join("journal.sqlite")).unwrap();
    let settings = settings(vec![target("gpt-4.1", vendor.url())]);
    let here = fixture.gateway(settings.clone());
    // A journal of its own stands for another process.
    let elsewhere = Gateway::new(other, settings, CancellationToken::new()).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let gateway = if number % 2 == 0 {
            here.clone()
        } else {
            elsewhere.clone()
        };
        tasks.spawn(async move { gateway.ask(&ask("hi")).await.unwrap() });
    }
    let mut fresh = 0;
    while let Some(answered) = tasks.join_next().await {
        fresh += usize::from(!answered.unwrap().from_journal);
    }
    assert_eq!((fresh, vendor.calls()), (1, 1));
}

#[tokio::test]
async fn after_cancelling_an_attempt_in_flight_may_finish_and_nothing_new_begins() {
    let vendor = Vendor::always(Line::Slow(60)).await;
    let fixture = Fixture::new();
    let mut settings = settings(vec![target("gpt-4.1", vendor.url())]);
    settings.timeouts.finish_in_flight = Duration::from_secs(20);
    let gateway = fixture.gateway(settings);
    let asked = tokio::spawn({
        let gateway = gateway.clone();
        async move { gateway.ask(&ask("hi")).await }
    });
    while vendor.calls() == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    fixture.cancel.cancel();
    assert_eq!(asked.await.unwrap().unwrap().completion.text, "slow");
    let error = gateway.ask(&ask("other")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(
        gateway.ask(&ask("hi")).await.unwrap().from_journal,
        "what is known is still told"
    );
    assert_eq!(vendor.calls(), 1);
}

#[tokio::test]
async fn an_attempt_that_does_not_finish_in_time_or_is_dropped_is_listed() {
    for drop_it in [false, true] {
        let vendor = Vendor::always(Line::Hang).await;
        let fixture = Fixture::new();
        let gateway = fixture.gateway(settings(vec![target("gpt-4.1", vendor.url())]));
        let asked = tokio::spawn({
            let gateway = gateway.clone();
            async move { gateway.ask(&ask("hi")).await }
        });
        while vendor.calls() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if drop_it {
            asked.abort();
            assert!(asked.await.unwrap_err().is_cancelled());
        } else {
            fixture.cancel.cancel();
            assert!(matches!(asked.await.unwrap(), Err(AskError::Cancelled)));
        }
        // The last one to hold the journal waits for what is still to be written.
        drop(gateway);
        let mut spend = fixture.journal.spend(SCOPE).unwrap();
        while spend.in_flight > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            spend = fixture.journal.spend(SCOPE).unwrap();
        }
        assert_eq!(spend.unsettled.len(), 1);
        assert_eq!(spend.unsettled[0].why, "given_up");
        assert!(spend.unsettled[0].reserved_usd > Usd::ZERO);
    }
}

#[tokio::test]
async fn an_answer_without_usage_counts_and_its_cost_stays_unknown() {
    let vendor = Vendor::always(Line::WithoutUsage).await;
    let fixture = Fixture::new();
    let gateway = fixture.gateway(settings(vec![target("gpt-4.1", vendor.url())]));
    let answered = gateway.ask(&ask("hi")).await.unwrap();
    assert_eq!(
        (answered.usd, &answered.completion.finish),
        (None, &FinishReason::Stop)
    );
    let spend = gateway.spend().unwrap();
    assert_eq!(spend.unsettled[0].why, "usage_not_reported");
    assert_eq!(spend.usage.answers_without_usage, 1);
}

#[tokio::test]
async fn a_gateway_that_cannot_work_is_refused() {
    let fixture = Fixture::new();
    let new = |settings| Gateway::new(fixture.journal.clone(), settings, CancellationToken::new());
    assert!(matches!(
        new(settings(vec![])),
        Err(GatewayError::EmptyChain)
    ));
    let detached =
        Target::parse("simulated/frontier", &TargetOptions::default(), &|_| None).unwrap();
    assert!(matches!(
        new(settings(vec![detached])),
        Err(GatewayError::NoAddress { .. })
    ));
    let broke = GatewaySettings {
        budget: Some(Usd::ZERO),
        ..settings(vec![target("gpt-4.1", "http://127.0.0.1:1/v1")])
    };
    assert!(matches!(new(broke), Err(GatewayError::NoBudget)));
}

#[tokio::test]
async fn an_estimate_knows_what_is_answered_and_bounds_the_rest() {
    let vendor = Vendor::always(Line::Answer("good")).await;
    let fixture = Fixture::new();
    let gateway = fixture.gateway(settings(vec![target("gpt-4.1", vendor.url())]));
    gateway.ask(&ask("a")).await.unwrap();
    let requests: Vec<_> = ["a", "b", "c"].map(ask).into();
    let estimate = gateway.estimate(&requests).unwrap();
    assert_eq!((estimate.requests, estimate.in_journal), (3, 1));
    assert!(estimate.expected_usd > Usd::ZERO && estimate.expected_usd < estimate.worst_usd);
    assert_eq!(estimate.price_as_of.as_deref(), Some("2026-07-24"));
    assert!(!estimate.simulated && estimate.seconds > 0.0);
    // One token in, as in the answer that the journal knows two out.
    let price = gateway.chain()[0].price();
    assert_eq!(
        estimate.expected_usd,
        (price.base.input + price.base.output * 2) * 2
    );
    let unknown = crate::estimate(None, gateway.chain(), 1, &requests, 0).unwrap();
    assert_eq!((unknown.in_journal, unknown.seconds), (0, 4.5));
}
