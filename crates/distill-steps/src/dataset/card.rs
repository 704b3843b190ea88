//! Cards: what `datasets/<name>/card.yaml` says of a data set.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use distill_chat::Fields;
use distill_student::regular_file;
use serde::{Deserialize, Serialize};

use super::{DatasetError, Places, embedded};

/// How a file becomes rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A header, then rows; separated by comma, semicolon or tab.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// One JSON array of objects.
    Json,
    /// Texts with labelled spans, read as columns `text`, `requested` and `slots`.
    SpanSlots,
    /// Apache Parquet, uncompressed or SNAPPY; nested columns become JSON values.
    Parquet,
}

impl Format {
    /// The format that a file's name tells.
    ///
    /// # Errors
    /// [`DatasetError::UnknownFormat`].
    pub fn of(path: &Path) -> Result<Self, DatasetError> {
        let ending = path
            .extension()
            .map(|ending| ending.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            Some("csv" | "tsv") => Ok(Self::Csv),
            Some("jsonl" | "ndjson") => Ok(Self::Jsonl),
            Some("json") => Ok(Self::Json),
            Some("parquet") => Ok(Self::Parquet),
            _ => Err(DatasetError::UnknownFormat {
                path: path.to_owned(),
            }),
        }
    }
}

/// What is known of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    pub name: String,
    pub title: String,
    pub about: String,
    pub source: String,
    pub licence: String,
    pub attribution: String,
    pub splits: BTreeMap<String, Split>,
    pub format: Format,
    /// Each column after reading, and what it means.
    pub columns: Fields,
    /// The column with the human answer.
    pub gold: String,
    /// A made-up row of the same shape.
    pub example: Fields,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Fields>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labelling_rule: Option<String>,
    #[serde(default)]
    pub facts: Vec<String>,
    /// Where the card lies; `None` for one in the program itself.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
}

/// One file of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    pub file: String,
    /// Left out: the file lies beside the card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    pub sha256: String,
    pub bytes: u64,
    pub rows: usize,
    /// The column with the human answer, where it is another than the card's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold: Option<String>,
}

impl Card {
    /// Reads a card. `path` is how errors name it.
    ///
    /// # Errors
    /// [`DatasetError::Card`] says what is wrong with it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, DatasetError> {
        let wrong = |problem: String| DatasetError::Card {
            path: path.to_owned(),
            problem,
        };
        let card: Self = serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
        for (name, split) in &card.splits {
            // The file's name is joined to folders, so it must not lead out of them.
            let plain = !split.file.is_empty()
                && Path::new(&split.file)
                    .file_name()
                    .is_some_and(|file| file == split.file.as_str());
            if !plain {
                return Err(wrong(format!(
                    "split `{name}` has the file `{}`, and a file is a plain name",
                    split.file
                )));
            }
            let hexadecimal = split.sha256.len() == 64
                && split
                    .sha256
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if !hexadecimal {
                return Err(wrong(format!(
                    "split `{name}` has a sha256 that is not 64 small hexadecimal digits"
                )));
            }
        }
        if !card.columns.contains_key(&card.gold) {
            return Err(wrong(format!(
                "`gold` is `{}`, which is not one of `columns`",
                card.gold
            )));
        }
        Ok(card)
    }

    /// A split by its name.
    ///
    /// # Errors
    /// [`DatasetError::UnknownSplit`] lists those there are.
    pub fn split(&self, name: &str) -> Result<&Split, DatasetError> {
        self.splits
            .get(name)
            .ok_or_else(|| DatasetError::UnknownSplit {
                name: self.name.clone(),
                split: name.to_owned(),
                known: self.splits.keys().cloned().collect(),
            })
    }

    fn read(folder: &Path) -> Result<Self, DatasetError> {
        let path = folder.join("card.yaml");
        let text =
            regular_file::read_text(&path, regular_file::LONGEST_TEXT).map_err(|source| {
                DatasetError::Unreadable {
                    path: path.clone(),
                    source,
                }
            })?;
        let mut card = Self::parse(&path, &text)?;
        if folder
            .file_name()
            .is_none_or(|name| name != card.name.as_str())
        {
            return Err(DatasetError::Card {
                problem: format!(
                    "its name is `{}`, which is not that of its folder",
                    card.name
                ),
                path,
            });
        }
        card.folder = Some(folder.to_owned());
        Ok(card)
    }
}

/// Folders called `datasets`, nearest first.
fn shelves(places: &Places) -> impl Iterator<Item = PathBuf> {
    let start = std::path::absolute(&places.beside).unwrap_or_else(|_| places.beside.clone());
    let shelves: Vec<PathBuf> = start
        .ancestors()
        .map(|folder| folder.join("datasets"))
        .filter(|shelf| shelf.is_dir())
        .collect();
    shelves.into_iter()
}

/// The card of a data set: of the nearest `datasets` folder, or the program's own.
///
/// # Errors
/// [`DatasetError::UnknownDataset`] lists the known ones; [`DatasetError::Card`].
pub fn find_card(name: &str, places: &Places) -> Result<Card, DatasetError> {
    let plain = Path::new(name).file_name().is_some_and(|file| file == name);
    let folder = shelves(places)
        .map(|shelf| shelf.join(name))
        .find(|folder| plain && folder.join("card.yaml").is_file());
    if let Some(folder) = folder {
        return Card::read(&folder);
    }
    if let Some(card) = embedded::card(name) {
        return Ok(card);
    }
    // A card that cannot be read is no reason to hide the others.
    let folders = shelves(places).filter_map(|shelf| fs::read_dir(shelf).ok());
    let mut known: Vec<String> = folders
        .flat_map(|entries| entries.filter_map(Result::ok))
        .filter(|entry| entry.path().join("card.yaml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .chain(embedded::cards().map(|card| card.name))
        .collect();
    known.sort();
    known.dedup();
    Err(DatasetError::UnknownDataset {
        name: name.to_owned(),
        known,
    })
}

/// Every card there is, by name.
///
/// # Errors
/// [`DatasetError`] for the first card that cannot be read.
pub fn cards(places: &Places) -> Result<Vec<Card>, DatasetError> {
    let mut found: BTreeMap<String, Card> = BTreeMap::new();
    for shelf in shelves(places) {
        let entries = fs::read_dir(&shelf).map_err(|source| DatasetError::Unreadable {
            path: shelf.clone(),
            source,
        })?;
        for entry in entries.filter_map(Result::ok) {
            if entry.path().join("card.yaml").is_file() {
                let card = Card::read(&entry.path())?;
                found.entry(card.name.clone()).or_insert(card);
            }
        }
    }
    for card in embedded::cards() {
        found.entry(card.name.clone()).or_insert(card);
    }
    Ok(found.into_values().collect())
}
