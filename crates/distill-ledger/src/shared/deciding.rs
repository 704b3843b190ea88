//! The task that decides, batch by batch.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use distill_gateway::Usd;
use tokio::{sync::mpsc, time::MissedTickBehavior};

use super::Work;
use crate::{
    api::{Caller, Refusal},
    batch::Batch,
    books::{Books, Held, Scope, Window},
    clock::Clock,
    entry::{Entry, Intent, RequestFacts, Settlement},
    error::LedgerError,
    local::{balance, cut},
    store::{
        Row, Statement, Value,
        postgres::{Ended, Postgres},
    },
};

/// Work that goes into one transaction at most.
const MOST_AT_ONCE: usize = 500;

/// How long the task rests after the database failed.
const REST: Duration = Duration::from_millis(250);

const NOW: &str = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";

pub(super) struct Deciding {
    database: Postgres,
    instance: String,
    books: Books,
    clock: Clock,
    ends_after: Duration,
    waiting: Arc<AtomicUsize>,
    /// Counts the transactions, so that one that may have been committed can be asked for.
    number: i64,
}

/// What was decided about the work of a batch.
struct Decided {
    instance: String,
    number: i64,
    entries: Vec<Entry>,
    /// Account, window, time and change of the counters of rates.
    rates: Vec<(String, Window, i64, i64)>,
    statements: Vec<Statement<'static>>,
    outcomes: Vec<Outcome>,
}

/// What is told to whoever waits, once it stands.
enum Outcome {
    Nothing,
    Admitted(Result<i64, Refusal>),
    Reserved(Result<(Held, Arc<Intent>), Refusal>),
    Committed([Usd; 3]),
    Pools(Vec<(crate::api::TokenPool, u64)>),
}

impl Decided {
    fn statements(&self) -> Vec<Statement<'_>> {
        let mut batch = Batch::new(&self.instance, &self.entries);
        for (account, window, at_ms, delta) in &self.rates {
            batch.balance(account.clone(), *window, *at_ms, *delta);
        }
        let mut statements = batch.statements();
        statements.extend(self.statements.iter().cloned());
        if !statements.is_empty() {
            statements.push(Statement::new(
                "INSERT INTO versions (name, value) VALUES ($1, $2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                vec![number_of(&self.instance).into(), self.number.into()],
            ));
        }
        statements
    }
}

fn number_of(instance: &str) -> String {
    format!("batch:{instance}")
}

impl Deciding {
    pub(super) fn new(
        database: Postgres,
        instance: String,
        clock: Clock,
        ends_after: Duration,
        waiting: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            database,
            instance,
            books: Books::default(),
            clock,
            ends_after,
            waiting,
            number: 0,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Work>) {
        let mut beats = tokio::time::interval(self.ends_after / 4);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut kept: Vec<Work> = Vec::new();
        loop {
            let mut batch = std::mem::take(&mut kept);
            if batch.is_empty() {
                tokio::select! {
                    received = inbox.recv_many(&mut batch, MOST_AT_ONCE) => {
                        if received == 0 {
                            self.leave().await;
                            return;
                        }
                    }
                    _ = beats.tick() => {
                        // Another try comes with the next beat.
                        drop(self.beat().await);
                        continue;
                    }
                }
            } else {
                tokio::time::sleep(REST).await;
                while batch.len() < MOST_AT_ONCE
                    && let Ok(work) = inbox.try_recv()
                {
                    batch.push(work);
                }
            }
            let closing = self.take_apart(&mut batch);
            let had = batch.len();
            kept = self.carry_out(batch).await;
            self.waiting.fetch_sub(had - kept.len(), Ordering::Relaxed);
            if let Some(reply) = closing {
                for _ in 0..8 {
                    if kept.is_empty() {
                        break;
                    }
                    tokio::time::sleep(REST).await;
                    kept = self.carry_out(kept).await;
                }
                self.leave().await;
                // Whoever has stopped waiting needs no answer.
                let _ = reply.send(());
                return;
            }
        }
    }

    /// Does what needs no database; what is left goes into a transaction.
    fn take_apart(&mut self, batch: &mut Vec<Work>) -> Option<tokio::sync::oneshot::Sender<()>> {
        let mut closing = None;
        let mut left = Vec::with_capacity(batch.len());
        for work in batch.drain(..) {
            match work {
                Work::Limits(table) => {
                    self.books.set_limits(table);
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                }
                Work::Close(reply) => {
                    closing = Some(reply);
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                }
                work => left.push(work),
            }
        }
        *batch = left;
        closing
    }

