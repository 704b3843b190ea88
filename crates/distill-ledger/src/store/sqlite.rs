//! `SQLite`, for a ledger that one process writes and others look at.
//!
//! To `SQLite` the parameter `$1` is a name, and names are counted as they first appear: statements
//! name theirs in ascending order.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, types::ToSqlOutput, types::ValueRef};

use super::{
    Row, Statement, Value,
    schema::{TABLES, VERSION},
};
use crate::error::LedgerError;

/// How long a writer of another process is waited for.
const BUSY: Duration = Duration::from_secs(10);

/// One connection to the file, for one caller at a time.
#[derive(Debug)]
pub(crate) struct Sqlite {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Sqlite {
    /// Opens the file, making it and its tables where there are none.
    ///
    /// `through_power_cuts`: a commit waits for the disk, so that it survives the machine and not
    /// only the process.
    pub(crate) fn open(path: &Path, through_power_cuts: bool) -> Result<Self, LedgerError> {
        let name = path.display().to_string();
        let failed = |source: rusqlite::Error| LedgerError::Open {
            ledger: name.clone(),
            source: Arc::new(source),
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| LedgerError::Open {
                ledger: name.clone(),
                source: Arc::new(error),
            })?;
        }
        let connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        // A megabyte of pages each connection: most reads are of the newest rows.
        let synchronous = if through_power_cuts { "FULL" } else { "NORMAL" };
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};
                 PRAGMA cache_size = -1024; PRAGMA temp_store = MEMORY;
                 PRAGMA journal_size_limit = 8388608;"
            ))
            .map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(32);
        let database = Self {
            path: path.to_owned(),
            connection: Mutex::new(connection),
        };
        database.prepare(failed)?;
        Ok(database)
    }

    fn prepare(
        &self,
        failed: impl Fn(rusqlite::Error) -> LedgerError + Copy,
    ) -> Result<(), LedgerError> {
        let connection = self.lock();
        let tables: i64 = connection
            .query_row(
                "SELECT count(*) FROM sqlite_master WHERE name = 'versions'",
                [],
                |row| row.get(0),
            )
            .map_err(failed)?;
        if tables == 0 {
            // Two processes may find the file new at once: only one gets to make the tables.
            let mut script = String::from("BEGIN IMMEDIATE;");
            for table in TABLES {
                script.push_str(table);
                script.push(';');
            }
            let _ = write!(
                script,
                "INSERT INTO versions (name, value) VALUES ('schema', {VERSION})
                 ON CONFLICT (name) DO NOTHING; COMMIT;"
            );
            connection.execute_batch(&script).map_err(failed)?;
        }
        let found: i64 = connection
            .query_row(
                "SELECT value FROM versions WHERE name = 'schema'",
                [],
                |row| row.get(0),
            )
            .map_err(failed)?;
        if found == VERSION {
            Ok(())
        } else {
            Err(LedgerError::Version {
                ledger: self.name(),
                found,
                known: VERSION,
            })
        }
    }

    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// A statement that panicked has rolled back: its connection goes on.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn query(&self, statement: &Statement<'_>) -> Result<Vec<Row>, LedgerError> {
        let connection = self.lock();
        rows(&connection, statement).map_err(|error| LedgerError::Read {
            ledger: self.name(),
            source: Arc::new(error),
        })
    }

    pub(crate) fn change(&self, statements: &[Statement<'_>]) -> Result<Vec<u64>, LedgerError> {
        let mut connection = self.lock();
        in_one(&mut connection, statements).map_err(|error| LedgerError::Write {
            ledger: self.name(),
            source: Arc::new(error),
        })
    }
}

fn rows(connection: &Connection, statement: &Statement<'_>) -> rusqlite::Result<Vec<Row>> {
    let mut prepared = connection.prepare_cached(&statement.sql)?;
    let columns = prepared.column_count();
    let mut found = prepared.query(rusqlite::params_from_iter(&statement.values))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let mut values = Vec::with_capacity(columns);
        for column in 0..columns {
            values.push(match row.get_ref(column)? {
                ValueRef::Null | ValueRef::Blob(_) => Value::Null,
                ValueRef::Integer(value) => Value::Integer(value),
                ValueRef::Real(value) => Value::Real(value),
                ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
            });
        }
        rows.push(values);
    }
    Ok(rows)
}

fn in_one(connection: &mut Connection, statements: &[Statement<'_>]) -> rusqlite::Result<Vec<u64>> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let mut changed = Vec::with_capacity(statements.len());
    for statement in statements {
        let mut prepared = transaction.prepare_cached(&statement.sql)?;
        changed.push(prepared.execute(rusqlite::params_from_iter(&statement.values))? as u64);
    }
    transaction.commit()?;
    Ok(changed)
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Real(value) => ValueRef::Real(*value),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}
