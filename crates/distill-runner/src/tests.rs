//! The runner as its users meet it, with steps that are toys.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use distill_pipeline::graph::{Action, ArtifactKind, Graph, Resources, StepNode};
use distill_pipeline::record::{Event, RunOutcome, StepState, Timestamp, What};

use crate::{
    About, BoxFuture, Budget, Clock, Home, LocalExecutor, OnFailure, Outcome, RunReport,
    RunRequest, StepContext, StepFailure, StepRunner, Work, run,
};

mod explaining;
mod failing;
mod killing;
mod repeating;
mod sharing;
mod stopping;
mod store;
mod watching;

const TEXT: ArtifactKind = ArtifactKind::new("text");

/// A toy step: what it does is its kind.
#[derive(Debug, Clone, PartialEq)]
struct Toy {
    kind: &'static str,
    settings: Value,
}

impl Action for Toy {
    fn kind(&self) -> &'static str {
        self.kind
    }
    fn version(&self) -> u32 {
        1
    }
    fn settings(&self) -> Value {
        self.settings.clone()
    }
}

fn toy(name: &str, kind: &'static str, settings: Value) -> StepNode<Toy> {
    StepNode::new(name, Toy { kind, settings }).output("text", TEXT)
}

fn reads(node: StepNode<Toy>, step: &str) -> StepNode<Toy> {
    let port = format!("from-{}", node.inputs.len());
    node.input(port, TEXT, step, "text")
}

fn graph(nodes: impl IntoIterator<Item = StepNode<Toy>>) -> Graph<Toy> {
    Graph::build(nodes.into_iter().collect()).unwrap()
}

/// write → first word → shout, and beside it write → count.
fn words(text: &str) -> Graph<Toy> {
    graph([
        toy("write", "write", json!(text)),
        reads(toy("first", "first word", Value::Null), "write"),
        reads(toy("shout", "shout", Value::Null), "first"),
        reads(toy("count", "count", Value::Null), "write"),
    ])
}

/// Does toy steps, and remembers which.
#[derive(Default)]
struct Toys {
    done: Mutex<Vec<String>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    /// How many words a `slow write` still has patience for; each word is paid for once.
    patience: AtomicUsize,
    paid: AtomicUsize,
    /// Stops the latest run.
    stop: Mutex<CancellationToken>,
}

impl Toys {
    fn done(&self) -> Vec<String> {
        let mut done = self.done.lock().unwrap().clone();
        done.sort();
        done
    }
}

/// Shares toys between the test and the executor.
#[derive(Clone, Default)]
struct Shared(Arc<Toys>);

impl StepRunner<Toy> for Shared {
    fn run(
        &self,
        work: Work<Toy>,
        context: StepContext,
    ) -> BoxFuture<'_, Result<Outcome, StepFailure>> {
        Box::pin(async move {
            self.0.done.lock().unwrap().push(work.step.clone());
            let now = self.0.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.0.most_at_once.fetch_max(now, Ordering::SeqCst);
            let result = play(&self.0, &work, &context).await;
            self.0.at_once.fetch_sub(1, Ordering::SeqCst);
            result
        })
    }
}

async fn play(
    toys: &Toys,
    work: &Work<Toy>,
    context: &StepContext,
) -> Result<Outcome, StepFailure> {
    let read: Vec<String> = work
        .inputs
        .values()
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    let read = read.join(" ");
    let setting = || work.action.settings.as_str().unwrap_or_default().to_owned();
    let out = work.output("text");
    match work.action.kind {
        "write" => fs::write(out, setting()).unwrap(),
        "first word" => fs::write(out, read.split(' ').next().unwrap()).unwrap(),
        "shout" => fs::write(out, read.to_uppercase()).unwrap(),
        "count" => {
            let words = read.split(' ').count();
            context.progress(words as u64, Some(words as u64), "words");
            context.metric("words", words as f64, None);
            context.metric("loss", f64::NAN, Some(1));
            fs::write(out, words.to_string()).unwrap();
        }
        "folder" => {
            fs::create_dir_all(out.join("inner")).unwrap();
            fs::write(out.join("inner/b.txt"), setting()).unwrap();
            fs::write(out.join("a.txt"), "a").unwrap();
        }
        // Two runs of this never agree.
        "dice" => {
            static THROWS: AtomicU64 = AtomicU64::new(0);
            let throw = THROWS.fetch_add(1, Ordering::SeqCst);
            fs::write(out, throw.to_string()).unwrap();
        }
        "nap" => {
            tokio::time::sleep(Duration::from_millis(30)).await;
            fs::write(out, "rested").unwrap();
        }
        "slow write" => return slow_write(toys, work),
        "wait" => {
            fs::write(out, "half").unwrap();
            context.cancel().cancelled().await;
            return Err(StepFailure::interrupted());
        }
        "stubborn" => std::future::pending().await,
        "forget" => {}
        // Fails while another step is running.
        "fail beside" => {
            while toys.at_once.load(Ordering::SeqCst) < 2 {
                tokio::task::yield_now().await;
            }
            return Err(StepFailure::failed("it failed"));
        }
        "panic" => panic!("the toy broke"),
        "fail" => {
            let cause = std::io::Error::other("the inner cause");
            return Err(StepFailure::bad_input("no column `text`")
                .at("train.csv", Some(1))
                .caused_by(cause)
                .hint("name the column in `data`"));
        }
        "meddle" => {
            let source = work.input("source");
            fs::write(source, "changed underneath").unwrap();
            fs::write(out, "done").unwrap();
        }
        other => panic!("no such toy: {other}"),
    }
    let facts = json!({ "bytes_read": read.len() });
    Ok(Outcome { facts })
}

