//! The records on disk: a file an arm.

use std::path::{Path, PathBuf};

use distill_runner::StepFailure;

use super::{ArmStudy, Samples, Study};
use crate::{
    compile::step_name,
    rows::{cannot_write, read_records, write_lines},
};

/// Writes each arm's records to a file of its own in `folder`.
///
/// # Errors
/// A [`StepFailure`] that names the file.
pub(crate) fn write_samples(
    folder: &Path,
    study: &Study,
    samples: &Samples,
) -> Result<(), StepFailure> {
    std::fs::create_dir_all(folder).map_err(|error| cannot_write(folder, error))?;
    for arm in &study.arms {
        if let Some(records) = samples.get(&arm.name) {
            write_lines(&file(folder, arm), records)?;
        }
    }
    Ok(())
}

/// Reads what [`write_samples`] wrote.
///
/// # Errors
/// A [`StepFailure`] that names the file and the line.
pub(crate) fn read_samples(folder: &Path, study: &Study) -> Result<Samples, StepFailure> {
    study
        .arms
        .iter()
        .map(|arm| Ok((arm.name.clone(), read_records(&file(folder, arm))?)))
        .collect()
}

pub(super) fn file(folder: &Path, arm: &ArmStudy) -> PathBuf {
    folder.join(format!("{}.jsonl", step_name(&arm.arm)))
}
