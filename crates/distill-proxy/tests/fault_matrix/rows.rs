//! The rows.

use std::{collections::HashMap, sync::Arc};

use distill_gateway::{Failure, Usd};
use distill_wire::Dialect;

use super::{
    harness::{End, Proxy, proxy, question},
    vendor::{Charge, Line, Vendor, nobody, resetting},
};

/// Times short enough for a test, and far longer than anything that is not meant to fail takes.
const TIMES: &str =
    ", timeouts: {connect: 5s, first_token: 1500ms, between_tokens: 1500ms, total: 60s}";
/// Whole answers are timed by the total: half of it is the first target's.
const SHORT: &str =
    ", timeouts: {connect: 5s, first_token: 1500ms, between_tokens: 700ms, total: 4s}";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The second target answers.
    Next,
    /// The caller gets the first target's refusal with this status.
    Returned(u16),
    /// The first target answers after all.
    Recovers,
    /// The caller sees the beginning and an error event.
    Breaks,
}

#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, not a state"
)]
struct Row {
    name: &'static str,
    /// What the first target does, call after call.
    first: [Line; 2],
    failure: Failure,
    /// Calls that the first target gets of one request.
    calls: u32,
    then: Then,
    alert: bool,
    /// Whether what the failed attempts cost stays unknown.
    unsettled: bool,
    whole: bool,
    stream: bool,
}

const fn row(name: &'static str, line: Line, failure: Failure) -> Row {
    Row {
        name,
        first: [line, line],
        failure,
        calls: 1,
        then: Then::Next,
        alert: false,
        unsettled: false,
        whole: true,
        stream: true,
    }
}

const fn twice(row: Row) -> Row {
    Row { calls: 2, ..row }
}

const fn alerting(row: Row) -> Row {
    Row { alert: true, ..row }
}

const fn unknown(row: Row) -> Row {
    Row {
        unsettled: true,
        ..row
    }
}

const fn returned(row: Row, status: u16) -> Row {
    Row {
        then: Then::Returned(status),
        ..row
    }
}

const fn streams(row: Row) -> Row {
    Row {
        whole: false,
        ..row
    }
}

const fn breaks(row: Row) -> Row {
    Row {
        then: Then::Breaks,
        unsettled: true,
        ..streams(row)
    }
}

const TOO_LONG: &str = r#"{"error": {"message": "too many tokens", "type": "invalid_request_error", "code": "context_length_exceeded"}}"#;
const WRONG: &str = r#"{"error": {"message": "`temperature` is wrong", "type": "invalid_request_error", "code": null, "param": "temperature"}}"#;

const ROWS: [Row; 27] = [
    twice(row("500", Line::Status(500, "{}"), Failure::ServerError)),
    twice(row("529", Line::Status(529, "{}"), Failure::ServerError)),
    Row {
        first: [Line::Status(503, "busy"), Line::Answer("good")],
        then: Then::Recovers,
        ..twice(row("503 once", Line::Hang, Failure::ServerError))
    },
    row(
        "429 with its rest",
        Line::Throttled(Some("60000")),
        Failure::RateLimited,
    ),
    row(
        "429 that says nothing",
        Line::Throttled(None),
        Failure::RateLimited,
    ),
    alerting(row("401", Line::Status(401, "{}"), Failure::KeyRefused)),
    alerting(row("402", Line::Status(402, "{}"), Failure::QuotaSpent)),
    alerting(row("403", Line::Status(403, "{}"), Failure::KeyRefused)),
    alerting(row("404", Line::Status(404, "{}"), Failure::ModelGone)),
    alerting(row("408", Line::Status(408, "{}"), Failure::RequestTimeout)),
    alerting(row("410", Line::Status(410, "{}"), Failure::ModelGone)),
    alerting(row(
        "a prompt that is too long",
        Line::Status(400, TOO_LONG),
        Failure::ContextTooLong,
    )),
    alerting(row(
        "a redirect",
        Line::Status(302, ""),
        Failure::WrongAddress,
    )),
    returned(
        row("400", Line::Status(400, WRONG), Failure::RequestFault),
        400,
    ),
    returned(
        row("413", Line::Status(413, WRONG), Failure::RequestFault),
        413,
    ),
    returned(
        row("422", Line::Status(422, WRONG), Failure::RequestFault),
        422,
    ),
    unknown(row("no byte", Line::Hang, Failure::Timeout)),
    unknown(row("no JSON", Line::Malformed, Failure::Malformed)),
    unknown(row(
        "200 with an error",
        Line::ErrorInside,
        Failure::Malformed,
    )),
    twice(unknown(row(
        "cut",
        Line::CutBefore,
        Failure::ConnectionLost,
    ))),
    unknown(row("stalled", Line::StallBefore, Failure::Stalled)),
    streams(twice(unknown(row(
        "an error before content",
        Line::ErrorBefore,
        Failure::ServerError,
    )))),
    breaks(row(
        "cut after content",
        Line::CutAfter,
        Failure::ConnectionLost,
    )),
    breaks(row(
        "stalled after content",
        Line::StallAfter,
        Failure::Stalled,
    )),
    breaks(row(
        "an error after content",
        Line::ErrorAfter,
        Failure::ServerError,
    )),
    breaks(row("ended early", Line::EndsEarly, Failure::ConnectionLost)),
    Row {
        then: Then::Recovers,
        unsettled: true,
        ..row("no usage", Line::WithoutUsage, Failure::Malformed)
    },
];

