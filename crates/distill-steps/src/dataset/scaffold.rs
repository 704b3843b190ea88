//! `distill init`: looks at a data file, guesses what is what, and lays out a pipeline for it.
//!
//! Nothing is written here but by [`Scaffold::write`]; [`Scaffold::new`] only looks.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{DatasetError, Format, Record, Table, locate::write_beside_and_rename, read_table};

mod guess;
mod pipeline;

pub use guess::{Answer, Guess};

/// Seed of the split; also the seed in the pipeline.
pub const SEED: u64 = 17;
/// One row in five is kept for the verdict, but no more than this many rows.
const TEST_SHARE: f64 = 0.2;
const MOST_TEST_ROWS: usize = 2_000;
/// Fewer rows cannot be split into something to learn and something to judge by.
const FEWEST_ROWS: usize = 10;
/// Below this many test rows an interval is wider than any margin one would set.
const FEW_TEST_ROWS: usize = 200;

/// What the user said about the file.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    pub text: Option<String>,
    pub label: Option<String>,
}

/// A pipeline that could be written.
#[derive(Debug)]
pub struct Scaffold {
    pub guess: Guess,
    /// What the user should know: guesses, splits, what is left out.
    pub notes: Vec<String>,
    pub warnings: Vec<String>,
    pub train_rows: usize,
    pub test_rows: usize,
    files: Vec<(&'static str, String)>,
}

/// Why no pipeline can be laid out.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    #[error(transparent)]
    Data(#[from] DatasetError),
    #[error("`{}` has {rows} rows that can be used, and a pipeline needs at least {FEWEST_ROWS}", path.display())]
    TooFew { path: PathBuf, rows: usize },
    #[error("`{}` has no column that looks like text", path.display())]
    NoText { path: PathBuf, columns: Vec<String> },
    #[error("`{}` is there already", path.display())]
    Exists { path: PathBuf },
}

impl ScaffoldError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Data(error) => error.hint(),
            Self::TooFew { .. } => {
                Some("collect more rows; some hundred are a good beginning".to_owned())
            }
            Self::NoText { columns, .. } => Some(format!(
                "name it: `--text COLUMN`; the columns are: {}",
                columns.join(", ")
            )),
            Self::Exists { .. } => Some(
                "choose another folder with `--out DIR`, or overwrite with `--force`".to_owned(),
            ),
        }
    }
}

impl Scaffold {
    /// Looks at a file.
    ///
    /// # Errors
    /// [`ScaffoldError`] when the file cannot be read, or is no data for a pipeline.
    pub fn new(path: &Path, wishes: &Wishes) -> Result<Self, ScaffoldError> {
        let format = Format::of(path)?;
        let mut table = read_table(path, format)?;
        let mut notes = rename_columns(&mut table);
        let renamed = |name: &Option<String>| name.as_deref().map(identifier);
        let wishes = Wishes {
            text: renamed(&wishes.text),
            label: renamed(&wishes.label),
        };
        for column in [&wishes.text, &wishes.label].into_iter().flatten() {
            if !table.columns.contains(column) {
                return Err(ScaffoldError::Data(DatasetError::MissingColumn {
                    path: path.to_owned(),
                    line: None,
                    column: column.clone(),
                    purpose: "which the command line names".to_owned(),
                    available: table.columns,
                }));
            }
        }
        let guess = guess::guess(&table, &wishes).ok_or_else(|| ScaffoldError::NoText {
            path: path.to_owned(),
            columns: table.columns.clone(),
        })?;
        notes.extend(guess.reasons.iter().cloned());
        let (mut train, mut test) = split(usable(&table, &guess, &mut notes), &guess);
        let rows = train.len() + test.len();
        if rows < FEWEST_ROWS {
            return Err(ScaffoldError::TooFew {
                path: path.to_owned(),
                rows,
            });
        }
        train.sort_unstable();
        test.sort_unstable();
        notes.push(format!(
            "split by seed {SEED}: {} rows to learn from, {} to judge by (equal texts stay on one side)",
            train.len(),
            test.len()
        ));
        let warnings = warnings(&guess, test.len());
        let ending = if format == Format::Csv {
            "csv"
        } else {
            "jsonl"
        };
        let (train_name, test_name) = match ending {
            "csv" => ("train.csv", "test.csv"),
            _ => ("train.jsonl", "test.jsonl"),
        };
        let name = path.file_stem().map_or_else(
            || "pipeline".to_owned(),
            |stem| stem.to_string_lossy().into_owned(),
        );
        let files = vec![
            (train_name, render(&table, &train, ending)),
            (test_name, render(&table, &test, ending)),
            (
                "pipeline.yaml",
                pipeline::write(&name, &guess, train_name, test_name),
            ),
        ];
        Ok(Self {
            guess,
            notes,
            warnings,
            train_rows: train.len(),
            test_rows: test.len(),
            files,
        })
    }

    /// Writes the files into a folder, the pipeline last. Gives their paths, the pipeline's last.
    ///
    /// # Errors
    /// [`ScaffoldError::Exists`] without `force`, before anything is written.
    pub fn write(&self, folder: &Path, force: bool) -> Result<Vec<PathBuf>, ScaffoldError> {
        let paths: Vec<PathBuf> = self
            .files
            .iter()
            .map(|(name, _)| folder.join(name))
            .collect();
        if let Some(path) = paths.iter().find(|path| !force && path.exists()) {
            return Err(ScaffoldError::Exists { path: path.clone() });
        }
        for (path, (_, text)) in paths.iter().zip(&self.files) {
            write_beside_and_rename(path, text.as_bytes())?;
        }
        Ok(paths)
    }

