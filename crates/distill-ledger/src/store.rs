//! Where the ledger is kept: `SQLite` or `PostgreSQL`, by one set of tables and statements.
//!
//! Statements are written in the part of SQL that both read, with parameters as `$1`, `$2`; times
//! are milliseconds since 1970, money is in pico-dollars, flags are 0 and 1.

pub(crate) mod postgres;
mod schema;
pub(crate) mod sqlite;

use std::{borrow::Cow, sync::Arc};

use crate::error::LedgerError;
use postgres::Postgres;
use sqlite::Sqlite;

/// A value on its way into a table or out of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(Cow<'a, str>),
}

pub(crate) type Row = Vec<Value<'static>>;

impl Value<'_> {
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            Self::Real(value) => Some(*value as i64),
            Self::Null | Self::Text(_) => None,
        }
    }

    pub(crate) fn count(&self) -> Option<u64> {
        self.integer().and_then(|value| u64::try_from(value).ok())
    }

    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.to_string()),
            _ => None,
        }
    }

    pub(crate) fn words(&self) -> String {
        self.text().unwrap_or_default()
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u16> for Value<'_> {
    fn from(value: u16) -> Self {
        Self::Integer(value.into())
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Integer(value.into())
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Self::Text(Cow::Owned(value))
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A statement with its parameters.
#[derive(Debug, Clone)]
pub(crate) struct Statement<'a> {
    pub(crate) sql: Cow<'static, str>,
    pub(crate) values: Vec<Value<'a>>,
}

impl<'a> Statement<'a> {
    pub(crate) fn new(sql: impl Into<Cow<'static, str>>, values: Vec<Value<'a>>) -> Self {
        Self {
            sql: sql.into(),
            values,
        }
    }
}

/// One of the two.
#[derive(Debug, Clone)]
pub(crate) enum Database {
    Sqlite(Arc<Sqlite>),
    Postgres(Arc<Postgres>),
}

impl Database {
    /// The rows of a query.
    pub(crate) async fn query(
        &self,
        statement: Statement<'static>,
    ) -> Result<Vec<Row>, LedgerError> {
        match self {
            Self::Sqlite(database) => {
                let database = Arc::clone(database);
                blocking(move || database.query(&statement)).await
            }
            Self::Postgres(database) => database.query(&statement).await,
        }
    }

    /// Carries out all or nothing; says how many rows each changed.
    pub(crate) async fn change(
        &self,
        statements: Vec<Statement<'static>>,
    ) -> Result<Vec<u64>, LedgerError> {
        match self {
            Self::Sqlite(database) => {
                let database = Arc::clone(database);
                blocking(move || database.change(&statements)).await
            }
            Self::Postgres(database) => database.change(&statements).await,
        }
    }

    /// What stands before the first slash of a text, in this database's words.
    pub(crate) fn before_slash(&self, text: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("substr({text}, 1, instr({text}, '/') - 1)"),
            Self::Postgres(_) => format!("split_part({text}, '/', 1)"),
        }
    }

    /// What stands after the first slash of a text.
    pub(crate) fn after_slash(&self, text: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("substr({text}, instr({text}, '/') + 1)"),
            Self::Postgres(_) => format!("substr({text}, strpos({text}, '/') + 1)"),
        }
    }

    /// How it is named in messages, without a password.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Sqlite(database) => database.name(),
            Self::Postgres(database) => database.name(),
        }
    }
}

/// A statement that waits for a disk does not hold up the tasks of the thread it was called on.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, LedgerError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(LedgerError::Read {
            ledger: "in a thread of its own".to_owned(),
            source: Arc::new(error),
        }),
    }
}
