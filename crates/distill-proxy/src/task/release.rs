//! Which version of a task answers: releases and their taking back.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The releases of every task, oldest first.
///
/// They are kept in a file beside the configuration's state, as the releases of students are, and not
/// in the ledger: what answers is decided by whoever changes the configuration, is read at each
/// reload, and can be put under version control with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReleases {
    #[serde(default)]
    tasks: BTreeMap<String, Vec<Release>>,
}

/// One change of the version that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub version: String,
    /// Hash of the version as it was released.
    pub digest: String,
    pub by: String,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back_ms: Option<i64>,
}

/// Why the releases cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("cannot {what} the releases of tasks in `{}`", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the releases of tasks in `{}` cannot be read", path.display())]
    Content {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("task `{task}` has no release to take back; the file's own version answers")]
    NothingReleased { task: String },
}

impl TaskReleases {
    /// Reads the releases; none where there is no file.
    ///
    /// # Errors
    /// [`ReleaseError`] where the file is there and cannot be read.
    pub fn read(path: &Path) -> Result<Self, ReleaseError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => {
                return Err(ReleaseError::File {
                    what: "read",
                    path: path.to_owned(),
                    source,
                });
            }
        };
        serde_json::from_str(&text).map_err(|source| ReleaseError::Content {
            path: path.to_owned(),
            source,
        })
    }

    /// Writes them: whoever reads meanwhile sees the old state or the new one.
    ///
    /// # Errors
    /// [`ReleaseError::File`]; what was there stands.
    pub fn write(&self, path: &Path) -> Result<(), ReleaseError> {
        let failed = |what: &'static str| {
            let path = path.to_owned();
            move |source| ReleaseError::File { what, path, source }
        };
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(folder).map_err(failed("make a folder for"))?;
        let mut text = serde_json::to_vec_pretty(self).map_err(|source| ReleaseError::Content {
            path: path.to_owned(),
            source,
        })?;
        text.push(b'\n');
        let beside = path.with_extension(format!("new-{}", std::process::id()));
        let mut file = fs::File::create(&beside).map_err(failed("write"))?;
        file.write_all(&text).map_err(failed("write"))?;
        file.sync_all().map_err(failed("write"))?;
        fs::rename(&beside, path).map_err(failed("replace"))
    }

    /// The version of the latest release that stands.
    pub fn current(&self, task: &str) -> Option<&str> {
        self.history(task)
            .iter()
            .rev()
            .find(|release| release.taken_back_ms.is_none())
            .map(|release| release.version.as_str())
    }

    /// What was released of a task, oldest first.
    pub fn history(&self, task: &str) -> &[Release] {
        self.tasks.get(task).map_or(&[], Vec::as_slice)
    }

    /// Puts a version into force.
    pub fn release(&mut self, task: &str, release: Release) {
        self.tasks.entry(task.to_owned()).or_default().push(release);
    }

    /// Takes the latest release that stands back; what stood before it answers again.
    ///
    /// # Errors
    /// [`ReleaseError::NothingReleased`].
    pub fn take_back(&mut self, task: &str, now_ms: i64) -> Result<&Release, ReleaseError> {
        let latest = self
            .tasks
            .get_mut(task)
            .and_then(|releases| {
                releases
                    .iter_mut()
                    .rev()
                    .find(|release| release.taken_back_ms.is_none())
            })
            .ok_or_else(|| ReleaseError::NothingReleased {
                task: task.to_owned(),
            })?;
        latest.taken_back_ms = Some(now_ms);
        Ok(latest)
    }
}
