use std::{sync::Arc, time::Duration};

use distill_chat::{ChatRequest, Completion, FinishReason, Message, Usage};

use super::{
    AttemptId, Intent, Journal, JournalError, NewAnswer, Recorded, Reservation, Settlement,
};
use crate::{Price, PriceSource, RequestHash, Usd, request_hash::canonical};

fn hash(number: usize) -> RequestHash {
    let request = ChatRequest::new("teacher", vec![Message::user(number.to_string())]);
    canonical(&[], &request, 1, 0).1
}

fn intent(number: usize, reserved: i64, cap: Option<i64>) -> Intent {
    Intent {
        request_hash: hash(number),
        scope: "scope".into(),
        target: "simulated/frontier".into(),
        simulated: true,
        number: 1,
        reserved: Usd::from_pico(reserved),
        cap: cap.map(Usd::from_pico),
        started_ms: 1,
    }
}

fn settlement(attempt: AttemptId, usd: Option<i64>) -> Settlement {
    Settlement {
        attempt,
        outcome: if usd.is_some() { "answered" } else { "timeout" },
        usd: usd.map(Usd::from_pico),
        status: Some(200),
        model: Some("frontier-1".into()),
        usage: Usage {
            input_tokens: Some(3),
            output_tokens: Some(2),
            ..Usage::default()
        },
        response_id: Some("r".into()),
        latency: Some(Duration::from_millis(4)),
        ended_ms: 2,
    }
}

fn answer(number: usize, usd: i64) -> NewAnswer {
    NewAnswer {
        hash: hash(number),
        scope: "scope".into(),
        canonical: "{}".into(),
        first_target: "simulated/frontier".into(),
        raw: "{}".into(),
        price: Price::per_million(1.0, 1.0, None, PriceSource::Simulated),
        recorded: Recorded {
            completion: Completion {
                text: format!("answer {number}"),
                finish: FinishReason::Stop,
                usage: Usage::default(),
                model: "frontier-1".into(),
                logprob: None,
                token_logprobs: None,
            },
            target: "simulated/frontier".into(),
            usd: Some(Usd::from_pico(usd)),
            simulated: true,
            latency: Duration::from_millis(4),
            attempts: 1,
        },
        answered_ms: 2,
    }
}

async fn granted(journal: &Journal, number: usize, reserved: i64) -> AttemptId {
    match journal
        .reserve(intent(number, reserved, None))
        .await
        .unwrap()
    {
        Reservation::Granted(attempt) => attempt,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_is_there_after_reopening_with_its_money() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/journal.sqlite");
    let journal = Journal::open(&path).unwrap();
    let attempt = granted(&journal, 1, 100).await;
    journal
        .settle(settlement(attempt, Some(40)), Some(answer(1, 40)))
        .await
        .unwrap();
    drop(journal);
    let journal = Journal::open(&path).unwrap();
    assert_eq!(
        journal.answer(&hash(1)).unwrap(),
        Some(answer(1, 40).recorded)
    );
    assert_eq!(journal.answer(&hash(2)).unwrap(), None);
    let spend = journal.spend("scope").unwrap();
    assert_eq!(spend.settled_usd, Usd::from_pico(40));
    assert_eq!(spend.committed_usd, Usd::from_pico(40));
    assert_eq!(
        (spend.requests_answered, spend.usage.input, spend.in_flight),
        (1, 3, 0)
    );
    assert!((spend.latency.unwrap().p50_ms - 4.0).abs() < 1e-9);
    assert!(!spend.mixed_teachers() && spend.simulated && spend.unsettled.is_empty());
    assert_eq!(journal.spend("other").unwrap().requests_answered, 0);
    assert_eq!(
        journal.spend_on(&[hash(1), hash(2)]).unwrap().settled_usd,
        Usd::from_pico(40)
    );
    assert!(matches!(
        journal.reserve(intent(1, 1, None)).await.unwrap(),
        Reservation::Answered(recorded) if recorded.completion.text == "answer 1"
    ));
}

#[tokio::test]
async fn what_a_dead_process_left_open_is_listed_with_its_bound_and_still_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let killed = Journal::open(&path).unwrap();
    granted(&killed, 1, 100).await;
    let alive = Journal::open(&path).unwrap();
    assert_eq!(alive.spend("scope").unwrap().in_flight, 1);
    assert_eq!(
        alive.reserve(intent(1, 100, None)).await.unwrap(),
        Reservation::AskedElsewhere
    );
    // The end of a process frees its lock; nothing else of it is known.
    drop(killed);
    let spend = alive.spend("scope").unwrap();
    assert_eq!(spend.in_flight, 0);
    assert_eq!(spend.unsettled.len(), 1);
    assert_eq!(
        (
            spend.unsettled[0].why.as_str(),
            spend.unsettled[0].reserved_usd
        ),
        ("cut", Usd::from_pico(100))
    );
    assert_eq!(spend.committed_usd, Usd::from_pico(100));
    let over = alive.reserve(intent(2, 1, Some(100))).await.unwrap();
    assert_eq!(
        over,
        Reservation::Exhausted {
            committed: Usd::from_pico(100),
            open: false
        }
    );
    assert!(matches!(
        alive.reserve(intent(1, 100, None)).await.unwrap(),
        Reservation::Granted(_)
    ));
    drop(alive);
    let reopened = Journal::open(&path).unwrap();
    assert_eq!(reopened.spend("scope").unwrap().unsettled.len(), 2);
}

