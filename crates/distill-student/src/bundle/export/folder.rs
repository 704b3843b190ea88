//! A folder that is there whole or not at all.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::ExportError;

/// The file by which an earlier export is known.
const MARK: &str = "distill.json";

/// A folder in the making, beside its place. What was written is removed when it is dropped unfinished.
pub(super) struct Folder {
    to: PathBuf,
    beside: PathBuf,
    finished: bool,
}

impl Folder {
    /// # Errors
    /// The place is taken by files, unless they are an earlier export's and `replace` is set.
    pub(super) fn begin(to: &Path, replace: bool) -> Result<Self, ExportError> {
        check(to, replace)?;
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let beside = to.with_file_name(format!(".{name}.{}.partial", std::process::id()));
        fs::create_dir_all(&beside).map_err(failed("make", &beside))?;
        Ok(Self {
            to: to.to_owned(),
            beside,
            finished: false,
        })
    }

    /// Where the files lie until it is finished.
    pub(super) fn path(&self) -> &Path {
        &self.beside
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.beside.join(name);
        fs::write(&path, bytes).map_err(failed("write", &path))
    }

    /// Makes a folder within.
    pub(super) fn inner(&self, name: &str) -> Result<PathBuf, ExportError> {
        let path = self.beside.join(name);
        fs::create_dir_all(&path).map_err(failed("make", &path))?;
        Ok(path)
    }

    /// Puts the folder in its place, with this mark. Gives the names and sizes of its files.
    pub(super) fn finish(mut self, mark: &Value) -> Result<Vec<(String, u64)>, ExportError> {
        self.write(MARK, format!("{mark:#}\n").as_bytes())?;
        let mut files = Vec::new();
        list(&self.beside, "", &mut files)?;
        files.sort();
        let aside = self.beside.with_extension("replaced");
        let replaces = self.to.exists();
        if replaces {
            fs::rename(&self.to, &aside).map_err(failed("move", &self.to))?;
        }
        if let Err(source) = fs::rename(&self.beside, &self.to) {
            if replaces {
                // What stood there goes back.
                fs::rename(&aside, &self.to).map_err(failed("move", &aside))?;
            }
            return Err(failed("write", &self.to)(source));
        }
        self.finished = true;
        if replaces {
            fs::remove_dir_all(&aside).map_err(failed("remove", &aside))?;
        }
        Ok(files)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.finished {
            // Nobody is left to hear of a failure; the name says that it is partial.
            let _ = fs::remove_dir_all(&self.beside);
        }
    }
}

/// Whether a folder may be made here.
fn check(to: &Path, replace: bool) -> Result<(), ExportError> {
    let entries = match fs::read_dir(to) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed("read", to)(source)),
    };
    let mut first = None;
    for entry in entries {
        let entry = entry.map_err(failed("read", to))?;
        first.get_or_insert_with(|| entry.file_name().to_string_lossy().into_owned());
    }
    let Some(file) = first else {
        return Ok(());
    };
    if !replace {
        return Err(ExportError::NotEmpty(to.to_owned()));
    }
    if !to.join(MARK).is_file() {
        return Err(ExportError::Foreign {
            folder: to.to_owned(),
            file,
        });
    }
    Ok(())
}

fn list(folder: &Path, before: &str, files: &mut Vec<(String, u64)>) -> Result<(), ExportError> {
    for entry in fs::read_dir(folder).map_err(failed("read", folder))? {
        let entry = entry.map_err(failed("read", folder))?;
        let path = entry.path();
        let name = format!("{before}{}", entry.file_name().to_string_lossy());
        let found = entry.metadata().map_err(failed("read", &path))?;
        if found.is_dir() {
            list(&path, &format!("{name}/"), files)?;
        } else {
            files.push((name, found.len()));
        }
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ExportError {
    let path = path.to_owned();
    move |source| ExportError::Io {
        action,
        path,
        source,
    }
}
