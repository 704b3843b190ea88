//! The rows that travel between steps, and their files: JSON lines, one row a line.
//!
//! Everything here is deterministic: what varies from run to run (seconds, dollars, attempts)
//! travels in files of its own, so that it enters no key downstream.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
};

use distill_chat::{Fields, TokenLogprob};
use distill_eval::SampleRecord;
use distill_pipeline::graph::ArtifactKind;
use distill_runner::StepFailure;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::plausible;

/// Rows as ingested: [`Row`].
pub const ROWS: ArtifactKind = ArtifactKind::new("rows");
/// A teacher's answers to rows: [`AnswerRow`].
pub const ANSWERS: ArtifactKind = ArtifactKind::new("answers");
/// Training examples: [`Example`].
pub const EXAMPLES: ArtifactKind = ArtifactKind::new("examples");
/// What an arm said to each test row: [`Prediction`].
pub const PREDICTIONS: ArtifactKind = ArtifactKind::new("predictions");
/// What every arm said to every test row, a file an arm: [`distill_eval::SampleRecord`].
pub const SAMPLES: ArtifactKind = ArtifactKind::new("samples");
/// The requests of a speed measurement, one a line with its times.
pub const EXCHANGES: ArtifactKind = ArtifactKind::new("exchanges");
/// What judges said: [`crate::judge::JudgedRow`].
pub const JUDGED: ArtifactKind = ArtifactKind::new("judged");
/// What people said of judged answers: [`crate::judge::HumanVerdict`].
pub const VERDICTS: ArtifactKind = ArtifactKind::new("verdicts");
/// One JSON document of facts for the report.
pub const FACTS: ArtifactKind = ArtifactKind::new("facts");
/// A trained student's directory.
pub const STUDENT: ArtifactKind = ArtifactKind::new("student");
/// The report's directory.
pub const REPORT: ArtifactKind = ArtifactKind::new("report");
/// A file of the user's.
pub const SOURCE_FILE: ArtifactKind = ArtifactKind::new("source-file");

/// One data row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Stable within its file.
    pub id: String,
    pub fields: Fields,
    /// The human answer in canonical text, where there is one.
    pub gold: Option<String>,
}

/// What became of one question to the teacher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerStatus {
    Answered,
    /// The reply is no answer to this task: not a label of the set, not JSON, against the schema.
    Invalid,
    Truncated,
    Refused,
    /// No model of the chain gave a reply.
    Failed,
}

/// The teacher's answer to one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerRow {
    pub id: String,
    pub status: AnswerStatus,
    /// The canonical answer; present exactly when `status` is `answered`.
    pub answer: Option<String>,
    /// The raw reply, where one came.
    pub reply: Option<String>,
    /// The model that answered, by the name it gave itself.
    pub model: Option<String>,
    /// Why there is no answer.
    pub reason: Option<String>,
    /// Of the raw reply's tokens, where they were asked for and told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_logprobs: Option<Vec<TokenLogprob>>,
}

/// A curated training example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    pub id: String,
    pub fields: Fields,
    pub answer: String,
    /// What the teacher said of each token of its reply, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_logprobs: Option<Vec<TokenLogprob>>,
}

/// What one arm said to one test row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    pub id: String,
    /// The raw reply; absent where none came.
    pub reply: Option<String>,
    /// Natural-log probability of the reply, where the arm tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprob: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Why there is no reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Reads a JSON-lines file.
///
/// # Errors
/// A [`StepFailure`] that names the file and the line.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, StepFailure> {
    let file = File::open(path).map_err(|error| {
        StepFailure::failed(format!("cannot open `{}`", path.display())).caused_by(error)
    })?;
    let mut values = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let number = index as u64 + 1;
        let line = line.map_err(|error| {
            StepFailure::failed(format!("cannot read `{}`", path.display()))
                .caused_by(error)
                .at(path, Some(number))
        })?;
        values.push(serde_json::from_str(&line).map_err(|error| {
            StepFailure::bad_input(format!(
                "line {number} of `{}` is not a row of the expected shape",
                path.display()
            ))
            .caused_by(error)
            .at(path, Some(number))
        })?);
    }
    Ok(values)
}

/// Reads the records of one arm or answerer.
///
/// # Errors
/// A [`StepFailure`] that names the file, the line and the next step: no such file, a line that is
/// no record, numbers that no answer can have, no line at all.
pub(crate) fn read_records(path: &Path) -> Result<Vec<SampleRecord>, StepFailure> {
    if !path.is_file() {
        return Err(StepFailure::bad_input(format!("there is no file `{}`", path.display())).hint(
            "a report's folder and the results of `distill eval run` hold one for each who answered, in `samples/`: copy the whole folder",
        ));
    }
    let damaged = "the file was cut or edited: copy it again from where it was made";
    let records: Vec<SampleRecord> = read_lines(path).map_err(|failure| failure.hint(damaged))?;
    for (index, record) in records.iter().enumerate() {
        if let Some(problem) = plausible::wrong_in_record(record) {
            let number = index as u64 + 1;
            return Err(StepFailure::bad_input(format!(
                "line {number} of `{}` cannot be an answer: {problem}",
                path.display()
            ))
            .at(path, Some(number))
            .hint(damaged));
        }
    }
    if records.is_empty() {
        return Err(
            StepFailure::bad_input(format!("`{}` has no records", path.display())).hint(damaged),
        );
    }
    Ok(records)
}

/// Writes a JSON-lines file and waits until it is on disk.
///
/// # Errors
/// A [`StepFailure`] that names the file.
pub fn write_lines<T: Serialize>(path: &Path, values: &[T]) -> Result<(), StepFailure> {
    let write = || -> std::io::Result<()> {
        let mut writer = BufWriter::new(File::create(path)?);
        for value in values {
            serde_json::to_writer(&mut writer, value)?;
            writer.write_all(b"\n")?;
        }
        writer.into_inner()?.sync_all()
    };
    write().map_err(|error| cannot_write(path, error))
}

/// Writes one JSON document.
///
/// # Errors
/// A [`StepFailure`] that names the file.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StepFailure> {
    let write = || -> std::io::Result<()> {
        let mut writer = BufWriter::new(File::create(path)?);
        serde_json::to_writer_pretty(&mut writer, value)?;
        writer.write_all(b"\n")?;
        writer.into_inner()?.sync_all()
    };
    write().map_err(|error| cannot_write(path, error))
}

/// Reads one JSON document.
///
/// # Errors
/// A [`StepFailure`] that names the file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, StepFailure> {
    let bytes = std::fs::read(path).map_err(|error| {
        StepFailure::failed(format!("cannot read `{}`", path.display())).caused_by(error)
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        StepFailure::bad_input(format!(
            "`{}` is not a document of the expected shape",
            path.display()
        ))
        .caused_by(error)
    })
}

/// A write that failed, most often for want of space.
pub(crate) fn cannot_write(path: &Path, error: std::io::Error) -> StepFailure {
    use std::io::ErrorKind::{
        AlreadyExists, InvalidFilename, IsADirectory, NotADirectory, NotFound, PermissionDenied,
        ReadOnlyFilesystem,
    };
    let hint = match error.kind() {
        AlreadyExists | InvalidFilename | IsADirectory | NotADirectory | NotFound
        | PermissionDenied | ReadOnlyFilesystem => {
            "name a folder that can be made and written, then run the same command: what was finished is kept"
        }
        _ => {
            "free some space or point DISTILL_HOME at another disk, then run the same command: what was finished is kept"
        }
    };
    StepFailure::failed(format!("cannot write `{}`", path.display()))
        .caused_by(error)
        .hint(hint)
}
