//! Readers of the runs that a directory of state holds.

use std::fs;
use std::io;

use distill_pipeline::record::{Event, RunHeader, RunId, RunState, RunView, StepState, Timestamp};

use crate::durable;
use crate::events::EventReader;
use crate::heartbeat;
use crate::home::{Home, StoreError};

/// Everything there is to know of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunReading {
    pub header: RunHeader,
    pub view: RunView,
    pub state: RunState,
    pub events: Vec<Event>,
    /// The log ends in the middle of a line: the run was killed while it wrote, or writes now.
    pub torn: bool,
}

/// One run in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct RunListing {
    pub run: RunId,
    /// Or why it cannot be read; one broken run hides no other.
    pub found: Result<ListedRun, String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ListedRun {
    pub pipeline: String,
    pub spec_path: Option<String>,
    pub started: Timestamp,
    pub state: RunState,
    pub seconds: f64,
    pub steps: usize,
    pub done: usize,
    /// Of those done, how many did not have to run.
    pub cached: usize,
}

/// Reads a run as it stands now.
pub fn read_run(home: &Home, run: &RunId, now: Timestamp) -> Result<RunReading, StoreError> {
    let directory = home.run_dir(run);
    let path = directory.join("run.json");
    let text = fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if !directory.exists() => StoreError::NoRun {
            text: run.to_string(),
        },
        _ => StoreError::io("read", &path)(error),
    })?;
    let header: RunHeader =
        serde_json::from_slice(&text).map_err(|source| StoreError::Malformed {
            what: "run header",
            path,
            line: None,
            source,
        })?;
    let mut reader = EventReader::open(home, run)?;
    let events = reader.poll()?;
    let mut view = RunView::new(&header);
    for event in &events {
        view.apply(event);
    }
    let state = view.state(now, heartbeat::last_beat(&directory));
    Ok(RunReading {
        header,
        view,
        state,
        events,
        torn: reader.torn(),
    })
}

/// Lists the runs, the newest first.
pub fn list_runs(home: &Home, now: Timestamp) -> Result<Vec<RunListing>, StoreError> {
    let ids = run_ids(home)?;
    let listings = ids.into_iter().rev().map(|run| {
        let found = match read_run(home, &run, now) {
            Ok(reading) => Ok(ListedRun::of(&reading)),
            Err(error) => Err(error.to_string()),
        };
        RunListing { run, found }
    });
    Ok(listings.collect())
}

impl ListedRun {
    fn of(reading: &RunReading) -> Self {
        let done = || reading.view.in_state(StepState::Done);
        Self {
            pipeline: reading.header.pipeline.clone(),
            spec_path: reading.header.spec_path.clone(),
            started: reading.header.started,
            state: reading.state,
            seconds: reading.view.seconds,
            steps: reading.view.steps.len(),
            done: done().count(),
            cached: done().filter(|step| step.cached).count(),
        }
    }
}

/// Finds the run that a person means: `latest`, a whole id, or the beginning or end of one.
pub fn find_run(home: &Home, text: &str) -> Result<RunId, StoreError> {
    let ids = run_ids(home)?;
    let none = || StoreError::NoRun {
        text: text.to_owned(),
    };
    if text == "latest" {
        return ids.last().cloned().ok_or_else(none);
    }
    let matches: Vec<&RunId> = ids
        .iter()
        .filter(|run| run.as_str().starts_with(text) || run.as_str().ends_with(text))
        .collect();
    match matches[..] {
        _ if text.is_empty() => Err(none()),
        [] => Err(none()),
        [one] => Ok(one.clone()),
        _ => Err(StoreError::AmbiguousRun {
            text: text.to_owned(),
            matches: matches.iter().map(ToString::to_string).collect(),
        }),
    }
}

/// Gives the ids of all runs, the oldest first.
fn run_ids(home: &Home) -> Result<Vec<RunId>, StoreError> {
    let mut ids: Vec<RunId> = durable::entries(&home.runs())?
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
        .collect();
    ids.sort();
    Ok(ids)
}
