//! Each row of the policy against a vendor that fails so.

use std::time::Duration;

use distill_chat::ErrorKind;
use serde_json::json;

use super::{
    Fixture, SCOPE, ask,
    scripted::{Line, Vendor, nobody},
    settings, target,
};
use crate::{AskError, BreakerSettings, Failure, GatewaySettings};

/// What is seen after one request to a chain of a failing vendor and a good one.
struct Expected {
    first_calls: usize,
    second_calls: usize,
    alert: bool,
    /// Attempts whose cost stays unknown.
    unsettled: usize,
}

const NEXT_AT_ONCE: Expected = Expected {
    first_calls: 1,
    second_calls: 1,
    alert: false,
    unsettled: 0,
};

async fn check(failure: Failure, line: Line, expected: Expected) {
    let name = failure.rule().name;
    let first = Vendor::always(line).await;
    let second = Vendor::always(Line::Answer("good")).await;
    let fixture = Fixture::new();
    let gateway = fixture.gateway(settings(vec![
        target("gpt-4.1", first.url()),
        target("gpt-4.1-mini", second.url()),
    ]));
    let answered = gateway.ask(&ask("hi")).await.unwrap();
    assert_eq!(answered.completion.text, "good", "{name}");
    assert_eq!(answered.target, "openai/gpt-4.1-mini", "{name}");
    assert_eq!(first.calls(), expected.first_calls, "{name}");
    assert_eq!(second.calls(), expected.second_calls, "{name}");
    let attempts = first.calls() + second.calls();
    assert_eq!(answered.attempts as usize, attempts, "{name}");
    let alerts = gateway.alerts();
    assert_eq!(
        alerts.iter().any(|alert| alert.failure == failure),
        expected.alert,
        "{name}"
    );
    let spend = gateway.spend().unwrap();
    assert_eq!(spend.unsettled.len(), expected.unsettled, "{name}");
    assert!(spend.unsettled.iter().all(|attempt| attempt.why == name));
    assert_eq!(
        (spend.failovers, spend.requests_answered, spend.in_flight),
        (1, 1, 0),
        "{name}"
    );
    let noted = |outcome: &str| -> u64 {
        spend
            .attempts
            .iter()
            .filter(|row| row.outcome == outcome)
            .map(|row| row.attempts)
            .sum()
    };
    assert_eq!(noted(name) as usize, expected.first_calls, "{name}");
    assert_eq!(noted("answered"), 1, "{name}");
}

#[tokio::test]
async fn a_server_error_and_a_broken_connection_get_one_retry_and_then_the_next_model() {
    let retried = |unsettled| Expected {
        first_calls: 2,
        unsettled,
        ..NEXT_AT_ONCE
    };
    check(Failure::ServerError, Line::Status(500, "{}"), retried(0)).await;
    check(Failure::ServerError, Line::Status(529, "{}"), retried(0)).await;
    check(Failure::ConnectionLost, Line::Break, retried(2)).await;
}

#[tokio::test]
async fn the_retry_of_a_server_error_may_bring_the_answer() {
    let only = Vendor::new([Line::Status(503, "busy")], Line::Answer("good")).await;
    let fixture = Fixture::new();
    let gateway = fixture.gateway(settings(vec![target("gpt-4.1", only.url())]));
    let answered = gateway.ask(&ask("hi")).await.unwrap();
    assert_eq!((answered.attempts, only.calls()), (2, 2));
    assert_eq!(gateway.spend().unwrap().failovers, 0);
}

#[tokio::test]
async fn nobody_listening_costs_nothing_and_the_next_model_answers() {
    let second = Vendor::always(Line::Answer("good")).await;
    let fixture = Fixture::new();
    let chain = vec![
        target("gpt-4.1", &nobody().await),
        target("gpt-4.1-mini", second.url()),
    ];
    let gateway = fixture.gateway(settings(chain));
    assert_eq!(gateway.ask(&ask("hi")).await.unwrap().attempts, 3);
    let spend = gateway.spend().unwrap();
    assert!(spend.unsettled.is_empty());
    assert!(
        spend
            .attempts
            .iter()
            .any(|row| row.outcome == "connect_failed" && row.attempts == 2)
    );
}

#[tokio::test]
async fn throttling_moves_on_at_once() {
    check(Failure::RateLimited, Line::RateLimit("60000"), NEXT_AT_ONCE).await;
}

#[tokio::test]
async fn a_throttled_model_rests_as_long_as_it_said() {
    let first = Vendor::new([Line::RateLimit("1000")], Line::Answer("first")).await;
    let second = Vendor::always(Line::Answer("second")).await;
    let fixture = Fixture::new();
    let chain = vec![
        target("gpt-4.1", first.url()),
        target("gpt-4.1-mini", second.url()),
    ];
    let gateway = fixture.gateway(settings(chain));
    for text in ["a", "b"] {
        assert_eq!(
            gateway.ask(&ask(text)).await.unwrap().completion.text,
            "second"
        );
    }
    assert_eq!(first.calls(), 1, "it is left alone");
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_eq!(
        gateway.ask(&ask("c")).await.unwrap().completion.text,
        "first"
    );
}

