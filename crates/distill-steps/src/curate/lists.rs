//! The full lists of what was found, as files of the report folder.

use std::path::Path;

use distill_runner::StepFailure;

use super::Curation;
use crate::rows::{cannot_write, write_lines};

impl Curation {
    /// Writes `removed.jsonl`, `shared_texts.jsonl`, `eval_duplicates.jsonl` and
    /// `near_conflicts.jsonl` into `folder`, which is made where it is not there: every row, where
    /// the page shows the first ones. A list without rows is an empty file.
    ///
    /// # Errors
    /// A [`StepFailure`] that names the file.
    pub fn write_lists(&self, folder: &Path) -> Result<(), StepFailure> {
        std::fs::create_dir_all(folder).map_err(|error| cannot_write(folder, error))?;
        write_lines(&folder.join("removed.jsonl"), &self.removed_rows)?;
        write_lines(&folder.join("shared_texts.jsonl"), &self.shared_texts)?;
        write_lines(&folder.join("eval_duplicates.jsonl"), &self.eval_duplicates)?;
        write_lines(&folder.join("near_conflicts.jsonl"), &self.near_conflicts)
    }
}
