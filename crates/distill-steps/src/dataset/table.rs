//! Files as tables: named columns, and records that know their line.

use std::{collections::HashSet, path::Path};

use distill_chat::Fields;
use distill_student::regular_file;
use serde_json::Value;

use super::{DatasetError, Format, parquet, span_slots};

/// Most bytes of a data file that is read whole.
pub(crate) const MOST_BYTES: u64 = 32 << 30;

/// A file's columns and records.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// In the order of the file.
    pub columns: Vec<String>,
    pub records: Vec<Record>,
}

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Where it begins, from 1; unknown in a JSON array.
    pub line: Option<u64>,
    pub fields: Fields,
}

/// Reads a whole file.
///
/// # Errors
/// [`DatasetError`] at the first record that cannot be read; [`DatasetError::Empty`] without one.
pub fn read_table(path: &Path, format: Format) -> Result<Table, DatasetError> {
    let bytes = match format {
        // Read page by page, and not all at once.
        Format::Parquet => Vec::new(),
        _ => regular_file::read(path, MOST_BYTES).map_err(|source| DatasetError::Unreadable {
            path: path.to_owned(),
            source,
        })?,
    };
    // Spreadsheets put a byte order mark before UTF-8.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let table = match format {
        Format::Csv => read_csv(path, bytes),
        Format::Jsonl => read_lines(path, bytes),
        Format::Json => read_array(path, bytes).map(|values| table_of(values, |_| None)),
        Format::SpanSlots => {
            let values = read_array(path, bytes)?;
            let rows: Result<Vec<Fields>, DatasetError> = values
                .iter()
                .enumerate()
                .map(|(index, value)| span_slots::read(path, index, value))
                .collect();
            Ok(table_of(rows?, |_| None))
        }
        Format::Parquet => parquet::read(path),
    }?;
    if table.records.is_empty() {
        return Err(DatasetError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(table)
}

fn read_csv(path: &Path, bytes: &[u8]) -> Result<Table, DatasetError> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter(bytes))
        .from_reader(bytes);
    let broken = |error: csv::Error| csv_error(path, &error);
    let header = reader.byte_headers().map_err(broken)?.clone();
    let mut columns: Vec<String> = Vec::with_capacity(header.len());
    let mut seen = HashSet::with_capacity(header.len());
    for (index, name) in header.iter().enumerate() {
        let name = std::str::from_utf8(name).map_err(|_| DatasetError::NotUtf8 {
            path: path.to_owned(),
            line: 1,
            what: format!("the name of column {}", index + 1),
        })?;
        // Data frames write their index under an empty name.
        let name = match name.trim() {
            "" => format!("column_{}", index + 1),
            name => name.to_owned(),
        };
        if !seen.insert(name.clone()) {
            return Err(DatasetError::Malformed {
                path: path.to_owned(),
                line: Some(1),
                problem: format!("two columns are called `{name}`"),
            });
        }
        columns.push(name);
    }
    let mut records = Vec::new();
    for record in reader.byte_records() {
        let record = record.map_err(broken)?;
        let line = record.position().map(csv::Position::line);
        let mut fields = Fields::new();
        for (name, value) in columns.iter().zip(&record) {
            let text = std::str::from_utf8(value).map_err(|_| DatasetError::NotUtf8 {
                path: path.to_owned(),
                line: line.unwrap_or(1),
                what: format!("column `{name}`"),
            })?;
            fields.insert(name.clone(), text.into());
        }
        records.push(Record { line, fields });
    }
    Ok(Table { columns, records })
}

/// The separator of the header: a comma, unless the header has none and another one.
pub(super) fn delimiter(bytes: &[u8]) -> u8 {
    let header = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let has = |separator: u8| header.contains(&separator);
    match (has(b','), has(b'\t'), has(b';')) {
        (false, true, _) => b'\t',
        (false, false, true) => b';',
        _ => b',',
    }
}

fn csv_error(path: &Path, error: &csv::Error) -> DatasetError {
    let line = error.position().map(csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => DatasetError::Ragged {
            path: path.to_owned(),
            line: line.unwrap_or(1),
            expected: *expected_len,
            found: *len,
        },
        _ => DatasetError::Malformed {
            path: path.to_owned(),
            line,
            problem: error.to_string(),
        },
    }
}

fn read_lines(path: &Path, bytes: &[u8]) -> Result<Table, DatasetError> {
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    for (line, bytes) in (1_u64..).zip(bytes.split(|byte| *byte == b'\n')) {
        let text = std::str::from_utf8(bytes).map_err(|_| DatasetError::NotUtf8 {
            path: path.to_owned(),
            line,
            what: "the line".to_owned(),
        })?;
        if text.trim().is_empty() {
            continue;
        }
        let malformed = |problem: String| DatasetError::Malformed {
            path: path.to_owned(),
            line: Some(line),
            problem,
        };
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => rows.push(fields),
            Ok(_) => return Err(malformed("the line is not a JSON object".to_owned())),
            Err(error) => {
                let problem = format!("the line is not JSON at column {}", error.column());
                return Err(malformed(problem));
            }
        }
        lines.push(line);
    }
    Ok(table_of(rows, |index| lines.get(index).copied()))
}

fn read_array(path: &Path, bytes: &[u8]) -> Result<Vec<Fields>, DatasetError> {
    let malformed = |line: Option<u64>, problem: String| DatasetError::Malformed {
        path: path.to_owned(),
        line,
        problem,
    };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count();
        DatasetError::NotUtf8 {
            path: path.to_owned(),
            line: line as u64,
            what: "the line".to_owned(),
        }
    })?;
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let hint = if text.trim_start().starts_with('{') {
            "; JSON lines go into a .jsonl file"
        } else {
            ""
        };
        malformed(
            Some(error.line() as u64),
            format!("the file is not JSON at column {}{hint}", error.column()),
        )
    })?;
    let Value::Array(values) = value else {
        return Err(malformed(
            Some(1),
            "the file is not a JSON array of objects".to_owned(),
        ));
    };
    values
        .into_iter()
        .enumerate()
        .map(|(index, value)| match value {
            Value::Object(fields) => Ok(fields),
            _ => Err(malformed(
                None,
                format!("item {index} of the array is not an object"),
            )),
        })
        .collect()
}

fn table_of(rows: Vec<Fields>, line: impl Fn(usize) -> Option<u64>) -> Table {
    let mut columns: Vec<String> = Vec::new();
    let mut seen: HashSet<&str> = HashSet::new();
    for fields in &rows {
        for name in fields.keys() {
            if seen.insert(name) {
                columns.push(name.clone());
            }
        }
    }
    let records = rows
        .into_iter()
        .enumerate()
        .map(|(index, fields)| Record {
            line: line(index),
            fields,
        })
        .collect();
    Table { columns, records }
}
