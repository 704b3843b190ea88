//! Runs that are asked to stop, or are killed, and the runs after them.

use super::*;

/// Runs until `step` has begun, and then does something to the token or the future.
async fn until_started(bench: &Bench, step: &str) {
    let begun = || bench.seen(step).iter().any(|kind| kind == "step_started");
    while !begun() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_cancelled_run_ends_interrupted() {
    let bench = Bench::new();
    let request = bench.request(graph([
        toy("long", "wait", Value::Null),
        reads(toy("later", "shout", Value::Null), "long"),
    ]));
    let cancel = request.cancel.clone();
    let stop = async {
        until_started(&bench, "long").await;
        cancel.cancel();
    };
    let (report, ()) = tokio::join!(run(request), stop);
    let report = report.unwrap();
    assert_eq!(report.view.outcome, Some(RunOutcome::Interrupted));
    assert_eq!(
        states(&report),
        BTreeMap::from([
            ("later", StepState::Pending),
            ("long", StepState::Interrupted),
        ])
    );
}

#[tokio::test]
async fn a_step_that_does_not_stop_is_left_after_the_grace_period() {
    let bench = Bench::new();
    let mut request = bench.request(graph([toy("long", "stubborn", Value::Null)]));
    request.grace = Duration::from_millis(20);
    let cancel = request.cancel.clone();
    let stop = async {
        until_started(&bench, "long").await;
        cancel.cancel();
    };
    let (report, ()) = tokio::join!(run(request), stop);
    let report = report.unwrap();
    assert_eq!(report.view.outcome, Some(RunOutcome::Interrupted));
    assert_eq!(
        reason(&report, "long"),
        "did not stop within 0.02 s of being asked to"
    );
}

#[tokio::test]
async fn a_run_that_is_cancelled_before_it_starts_does_nothing() {
    let bench = Bench::new();
    let request = bench.request(words("hello"));
    request.cancel.cancel();
    let report = run(request).await.unwrap();
    assert_eq!(report.view.outcome, Some(RunOutcome::Interrupted));
    assert!(bench.toys.0.done().is_empty());
}

#[tokio::test]
async fn the_next_run_goes_on_where_the_work_stopped() {
    let bench = Bench::new();
    let text = "one two three four five";
    let nodes = || {
        graph([
            toy("label", "slow write", json!(text)),
            reads(toy("shout", "shout", Value::Null), "label"),
        ])
    };
    let mut runs = 0;
    let report = loop {
        runs += 1;
        bench.toys.0.patience.store(2, Ordering::SeqCst);
        let report = bench.run(nodes()).await;
        if report.view.outcome == Some(RunOutcome::Done) {
            break report;
        }
        assert!(runs < 9, "it never ends");
    };
    assert_eq!(runs, 3);
    assert_eq!(bench.toys.0.paid.load(Ordering::SeqCst), 5);
    assert_eq!(bench.output(&report, "shout"), text.to_uppercase());
}

/// Dropping the future is what a kill leaves: nothing is tidied up.
#[tokio::test]
async fn a_killed_run_leaves_nothing_half_made() {
    let bench = Bench::new();
    let nodes = |kind| {
        graph([
            toy("write", "write", json!("text")),
            reads(toy("long", kind, Value::Null), "write"),
        ])
    };
    {
        let request = bench.request(nodes("wait"));
        tokio::select! {
            _ = run(request) => panic!("it waits for ever"),
            () = until_started(&bench, "long") => {}
        }
    }
    // Give the step the time to write half of its output, if it is quick enough; either is fine.
    tokio::task::yield_now().await;
    let home = bench.home();
    let records = fs::read_dir(home.path().join("actions")).unwrap().count();
    assert_eq!(records, 1, "only what was finished is recorded");
    let report = bench.run(nodes("shout")).await;
    assert_eq!(report.view.outcome, Some(RunOutcome::Done));
    assert!(report.view.step("write").unwrap().cached);
    assert_eq!(bench.output(&report, "long"), "TEXT");
}

#[tokio::test]
async fn an_unfinished_output_is_not_taken_for_one() {
    let bench = Bench::new();
    let node = || graph([toy("write", "slow write", json!("one two"))]);
    let report = bench.run(node()).await;
    assert_eq!(report.view.outcome, Some(RunOutcome::Interrupted));
    let home = bench.home();
    let planned = crate::plan(&home, &node()).unwrap();
    let distill_pipeline::plan::PlanState::Miss { key, .. } = &planned.steps[0].state else {
        panic!("it was not finished");
    };
    // What a kill in the middle of writing would have left.
    let half = home.work(key).join("out/text");
    fs::write(&half, "ha").unwrap();
    bench.toys.0.patience.store(9, Ordering::SeqCst);
    let report = bench.run(node()).await;
    assert_eq!(bench.output(&report, "write"), "one two");
}

#[tokio::test]
async fn resources_are_not_overdrawn() {
    for (cpu, most) in [(1, 1), (2, 2), (4, 4)] {
        let bench = Bench::new();
        let naps = (0..6).map(|n| toy(&format!("nap-{n}"), "nap", json!(n)));
        let mut request = bench.request(graph(naps));
        request.budget = Budget {
            cpu,
            memory_mb: None,
        };
        let report = run(request).await.unwrap();
        assert_eq!(report.view.outcome, Some(RunOutcome::Done));
        let seen = bench.toys.0.most_at_once.load(Ordering::SeqCst);
        assert!(seen <= most, "{seen} at once on {cpu} cores");
    }
}

#[tokio::test]
async fn memory_and_greedy_steps_are_watched_too() {
    let bench = Bench::new();
    let naps = (0..4).map(|n| {
        toy(&format!("nap-{n}"), "nap", json!(n)).resources(Resources {
            cpu: if n == 0 { 64 } else { 0 },
            memory_mb: 600,
            network: true,
        })
    });
    let mut request = bench.request(graph(naps));
    request.budget = Budget {
        cpu: 2,
        memory_mb: Some(1000),
    };
    let report = run(request).await.unwrap();
    assert_eq!(report.view.outcome, Some(RunOutcome::Done));
    assert_eq!(bench.toys.0.most_at_once.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn steps_that_do_not_need_each_other_run_side_by_side() {
    let bench = Bench::new();
    let naps = (0..2).map(|n| toy(&format!("nap-{n}"), "meet", json!(n)));
    let meeting = Arc::new(tokio::sync::Barrier::new(2));
    let mut request = bench.request(graph(naps));
    request.executor = Arc::new(LocalExecutor::new(Meeting(meeting)));
    let report = run(request).await.unwrap();
    assert_eq!(report.view.outcome, Some(RunOutcome::Done));
}

/// Steps that only end when two of them run at once.
struct Meeting(Arc<tokio::sync::Barrier>);

impl StepRunner<Toy> for Meeting {
    fn run(
        &self,
        work: Work<Toy>,
        _context: StepContext,
    ) -> BoxFuture<'_, Result<Outcome, StepFailure>> {
        Box::pin(async move {
            self.0.wait().await;
            fs::write(work.output("text"), "met").unwrap();
            Ok(Outcome::default())
        })
    }
}
