//! The scheduler: one loop over a closed set of happenings.
//!
//! A step goes Pending → Preparing (key, lookup, claim) → done by a hit, or Queued for resources →
//! Running → Ended. Tasks do what takes time; only the loop decides, writes the event log and holds
//! the state, so there is nothing to lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use distill_pipeline::graph::{Action, Graph, Source, StepNode};
use distill_pipeline::hash::ContentHash;
use distill_pipeline::record::{
    ActionRecord, Event, FailureKind, OutputRecord, RunHeader, RunOutcome, RunView, What,
};

use crate::clock::{Clock, SystemClock};
use crate::events::EventLog;
use crate::executor::Executor;
use crate::heartbeat::Heartbeat;
use crate::home::{Home, StoreError};
use crate::step::StepFailure;

mod budget;
mod open;
mod said;
mod task;

pub use budget::Budget;

use budget::Slots;
use said::{Said, Thinned};
use task::{Prepared, Ready, Shop};

/// Sees every event after it was logged, in order. Must not block.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// A run to do.
pub struct RunRequest<A> {
    pub home: Home,
    pub graph: Graph<A>,
    pub executor: Arc<dyn Executor<A>>,
    pub about: About,
    pub budget: Budget,
    pub on_failure: OnFailure,
    /// Cancel it to stop the run so that the next one goes on from there.
    pub cancel: CancellationToken,
    /// How long steps have to stop after cancellation.
    pub grace: Duration,
    pub clock: Arc<dyn Clock>,
    pub observer: Observer,
}

impl<A> RunRequest<A> {
    /// Asks for a run with the defaults: all cores, ten seconds of grace, nobody watching.
    pub fn new(
        home: Home,
        graph: Graph<A>,
        executor: impl Executor<A> + 'static,
        about: About,
    ) -> Self {
        Self {
            home,
            graph,
            executor: Arc::new(executor),
            about,
            budget: Budget::default(),
            on_failure: OnFailure::default(),
            cancel: CancellationToken::new(),
            grace: Duration::from_secs(10),
            clock: Arc::new(SystemClock),
            observer: Arc::new(|_| {}),
        }
    }
}

/// What the header of a run says of where it came from; none of it enters a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    pub pipeline: String,
    /// The spec's path as the user typed it.
    pub spec_path: Option<String>,
    pub spec_text: Option<String>,
    /// Version of the program.
    pub version: String,
    pub argv: Vec<String>,
}

/// What happens to the other steps when one fails. Its dependents are skipped in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Running steps finish, no further step is run.
    #[default]
    FinishRunning,
    /// Every step that does not need the failed one is done.
    KeepGoing,
    /// Running steps are stopped as if the run were interrupted.
    Cancel,
}

/// A run that ended by itself, well or not: `view.outcome` says how.
#[derive(Debug, Clone, PartialEq)]
pub struct RunReport {
    pub header: RunHeader,
    pub view: RunView,
}

/// A run that could not be kept. A failing step is no such error; it stands in the report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("could not keep the record of the run")]
    Store(#[from] StoreError),
}

impl RunError {
    /// Says what to do next.
    pub fn hint(&self) -> Option<String> {
        let Self::Store(error) = self;
        error.hint()
    }
}