#[tokio::test]
async fn when_all_are_throttled_the_earliest_is_waited_for() {
    let first = Vendor::new([Line::RateLimit("20000")], Line::Answer("first")).await;
    let second = Vendor::new([Line::RateLimit("100")], Line::Answer("second")).await;
    let fixture = Fixture::new();
    let chain = vec![
        target("gpt-4.1", first.url()),
        target("gpt-4.1-mini", second.url()),
    ];
    let gateway = fixture.gateway(settings(chain));
    let answered = gateway.ask(&ask("hi")).await.unwrap();
    assert_eq!(
        (answered.completion.text.as_str(), answered.attempts),
        ("second", 3)
    );
}

#[tokio::test]
async fn a_rest_beyond_the_deadline_is_not_waited_for() {
    let only = Vendor::always(Line::RateLimit("3600000")).await;
    let fixture = Fixture::new();
    let gateway = fixture.gateway(settings(vec![target("gpt-4.1", only.url())]));
    let error = gateway.ask(&ask("hi")).await.unwrap_err();
    assert!(matches!(error, AskError::Deadline { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(
        error.to_string().contains("`openai/gpt-4.1` rate_limited"),
        "{error}"
    );
}

#[tokio::test]
async fn silence_a_stall_and_half_a_body_move_on_and_may_have_cost_something() {
    let unsettled = || Expected {
        unsettled: 1,
        ..NEXT_AT_ONCE
    };
    check(Failure::Timeout, Line::Hang, unsettled()).await;
    check(Failure::Stalled, Line::Stall, unsettled()).await;
    check(Failure::Malformed, Line::Malformed, unsettled()).await;
}

#[tokio::test]
async fn the_targets_own_faults_move_on_take_it_out_and_raise_an_alert() {
    let alert = || Expected {
        alert: true,
        ..NEXT_AT_ONCE
    };
    for (status, failure) in [
        (401, Failure::KeyRefused),
        (402, Failure::QuotaSpent),
        (403, Failure::KeyRefused),
        (404, Failure::ModelGone),
        (408, Failure::RequestTimeout),
        (410, Failure::ModelGone),
        (302, Failure::WrongAddress),
    ] {
        check(
            failure,
            Line::Status(status, r#"{"error": {"message": "no"}}"#),
            alert(),
        )
        .await;
    }
}

#[tokio::test]
async fn a_target_that_is_out_is_not_asked_again_and_its_alert_is_raised_once() {
    let first = Vendor::always(Line::Status(
        401,
        r#"{"error": {"message": "bad key sk-planted"}}"#,
    ))
    .await;
    let second = Vendor::always(Line::Answer("second")).await;
    let fixture = Fixture::new();
    let chain = vec![
        target("gpt-4.1", first.url()),
        target("gpt-4.1-mini", second.url()),
    ];
    let gateway = fixture.gateway(settings(chain.clone()));
    for text in ["a", "b", "c"] {
        gateway.ask(&ask(text)).await.unwrap();
    }
    assert_eq!((first.calls(), second.calls()), (1, 3));
    assert_eq!(gateway.alerts().len(), 1);
    assert_eq!(gateway.alerts()[0].message, "bad key [secret]");

    let alone = fixture.gateway(settings(chain[..1].to_vec()));
    for text in ["d", "e"] {
        let error = alone.ask(&ask(text)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Target);
        assert_eq!(
            error.to_string(),
            "no model of the chain answered: `openai/gpt-4.1` key_refused (bad key [secret])"
        );
        assert_eq!(error.hint().unwrap(), "check the key of `openai/gpt-4.1`");
    }
}

#[tokio::test]
async fn a_prompt_too_long_for_one_goes_to_the_next_and_short_ones_stay() {
    let long = r#"{"error": {"message": "maximum context length is 8192 tokens", "code": "context_length_exceeded"}}"#;
    let first = Vendor::new([Line::Status(400, long)], Line::Answer("first")).await;
    let second = Vendor::always(Line::Answer("second")).await;
    let fixture = Fixture::new();
    let chain = vec![
        target("gpt-4.1", first.url()),
        target("gpt-4.1-mini", second.url()),
    ];
    let gateway = fixture.gateway(settings(chain));
    let text = async |text: &str| gateway.ask(&ask(text)).await.unwrap().completion.text;
    assert_eq!(text(&"long ".repeat(50)).await, "second");
    assert_eq!(text(&"longer ".repeat(50)).await, "second");
    assert_eq!(text("short").await, "first");
    assert_eq!(first.calls(), 2);
    assert_eq!(gateway.alerts()[0].failure, Failure::ContextTooLong);
}

#[tokio::test]
async fn the_requests_own_fault_returns_to_the_caller_and_is_never_rerouted() {
    for status in [400, 413, 422] {
        let first = Vendor::always(Line::Status(
            status,
            r#"{"error": {"message": "bad field"}}"#,
        ))
        .await;
        let second = Vendor::always(Line::Answer("second")).await;
        let fixture = Fixture::new();
        let chain = vec![
            target("gpt-4.1", first.url()),
            target("gpt-4.1-mini", second.url()),
        ];
        let gateway = fixture.gateway(settings(chain));
        let error = gateway.ask(&ask("hi")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request);
        assert!(error.to_string().ends_with("bad field"), "{error}");
        assert_eq!((first.calls(), second.calls()), (1, 0));
        assert!(gateway.alerts().is_empty());
    }
}

fn with_schema() -> distill_chat::ChatRequest {
    distill_chat::ChatRequest {
        response_schema: Some(json!({
            "type": "object",
            "properties": {"size": {"type": "string"}},
            "required": ["size"],
        })),
        ..ask("hi")
    }
}

#[tokio::test]
async fn an_answer_that_breaks_the_schema_is_paid_for_and_the_next_model_asked() {
    for broken in ["large", r#"{"sise": "L"}"#] {
        let first = Vendor::always(Line::Answer(broken)).await;
        let second = Vendor::always(Line::Answer(r#"{"size": "L"}"#)).await;
        let fixture = Fixture::new();
        let chain = vec![
            target("gpt-4.1", first.url()),
            target("gpt-4.1-mini", second.url()),
        ];
        let gateway = fixture.gateway(settings(chain));
        let answered = gateway.ask(&with_schema()).await.unwrap();
        assert_eq!(answered.completion.text, r#"{"size": "L"}"#);
        let spend = gateway.spend().unwrap();
        let invalid = spend
            .attempts
            .iter()
            .find(|row| row.outcome == "invalid_output")
            .unwrap();
        assert!(invalid.usd > crate::Usd::ZERO);
        assert!(spend.unsettled.is_empty());
    }
}

#[tokio::test]
async fn when_nobody_keeps_the_schema_the_last_answer_is_kept_and_not_paid_for_again() {
    let only = Vendor::always(Line::Answer("large")).await;
    let fixture = Fixture::new();
    let gateway = fixture.gateway(settings(vec![target("gpt-4.1", only.url())]));
    for from_journal in [false, true] {
        let answered = gateway.ask(&with_schema()).await.unwrap();
        assert_eq!(
            (answered.completion.text.as_str(), answered.from_journal),
            ("large", from_journal)
        );
    }
    assert_eq!(only.calls(), 1);
}

#[tokio::test]
async fn attempts_are_bounded_and_every_failure_is_told() {
    let only = Vendor::always(Line::RateLimit("1")).await;
    let fixture = Fixture::new();
    let gateway = fixture.gateway(GatewaySettings {
        max_attempts: 5,
        ..settings(vec![target("gpt-4.1", only.url())])
    });
    let error = gateway.ask(&ask("hi")).await.unwrap_err();
    assert!(
        matches!(&error, AskError::ChainExhausted { failures } if failures.len() == 5),
        "{error}"
    );
    assert_eq!(only.calls(), 5);
}

#[tokio::test]
async fn a_deadline_ends_the_whole_request() {
    let only = Vendor::always(Line::Hang).await;
    let fixture = Fixture::new();
    let mut settings = settings(vec![target("gpt-4.1", only.url())]);
    settings.timeouts.deadline = Duration::from_millis(200);
    let error = fixture.gateway(settings).ask(&ask("hi")).await.unwrap_err();
    assert!(matches!(error, AskError::Deadline { .. }), "{error}");
    assert_eq!(fixture.journal.spend(SCOPE).unwrap().unsettled.len(), 1);
}

#[tokio::test]
async fn an_open_breaker_spares_a_failing_model_until_a_probe_succeeds() {
    let first = Vendor::new(vec![Line::Status(500, "{}"); 2], Line::Answer("first")).await;
    let second = Vendor::always(Line::Answer("second")).await;
    let fixture = Fixture::new();
    let chain = vec![
        target("gpt-4.1", first.url()),
        target("gpt-4.1-mini", second.url()),
    ];
    let gateway = fixture.gateway(GatewaySettings {
        breaker: BreakerSettings {
            errors: 2,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(1),
            ..BreakerSettings::default()
        },
        ..settings(chain)
    });
    let text = async |text: &str| gateway.ask(&ask(text)).await.unwrap().completion.text;
    assert_eq!(text("a").await, "second");
    assert_eq!(text("b").await, "second");
    assert_eq!(first.calls(), 2, "it is spared");
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_eq!(text("c").await, "first");
}

#[tokio::test]
async fn an_answer_that_repeats_the_key_does_not_keep_it() {
    let vendor = Vendor::always(Line::Answer("your key is sk-planted")).await;
    let fixture = Fixture::new();
    let gateway = fixture.gateway(settings(vec![target("gpt-4.1", vendor.url())]));
    for _ in ["paid", "from the journal"] {
        let outcome = gateway.ask(&ask("a")).await.unwrap();
        let told = format!("{outcome:?}");
        assert!(
            told.contains("your key is [secret]") && !told.contains("planted"),
            "{told}"
        );
    }
    assert_eq!(vendor.calls(), 1);
}
