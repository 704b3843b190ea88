//! The durable record of requests, attempts and money.
//!
//! Two promises hold it together. An *intent* with the worst-case cost is durable before the bytes
//! of an attempt leave, and its *settlement*, together with the answer, is durable before the answer
//! counts. So after a kill at any point every dollar is either settled or listed with its bound, and
//! an answer that arrived is never paid for again.
//!
//! One thread writes. It takes whatever waits, up to a limit, into one transaction, and wakes the
//! waiting tasks after the commit: with many requests in flight, one `fsync` serves all of them.
//! The cap of a budget is checked inside that transaction, so it holds across processes too.

mod holder;
mod query;
mod schema;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use distill_chat::{Completion, Usage};
use rusqlite::{Connection, OptionalExtension, Row};
use tokio::sync::oneshot;

use crate::{RequestHash, Usd};
use holder::Holder;
use writer::Operation;

pub(crate) use query::latency_of_target;
pub use query::{
    AttemptCount, AttemptRecord, LatencySummary, SpendSummary, TeacherShare, UnsettledAttempt,
    UsageTotals,
};

/// How long a writer of another process is waited for.
const BUSY: Duration = Duration::from_secs(30);

/// Why the journal cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    #[error("opening the journal {path}")]
    Open {
        path: PathBuf,
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    #[error("the journal {path} has format {found}, this program reads {VERSION}", VERSION = schema::VERSION)]
    Version { path: PathBuf, found: i64 },
    #[error("reading the journal {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    #[error("writing the journal {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    #[error("the journal {path} is closed")]
    Closed { path: PathBuf },
}

impl JournalError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Open { source, .. } | Self::Write { source, .. } if is_full(source.as_ref()) => {
                Some(
                    "free some space on that disk and run again: nothing that was paid for is lost"
                        .to_owned(),
                )
            }
            Self::Open { path, .. } | Self::Read { path, .. } => Some(format!(
                "if {} is damaged, move it away: a new one is begun, and its labels are paid for again",
                path.display()
            )),
            Self::Version { .. } => Some("use the version of the program that made it".to_owned()),
            Self::Write { .. } | Self::Closed { .. } => None,
        }
    }
}

/// Whether there was no room. `SQLite` says so in its own words, and calls a file that may not grow
/// a failed write.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        let text = cause.to_string();
        text.contains("full") || text.contains("No space left") || text.contains("writing to disk")
    })
}

/// An answered request as the journal has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    pub completion: Completion,
    /// The target that answered.
    pub target: String,
    /// What the answering attempt cost; `None` where the vendor reported no usage.
    pub usd: Option<Usd>,
    pub simulated: bool,
    /// Of the answering attempt.
    pub latency: Duration,
    pub attempts: u32,
}

/// What is written before an attempt.
#[derive(Debug, Clone)]
pub(crate) struct Intent {
    pub(crate) request_hash: RequestHash,
    pub(crate) scope: String,
    pub(crate) target: String,
    pub(crate) simulated: bool,
    pub(crate) number: u32,
    pub(crate) reserved: Usd,
    pub(crate) cap: Option<Usd>,
    pub(crate) started_ms: i64,
}

/// What became of an intent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reservation {
    Granted(AttemptId),
    /// Somebody else has the answer by now.
    Answered(Box<Recorded>),
    /// Another live process is asking the same.
    AskedElsewhere,
    /// The cap would be passed. With attempts of the scope still open, money may become free.
    Exhausted {
        committed: Usd,
        open: bool,
    },
}

/// Names an attempt, for the journal and for the vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttemptId(pub(crate) String);

/// What is written after an attempt.
#[derive(Debug, Clone)]
pub(crate) struct Settlement {
    pub(crate) attempt: AttemptId,
    pub(crate) outcome: &'static str,
    /// `None`: not known, the reservation stands.
    pub(crate) usd: Option<Usd>,
    pub(crate) status: Option<u16>,
    pub(crate) model: Option<String>,
    pub(crate) usage: Usage,
    pub(crate) response_id: Option<String>,
    pub(crate) latency: Option<Duration>,
    pub(crate) ended_ms: i64,
}

/// The answer that a settlement brings.
#[derive(Debug, Clone)]
pub(crate) struct NewAnswer {
    pub(crate) hash: RequestHash,
    pub(crate) scope: String,
    pub(crate) canonical: String,
    pub(crate) first_target: String,
    pub(crate) raw: String,
    pub(crate) price: crate::Price,
    pub(crate) recorded: Recorded,
    pub(crate) answered_ms: i64,
}

