//! Where everything stands on disk, and the error of everything that touches it.
//!
//! ```text
//! artifacts/<aa>/<hash>            a file or a directory, named by its content
//! artifacts/<aa>/<hash>.seen.json  sizes and times at which that content was last verified
//! actions/<key>.json               that a step was done, published last, never overwritten
//! work/<key>/                      scratch and unfinished outputs of a step; work/<key>.lock guards it
//! runs/<id>/                       run.json, events.jsonl, heartbeat
//! steps/<pipeline>/<step>.json     the key that a step had last, for `explain`
//! quarantine/                      what was found corrupted
//! sources/                         what was last seen of the user's files, so that they need not be read again
//! ```

use std::io;
use std::path::{Path, PathBuf};

use distill_pipeline::hash::{ContentHash, Key};
use distill_pipeline::record::RunId;

/// The directory of state.
#[derive(Debug, Clone)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// Opens the directory, and makes it when it is not there.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let home = Self { path: path.into() };
        for part in [
            "artifacts",
            "actions",
            "work",
            "runs",
            "steps",
            "quarantine",
            "sources",
        ] {
            let path = home.path.join(part);
            std::fs::create_dir_all(&path).map_err(StoreError::io("create", &path))?;
        }
        Ok(home)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the place of an artifact, whether it is there or not.
    pub fn artifact(&self, hash: &ContentHash) -> PathBuf {
        let name = hash.to_string();
        self.path.join("artifacts").join(&name[..2]).join(name)
    }

    pub fn run_dir(&self, run: &RunId) -> PathBuf {
        self.runs().join(run.as_str())
    }

    pub(crate) fn runs(&self) -> PathBuf {
        self.path.join("runs")
    }

    pub(crate) fn actions(&self) -> PathBuf {
        self.path.join("actions")
    }

    pub(crate) fn action(&self, key: &Key) -> PathBuf {
        self.actions().join(format!("{key}.json"))
    }

    /// The directory that one step with one key has to itself.
    pub(crate) fn work(&self, key: &Key) -> PathBuf {
        self.path.join("work").join(key.to_string())
    }

    pub(crate) fn work_lock(&self, key: &Key) -> PathBuf {
        self.path.join("work").join(format!("{key}.lock"))
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.path.join("quarantine")
    }

    pub(crate) fn last_key(&self, pipeline: &str, step: &str) -> PathBuf {
        let file = format!("{}.json", file_name(step));
        self.path.join("steps").join(file_name(pipeline)).join(file)
    }

    pub(crate) fn source_memory(&self, path: &Path) -> PathBuf {
        let name = ContentHash::of_bytes(path.as_os_str().as_encoded_bytes());
        self.path.join("sources").join(format!("{name}.json"))
    }
}

/// Writes a name so that it is one plain file name, and different for different names.
fn file_name(name: &str) -> String {
    use std::fmt::Write as _;
    let mut file = String::from(if name.is_empty() { "%" } else { "" });
    for (place, byte) in name.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if plain || (byte == b'.' && place > 0) {
            file.push(char::from(byte));
        } else {
            write!(file, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    file
}

/// What can go wrong with the directory of state or with a file of the user.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("could not {doing} {path}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{path} is not a {what}", path = match line {
        Some(line) => format!("line {line} of {}", path.display()),
        None => path.display().to_string(),
    })]
    Malformed {
        what: &'static str,
        path: PathBuf,
        line: Option<u64>,
        source: serde_json::Error,
    },
    #[error("{path} is neither a plain file nor a directory of plain files")]
    NotPlain { path: PathBuf },
    #[error("no run is called `{text}`")]
    NoRun { text: String },
    #[error("several runs could be meant by `{text}`: {}", matches.join(", "))]
    AmbiguousRun { text: String, matches: Vec<String> },
}

impl StoreError {
    pub(crate) fn io<'a>(
        doing: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// Says what to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "free some space and run the same command again: finished steps and the work \
                     done so far are kept"
                }
                io::ErrorKind::PermissionDenied => {
                    "give this user the right to read and write there, or choose another directory \
                     with DISTILL_HOME"
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    "choose a directory of state that can be written, with DISTILL_HOME"
                }
                io::ErrorKind::NotFound => "check that the path is right and still there",
                _ => return None,
            },
            Self::Malformed { .. } => "move the file away; it is not needed for further runs",
            Self::NotPlain { .. } => {
                "put a plain file there; links and devices have no content of their own to go by"
            }
            Self::NoRun { .. } => "`distill runs` lists them",
            Self::AmbiguousRun { .. } => "give more of the run's id",
        };
        Some(hint.to_owned())
    }

    /// Names the file that the error is about.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. } | Self::Malformed { path, .. } | Self::NotPlain { path } => {
                Some(path)
            }
            Self::NoRun { .. } | Self::AmbiguousRun { .. } => None,
        }
    }
}
