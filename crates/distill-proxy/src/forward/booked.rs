//! An attempt that is on record: whatever becomes of it is booked once.

use std::{sync::Arc, time::Duration};

use distill_chat::Usage;
use distill_gateway::{
    Alert, Failure, TargetHealth, Usd, believable, failover::Cost, health::Kind, without_secret,
};
use distill_ledger::{AttemptEnd, OpenAttempt};
use tokio::time::Instant;

use super::{Context, Endpoint};
use crate::route::LiveTarget;

/// Why an attempt brought no answer.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) failure: Failure,
    pub(super) status: Option<u16>,
    /// What the target said. It may hold what its vendor told this account: callers are shown it
    /// only where the request itself was wrong.
    pub(super) message: String,
    /// How long the target asked to be left alone.
    pub(super) rest: Option<Duration>,
    /// The error as it came, for a caller of the same dialect.
    pub(super) raw: Option<Vec<u8>>,
}

impl Broken {
    pub(super) fn new(failure: Failure, message: impl Into<String>) -> Self {
        Self {
            failure,
            status: None,
            message: message.into(),
            rest: None,
            raw: None,
        }
    }
}

/// What is known of an answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) usage: Usage,
    pub(super) model: Option<String>,
    pub(super) id: Option<String>,
    pub(super) fingerprint: Option<String>,
}

impl Facts {
    /// The last word of each class counts.
    pub(super) fn count(&mut self, usage: Usage) {
        let known = &mut self.usage;
        for (known, new) in [
            (&mut known.input_tokens, usage.input_tokens),
            (&mut known.cached_input_tokens, usage.cached_input_tokens),
            (&mut known.cache_write_tokens, usage.cache_write_tokens),
            (&mut known.output_tokens, usage.output_tokens),
            (&mut known.reasoning_tokens, usage.reasoning_tokens),
        ] {
            if new.is_some() {
                *known = new;
            }
        }
    }
}

/// An attempt from its reservation to its settlement. Dropped before, it is given up: the
/// reservation stands and the target may be probed again.
#[derive(Debug)]
pub(super) struct Booked {
    attempt: Option<OpenAttempt>,
    live: Arc<LiveTarget>,
    context: Arc<Context>,
    sent: Instant,
    /// From the moment of sending to the first content.
    pub(super) first_token: Option<Duration>,
    /// Whether its target's breaker waits for its end.
    probe: bool,
    _place: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Booked {
    pub(super) fn new(
        attempt: OpenAttempt,
        live: &Arc<LiveTarget>,
        context: &Arc<Context>,
        (probe, place): (bool, Option<tokio::sync::OwnedSemaphorePermit>),
    ) -> Self {
        Self {
            attempt: Some(attempt),
            live: Arc::clone(live),
            context: Arc::clone(context),
            sent: Instant::now(),
            first_token: None,
            probe,
            _place: place,
        }
    }

    pub(super) fn live(&self) -> &Arc<LiveTarget> {
        &self.live
    }

    fn health(&self) -> &TargetHealth {
        self.live.health_for(self.context.endpoint)
    }

    /// Its end says nothing of the target: another may probe.
    fn release(&self) {
        if self.probe {
            self.health().released();
        }
    }

    /// Whether the end of this attempt says anything of its target. Counting tokens does not: many
    /// servers have no such path, and where there is one its limits are its own.
    fn tells_of_health(&self) -> bool {
        self.context.endpoint != Endpoint::CountTokens
    }

    /// Whether vendors charge for what was asked.
    fn is_charged(&self) -> bool {
        self.context.endpoint != Endpoint::CountTokens
    }

    /// Content came.
    pub(super) fn note_first_token(&mut self) {
        if self.first_token.is_none() {
            self.first_token = Some(self.sent.elapsed());
        }
    }

    /// Books an answer. Returns what it cost; `None`: the vendor did not tell.
    pub(super) fn answered(
        mut self,
        facts: Facts,
        usd: Option<Usd>,
        outcome: &'static str,
    ) -> Option<Usd> {
        let latency = self.sent.elapsed();
        let took = match self.first_token {
            Some(first) => (Kind::FirstToken, first),
            None => (Kind::Whole, latency),
        };
        if self.tells_of_health() {
            self.health().succeeded(Some(took), Instant::now());
        } else {
            self.release();
        }
        let first_token = self.first_token;
        self.attempt
            .take()?
            .settle(AttemptEnd {
                outcome,
                usd,
                usage: facts.usage,
                status: Some(200),
                model: facts.model,
                fingerprint: facts.fingerprint,
                response_id: facts.id,
                latency: Some(latency),
                first_token,
            })
            .usd
    }

    /// Books a failure and applies the policy to the target.
    pub(super) fn failed(mut self, broken: &mut Broken, facts: Facts) {
        let rule = broken.failure.rule();
        broken.message = without_secret(&broken.message, self.live.target.key());
        if self.tells_of_health() {
            self.health()
                .failed(&rule, broken.rest, self.context.size, Instant::now());
        } else {
            self.release();
        }
        if rule.alert
            && self.tells_of_health()
            && let Some(on_alert) = &self.context.engine.0.on_alert
        {
            on_alert(Alert {
                target: self.live.name().to_owned(),
                failure: broken.failure,
                message: broken.message.clone(),
            });
        }
        if let Some(attempt) = self.attempt.take() {
            attempt.settle(AttemptEnd {
                outcome: rule.name,
                // What began as a success may have been charged, whatever came after.
                usd: (!self.is_charged()
                    || (rule.cost == Cost::Nothing && broken.status != Some(200)))
                .then_some(Usd::ZERO),
                usage: facts.usage,
                status: broken.status,
                model: facts.model,
                fingerprint: facts.fingerprint,
                response_id: facts.id,
                latency: Some(self.sent.elapsed()),
                first_token: self.first_token,
            });
        }
    }

    /// Books an attempt that was called back: by a caller who hung up, or because another target was
    /// faster. What it cost is not known.
    pub(super) fn called_back(mut self, facts: Facts, outcome: &'static str) {
        self.release();
        if let Some(attempt) = self.attempt.take() {
            attempt.settle(AttemptEnd {
                outcome,
                usd: (!self.is_charged()).then_some(Usd::ZERO),
                usage: facts.usage,
                status: None,
                model: facts.model,
                fingerprint: facts.fingerprint,
                response_id: facts.id,
                latency: Some(self.sent.elapsed()),
                first_token: self.first_token,
            });
        }
    }

    /// What a usage costs at this target; `None` where that is not known: another tier than the usual
    /// has another price than the table's.
    pub(super) fn price(&self, usage: Usage) -> Option<Usd> {
        if self.context.envelope.dearer.is_some() {
            return None;
        }
        self.live.target.price().cost(&believable(usage))
    }
}

impl Drop for Booked {
    fn drop(&mut self) {
        if self.attempt.is_some() {
            self.release();
        }
    }
}
