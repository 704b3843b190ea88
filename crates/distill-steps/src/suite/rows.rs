//! From a table to the rows of a suite.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use distill_chat::{Fields, Task, TaskKind};
use distill_pipeline::spec::suite::SuiteSpec;
use distill_runner::StepFailure;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{SuiteRow, complete_task, path, user_text};
use crate::{
    dataset::{self, DatasetError, Table},
    ingest::as_failure,
    rows::Row,
};

/// What is needed to read a suite's rows.
pub(super) struct RowReader<'a> {
    pub(super) spec: &'a SuiteSpec,
    pub(super) table: &'a Table,
    pub(super) path: &'a Path,
}

impl RowReader<'_> {
    /// The task with its label set, and the rows that are answered.
    pub(super) fn read(&self) -> Result<(Task, Vec<SuiteRow>), StepFailure> {
        let spec = self.spec;
        let named = [
            (spec.gold.as_deref(), "gold"),
            (spec.id.as_deref(), "id"),
            (spec.group.as_deref(), "group"),
        ];
        for (column, key) in named {
            if let Some(column) = column {
                require_column(self.table, self.path, column, key)?;
            }
        }
        for column in &spec.slices {
            require_column(self.table, self.path, column, "slices")?;
        }
        let rows = self.plain_rows()?;
        let definition = complete_task(&spec.task, &rows);
        let task = Task::new(definition)
            .map_err(|error| StepFailure::bad_input("the task cannot be used").caused_by(error))?;
        dataset::check_columns(&rows, &task, self.path).map_err(as_failure)?;
        if spec.task.kind == TaskKind::Classify {
            dataset::check_labels(&rows, &task.definition().labels, self.path)
                .map_err(as_failure)?;
        }
        let kept = sample(rows.len(), spec.limit, spec.seed);
        let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
        let rows = kept
            .into_iter()
            .filter_map(|index| Some((index, rows[index].take()?)))
            .map(|(index, row)| self.suite_row(&task, index, row))
            .collect::<Result<Vec<_>, _>>()?;
        Ok((task, rows))
    }

    /// Every row with its id and its right answer.
    fn plain_rows(&self) -> Result<Vec<Row>, StepFailure> {
        let mut seen = HashSet::new();
        let mut rows = Vec::with_capacity(self.table.records.len());
        for (index, record) in self.table.records.iter().enumerate() {
            let mut fields = record.fields.clone();
            let gold = self
                .spec
                .gold
                .as_deref()
                .and_then(|gold| path::take(&mut fields, gold))
                .and_then(dataset::answer_text);
            let id = match &self.spec.id {
                None => format!("{index:06}"),
                Some(column) => {
                    let id = id_of(&record.fields, column).ok_or_else(|| {
                        self.wrong(record.line, format!("row {} has no `{column}`", index + 1))
                            .hint("`id` names each row: give every row one, or remove the key")
                    })?;
                    if !seen.insert(id.clone()) {
                        return Err(self
                            .wrong(record.line, format!("two rows have the {column} `{id}`"))
                            .hint(
                                "`id` must tell rows apart: name another column, or remove the key",
                            ));
                    }
                    id
                }
            };
            rows.push(Row { id, fields, gold });
        }
        Ok(rows)
    }

    fn suite_row(&self, task: &Task, index: usize, row: Row) -> Result<SuiteRow, StepFailure> {
        let fields = &self.table.records[index].fields;
        let value = |column: &String| {
            path::value_at(fields, column).map_or_else(|| Some(String::new()), path::text)
        };
        let slices: BTreeMap<String, String> = self
            .spec
            .slices
            .iter()
            .map(|column| {
                let value = value(column).filter(|value| !value.is_empty());
                (column.clone(), value.unwrap_or_else(|| NO_VALUE.to_owned()))
            })
            .collect();
        let group = self
            .spec
            .group
            .as_ref()
            .and_then(value)
            .filter(|value| !value.is_empty());
        Ok(SuiteRow {
            input: user_text(task, &row)?,
            row,
            slices,
            group,
            index,
        })
    }

    fn wrong(&self, line: Option<u64>, problem: String) -> StepFailure {
        StepFailure::bad_input(format!("`{}`: {problem}", self.path.display())).at(self.path, line)
    }
}

/// The slice of rows whose column is empty.
pub(super) const NO_VALUE: &str = "(none)";

pub(super) fn id_of(fields: &Fields, column: &str) -> Option<String> {
    path::text(path::value_at(fields, column)?).filter(|id| !id.trim().is_empty())
}

/// A column that at least one row must have.
pub(super) fn require_column(
    table: &Table,
    path: &Path,
    column: &str,
    key: &str,
) -> Result<(), StepFailure> {
    let there = table
        .records
        .iter()
        .any(|record| path::value_at(&record.fields, column).is_some());
    if there {
        return Ok(());
    }
    let available = table
        .records
        .first()
        .map(|record| path::paths(&record.fields))
        .unwrap_or_default();
    Err(as_failure(DatasetError::MissingColumn {
        path: path.to_owned(),
        line: None,
        column: column.to_owned(),
        purpose: format!("which `{key}` names"),
        available,
    }))
}

/// The rows that a seeded shuffle puts first, in the order of the file.
fn sample(rows: usize, limit: Option<usize>, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows).collect();
    if let Some(limit) = limit.filter(|limit| *limit < rows) {
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        order.truncate(limit);
        order.sort_unstable();
    }
    order
}
