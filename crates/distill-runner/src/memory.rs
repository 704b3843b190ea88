//! Remembers at which sizes and times some content was last read, so that unchanged files need not
//! be read again: a run that does nothing stays quick however large its artifacts are.
//!
//! A file that was written in the same tick of the file system's clock as it was looked at could be
//! written once more without a visible change; such a look is not trusted.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use distill_pipeline::hash::ContentHash;

use crate::durable;
use crate::home::StoreError;
use crate::tree::{self, Content, Stat};

/// Longer than a tick of any file system's clock in use.
const TICK: Duration = Duration::from_millis(20);

/// From this size on it is worth waiting for one tick to be able to trust the look.
const WORTH_WAITING: u64 = 8 << 20;

#[derive(Serialize, Deserialize)]
struct Seen {
    hash: ContentHash,
    bytes: u64,
    /// Nanoseconds since 1970, by the clock that the file system also uses.
    at: i128,
    files: Vec<Stat>,
}

/// Gives the content of a file or directory, from memory when nothing has touched it since.
pub(crate) fn content(path: &Path, memory: &Path) -> Result<Content, StoreError> {
    let stats = tree::stats(path)?;
    if let Some(seen) = recall(memory)
        && seen.files == stats
        && settled(&stats, seen.at)
    {
        return Ok(Content {
            hash: seen.hash,
            bytes: seen.bytes,
        });
    }
    let at = now();
    let content = tree::content(path, &stats)?;
    // What changed while it was read keeps the times from before, and is read again next time.
    remember(memory, content, stats, at);
    Ok(content)
}

/// Notes content that was hashed just before it was moved to `path`.
pub(crate) fn note(path: &Path, memory: &Path, content: Content) -> Result<(), StoreError> {
    if content.bytes >= WORTH_WAITING {
        std::thread::sleep(TICK);
    }
    remember(memory, content, tree::stats(path)?, now());
    Ok(())
}

fn settled(stats: &[Stat], looked: i128) -> bool {
    let tick = i128::try_from(TICK.as_nanos()).expect("a tick is short");
    stats.iter().all(|stat| looked - stat.changed() >= tick)
}

fn recall(memory: &Path) -> Option<Seen> {
    // An unreadable memory only costs reading the content again.
    serde_json::from_slice(&std::fs::read(memory).ok()?).ok()
}

fn remember(memory: &Path, content: Content, files: Vec<Stat>, at: i128) {
    let seen = Seen {
        hash: content.hash,
        bytes: content.bytes,
        at,
        files,
    };
    let text = serde_json::to_vec(&seen).expect("plain data is always JSON");
    // A memory that cannot be written only costs reading the content again; where the disk is full,
    // the next write that matters will say so.
    let _ = durable::replace(memory, &text);
}

fn now() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
    })
}