/// Does every step that is not done yet.
///
/// Dropping the future stops the run as a kill would: what was published stays, the next run goes
/// on from there.
pub async fn run<A>(request: RunRequest<A>) -> Result<RunReport, RunError>
where
    A: Action + Clone + Send + Sync + 'static,
{
    let mut scheduler = Scheduler::open(request)?;
    match scheduler.work().await {
        Ok(()) => Ok(RunReport {
            header: scheduler.header,
            view: scheduler.view,
        }),
        Err(error) => {
            // Without a log nobody would know what the steps did: stop them in good order.
            scheduler.shop.cancel.cancel();
            let all = async { while scheduler.tasks.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(scheduler.grace, all).await;
            Err(error)
        }
    }
}

struct Scheduler<A> {
    shop: Arc<Shop<A>>,
    header: RunHeader,
    view: RunView,
    log: EventLog,
    observer: Observer,
    clock: Arc<dyn Clock>,
    /// In the order of the plan.
    places: Vec<Place<A>>,
    tasks: JoinSet<Ended>,
    running: HashMap<Id, usize>,
    said: mpsc::UnboundedReceiver<(usize, Said)>,
    slots: Slots,
    on_failure: OnFailure,
    /// The caller's own token; `shop.cancel` is its child.
    asked_to_stop: CancellationToken,
    grace: Duration,
    /// When the grace period ends; set once the run is being stopped.
    deadline: Option<tokio::time::Instant>,
    /// The first step that failed.
    failed: Option<String>,
    begun: Instant,
    _heartbeat: Heartbeat,
}

/// One step and where it is on its way.
struct Place<A> {
    node: Arc<StepNode<A>>,
    needs: Vec<usize>,
    phase: Phase,
    outputs: BTreeMap<String, OutputRecord>,
    progress: Thinned,
}

enum Phase {
    Pending,
    Preparing,
    Queued(Box<Ready>),
    Running,
    /// Its outputs are in the store.
    Done,
    /// Failed, skipped or interrupted: its dependents cannot run. The word says which.
    Ended(&'static str),
}

/// What a task ended with.
enum Ended {
    Prepared(Result<Prepared, StepFailure>),
    Executed(Result<Box<ActionRecord>, StepFailure>),
}

/// Everything that can happen to a run.
enum Happening {
    Said(usize, Said),
    Ended(usize, Ended),
    Cancelled,
    GraceOver,
}

impl<A: Action + Clone + Send + Sync + 'static> Scheduler<A> {
    async fn work(&mut self) -> Result<(), RunError> {
        let what = What::RunStarted {
            run: self.header.run.clone(),
            pipeline: self.header.pipeline.clone(),
        };
        self.record(what)?;
        loop {
            self.start_what_can()?;
            if self.tasks.is_empty() {
                break;
            }
            match self.next().await {
                Happening::Said(place, said) => self.hear(place, said)?,
                Happening::Ended(place, ended) => {
                    self.hear_all()?;
                    self.end(place, ended)?;
                }
                Happening::Cancelled => {
                    self.deadline = Some(tokio::time::Instant::now() + self.grace);
                }
                Happening::GraceOver => {
                    self.hear_all()?;
                    self.give_up()?;
                    break;
                }
            }
        }
        self.close()
    }

    async fn next(&mut self) -> Happening {
        let deadline = self.deadline;
        let grace_over = async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some((place, said)) = self.said.recv() => Happening::Said(place, said),
            Some(joined) = self.tasks.join_next_with_id() => self.joined(joined),
            () = self.shop.cancel.cancelled(), if deadline.is_none() => Happening::Cancelled,
            () = grace_over => Happening::GraceOver,
        }
    }

    fn joined(&mut self, joined: Result<(Id, Ended), JoinError>) -> Happening {
        let (id, ended) = match joined {
            Ok((id, ended)) => (id, Ok(ended)),
            Err(error) => (error.id(), Err(error)),
        };
        let place = self.running.remove(&id).expect("every task has its step");
        let ended = ended.unwrap_or_else(|error| {
            let step = &self.places[place].node.name;
            let failure = match error.try_into_panic() {
                Ok(panic) => StepFailure::bug(format!("step `{step}` panicked: {}", text(&*panic)))
                    .hint("this is a fault of the program; please report it with this message"),
                Err(_) => StepFailure::interrupted(),
            };
            Ended::Executed(Err(failure))
        });
        Happening::Ended(place, ended)
    }

    /// Starts every step whose time has come, in the order of the plan.
    fn start_what_can(&mut self) -> Result<(), RunError> {
        for place in 0..self.places.len() {
            if self.shop.cancel.is_cancelled() {
                return Ok(());
            }
            match self.places[place].phase {
                Phase::Pending => {
                    if let Some(reason) = self.blocked(place) {
                        self.skip(place, reason)?;
                    } else if self.ready(place) {
                        self.prepare(place);
                    }
                }
                Phase::Queued(_) => match (&self.failed, self.on_failure) {
                    (None, _) | (_, OnFailure::KeepGoing) => self.execute(place)?,
                    (Some(failed), _) => {
                        let reason = format!("not started because step `{failed}` failed");
                        self.skip(place, reason)?;
                    }
                },
                _ => {}
            }
        }
        Ok(())
    }

    fn ready(&self, place: usize) -> bool {
        let mut needs = self.places[place].needs.iter();
        needs.all(|need| matches!(self.places[*need].phase, Phase::Done))
    }

    /// Says why a step can never run, if a step that it needs has ended badly.
    fn blocked(&self, place: usize) -> Option<String> {
        self.places[place].needs.iter().find_map(|need| {
            let need = &self.places[*need];
            match need.phase {
                Phase::Ended(how) => Some(format!("needs step `{}`, which {how}", need.node.name)),
                _ => None,
            }
        })
    }

    fn skip(&mut self, place: usize, reason: String) -> Result<(), RunError> {
        self.places[place].phase = Phase::Ended("was skipped");
        let step = self.places[place].node.name.clone();
        self.record(What::StepSkipped { step, reason })
    }

    fn prepare(&mut self, place: usize) {
        let node = Arc::clone(&self.places[place].node);
        let made = self.made_inputs(&node);
        let shop = Arc::clone(&self.shop);
        let task = async move { Ended::Prepared(task::prepare(&shop, place, &node, made).await) };
        self.spawn(place, task);
        self.places[place].phase = Phase::Preparing;
    }

    /// Gives the content of every input that another step has made.
    fn made_inputs(&self, node: &StepNode<A>) -> BTreeMap<String, ContentHash> {
        let inputs = node.inputs.iter().filter_map(|input| match &input.from {
            Source::File { .. } => None,
            Source::Step { step, output } => {
                let made = self.places.iter().find(|place| place.node.name == *step);
                let made = &made.expect("the graph's names are resolved").outputs[output];
                Some((input.port.clone(), made.hash))
            }
        });
        inputs.collect()
    }

    fn execute(&mut self, place: usize) -> Result<(), RunError> {
        let step = &mut self.places[place];
        if !self.slots.take(&step.node.resources) {
            return Ok(());
        }
        let Phase::Queued(ready) = std::mem::replace(&mut step.phase, Phase::Running) else {
            unreachable!("only a queued step is executed");
        };
        let node = Arc::clone(&step.node);
        self.record(What::StepStarted {
            step: node.name.clone(),
            key: ready.key,
            because: ready.because.clone(),
        })?;
        let shop = Arc::clone(&self.shop);
        let task = async move { Ended::Executed(task::execute(&shop, place, &node, *ready).await) };
        self.spawn(place, task);
        Ok(())
    }

    fn spawn(&mut self, place: usize, task: impl Future<Output = Ended> + Send + 'static) {
        let handle = self.tasks.spawn(task);
        self.running.insert(handle.id(), place);
    }

    fn end(&mut self, place: usize, ended: Ended) -> Result<(), RunError> {
        if matches!(self.places[place].phase, Phase::Running) {
            self.slots.give(&self.places[place].node.resources);
            if let Some(what) = self.places[place].progress.rest() {
                self.record(what)?;
            }
        }
        match ended {
            Ended::Prepared(Ok(Prepared::Hit(record))) => self.finish(place, *record, true),
            Ended::Prepared(Ok(Prepared::Ready(ready))) => {
                self.places[place].phase = Phase::Queued(ready);
                Ok(())
            }
            Ended::Executed(Ok(record)) => self.finish(place, *record, false),
            Ended::Prepared(Err(failure)) | Ended::Executed(Err(failure)) => {
                self.fail(place, &failure)
            }
        }
    }

    fn finish(&mut self, place: usize, record: ActionRecord, hit: bool) -> Result<(), RunError> {
        let step = &mut self.places[place];
        step.phase = Phase::Done;
        step.outputs.clone_from(&record.outputs);
        let what = What::StepFinished {
            step: step.node.name.clone(),
            key: record.key,
            cached: hit,
            made_by: record.run,
            seconds: record.seconds,
            outputs: record.outputs,
            facts: record.facts,
        };
        self.record(what)?;
        if !hit {
            self.log.sync()?;
        }
        Ok(())
    }

    fn fail(&mut self, place: usize, failure: &StepFailure) -> Result<(), RunError> {
        let step = self.places[place].node.name.clone();
        if failure.kind == FailureKind::Interrupted && self.shop.cancel.is_cancelled() {
            self.places[place].phase = Phase::Ended("was interrupted");
            let message = failure.message.clone();
            return self.record(What::StepInterrupted { step, message });
        }
        self.places[place].phase = Phase::Ended("failed");
        self.failed.get_or_insert_with(|| step.clone());
        if self.on_failure == OnFailure::Cancel {
            self.shop.cancel.cancel();
        }
        let failure = failure.record();
        self.record(What::StepFailed { step, failure })
    }

    /// Leaves the steps that did not stop in time to themselves.
    fn give_up(&mut self) -> Result<(), RunError> {
        self.tasks.abort_all();
        for place in 0..self.places.len() {
            if matches!(self.places[place].phase, Phase::Running | Phase::Preparing) {
                let step = self.places[place].node.name.clone();
                let seconds = self.grace.as_secs_f64();
                let message = format!("did not stop within {seconds} s of being asked to");
                self.places[place].phase = Phase::Ended("was interrupted");
                self.record(What::StepInterrupted { step, message })?;
            }
        }
        Ok(())
    }

    /// Writes the last lines.
    fn close(&mut self) -> Result<(), RunError> {
        let all_done = self
            .places
            .iter()
            .all(|place| matches!(place.phase, Phase::Done));
        let outcome = if all_done {
            RunOutcome::Done
        } else if self.asked_to_stop.is_cancelled() {
            RunOutcome::Interrupted
        } else {
            RunOutcome::Failed
        };
        if let (RunOutcome::Failed, Some(failed)) = (outcome, self.failed.clone()) {
            for place in 0..self.places.len() {
                if matches!(self.places[place].phase, Phase::Pending | Phase::Queued(_)) {
                    let reason = format!("not started because step `{failed}` failed");
                    self.skip(place, reason)?;
                }
            }
        }
        let seconds = self.begun.elapsed().as_secs_f64();
        self.record(What::RunFinished { outcome, seconds })?;
        self.log.sync()?;
        Ok(())
    }

    fn hear_all(&mut self) -> Result<(), RunError> {
        while let Ok((place, said)) = self.said.try_recv() {
            self.hear(place, said)?;
        }
        Ok(())
    }

    fn hear(&mut self, place: usize, said: Said) -> Result<(), RunError> {
        let step = &mut self.places[place];
        // A thread that outlived its step may still be talking.
        if !matches!(step.phase, Phase::Preparing | Phase::Running) {
            return Ok(());
        }
        let what = said.into_what(&step.node.name);
        match step.progress.thin(what) {
            Some(what) => self.record(what),
            None => Ok(()),
        }
    }

    fn record(&mut self, what: What) -> Result<(), RunError> {
        let event = Event {
            at: self.clock.now(),
            what,
        };
        self.log.append(&event)?;
        self.view.apply(&event);
        (self.observer)(&event);
        Ok(())
    }
}

/// Gives the message of a panic, as far as it has one.
fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
