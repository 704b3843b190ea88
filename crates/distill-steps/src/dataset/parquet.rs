//! Parquet files as tables. Nested columns become JSON values, so that a row looks the same as it
//! would from a JSON-lines file.

mod footer;

use std::{fs::File, io, path::Path, thread};

use distill_chat::Fields;
use distill_student::regular_file;
use parquet::{
    basic::{Compression, ConvertedType, LogicalType},
    errors::ParquetError,
    file::{
        metadata::ParquetMetaData,
        reader::{FileReader as _, SerializedFileReader},
    },
    record::{Field, Row},
    schema::types::Type,
};
use serde_json::{Number, Value};

use super::{DatasetError, Record, Table};

/// Rows of one file. A page of some bytes can claim billions of empty rows.
const MOST_ROWS: i64 = 10_000_000;
/// Columns and groups of one schema, its root among them. The decoder recurses over a schema.
const MOST_ELEMENTS: u64 = 10_000;
/// Groups in one another. The rows become JSON, which other readers take at most 128 deep.
const MOST_LEVELS: usize = 100;
/// Holds the decoder's recursion over [`MOST_ELEMENTS`] groups in one another: 26 KiB for each.
const STACK_BYTES: usize = 256 << 20;
/// Bytes of text in one file: a dictionary page can repeat one long text without end.
const MOST_TEXT_BYTES: usize = 4 << 30;

