//! Where a ledger is kept and how.

use std::{path::PathBuf, time::Duration};

use distill_gateway::Secret;

use crate::clock::Clock;

/// Where a ledger is kept.
#[derive(Debug, Clone)]
pub enum Store {
    /// A file of one process; others may look at it, make keys and answer questions.
    Sqlite(PathBuf),
    /// A database that several instances share: `postgres://user:password@host:port/database`. The
    /// address holds a password.
    Postgres(Secret),
}

impl Store {
    /// From a path or an address as a person writes it.
    pub fn from_text(text: &str) -> Self {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            Self::Postgres(Secret::new(text))
        } else {
            Self::Sqlite(PathBuf::from(text))
        }
    }
}

/// What an intent survives before its attempt leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, however it ends.
    #[default]
    Process,
    /// Also the end of the machine: waits for the disk, one wait for all that come meanwhile.
    Power,
}

/// How a ledger is kept.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    pub clock: Clock,
    /// Of a `SQLite` ledger; a shared one is as durable as its database.
    pub durability: Durability,
    /// At most so long after an entry the tables have it.
    pub apply_every: Duration,
    /// How often the store is looked at for what other processes changed.
    pub look_every: Duration,
    /// An instance that shares the ledger and has not been heard of for so long has ended: what it
    /// had under way is marked as cut.
    pub instance_ends_after: Duration,
    /// Requests and attempts older than this are cleared away; `None`: kept.
    pub keep_rows: Option<Duration>,
    /// Stored bodies older than this are cleared away.
    pub keep_bodies: Duration,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            clock: Clock::System,
            durability: Durability::Process,
            apply_every: Duration::from_millis(100),
            look_every: Duration::from_millis(500),
            instance_ends_after: Duration::from_secs(30),
            keep_rows: None,
            keep_bodies: Duration::from_hours(30 * 24),
        }
    }
}
