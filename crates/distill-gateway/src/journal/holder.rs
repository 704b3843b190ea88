//! Which processes that use a journal are alive.
//!
//! Each holds a lock on a file of its own beside the journal. The system frees the lock when the
//! process ends, however it ends, so an attempt left open by a killed process is recognised at once
//! and without a clock.

use std::{
    fs::{File, OpenOptions, TryLockError},
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
};

/// This process's claim; given up when dropped.
#[derive(Debug)]
pub(super) struct Holder {
    name: String,
    folder: PathBuf,
    _lock: File,
}

impl Holder {
    pub(super) fn new(journal: &Path) -> io::Result<Self> {
        let mut folder = journal.as_os_str().to_owned();
        folder.push("-holders");
        let folder = PathBuf::from(folder);
        std::fs::create_dir_all(&folder)?;
        // The hasher is seeded by the system: no two processes draw the same name.
        let name = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        let lock = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(folder.join(&name))?;
        lock.lock()?;
        Ok(Self {
            name,
            folder,
            _lock: lock,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the process of that name still runs. The file of one that does not is removed.
    pub(super) fn lives(&self, name: &str) -> bool {
        if name == self.name {
            return true;
        }
        let path = self.folder.join(name);
        let Ok(file) = File::open(&path) else {
            return false;
        };
        match file.try_lock_shared() {
            // A lock that cannot be asked for is taken as held: waiting is cheaper than paying twice.
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => true,
            Ok(()) => {
                drop(std::fs::remove_file(&path));
                false
            }
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(std::fs::remove_file(self.folder.join(&self.name)));
    }
}

#[cfg(test)]
mod tests {
    use super::Holder;

    #[test]
    fn a_holder_lives_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal.sqlite");
        let one = Holder::new(&journal).unwrap();
        let other = Holder::new(&journal).unwrap();
        assert!(one.lives(other.name()) && other.lives(one.name()));
        let name = other.name().to_owned();
        drop(other);
        assert!(!one.lives(&name));
        assert!(!one.lives("never-was"));
    }

    #[test]
    fn a_file_left_by_a_killed_process_is_dead_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal.sqlite");
        let one = Holder::new(&journal).unwrap();
        let left = folder.path().join("journal.sqlite-holders").join("left");
        std::fs::write(&left, "").unwrap();
        assert!(!one.lives("left"));
        assert!(!left.exists());
    }
}
