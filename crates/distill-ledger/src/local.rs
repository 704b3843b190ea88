//! The ledger of one process: books in memory, a log beside the file, tables that follow.
//!
//! A reservation is decided in memory and stands once its intent is appended to the log; it waits
//! for no commit. One thread brings the log into the tables. While the log cannot be written
//! nothing is granted, and what arrives meanwhile (settlements of attempts under way) is kept until
//! it can.

mod applying;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{
    api::{KeyLimits, LimitTable, Refusal},
    batch::Batch,
    books::{Accounts, Balance, Booked, Books, Held, Scope, Window},
    entry::{Entry, Finish, Intent, RequestFacts, Settlement},
    error::LedgerError,
    log::{self, Log, framed},
    store::{Statement, Value, sqlite::Sqlite},
};

/// Entries that the tables do not have yet stay below this: beyond it nothing more is granted.
const MOST_UNAPPLIED: usize = 60_000;

/// How the one process writes.
#[derive(Debug, Clone)]
pub(crate) struct Writing {
    pub(crate) apply_every: Duration,
    /// An intent is on the disk, and not only with the operating system, before its attempt leaves.
    pub(crate) through_power_cuts: bool,
}

#[derive(Debug)]
pub(crate) struct Local {
    books: Mutex<Books>,
    shared: Arc<Shared>,
    through_power_cuts: bool,
    threads: Mutex<Vec<JoinHandle<()>>>,
    _held: File,
}

