//! Results on disk: one file of records an answerer, and the summary.

use std::{
    fs,
    path::{Path, PathBuf},
};

use distill_eval::SampleRecord;
use distill_runner::StepFailure;

use super::{Answers, Summary};
use crate::rows::{cannot_write, read_lines, write_json, write_lines};

/// The summary's file name.
const SUMMARY: &str = "summary.json";
const SAMPLES: &str = "samples";

/// Writes the records and the summary into `folder`, in place of the results of an earlier run.
/// Gives the summary's path.
///
/// # Errors
/// A [`StepFailure`] when the folder holds something else, or cannot be written.
pub fn write_results(
    folder: &Path,
    summary: &Summary,
    answers: &[Answers],
) -> Result<PathBuf, StepFailure> {
    check_folder(folder)?;
    let samples = folder.join(SAMPLES);
    fs::create_dir_all(&samples).map_err(|error| cannot_write(&samples, error))?;
    // An answerer that is not asked any more must not look as if it had been.
    for entry in fs::read_dir(&samples)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let path = entry.path();
        if path.extension().is_some_and(|ending| ending == "jsonl") {
            fs::remove_file(&path).map_err(|error| cannot_write(&path, error))?;
        }
    }
    for (facts, answers) in summary.answerers.iter().zip(answers) {
        write_lines(&folder.join(&facts.samples), &answers.records)?;
    }
    let path = folder.join(SUMMARY);
    write_json(&path, summary)?;
    Ok(path)
}

/// Whether results may be written into a folder: it is new, empty, or holds earlier results.
///
/// # Errors
/// A [`StepFailure`] when it holds something else.
pub fn check_folder(folder: &Path) -> Result<(), StepFailure> {
    let Ok(mut entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    if entries.next().is_none() || folder.join(SUMMARY).is_file() {
        return Ok(());
    }
    Err(StepFailure::bad_input(format!(
        "`{}` holds other files than results",
        folder.display()
    ))
    .hint("give a new or an empty folder: `--out FOLDER`"))
}

/// Reads a file of records.
///
/// # Errors
/// A [`StepFailure`] that names the file and the line.
pub fn read_records(path: &Path) -> Result<Vec<SampleRecord>, StepFailure> {
    if !path.is_file() {
        return Err(
            StepFailure::bad_input(format!("there is no file `{}`", path.display())).hint(
                "`distill eval run` writes one an answerer: samples/ANSWERER.jsonl in its folder of results",
            ),
        );
    }
    let records: Vec<SampleRecord> = read_lines(path)?;
    if records.is_empty() {
        return Err(StepFailure::bad_input(format!(
            "`{}` has no records",
            path.display()
        )));
    }
    Ok(records)
}
