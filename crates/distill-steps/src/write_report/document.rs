//! `study.json` as it is read back: from anybody's folder, so nothing of it is taken on trust.

use std::path::Path;

use distill_runner::StepFailure;
use serde_json::Value;

use super::{STUDY_SCHEMA, StudyDocument};
use crate::{plausible, rows::read_json};

/// Reads a document and refuses one that no report could have written.
///
/// # Errors
/// A [`StepFailure`] that names the file, what of it does not hold, and the next step.
pub(super) fn read_study(path: &Path) -> Result<StudyDocument, StepFailure> {
    let damaged =
        "the file was cut or edited: copy it again with `distill report RUN --samples DIR`";
    let values: Value = read_json(path).map_err(|failure| failure.hint(damaged))?;
    let schema = &values["schema"];
    if schema.is_number() && *schema != STUDY_SCHEMA {
        return Err(StepFailure::bad_input(format!(
            "`{}` has schema {schema}, and this version reads {STUDY_SCHEMA}",
            path.display(),
        ))
        .hint("use the version of distill that made the report: its lineage says which"));
    }
    let document: StudyDocument = read_json(path).map_err(|failure| failure.hint(damaged))?;
    let confidence = document.comparison.settings.accept.confidence;
    let is_share = confidence > 0.0 && confidence < 1.0;
    let problem = plausible::wrong_in_document(&values).or_else(|| {
        (!is_share).then(|| format!("`comparison.settings.accept.confidence` is {confidence:e}"))
    });
    match problem {
        None => Ok(document),
        Some(problem) => Err(StepFailure::bad_input(format!(
            "`{}` cannot be of a report: {problem}",
            path.display()
        ))
        .hint(damaged)),
    }
}
