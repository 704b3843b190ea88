//! The ledger as the proxy holds it: who asks, what is under way, what it came to.

mod directory;
mod request;

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use distill_gateway::{Secret, Usd};
use tokio::sync::{Notify, broadcast};

use crate::{
    api::{Caller, KeyLimits, LimitTable, Refusal, RequestStart, Role, TokenPool},
    books::{Accounts, Held, Scope},
    entry::{Finish, Intent, RequestFacts, Settlement},
    error::LedgerError,
    event::{LedgerEvent, ModelChange},
    keyring::{self, KeyInfo, NewKey},
    local::{Local, Writing},
    options::{Durability, LedgerOptions, Store},
    question::{self, Answer, NewQuestion, Question},
    records::Records,
    shared::Shared,
    store::Statement,
};
use directory::Directory;
pub use request::{OpenAttempt, OpenRequest};

/// Events that wait for a listener; one that falls further behind misses the oldest.
const EVENTS: usize = 4_096;

/// How long news waits for more: listeners are woken once for many requests, not several times for
/// each.
const ROUND: Duration = Duration::from_millis(10);

/// What an attempt wants to reserve.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) facts: Arc<RequestFacts>,
    pub(crate) number: u32,
    pub(crate) target: String,
    pub(crate) simulated: bool,
    pub(crate) worst: Usd,
    pub(crate) worst_tokens: u64,
    pub(crate) now_ms: i64,
}

impl Wanted {
    pub(crate) fn intent(self, held: &Held) -> Intent {
        Intent {
            facts: self.facts,
            number: self.number,
            target: self.target,
            simulated: self.simulated,
            reserved: held.reserved,
            pool: held.pool.clone(),
            started_ms: held.at_ms,
        }
    }
}

/// What a request that was let in holds.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    caller: Arc<Caller>,
    /// In the books of this process, where those decide.
    accounts: Accounts,
    pub(crate) at_ms: i64,
}

/// Where reservations are decided.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it in a ledger, behind a pointer"
)]
enum Engine {
    Local(Local),
    Shared(Shared),
}

impl Engine {
    async fn admit(
        &self,
        facts: &Arc<RequestFacts>,
        caller: &Arc<Caller>,
        worst_tokens: u64,
    ) -> Result<Admission, Refusal> {
        let (accounts, at_ms) = match self {
            Self::Local(local) => local.admit(facts, &caller.limits, worst_tokens)?,
            Self::Shared(shared) => {
                let at_ms = shared.admit(facts, caller, worst_tokens).await?;
                (Accounts::default(), at_ms)
            }
        };
        Ok(Admission {
            caller: Arc::clone(caller),
            accounts,
            at_ms,
        })
    }

    async fn reserve(
        &self,
        admission: &Admission,
        wanted: Wanted,
    ) -> Result<(Held, Arc<Intent>), Refusal> {
        match self {
            Self::Local(local) => local.reserve(&admission.accounts, wanted).await,
            Self::Shared(shared) => shared.reserve(&admission.caller, wanted).await,
        }
    }

    fn settle(&self, admission: &Admission, held: &Held, settlement: Settlement) {
        match self {
            Self::Local(local) => local.settle(&admission.accounts, held, settlement),
            Self::Shared(shared) => shared.settle(&admission.caller, held, settlement),
        }
    }

    fn finish(&self, admission: &Admission, tokens: Option<(i64, i64)>, finish: Finish) {
        match self {
            Self::Local(local) => local.finish(&admission.accounts, tokens, finish),
            Self::Shared(shared) => shared.finish(&admission.caller, tokens, finish),
        }
    }

    fn set_limits(&self, table: LimitTable) {
        match self {
            Self::Local(local) => local.set_limits(table),
            Self::Shared(shared) => shared.set_limits(table),
        }
    }

    fn enqueue(&self, statement: Statement<'static>) -> bool {
        match self {
            Self::Local(local) => local.enqueue(statement),
            Self::Shared(shared) => shared.enqueue(statement),
        }
    }
}

/// The ledger. Clones share it; the last one dropped closes it and brings its tables up to date.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    records: Records,
    options: LedgerOptions,
    directory: Directory,
    events: broadcast::Sender<LedgerEvent>,
    /// What is told with the next round, and that there is something.
    news: Mutex<Vec<LedgerEvent>>,
    told: Arc<Notify>,
    /// Who answered last under the name of each target.
    seen: Mutex<std::collections::HashMap<String, (String, Option<String>)>>,
}

impl Ledger {
    /// Opens the ledger to answer requests with it, making it where there is none.
    pub async fn open(store: Store) -> Result<Self, LedgerError> {
        Self::open_with(store, LedgerOptions::default()).await
    }

