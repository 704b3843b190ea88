//! A fifth of all requests goes wrong, and the books still balance.

use std::{collections::BTreeMap, fs};

use distill_gateway::{
    AttemptRecord, Journal,
    simulate::{BillRow, bill_of_state},
};
use serde_json::Value;

use crate::fixture::{Job, PIPELINE, artifact};

const TRAIN_ROWS: usize = 200;
const TEST_ROWS: usize = 40;

#[test]
fn labelling_completes_through_faults_and_the_books_balance() {
    // A hang ends with its attempt's time, a stall with the time between two pieces: few of both,
    // or the test only waits.
    let pipeline = PIPELINE
        .replace(
            "latency_ms: {median: 1, p95: 2}",
            "latency_ms: {median: 5, p95: 15}\n    faults: {rate_limit: 0.06, server_error: 0.06, malformed: 0.06, hang: 0.01, stall: 0.01, truncate: 0.01}",
        )
        .replace("concurrency: 8", "concurrency: 32")
        .replace("[linear, nano]", "linear");
    let job = Job::with_rows(&pipeline, TRAIN_ROWS, TEST_ROWS);
    let events = job.run();
    every_row_has_a_label_or_a_reason(&job, &events.artifacts());
    the_books_balance(&job, events.report(), &events.artifacts());
}

fn every_row_has_a_label_or_a_reason(job: &Job, artifacts: &BTreeMap<String, String>) {
    let answers = fs::read_to_string(artifact(&job.home(), &artifacts["label.answers"])).unwrap();
    let answers: Vec<Value> = answers
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), TRAIN_ROWS);
    let labelled = answers
        .iter()
        .filter(|answer| answer["status"] == "answered")
        .inspect(|answer| assert!(answer["answer"].is_string(), "{answer}"))
        .count();
    for answer in answers
        .iter()
        .filter(|answer| answer["status"] != "answered")
    {
        let reason = answer["reason"].as_str().unwrap_or_default();
        assert!(!reason.is_empty(), "no reason: {answer}");
    }
    assert!(
        labelled >= TRAIN_ROWS * 9 / 10,
        "{labelled} of {TRAIN_ROWS} were labelled"
    );
}

fn the_books_balance(job: &Job, report: &Value, artifacts: &BTreeMap<String, String>) {
    let rows = bills(job);
    let attempts = attempts(job, artifacts);
    let failed = rows.iter().filter(|row| row.outcome != "answered").count();
    assert!(
        failed * 100 >= rows.len() * 12,
        "only {failed} of {} requests went wrong",
        rows.len()
    );
    let (mut settled, mut billed) = (0.0, 0.0);
    for row in &rows {
        let attempt = &attempts[row.client_attempt.as_deref().unwrap()];
        billed += row.usd().dollars();
        match attempt.usd {
            Some(_) => settled += row.usd().dollars(),
            None => assert!(row.usd() <= attempt.reserved, "{attempt:?} billed {row:?}"),
        }
    }
    assert_eq!(rows.len(), attempts.len(), "the provider saw every attempt");

    let spend = &report["spend"];
    let shown = spend["settled_usd"].as_f64().unwrap();
    assert!(
        (shown - settled).abs() < 1e-9,
        "the report says {shown}, the bill {settled}"
    );
    let open: Vec<&AttemptRecord> = attempts
        .values()
        .filter(|attempt| attempt.usd.is_none())
        .collect();
    let listed = spend["unsettled"].as_array().unwrap();
    assert_eq!(listed.len(), open.len(), "{listed:?}");
    let hung = rows
        .iter()
        .filter(|row| row.outcome == "hang" || row.outcome == "stall")
        .count();
    assert!(
        hung > 0 && open.len() >= hung,
        "{hung} hung or stalled, {} are listed",
        open.len()
    );
    let mut bound = 0.0;
    for attempt in listed {
        let reserved = attempt["reserved_usd"].as_f64().unwrap();
        assert!(
            reserved > 0.0 && !attempt["why"].as_str().unwrap().is_empty(),
            "{attempt}"
        );
        bound += reserved;
    }
    assert!(
        billed <= shown + bound + 1e-9,
        "billed {billed}, {shown} settled, {bound} reserved"
    );
    let sent = spend["attempts"].as_u64().unwrap();
    assert_eq!(sent, rows.len() as u64, "attempts that the report counts");
    let causes = spend["failed_attempts"].as_array().unwrap();
    assert!(causes.len() >= 3, "{causes:?}");
    eprintln!(
        "{} requests, {failed} went wrong, {} unsettled; billed ${billed:.6}, settled ${settled:.6}, reserved ${bound:.6}",
        rows.len(),
        open.len()
    );
}

/// The provider's own books.
fn bills(job: &Job) -> Vec<BillRow> {
    fs::read_dir(job.home().join("simulated"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .flat_map(|path| bill_of_state(&path).unwrap().rows)
        .collect()
}

/// Ours.
fn attempts(job: &Job, artifacts: &BTreeMap<String, String>) -> BTreeMap<String, AttemptRecord> {
    let usage = artifact(&job.home(), &artifacts["label.usage"]);
    let usage: Value = serde_json::from_str(&fs::read_to_string(usage).unwrap()).unwrap();
    Journal::open(&job.home().join("journal.sqlite"))
        .unwrap()
        .attempts(usage["spend"]["scope"].as_str().unwrap())
        .unwrap()
        .into_iter()
        .map(|attempt| (attempt.id.clone(), attempt))
        .collect()
}
