//! The folder that models are kept in, laid out as Python's `huggingface_hub` has it
//! (<https://huggingface.co/docs/hub/local-cache>), so that both find what the other fetched:
//!
//! ```text
//! models--org--name/blobs/ETAG                 content, once
//! models--org--name/blobs/ETAG.incomplete      content that is still arriving
//! models--org--name/refs/REVISION              the commit that a branch or tag meant last
//! models--org--name/snapshots/COMMIT/FILE      a link to the content
//! .locks/models--org--name/ETAG.lock           held by whoever fetches it
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{HubError, ModelName, Snapshot, files, name::is_commit};

/// Longest content of a reference: a commit and a line break.
const MAX_REFERENCE_BYTES: u64 = 64;

/// References and links written by this process.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// A folder of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    path: PathBuf,
}

impl Cache {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finds a model that is wholly there, at the commit that its revision meant last. Asks nobody.
    pub fn find(&self, name: &ModelName) -> Option<Snapshot> {
        let commit = self.commit(name)?;
        let folder = self.snapshot(name, &commit);
        files::is_complete(&folder).then(|| Snapshot {
            name: name.at(&commit),
            folder,
            note: None,
        })
    }

    /// The commit that a revision is, or was when it was fetched last.
    pub fn commit(&self, name: &ModelName) -> Option<String> {
        if name.is_pinned() {
            return Some(name.revision().to_owned());
        }
        let path = self.reference(name);
        if fs::metadata(&path).ok()?.len() > MAX_REFERENCE_BYTES {
            return None;
        }
        let text = fs::read_to_string(path).ok()?;
        let commit = text.trim();
        is_commit(commit).then(|| commit.to_owned())
    }

    fn model(&self, name: &ModelName) -> PathBuf {
        self.path.join(name.folder())
    }

    pub(crate) fn snapshot(&self, name: &ModelName, commit: &str) -> PathBuf {
        self.model(name).join("snapshots").join(commit)
    }

    pub(crate) fn blob(&self, name: &ModelName, etag: &str) -> PathBuf {
        self.model(name).join("blobs").join(etag)
    }

    pub(crate) fn lock(&self, name: &ModelName, etag: &str) -> PathBuf {
        let folder = self.path.join(".locks").join(name.folder());
        folder.join(format!("{etag}.lock"))
    }

    fn reference(&self, name: &ModelName) -> PathBuf {
        self.model(name).join("refs").join(name.revision())
    }

    /// Notes what a branch or tag means now. Written beside and renamed: nobody reads half of it.
    pub(crate) fn write_reference(&self, name: &ModelName, commit: &str) -> Result<(), HubError> {
        if name.is_pinned() || self.commit(name).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.reference(name);
        let failed = |source| HubError::Io {
            action: "write",
            path: path.clone(),
            source,
        };
        make_folder_of(&path)?;
        // Nobody else's, be it another process or another task of this one.
        let count = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let beside = path.with_added_extension(format!("{}-{count}.tmp", std::process::id()));
        fs::write(&beside, commit)
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(failed)
    }

    /// Makes a file of a snapshot point to its content.
    pub(crate) fn link(
        &self,
        name: &ModelName,
        commit: &str,
        file: &str,
        etag: &str,
    ) -> Result<(), HubError> {
        let path = self.snapshot(name, commit).join(file);
        make_folder_of(&path)?;
        let blob = self.blob(name, etag);
        let linked = match point(&path, etag, &blob) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if path.is_file() {
                    return Ok(());
                }
                // A link to content that somebody deleted: it gives way to one that leads somewhere.
                let count = WRITTEN.fetch_add(1, Ordering::Relaxed);
                let beside =
                    path.with_added_extension(format!("{}-{count}.tmp", std::process::id()));
                point(&beside, etag, &blob).and_then(|()| {
                    fs::rename(&beside, &path).inspect_err(|_| drop(fs::remove_file(&beside)))
                })
            }
            other => other,
        };
        linked.map_err(|source| HubError::Io {
            action: "make the link",
            path,
            source,
        })
    }
}

#[cfg(unix)]
fn point(path: &Path, etag: &str, _blob: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(Path::new("../../blobs").join(etag), path)
}

#[cfg(not(unix))]
fn point(path: &Path, _etag: &str, blob: &Path) -> io::Result<()> {
    fs::hard_link(blob, path).or_else(|_| fs::copy(blob, path).map(drop))
}

pub(crate) fn make_folder_of(path: &Path) -> Result<(), HubError> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    fs::create_dir_all(folder).map_err(|source| HubError::Io {
        action: "make the folder",
        path: folder.to_owned(),
        source,
    })
}
