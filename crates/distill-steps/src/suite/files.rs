//! Results on disk: one file of records an answerer, and the summary.

use std::{
    fs,
    path::{Path, PathBuf},
};

use distill_runner::StepFailure;

use super::{Answers, Summary};
use crate::rows::{cannot_write, write_json, write_lines};

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
    let path = folder.join(SUMMARY);
    // All of it is on disk before any of the earlier results goes: a full disk leaves those whole.
    let mut ready = Vec::new();
    let written = write_beside(folder, summary, answers, &path, &mut ready);
    if let Err(failure) = written {
        for part in ready {
            // The failure that is told is the write's.
            let _ = fs::remove_file(part_of(&part));
        }
        return Err(failure);
    }
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
    for file in ready {
        fs::rename(part_of(&file), &file).map_err(|error| cannot_write(&file, error))?;
    }
    Ok(path)
}

/// Writes each file under the name of its part; `ready` lists the files that were begun.
fn write_beside(
    folder: &Path,
    summary: &Summary,
    answers: &[Answers],
    path: &Path,
    ready: &mut Vec<PathBuf>,
) -> Result<(), StepFailure> {
    for (facts, answers) in summary.answerers.iter().zip(answers) {
        let file = folder.join(&facts.samples);
        ready.push(file.clone());
        write_lines(&part_of(&file), &answers.records)?;
    }
    ready.push(path.to_owned());
    write_json(&part_of(path), summary)
}

fn part_of(file: &Path) -> PathBuf {
    file.with_added_extension("part")
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
