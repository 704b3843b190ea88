//! Two runs, or two steps, after the same thing.

use distill_pipeline::record::{ActionRecord, RunId};

use super::*;
use crate::claim::{Asked, Claim};
use crate::durable::{self, Created};

fn run_id(salt: u16) -> RunId {
    RunId::new(Timestamp::from_millis(0), salt)
}

#[tokio::test]
async fn two_steps_with_one_key_are_made_once() {
    let bench = Bench::new();
    let twins = ["a", "b"].map(|name| toy(name, "nap", Value::Null));
    let report = bench.run(graph(twins)).await;
    assert_eq!(report.view.outcome, Some(RunOutcome::Done));
    assert_eq!(bench.toys.0.done().len(), 1);
    let cached = report.view.steps.iter().filter(|step| step.cached);
    assert_eq!(cached.count(), 1);
}

#[tokio::test]
async fn two_runs_at_once_make_each_thing_once() {
    let bench = Bench::new();
    let nodes = || graph((0..4).map(|n| toy(&format!("nap-{n}"), "nap", json!(n))));
    let (one, other) = tokio::join!(run(bench.request(nodes())), run(bench.request(nodes())));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.view.outcome, Some(RunOutcome::Done));
    assert_eq!(other.view.outcome, Some(RunOutcome::Done));
    assert_eq!(bench.toys.0.done().len(), 4);
    for (a, b) in one.view.steps.iter().zip(&other.view.steps) {
        assert_eq!(a.outputs, b.outputs);
    }
}

#[tokio::test]
async fn a_run_waits_for_the_one_that_is_making_its_step() {
    let bench = Bench::new();
    let node = || graph([toy("nap", "nap", Value::Null)]);
    let planned = crate::plan(&bench.home(), &node()).unwrap();
    let distill_pipeline::plan::PlanState::Miss { key, .. } = planned.steps[0].state else {
        panic!("nothing was made yet");
    };
    let Asked::Granted(claim) = Claim::ask(&bench.home(), &key, &run_id(7)).unwrap() else {
        panic!("nobody else is there");
    };
    let release = async {
        while bench.seen("nap").is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(bench.toys.0.done().is_empty());
        drop(claim);
    };
    let (report, ()) = tokio::join!(run(bench.request(node())), release);
    assert_eq!(report.unwrap().view.outcome, Some(RunOutcome::Done));
    let events = bench.events.lock().unwrap();
    let message = events.iter().find_map(|event| match &event.what {
        What::StepWaiting {
            message, made_by, ..
        } => Some((message.clone(), made_by.clone())),
        _ => None,
    });
    assert_eq!(
        message,
        Some((
            "step `nap` is being made by run 19700101-000000-0007, waiting".to_owned(),
            Some(run_id(7))
        ))
    );
}

#[tokio::test]
async fn a_waiting_run_can_be_stopped() {
    let bench = Bench::new();
    let node = || graph([toy("nap", "nap", Value::Null)]);
    let planned = crate::plan(&bench.home(), &node()).unwrap();
    let distill_pipeline::plan::PlanState::Miss { key, .. } = planned.steps[0].state else {
        panic!("nothing was made yet");
    };
    let asked = Claim::ask(&bench.home(), &key, &run_id(7)).unwrap();
    let request = bench.request(node());
    let cancel = request.cancel.clone();
    let stop = async {
        while bench.seen("nap").is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (report, ()) = tokio::join!(run(request), stop);
    assert_eq!(report.unwrap().view.outcome, Some(RunOutcome::Interrupted));
    drop(asked);
}

#[test]
fn a_claim_is_held_by_one_and_given_back() {
    let bench = Bench::new();
    let key = distill_pipeline::hash::Key(distill_pipeline::hash::ContentHash::of_bytes(b"k"));
    let ask = |salt| Claim::ask(&bench.home(), &key, &run_id(salt)).unwrap();
    let Asked::Granted(first) = ask(1) else {
        panic!("nobody else is there");
    };
    assert!(matches!(ask(2), Asked::Held { by: Some(by) } if by == run_id(1)));
    drop(first);
    assert!(matches!(ask(3), Asked::Granted(_)));
}

/// A thread that outlives its step keeps the work directory to itself.
#[tokio::test]
async fn a_context_keeps_the_claim() {
    let bench = Bench::new();
    let key = distill_pipeline::hash::Key(distill_pipeline::hash::ContentHash::of_bytes(b"k"));
    let ask = || Claim::ask(&bench.home(), &key, &run_id(1)).unwrap();
    let Asked::Granted(claim) = ask() else {
        panic!("nobody else is there");
    };
    let cancel = CancellationToken::new();
    let context = StepContext::new(run_id(1), "step", cancel, Arc::new(|_| {}));
    let context = context.holding(Arc::new(claim));
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let thread = {
        let context = context.clone();
        tokio::spawn(async move {
            context
                .blocking(move |_| {
                    let _ = wait.recv();
                    Ok(())
                })
                .await
        })
    };
    tokio::task::yield_now().await;
    drop(context);
    assert!(matches!(ask(), Asked::Held { .. }));
    drop(go);
    thread.await.unwrap().unwrap();
    assert!(matches!(ask(), Asked::Granted(_)));
}

#[tokio::test]
async fn the_first_record_stands() {
    let bench = Bench::new();
    let first = bench.run(graph([toy("throw", "dice", Value::Null)])).await;
    let key = first.view.step("throw").unwrap().key.unwrap();
    let home = bench.home();
    let record = home.read_action(&key).unwrap().unwrap();
    let late = ActionRecord {
        run: run_id(9),
        ..record.clone()
    };
    assert_eq!(home.publish_action(&late).unwrap(), Created::Before);
    assert_eq!(home.read_action(&key).unwrap().unwrap(), record);
}

/// Publishes a record for its own key while it runs, as a run on another machine might.
struct Overtaken {
    home: Home,
    record: Mutex<Option<ActionRecord>>,
}

impl StepRunner<Toy> for Overtaken {
    fn run(
        &self,
        work: Work<Toy>,
        _context: StepContext,
    ) -> BoxFuture<'_, Result<Outcome, StepFailure>> {
        Box::pin(async move {
            fs::write(work.output("text"), "ours").unwrap();
            if let Some(record) = self.record.lock().unwrap().take() {
                self.home.publish_action(&record).unwrap();
            }
            Ok(Outcome::default())
        })
    }
}

#[tokio::test]
async fn a_run_that_was_overtaken_takes_what_was_first_and_says_so() {
    let bench = Bench::new();
    let nodes = || {
        graph([
            toy("throw", "dice", Value::Null),
            reads(toy("shout", "shout", Value::Null), "throw"),
        ])
    };
    let first = bench.run(nodes()).await;
    let home = bench.home();
    let throw = first.view.step("throw").unwrap().clone();
    let record = home.read_action(&throw.key.unwrap()).unwrap();
    durable::remove(&home.action(&throw.key.unwrap())).unwrap();

    let mut request = bench.request(nodes());
    let record = Mutex::new(record);
    request.executor = Arc::new(LocalExecutor::new(Overtaken { home, record }));
    let second = run(request).await.unwrap();
    assert_eq!(second.view.step("throw").unwrap().outputs, throw.outputs);
    assert!(second.view.step("shout").unwrap().cached);
    assert!(bench.seen("throw").contains(&"record_kept".to_owned()));
}
