//! What the records of a report hashed to when they were written.
//!
//! Most figures are taken from the records, and a few from the steps that made them: a judge's
//! agreement with people, the times of a load. A record that somebody changed would change the one
//! and not the other, so that a report made again would contradict itself without saying so. The
//! evidence is taken whole, then, or not at all.

use std::{collections::BTreeMap, path::Path};

use distill_pipeline::hash::ContentHash;
use distill_runner::StepFailure;

use super::{Study, folder::file};

/// The content hash of each arm's file of records, by the file's name.
pub(crate) type Seal = BTreeMap<String, String>;

/// Of the files as they lie in `folder`.
///
/// # Errors
/// A [`StepFailure`] that names the file.
pub(crate) fn seal(folder: &Path, study: &Study) -> Result<Seal, StepFailure> {
    study
        .arms
        .iter()
        .map(|arm| {
            let path = file(folder, arm);
            let bytes = std::fs::read(&path).map_err(|error| {
                StepFailure::failed(format!("cannot read `{}`", path.display())).caused_by(error)
            })?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Ok((name.into_owned(), ContentHash::of_bytes(&bytes).to_string()))
        })
        .collect()
}

/// Holds the files in `folder` against their seal. Evidence without one is of an earlier version and
/// is taken as it is.
///
/// # Errors
/// A [`StepFailure`] that names the file that is another than was written.
pub(crate) fn unbroken(folder: &Path, study: &Study, sealed: &Seal) -> Result<(), StepFailure> {
    if sealed.is_empty() {
        return Ok(());
    }
    let found = seal(folder, study)?;
    let changed = found
        .iter()
        .find(|(name, hash)| sealed.get(*name) != Some(hash));
    let Some((name, _)) = changed else {
        return Ok(());
    };
    Err(StepFailure::bad_input(format!(
        "`{}` was changed after the run wrote it, so a report made of it would not be the run's",
        folder.join(name).display()
    ))
    .hint("`distill report RUN --samples DIR` copies the evidence again; to correct a reference answer, correct it in the data or in `evals.human` and run again: only what changed is done anew"))
}
