//! How a run begins: its directory, header, log and heartbeat.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use distill_pipeline::graph::{Action, Graph};
use distill_pipeline::record::{RunHeader, RunId, RunView, StepHeader, Timestamp};

use super::{About, Phase, Place, RunError, RunRequest, Scheduler, Shop, Slots, Thinned};
use crate::durable;
use crate::events::EventLog;
use crate::heartbeat::Heartbeat;
use crate::home::{Home, StoreError};

impl<A: Action + Clone + Send + Sync + 'static> Scheduler<A> {
    pub(super) fn open(request: RunRequest<A>) -> Result<Self, RunError> {
        let started = request.clock.now();
        let (run, directory) = new_run(&request.home, started)?;
        let pipeline = request.about.pipeline.clone();
        let header = header(run.clone(), started, request.about, &request.graph);
        let path = directory.join("run.json");
        let text = serde_json::to_vec_pretty(&header).expect("a header is always JSON");
        durable::replace(&path, &text)?;
        let log = EventLog::create(&directory)?;
        let heartbeat = Heartbeat::start(&directory, Arc::clone(&request.clock))?;
        let (sender, said) = mpsc::unbounded_channel();
        let shop = Shop {
            home: request.home,
            executor: request.executor,
            run,
            pipeline,
            clock: Arc::clone(&request.clock),
            cancel: request.cancel.child_token(),
            said: sender,
        };
        Ok(Self {
            shop: Arc::new(shop),
            view: RunView::new(&header),
            header,
            log,
            observer: request.observer,
            clock: request.clock,
            places: places(&request.graph),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            said,
            slots: Slots::new(request.budget),
            on_failure: request.on_failure,
            asked_to_stop: request.cancel,
            grace: request.grace,
            deadline: None,
            failed: None,
            begun: Instant::now(),
            _heartbeat: heartbeat,
        })
    }
}

/// Makes the directory of a run whose id nobody has.
fn new_run(home: &Home, started: Timestamp) -> Result<(RunId, PathBuf), StoreError> {
    // Runs of one second must sort by time too, or `latest` would be a guess: the salt opens with
    // the milliseconds.
    let milliseconds = ((started.millis() % 1000) as u16) << 6;
    let mut taken = false;
    loop {
        // The standard library's own random state: different in every process and every call.
        let random = RandomState::new().hash_one(std::process::id()) as u16;
        let salt = if taken {
            random
        } else {
            milliseconds | (random & 0x3f)
        };
        let run = RunId::new(started, salt);
        let directory = home.run_dir(&run);
        match fs::create_dir(&directory) {
            Ok(()) => return Ok((run, directory)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken = true,
            Err(error) => return Err(StoreError::io("create", &directory)(error)),
        }
    }
}

fn header<A: Action>(run: RunId, started: Timestamp, about: About, graph: &Graph<A>) -> RunHeader {
    let steps = graph.steps().map(|step| StepHeader {
        name: step.name.clone(),
        kind: step.action.kind().to_owned(),
        needs: step.needs().into_iter().map(str::to_owned).collect(),
    });
    RunHeader {
        run,
        pipeline: about.pipeline,
        spec_path: about.spec_path,
        spec_text: about.spec_text,
        plan: graph.fingerprint(),
        version: about.version,
        argv: about.argv,
        started,
        steps: steps.collect(),
    }
}

fn places<A: Clone>(graph: &Graph<A>) -> Vec<Place<A>> {
    let order: BTreeMap<&str, usize> = graph
        .steps()
        .enumerate()
        .map(|(place, step)| (step.name.as_str(), place))
        .collect();
    let places = graph.steps().map(|step| Place {
        node: Arc::new(step.clone()),
        needs: step.needs().into_iter().map(|need| order[need]).collect(),
        phase: Phase::Pending,
        outputs: BTreeMap::new(),
        progress: Thinned::default(),
    });
    places.collect()
}