    /// The pipeline as it would be written.
    pub fn pipeline(&self) -> &str {
        self.files.last().map_or("", |(_, text)| text)
    }
}

/// Gives every column a name that a template can read. Says which were changed.
fn rename_columns(table: &mut Table) -> Vec<String> {
    let mut notes = Vec::new();
    let mut taken: Vec<String> = Vec::new();
    let mut renames: Vec<(String, String)> = Vec::new();
    for column in &table.columns {
        let mut name = identifier(column);
        while taken.contains(&name) {
            name.push('_');
        }
        if name != *column {
            notes.push(format!("column `{column}` is called `{name}` in the new files, so that a template can read it"));
            renames.push((column.clone(), name.clone()));
        }
        taken.push(name);
    }
    if renames.is_empty() {
        return notes;
    }
    let new_name = |old: &str| {
        renames
            .iter()
            .find(|(from, _)| from == old)
            .map_or_else(|| old.to_owned(), |(_, to)| to.clone())
    };
    for Record { fields, .. } in &mut table.records {
        *fields = std::mem::take(fields)
            .into_iter()
            .map(|(name, value)| (new_name(&name), value))
            .collect();
    }
    table.columns = taken;
    notes
}

/// The nearest name that a template can read: letters, digits and `_`.
fn identifier(column: &str) -> String {
    let name: String = column
        .chars()
        .map(|character| {
            if character.is_alphanumeric() {
                character
            } else {
                '_'
            }
        })
        .collect();
    // Templates have the label set under this name.
    let reserved = [
        "labels", "true", "false", "none", "not", "and", "or", "in", "is", "if", "else",
    ];
    if name.starts_with(|character: char| character.is_numeric())
        || reserved.contains(&name.as_str())
    {
        return format!("column_{name}");
    }
    name
}

/// Indices of the rows that have a text and, where there is a label column, a label.
fn usable<'a>(
    table: &'a Table,
    guess: &Guess,
    notes: &mut Vec<String>,
) -> Vec<(usize, &'a Record)> {
    let filled = |record: &Record, column: &str| {
        record
            .fields
            .get(column)
            .is_some_and(|value| !guess::text_of(value).trim().is_empty())
    };
    let all = table.records.iter().enumerate();
    let rows: Vec<(usize, &Record)> = all
        .filter(|(_, record)| filled(record, &guess.text))
        .filter(|(_, record)| {
            guess
                .label
                .as_ref()
                .is_none_or(|label| filled(record, label))
        })
        .collect();
    let left_out = table.records.len() - rows.len();
    if left_out > 0 {
        notes.push(format!(
            "{left_out} rows have no text or no label and are left out"
        ));
    }
    rows
}

/// Splits rows into train and test. Each label keeps its share; rows with equal text stay together,
/// so that no test text was learnt.
fn split(rows: Vec<(usize, &Record)>, guess: &Guess) -> (Vec<usize>, Vec<usize>) {
    let total = rows.len();
    let wanted = ((total as f64 * TEST_SHARE).round() as usize).min(MOST_TEST_ROWS);
    let mut groups: std::collections::BTreeMap<String, (String, Vec<usize>)> =
        std::collections::BTreeMap::new();
    for (index, record) in rows {
        let field = |column: &str| {
            record
                .fields
                .get(column)
                .map(guess::text_of)
                .unwrap_or_default()
        };
        let label = match (&guess.answer, &guess.label) {
            (Answer::Label { .. }, Some(label)) => field(label),
            _ => String::new(),
        };
        let text = field(&guess.text).to_lowercase();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        groups
            .entry(text)
            .or_insert_with(|| (label, Vec::new()))
            .1
            .push(index);
    }
    let mut groups: Vec<(String, Vec<usize>)> = groups.into_values().collect();
    groups.shuffle(&mut ChaCha8Rng::seed_from_u64(SEED));
    // By label, shuffled within; then a running remainder spreads the share evenly over all.
    groups.sort_by(|(left, _), (right, _)| left.cmp(right));
    let share = wanted as f64 / total.max(1) as f64;
    let (mut train, mut test) = (Vec::new(), Vec::new());
    let mut owed = 0.0;
    for (_, members) in groups {
        owed += share * members.len() as f64;
        if owed >= 1.0 && owed + 0.5 >= members.len() as f64 {
            owed -= members.len() as f64;
            test.extend(members);
        } else {
            train.extend(members);
        }
    }
    (train, test)
}

fn warnings(guess: &Guess, test_rows: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    if guess.label.is_none() {
        warnings.push(
            "no column holds a human answer, so the report can only show agreement with the teacher, and no verdict to replace it: label some hundred rows by hand and name the column with `--label`"
                .to_owned(),
        );
    }
    if test_rows < FEW_TEST_ROWS {
        warnings.push(format!(
            "{test_rows} test rows leave wide intervals: expect the verdict UNDECIDED, and collect more rows"
        ));
    }
    warnings
}

fn render(table: &Table, rows: &[usize], ending: &str) -> String {
    let records = rows.iter().map(|index| &table.records[*index].fields);
    if ending == "jsonl" {
        let mut text = String::new();
        for fields in records {
            writeln!(text, "{}", serde_json::Value::Object(fields.clone()))
                .expect("a String takes every write");
        }
        return text;
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer
        .write_record(&table.columns)
        .expect("memory takes every write");
    for fields in records {
        let values = table
            .columns
            .iter()
            .map(|column| fields.get(column).map(guess::text_of).unwrap_or_default());
        writer
            .write_record(values)
            .expect("memory takes every write, and each row has every column");
    }
    let bytes = writer.into_inner().expect("memory takes every write");
    String::from_utf8(bytes).expect("the columns were UTF-8")
}
