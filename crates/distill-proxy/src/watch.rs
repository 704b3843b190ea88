//! What watches beside the requests and never holds one up: spend, the models' lives, their quality,
//! and the one place where alerts go.
//!
//! **Start reading** at [`Watch::start`]; questions about spend are in `spend`, what becomes of targets
//! in `targets`, messages for people in [`Alerts`] and `webhook`.

mod alerts;
mod file;
mod quality;
mod spend;
mod targets;
mod webhook;

use std::{pin::Pin, sync::Arc, time::Duration};

use distill_ledger::{Clock, Ledger, LedgerEvent};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinHandle,
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{config::Config, route::RouteTable, server::Live};

pub use alerts::{Alert, Alerts, Tell};
pub use file::FileWatch;
pub use quality::{Against, Score, Standing, fact_name, judge};
pub use spend::{Spend, question_message};
pub use targets::Targets;
pub use webhook::Poster;

/// Measures the quality of every route's members and puts it on record; says in a word why it runs.
pub type Measure =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// What a watch is made of.
pub struct Watching {
    pub ledger: Ledger,
    /// The configuration that answers now.
    pub live: Arc<dyn Fn() -> Arc<Live> + Send + Sync>,
    pub alerts: Alerts,
    pub poster: Poster,
    pub clock: Clock,
    /// `None`: quality is measured from outside only.
    pub measure: Option<Measure>,
}

/// The tasks that watch.
#[derive(Debug)]
pub struct Watch {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// How often what has no event of its own is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often sunsets and quality are looked at, in looks.
const SELDOM: u64 = 60;

impl Watch {
    /// Starts to watch.
    pub fn start(watching: Watching) -> Self {
        let stop = CancellationToken::new();
        let events = watching.ledger.subscribe();
        let task = tokio::spawn(watch(watching, events, stop.clone()));
        Self { stop, task }
    }

    /// Ends it; what is being posted is left to its own bound.
    pub async fn close(self) {
        self.stop.cancel();
        // A task that panicked has nothing left to end.
        let _ = self.task.await;
    }
}

async fn watch(watching: Watching, mut events: Receiver<LedgerEvent>, stop: CancellationToken) {
    let mut spend = Spend::new(watching.ledger.clone(), watching.clock.clone());
    let targets = Targets::new(watching.alerts.clone(), watching.clock.clone());
    let mut measuring = Measuring::new(&watching);
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = 0_u64;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            event = events.recv() => match event {
                Ok(event) => {
                    spend.hears(&event);
                    if let LedgerEvent::ModelChanged(change) = &event {
                        targets.model_changed(change);
                        let config = &(watching.live)().config;
                        if config.quality.on_change {
                            measuring.ask(format!("`{}` changed", change.target));
                        }
                    }
                }
                // What was missed is on record: windows are made anew from there.
                Err(RecvError::Lagged(_)) => spend.forget(),
                Err(RecvError::Closed) => return,
            },
            _ = look.tick() => {
                let live = (watching.live)();
                ask_about_spend(&watching, &mut spend, &live.config).await;
                if looks.is_multiple_of(SELDOM) {
                    targets.sunsets(&live.config);
                    apply_quality(&watching, &live.config, &live.routes, &targets).await;
                }
                measuring.look(&live.config);
                looks += 1;
            }
        }
    }
}

async fn ask_about_spend(watching: &Watching, spend: &mut Spend, config: &Config) {
    if !config.spend.is_on() {
        return;
    }
    let failed = |error: distill_ledger::LedgerError| {
        watching.alerts.raise(
            "spend",
            "spend",
            format!("questions about spend cannot be kept: {error}"),
        );
    };
    match spend.check(config).await {
        Ok(questions) => {
            for question in questions {
                let (to, message) = question_message(&question, config);
                watching.alerts.note("spend", question.wording.clone());
                if let Some(to) = to {
                    watching.poster.post("a question about spend", to, message);
                }
            }
        }
        Err(error) => failed(error),
    }
    match spend.overdue(config).await {
        Ok(answered) => {
            for question in answered {
                let wording = spend::default_wording(&question);
                watching.alerts.note("spend", wording.clone());
                if let (Some(to), _) = question_message(&question, config) {
                    let message = serde_json::json!({"text": webhook::escaped(&wording)});
                    watching.poster.post("an answer by default", to, message);
                }
            }
        }
        Err(error) => failed(error),
    }
}

async fn apply_quality(
    watching: &Watching,
    config: &Config,
    routes: &RouteTable,
    targets: &Targets,
) {
    match watching.ledger.records().facts(None, None).await {
        Ok(facts) => targets.quality(config, routes, &facts),
        Err(error) => {
            watching.alerts.raise(
                "quality",
                "quality",
                format!("scores of targets cannot be read: {error}"),
            );
        }
    }
}

/// Measurements of quality: one at a time, on a schedule or when something changed.
struct Measuring {
    measure: Option<Measure>,
    alerts: Alerts,
    clock: Clock,
    running: Option<JoinHandle<Result<(), String>>>,
    asked: Option<String>,
    last_ms: i64,
}

impl Measuring {
    fn new(watching: &Watching) -> Self {
        Self {
            measure: watching.measure.clone(),
            alerts: watching.alerts.clone(),
            clock: watching.clock.clone(),
            running: None,
            asked: None,
            // The first measurement comes an interval after the start: a process that is started
            // again and again does not measure each time.
            last_ms: watching.clock.now_ms(),
        }
    }

    fn ask(&mut self, why: String) {
        self.asked.get_or_insert(why);
    }

    fn look(&mut self, config: &Config) {
        if let Some(running) = &mut self.running {
            if !running.is_finished() {
                return;
            }
            // It has ended, so this is ready at once.
            let ended = futures_util::FutureExt::now_or_never(running);
            self.running = None;
            if let Some(Ok(Err(problem))) = ended {
                self.alerts.raise(
                    "measure",
                    "quality",
                    format!("measuring quality failed: {problem}"),
                );
            }
        }
        let now_ms = self.clock.now_ms();
        if let Some(every) = config.quality.every
            && now_ms - self.last_ms >= every.as_millis() as i64
        {
            self.ask("on schedule".to_owned());
        }
        if let (Some(measure), Some(why)) = (&self.measure, self.asked.take()) {
            self.last_ms = now_ms;
            self.running = Some(tokio::spawn(measure(why)));
        }
    }
}
