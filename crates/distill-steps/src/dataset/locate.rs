//! Where a data file is: the first place that holds it as its card describes it.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use distill_pipeline::{hash::ContentHash, spec::DataSource};
use distill_student::regular_file;
use sha2::{Digest, Sha256};

use super::{Card, DatasetError, Format, Split, embedded, find_card};

/// Folders that data may lie in.
#[derive(Debug, Clone)]
pub struct Places {
    /// `DISTILL_DATA_DIR`: `<data_dir>/<name>/<file>`.
    pub data_dir: Option<PathBuf>,
    /// State folder; downloads lie in `<home>/data/<name>/<file>`.
    pub home: PathBuf,
    /// Folder of the pipeline file: paths count from here, and `datasets/` is looked for here and
    /// in the folders above.
    pub beside: PathBuf,
}

/// A data file that is there, and how it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub path: PathBuf,
    pub format: Format,
    /// Name of the data set, where a card describes the file.
    pub dataset: Option<String>,
}

impl Resolved {
    /// A file that was resolved before.
    pub fn from_parts(path: &Path, format: Format) -> Self {
        Self {
            path: path.to_owned(),
            format,
            dataset: None,
        }
    }
}

/// Finds the file that a spec names. A file with a card is held to the card's size and sha256.
///
/// # Errors
/// [`DatasetError`]: no such file, data set or split; no place has it; it is not the one described.
pub fn resolve(source: &DataSource, places: &Places) -> Result<Resolved, DatasetError> {
    match source {
        DataSource::Path(path) => {
            let path = places.beside.join(path);
            let format = Format::of(&path)?;
            // Opening it now finds a wrong path before any step runs.
            regular_file::open(&path).map_err(|source| DatasetError::Unreadable {
                path: path.clone(),
                source,
            })?;
            Ok(Resolved {
                path,
                format,
                dataset: None,
            })
        }
        DataSource::Dataset { dataset, split } => {
            let card = find_card(dataset, places)?;
            let path = locate(&card, card.split(split)?, places)?;
            Ok(Resolved {
                path,
                format: card.format,
                dataset: Some(card.name),
            })
        }
    }
}

/// Where a file of a data set may lie, in the order in which it is looked for.
pub(super) fn candidates(card: &Card, split: &Split, places: &Places) -> Vec<PathBuf> {
    let under = |folder: &Path| folder.join(&card.name).join(&split.file);
    let mut candidates = Vec::new();
    candidates.extend(places.data_dir.as_deref().map(under));
    candidates.push(cache_path(card, split, places));
    candidates.extend(card.folder.as_ref().map(|folder| folder.join(&split.file)));
    candidates
}

/// Where a download of a file lies.
pub(super) fn cache_path(card: &Card, split: &Split, places: &Places) -> PathBuf {
    places.home.join("data").join(&card.name).join(&split.file)
}

/// The first place that holds the right file. What the program carries is written to the cache.
fn locate(card: &Card, split: &Split, places: &Places) -> Result<PathBuf, DatasetError> {
    let candidates = candidates(card, split, places);
    let mut wrong = None;
    for path in &candidates {
        match verify(path, card, split) {
            Ok(()) => return Ok(path.clone()),
            Err(DatasetError::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => wrong = wrong.or(Some(error)),
        }
    }
    let carried = embedded::file(&card.name, split)
        .filter(|bytes| ContentHash::of_bytes(bytes).to_string() == split.sha256);
    if let Some(bytes) = carried {
        let path = cache_path(card, split, places);
        write_beside_and_rename(&path, bytes)?;
        return Ok(path);
    }
    Err(wrong.unwrap_or_else(|| DatasetError::Absent {
        name: card.name.clone(),
        file: split.file.clone(),
        looked: candidates,
        downloadable: split.url.is_some(),
    }))
}

/// Holds a file to its card.
pub(super) fn verify(path: &Path, card: &Card, split: &Split) -> Result<(), DatasetError> {
    let unreadable = |source| DatasetError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut file = regular_file::open(path).map_err(unreadable)?;
    let differs = |difference: String| DatasetError::Differs {
        path: path.to_owned(),
        name: card.name.clone(),
        difference,
    };
    let bytes = file.metadata().map_err(unreadable)?.len();
    if bytes != split.bytes {
        return Err(differs(format!(
            "it has {bytes} bytes, and should have {}",
            split.bytes
        )));
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    let found = ContentHash::from_digest(hasher.finalize().into()).to_string();
    if found == split.sha256 {
        Ok(())
    } else {
        Err(differs(format!(
            "its sha256 is {found}, and should be {}",
            split.sha256
        )))
    }
}

/// Writes a whole file or none.
pub(super) fn write_beside_and_rename(path: &Path, bytes: &[u8]) -> Result<(), DatasetError> {
    let unwritable = |source| DatasetError::Unwritable {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(unwritable)?;
    }
    let part = part_path(path);
    let written = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        drop(std::fs::remove_file(&part));
    }
    written.map_err(unwritable)
}

/// A name beside the file that no other process uses.
pub(super) fn part_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".part-{}", std::process::id()));
    path.with_file_name(name)
}
