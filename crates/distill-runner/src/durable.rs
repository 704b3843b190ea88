//! Writing so that a kill or a power cut leaves the old content or the new, never half of it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::home::StoreError;

/// Writes beside `path`, flushes to disk, and renames into place.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let file = written_beside(path, content)?;
    file.persist(path)
        .map_err(|error| StoreError::io("write", path)(error.error))?;
    sync_directory(parent(path)?)
}

/// Whether [`create`] wrote, or found that another had been first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    Now,
    Before,
}

/// Publishes whole content under a name that nobody has taken yet; the first writer wins.
pub(crate) fn create(path: &Path, content: &[u8]) -> Result<Created, StoreError> {
    let file = written_beside(path, content)?;
    match file.persist_noclobber(path) {
        Ok(_) => {
            sync_directory(parent(path)?)?;
            Ok(Created::Now)
        }
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::Before),
        Err(error) => Err(StoreError::io("write", path)(error.error)),
    }
}

fn written_beside(path: &Path, content: &[u8]) -> Result<NamedTempFile, StoreError> {
    let failed = |source| StoreError::io("write", path)(source);
    let directory = parent(path)?;
    fs::create_dir_all(directory).map_err(StoreError::io("create", directory))?;
    // The name must not end like a record's, so that no reader takes an unfinished file for one.
    let mut builder = tempfile::Builder::new();
    builder.prefix(".unfinished-");
    // Records are shared by whoever shares the directory; the umask narrows this as usual.
    #[cfg(unix)]
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(permissions);
    let mut file = builder.tempfile_in(directory).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    Ok(file)
}

fn parent(path: &Path) -> Result<&Path, StoreError> {
    path.parent().ok_or_else(|| StoreError::NotPlain {
        path: path.to_owned(),
    })
}

/// Makes renames and new names in a directory survive a power cut.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    // Only Unix can open a directory as a file; elsewhere the file system does this by itself.
    if cfg!(unix) {
        let directory = File::open(path).map_err(StoreError::io("open", path))?;
        directory
            .sync_all()
            .map_err(StoreError::io("flush", path))?;
    }
    Ok(())
}

/// Flushes a file, or every file and directory below a directory.
pub(crate) fn sync_tree(path: &Path) -> Result<(), StoreError> {
    let metadata = fs::symlink_metadata(path).map_err(StoreError::io("read", path))?;
    if metadata.is_file() {
        let file = File::open(path).map_err(StoreError::io("open", path))?;
        return file.sync_all().map_err(StoreError::io("flush", path));
    }
    if !metadata.is_dir() {
        return Err(StoreError::NotPlain {
            path: path.to_owned(),
        });
    }
    for below in entries(path)? {
        sync_tree(&below)?;
    }
    sync_directory(path)
}

/// Lists a directory, sorted.
pub(crate) fn entries(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect()
    };
    let mut paths = read().map_err(StoreError::io("list", path))?;
    paths.sort();
    Ok(paths)
}

/// Removes a file or a whole directory; nothing there is fine.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}
