//! The file of human answers, and the sheet that is filled in elsewhere.
//!
//! The labels file has a line for every test row: its id, the person's answer (empty while there is
//! none), and the row's place in the draw. A file of a user's own needs the columns `id` and `answer`
//! only; its rows are then taken for an even draw.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use distill_chat::Task;
use distill_runner::StepFailure;
use serde_json::Value;

use super::{Design, Placed, Stratum};
use crate::{
    dataset::{Format, Record, Table, read_table},
    ingest::as_failure,
    rows::cannot_write,
};

/// Mistakes of a file that are listed before the rest is only counted.
const SHOWN_MISTAKES: usize = 20;
/// Signs with which a spreadsheet begins a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// One test row in the labels file.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelRow {
    pub id: String,
    /// In canonical text.
    pub answer: Option<String>,
    /// `None` in a file without a draw.
    pub stratum: Option<Stratum>,
    /// Place in the order of asking; `None` for a row that was not drawn.
    pub order: Option<usize>,
    /// Chance of being labelled; `None` in a file without a draw.
    pub inclusion: Option<f64>,
}

/// What people answered, and how the rows were drawn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Labels {
    pub rows: Vec<LabelRow>,
}

/// Answers of a filled-in sheet, by row id.
pub type Sheet = BTreeMap<String, String>;

impl Labels {
    /// A fresh draw, keeping the answers that there are.
    pub fn of_draw(placed: Vec<Placed>, answers: &BTreeMap<String, String>) -> Self {
        let mut labels = Self {
            rows: placed
                .into_iter()
                .map(|row| LabelRow {
                    answer: answers.get(&row.id).cloned(),
                    id: row.id,
                    stratum: Some(row.stratum),
                    order: row.order,
                    inclusion: None,
                })
                .collect(),
        };
        labels.settle();
        labels
    }

    /// The answers, by row id.
    pub fn answers(&self) -> BTreeMap<String, String> {
        self.rows
            .iter()
            .filter_map(|row| Some((row.id.clone(), row.answer.clone()?)))
            .collect()
    }

    /// Drawn rows that nobody has answered, in the order of asking.
    pub fn open(&self) -> Vec<&LabelRow> {
        let mut open: Vec<&LabelRow> = self
            .rows
            .iter()
            .filter(|row| row.order.is_some() && row.answer.is_none())
            .collect();
        open.sort_by_key(|row| row.order);
        open
    }

    /// Puts answers in, and says anew how likely each row was to have one. Answers to rows that were
    /// not drawn are taken, too, but such a row was chosen by nobody knows what: it becomes one that
    /// is in for certain, and its stratum one row smaller.
    pub fn take(&mut self, answers: &Sheet) {
        for row in &mut self.rows {
            if let Some(answer) = answers.get(&row.id) {
                row.answer = Some(answer.clone());
                if row.order.is_none() && row.stratum.is_some() {
                    row.stratum = Some(Stratum::Known);
                }
            }
        }
        self.settle();
    }

    /// A stratum's labelled rows over its rows.
    fn settle(&mut self) {
        let mut counts: BTreeMap<Stratum, (usize, usize)> = BTreeMap::new();
        for row in &self.rows {
            if let Some(stratum) = row.stratum {
                let (labelled, all) = counts.entry(stratum).or_default();
                *labelled += usize::from(row.answer.is_some());
                *all += 1;
            }
        }
        for row in &mut self.rows {
            row.inclusion = row.stratum.map(|stratum| {
                let (labelled, all) = counts[&stratum];
                labelled as f64 / all.max(1) as f64
            });
        }
    }