#[tokio::test]
async fn the_cap_holds_and_money_comes_back_with_the_settlement() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(&folder.path().join("journal.sqlite")).unwrap();
    let cap = Some(250);
    let Reservation::Granted(first) = journal.reserve(intent(1, 200, cap)).await.unwrap() else {
        panic!("the first fits");
    };
    assert_eq!(
        journal.reserve(intent(2, 60, cap)).await.unwrap(),
        Reservation::Exhausted {
            committed: Usd::from_pico(200),
            open: true
        }
    );
    journal
        .settle(settlement(first.clone(), Some(30)), None)
        .await
        .unwrap();
    // Settled twice, booked once.
    journal
        .settle(settlement(first, Some(30)), None)
        .await
        .unwrap();
    assert!(matches!(
        journal.reserve(intent(2, 220, cap)).await.unwrap(),
        Reservation::Granted(_)
    ));
    assert_eq!(
        journal.reserve(intent(3, 1, cap)).await.unwrap(),
        Reservation::Exhausted {
            committed: Usd::from_pico(250),
            open: true
        }
    );
}

#[tokio::test]
async fn an_unknown_cost_keeps_its_reservation() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(&folder.path().join("journal.sqlite")).unwrap();
    let timeout = granted(&journal, 1, 100).await;
    journal
        .settle(settlement(timeout, None), None)
        .await
        .unwrap();
    let abandoned = granted(&journal, 2, 50).await;
    journal.abandon(abandoned, "given_up", 3);
    // Written in order: a later operation sees it.
    let settled = granted(&journal, 3, 10).await;
    journal
        .settle(settlement(settled, Some(4)), None)
        .await
        .unwrap();
    let spend = journal.spend("scope").unwrap();
    assert_eq!(spend.unsettled_reserved_usd, Usd::from_pico(150));
    assert_eq!(spend.settled_usd, Usd::from_pico(4));
    assert_eq!(spend.committed_usd, Usd::from_pico(154));
    let mut why: Vec<&str> = spend
        .unsettled
        .iter()
        .map(|attempt| attempt.why.as_str())
        .collect();
    why.sort_unstable();
    assert_eq!(why, ["given_up", "timeout"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_commits_and_every_one_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = Journal::open(&path).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..400 {
        let journal = journal.clone();
        tasks.spawn(async move {
            let attempt = granted(&journal, number, 10).await;
            journal
                .settle(settlement(attempt, Some(7)), Some(answer(number, 7)))
                .await
                .unwrap();
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    // Another connection sees only what was committed.
    let other = Journal::open(&path).unwrap();
    let spend = other.spend("scope").unwrap();
    assert_eq!(spend.requests_answered, 400);
    assert_eq!(spend.settled_usd, Usd::from_pico(2800));
    assert_eq!(spend.committed_usd, spend.settled_usd);
}

#[tokio::test]
async fn a_file_that_is_no_journal_or_of_another_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let text = "this is not a database, and long enough to be looked at".repeat(20);
    std::fs::write(&path, &text).unwrap();
    let error = Journal::open(&path).unwrap_err();
    assert!(matches!(error, JournalError::Open { .. }) && error.hint().is_some());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    let newer = folder.path().join("newer.sqlite");
    let connection = rusqlite::Connection::open(&newer).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = Journal::open(&newer).unwrap_err();
    assert!(error.to_string().contains("has format 99"), "{error}");
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_says_so_to_everyone_who_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = Arc::new(Journal::open(&path).unwrap());
    let breaker = rusqlite::Connection::open(&path).unwrap();
    breaker.execute_batch("DROP TABLE attempt").unwrap();
    let (one, two) = tokio::join!(
        journal.reserve(intent(1, 1, None)),
        journal.reserve(intent(2, 1, None))
    );
    assert!(matches!(one, Err(JournalError::Write { .. })));
    assert!(matches!(two, Err(JournalError::Write { .. })));
}
