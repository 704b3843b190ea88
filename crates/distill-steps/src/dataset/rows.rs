//! From a table to rows, and what rows are held to before anything is asked or trained.

use std::{collections::BTreeSet, path::Path};

use distill_chat::Task;
use serde_json::Value;

use super::{DatasetError, Format, Resolved, Table, read_table};
use crate::rows::Row;

/// Reads a file's rows in its order. An id is the row's index in the file.
///
/// The gold column becomes the row's answer and is no field any more: a prompt cannot read it.
///
/// # Errors
/// [`DatasetError`]: the file, its first bad record, or the gold column that it lacks.
pub fn read_rows(resolved: &Resolved, gold: Option<&str>) -> Result<Vec<Row>, DatasetError> {
    let path = &resolved.path;
    let table = read_table(path, resolved.format)?;
    if let Some(gold) = gold.filter(|gold| !table.columns.iter().any(|name| name == gold)) {
        return Err(DatasetError::MissingColumn {
            path: path.clone(),
            line: header_line(resolved.format),
            column: gold.to_owned(),
            purpose: "which `gold` names".to_owned(),
            available: table.columns,
        });
    }
    let rows = table
        .records
        .into_iter()
        .enumerate()
        .map(|(index, mut record)| {
            let answer = gold
                .and_then(|gold| record.fields.shift_remove(gold))
                .and_then(answer_text);
            Row {
                id: format!("{index:06}"),
                fields: record.fields,
                gold: answer,
            }
        });
    Ok(rows.collect())
}

fn header_line(format: Format) -> Option<u64> {
    (format == Format::Csv).then_some(1)
}

/// The canonical text of an answer; nothing for an empty one.
pub(crate) fn answer_text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => {
            let text = text.trim();
            if text.is_empty() {
                return None;
            }
            // An object in a text column is written as one in a JSON column would be.
            match serde_json::from_str::<Value>(text) {
                Ok(object @ Value::Object(_)) => Some(object.to_string()),
                _ => Some(text.to_owned()),
            }
        }
        other => Some(other.to_string()),
    }
}

/// Whether every row has what the task's templates read.
///
/// # Errors
/// [`DatasetError::MissingColumn`] for the first row that has not.
pub fn check_columns(rows: &[Row], task: &Task, path: &Path) -> Result<(), DatasetError> {
    for column in task.referenced_columns() {
        let Some(index) = rows
            .iter()
            .position(|row| !row.fields.contains_key(&column))
        else {
            continue;
        };
        let table = reread(path);
        let is_gold = table
            .as_ref()
            .is_some_and(|table| table.columns.contains(&column))
            && rows.iter().all(|row| !row.fields.contains_key(&column));
        let purpose = if is_gold {
            "which the task's template reads: it holds the answer, and a prompt must not".to_owned()
        } else {
            "which the task's template reads".to_owned()
        };
        let line = match Format::of(path) {
            Ok(Format::Csv) => Some(1),
            _ => line_of(table.as_ref(), index),
        };
        return Err(DatasetError::MissingColumn {
            path: path.to_owned(),
            line,
            column,
            purpose,
            available: rows[index].fields.keys().cloned().collect(),
        });
    }
    Ok(())
}

/// Whether every gold label is one of the task's.
///
/// # Errors
/// [`DatasetError::UnknownLabel`] for the first row whose label is not.
pub fn check_labels(rows: &[Row], labels: &[String], path: &Path) -> Result<(), DatasetError> {
    let known: BTreeSet<&str> = labels.iter().map(String::as_str).collect();
    let mut outside = rows
        .iter()
        .enumerate()
        .filter_map(|(index, row)| Some((index, row.gold.as_deref()?)))
        .filter(|(_, label)| !known.contains(label));
    let Some((index, label)) = outside.next() else {
        return Ok(());
    };
    let folded = |text: &str| text.to_lowercase().replace([' ', '-'], "_");
    Err(DatasetError::UnknownLabel {
        path: path.to_owned(),
        line: line_of(reread(path).as_ref(), index),
        label: label.to_owned(),
        count: 1 + outside.count(),
        known: labels.len(),
        nearest: labels
            .iter()
            .find(|known| folded(known) == folded(label))
            .cloned(),
    })
}

/// The distinct gold labels, sorted.
pub fn distinct_labels(rows: &[Row]) -> Vec<String> {
    let labels: BTreeSet<&String> = rows.iter().filter_map(|row| row.gold.as_ref()).collect();
    labels.into_iter().cloned().collect()
}

/// Rows carry no line numbers; an error that needs one reads the file again.
fn reread(path: &Path) -> Option<Table> {
    read_table(path, Format::of(path).ok()?).ok()
}

fn line_of(table: Option<&Table>, index: usize) -> Option<u64> {
    table?.records.get(index)?.line
}
