//! The right to make what a key stands for, held by one run at a time.
//!
//! A lock of the operating system on `work/<key>.lock`: it ends with its process, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use distill_pipeline::hash::Key;
use distill_pipeline::record::RunId;

use crate::home::{Home, StoreError};

/// The right to make what a key stands for; given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    /// Holds the lock for as long as it is open.
    _file: File,
}

/// What came of asking for a claim.
#[derive(Debug)]
pub(crate) enum Asked {
    Granted(Claim),
    /// Another has it; `by` is known unless it has only just been taken.
    Held {
        by: Option<RunId>,
    },
}

impl Claim {
    /// Asks once, without waiting.
    pub(crate) fn ask(home: &Home, key: &Key, run: &RunId) -> Result<Asked, StoreError> {
        let path = home.work_lock(key);
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(StoreError::io("open", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    file.read_to_string(&mut holder)
                        .map_err(StoreError::io("read", &path))?;
                    let by = holder.trim().parse().ok();
                    return Ok(Asked::Held { by });
                }
                Err(TryLockError::Error(error)) => {
                    return Err(StoreError::io("lock", &path)(error));
                }
            }
            // The holder before us removes the file as it leaves; a lock on a file that no longer
            // has the name would keep nobody out.
            if same_file(&file, &path) {
                let written = file
                    .set_len(0)
                    .and_then(|()| file.rewind())
                    .and_then(|()| writeln!(file, "{run}"));
                written.map_err(StoreError::io("write", &path))?;
                return Ok(Asked::Granted(Self { path, _file: file }));
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A file left behind is locked again by the next one who needs it.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(unix)]
fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
        _ => false,
    }
}

#[cfg(not(unix))]
fn same_file(_file: &File, _path: &Path) -> bool {
    // An open file cannot be removed there.
    true
}