    /// The same, kept in another way.
    pub async fn open_with(store: Store, options: LedgerOptions) -> Result<Self, LedgerError> {
        let engine = open_engine(&store, &options).await?;
        let records = Records::open_beside(&store, &options).await?;
        let seen = records
            .last_seen()
            .await?
            .into_iter()
            .map(|seen| (seen.target, (seen.model, seen.fingerprint)))
            .collect();
        let ledger = Self(Arc::new(Inner {
            engine,
            records,
            options,
            directory: Directory::default(),
            events: broadcast::channel(EVENTS).0,
            news: Mutex::new(Vec::new()),
            told: Arc::new(Notify::new()),
            seen: Mutex::new(seen),
        }));
        ledger.0.look().await?;
        tokio::spawn(keep_looking(Arc::downgrade(&ledger.0)));
        let told = Arc::clone(&ledger.0.told);
        tokio::spawn(keep_telling(Arc::downgrade(&ledger.0), told));
        Ok(ledger)
    }

    /// What is on record, and what other processes may change too.
    pub fn records(&self) -> &Records {
        &self.0.records
    }

    /// The key of whoever runs the proxy: an admin, with no limits of its own.
    pub fn set_admin_key(&self, key: Option<&Secret>) {
        self.0.directory.set_admin(key.map(|key| {
            let caller = Caller {
                key_id: "admin".to_owned(),
                user: "admin".to_owned(),
                team: None,
                discipline: None,
                level: None,
                role: Role::Admin,
                models: Vec::new(),
                limits: KeyLimits::default(),
            };
            (key, caller)
        }));
    }

    /// Who presents this key; `None`: nobody that may ask. A key made a moment ago by another
    /// process is found in the store.
    pub async fn identify(&self, presented: &str) -> Option<Arc<Caller>> {
        let now_ms = self.0.options.clock.now_ms();
        self.0
            .directory
            .identify(&self.0.records, presented, now_ms)
            .await
    }

    /// Puts the limits of the configuration into force. What is spent and reserved stays.
    pub fn set_limits(&self, table: LimitTable) {
        self.0.engine.set_limits(table);
    }

    /// Lets a request in, or says why not.
    pub async fn begin(&self, start: RequestStart) -> Result<OpenRequest, Refusal> {
        OpenRequest::begin(Arc::clone(&self.0), start).await
    }

    /// What is put on record from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<LedgerEvent> {
        self.0.events.subscribe()
    }

    /// Stores what was asked and answered. The caller has redacted both. `false`: there was no room
    /// in the queue, and nothing is stored.
    pub fn store_body(&self, request_id: &str, request: String, reply: Option<String>) -> bool {
        self.0.engine.enqueue(Statement::new(
            "INSERT INTO bodies (request_id, stored_ms, request, reply) VALUES ($1, $2, $3, $4)
             ON CONFLICT (request_id) DO NOTHING",
            vec![
                request_id.to_owned().into(),
                self.0.options.clock.now_ms().into(),
                request.into(),
                reply.into(),
            ],
        ))
    }

    /// What a scope has spent or reserved in this day, this month and altogether.
    pub async fn committed(&self, scope: &Scope) -> Result<[Usd; 3], LedgerError> {
        let clock = &self.0.options.clock;
        match &self.0.engine {
            Engine::Local(local) => Ok(local.committed(scope, clock.now_ms()).map(Usd::from_pico)),
            Engine::Shared(shared) => {
                let committed = shared.committed(scope, clock).await;
                committed.ok_or_else(|| self.closed())
            }
        }
    }

    /// Each bulk-bought pool with the tokens drawn from it so far.
    pub async fn pools(&self) -> Result<Vec<(TokenPool, u64)>, LedgerError> {
        match &self.0.engine {
            Engine::Local(local) => Ok(local.pools()),
            Engine::Shared(shared) => {
                let pools = shared.pools().await;
                pools.ok_or_else(|| self.closed())
            }
        }
    }

    fn closed(&self) -> LedgerError {
        LedgerError::Read {
            ledger: self.0.records.name(),
            source: Arc::new(std::io::Error::other("its database does not answer")),
        }
    }

    /// Waits until everything so far is in the tables, and leaves the other instances. A ledger of
    /// one process does so by itself when its last clone is dropped.
    pub async fn close(self) {
        match &self.0.engine {
            Engine::Local(_) => {}
            Engine::Shared(shared) => shared.close().await,
        }
    }

    /// Makes a key. The key is in the answer and nowhere else.
    pub async fn create_key(&self, key: NewKey) -> Result<(Secret, KeyInfo), LedgerError> {
        let made = self.0.records.create_key(key).await?;
        self.0.look().await?;
        Ok(made)
    }

    /// Every key, the newest first; revoked ones too.
    pub async fn list_keys(&self) -> Result<Vec<KeyInfo>, LedgerError> {
        self.0.records.list_keys().await
    }

    /// Revokes a key, by its id or by the beginning that lists show.
    pub async fn revoke_key(&self, key: &str) -> Result<KeyInfo, LedgerError> {
        let info = self.0.records.revoke_key(key).await?;
        self.0.look().await?;
        Ok(info)
    }

    /// Raises a question about spend.
    pub async fn raise(&self, question: NewQuestion) -> Result<Question, LedgerError> {
        let question = self.0.records.raise(question).await?;
        self.0.look().await?;
        Ok(question)
    }

    /// Answers a question; a later answer takes the place of an earlier one.
    pub async fn answer(
        &self,
        id: &str,
        answer: Answer,
        by: &str,
        stops_until_ms: Option<i64>,
    ) -> Result<Question, LedgerError> {
        let question = self
            .0
            .records
            .answer(id, answer, by, stops_until_ms)
            .await?;
        self.0.look().await?;
        Ok(question)
    }

    /// Gives the configured answer to a question whose deadline has passed, unless somebody answered.
    pub async fn answer_by_default(
        &self,
        question: &Question,
        stops_until_ms: Option<i64>,
    ) -> Result<Question, LedgerError> {
        let records = &self.0.records;
        let question = records.answer_by_default(question, stops_until_ms).await?;
        self.0.look().await?;
        Ok(question)
    }
}

