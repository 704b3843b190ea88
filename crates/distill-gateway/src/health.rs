//! Which target of a chain may be asked now: rests, outages, and the circuit breaker.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use crate::failover::{Effect, Rule};

/// When a target that keeps failing is left alone, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Consecutive errors that open it.
    pub errors: u32,
    /// The first pause; it doubles with each probe that fails.
    pub pause: Duration,
    pub longest_pause: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            errors: 5,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct State {
    /// Throttled until then.
    rests_until: Option<Instant>,
    out: Option<Out>,
    /// Prompts of so many bytes and more are too long for it.
    too_long_from: Option<usize>,
    consecutive_errors: u32,
    /// Open until then; afterwards one probe decides.
    open_until: Option<Instant>,
    pauses: u32,
    probing: bool,
}

#[derive(Debug, Clone, Copy)]
enum Out {
    Until(Instant),
    ForGood,
}

/// Who to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    /// The target at this place of the chain; a probe must be reported back whatever happens.
    Target { index: usize, probe: bool },
    /// All that are left rest until then.
    WaitUntil(Instant),
    /// No target is left for this request.
    Exhausted,
}

/// A breaker that stays open longer than this ends the wait for its target.
const LONGEST_BREAKER_WAIT: Duration = Duration::from_secs(2);
/// How long the others wait for a probe's outcome before they look again.
const PROBE_POLL: Duration = Duration::from_millis(20);

/// The state of every target of a chain.
#[derive(Debug)]
pub(crate) struct Health {
    settings: BreakerSettings,
    states: Mutex<Vec<State>>,
}

impl Health {
    pub(crate) fn new(targets: usize, settings: BreakerSettings) -> Self {
        Self {
            settings,
            states: Mutex::new(vec![State::default(); targets]),
        }
    }

    /// Picks the first usable target among `candidates` (places in the chain, best first).
    pub(crate) fn pick(&self, candidates: &[usize], prompt_bytes: usize, now: Instant) -> Pick {
        let mut states = self.lock();
        let mut earliest: Option<Instant> = None;
        for &index in candidates {
            let state = &mut states[index];
            match state.free_at(prompt_bytes, now) {
                None => {}
                Some(at) if at > now => {
                    earliest = Some(earliest.map_or(at, |known| known.min(at)));
                }
                Some(_) => {
                    let probe = state.open_until.is_some();
                    state.probing = probe;
                    return Pick::Target { index, probe };
                }
            }
        }
        earliest.map_or(Pick::Exhausted, Pick::WaitUntil)
    }

    /// An answer came: whatever stood against the target is forgotten.
    pub(crate) fn succeeded(&self, index: usize) {
        let mut states = self.lock();
        let state = &mut states[index];
        state.consecutive_errors = 0;
        state.open_until = None;
        state.pauses = 0;
        state.probing = false;
    }

    /// Applies a row of the policy. `told` is the rest that the target's headers asked for.
    pub(crate) fn failed(
        &self,
        index: usize,
        rule: &Rule,
        told: Option<Duration>,
        prompt_bytes: usize,
        now: Instant,
    ) {
        let mut states = self.lock();
        let state = &mut states[index];
        match rule.effect {
            Effect::Stays => {}
            Effect::RestsAsTold(untold) => {
                let until = later(now, told.unwrap_or(untold));
                state.rests_until = Some(state.rests_until.map_or(until, |known| known.max(until)));
            }
            Effect::OutForLongerPrompts => {
                state.too_long_from = Some(
                    state
                        .too_long_from
                        .map_or(prompt_bytes, |known| known.min(prompt_bytes)),
                );
            }
            Effect::OutFor(time) => state.out = Some(Out::Until(later(now, time))),
            Effect::Out => state.out = Some(Out::ForGood),
        }
        let probed = std::mem::take(&mut state.probing);
        if !rule.breaks {
            if probed {
                // It answered, if only to refuse: it is up.
                state.open_until = None;
            }
            return;
        }
        state.consecutive_errors += 1;
        let opens = state.open_until.is_none() && state.consecutive_errors >= self.settings.errors;
        if probed || opens {
            let pause = self.settings.pause * 2_u32.saturating_pow(state.pauses.min(16));
            state.open_until = Some(later(now, pause.min(self.settings.longest_pause)));
            state.pauses += 1;
        }
    }

