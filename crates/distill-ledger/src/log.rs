//! The log beside a `SQLite` ledger: what was promised and what it came to, before the tables have it.
//!
//! Each entry is appended by one `write`, so it is in the hands of the operating system before the
//! caller goes on and survives the end of the process, however it ends. The tables follow in
//! batches: the log is closed, the next one begun, the closed one applied, and only then removed.
//! Which one was applied last stands in the same transaction, so none is applied twice.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use crate::entry::Entry;

/// Length and checksum before each entry.
const HEAD: usize = 8;

/// Entries that may wait without a `write` of their own stay below this.
const WAITING: usize = 1 << 20;

/// An entry as it stands in the log.
pub(crate) fn framed(entry: &Entry) -> Vec<u8> {
    let mut frame = Vec::with_capacity(1024);
    frame.extend([0; HEAD]);
    serde_json::to_writer(&mut frame, entry).expect("an entry is plain data");
    let (head, payload) = frame.split_at_mut(HEAD);
    head[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    head[4..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    frame
}

/// The log that is written to.
#[derive(Debug)]
pub(crate) struct Log {
    base: PathBuf,
    number: u64,
    file: File,
    /// Bytes of whole entries.
    length: u64,
    /// A write that failed left something behind that could not be cut off yet.
    torn: bool,
    /// Entries that go with the next write.
    waiting: Vec<u8>,
}

impl Log {
    /// Begins the log of that number.
    pub(crate) fn begin(ledger: &Path, number: u64) -> io::Result<Self> {
        Ok(Self {
            base: ledger.to_owned(),
            number,
            file: create(ledger, number)?,
            length: 0,
            torn: false,
            waiting: Vec::new(),
        })
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Appends an entry. Where it fails nothing of it is in the log.
    pub(crate) fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        if self.waiting.is_empty() {
            return self.write(frame);
        }
        let before = self.waiting.len();
        self.waiting.extend_from_slice(frame);
        let waiting = std::mem::take(&mut self.waiting);
        let result = self.write(&waiting);
        self.waiting = waiting;
        match &result {
            Ok(()) => self.waiting.clear(),
            Err(_) => self.waiting.truncate(before),
        }
        result
    }

    /// Puts an entry down to be written with the next one. Says whether there was room: with a disk
    /// that has been full for long there is not, and the tables alone will have the entry.
    pub(crate) fn put(&mut self, frame: &[u8]) -> bool {
        let room = self.waiting.len() + frame.len() <= WAITING;
        if room {
            self.waiting.extend_from_slice(frame);
        }
        room
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        let result = self.write(&waiting);
        self.waiting = waiting;
        if result.is_ok() {
            self.waiting.clear();
        }
        result
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // What came after a torn entry could not be read.
                self.torn = self.file.set_len(self.length).is_err();
                Err(error)
            }
        }
    }

    /// Another handle of the file, to wait for the disk without holding the log.
    pub(crate) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Begins the next log. What waits and cannot be written is left to the tables, which get it
    /// with the closed log: in the next one it would be applied twice.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
        let next = create(&self.base, self.number + 1)?;
        drop(self.flush());
        self.waiting.clear();
        self.file = next;
        self.number += 1;
        self.length = 0;
        self.torn = false;
        Ok(())
    }
}

fn create(ledger: &Path, number: u64) -> io::Result<File> {
    let path = path(ledger, number);
    OpenOptions::new().append(true).create(true).open(path)
}

pub(crate) fn path(ledger: &Path, number: u64) -> PathBuf {
    let mut path = ledger.as_os_str().to_owned();
    path.push(format!("-log.{number}"));
    PathBuf::from(path)
}

/// The numbers of the logs beside a ledger, oldest first.
pub(crate) fn numbers(ledger: &Path) -> io::Result<Vec<u64>> {
    let folder = match ledger.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut start = ledger.file_name().unwrap_or_default().to_owned();
    start.push("-log.");
    let start = start.to_string_lossy().into_owned();
    let mut numbers = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let name = file?.file_name();
        if let Some(number) = name.to_string_lossy().strip_prefix(&start)
            && let Ok(number) = number.parse()
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The entries of a log, up to the first that is torn: the end of the process came in the middle of
/// its `write`, whose caller was never told that it stands.
///
/// # Errors
/// Also where an entry is whole and cannot be read: another version of the program wrote it, and to
/// go on without it would forget what was spent.
pub(crate) fn read(ledger: &Path, number: u64) -> io::Result<Vec<Entry>> {
    let mut bytes = Vec::new();
    File::open(path(ledger, number))?.read_to_end(&mut bytes)?;
    let mut entries = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((payload, after)) = first(rest) {
        let entry = serde_json::from_slice(payload).map_err(|error| {
            let problem = format!("log {number} beside it is of another version ({error})");
            io::Error::new(io::ErrorKind::InvalidData, problem)
        })?;
        entries.push(entry);
        rest = after;
    }
    Ok(entries)
}

/// The first whole entry, unread, and what follows it.
fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    // Zeros, as a power cut leaves them, would pass as an empty entry.
    if length == 0 || length > rest.len() {
        return None;
    }
    let (payload, rest) = rest.split_at(length);
    (crc32fast::hash(payload) == u32::from_le_bytes(*checksum)).then_some((payload, rest))
}

#[cfg(test)]
mod tests;
