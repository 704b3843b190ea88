//! Eval suites: rows with right answers, answerers, scorers, and what the pairs say.
//!
//! [`parse_suite`] reads the file, [`Suite::open`] its rows, [`Suite::answer`] gathers what one
//! answerer says to them as [`SampleRecord`]s, [`Suite::summarise`] scores and compares. Everything
//! that a [`Summary`] says can be found again from the records' files: [`compare_files`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use distill_chat::{Fields, Role, Task, TaskDefinition, TaskKind};
use distill_eval::{ExpectedBy, SampleRecord, Scorer, Settings};
use distill_pipeline::{
    hash::ContentHash,
    spec::{
        DataSource, Findings,
        suite::{self as spec, CommandSpec, SuiteScorer, SuiteSpec},
    },
};
use distill_runner::StepFailure;
use distill_student::regular_file;

use crate::{
    dataset::{self, Places},
    ingest::as_failure,
    rows::Row,
};

mod answerer;
mod command;
mod compare;
mod files;
mod judging;
mod path;
mod require;
mod rows;
mod score;
mod summary;
#[cfg(test)]
mod tests;

pub use answerer::{Answerer, Answers, bundle_of_run, check_answerers, model_named};
pub use compare::{FileComparison, FileFigures, compare_files};
pub use files::{check_folder, write_results};
pub use require::{Requirement, RequirementResult};
pub use summary::{
    AnswererFacts, Check, PairFigures, RowFacts, ScorerFigures, SliceFigures, SliceValue, Summary,
};

/// A suite whose rows are read and whose scorers are ready.
pub struct Suite {
    pub spec: SuiteSpec,
    pub task: Task,
    /// Where the rows were found.
    pub rows_path: PathBuf,
    /// Content of the rows' file.
    pub rows_hash: ContentHash,
    /// The suite file's folder: paths count from it, commands run in it.
    folder: PathBuf,
    rows: Vec<SuiteRow>,
    /// The rows' file as read, before the limit.
    table: dataset::Table,
    scorers: Vec<RowScorer>,
}

/// One row of a suite.
#[derive(Debug, Clone)]
pub(crate) struct SuiteRow {
    /// With the gold column taken out of its fields.
    row: Row,
    /// The user message.
    input: String,
    slices: BTreeMap<String, String>,
    group: Option<String>,
    /// Place in the file.
    index: usize,
}

/// A scorer that is ready to score.
enum RowScorer {
    Named(Scorer),
    Command(CommandSpec),
}

/// Parses and checks a suite file.
///
/// # Errors
/// All findings at once.
pub fn parse_suite(name: &str, text: &str) -> Result<SuiteSpec, Findings> {
    crate::compile::with_vocabulary(|vocabulary| spec::load(name, text, vocabulary))
}

impl Suite {
    /// Reads the rows of a checked suite. `path` is the suite file's.
    ///
    /// # Errors
    /// A [`StepFailure`] that names the file, the line and the next step: an unreadable file, a
    /// missing column, a gold answer that is none of the task's, two rows of one id.
    pub fn open(
        spec: SuiteSpec,
        path: &Path,
        home: &Path,
        data_dir: Option<PathBuf>,
    ) -> Result<Self, StepFailure> {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let places = Places {
            data_dir,
            home: home.to_owned(),
            beside: folder.clone(),
        };
        let source = dataset::resolve(&spec.rows, &places).map_err(as_failure)?;
        let table = dataset::read_table(&source.path, source.format).map_err(as_failure)?;
        let bytes = regular_file::read(&source.path, dataset::MOST_BYTES).map_err(|error| {
            StepFailure::bad_input(format!("`{}` cannot be read", source.path.display()))
                .caused_by(error)
        })?;
        let reader = rows::RowReader {
            spec: &spec,
            table: &table,
            path: &source.path,
        };
        let (task, rows) = reader.read()?;
        let scorers = scorers(&spec)?;
        Ok(Self {
            task,
            rows_hash: ContentHash::of_bytes(&bytes),
            rows_path: source.path,
            folder,
            rows,
            table,
            scorers,
            spec,
        })
    }

    /// How intervals are made.
    pub fn settings(&self) -> Settings {
        Settings {
            confidence: self.spec.confidence,
            seed: self.spec.seed,
            ..Settings::default()
        }
    }

    /// The option texts of a row, where a scorer asks for them.
    fn choices(&self, fields: &Fields) -> Vec<String> {
        self.scorers
            .iter()
            .filter_map(|scorer| match scorer {
                RowScorer::Named(scorer) => Some(scorer.choices(fields)),
                RowScorer::Command(_) => None,
            })
            .find(|choices| !choices.is_empty())
            .unwrap_or_default()
    }

    /// A reply to one row, or why there is none.
    fn record(&self, row: &SuiteRow, reply: Result<&str, &str>) -> SampleRecord {
        let expected = row.row.gold.as_deref().map(|gold| (gold, ExpectedBy::Gold));
        SampleRecord {
            slices: row.slices.clone(),
            group: row.group.clone(),
            choices: self.choices(&row.row.fields),
            ..SampleRecord::read(&row.row.id, &row.input, &self.task, reply, expected)
        }
    }
}

fn scorers(spec: &SuiteSpec) -> Result<Vec<RowScorer>, StepFailure> {
    if spec.scorers.is_empty() {
        let usual = distill_eval::primary_metric(spec.task.kind);
        return Ok(vec![RowScorer::Named(Scorer::plain(usual))]);
    }
    spec.scorers
        .iter()
        .map(|scorer| match scorer {
            SuiteScorer::Named(scorer) => Scorer::parse(&scorer.name, &scorer.settings)
                .map(RowScorer::Named)
                .map_err(|error| {
                    StepFailure::bad_input("a scorer of the suite cannot be used").caused_by(error)
                }),
            SuiteScorer::Command(command) => Ok(RowScorer::Command(command.clone())),
        })
        .collect()
}

/// Characters of a name that a file's name takes; file systems allow 255 with what is added.
const MOST_NAME: usize = 100;

/// A name as part of a file's: letters, digits, `.`, `_` and `-` only, and not too long for one.
pub fn file_name(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() || "._-".contains(character) {
                character
            } else {
                '-'
            }
        })
        .collect();
    plain
        .trim_start_matches('.')
        .chars()
        .take(MOST_NAME)
        .collect()
}

/// The user's message of a row.
fn user_text(task: &Task, row: &Row) -> Result<String, StepFailure> {
    let messages = task.messages(&row.fields).map_err(|error| {
        StepFailure::bad_input(format!("row `{}` cannot be rendered", row.id)).caused_by(error)
    })?;
    Ok(messages
        .into_iter()
        .rfind(|message| message.role == Role::User)
        .map(|message| message.content)
        .unwrap_or_default())
}

/// Fills in the label set of a classification that left it out.
fn complete_task(definition: &TaskDefinition, rows: &[Row]) -> TaskDefinition {
    let mut definition = definition.clone();
    if definition.kind == TaskKind::Classify && definition.labels.is_empty() {
        definition.labels = dataset::distinct_labels(rows);
    }
    definition
}

/// How results name the rows.
fn source_name(source: &DataSource) -> String {
    source.to_string()
}
