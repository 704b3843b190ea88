//! The ledger that several instances share: every decision in a transaction of the database.
//!
//! One task of an instance takes whatever waits (reservations, settlements, ends) into one
//! transaction, in which no other instance decides: it loads the balances concerned, decides by the
//! same books as the ledger of one process, and writes balances, intents and settlements together.
//! So a reservation that is granted is on record, parallel instances cannot overrun a cap together,
//! and with many requests in flight one commit serves all of them.
//!
//! Instances show that they live by a heartbeat on the database's clock; what a dead one had under
//! way is cut by any other. Limits slide by each instance's own clock, so those should agree.

mod deciding;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use distill_gateway::{Secret, Usd};
use tokio::sync::{mpsc, oneshot};

use crate::{
    api::{Caller, LimitTable, Refusal, TokenPool},
    books::{Held, Scope},
    clock::Clock,
    entry::{Finish, Intent, RequestFacts, Settlement},
    error::LedgerError,
    key::draw_id,
    ledger::Wanted,
    options::LedgerOptions,
    store::{Statement, postgres::Postgres},
};

/// What waits for the database stays below this: beyond it nothing more is granted.
const MOST_WAITING: usize = 100_000;

/// How long a reservation waits for the database.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Shared {
    work: mpsc::UnboundedSender<Work>,
    waiting: Arc<AtomicUsize>,
}

/// What the task is asked to do.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is moved once, into the queue; a box for each would cost more"
)]
enum Work {
    Admit {
        facts: Arc<RequestFacts>,
        caller: Arc<Caller>,
        worst_tokens: u64,
        reply: oneshot::Sender<Result<i64, Refusal>>,
    },
    Reserve {
        caller: Arc<Caller>,
        wanted: Wanted,
        reply: oneshot::Sender<Result<(Held, Arc<Intent>), Refusal>>,
    },
    Settle {
        caller: Arc<Caller>,
        held: Held,
        settlement: Arc<Settlement>,
    },
    Finish {
        caller: Arc<Caller>,
        tokens: Option<(i64, i64)>,
        finish: Arc<Finish>,
    },
    Statement(Statement<'static>),
    Limits(LimitTable),
    Committed(Scope, i64, oneshot::Sender<[Usd; 3]>),
    Pools(oneshot::Sender<Vec<(TokenPool, u64)>>),
    Close(oneshot::Sender<()>),
}

impl Work {
    /// Whether it has to be carried out even if that takes several goes.
    fn stays(&self) -> bool {
        matches!(
            self,
            Self::Settle { .. } | Self::Finish { .. } | Self::Statement(_)
        )
    }
}

impl Shared {
    /// Joins the instances that share a database.
    pub(crate) async fn open(
        address: &Secret,
        options: &LedgerOptions,
    ) -> Result<Self, LedgerError> {
        let database = Postgres::open(address).await?;
        let instance = draw_id("i").map_err(|error| LedgerError::Random {
            source: Arc::new(error),
        })?;
        let (work, inbox) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let deciding = deciding::Deciding::new(
            database,
            instance,
            options.clock.clone(),
            options.instance_ends_after,
            Arc::clone(&waiting),
        );
        deciding.beat().await?;
        tokio::spawn(deciding.run(inbox));
        Ok(Self { work, waiting })
    }

    fn send(&self, work: Work) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.work.send(work).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Has something decided. Whoever asked and left in between finds it undone.
    async fn ask<T>(
        &self,
        work: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Work,
    ) -> Result<T, Refusal> {
        let unavailable = |problem: &str| Refusal::Unavailable {
            problem: problem.to_owned(),
        };
        if self.waiting.load(Ordering::Relaxed) >= MOST_WAITING {
            return Err(unavailable("its database does not keep up"));
        }
        let (reply, answer) = oneshot::channel();
        self.send(work(reply));
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(unavailable("it is closing")),
            Err(_) => Err(unavailable("its database does not answer")),
        }
    }

    pub(crate) async fn admit(
        &self,
        facts: &Arc<RequestFacts>,
        caller: &Arc<Caller>,
        worst_tokens: u64,
    ) -> Result<i64, Refusal> {
        self.ask(|reply| Work::Admit {
            facts: Arc::clone(facts),
            caller: Arc::clone(caller),
            worst_tokens,
            reply,
        })
        .await
    }

    pub(crate) async fn reserve(
        &self,
        caller: &Arc<Caller>,
        wanted: Wanted,
    ) -> Result<(Held, Arc<Intent>), Refusal> {
        self.ask(|reply| Work::Reserve {
            caller: Arc::clone(caller),
            wanted,
            reply,
        })
        .await
    }

    pub(crate) fn settle(&self, caller: &Arc<Caller>, held: &Held, settlement: Settlement) {
        self.send(Work::Settle {
            caller: Arc::clone(caller),
            held: held.clone(),
            settlement: Arc::new(settlement),
        });
    }

    pub(crate) fn finish(&self, caller: &Arc<Caller>, tokens: Option<(i64, i64)>, finish: Finish) {
        self.send(Work::Finish {
            caller: Arc::clone(caller),
            tokens,
            finish: Arc::new(finish),
        });
    }

    pub(crate) fn set_limits(&self, table: LimitTable) {
        self.send(Work::Limits(table));
    }

    pub(crate) fn enqueue(&self, statement: Statement<'static>) -> bool {
        let room = self.waiting.load(Ordering::Relaxed) < MOST_WAITING / 2;
        if room {
            self.send(Work::Statement(statement));
        }
        room
    }

    pub(crate) async fn committed(&self, scope: &Scope, clock: &Clock) -> Option<[Usd; 3]> {
        let (reply, answer) = oneshot::channel();
        self.send(Work::Committed(scope.clone(), clock.now_ms(), reply));
        answer.await.ok()
    }

    pub(crate) async fn pools(&self) -> Option<Vec<(TokenPool, u64)>> {
        let (reply, answer) = oneshot::channel();
        self.send(Work::Pools(reply));
        answer.await.ok()
    }

    /// Waits until everything is on record, and leaves the other instances.
    pub(crate) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        self.send(Work::Close(reply));
        drop(answer.await);
    }
}
