//! Eval suites: rows, answers to them, and what the answers are scored by, in a file of their own.
//!
//! A suite is read as a pipeline is: one tree with places, sections as written, then the checked
//! [`SuiteSpec`], with all findings at once. Start reading at [`load`].

use distill_chat::{TaskDefinition, TaskKind};
use serde::{Deserialize, Serialize};

use super::{
    Findings, Vocabulary,
    finding::{Document, SourceText},
    read::{At, Place, Read, Reader, Section, section},
    read_document, resolve,
    resolved::{DataSource, JudgeSpec, ModelSpec, ScorerSpec, SimulateSpec},
    tree::{Node, NodeValue},
    written::{
        JudgeSection, SimulateSection, TaskSection, WrittenModel, WrittenScorer, WrittenSource,
    },
};

#[cfg(test)]
mod tests;

section! {
    /// An eval suite: rows with right answers, models that answer them, and scorers.
    Suite {
        /// Name of the suite, shown in results and in the name of their folder.
        required name: String,
        /// What the suite is for, in a sentence.
        optional description: String,
        /// What is asked of the model, and what an answer is; the same form as in a pipeline.
        required task: TaskSection,
        /// A path (`.csv`, `.jsonl`, `.json`, `.parquet`; relative to this file), or `{dataset: NAME, split: NAME}` of a card in `datasets/`.
        required rows: WrittenSource,
        /// Column that names each row. Left out: the row's number. Answers in other files are joined by it.
        optional id: String,
        /// Column that holds the right answer; `a.b` is the field `b` of the column `a`.
        optional gold: String,
        /// Take the first so many rows of a seeded shuffle.
        optional limit: u64,
        /// What answers are scored by; the first is the main one. `distill eval scorers` lists them. Left out: the usual one of the task's kind.
        optional scorers: Vec<At<WrittenSuiteScorer>>,
        /// Columns to slice the rows by.
        optional slices: Vec<At<String>>,
        /// Column whose equal values make rows depend on each other: one cluster of the bootstrap.
        optional group: String,
        /// Answers that were recorded earlier, in columns of the rows or of another file.
        optional answers: Vec<At<AnswersSection>>,
        /// Models that are asked: `vendor/model`, or a map with a base URL, a key variable and prices. Each is an answerer of its own.
        optional models: Vec<At<WrittenModel>>,
        /// Hard cap on what all models of the suite may cost together, in US dollars.
        optional budget_usd: f64,
        /// Requests in flight at once. Default 8.
        optional concurrency: u64,
        /// Sampling temperature. Default 0.
        optional temperature: f64,
        /// Upper bound of a reply, in tokens. Default 64 for `classify`, 256 for `extract`, 1024 for `generate`.
        optional max_tokens: u64,
        /// Settings of the embedded simulated provider, which answers for the vendors `simulated` and `simulated-anthropic`.
        optional simulate: SimulateSection,
        /// Models that judge the answers; the same form as `evals.judge` of a pipeline.
        optional judge: JudgeSection,
        /// Confidence of the intervals. Default 0.95.
        optional confidence: f64,
        /// Seed of the bootstrap and of `limit`. Default 17.
        optional seed: u64,
    }
}

section! {
    /// Answers that were recorded earlier.
    AnswersSection {
        /// Name of who answered.
        required name: String,
        /// Column with the answer; `a.b` is the field `b` of the column `a`.
        required column: String,
        /// Another file that the column is in (relative to this file), joined to the rows by `id`, or row by row where the suite names no `id`. Left out: the rows' own file.
        optional file: String,
        /// Column with somebody else's right or wrong (true or false, 1 or 0) for these answers; the result says on how many rows each scorer agrees with it.
        optional check: String,
    }
}

section! {
    /// A scorer of yours: a command that reads rows as JSON lines and writes scores as JSON lines.
    CommandSection {
        /// Name of the scorer in results.
        required name: String,
        /// The program and its arguments, for instance `[python3, score.py]`. It runs in the suite's folder.
        required run: Vec<At<String>>,
        /// `share` (each row 0 or 1) or `value` (any number). Default `value`.
        optional unit: CommandUnit,
        /// Which way is better: `higher` (default) or `lower`.
        optional direction: CommandDirection,
        /// Seconds after which the command is ended. Default 600.
        optional timeout_seconds: f64,
    }
}

