//! `distill runs`: the runs of this folder, newest first.

use std::process::ExitCode;

use distill_pipeline::record::RunState;
use distill_runner::{Clock as _, RunListing, SystemClock};
use serde_json::{Value, json};

use crate::{
    arguments::{Format, RunsArguments},
    environment,
    failure::Failure,
};

pub(crate) fn execute(arguments: &RunsArguments) -> Result<ExitCode, Failure> {
    let home = environment::home()?;
    let runs = distill_runner::list_runs(&home, SystemClock.now())
        .map_err(|error| Failure::failed("the runs cannot be read").caused_by(error))?;
    if arguments.format == Format::Json {
        let documents: Vec<_> = runs.iter().map(document).collect();
        println!(
            "{}",
            serde_json::to_string_pretty(&documents).expect("a listing serialises")
        );
        return Ok(ExitCode::SUCCESS);
    }
    if runs.is_empty() {
        eprintln!(
            "no runs in `{}` yet: start with `distill run pipelines/quickstart.yaml`",
            home.path().display()
        );
    }
    for RunListing { run, found } in runs {
        match found {
            Ok(found) => println!(
                "{run}  {:11}  {:>6.1} s  {:2}/{} steps, {} cached  {}",
                state(found.state),
                found.seconds,
                found.done,
                found.steps,
                found.cached,
                found.pipeline
            ),
            Err(problem) => println!("{run}  unreadable   {problem}"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn state(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Done => "done",
        RunState::Failed => "failed",
        RunState::Interrupted => "interrupted",
        RunState::Died => "died",
    }
}

fn document(listing: &RunListing) -> Value {
    match &listing.found {
        Ok(found) => json!({
            "run": listing.run,
            "pipeline": found.pipeline,
            "spec_path": found.spec_path,
            "started": found.started,
            "state": state(found.state),
            "seconds": found.seconds,
            "steps": found.steps,
            "done": found.done,
            "cached": found.cached,
        }),
        Err(problem) => json!({ "run": listing.run, "problem": problem }),
    }
}