    /// The chances of the test rows `ids`: as drawn, or even where the file says nothing of a draw.
    /// Rows that a draw does not tell of (somebody took them out of its file, or put them into the
    /// test set since) have none: to take what is left for an even draw would be wrong, since it is
    /// where models differ that people were asked.
    pub fn design(&self, ids: &[String]) -> Design {
        let known: BTreeMap<&str, &LabelRow> =
            self.rows.iter().map(|row| (row.id.as_str(), row)).collect();
        let labelled: BTreeSet<String> = ids
            .iter()
            .filter(|id| {
                known
                    .get(id.as_str())
                    .is_some_and(|row| row.answer.is_some())
            })
            .cloned()
            .collect();
        let drawn = |id: &String| known.get(id.as_str()).and_then(|row| row.inclusion);
        if ids.iter().all(|id| drawn(id).is_none()) {
            return Design::even(ids, labelled);
        }
        Design {
            inclusion: ids
                .iter()
                .map(|id| (id.clone(), drawn(id).unwrap_or(0.0)))
                .collect(),
            labelled,
        }
    }
}

/// Reads a labels file. Answers are checked against the task and put into canonical text.
///
/// # Errors
/// A [`StepFailure`] with every mistake and its line.
pub fn read_labels(path: &Path, task: &Task) -> Result<Labels, StepFailure> {
    let table = read_table(path, Format::Csv).map_err(as_failure)?;
    needs_columns(path, &table)?;
    let mut mistakes = Mistakes::default();
    let mut seen = BTreeSet::new();
    let mut rows = Vec::with_capacity(table.records.len());
    for record in &table.records {
        let id = text(record, "id");
        if id.is_empty() {
            mistakes.note(record, "the row has no id".to_owned());
            continue;
        }
        if !seen.insert(id) {
            mistakes.note(record, format!("row `{id}` stands in the file twice"));
            continue;
        }
        let inclusion = match text(record, "inclusion") {
            "" => None,
            written => match written.parse::<f64>() {
                Ok(share) if (0.0..=1.0).contains(&share) => Some(share),
                _ => {
                    mistakes.note(
                        record,
                        format!("inclusion `{written}` is no share of 0 to 1"),
                    );
                    None
                }
            },
        };
        let stratum = match text(record, "stratum") {
            "" => None,
            name => {
                let stratum = Stratum::of_name(name);
                if stratum.is_none() {
                    mistakes.note(record, format!("there is no stratum `{name}`"));
                }
                stratum
            }
        };
        rows.push(LabelRow {
            id: id.to_owned(),
            answer: mistakes.answer(record, id, task),
            stratum,
            order: text(record, "order").parse().ok(),
            inclusion,
        });
    }
    mistakes.or(path, Labels { rows })
}

/// Writes a labels file: beside the old one, then over it.
///
/// # Errors
/// A [`StepFailure`] that names the file.
pub fn write_labels(path: &Path, labels: &Labels) -> Result<(), StepFailure> {
    let mut lines = vec![["id", "answer", "stratum", "order", "inclusion"].map(str::to_owned)];
    lines.extend(labels.rows.iter().map(|row| {
        [
            row.id.clone(),
            row.answer.clone().unwrap_or_default(),
            row.stratum
                .map(Stratum::name)
                .unwrap_or_default()
                .to_owned(),
            row.order.map(|order| order.to_string()).unwrap_or_default(),
            row.inclusion
                .map(|inclusion| inclusion.to_string())
                .unwrap_or_default(),
        ]
    }));
    write_csv(path, &lines)
}

/// Writes rows to be filled in: id, what was asked, and an empty answer. What a spreadsheet would
/// take for a formula is quoted with an apostrophe; it is there to be read only.
///
/// # Errors
/// A [`StepFailure`] that names the file.
pub fn write_sheet(path: &Path, rows: &[(String, String)]) -> Result<(), StepFailure> {
    let mut lines = vec![["id", "input", "answer"].map(str::to_owned)];
    lines.extend(rows.iter().map(|(id, input)| {
        let input = if input.starts_with(FORMULA) {
            format!("'{input}")
        } else {
            input.clone()
        };
        [id.clone(), input, String::new()]
    }));
    write_csv(path, &lines)
}

