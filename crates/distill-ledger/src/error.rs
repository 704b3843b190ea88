//! Why the ledger cannot be used.

use std::{path::PathBuf, sync::Arc};

/// What went wrong underneath.
pub(crate) type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Why the ledger cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    #[error("opening the ledger {ledger}")]
    Open {
        ledger: String,
        #[source]
        source: Cause,
    },
    #[error("another process answers requests with the ledger {path}")]
    Held { path: PathBuf },
    #[error("the ledger {ledger} has format {found}, this program reads {known}")]
    Version {
        ledger: String,
        found: i64,
        known: i64,
    },
    #[error("reading the ledger {ledger}")]
    Read {
        ledger: String,
        #[source]
        source: Cause,
    },
    #[error("writing the ledger {ledger}")]
    Write {
        ledger: String,
        #[source]
        source: Cause,
    },
    #[error("drawing random numbers for a new key")]
    Random {
        #[source]
        source: Cause,
    },
    #[error("the ledger knows no {what} `{name}`")]
    Unknown { what: &'static str, name: String },
    #[error("the address of the ledger cannot be read: {problem}")]
    Address { problem: String },
}

impl LedgerError {
    /// What to do next.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Held { .. } => Some(
                "stop that one, or let several share a PostgreSQL ledger: a SQLite one belongs to one process",
            ),
            Self::Version { .. } => Some("use the version of the program that made it"),
            Self::Open { .. } => {
                Some("see that the folder can be written, or the database server be reached")
            }
            Self::Write { .. } => Some("see that there is room on its disk"),
            Self::Address { .. } => {
                Some("write `postgres://user:password@host:port/database?sslmode=require`")
            }
            Self::Unknown { .. } | Self::Read { .. } | Self::Random { .. } => None,
        }
    }
}
