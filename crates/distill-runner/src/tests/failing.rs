//! Steps that fail, and what becomes of the others.

use distill_pipeline::record::FailureKind;

use super::*;

fn broken(kind: &'static str) -> Graph<Toy> {
    graph([
        toy("bad", kind, Value::Null),
        reads(toy("below", "shout", Value::Null), "bad"),
        reads(toy("deeper", "shout", Value::Null), "below"),
        toy("beside", "write", json!("fine")),
        reads(toy("under-beside", "shout", Value::Null), "beside"),
    ])
}

#[tokio::test]
async fn what_needs_a_failed_step_is_skipped_with_the_reason() {
    let bench = Bench::new();
    let mut request = bench.request(broken("fail"));
    request.on_failure = OnFailure::KeepGoing;
    let report = run(request).await.unwrap();
    assert_eq!(report.view.outcome, Some(RunOutcome::Failed));
    assert_eq!(
        states(&report),
        BTreeMap::from([
            ("bad", StepState::Failed),
            ("below", StepState::Skipped),
            ("beside", StepState::Done),
            ("deeper", StepState::Skipped),
            ("under-beside", StepState::Done),
        ])
    );
    assert_eq!(reason(&report, "below"), "needs step `bad`, which failed");
    assert_eq!(
        reason(&report, "deeper"),
        "needs step `below`, which was skipped"
    );
    let failure = report.view.step("bad").unwrap().failure.clone().unwrap();
    assert_eq!(failure.kind, FailureKind::BadInput);
    assert_eq!(failure.message, "no column `text`");
    assert_eq!(failure.causes, ["the inner cause"]);
    assert_eq!(failure.hint.as_deref(), Some("name the column in `data`"));
    assert_eq!(
        (failure.file, failure.line),
        (Some("train.csv".into()), Some(1))
    );
}

#[tokio::test]
async fn by_default_no_step_is_started_after_a_failure() {
    let bench = Bench::new();
    let report = bench
        .run(graph([
            toy("bad", "fail beside", Value::Null),
            toy("running", "nap", Value::Null),
            reads(toy("later", "shout", Value::Null), "running"),
        ]))
        .await;
    assert_eq!(
        states(&report),
        BTreeMap::from([
            ("bad", StepState::Failed),
            ("later", StepState::Skipped),
            ("running", StepState::Done),
        ])
    );
    assert_eq!(
        reason(&report, "later"),
        "not started because step `bad` failed"
    );
}

#[tokio::test]
async fn a_failure_can_stop_the_others() {
    let bench = Bench::new();
    let mut request = bench.request(graph([
        reads(toy("bad", "fail beside", Value::Null), "first"),
        toy("first", "nap", Value::Null),
        toy("long", "wait", Value::Null),
        reads(toy("later", "shout", Value::Null), "long"),
    ]));
    request.on_failure = OnFailure::Cancel;
    let report = run(request).await.unwrap();
    assert_eq!(report.view.outcome, Some(RunOutcome::Failed));
    assert_eq!(
        states(&report),
        BTreeMap::from([
            ("bad", StepState::Failed),
            ("first", StepState::Done),
            ("later", StepState::Skipped),
            ("long", StepState::Interrupted),
        ])
    );
}

#[tokio::test]
async fn a_failed_step_is_tried_again_and_nothing_else() {
    let bench = Bench::new();
    let nodes = || {
        graph([
            toy("write", "write", json!("x")),
            reads(toy("bad", "fail", Value::Null), "write"),
        ])
    };
    bench.run(nodes()).await;
    bench.run(nodes()).await;
    assert_eq!(bench.toys.0.done(), ["bad", "bad", "write"]);
}

#[tokio::test]
async fn a_panic_is_a_bug_of_ours_and_ends_only_its_step() {
    let bench = Bench::new();
    let report = bench.run(broken("panic")).await;
    let failure = report.view.step("bad").unwrap().failure.clone().unwrap();
    assert_eq!(failure.kind, FailureKind::Bug);
    assert_eq!(failure.message, "step `bad` panicked: the toy broke");
}

#[tokio::test]
async fn an_output_that_was_not_written_is_a_failure() {
    let bench = Bench::new();
    let report = bench.run(broken("forget")).await;
    let failure = report.view.step("bad").unwrap().failure.clone().unwrap();
    assert_eq!(
        failure.message,
        "step `bad` ended without writing its output `text`"
    );
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let bench = Bench::new();
    let path = bench.outside("train.csv");
    let report = bench
        .run(graph([
            toy("ingest", "shout", Value::Null).file("source", TEXT, &path)
        ]))
        .await;
    let failure = report.view.step("ingest").unwrap().failure.clone().unwrap();
    assert_eq!(failure.kind, FailureKind::BadInput);
    assert_eq!(failure.file, Some(path.clone()));
    assert!(failure.message.contains(path.to_str().unwrap()));
    assert!(failure.hint.is_some());
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_spoils_the_step() {
    let bench = Bench::new();
    let path = bench.outside("train.csv");
    fs::write(&path, "rows").unwrap();
    let meddle = toy("ingest", "meddle", Value::Null).file("source", TEXT, &path);
    let report = bench.run(graph([meddle])).await;
    let failure = report.view.step("ingest").unwrap().failure.clone().unwrap();
    assert!(
        failure
            .message
            .ends_with("changed while step `ingest` read it")
    );
    assert!(failure.retryable);
}

#[tokio::test]
async fn a_run_that_cannot_be_kept_says_where_and_what_to_do() {
    let bench = Bench::new();
    let request = bench.request(words("hello"));
    let runs = bench.home().path().join("runs");
    fs::remove_dir(&runs).unwrap();
    fs::write(&runs, "in the way").unwrap();
    let error = run(request).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains(runs.to_str().unwrap()), "{cause}");
    assert!(bench.toys.0.done().is_empty());
}