/// What the callers and the applying thread share.
#[derive(Debug)]
struct Shared {
    log: Mutex<Pending>,
    wake: Condvar,
    wake_syncing: Condvar,
    unapplied: AtomicUsize,
    /// Why the tables could not be written, while they cannot.
    problem: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Pending {
    log: Log,
    entries: Vec<Entry>,
    /// Statements that need no log: bodies of requests, clearing away.
    statements: Vec<Statement<'static>>,
    /// Who waits for the disk.
    syncs: Vec<oneshot::Sender<bool>>,
    stop: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done under these locks can panic halfway through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Local {
    /// Takes the ledger of a file into possession: applies what a killed owner left behind, and
    /// marks its open attempts as cut.
    pub(crate) fn open(
        path: &Path,
        instance: &str,
        writing: &Writing,
        now_ms: i64,
    ) -> Result<Self, LedgerError> {
        let held = wait_to_hold(path)?;
        let database = Sqlite::open(path, writing.through_power_cuts)?;
        let last = recover(path, &database, now_ms)?;
        let mut books = Books::default();
        for balance in balances(&database, now_ms)? {
            books.load(&balance);
        }
        let log = Log::begin(path, last + 1).map_err(|error| LedgerError::Open {
            ledger: path.display().to_string(),
            source: Arc::new(error),
        })?;
        let shared = Arc::new(Shared {
            log: Mutex::new(Pending {
                log,
                entries: Vec::new(),
                statements: Vec::new(),
                syncs: Vec::new(),
                stop: false,
            }),
            wake: Condvar::new(),
            wake_syncing: Condvar::new(),
            unapplied: AtomicUsize::new(0),
            problem: Mutex::new(None),
        });
        let failed = |error| LedgerError::Open {
            ledger: path.display().to_string(),
            source: Arc::new(error),
        };
        let applier = applying::start(
            Arc::clone(&shared),
            database,
            path.to_owned(),
            instance.to_owned(),
            writing.apply_every,
        );
        let mut threads = vec![applier.map_err(failed)?];
        if writing.through_power_cuts {
            threads.push(applying::start_syncing(Arc::clone(&shared)).map_err(failed)?);
        }
        Ok(Self {
            books: Mutex::new(books),
            shared,
            through_power_cuts: writing.through_power_cuts,
            threads: Mutex::new(threads),
            _held: held,
        })
    }

    pub(crate) fn set_limits(&self, table: LimitTable) {
        lock(&self.books).set_limits(table);
    }

    /// What a scope has committed in this day, this month and altogether.
    pub(crate) fn committed(&self, scope: &Scope, now_ms: i64) -> [i64; 3] {
        lock(&self.books).committed(scope, now_ms)
    }

    /// Tokens drawn from each pool.
    pub(crate) fn pools(&self) -> Vec<(crate::api::TokenPool, u64)> {
        let books = lock(&self.books);
        books
            .pools()
            .iter()
            .map(|pool| (pool.clone(), books.drawn(&pool.name)))
            .collect()
    }

    /// Why nothing may be granted now.
    fn unavailable(&self) -> Option<Refusal> {
        if self.shared.unapplied.load(Ordering::Relaxed) < MOST_UNAPPLIED {
            return None;
        }
        let problem = lock(&self.shared.problem).clone();
        Some(Refusal::Unavailable {
            problem: problem.unwrap_or_else(|| "its tables do not keep up".to_owned()),
        })
    }

    pub(crate) fn admit(
        &self,
        facts: &RequestFacts,
        key_limits: &KeyLimits,
        worst_tokens: u64,
    ) -> Result<(Accounts, i64), Refusal> {
        if let Some(refusal) = self.unavailable() {
            return Err(refusal);
        }
        let mut books = lock(&self.books);
        let accounts = books.accounts(facts, key_limits);
        let at_ms = books.admit(&accounts, worst_tokens, facts.started_ms)?;
        Ok((accounts, at_ms))
    }

    pub(crate) async fn reserve(
        &self,
        accounts: &Accounts,
        wanted: crate::ledger::Wanted,
    ) -> Result<(Held, Arc<Intent>), Refusal> {
        if let Some(refusal) = self.unavailable() {
            return Err(refusal);
        }
        let held = lock(&self.books).reserve(
            accounts,
            &wanted.facts,
            &wanted.target,
            (wanted.worst, wanted.worst_tokens),
            wanted.now_ms,
        )?;
        let intent = Arc::new(wanted.intent(&held));
        let entry = Entry::Intent(Arc::clone(&intent));
        let synced = match self.append(entry) {
            Ok(synced) => synced,
            Err(error) => {
                lock(&self.books).settle(accounts, &held, &Booked::nothing());
                return Err(Refusal::Unavailable {
                    problem: error.to_string(),
                });
            }
        };
        if let Some(synced) = synced
            && !synced.await.unwrap_or(false)
        {
            // It stands in the log, and nothing was sent: settled at nothing.
            self.settle(accounts, &held, Settlement::unsent(&intent));
            return Err(Refusal::Unavailable {
                problem: "its log did not reach the disk".to_owned(),
            });
        }
        Ok((held, intent))
    }

    /// Appends an intent. Where power cuts are to be survived, says when the disk has it.
    fn append(&self, entry: Entry) -> std::io::Result<Option<oneshot::Receiver<bool>>> {
        let frame = framed(&entry);
        let mut pending = lock(&self.shared.log);
        pending.log.append(&frame)?;
        self.shared.push(&mut pending, entry);
        if !self.through_power_cuts {
            return Ok(None);
        }
        let (sender, receiver) = oneshot::channel();
        pending.syncs.push(sender);
        self.shared.wake_syncing.notify_one();
        Ok(Some(receiver))
    }

    pub(crate) fn settle(&self, accounts: &Accounts, held: &Held, settlement: Settlement) {
        lock(&self.books).settle(accounts, held, &settlement.booked());
        let entry = Entry::Settlement(Arc::new(settlement));
        let frame = framed(&entry);
        let mut pending = lock(&self.shared.log);
        if pending.log.append(&frame).is_err() {
            // The money was spent all the same: it is on record as soon as there is room.
            pending.log.put(&frame);
        }
        self.shared.push(&mut pending, entry);
    }

    /// Ends a request; `tokens` corrects what its rate was charged at a time.
    pub(crate) fn finish(&self, accounts: &Accounts, tokens: Option<(i64, i64)>, finish: Finish) {
        if let Some((delta, at_ms)) = tokens {
            lock(&self.books).correct_tokens(accounts, delta, at_ms);
        }
        let entry = Entry::Finish(Arc::new(finish));
        let frame = framed(&entry);
        let mut pending = lock(&self.shared.log);
        pending.log.put(&frame);
        self.shared.push(&mut pending, entry);
    }

    /// Has a statement carried out with the next batch; it is not in the log.
    pub(crate) fn enqueue(&self, statement: Statement<'static>) -> bool {
        let mut pending = lock(&self.shared.log);
        let room = pending.statements.len() < 10_000;
        if room {
            pending.statements.push(statement);
            self.shared.wake.notify_one();
        }
        room
    }
}

impl Shared {
    fn push(&self, pending: &mut Pending, entry: Entry) {
        if pending.entries.is_empty() {
            self.wake.notify_one();
        }
        pending.entries.push(entry);
        self.unapplied.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        lock(&self.shared.log).stop = true;
        self.shared.wake.notify_all();
        self.shared.wake_syncing.notify_all();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            drop(thread.join());
        }
    }
}

/// Whoever only brings the tables up to date has done so in a moment.
fn wait_to_hold(path: &Path) -> Result<File, LedgerError> {
    for _ in 0..10 {
        if let Some(held) = hold(path)? {
            return Ok(held);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(LedgerError::Held {
        path: path.to_owned(),
    })
}

/// The right to answer requests with a ledger; the system takes it back when the process ends.
/// `None`: another process has it.
fn hold(path: &Path) -> Result<Option<File>, LedgerError> {
    let failed = |error: std::io::Error| LedgerError::Open {
        ledger: path.display().to_string(),
        source: Arc::new(error),
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut lock = path.as_os_str().to_owned();
    lock.push("-lock");
    let file = File::options()
        .create(true)
        .append(true)
        .open(PathBuf::from(lock))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Brings the tables up to date where no process owns the ledger, so that a reader sees everything.
pub(crate) fn recover_if_free(path: &Path, now_ms: i64) -> Result<(), LedgerError> {
    if let Some(_held) = hold(path)? {
        let database = Sqlite::open(path, false)?;
        recover(path, &database, now_ms)?;
    }
    Ok(())
}

/// Applies the logs that a killed owner left behind, and marks what it had under way as cut. Returns
/// the number of the last log.
fn recover(path: &Path, database: &Sqlite, now_ms: i64) -> Result<u64, LedgerError> {
    let failed = |error: std::io::Error| LedgerError::Open {
        ledger: path.display().to_string(),
        source: Arc::new(error),
    };
    let applied = database.query(&Statement::new(
        "SELECT value FROM versions WHERE name = 'applied'",
        vec![],
    ))?;
    let mut last = applied
        .first()
        .and_then(|row| row[0].count())
        .unwrap_or_default();
    for number in log::numbers(path).map_err(failed)? {
        if number > last {
            let entries = log::read(path, number).map_err(failed)?;
            apply(database, "", &entries, &[], number)?;
            last = number;
        }
        drop(std::fs::remove_file(log::path(path, number)));
    }
    database.change(&cut("", now_ms))?;
    Ok(last)
}

/// The statements that mark as cut what an instance left open; the empty name stands for the one
/// process of a file.
pub(crate) fn cut(instance: &str, now_ms: i64) -> Vec<Statement<'static>> {
    [
        "UPDATE attempts SET outcome = 'cut', ended_ms = $1
         WHERE outcome IS NULL AND instance = $2",
        "UPDATE requests SET outcome = 'cut', ended_ms = $1
         WHERE outcome IS NULL AND instance = $2",
    ]
    .into_iter()
    .map(|sql| Statement::new(sql, vec![now_ms.into(), instance.to_owned().into()]))
    .collect()
}

fn apply(
    database: &Sqlite,
    instance: &str,
    entries: &[Entry],
    more: &[Statement<'static>],
    number: u64,
) -> Result<(), LedgerError> {
    let mut statements = Batch::new(instance, entries).statements();
    statements.extend(more.iter().cloned());
    statements.push(Statement::new(
        "INSERT INTO versions (name, value) VALUES ('applied', $1)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        vec![number.into()],
    ));
    database.change(&statements).map(drop)
}

/// The balances that still count.
fn balances(database: &Sqlite, now_ms: i64) -> Result<Vec<Balance>, LedgerError> {
    let rows = database.query(&Statement::new(
        "SELECT account, span, number, amount FROM balances WHERE span = 'total'
         OR (span = 'day' AND number = $1) OR (span = 'month' AND number = $2)",
        vec![
            Value::from(Window::Day.index(now_ms)),
            Window::Month.index(now_ms).into(),
        ],
    ))?;
    Ok(rows.iter().filter_map(|row| balance(row)).collect())
}

/// A balance as its row has it.
pub(crate) fn balance(row: &[Value<'static>]) -> Option<Balance> {
    Some(Balance {
        account: row[0].text()?,
        window: Window::from_name(&row[1].text()?)?,
        index: row[2].integer()?,
        amount: row[3].integer()?,
    })
}
