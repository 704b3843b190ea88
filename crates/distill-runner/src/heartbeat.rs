//! Shows that a run is alive: a file that is written once a second.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use distill_pipeline::record::Timestamp;

use crate::clock::Clock;
use crate::home::StoreError;

const EVERY: Duration = Duration::from_secs(1);

/// Beats until it is dropped.
///
/// It has a thread of its own, so that a step that blocks the scheduler's threads does not make a
/// living run look dead.
pub(crate) struct Heartbeat {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    pub(crate) fn start(run_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let path = place(run_dir);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(StoreError::io("create", &path))?;
        beat(&mut file, clock.now()).map_err(StoreError::io("write", &path))?;
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                    // A beat that fails makes the run look dead, which is true enough of a disk
                    // that takes no writes; the event log will fail with a message.
                    let _ = beat(&mut file, clock.now());
                }
            })
            .map_err(StoreError::io("start the heartbeat of", run_dir))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A heartbeat that panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}

fn place(run_dir: &Path) -> PathBuf {
    run_dir.join("heartbeat")
}

/// Writes the time over the old one; both have the same length.
fn beat(file: &mut File, now: Timestamp) -> std::io::Result<()> {
    file.rewind()?;
    file.write_all(now.to_string().as_bytes())
}

/// Tells when a run's heart last beat.
pub(crate) fn last_beat(run_dir: &Path) -> Option<Timestamp> {
    std::fs::read_to_string(place(run_dir)).ok()?.parse().ok()
}
