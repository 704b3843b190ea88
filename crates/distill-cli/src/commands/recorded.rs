//! A run that the user named, as it was recorded.

use distill_runner::{Clock as _, Home, RunReading, SystemClock};

use crate::failure::Failure;

/// Finds and reads a run by its id, the start or the end of it, or `latest`.
pub(crate) fn reading(home: &Home, text: &str) -> Result<RunReading, Failure> {
    let run = distill_runner::find_run(home, text).map_err(|error| {
        Failure::bad_input(format!("there is no run `{text}`"))
            .caused_by(error)
            .hint("`distill runs` lists them")
    })?;
    distill_runner::read_run(home, &run, SystemClock.now())
        .map_err(|error| Failure::failed(format!("run `{run}` cannot be read")).caused_by(error))
}