/// A scorer of the program, or a command.
#[derive(Debug, Clone, PartialEq)]
pub enum WrittenSuiteScorer {
    Named(WrittenScorer),
    Command(Box<CommandSection>),
}

/// What a command's scores are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandUnit {
    /// Each row is right (1) or wrong (0).
    Share,
    #[default]
    Value,
}

/// Which way a command's scores are better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandDirection {
    #[default]
    Higher,
    Lower,
}

impl Read for WrittenSuiteScorer {
    const EXPECTED: &'static str = "the name of a scorer, `{name: {setting: value}}`, or `{command: {name: NAME, run: [PROGRAM]}}`";
    const SECTION: Option<fn() -> Section> = Some(CommandSection::section);

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        if let NodeValue::Map(entries) = &node.value
            && let [entry] = entries.as_slice()
            && entry.key == "command"
        {
            let place = Place {
                path: format!("{}.command", place.path),
                span: entry.key_span.clone(),
            };
            return CommandSection::read(&entry.node, &place, reader)
                .map(|section| Self::Command(Box::new(section)));
        }
        match &node.value {
            NodeValue::Text(_) | NodeValue::Map(_) => {
                WrittenScorer::read(node, place, reader).map(Self::Named)
            }
            _ => {
                reader.wrong_type(node, place, Self::EXPECTED);
                None
            }
        }
    }
}

impl Read for CommandUnit {
    const EXPECTED: &'static str = "`share` or `value`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        reader.choose(
            node,
            place,
            &[("share", Self::Share), ("value", Self::Value)],
        )
    }
}

impl Read for CommandDirection {
    const EXPECTED: &'static str = "`higher` or `lower`";

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        let names = [("higher", Self::Higher), ("lower", Self::Lower)];
        reader.choose(node, place, &names)
    }
}

/// A checked suite. Equal for any two texts that mean the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteSpec {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Without labels where the suite leaves them out: the sorted distinct gold labels are taken.
    pub task: TaskDefinition,
    pub rows: DataSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Without repeats. Empty: the usual one of the task's kind.
    pub scorers: Vec<SuiteScorer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<RecordedAnswers>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelSpec>,
    /// Present where there are models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_usd: Option<f64>,
    pub concurrency: usize,
    pub temperature: f64,
    pub max_tokens: u32,
    pub simulate: SimulateSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeSpec>,
    pub confidence: f64,
    pub seed: u64,
}

/// What answers are scored by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuiteScorer {
    Named(ScorerSpec),
    Command(CommandSpec),
}

/// A scorer that is a command of the user's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSpec {
    pub name: String,
    /// The program, then its arguments; at least one.
    pub run: Vec<String>,
    pub unit: CommandUnit,
    pub direction: CommandDirection,
    pub timeout_seconds: f64,
}

/// Answers in a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedAnswers {
    /// Letters, digits, `.`, `_` and `-`: it becomes a file's name.
    pub name: String,
    pub column: String,
    /// `None`: the rows' own file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
}

/// Reads and checks a suite. `name` is how findings name the file.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn load(name: &str, text: &str, vocabulary: &Vocabulary<'_>) -> Result<SuiteSpec, Findings> {
    let source = SourceText::of(Document::Suite, name, text);
    let (written, mut findings) = read_document(&source, Suite::read);
    let mut resolved = None;
    if let Some(written) = written {
        let (found, more) = resolve::suite(&written, &source, vocabulary);
        resolved = found;
        findings.extend(more);
    }
    match resolved {
        Some(resolved) if findings.is_empty() => Ok(resolved),
        _ => Err(Findings::new(source, findings)),
    }
}

/// Upper bound of a reply where a suite does not say, in tokens.
pub(super) fn usual_max_tokens(kind: Option<TaskKind>) -> usize {
    match kind {
        Some(TaskKind::Extract) => 256,
        Some(TaskKind::Generate) => 1024,
        _ => 64,
    }
}
