//! `ingest`: reads a data file into rows, and stops at the first thing in it that would make every
//! later figure wrong.

use std::path::Path;

use distill_chat::{Task, TaskDefinition, TaskKind};
use distill_runner::StepFailure;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    dataset::{self, DatasetError, Format, Resolved},
    rows::Row,
};

/// How one file is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ingest {
    pub format: Format,
    /// The column with the human answer.
    pub gold: Option<String>,
    /// Rows of a seeded shuffle that are kept; all where absent.
    pub limit: Option<usize>,
    pub seed: u64,
    pub task: TaskDefinition,
}

impl Ingest {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// A [`StepFailure`] that names the file, the line and the next step: an unreadable file, no
    /// rows, a missing column, a gold answer that is none of the task's.
    pub fn read(&self, path: &Path) -> Result<Vec<Row>, StepFailure> {
        let task = Task::new(self.task.clone())
            .map_err(|error| StepFailure::bad_input("the task cannot be used").caused_by(error))?;
        let resolved = Resolved::from_parts(path, self.format);
        let rows = dataset::read_rows(&resolved, self.gold.as_deref()).map_err(as_failure)?;
        dataset::check_columns(&rows, &task, path).map_err(as_failure)?;
        if self.task.kind == TaskKind::Classify {
            dataset::check_labels(&rows, &self.task.labels, path).map_err(as_failure)?;
        }
        Ok(self.sample(rows))
    }

    fn sample(&self, rows: Vec<Row>) -> Vec<Row> {
        let Some(limit) = self.limit.filter(|limit| *limit < rows.len()) else {
            return rows;
        };
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(self.seed));
        order.truncate(limit);
        order.sort_unstable();
        let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
        order
            .into_iter()
            .filter_map(|index| rows[index].take())
            .collect()
    }
}

/// A data error as a step's failure, with file, line and hint.
pub(crate) fn as_failure(error: DatasetError) -> StepFailure {
    let (hint, file, line) = (error.hint(), error.file().map(Path::to_owned), error.line());
    let mut failure = StepFailure::bad_input(error.to_string());
    if let Some(source) = std::error::Error::source(&error) {
        failure = StepFailure::bad_input(format!("{error}: {source}"));
    }
    if let Some(file) = file {
        failure = failure.at(file, line);
    }
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
