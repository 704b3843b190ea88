//! A request under way, and its attempts.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use distill_chat::Usage;
use distill_gateway::{Usd, believable};

use super::{Admission, Inner, Wanted};
use crate::{
    api::{AttemptEnd, AttemptStart, Refusal, RequestEnd, RequestStart, Settled},
    books::{Booked, Held},
    clock::{Clock, milliseconds},
    entry::{CacheFacts, Finish, Intent, RequestFacts, Settlement},
    event::{FinishedRequest, LedgerEvent, SettledAttempt},
};

/// A request that was let in. Dropped unfinished it counts as cancelled.
#[derive(Debug)]
pub struct OpenRequest {
    inner: Arc<Inner>,
    facts: Arc<RequestFacts>,
    admission: Arc<Admission>,
    worst_tokens: u64,
    started: Instant,
    tally: Arc<Mutex<Tally>>,
}

/// What the attempts of a request came to so far.
#[derive(Debug, Default)]
struct Tally {
    attempts: u32,
    /// Attempts that are not settled.
    open: u32,
    usage: Option<Usage>,
    /// Tokens of all classes; `None`: one attempt did not tell.
    tokens: Option<u64>,
    usd: Option<Usd>,
    simulated: bool,
    /// Target, model and time to the first token of the last attempt that answered.
    answered: Option<(String, Option<String>, Option<Duration>)>,
    finished: bool,
}

impl Tally {
    fn add(&mut self, end: &AttemptEnd, usd: Option<Usd>, target: &str) {
        self.open = self.open.saturating_sub(1);
        let used = counted(end);
        // An attempt that is known to have cost nothing and reported nothing used nothing.
        let used = used.or_else(|| (usd == Some(Usd::ZERO)).then_some(0));
        self.tokens = self.tokens.zip(used).map(|(sum, used)| sum + used);
        if end.usage != Usage::default() {
            self.usage = Some(match self.usage {
                None => end.usage,
                Some(sum) => both(sum, end.usage),
            });
        }
        self.usd = self.usd.zip(usd).map(|(sum, usd)| sum + usd);
        if end.outcome == "answered" {
            self.answered = Some((target.to_owned(), end.model.clone(), end.first_token));
        }
    }
}

/// Tokens that an attempt used. A report that no price could be made of holds only some of them (a
/// stream that broke off tells its input at its begin): the rest is not known, so nothing is.
fn counted(end: &AttemptEnd) -> Option<u64> {
    end.usd.and_then(|_| tokens(&end.usage))
}

/// Tokens of all classes, where any was reported.
fn tokens(usage: &Usage) -> Option<u64> {
    let classes = [
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    ];
    let mut reported = classes.into_iter().flatten().peekable();
    reported.peek()?;
    Some(reported.fold(0, u64::saturating_add))
}

fn both(one: Usage, other: Usage) -> Usage {
    let sum = |one: Option<u64>, other: Option<u64>| {
        one.zip(other).map(|(one, other)| one.saturating_add(other))
    };
    Usage {
        input_tokens: sum(one.input_tokens, other.input_tokens),
        cached_input_tokens: sum(one.cached_input_tokens, other.cached_input_tokens),
        cache_write_tokens: sum(one.cache_write_tokens, other.cache_write_tokens),
        output_tokens: sum(one.output_tokens, other.output_tokens),
        reasoning_tokens: sum(one.reasoning_tokens, other.reasoning_tokens),
    }
}

/// Charged for one request at most: a bound that a caller made up must not fill the counters of
/// everybody.
const MOST_TOKENS: u64 = 1_000_000_000;

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

