//! What can be wrong with data, in words that say where and what to do next.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a data set cannot be found or read.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    #[error("the data file `{}` cannot be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("`{}` cannot be written", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("the format of `{}` is not known", path.display())]
    UnknownFormat { path: PathBuf },
    #[error("{}, line {line}: {what} is not UTF-8", path.display())]
    NotUtf8 {
        path: PathBuf,
        line: u64,
        what: String,
    },
    #[error("{}, line {line}: the row has {found} columns and the header {expected}", path.display())]
    Ragged {
        path: PathBuf,
        line: u64,
        expected: u64,
        found: u64,
    },
    #[error("{}: {problem}", place(path, *line))]
    Malformed {
        path: PathBuf,
        line: Option<u64>,
        problem: String,
    },
    #[error("`{}` has no rows", path.display())]
    Empty { path: PathBuf },
    #[error("{}: there is no column `{column}`, {purpose}", place(path, *line))]
    MissingColumn {
        path: PathBuf,
        line: Option<u64>,
        column: String,
        /// "which `data.gold` names".
        purpose: String,
        available: Vec<String>,
    },
    #[error("{}: label `{label}` is not one of the task's {known}{}", place(path, *line), others(*count))]
    UnknownLabel {
        path: PathBuf,
        line: Option<u64>,
        label: String,
        /// Rows with a label outside the set.
        count: usize,
        /// Labels in the set.
        known: usize,
        nearest: Option<String>,
    },
    #[error("the card `{}` cannot be used: {problem}", path.display())]
    Card { path: PathBuf, problem: String },
    #[error("there is no data set `{name}`")]
    UnknownDataset { name: String, known: Vec<String> },
    #[error("data set `{name}` has no split `{split}`")]
    UnknownSplit {
        name: String,
        split: String,
        known: Vec<String>,
    },
    #[error("the file `{file}` of data set `{name}` is not here")]
    Absent {
        name: String,
        file: String,
        /// In the order in which they were looked at.
        looked: Vec<PathBuf>,
        downloadable: bool,
    },
    #[error("`{}` is not the file that the card of `{name}` describes: {difference}", path.display())]
    Differs {
        path: PathBuf,
        name: String,
        difference: String,
    },
    #[error("{url} cannot be downloaded: {problem}")]
    Download { url: String, problem: String },
}

impl DatasetError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "look at the path: written in a pipeline or a suite, it counts from the folder of that file".to_owned()
            }
            Self::Unreadable { .. } => "make the file readable for this user".to_owned(),
            Self::Unwritable { .. } => {
                "make room or choose a folder that can be written".to_owned()
            }
            Self::UnknownFormat { .. } => {
                "give a file that ends in .csv, .jsonl, .json or .parquet".to_owned()
            }
            Self::NotUtf8 { .. } => {
                "save the file as UTF-8, for instance `iconv -f latin1 -t utf-8`".to_owned()
            }
            Self::Ragged { .. } => {
                "put text that holds commas or line breaks into quotes, or mend the row".to_owned()
            }
            Self::Malformed { path, .. } if path.extension().is_some_and(|ending| ending == "parquet") => {
                "write the file again, for instance `frame.to_parquet(\"rows.parquet\", compression=\"snappy\")`, or give JSON lines".to_owned()
            }
            Self::Malformed { .. } => "mend the line, or remove it".to_owned(),
            Self::Empty { .. } => "give a file with rows below its header".to_owned(),
            Self::MissingColumn { available, .. } => {
                format!("the columns are: {}", available.join(", "))
            }
            Self::UnknownLabel {
                nearest: Some(name),
                ..
            } => {
                format!("did you mean `{name}`? Mend the row, or add the label to `task.labels`")
            }
            Self::UnknownLabel { .. } => {
                "mend the row, or add the label to `task.labels`".to_owned()
            }
            Self::Card { .. } => "datasets/README.md says what a card holds".to_owned(),
            Self::UnknownDataset { known, .. } => format!("known data sets: {}", known.join(", ")),
            Self::UnknownSplit { known, .. } => format!("its splits are: {}", known.join(", ")),
            Self::Absent {
                name,
                looked,
                downloadable,
                ..
            } => {
                let looked: Vec<String> = looked
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                let get = if *downloadable {
                    format!(
                        "`distill data pull {name}` fetches it, or set DISTILL_DATA_DIR to a folder that has {name}/"
                    )
                } else {
                    format!(
                        "put it beside the card, or set DISTILL_DATA_DIR to a folder that has {name}/"
                    )
                };
                format!("{get} (looked at: {})", looked.join(", "))
            }
            Self::Differs { path, name, .. } => format!(
                "remove {} and run `distill data pull {name}`, or correct the card if the file is the right one",
                path.display()
            ),
            Self::Download { .. } => {
                "try again, or set DISTILL_DATA_DIR to a folder that has the file".to_owned()
            }
        };
        Some(hint)
    }

    /// The file that is at fault.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Unreadable { path, .. }
            | Self::Unwritable { path, .. }
            | Self::UnknownFormat { path }
            | Self::NotUtf8 { path, .. }
            | Self::Ragged { path, .. }
            | Self::Malformed { path, .. }
            | Self::Empty { path }
            | Self::MissingColumn { path, .. }
            | Self::UnknownLabel { path, .. }
            | Self::Card { path, .. }
            | Self::Differs { path, .. } => Some(path),
            Self::UnknownDataset { .. }
            | Self::UnknownSplit { .. }
            | Self::Absent { .. }
            | Self::Download { .. } => None,
        }
    }

    /// The line at fault, from 1.
    pub fn line(&self) -> Option<u64> {
        match self {
            Self::NotUtf8 { line, .. } | Self::Ragged { line, .. } => Some(*line),
            Self::Malformed { line, .. }
            | Self::MissingColumn { line, .. }
            | Self::UnknownLabel { line, .. } => *line,
            _ => None,
        }
    }
}

fn place(path: &Path, line: Option<u64>) -> String {
    match line {
        Some(line) => format!("{}, line {line}", path.display()),
        None => path.display().to_string(),
    }
}

fn others(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        count => format!(" (and {} rows more have such a label)", count - 1),
    }
}