/// Who asks whom.
#[derive(Debug, Clone, Copy)]
struct Pair {
    caller: Dialect,
    vendor: &'static str,
}

const PAIRS: [Pair; 5] = [
    Pair {
        caller: Dialect::ChatCompletions,
        vendor: "openai",
    },
    Pair {
        caller: Dialect::Messages,
        vendor: "anthropic",
    },
    Pair {
        caller: Dialect::Messages,
        vendor: "openai",
    },
    Pair {
        caller: Dialect::ChatCompletions,
        vendor: "anthropic",
    },
    Pair {
        caller: Dialect::Responses,
        vendor: "anthropic",
    },
];

/// Asks one row so many times at once and holds everything to it.
async fn check(row: Row, pair: Pair, stream: bool, requests: u32) {
    let about = format!(
        "{} ({:?} of {}, {}, {requests} at once)",
        row.name,
        pair.caller,
        pair.vendor,
        if stream { "streamed" } else { "whole" }
    );
    let script = row.first;
    let first = Vendor::scripted(move |call| script[usize::from(call > 1)]).await;
    let second = Vendor::always(Line::Answer("good")).await;
    let times = if row.failure == Failure::Timeout || row.failure == Failure::Stalled {
        SHORT
    } else {
        TIMES
    };
    let proxy = Arc::new(
        proxy(
            &[
                ("first", pair.vendor, &first.url),
                ("second", pair.vendor, &second.url),
            ],
            times,
        )
        .await,
    );
    let asked: Vec<_> = (0..requests)
        .map(|number| {
            let proxy = Arc::clone(&proxy);
            tokio::spawn(async move {
                let id = format!("q{number}");
                proxy
                    .ask(&id, pair.caller, &question(pair.caller, stream))
                    .await
            })
        })
        .collect();
    for asked in asked {
        let seen = asked.await.unwrap();
        let by = seen.header("x-distill-target").map(str::to_owned);
        let expected = match row.then {
            Then::Next | Then::Recovers => (200, "good", End::Whole),
            Then::Returned(status) => (status, "", End::Error),
            Then::Breaks => (200, "partial ", End::Error),
        };
        // With many at once the breaker may have opened: then the second answers.
        if requests > 1 && by.as_deref() == Some("second/m") {
            assert_eq!(
                (seen.status, seen.text.as_str(), seen.end),
                (200, "good", End::Whole),
                "{about}: {seen:?}"
            );
            continue;
        }
        assert_eq!(
            (seen.status, seen.text.as_str(), seen.end),
            expected,
            "{about}: {seen:?}"
        );
        if requests == 1 {
            let by_first = !matches!(row.then, Then::Next);
            let expected = if by_first { "first/m" } else { "second/m" };
            assert_eq!(by.as_deref(), Some(expected), "{about}");
        }
        assert!(!seen.raw.contains(super::harness::KEY), "{about}");
        let done = seen.done.unwrap();
        let collected = done.body.unwrap();
        assert_eq!(String::from_utf8_lossy(&collected), seen.raw, "{about}");
    }
    for (request, calls) in first.calls() {
        assert!(calls <= row.calls, "{about}: {request} {calls} times");
        if requests == 1 {
            assert_eq!(calls, row.calls, "{about}");
        }
    }
    for (request, calls) in second.calls() {
        assert_eq!(calls, 1, "{about}: {request} was answered twice");
        assert!(
            requests > 1 || row.then == Then::Next,
            "{about}: {request} must not have moved on"
        );
    }
    let alerts = proxy.alerts();
    assert_eq!(
        alerts.iter().any(|alert| alert.failure == row.failure),
        row.alert,
        "{about}: {alerts:?}"
    );
    books(&proxy, row, &[&first, &second], requests, &about).await;
}