async fn open_engine(store: &Store, options: &LedgerOptions) -> Result<Engine, LedgerError> {
    match store {
        Store::Sqlite(path) => {
            let path = path.clone();
            let writing = Writing {
                apply_every: options.apply_every,
                through_power_cuts: options.durability == Durability::Power,
            };
            let now_ms = options.clock.now_ms();
            let opening =
                tokio::task::spawn_blocking(move || Local::open(&path, "", &writing, now_ms));
            let local = opening.await.map_err(|error| LedgerError::Open {
                ledger: "in a thread of its own".to_owned(),
                source: Arc::new(error),
            })?;
            local.map(Engine::Local)
        }
        Store::Postgres(address) => Shared::open(address, options).await.map(Engine::Shared),
    }
}

impl Inner {
    fn tell(&self, event: impl FnOnce() -> LedgerEvent) {
        if self.events.receiver_count() == 0 {
            return;
        }
        let event = event();
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        if news.len() < EVENTS {
            news.push(event);
        }
        let first = news.len() == 1;
        drop(news);
        if first {
            self.told.notify_one();
        }
    }

    /// Notes who answered under the name of a target; tells where that is somebody new.
    fn note_model(&self, target: &str, model: &str, fingerprint: Option<&str>, at_ms: i64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // An answer without a fingerprint says nothing of it: some forms of answers have none.
        if seen.get(target).is_some_and(|(name, print)| {
            name == model && (fingerprint.is_none() || print.as_deref() == fingerprint)
        }) {
            return;
        }
        let now = (model.to_owned(), fingerprint.map(str::to_owned));
        let before = seen.insert(target.to_owned(), now);
        drop(seen);
        let told = |(name, print): &(String, Option<String>)| name != model || print.is_some();
        if let Some(before) = before.filter(told) {
            self.tell(|| {
                LedgerEvent::ModelChanged(Arc::new(ModelChange {
                    target: target.to_owned(),
                    model: model.to_owned(),
                    fingerprint: fingerprint.map(str::to_owned),
                    before,
                    at_ms,
                }))
            });
        }
    }

    /// Takes over what this or another process changed in the store.
    async fn look(&self) -> Result<(), LedgerError> {
        let now_ms = self.options.clock.now_ms();
        let (keys, questions) = self.records.versions().await?;
        if self.directory.needs_keys(keys) {
            let known = keyring::known(self.records.database(), now_ms).await?;
            if self.directory.take_keys(keys, known) {
                self.tell(|| LedgerEvent::KeysChanged);
            }
        }
        if self.directory.needs_questions(questions) {
            let filter = question::QuestionFilter {
                limit: 10_000,
                ..question::QuestionFilter::default()
            };
            let list = self.records.questions(&filter).await?;
            for event in self.directory.take_questions(questions, list) {
                self.tell(|| event);
            }
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.told.notify_one();
    }
}

/// Tells listeners what is new, round by round.
async fn keep_telling(inner: Weak<Inner>, told: Arc<Notify>) {
    loop {
        told.notified().await;
        tokio::time::sleep(ROUND).await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let news = std::mem::take(&mut *inner.news.lock().unwrap_or_else(PoisonError::into_inner));
        for event in news {
            // Nobody listens any more: nobody misses it.
            drop(inner.events.send(event));
        }
    }
}

/// How often old rows are cleared away.
const CLEAR_EVERY: Duration = Duration::from_mins(10);

async fn keep_looking(inner: Weak<Inner>) {
    let Some(every) = inner.upgrade().map(|inner| inner.options.look_every) else {
        return;
    };
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut cleared: Option<tokio::time::Instant> = None;
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        // A store that cannot be read now is looked at again in a moment; what may be spent
        // meanwhile is what was known last.
        drop(inner.look().await);
        if cleared.is_none_or(|at| at.elapsed() >= CLEAR_EVERY) {
            cleared = Some(tokio::time::Instant::now());
            let now_ms = inner.options.clock.now_ms();
            for statement in crate::records::clearing(&inner.options, now_ms) {
                inner.engine.enqueue(statement);
            }
        }
    }
}
