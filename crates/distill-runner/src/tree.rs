//! The content of a file or a directory: its hash, and the sizes and times by which a change shows.
//!
//! A file's hash is the SHA-256 of its bytes. A directory's hash is made of the relative paths of
//! its files, sorted, each with the file's hash; modes, times and empty directories do not count.

use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use distill_pipeline::hash::{ContentHash, StableHasher};

use crate::durable::entries;
use crate::home::StoreError;

/// Hash and size of some content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) hash: ContentHash,
    pub(crate) bytes: u64,
}

/// What the file system says of one file; a write to the file changes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stat {
    /// Relative to the artifact, with `/`; empty when the artifact is the file itself.
    path: String,
    size: u64,
    /// Nanoseconds since 1970.
    modified: i128,
    /// Like `modified`, but programs cannot set it.
    changed: i128,
    inode: u64,
}

impl Stat {
    pub(crate) fn changed(&self) -> i128 {
        self.changed
    }
}

#[cfg(unix)]
fn stat_of(path: String, metadata: &Metadata) -> Stat {
    use std::os::unix::fs::MetadataExt as _;
    let nanoseconds =
        |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    Stat {
        path,
        size: metadata.len(),
        modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        inode: metadata.ino(),
    }
}

#[cfg(not(unix))]
fn stat_of(path: String, metadata: &Metadata) -> Stat {
    let since_1970 = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    // Without a time the file counts as changed just now, so that it is read again.
    let modified = since_1970.map_or(i128::MAX, |since| since.as_nanos() as i128);
    Stat {
        path,
        size: metadata.len(),
        modified,
        changed: modified,
        inode: 0,
    }
}

/// Lists the files of an artifact with their sizes and times, sorted by path.
pub(crate) fn stats(root: &Path) -> Result<Vec<Stat>, StoreError> {
    let metadata = fs::metadata(root).map_err(StoreError::io("read", root))?;
    if metadata.is_file() {
        return Ok(vec![stat_of(String::new(), &metadata)]);
    }
    if !metadata.is_dir() {
        return Err(not_plain(root));
    }
    let mut found = Vec::new();
    walk(root, "", &mut found)?;
    found.sort_by(|a: &Stat, b| a.path.cmp(&b.path));
    Ok(found)
}

fn walk(directory: &Path, relative: &str, found: &mut Vec<Stat>) -> Result<(), StoreError> {
    for path in entries(directory)? {
        // A name that is not UTF-8 has no one way to be written into a hash.
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| not_plain(&path))?;
        let below = if relative.is_empty() {
            name.to_owned()
        } else {
            format!("{relative}/{name}")
        };
        let metadata = fs::symlink_metadata(&path).map_err(StoreError::io("read", &path))?;
        if metadata.is_dir() {
            walk(&path, &below, found)?;
        } else if metadata.is_file() {
            found.push(stat_of(below, &metadata));
        } else {
            return Err(not_plain(&path));
        }
    }
    Ok(())
}

fn not_plain(path: &Path) -> StoreError {
    StoreError::NotPlain {
        path: path.to_owned(),
    }
}

/// Reads and hashes everything that `stats` listed for `root`.
pub(crate) fn content(root: &Path, stats: &[Stat]) -> Result<Content, StoreError> {
    if let [only] = stats
        && only.path.is_empty()
    {
        return file_content(root);
    }
    let mut bytes = 0;
    let mut hasher = StableHasher::new("directory 1");
    hasher.map(stats.len());
    for stat in stats {
        let file = file_content(&root.join(&stat.path))?;
        bytes += file.bytes;
        hasher.text(&stat.path);
        hasher.hash(&file.hash);
    }
    let hash = hasher.finish();
    Ok(Content { hash, bytes })
}

fn file_content(path: &Path) -> Result<Content, StoreError> {
    let mut file = File::open(path).map_err(StoreError::io("open", path))?;
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    let mut bytes = 0;
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(StoreError::io("read", path))?;
        if read == 0 {
            break;
        }
        sha.update(&buffer[..read]);
        bytes += read as u64;
    }
    let hash = ContentHash::from_digest(sha.finalize().into());
    Ok(Content { hash, bytes })
}