    /// A probe ended without an outcome (it was cancelled, or no money was left): the next may probe.
    pub(crate) fn released(&self, index: usize) {
        self.lock()[index].probing = false;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<State>> {
        self.states.lock().expect("no holder of this lock panics")
    }
}

impl State {
    /// When it may be asked; `None` for never.
    fn free_at(&mut self, prompt_bytes: usize, now: Instant) -> Option<Instant> {
        if self
            .too_long_from
            .is_some_and(|limit| prompt_bytes >= limit)
        {
            return None;
        }
        match self.out {
            Some(Out::ForGood) => return None,
            Some(Out::Until(until)) if until > now => return None,
            Some(Out::Until(_)) => self.out = None,
            None => {}
        }
        let mut at = now;
        if let Some(until) = self.rests_until {
            at = at.max(until);
        }
        if let Some(until) = self.open_until {
            // A target that has been down for long is not waited for.
            if until > now + LONGEST_BREAKER_WAIT {
                return None;
            }
            at = at.max(until);
            if self.probing {
                at = at.max(now + PROBE_POLL);
            }
        }
        Some(at)
    }
}

/// A header may ask for a rest longer than a clock can hold.
fn later(now: Instant, time: Duration) -> Instant {
    now + time.min(Duration::from_hours(24 * 365))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{BreakerSettings, Health, Pick};
    use crate::failover::Failure;

    const SECOND: Duration = Duration::from_secs(1);

    fn health() -> Health {
        Health::new(
            2,
            BreakerSettings {
                errors: 2,
                pause: SECOND,
                longest_pause: 3 * SECOND,
            },
        )
    }

    fn first(index: usize) -> Pick {
        Pick::Target {
            index,
            probe: false,
        }
    }

    #[test]
    fn a_throttled_target_rests_and_when_all_rest_the_earliest_is_waited_for() {
        let (health, now) = (health(), Instant::now());
        let rule = Failure::RateLimited.rule();
        health.failed(0, &rule, Some(5 * SECOND), 10, now);
        assert_eq!(health.pick(&[0, 1], 10, now), first(1));
        health.failed(1, &rule, Some(3 * SECOND), 10, now);
        assert_eq!(
            health.pick(&[0, 1], 10, now),
            Pick::WaitUntil(now + 3 * SECOND)
        );
        assert_eq!(health.pick(&[0, 1], 10, now + 3 * SECOND), first(1));
        assert_eq!(health.pick(&[0, 1], 10, now + 5 * SECOND), first(0));
    }

    #[test]
    fn the_breaker_opens_probes_once_and_closes_on_success() {
        let (health, now) = (health(), Instant::now());
        let rule = Failure::ServerError.rule();
        health.failed(0, &rule, None, 10, now);
        assert_eq!(health.pick(&[0], 10, now), first(0));
        health.failed(0, &rule, None, 10, now);
        assert_eq!(health.pick(&[0], 10, now), Pick::WaitUntil(now + SECOND));
        let probe = Pick::Target {
            index: 0,
            probe: true,
        };
        let then = now + SECOND;
        assert_eq!(health.pick(&[0], 10, then), probe);
        assert!(
            matches!(health.pick(&[0], 10, then), Pick::WaitUntil(_)),
            "one probe at a time"
        );
        health.failed(0, &rule, None, 10, then);
        assert_eq!(
            health.pick(&[0], 10, then),
            Pick::WaitUntil(then + 2 * SECOND)
        );
        assert_eq!(health.pick(&[0], 10, then + 2 * SECOND), probe);
        health.succeeded(0);
        assert_eq!(health.pick(&[0], 10, then + 2 * SECOND), first(0));
    }

    #[test]
    fn a_probe_without_outcome_lets_the_next_one_probe() {
        let (health, now) = (health(), Instant::now());
        for _ in 0..2 {
            health.failed(0, &Failure::Timeout.rule(), None, 10, now);
        }
        let probe = Pick::Target {
            index: 0,
            probe: true,
        };
        assert_eq!(health.pick(&[0], 10, now + SECOND), probe);
        health.released(0);
        assert_eq!(health.pick(&[0], 10, now + SECOND), probe);
    }

    #[test]
    fn a_target_is_out_for_good_for_a_time_or_for_long_prompts() {
        let (health, now) = (health(), Instant::now());
        health.failed(0, &Failure::ContextTooLong.rule(), None, 1000, now);
        assert_eq!(health.pick(&[0], 1000, now), Pick::Exhausted);
        assert_eq!(health.pick(&[0], 999, now), first(0));
        health.failed(0, &Failure::RequestTimeout.rule(), None, 10, now);
        assert_eq!(health.pick(&[0], 10, now), Pick::Exhausted);
        assert_eq!(health.pick(&[0], 10, now + 31 * SECOND), first(0));
        health.failed(0, &Failure::KeyRefused.rule(), None, 10, now);
        assert_eq!(health.pick(&[0, 1], 10, now + 3600 * SECOND), first(1));
    }
}