/// Reads a filled-in sheet: the columns `id` and `answer`; rows without an answer are left out.
///
/// # Errors
/// A [`StepFailure`] with every mistake and its line: an unknown or repeated row, an answer that is
/// none to this task.
pub fn read_sheet(path: &Path, ids: &BTreeSet<&str>, task: &Task) -> Result<Sheet, StepFailure> {
    let table = read_table(path, Format::Csv).map_err(as_failure)?;
    needs_columns(path, &table)?;
    let mut mistakes = Mistakes::default();
    let mut sheet = Sheet::new();
    for record in &table.records {
        let id = text(record, "id");
        if !ids.contains(id) {
            mistakes.note(record, format!("row `{id}` is not one of the test rows"));
            continue;
        }
        let Some(answer) = mistakes.answer(record, id, task) else {
            continue;
        };
        let earlier = sheet.insert(id.to_owned(), answer.clone());
        if earlier.is_some_and(|earlier| earlier != answer) {
            mistakes.note(record, format!("row `{id}` has two different answers"));
        }
    }
    mistakes.or(path, sheet)
}

/// What is wrong with a file, to be said all at once.
#[derive(Default)]
struct Mistakes {
    lines: Vec<String>,
    count: usize,
    first: Option<u64>,
}

impl Mistakes {
    fn note(&mut self, record: &Record, problem: String) {
        self.count += 1;
        if self.lines.is_empty() {
            self.first = record.line;
        }
        if self.lines.len() < SHOWN_MISTAKES {
            let line = record
                .line
                .map_or_else(|| "?".to_owned(), |line| line.to_string());
            self.lines.push(format!("line {line}: {problem}"));
        }
    }

    /// The answer in canonical text; `None`, with a mistake noted, where it is none to the task.
    fn answer(&mut self, record: &Record, id: &str, task: &Task) -> Option<String> {
        let written = text(record, "answer");
        if written.is_empty() {
            return None;
        }
        match task.parse_reply(written) {
            Ok(answer) => Some(answer.to_text()),
            Err(error) => {
                let shown: String = written.chars().take(60).collect();
                self.note(
                    record,
                    format!("the answer {shown:?} to row `{id}` does not fit the task: {error}"),
                );
                None
            }
        }
    }

    fn or<T>(self, path: &Path, value: T) -> Result<T, StepFailure> {
        if self.count == 0 {
            return Ok(value);
        }
        let more = match self.count - self.lines.len() {
            0 => String::new(),
            more => format!("\nand {more} more"),
        };
        Err(StepFailure::bad_input(format!(
            "`{}` cannot be taken:\n{}{more}",
            path.display(),
            self.lines.join("\n")
        ))
        .at(path, self.first)
        .hint("mend these lines; nothing was taken"))
    }
}

fn needs_columns(path: &Path, table: &Table) -> Result<(), StepFailure> {
    for column in ["id", "answer"] {
        if !table.columns.iter().any(|name| name == column) {
            return Err(StepFailure::bad_input(format!(
                "`{}` has no column `{column}`; it has {}",
                path.display(),
                table.columns.join(", ")
            ))
            .at(path, Some(1))
            .hint("the first line names the columns, among them `id` and `answer`"));
        }
    }
    Ok(())
}

fn text<'a>(record: &'a Record, column: &str) -> &'a str {
    record
        .fields
        .get(column)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .trim()
}

fn write_csv<const N: usize>(path: &Path, lines: &[[String; N]]) -> Result<(), StepFailure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for line in lines {
        writer.write_record(line).map_err(|error| {
            StepFailure::bug("a line of a table cannot be written").caused_by(error)
        })?;
    }
    let bytes = writer.into_inner().map_err(|error| {
        StepFailure::bug("a table cannot be written").caused_by(error.into_error())
    })?;
    let beside = path.with_extension("csv.part");
    fs::write(&beside, bytes)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|error| cannot_write(path, error))
}