/// The journal of one file. Clones share it; the last one dropped closes it.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    reader: Mutex<Connection>,
    holder: Arc<Holder>,
    next_attempt: AtomicU64,
    /// Taken when the journal closes, which ends the writer.
    operations: Mutex<Option<mpsc::Sender<Operation>>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Journal {
    /// Opens a journal, making it where there is none. Attempts that a dead process left open are
    /// marked as cut; their reservations stand.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |source: Arc<dyn std::error::Error + Send + Sync>| JournalError::Open {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| failed(Arc::new(error)))?;
        }
        let writing = connect(path)?;
        let holder = Arc::new(Holder::new(path).map_err(|error| failed(Arc::new(error)))?);
        writer::cut_the_dead(&writing, &holder).map_err(|error| failed(Arc::new(error)))?;
        let reader = connect(path)?;
        let (operations, inbox) = mpsc::channel();
        let writer = writer::start(writing, path.to_owned(), Arc::clone(&holder), inbox)
            .map_err(|error| failed(Arc::new(error)))?;
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            reader: Mutex::new(reader),
            holder,
            next_attempt: AtomicU64::new(1),
            operations: Mutex::new(Some(operations)),
            writer: Mutex::new(Some(writer)),
        })))
    }

    /// The recorded answer to a request, of any scope.
    pub fn answer(&self, hash: &RequestHash) -> Result<Option<Recorded>, JournalError> {
        self.read(|connection| find_answer(connection, hash))
    }

    /// What a scope has spent and on what.
    pub fn spend(&self, scope: &str) -> Result<SpendSummary, JournalError> {
        self.read(|connection| query::of_scope(connection, scope, &self.0.holder))
    }

    /// Every attempt of a scope, oldest first.
    pub fn attempts(&self, scope: &str) -> Result<Vec<AttemptRecord>, JournalError> {
        self.read(|connection| query::attempts_of_scope(connection, scope, &self.0.holder))
    }

    /// What the answers to these requests cost, whichever scope paid for them.
    pub fn spend_on(&self, hashes: &[RequestHash]) -> Result<SpendSummary, JournalError> {
        self.read(|connection| query::of_requests(connection, hashes, &self.0.holder))
    }

    pub(crate) fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        let connection = self.0.reader.lock().expect("no reader panics");
        query(&connection).map_err(|error| JournalError::Read {
            path: self.0.path.clone(),
            source: Arc::new(error),
        })
    }

    /// Writes an intent; returns when it is durable.
    pub(crate) async fn reserve(&self, intent: Intent) -> Result<Reservation, JournalError> {
        let number = self.0.next_attempt.fetch_add(1, Ordering::Relaxed);
        let attempt = AttemptId(format!("{}-{number}", self.0.holder.name()));
        let (reply, answer) = oneshot::channel();
        self.send(Operation::Reserve {
            attempt,
            intent,
            reply,
        })?;
        answer.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Writes a settlement and the answer that it brings; returns when both are durable.
    pub(crate) async fn settle(
        &self,
        settlement: Settlement,
        answer: Option<NewAnswer>,
    ) -> Result<(), JournalError> {
        let (reply, done) = oneshot::channel();
        self.send(Operation::Settle {
            settlement,
            answer: answer.map(Box::new),
            reply: Some(reply),
        })?;
        done.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Writes an answer whose attempt is settled already.
    pub(crate) async fn keep(&self, answer: NewAnswer) -> Result<(), JournalError> {
        let (reply, done) = oneshot::channel();
        self.send(Operation::Keep {
            answer: Box::new(answer),
            reply,
        })?;
        done.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Writes that an attempt was given up; nobody waits for it.
    pub(crate) fn abandon(&self, attempt: AttemptId, outcome: &'static str, ended_ms: i64) {
        let settlement = Settlement {
            attempt,
            outcome,
            usd: None,
            status: None,
            model: None,
            usage: Usage::default(),
            response_id: None,
            latency: None,
            ended_ms,
        };
        // A journal that is closed already will find the attempt open and call it cut.
        drop(self.send(Operation::Settle {
            settlement,
            answer: None,
            reply: None,
        }));
    }

    fn send(&self, operation: Operation) -> Result<(), JournalError> {
        let operations = self.0.operations.lock().expect("no sender panics");
        operations
            .as_ref()
            .and_then(|sender| sender.send(operation).ok())
            .ok_or_else(|| self.closed())
    }

    fn closed(&self) -> JournalError {
        JournalError::Closed {
            path: self.0.path.clone(),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Ends the writer once it has written what waits.
        drop(self.operations.get_mut().map(Option::take));
        if let Ok(Some(writer)) = self.writer.get_mut().map(Option::take) {
            drop(writer.join());
        }
    }
}

fn connect(path: &Path) -> Result<Connection, JournalError> {
    let prepare = || -> rusqlite::Result<(Connection, i64)> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.set_prepared_statement_cache_capacity(64);
        // Two processes may make the file at once: only one finds version 0 under this lock.
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let version = |connection: &Connection| {
            connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))
        };
        if version(&connection)? == 0 {
            connection.execute_batch(schema::TABLES)?;
            connection.pragma_update(None, "user_version", schema::VERSION)?;
        }
        let found = version(&connection)?;
        connection.execute_batch("COMMIT")?;
        Ok((connection, found))
    };
    let (connection, found) = prepare().map_err(|error| JournalError::Open {
        path: path.to_owned(),
        source: Arc::new(error),
    })?;
    if found != schema::VERSION {
        return Err(JournalError::Version {
            path: path.to_owned(),
            found,
        });
    }
    Ok(connection)
}

fn find_answer(connection: &Connection, hash: &RequestHash) -> rusqlite::Result<Option<Recorded>> {
    connection
        .prepare_cached(schema::ANSWER)?
        .query_row([hash.as_str()], recorded)
        .optional()
}

fn recorded(row: &Row<'_>) -> rusqlite::Result<Recorded> {
    let completion: String = row.get(0)?;
    let completion = serde_json::from_str(&completion).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(Recorded {
        completion,
        target: row.get(1)?,
        usd: row.get::<_, Option<i64>>(2)?.map(Usd::from_pico),
        simulated: row.get(3)?,
        latency: Duration::from_micros(row.get::<_, i64>(4)?.unsigned_abs()),
        attempts: row.get(5)?,
    })
}

#[cfg(test)]
mod tests;