/// Holds the ledger to the vendors' bills.
async fn books(proxy: &Proxy, row: Row, vendors: &[&Vendor], requests: u32, about: &str) {
    let (records, attempts) = proxy.records(requests as usize).await;
    assert_eq!(records.len(), requests as usize, "{about}: none is lost");
    let bill: Vec<Charge> = vendors.iter().flat_map(|vendor| vendor.bill()).collect();
    let mut charged: HashMap<String, u64> = HashMap::new();
    for charge in &bill {
        *charged.entry(charge.attempt.clone()).or_default() += charge.pico;
    }
    let (mut settled, mut settled_bill, mut bound) = (Usd::ZERO, 0, Usd::ZERO);
    for attempt in &attempts {
        let name = format!("{}-{}", attempt.request_id, attempt.number);
        let on_bill = charged.get(&name).copied().unwrap_or_default();
        if let Some(usd) = attempt.usd {
            settled += usd;
            settled_bill += on_bill;
        } else {
            bound += attempt.reserved;
            assert!(row.unsettled, "{about}: {attempt:?}");
            assert!(
                attempt.reserved.pico() as u64 >= on_bill,
                "{about}: the bound holds"
            );
        }
        let outcome = attempt.outcome.as_deref().unwrap();
        let allowed = [row.failure.rule().name, "answered"];
        assert!(allowed.contains(&outcome), "{about}: {outcome}");
    }
    assert_eq!(
        settled.pico() as u64,
        settled_bill,
        "{about}: settled attempts agree with the bill"
    );
    let total: u64 = bill.iter().map(|charge| charge.pico).sum();
    assert!(
        total <= (settled + bound).pico() as u64,
        "{about}: the bill lies within the total"
    );
    let open = proxy.unsettled().await;
    let listed: Usd = open.iter().map(|attempt| attempt.bound).sum();
    assert_eq!(listed, bound, "{about}: what is not settled is listed");
    if requests == 1 {
        let failed = attempts
            .iter()
            .filter(|attempt| attempt.outcome.as_deref() == Some(row.failure.rule().name))
            .count();
        let expected = match row.then {
            Then::Recovers => row.calls - 1,
            _ => row.calls,
        };
        assert_eq!(failed, expected as usize, "{about}: {attempts:?}");
        assert_eq!(open.is_empty(), !row.unsettled, "{about}");
        let request = &records[0];
        let (status, outcome) = match row.then {
            Then::Next | Then::Recovers => (200, "answered"),
            Then::Returned(status) => (status, "refused"),
            Then::Breaks => (200, "broken"),
        };
        assert_eq!(request.status, Some(status), "{about}");
        assert_eq!(request.outcome.as_deref(), Some(outcome), "{about}");
    }
}

/// Checks every row, and tells of all that do not hold.
async fn check_all(requests: u32, pairs: &[Pair], stream: bool) {
    let mut failed = 0;
    for row in ROWS {
        if (stream && !row.stream) || (!stream && !row.whole) {
            continue;
        }
        for pair in pairs {
            let checked = tokio::spawn(check(row, *pair, stream, requests)).await;
            failed += u32::from(checked.is_err());
        }
    }
    assert_eq!(failed, 0, "rows do not hold; each says why above");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_holds_for_a_whole_answer() {
    check_all(1, &PAIRS, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_holds_for_a_stream() {
    check_all(1, &PAIRS, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_holds_for_200_whole_answers_at_once() {
    check_all(200, &PAIRS[..1], false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_holds_for_200_streams_at_once() {
    check_all(200, &PAIRS[..1], true).await;
    check_all(200, &PAIRS[2..3], true).await;
}

/// A failure below HTTP has no scripted vendor.
async fn below_http(url: &str, failure: Failure, unsettled: bool) {
    for stream in [false, true] {
        for requests in [1, 200] {
            let second = Vendor::always(Line::Answer("good")).await;
            let proxy = Arc::new(
                proxy(
                    &[("first", "openai", url), ("second", "openai", &second.url)],
                    TIMES,
                )
                .await,
            );
            let asked: Vec<_> = (0..requests)
                .map(|number| {
                    let proxy = Arc::clone(&proxy);
                    tokio::spawn(async move {
                        let dialect = Dialect::ChatCompletions;
                        let id = format!("q{number}");
                        proxy.ask(&id, dialect, &question(dialect, stream)).await
                    })
                })
                .collect();
            for asked in asked {
                let seen = asked.await.unwrap();
                assert_eq!((seen.status, seen.text.as_str()), (200, "good"));
            }
            assert!(second.calls().values().all(|calls| *calls == 1));
            assert_eq!(second.total_calls(), requests);
            let (_, attempts) = proxy.records(requests as usize).await;
            let failed: Vec<_> = attempts
                .iter()
                .filter(|attempt| attempt.target == "first/m")
                .collect();
            assert!(requests > 1 || failed.len() == 2, "one retry");
            for attempt in failed {
                let name = failure.rule().name;
                assert_eq!(attempt.outcome.as_deref(), Some(name));
                assert_eq!(attempt.usd.is_none(), unsettled);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_listening_costs_nothing_and_the_next_answers() {
    below_http(&nobody().await, Failure::ConnectFailed, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_connection_moves_on_and_its_cost_stays_open() {
    below_http(&resetting().await, Failure::ConnectionLost, true).await;
}