/// Reads a whole file. Its records have no lines: errors count rows, from 1.
///
/// # Errors
/// [`DatasetError`] for a file that is cut, damaged or no Parquet, a compression that is not built
/// in, a text that is not UTF-8.
pub(super) fn read(path: &Path) -> Result<Table, DatasetError> {
    let malformed = |problem: String| DatasetError::Malformed {
        path: path.to_owned(),
        line: None,
        problem,
    };
    let file = regular_file::open(path).map_err(|source| DatasetError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    // The decoder asserts some of what a file promises; a file must not end the program.
    thread::scope(|scope| {
        thread::Builder::new()
            .name("parquet".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || read_file(file))
            .map(|reading| {
                reading.join().unwrap_or_else(|_| {
                    Err("the file is damaged: its pages contradict its schema".to_owned())
                })
            })
    })
    .unwrap_or_else(|error: io::Error| Err(format!("no thread can be had to read it: {error}")))
    .map_err(malformed)
}

fn read_file(mut file: File) -> Result<Table, String> {
    if let Some(elements) = footer::schema_elements(&mut file)?
        && elements > MOST_ELEMENTS
    {
        return Err(format!(
            "its schema has {elements} columns and groups, and at most {MOST_ELEMENTS} are read: leave some out"
        ));
    }
    let reader = SerializedFileReader::new(file).map_err(|error| {
        format!(
            "the file is not Parquet, or it is cut off: {}",
            words(&error)
        )
    })?;
    let columns = check(reader.metadata())?;
    let rows = reader
        .get_row_iter(None)
        .map_err(|error| format!("its rows cannot be read: {}", words(&error)))?;
    let mut records = Vec::new();
    let mut bytes = 0;
    for (number, row) in (1_u64..).zip(rows) {
        let row = row.map_err(|error| format!("row {number}: {}", words(&error)))?;
        let mut fields = Fields::new();
        for (name, field) in row.into_columns() {
            let value = value_of(field, &mut bytes)
                .map_err(|problem| format!("row {number}, column `{name}`: {problem}"))?;
            fields.insert(name, value);
        }
        if bytes > MOST_TEXT_BYTES {
            return Err(format!(
                "row {number}: the file holds more than {MOST_TEXT_BYTES} bytes of text"
            ));
        }
        records.push(Record { line: None, fields });
    }
    Ok(Table { columns, records })
}

/// Names the columns, after what cannot be read is refused.
fn check(metadata: &ParquetMetaData) -> Result<Vec<String>, String> {
    let rows = metadata.file_metadata().num_rows();
    if !(0..=MOST_ROWS).contains(&rows) {
        return Err(format!(
            "the file says that it has {rows} rows, and at most {MOST_ROWS} are read"
        ));
    }
    let schema = metadata.file_metadata().schema_descr();
    let levels = levels(schema.root_schema());
    if levels > MOST_LEVELS {
        return Err(format!(
            "its columns are nested {levels} levels deep, and at most {MOST_LEVELS} are read: write the inner ones as text"
        ));
    }
    for column in schema.columns() {
        let name = column.path().string();
        let nanoseconds_of_a_day = column.converted_type() == ConvertedType::NONE
            && matches!(column.logical_type_ref(), Some(LogicalType::Time { .. }));
        if column.converted_type() == ConvertedType::INTERVAL || nanoseconds_of_a_day {
            return Err(format!(
                "column `{name}` has a type that is not read ({:?}): leave it out, or write it as text",
                column.physical_type()
            ));
        }
    }
    for group in metadata.row_groups() {
        for column in group.columns() {
            if !matches!(
                column.compression(),
                Compression::UNCOMPRESSED | Compression::SNAPPY
            ) {
                return Err(format!(
                    "column `{}` is compressed with {}, and only SNAPPY and uncompressed files are read: write it again with `compression=\"snappy\"`",
                    column.column_path().string(),
                    compression_name(column.compression())
                ));
            }
        }
    }
    let mut names: Vec<String> = Vec::new();
    for field in schema.root_schema().get_fields() {
        if names.iter().any(|name| name == field.name()) {
            return Err(format!("two columns are called `{}`", field.name()));
        }
        names.push(field.name().to_owned());
    }
    Ok(names)
}

/// The columns and groups from the root to the deepest one, without the root.
fn levels(root: &Type) -> usize {
    let mut open = vec![(root, 0)];
    let mut deepest = 0;
    while let Some((field, level)) = open.pop() {
        deepest = deepest.max(level);
        if field.is_group() {
            open.extend(field.get_fields().iter().map(|field| (&**field, level + 1)));
        }
    }
    deepest
}

/// `ZSTD(ZstdLevel(1))` as `ZSTD`.
fn compression_name(compression: Compression) -> String {
    let name = compression.to_string();
    name.split('(').next().unwrap_or_default().to_owned()
}

/// The reader's own words, without the bytes that it quotes.
fn words(error: &ParquetError) -> String {
    let text = error.to_string();
    if text.contains("as String") {
        return "a text is not UTF-8".to_owned();
    }
    text.trim_start_matches("Parquet error: ").to_owned()
}

fn value_of(field: Field, bytes: &mut usize) -> Result<Value, String> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => value.into(),
        Field::Byte(value) => value.into(),
        Field::Short(value) => value.into(),
        Field::Int(value) => value.into(),
        Field::Long(value) => value.into(),
        Field::UByte(value) => value.into(),
        Field::UShort(value) => value.into(),
        Field::UInt(value) => value.into(),
        Field::ULong(value) => value.into(),
        Field::Float16(value) => float(f64::from(value)),
        // 0.1 as an f32 is to stay 0.1.
        Field::Float(value) => float(value.to_string().parse().unwrap_or(f64::from(value))),
        Field::Double(value) => float(value),
        Field::Str(text) => text_value(text, bytes),
        Field::Bytes(data) => match std::str::from_utf8(data.data()) {
            Ok(text) => text_value(text.to_owned(), bytes),
            Err(_) => return Err("the bytes are not UTF-8 text".to_owned()),
        },
        Field::Group(row) => object(row, bytes)?,
        Field::ListInternal(list) => Value::Array(
            list.elements()
                .iter()
                .map(|element| value_of(element.clone(), bytes))
                .collect::<Result<_, _>>()?,
        ),
        Field::MapInternal(map) => {
            let mut fields = Fields::new();
            for (key, value) in map.entries() {
                let key = match value_of(key.clone(), bytes)? {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                fields.insert(key, value_of(value.clone(), bytes)?);
            }
            Value::Object(fields)
        }
        // Dates, times and decimals: a JSON number would lose digits.
        other => text_value(other.to_string(), bytes),
    })
}

fn object(row: Row, bytes: &mut usize) -> Result<Value, String> {
    let mut fields = Fields::new();
    for (name, field) in row.into_columns() {
        fields.insert(name, value_of(field, bytes)?);
    }
    Ok(Value::Object(fields))
}

fn text_value(text: String, bytes: &mut usize) -> Value {
    *bytes += text.len();
    Value::String(text)
}

/// Data frames write a missing number as NaN.
fn float(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => Value::Null,
        None => Value::String(value.to_string()),
    }
}
