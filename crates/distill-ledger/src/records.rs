//! What is on record: keys, questions, requests, attempts, facts about targets, usage.

mod history;
mod targets;
mod usage;

use std::sync::Arc;

use distill_gateway::Secret;

use crate::{
    clock::Clock,
    error::LedgerError,
    keyring::{self, KeyInfo, NewKey},
    local,
    options::{LedgerOptions, Store},
    question::{self, Answer, NewQuestion, Question, QuestionFilter},
    store::{Database, Statement, postgres::Postgres, sqlite::Sqlite},
};
pub use history::{
    AttemptRecord, RequestFilter, RequestRecord, StoredBody, Unsettled, UnsettledState,
};
pub use targets::{Sighting, TargetFact};
pub use usage::{Dimension, Tokens, UsageQuery, UsageRow, UsageTable};

/// The tables of a ledger: to look at, and for what may be changed while another process answers
/// requests with it.
#[derive(Debug, Clone)]
pub struct Records {
    database: Database,
    clock: Clock,
}

impl Records {
    /// Opens the tables of a ledger, making them where there are none. Where no process owns a
    /// `SQLite` ledger, what a killed owner left in its log is brought in first.
    pub async fn open(store: &Store) -> Result<Self, LedgerError> {
        let options = LedgerOptions::default();
        if let Store::Sqlite(path) = store {
            let path = path.clone();
            let now_ms = options.clock.now_ms();
            let recovering =
                tokio::task::spawn_blocking(move || local::recover_if_free(&path, now_ms));
            recovering.await.map_err(|error| LedgerError::Open {
                ledger: "in a thread of its own".to_owned(),
                source: Arc::new(error),
            })??;
        }
        Self::open_beside(store, &options).await
    }

    /// Opens the tables of a ledger that this process owns.
    pub(crate) async fn open_beside(
        store: &Store,
        options: &LedgerOptions,
    ) -> Result<Self, LedgerError> {
        let database = match store {
            Store::Sqlite(path) => {
                let through = options.durability == crate::options::Durability::Power;
                Database::Sqlite(Arc::new(Sqlite::open(path, through)?))
            }
            Store::Postgres(address) => {
                Database::Postgres(Arc::new(Postgres::open(address).await?))
            }
        };
        Ok(Self {
            database,
            clock: options.clock.clone(),
        })
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// How the ledger is named in messages, without a password.
    pub fn name(&self) -> String {
        self.database.name()
    }

    /// How often keys and questions have been changed.
    pub(crate) async fn versions(&self) -> Result<(i64, i64), LedgerError> {
        let rows = self
            .database
            .query(Statement::new(
                "SELECT name, value FROM versions WHERE name IN ('keys', 'questions')",
                vec![],
            ))
            .await?;
        let of = |name: &str| {
            rows.iter()
                .find(|row| row[0].words() == name)
                .and_then(|row| row[1].integer())
                .unwrap_or(0)
        };
        Ok((of("keys"), of("questions")))
    }

    /// Makes a key. The key is in the answer and nowhere else.
    pub async fn create_key(&self, key: NewKey) -> Result<(Secret, KeyInfo), LedgerError> {
        keyring::create(&self.database, key, self.clock.now_ms()).await
    }

    /// Every key, the newest first; revoked ones too.
    pub async fn list_keys(&self) -> Result<Vec<KeyInfo>, LedgerError> {
        keyring::list(&self.database).await
    }

    /// Revokes a key, by its id or by the beginning that lists show.
    pub async fn revoke_key(&self, key: &str) -> Result<KeyInfo, LedgerError> {
        keyring::revoke(&self.database, key, self.clock.now_ms()).await
    }

    /// Raises a question about spend.
    pub async fn raise(&self, question: NewQuestion) -> Result<Question, LedgerError> {
        question::raise(&self.database, question, self.clock.now_ms()).await
    }

    /// Answers a question; a later answer takes the place of an earlier one. `stops_until_ms`: with
    /// stop, until when; `None`: until somebody says go on.
    pub async fn answer(
        &self,
        id: &str,
        answer: Answer,
        by: &str,
        stops_until_ms: Option<i64>,
    ) -> Result<Question, LedgerError> {
        let given = (answer, stops_until_ms);
        let now_ms = self.clock.now_ms();
        question::answer(&self.database, id, given, by, now_ms, false).await
    }

    /// Gives a question its default answer, unless somebody has answered; returns what stands.
    pub async fn answer_by_default(
        &self,
        question: &Question,
        stops_until_ms: Option<i64>,
    ) -> Result<Question, LedgerError> {
        let given = (question.default, stops_until_ms);
        let now_ms = self.clock.now_ms();
        question::answer(
            &self.database,
            &question.id,
            given,
            "deadline",
            now_ms,
            true,
        )
        .await
    }

    /// Questions about spend, the newest first.
    pub async fn questions(&self, filter: &QuestionFilter) -> Result<Vec<Question>, LedgerError> {
        question::list(&self.database, filter).await
    }
}

/// Rows that one clearing takes away at most: a long backlog does not hold up a batch.
const CLEARED: i64 = 20_000;

/// The statements that clear away what is old.
pub(crate) fn clearing(options: &LedgerOptions, now_ms: i64) -> Vec<Statement<'static>> {
    let before = |age: std::time::Duration| {
        now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
    };
    let mut statements = vec![
        Statement::new(
            "DELETE FROM bodies WHERE request_id IN
             (SELECT request_id FROM bodies WHERE stored_ms < $1 LIMIT $2)",
            vec![before(options.keep_bodies).into(), CLEARED.into()],
        ),
        // Days are looked at for two months, minutes for two minutes.
        Statement::new(
            "DELETE FROM balances WHERE (span = 'day' AND number < $1)
             OR (span IN ('requests', 'tokens') AND number < $2)",
            vec![
                (crate::clock::day(now_ms) - 62).into(),
                (now_ms / 60_000 - 5).into(),
            ],
        ),
    ];
    if let Some(age) = options.keep_rows {
        let old = "SELECT id FROM requests WHERE started_ms < $1 AND outcome IS NOT NULL
                   ORDER BY started_ms LIMIT $2";
        let values = || vec![before(age).into(), CLEARED.into()];
        statements.push(Statement::new(
            format!("DELETE FROM attempts WHERE request_id IN ({old})"),
            values(),
        ));
        statements.push(Statement::new(
            format!("DELETE FROM requests WHERE id IN ({old})"),
            values(),
        ));
    }
    statements
}