/// Writes its setting word by word, keeping each word in the work directory as it is paid for.
fn slow_write(toys: &Toys, work: &Work<Toy>) -> Result<Outcome, StepFailure> {
    let text = work.action.settings.as_str().unwrap();
    for (place, word) in text.split(' ').enumerate() {
        let kept = work.work_dir.join(place.to_string());
        if kept.exists() {
            continue;
        }
        let patience = &toys.patience;
        if patience.load(Ordering::SeqCst) == 0 {
            toys.stop.lock().unwrap().cancel();
            return Err(StepFailure::interrupted());
        }
        patience.fetch_sub(1, Ordering::SeqCst);
        toys.paid.fetch_add(1, Ordering::SeqCst);
        fs::write(kept, word).unwrap();
    }
    fs::write(work.output("text"), text).unwrap();
    Ok(Outcome::default())
}

/// A clock that the test sets.
struct FakeClock(AtomicU64);

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A directory of state with toys to run in it.
struct Bench {
    directory: tempfile::TempDir,
    toys: Shared,
    clock: Arc<FakeClock>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Bench {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            toys: Shared::default(),
            clock: Arc::new(FakeClock(AtomicU64::new(1_769_850_307_000))),
            events: Arc::default(),
        }
    }

    fn home(&self) -> Home {
        Home::open(self.directory.path().join(".state")).unwrap()
    }

    /// Gives a path outside the directory of state, as a user's file would have.
    fn outside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn request(&self, graph: Graph<Toy>) -> RunRequest<Toy> {
        let about = About {
            pipeline: "words".to_owned(),
            version: "0.1.0".to_owned(),
            ..About::default()
        };
        let executor = LocalExecutor::new(self.toys.clone());
        let mut request = RunRequest::new(self.home(), graph, executor, about);
        request.clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        request.budget.cpu = 2;
        *self.toys.0.stop.lock().unwrap() = request.cancel.clone();
        let events = Arc::clone(&self.events);
        request.observer = Arc::new(move |event| events.lock().unwrap().push(event.clone()));
        request
    }

    async fn run(&self, graph: Graph<Toy>) -> RunReport {
        self.clock.0.fetch_add(1000, Ordering::SeqCst);
        run(self.request(graph)).await.unwrap()
    }

    /// Runs, and tells which steps were really done.
    async fn done_by(&self, graph: Graph<Toy>) -> Vec<String> {
        self.toys.0.done.lock().unwrap().clear();
        let report = self.run(graph).await;
        assert_eq!(report.view.outcome, Some(RunOutcome::Done));
        self.toys.0.done()
    }

    /// Gives the types of the events seen so far that are about `step`.
    fn seen(&self, step: &str) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let about = events
            .iter()
            .filter(|event| event.what.step() == Some(step));
        about.map(kind).collect()
    }

    fn output(&self, report: &RunReport, step: &str) -> String {
        let hash = report.view.step(step).unwrap().outputs["text"].hash;
        fs::read_to_string(self.home().artifact(&hash)).unwrap()
    }
}

fn kind(event: &Event) -> String {
    let json = serde_json::to_value(event).unwrap();
    json["type"].as_str().unwrap().to_owned()
}

fn states(report: &RunReport) -> BTreeMap<&str, StepState> {
    let steps = report.view.steps.iter();
    steps.map(|step| (step.name.as_str(), step.state)).collect()
}

fn reason<'a>(report: &'a RunReport, step: &str) -> &'a str {
    let step = report.view.step(step).unwrap();
    step.reason.as_deref().unwrap_or_default()
}