    /// Carries out a batch; returns what has to be done again.
    async fn carry_out(&mut self, batch: Vec<Work>) -> Vec<Work> {
        if batch.is_empty() {
            return Vec::new();
        }
        self.number += 1;
        let read = self.balances_of(&batch);
        let (books, number) = (&mut self.books, self.number);
        let instance = self.instance.clone();
        let ended = self
            .database
            .in_turn(
                &read,
                |rows| decide(books, &batch, &rows, instance, number),
                Decided::statements,
            )
            .await;
        let decided = match ended {
            Ended::Committed(decided) => Ok(decided),
            Ended::Undone(problem) => Err(problem),
            Ended::Unknown(decided) => {
                if self.was_committed(number).await {
                    Ok(decided)
                } else {
                    Err("the connection to its database was lost".to_owned())
                }
            }
        };
        match decided {
            Ok(decided) => tell(batch, decided.outcomes),
            Err(problem) => refuse(batch, &problem),
        }
    }

    /// Whether a transaction stands whose commit was not answered. Waits for the database: neither
    /// doing it again nor leaving it is right before that is known.
    async fn was_committed(&self, number: i64) -> bool {
        loop {
            let asked = self
                .database
                .query(&Statement::new(
                    "SELECT value FROM versions WHERE name = $1",
                    vec![number_of(&self.instance).into()],
                ))
                .await;
            if let Ok(rows) = asked {
                return rows.first().and_then(|row| row[0].integer()) == Some(number);
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// The balances that a batch is decided by.
    fn balances_of(&self, batch: &[Work]) -> Statement<'static> {
        let now_ms = self.books.latest(self.clock.now_ms());
        let mut accounts: BTreeSet<String> = BTreeSet::new();
        for work in batch {
            match work {
                Work::Admit { facts, .. } => accounts.extend(names(facts)),
                Work::Reserve { wanted, .. } => accounts.extend(names(&wanted.facts)),
                Work::Committed(scope, ..) => {
                    accounts.insert(scope.account());
                }
                _ => {}
            }
        }
        let pools = self.books.pools().iter();
        accounts.extend(pools.map(|pool| format!("pool:{}", pool.name)));
        let accounts = serde_json::to_string(&accounts).expect("names are plain text");
        let minute = Window::Requests.index(now_ms);
        Statement::new(
            "SELECT account, span, number, amount FROM balances WHERE account IN
             (SELECT json_array_elements_text(CAST(CAST($1 AS TEXT) AS JSON)))
             AND (span = 'total' OR (span = 'day' AND number = $2)
             OR (span = 'month' AND number = $3)
             OR (span IN ('requests', 'tokens') AND number IN ($4, $5)))
             ORDER BY number",
            vec![
                Value::from(accounts),
                Window::Day.index(now_ms).into(),
                Window::Month.index(now_ms).into(),
                (minute - 1).into(),
                minute.into(),
            ],
        )
    }

    /// Shows that this instance lives, and cuts what dead ones left.
    pub(super) async fn beat(&self) -> Result<(), LedgerError> {
        let ends_after = i64::try_from(self.ends_after.as_millis()).unwrap_or(i64::MAX);
        let alive = Statement::new(
            format!(
                "INSERT INTO instances (id, started_ms, seen_ms) VALUES ($1, {NOW}, {NOW})
                 ON CONFLICT (id) DO UPDATE SET seen_ms = excluded.seen_ms"
            ),
            vec![self.instance.clone().into()],
        );
        self.database.change(&[alive]).await?;
        let dead = self
            .database
            .query(&Statement::new(
                format!("SELECT id FROM instances WHERE seen_ms < {NOW} - $1"),
                vec![ends_after.into()],
            ))
            .await?;
        for row in dead {
            self.bury(&row[0].words()).await?;
        }
        Ok(())
    }

    async fn bury(&self, instance: &str) -> Result<(), LedgerError> {
        let mut statements = cut(instance, self.clock.now_ms());
        for (table, column) in [("instances", "id"), ("versions", "name")] {
            let name = if table == "versions" {
                number_of(instance)
            } else {
                instance.to_owned()
            };
            statements.push(Statement::new(
                format!("DELETE FROM {table} WHERE {column} = $1"),
                vec![name.into()],
            ));
        }
        self.database.change(&statements).await.map(drop)
    }

    async fn leave(&self) {
        // Where it fails the others cut what is open in a while.
        drop(self.bury(&self.instance).await);
    }
}

fn names(facts: &RequestFacts) -> impl Iterator<Item = String> {
    Scope::of(facts).into_iter().map(|scope| scope.account())
}

/// Decides a batch by the balances as they stand.
fn decide(
    books: &mut Books,
    batch: &[Work],
    rows: &[Row],
    instance: String,
    number: i64,
) -> Decided {
    books.clear();
    for balance in rows.iter().filter_map(|row| balance(row)) {
        books.load(&balance);
    }
    let mut decided = Decided {
        instance,
        number,
        entries: Vec::new(),
        rates: Vec::new(),
        statements: Vec::new(),
        outcomes: Vec::new(),
    };
    for work in batch {
        let outcome = decided.one(books, work);
        decided.outcomes.push(outcome);
    }
    decided
}

impl Decided {
    fn one(&mut self, books: &mut Books, work: &Work) -> Outcome {
        match work {
            Work::Admit {
                facts,
                caller,
                worst_tokens,
                ..
            } => {
                let accounts = books.accounts(facts, &caller.limits);
                let admitted = books.admit(&accounts, *worst_tokens, facts.started_ms);
                if let Ok(at_ms) = admitted {
                    let tokens = i64::try_from(*worst_tokens).unwrap_or(i64::MAX);
                    self.rate(facts, Window::Requests, at_ms, 1);
                    self.rate(facts, Window::Tokens, at_ms, tokens);
                }
                Outcome::Admitted(admitted)
            }
            Work::Reserve { caller, wanted, .. } => {
                Outcome::Reserved(self.reserve(books, caller, wanted))
            }
            Work::Settle {
                caller,
                held,
                settlement,
            } => {
                let accounts = books.accounts(&settlement.intent.facts, &caller.limits);
                books.settle(&accounts, held, &settlement.booked());
                self.entries.push(Entry::Settlement(Arc::clone(settlement)));
                Outcome::Nothing
            }
            Work::Finish {
                caller,
                tokens,
                finish,
            } => {
                if let Some((delta, at_ms)) = *tokens {
                    let accounts = books.accounts(&finish.facts, &caller.limits);
                    books.correct_tokens(&accounts, delta, at_ms);
                    self.rate(&finish.facts, Window::Tokens, at_ms, delta);
                }
                self.entries.push(Entry::Finish(Arc::clone(finish)));
                Outcome::Nothing
            }
            Work::Statement(statement) => {
                self.statements.push(statement.clone());
                Outcome::Nothing
            }
            Work::Committed(scope, now_ms, _) => {
                Outcome::Committed(books.committed(scope, *now_ms).map(Usd::from_pico))
            }
            Work::Pools(_) => Outcome::Pools(
                books
                    .pools()
                    .iter()
                    .map(|pool| (pool.clone(), books.drawn(&pool.name)))
                    .collect(),
            ),
            // Taken out before.
            Work::Limits(_) | Work::Close(_) => Outcome::Nothing,
        }
    }

    fn reserve(
        &mut self,
        books: &mut Books,
        caller: &Caller,
        wanted: &crate::ledger::Wanted,
    ) -> Result<(Held, Arc<Intent>), Refusal> {
        let accounts = books.accounts(&wanted.facts, &caller.limits);
        let held = books.reserve(
            &accounts,
            &wanted.facts,
            &wanted.target,
            (wanted.worst, wanted.worst_tokens),
            wanted.now_ms,
        )?;
        let intent = Arc::new(wanted.clone().intent(&held));
        self.entries.push(Entry::Intent(Arc::clone(&intent)));
        Ok((held, intent))
    }

    fn rate(&mut self, facts: &RequestFacts, window: Window, at_ms: i64, delta: i64) {
        for account in names(facts) {
            self.rates.push((account, window, at_ms, delta));
        }
    }
}

/// Tells what stands. What was granted to somebody who has left is settled at nothing.
fn tell(batch: Vec<Work>, outcomes: Vec<Outcome>) -> Vec<Work> {
    let mut undo = Vec::new();
    for (work, outcome) in batch.into_iter().zip(outcomes) {
        match (work, outcome) {
            (Work::Admit { reply, .. }, Outcome::Admitted(admitted)) => {
                let _ = reply.send(admitted);
            }
            (Work::Reserve { caller, reply, .. }, Outcome::Reserved(reserved)) => {
                if let Err(Ok((held, intent))) = reply.send(reserved) {
                    undo.push(Work::Settle {
                        caller,
                        held,
                        settlement: Arc::new(Settlement::unsent(&intent)),
                    });
                }
            }
            (Work::Committed(.., reply), Outcome::Committed(committed)) => {
                let _ = reply.send(committed);
            }
            (Work::Pools(reply), Outcome::Pools(pools)) => {
                let _ = reply.send(pools);
            }
            _ => {}
        }
    }
    undo
}

/// Refuses what can be refused; returns the rest.
fn refuse(batch: Vec<Work>, problem: &str) -> Vec<Work> {
    let unavailable = || Refusal::Unavailable {
        problem: problem.to_owned(),
    };
    let mut kept = Vec::new();
    for work in batch {
        if work.stays() {
            kept.push(work);
            continue;
        }
        match work {
            Work::Admit { reply, .. } => {
                let _ = reply.send(Err(unavailable()));
            }
            Work::Reserve { reply, .. } => {
                let _ = reply.send(Err(unavailable()));
            }
            // Their askers see the channel close.
            _ => {}
        }
    }
    kept
}
