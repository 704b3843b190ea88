//! The artifact store: content under the name of its hash.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use distill_pipeline::graph::ArtifactKind;
use distill_pipeline::hash::ContentHash;
use distill_pipeline::record::{OutputRecord, RunId};

use crate::durable;
use crate::home::{Home, StoreError};
use crate::memory;
use crate::tree::{self, Content};

/// What stands under an artifact's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The content is what the name says.
    Sound,
    Missing,
    Corrupted,
}

impl Home {
    fn artifact_memory(&self, hash: &ContentHash) -> PathBuf {
        let mut path = self.artifact(hash).into_os_string();
        path.push(".seen.json");
        path.into()
    }

    /// Verifies an artifact.
    pub(crate) fn verify(&self, hash: &ContentHash) -> Result<Presence, StoreError> {
        let path = self.artifact(hash);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => return Ok(Presence::Corrupted),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Presence::Missing),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
            Ok(_) => {}
        }
        match memory::content(&path, &self.artifact_memory(hash)) {
            Ok(content) if content.hash == *hash => Ok(Presence::Sound),
            // The latter: something that no step can have published stands in it.
            Ok(_) | Err(StoreError::NotPlain { .. }) => Ok(Presence::Corrupted),
            Err(error) => Err(error),
        }
    }

    /// Moves a finished output into the store, flushed to disk, under the name of its content.
    ///
    /// `from` must be on the file system of the store, and nobody may write to it any more.
    pub(crate) fn adopt(
        &self,
        from: &Path,
        kind: &ArtifactKind,
        run: &RunId,
    ) -> Result<OutputRecord, StoreError> {
        durable::sync_tree(from)?;
        let content = tree::content(from, &tree::stats(from)?)?;
        let place = self.artifact(&content.hash);
        if self.verify(&content.hash)? == Presence::Corrupted {
            self.quarantine_artifact(&content.hash, run)?;
        }
        if self.verify(&content.hash)? == Presence::Missing {
            self.move_in(from, &place, content)?;
        }
        durable::remove(from)?;
        Ok(OutputRecord {
            hash: content.hash,
            bytes: content.bytes,
            kind: kind.clone(),
        })
    }

    fn move_in(&self, from: &Path, place: &Path, content: Content) -> Result<(), StoreError> {
        let shard = place.parent().expect("an artifact stands in a shard");
        fs::create_dir_all(shard).map_err(StoreError::io("create", shard))?;
        if let Err(error) = fs::rename(from, place) {
            // A directory is not renamed onto another: somebody has just published the same.
            let taken = self.verify(&content.hash)? == Presence::Sound;
            return if taken {
                Ok(())
            } else {
                Err(StoreError::io("write", place)(error))
            };
        }
        durable::sync_directory(shard)?;
        memory::note(place, &self.artifact_memory(&content.hash), content)
    }

    /// Moves a corrupted artifact out of the way, for a person to look at.
    pub(crate) fn quarantine_artifact(
        &self,
        hash: &ContentHash,
        run: &RunId,
    ) -> Result<PathBuf, StoreError> {
        durable::remove(&self.artifact_memory(hash))?;
        self.move_to_quarantine(&self.artifact(hash), run)
    }

    /// Moves something into quarantine under a name that says whose run found it.
    pub(crate) fn move_to_quarantine(
        &self,
        path: &Path,
        run: &RunId,
    ) -> Result<PathBuf, StoreError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut place = self.quarantine().join(format!("{run}-{name}"));
        let mut again = 1;
        while place.exists() {
            again += 1;
            place = self.quarantine().join(format!("{run}-{name}-{again}"));
        }
        match fs::rename(path, &place) {
            // Another run has moved it already.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(place),
            Err(error) => Err(StoreError::io("move to quarantine", path)(error)),
            Ok(()) => Ok(place),
        }
    }
}
