//! The thread that brings the log into the tables.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{Pending, Shared, apply, lock};
use crate::{
    entry::Entry,
    log,
    store::{Statement, sqlite::Sqlite},
};

/// Entries that are applied at once rather than waited for.
const FULL: usize = 5_000;

/// How long the tables rest after they could not be written.
const REST: Duration = Duration::from_millis(500);

pub(super) fn start(
    shared: Arc<Shared>,
    database: Sqlite,
    path: PathBuf,
    instance: String,
    every: Duration,
) -> io::Result<JoinHandle<()>> {
    let applying = Applying {
        shared,
        database,
        path,
        instance,
        every,
    };
    std::thread::Builder::new()
        .name("ledger".to_owned())
        .spawn(move || applying.run())
}

/// Keeps those going who wait for the disk: one wait serves all that came meanwhile.
pub(super) fn start_syncing(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("ledger-disk".to_owned())
        .spawn(move || {
            let mut pending = lock(&shared.log);
            loop {
                if !pending.syncs.is_empty() {
                    let syncs = std::mem::take(&mut pending.syncs);
                    let file = pending.log.handle();
                    drop(pending);
                    answer(syncs, file.and_then(|file| file.sync_data()).is_ok());
                    pending = lock(&shared.log);
                } else if pending.stop {
                    return;
                } else {
                    pending = shared
                        .wake_syncing
                        .wait(pending)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        })
}

fn answer_all(pending: &mut Pending) {
    let synced = pending.log.handle().and_then(|file| file.sync_data());
    answer(std::mem::take(&mut pending.syncs), synced.is_ok());
}

fn answer(syncs: Vec<oneshot::Sender<bool>>, synced: bool) {
    for sync in syncs {
        // Whoever has stopped waiting needs no answer.
        let _ = sync.send(synced);
    }
}

struct Applying {
    shared: Arc<Shared>,
    database: Sqlite,
    path: PathBuf,
    instance: String,
    every: Duration,
}

/// The next log could not be begun; everything stands in this one.
struct NotClosed;

/// What one log held.
struct Closed {
    number: u64,
    entries: Vec<Entry>,
    statements: Vec<Statement<'static>>,
}

impl Applying {
    fn run(self) {
        loop {
            let stop = self.wait();
            let done = match self.close() {
                Ok(Some(closed)) => self.bring_in(&closed),
                Ok(None) => true,
                Err(NotClosed) => false,
            };
            if stop {
                // A log that was not applied is replayed by the next owner.
                if done {
                    let pending = lock(&self.shared.log);
                    drop(std::fs::remove_file(log::path(
                        &self.path,
                        pending.log.number(),
                    )));
                }
                return;
            }
        }
    }

    /// Waits until there is a batch worth writing; says whether it is the last.
    fn wait(&self) -> bool {
        let mut pending = lock(&self.shared.log);
        let mut first: Option<Instant> = None;
        loop {
            if pending.stop {
                return true;
            }
            let something = !pending.entries.is_empty() || !pending.statements.is_empty();
            if something && first.is_none() {
                first = Some(Instant::now());
            }
            let left = first.map(|first| self.every.saturating_sub(first.elapsed()));
            if pending.entries.len() >= FULL || left == Some(Duration::ZERO) {
                return false;
            }
            pending = match left {
                Some(left) => {
                    self.shared
                        .wake
                        .wait_timeout(pending, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .shared
                    .wake
                    .wait(pending)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Closes the log, if anything is in it.
    fn close(&self) -> Result<Option<Closed>, NotClosed> {
        let mut pending = lock(&self.shared.log);
        if pending.entries.is_empty() && pending.statements.is_empty() {
            return Ok(None);
        }
        if !pending.syncs.is_empty() {
            // The next log's handle would not reach what they wait for.
            answer_all(&mut pending);
        }
        let number = pending.log.number();
        if let Err(error) = pending.log.turn() {
            *lock(&self.shared.problem) = Some(error.to_string());
            // At the end there is no next time: what waits goes where it can be replayed from.
            drop(pending.log.flush());
            drop(pending);
            std::thread::sleep(REST);
            return Err(NotClosed);
        }
        Ok(Some(Closed {
            number,
            entries: std::mem::take(&mut pending.entries),
            statements: std::mem::take(&mut pending.statements),
        }))
    }

    /// Writes one batch, however often it takes; says whether it stands.
    fn bring_in(&self, closed: &Closed) -> bool {
        loop {
            let result = apply(
                &self.database,
                &self.instance,
                &closed.entries,
                &closed.statements,
                closed.number,
            );
            match result {
                Ok(()) => {
                    *lock(&self.shared.problem) = None;
                    self.shared
                        .unapplied
                        .fetch_sub(closed.entries.len(), Ordering::Relaxed);
                    drop(std::fs::remove_file(log::path(&self.path, closed.number)));
                    return true;
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    *lock(&self.shared.problem) = Some(cause.unwrap_or_else(|| error.to_string()));
                    let pending = lock(&self.shared.log);
                    if pending.stop {
                        return false;
                    }
                    // Woken early by a new entry: the rest is only a courtesy to the disk.
                    drop(
                        self.shared
                            .wake
                            .wait_timeout(pending, REST)
                            .unwrap_or_else(PoisonError::into_inner),
                    );
                }
            }
        }
    }
}
