//! Data files as users have them: good ones, broken ones, missing ones.

use std::{fs, path::PathBuf};

use distill_chat::{Task, TaskDefinition, TaskKind};
use distill_pipeline::spec::DataSource;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::rows::Row;

mod parquet;
mod pulling;
mod reading;
mod resolving;
mod scaffolding;

/// A folder that goes away with the test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn places(&self) -> Places {
        Places {
            data_dir: None,
            home: self.path("home"),
            beside: self.path("here"),
        }
    }

    /// What the user reads, with the folder's own path left out.
    fn told(&self, error: &DatasetError) -> String {
        let cause =
            std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
        let text = format!("{error}{cause}\nhelp: {}", error.hint().unwrap_or_default());
        text.replace(self.0.path().to_str().unwrap(), "DIR")
    }
}

/// The rows of a file with these bytes, or what the user reads instead.
fn check(name: &str, bytes: impl AsRef<[u8]>, gold: Option<&str>) -> Result<Vec<Row>, String> {
    let folder = Folder::new();
    let path = folder.write(name, bytes);
    let format = Format::of(&path).map_err(|error| folder.told(&error))?;
    read_rows(&Resolved::from_parts(&path, format), gold).map_err(|error| folder.told(&error))
}

fn row(id: &str, fields: Value, gold: Option<&str>) -> Row {
    Row {
        id: id.to_owned(),
        fields: fields.as_object().unwrap().clone(),
        gold: gold.map(str::to_owned),
    }
}

/// The public data, where this machine has it; else the test says that it was skipped.
fn public_data(test: &str) -> Option<PathBuf> {
    #[expect(clippy::print_stdout, reason = "a skipped test must say so")]
    if std::env::var_os("DISTILL_DATA_DIR").is_none() {
        println!("skipped: {test}: DISTILL_DATA_DIR is not set");
    }
    std::env::var_os("DISTILL_DATA_DIR").map(PathBuf::from)
}
