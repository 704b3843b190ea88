//! A ledger of each kind for a test, and what callers hand it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use distill_chat::Usage;
use distill_gateway::Usd;
use distill_ledger::{
    AttemptEnd, AttemptStart, Caller, Clock, KeyLimits, Ledger, LedgerOptions, OpenRequest,
    Refusal, RequestEnd, RequestStart, Role, Settled, Store,
};

use crate::server;

/// 2026-11-21 12:00:00 UTC.
pub(crate) const NOON: i64 = 1_795_262_400_000;

/// Somewhere to keep a ledger, and the time there.
pub(crate) struct Place {
    pub(crate) store: Store,
    pub(crate) now: Arc<AtomicI64>,
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            store: Store::Sqlite(folder.path().join("ledger.sqlite")),
            now: Arc::new(AtomicI64::new(NOON)),
            _folder: Some(folder),
        }
    }

    /// A database of its own on the test's server; `None` where there is no `PostgreSQL` here.
    pub(crate) async fn postgres(test: &str) -> Option<Self> {
        Some(Self {
            store: Store::Postgres(server::database(test).await?),
            now: Arc::new(AtomicI64::new(NOON)),
            _folder: None,
        })
    }

    pub(crate) fn options(&self) -> LedgerOptions {
        LedgerOptions {
            clock: Clock::ByHand(Arc::clone(&self.now)),
            apply_every: Duration::from_millis(5),
            look_every: Duration::from_millis(20),
            ..LedgerOptions::default()
        }
    }

    pub(crate) async fn open(&self) -> Ledger {
        Ledger::open_with(self.store.clone(), self.options())
            .await
            .unwrap()
    }

    pub(crate) fn pass(&self, time: Duration) {
        let milliseconds = i64::try_from(time.as_millis()).unwrap();
        self.now.fetch_add(milliseconds, Ordering::Relaxed);
    }
}

/// Runs a test on each kind of store.
#[macro_export]
macro_rules! on_each_store {
    ($($name:ident)*) => {$(
        mod $name {
            #[tokio::test]
            async fn sqlite() {
                super::$name($crate::stores::Place::sqlite()).await;
            }

            #[tokio::test]
            async fn postgres() {
                if let Some(place) = $crate::stores::Place::postgres(stringify!($name)).await {
                    super::$name(place).await;
                }
            }
        }
    )*};
}

pub(crate) fn usd(dollars: f64) -> Usd {
    Usd::from_dollars(dollars)
}

pub(crate) fn caller(user: &str, limits: KeyLimits) -> Arc<Caller> {
    Arc::new(Caller {
        key_id: format!("k_{user}"),
        user: user.to_owned(),
        team: Some("search".to_owned()),
        discipline: Some("backend".to_owned()),
        level: Some("senior".to_owned()),
        role: Role::User,
        models: Vec::new(),
        limits,
    })
}

pub(crate) fn start(id: &str, caller: &Arc<Caller>) -> RequestStart {
    RequestStart {
        id: id.to_owned(),
        caller: Arc::clone(caller),
        task: Some(("intents".to_owned(), "3".to_owned())),
        route: "fast".to_owned(),
        model_asked: "fast".to_owned(),
        dialect: "openai.chat_completions",
        streamed: false,
        session: Some("s1".to_owned()),
        worst_tokens: 1_000,
    }
}

pub(crate) fn attempt(number: u32, target: &str, reserved: f64) -> AttemptStart {
    AttemptStart {
        number,
        target: target.to_owned(),
        simulated: false,
        reserved: usd(reserved),
    }
}

pub(crate) fn answered(dollars: Option<f64>) -> AttemptEnd {
    AttemptEnd {
        outcome: "answered",
        usd: dollars.map(usd),
        usage: Usage {
            input_tokens: Some(100),
            cached_input_tokens: Some(20),
            cache_write_tokens: None,
            output_tokens: Some(30),
            reasoning_tokens: Some(10),
        },
        status: Some(200),
        model: Some("gpt-4.1-mini-2025-04-14".to_owned()),
        fingerprint: Some("fp_1".to_owned()),
        response_id: Some("chatcmpl-1".to_owned()),
        latency: Some(Duration::from_millis(120)),
        first_token: Some(Duration::from_millis(40)),
    }
}

pub(crate) fn done(target: &str) -> RequestEnd {
    RequestEnd {
        status: 200,
        outcome: "answered",
        answered_by: Some(target.to_owned()),
        cache: None,
    }
}

/// One request with one attempt that is answered.
pub(crate) async fn ask(
    ledger: &Ledger,
    id: &str,
    caller: &Arc<Caller>,
    reserved: f64,
    dollars: Option<f64>,
) -> Result<Settled, Refusal> {
    let target = "openai/gpt-4.1-mini";
    let open: OpenRequest = ledger.begin(start(id, caller)).await?;
    let attempt = open.reserve(attempt(1, target, reserved)).await?;
    let settled = attempt.settle(answered(dollars));
    open.finish(done(target));
    Ok(settled)
}

/// Waits until something is so; what is waited for is a thread of the ledger.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    for _ in 0..2_000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came to be");
}
