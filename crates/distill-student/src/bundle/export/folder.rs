//! A folder that is there whole or not at all.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::ExportError;

/// The file by which an earlier export is known, with the names of all its files.
const MARK: &str = "distill.json";
/// How the name of a folder in the making ends.
const PARTIAL: &str = ".partial";

/// A folder in the making. What was written is removed when it is dropped unfinished, and by the next
/// export to the same place where its process was killed.
pub(super) struct Folder {
    /// With links followed, where it is there.
    to: PathBuf,
    partial: PathBuf,
    place: Place,
    finished: bool,
    /// Locked as long as its process lives.
    _lock: Option<File>,
}

/// What stood at the place when the export began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing: the whole folder is put there at once.
    Free,
    /// An empty folder, which may be a mounted one or the one that the user is in: its files are put
    /// into it, the mark as the last.
    Empty,
    /// An earlier export, which gives way at once.
    Earlier,
}

impl Folder {
    /// # Errors
    /// The place is taken by files, unless they are an earlier export's and `replace` is set.
    pub(super) fn begin(to: &Path, replace: bool) -> Result<Self, ExportError> {
        let to = followed(to)?;
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let hidden = format!(".{name}.");
        let there = to.is_dir();
        if there {
            remove_abandoned(&to, &hidden);
        } else if let Some(parent) = to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(failed("make", parent))?;
        }
        remove_abandoned(&to.with_file_name(""), &hidden);
        let place = look(&to, replace, None)?;
        let within = match place {
            Place::Empty => to.clone(),
            Place::Free | Place::Earlier => to.with_file_name(""),
        };
        let (partial, lock) = make_partial(&within, &hidden)?;
        Ok(Self {
            to,
            partial,
            place,
            finished: false,
            _lock: lock,
        })
    }

    /// Where the files lie until it is finished.
    pub(super) fn path(&self) -> &Path {
        &self.partial
    }

    /// Whether the finished folder would take the place of this one, or of one that holds it.
    pub(super) fn replaces(&self, other: &Path) -> bool {
        let other = fs::canonicalize(other);
        self.place == Place::Earlier && other.is_ok_and(|other| other.starts_with(&self.to))
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.partial.join(name);
        fs::write(&path, bytes).map_err(failed("write", &path))
    }

    /// Makes a folder within.
    pub(super) fn inner(&self, name: &str) -> Result<PathBuf, ExportError> {
        let path = self.partial.join(name);
        fs::create_dir_all(&path).map_err(failed("make", &path))?;
        Ok(path)
    }

    /// Puts the folder in its place, with this mark. Gives the names and sizes of its files.
    ///
    /// # Errors
    /// Other files came to the place in the meantime, or a file cannot be put there.
    pub(super) fn finish(mut self, mut mark: Value) -> Result<Vec<(String, u64)>, ExportError> {
        self.write(MARK, b"")?;
        mark["files"] = json!(names(&self.partial)?);
        self.write(MARK, format!("{mark:#}\n").as_bytes())?;
        let files = list(&self.partial)?;
        // Looked at again: writing a model takes its time.
        let place = look(&self.to, self.place == Place::Earlier, Some(&self.partial))?;
        match (self.place, place) {
            (Place::Empty, _) => self.move_in()?,
            (Place::Earlier, Place::Earlier) => self.exchange()?,
            // Over an empty folder too, and over no other.
            _ => fs::rename(&self.partial, &self.to).map_err(failed("write", &self.to))?,
        }
        self.finished = true;
        Ok(files)
    }

    /// Moves the files into the folder that is there, the mark as the last.
    fn move_in(&self) -> Result<(), ExportError> {
        let entries = fs::read_dir(&self.partial).map_err(failed("read", &self.partial))?;
        let mut moved = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed("read", &self.partial))?;
        moved.sort_by_key(|name| name == MARK);
        for name in moved {
            let to = self.to.join(&name);
            fs::rename(self.partial.join(&name), &to).map_err(failed("write", &to))?;
        }
        fs::remove_dir(&self.partial).map_err(failed("remove", &self.partial))
    }

    /// Takes the place of an earlier export.
    fn exchange(&self) -> Result<(), ExportError> {
        let aside = self.partial.with_extension("replaced");
        fs::rename(&self.to, &aside).map_err(failed("move", &self.to))?;
        if let Err(source) = fs::rename(&self.partial, &self.to) {
            // What stood there goes back.
            fs::rename(&aside, &self.to).map_err(failed("move", &aside))?;
            return Err(failed("write", &self.to)(source));
        }
        fs::remove_dir_all(&aside).map_err(failed("remove", &aside))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.finished {
            // Nobody is left to hear of a failure; the name says that it is partial.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// The place itself, where links lead to it.
fn followed(to: &Path) -> Result<PathBuf, ExportError> {
    match fs::canonicalize(to) {
        Ok(there) if there.is_dir() => Ok(there),
        Err(error) if error.kind() == ErrorKind::NotFound && !to.is_symlink() => Ok(to.to_owned()),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("read", to)(error)),
        _ => Err(ExportError::NoFolder(to.to_owned())),
    }
}

/// A new folder with a name that nobody else has, and its lock, where the system gives one.
fn make_partial(within: &Path, hidden: &str) -> Result<(PathBuf, Option<File>), ExportError> {
    for attempt in 0u64.. {
        let process = std::process::id();
        let path = within.join(format!("{hidden}{process}-{attempt}{PARTIAL}"));
        match fs::create_dir(&path) {
            Ok(()) => {
                let lock = File::open(&path).ok();
                let lock = lock.filter(|file| file.try_lock().is_ok());
                return Ok((path, lock));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(source) => return Err(failed("make", &path)(source)),
        }
    }
    unreachable!("no folder has that many entries")
}

/// Removes what exports to the same place left behind when they were killed: what nobody has locked.
fn remove_abandoned(within: &Path, hidden: &str) {
    let within = if within.as_os_str().is_empty() {
        Path::new(".")
    } else {
        within
    };
    let Ok(entries) = fs::read_dir(within) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = name.strip_prefix(hidden);
        if ours.is_some_and(|rest| rest.ends_with(PARTIAL) && rest.starts_with(char::is_numeric))
            && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())
        {
            // What cannot be removed stays; its name says what it is.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// What is at the place, apart from an own folder in the making.
fn look(to: &Path, replace: bool, own: Option<&Path>) -> Result<Place, ExportError> {
    let entries = match fs::read_dir(to) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Place::Free),
        Err(source) => return Err(failed("read", to)(source)),
    };
    let mut empty = true;
    for entry in entries {
        let path = entry.map_err(failed("read", to))?.path();
        empty &= own == Some(&path);
    }
    if empty {
        return Ok(Place::Empty);
    }
    if !replace {
        return Err(ExportError::NotEmpty(to.to_owned()));
    }
    let known = written_before(to);
    let foreign = names(to)?.into_iter().find(|name| !known.contains(name));
    match foreign {
        None => Ok(Place::Earlier),
        Some(file) => Err(ExportError::Foreign {
            folder: to.to_owned(),
            file,
        }),
    }
}

/// The files that an earlier export says it wrote.
fn written_before(to: &Path) -> BTreeSet<String> {
    let text = crate::regular_file::read(&to.join(MARK), crate::regular_file::LONGEST_TEXT);
    let mark: Value = text
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let names = mark["files"].as_array().into_iter().flatten();
    names
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect()
}

/// The files of a folder, by their names within it, in order.
fn list(folder: &Path) -> Result<Vec<(String, u64)>, ExportError> {
    let mut files = Vec::new();
    list_into(folder, "", &mut files)?;
    files.sort();
    Ok(files)
}

fn names(folder: &Path) -> Result<Vec<String>, ExportError> {
    Ok(list(folder)?.into_iter().map(|(name, _)| name).collect())
}

fn list_into(
    folder: &Path,
    before: &str,
    files: &mut Vec<(String, u64)>,
) -> Result<(), ExportError> {
    for entry in fs::read_dir(folder).map_err(failed("read", folder))? {
        let entry = entry.map_err(failed("read", folder))?;
        let path = entry.path();
        let name = format!("{before}{}", entry.file_name().to_string_lossy());
        let found = entry.metadata().map_err(failed("read", &path))?;
        if found.is_dir() {
            list_into(&path, &format!("{name}/"), files)?;
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