fn microseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl OpenRequest {
    pub(super) async fn begin(inner: Arc<Inner>, start: RequestStart) -> Result<Self, Refusal> {
        let now_ms = inner.options.clock.now_ms();
        let caller = Arc::clone(&start.caller);
        let worst_tokens = start.worst_tokens.min(MOST_TOKENS);
        let facts = Arc::new(RequestFacts::new(start, now_ms));
        if let Some(refusal) = inner.directory.pause(&facts, now_ms) {
            return Err(refusal);
        }
        let admission = inner.engine.admit(&facts, &caller, worst_tokens).await?;
        Ok(Self {
            inner,
            facts,
            admission: Arc::new(admission),
            worst_tokens,
            started: Instant::now(),
            tally: Arc::new(Mutex::new(Tally {
                tokens: Some(0),
                usd: Some(Usd::ZERO),
                ..Tally::default()
            })),
        })
    }

    pub fn id(&self) -> &str {
        &self.facts.id
    }

    /// Who asked what, as it is put on record.
    pub fn facts(&self) -> &Arc<RequestFacts> {
        &self.facts
    }

    /// Sets aside what an attempt may cost. When this is `Ok` the intent survives the end of the
    /// process, and the attempt may leave.
    pub async fn reserve(&self, attempt: AttemptStart) -> Result<OpenAttempt, Refusal> {
        let wanted = Wanted {
            facts: Arc::clone(&self.facts),
            number: attempt.number,
            target: attempt.target,
            simulated: attempt.simulated,
            worst: attempt.reserved,
            worst_tokens: self.worst_tokens,
            now_ms: self.inner.options.clock.now_ms(),
        };
        let (held, intent) = self.inner.engine.reserve(&self.admission, wanted).await?;
        let mut tally = lock(&self.tally);
        tally.attempts += 1;
        tally.open += 1;
        tally.simulated |= intent.simulated;
        drop(tally);
        Ok(OpenAttempt {
            inner: Arc::clone(&self.inner),
            admission: Arc::clone(&self.admission),
            tally: Arc::clone(&self.tally),
            held,
            intent,
            settled: false,
        })
    }

    /// What the attempts of this request cost so far; `None`: not known of one of them.
    pub fn usd(&self) -> Option<Usd> {
        let tally = lock(&self.tally);
        tally.usd.filter(|_| tally.open == 0)
    }

    /// Ends the request. Its attempts are settled before, so that it is told whole. Only the first
    /// end counts.
    pub fn finish(&self, end: RequestEnd) {
        let mut tally = lock(&self.tally);
        if std::mem::replace(&mut tally.finished, true) {
            return;
        }
        let clock = &self.inner.options.clock;
        let latency = match clock {
            Clock::System => self.started.elapsed(),
            // Whoever sets the clock says how long things took, too.
            Clock::ByHand(_) => milliseconds(clock.now_ms() - self.facts.started_ms),
        };
        let known = tally.open == 0;
        let (model, first_token) = tally
            .answered
            .take()
            .filter(|(target, ..)| end.answered_by.as_ref() == Some(target))
            .map_or((None, None), |(_, model, first)| (model, first));
        let finished = FinishedRequest {
            facts: Arc::clone(&self.facts),
            status: end.status,
            outcome: end.outcome,
            answered_by: end.answered_by,
            model,
            attempts: tally.attempts,
            latency,
            first_token,
            usage: tally.usage.unwrap_or_default(),
            usd: tally.usd.filter(|_| known),
            cache: end.cache,
            simulated: tally.simulated,
        };
        let used = tally.tokens.filter(|_| known);
        drop(tally);
        let correction = used.map(|used| {
            let delta = signed(used).saturating_sub(signed(self.worst_tokens));
            (delta, self.admission.at_ms)
        });
        self.inner.engine.finish(
            &self.admission,
            correction,
            record(&finished, self.inner.options.clock.now_ms()),
        );
        self.inner
            .tell(|| LedgerEvent::RequestFinished(Arc::new(finished)));
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn record(finished: &FinishedRequest, ended_ms: i64) -> Finish {
    Finish {
        facts: Arc::clone(&finished.facts),
        status: finished.status,
        outcome: finished.outcome.to_owned(),
        answered_by: finished.answered_by.clone(),
        model: finished.model.clone(),
        attempts: finished.attempts,
        latency_us: microseconds(finished.latency),
        first_token_us: finished.first_token.map(microseconds),
        cache: finished.cache.as_ref().map(|cache| CacheFacts {
            kind: cache.kind.to_owned(),
            age_ms: i64::try_from(cache.age.as_millis()).unwrap_or(i64::MAX),
            saved: cache.saved.pico(),
        }),
        ended_ms,
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.finish(RequestEnd {
            // nginx's number for a client that closed its request.
            status: 499,
            outcome: "cancelled",
            ..RequestEnd::default()
        });
    }
}

/// An attempt whose worst case is set aside. Dropped unsettled it counts as given up: the
/// reservation stands and is listed.
#[derive(Debug)]
pub struct OpenAttempt {
    inner: Arc<Inner>,
    admission: Arc<Admission>,
    tally: Arc<Mutex<Tally>>,
    held: Held,
    intent: Arc<Intent>,
    settled: bool,
}

impl OpenAttempt {
    /// What is set aside beyond a pool.
    pub fn reserved(&self) -> Usd {
        Usd::from_pico(self.held.reserved)
    }

    /// Books what the attempt came to.
    pub fn settle(mut self, end: AttemptEnd) -> Settled {
        self.book(end)
    }

    fn book(&mut self, mut end: AttemptEnd) -> Settled {
        self.settled = true;
        end.usage = believable(end.usage);
        let booked = Booked::new(&self.held, end.usd, counted(&end));
        let usd = booked.usd.map(Usd::from_pico);
        let intent = &self.intent;
        lock(&self.tally).add(&end, usd, &intent.target);
        let now_ms = self.inner.options.clock.now_ms();
        if let Some(model) = &end.model {
            let print = end.fingerprint.as_deref();
            self.inner.note_model(&intent.target, model, print, now_ms);
        }
        self.inner.tell(|| {
            LedgerEvent::AttemptSettled(Arc::new(SettledAttempt {
                facts: Arc::clone(&intent.facts),
                number: intent.number,
                target: intent.target.clone(),
                simulated: intent.simulated,
                outcome: end.outcome,
                reserved: Usd::from_pico(intent.reserved),
                usd,
                pool_tokens: booked.pool_tokens,
                usage: end.usage,
                model: end.model.clone(),
                fingerprint: end.fingerprint.clone(),
                latency: end.latency,
                first_token: end.first_token,
            }))
        });
        let settlement = Settlement {
            intent: Arc::clone(intent),
            outcome: end.outcome.to_owned(),
            usd: booked.usd,
            pool_usd: booked.pool_usd,
            pool_tokens: booked.pool_tokens,
            usage: end.usage,
            status: end.status,
            model: end.model,
            fingerprint: end.fingerprint,
            response_id: end.response_id,
            latency_us: end.latency.map(microseconds),
            first_token_us: end.first_token.map(microseconds),
            ended_ms: now_ms,
        };
        self.inner
            .engine
            .settle(&self.admission, &self.held, settlement);
        Settled {
            usd,
            pool_tokens: booked.pool_tokens,
        }
    }
}

impl Drop for OpenAttempt {
    fn drop(&mut self) {
        if !self.settled {
            self.book(AttemptEnd {
                outcome: "given_up",
                ..AttemptEnd::default()
            });
        }
    }
}
