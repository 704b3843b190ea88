//! The event log of a run: one JSON object per line, only ever appended to.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use distill_pipeline::record::{Event, RunId};

use crate::home::{Home, StoreError};

fn place(run_dir: &Path) -> PathBuf {
    run_dir.join("events.jsonl")
}

/// Appends to the log. A line is in the kernel's hands before the next thing happens, so that it
/// outlives this process.
pub(crate) struct EventLog {
    file: File,
    path: PathBuf,
}

impl EventLog {
    pub(crate) fn create(run_dir: &Path) -> Result<Self, StoreError> {
        let path = place(run_dir);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(StoreError::io("create", &path))?;
        Ok(Self { file, path })
    }

    pub(crate) fn append(&mut self, event: &Event) -> Result<(), StoreError> {
        let mut line = serde_json::to_vec(event).expect("an event is always JSON");
        line.push(b'\n');
        self.file
            .write_all(&line)
            .map_err(StoreError::io("write", &self.path))
    }

    /// Makes the log survive a power cut.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(StoreError::io("flush", &self.path))
    }
}

/// Reads the log of a run, also while the run still writes it.
pub struct EventReader {
    file: File,
    path: PathBuf,
    /// Lines read so far.
    lines: u64,
    /// What came after the last line end.
    rest: Vec<u8>,
}

impl EventReader {
    pub fn open(home: &Home, run: &RunId) -> Result<Self, StoreError> {
        let path = place(&home.run_dir(run));
        let mut file = File::open(&path).map_err(StoreError::io("open", &path))?;
        file.seek(SeekFrom::Start(0))
            .map_err(StoreError::io("read", &path))?;
        Ok(Self {
            file,
            path,
            lines: 0,
            rest: Vec::new(),
        })
    }

    /// Gives the events that have been written since the last call. A line without its end is left
    /// for a later call: either it is still being written, or a kill has cut it off.
    pub fn poll(&mut self) -> Result<Vec<Event>, StoreError> {
        self.file
            .read_to_end(&mut self.rest)
            .map_err(StoreError::io("read", &self.path))?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let mut events = Vec::new();
        for line in self.rest[..end].split(|byte| *byte == b'\n') {
            self.lines += 1;
            let event = serde_json::from_slice(line).map_err(|source| StoreError::Malformed {
                what: "run event",
                path: self.path.clone(),
                line: Some(self.lines),
                source,
            })?;
            events.push(event);
        }
        self.rest.drain(..=end);
        Ok(events)
    }

    /// Says whether the log ends, for now, in the middle of a line.
    pub fn torn(&self) -> bool {
        !self.rest.is_empty()
    }
}
