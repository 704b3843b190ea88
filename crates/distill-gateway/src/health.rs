//! Whether a target may be asked now: rests, outages, the circuit breaker, and how fast it answers.
//!
//! One [`TargetHealth`] belongs to one target, however many chains name it: what one request learns
//! of a target holds for all.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use crate::failover::{Effect, Failure, Rule};

mod pace;

pub use pace::{Kind, SpikeSettings};
use pace::{Paces, Spike};

/// When a target that keeps failing is left alone, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerSettings {
    /// Consecutive errors that open it.
    pub errors: u32,
    /// The first pause; it doubles with each probe that fails.
    pub pause: Duration,
    pub longest_pause: Duration,
    /// After how long a target that was taken out is probed again, because a key can be mended and an
    /// account filled up while a server runs; and is asked prompts again that are as long as one that
    /// was too long. `None`: never.
    pub look_again: Option<Duration>,
    /// When a target that became slow is asked last. `None`: never.
    pub spike: Option<SpikeSettings>,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            errors: 5,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            look_again: None,
            spike: None,
        }
    }
}

/// Whether a target may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// A probe must be reported back whatever happens: by an outcome or by
    /// [`TargetHealth::released`].
    Now { probe: bool },
    /// It was throttled and rests until then.
    Rests(Instant),
    /// Its breaker is open, or somebody else's probe is on its way: look again then.
    Open(Instant),
    /// Not with a prompt as long as this one.
    TooLong,
    /// Not for as long as it makes sense to wait.
    Out,
}

/// What a target is doing, for people to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthSnapshot {
    pub state: HealthState,
    /// How long the state lasts if nothing happens; `None`: no end is set.
    pub remaining: Option<Duration>,
    pub consecutive_errors: u32,
    /// The last failure and how long ago it was.
    pub last_failure: Option<(Failure, Duration)>,
    /// Moving average of the time to the first content of a stream.
    pub first_token: Option<Duration>,
    /// Moving average of the time to a whole answer.
    pub whole: Option<Duration>,
    pub answered: u64,
    pub failed: u64,
}

/// The state of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthState {
    Closed,
    /// Asked last, because it became much slower than it was.
    Slow,
    Resting,
    Open,
    HalfOpen,
    Out,
}

impl HealthState {
    /// As pages and metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Slow => "slow",
            Self::Resting => "resting",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Out => "out",
        }
    }
}

#[derive(Debug, Clone, Default)]
struct State {
    /// Throttled until then.
    rests_until: Option<Instant>,
    out: Option<Out>,
    /// Prompts of so many bytes and more are too long for it; until when that is taken for granted,
    /// because bytes tell little of tokens (`None`: for good).
    too_long_from: Option<(usize, Option<Instant>)>,
    consecutive_errors: u32,
    /// Open until then; afterwards one probe decides.
    open_until: Option<Instant>,
    pauses: u32,
    probing: bool,
    paces: Paces,
    spike: Option<Spike>,
    last_failure: Option<(Failure, Instant)>,
    answered: u64,
    failed: u64,
}

#[derive(Debug, Clone, Copy)]
enum Out {
    /// Then it is simply asked again.
    Until(Instant),
    /// Then one probe decides.
    ProbeAt(Instant),
    ForGood,
}

/// A breaker that stays open longer than this ends the wait for its target.
const LONGEST_BREAKER_WAIT: Duration = Duration::from_secs(2);
/// How long the others wait for a probe's outcome before they look again.
const PROBE_POLL: Duration = Duration::from_millis(20);

/// What is known of one target.
#[derive(Debug)]
pub struct TargetHealth {
    settings: BreakerSettings,
    state: Mutex<State>,
}

impl TargetHealth {
    pub fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            state: Mutex::default(),
        }
    }

    /// Whether it may be asked now. A target whose pause is over gets one probe at a time; saying
    /// [`Admission::Now`] with `probe` hands it out.
    pub fn admit(&self, prompt_bytes: usize, now: Instant) -> Admission {
        let mut state = self.lock();
        let admission = state.admission(prompt_bytes, now);
        if let Admission::Now { probe: true } = admission {
            state.probing = true;
        }
        admission
    }

    /// Whether it could be asked now; hands out no probe.
    pub fn could_be_asked(&self, prompt_bytes: usize, now: Instant) -> bool {
        matches!(
            self.lock().admission(prompt_bytes, now),
            Admission::Now { .. }
        )
    }

    /// An answer came: whatever stood against the target is forgotten. `took`: how long, and to what.
    pub fn succeeded(&self, took: Option<(Kind, Duration)>, now: Instant) {
        let mut state = self.lock();
        state.consecutive_errors = 0;
        state.open_until = None;
        if matches!(state.out, Some(Out::ProbeAt(_))) {
            state.out = None;
        }
        state.pauses = 0;
        state.probing = false;
        state.answered += 1;
        if let Some((kind, took)) = took {
            let state = &mut *state;
            state
                .paces
                .note(kind, took, self.settings.spike, &mut state.spike, now);
        }
    }

    /// Applies a row of the policy. `told` is the rest that the target's headers asked for.
    pub fn failed(&self, rule: &Rule, told: Option<Duration>, prompt_bytes: usize, now: Instant) {
        let mut state = self.lock();
        state.last_failure = Some((rule.failure, now));
        state.failed += 1;
        let probed = std::mem::take(&mut state.probing);
        match rule.effect {
            Effect::Stays => {}
            Effect::RestsAsTold(untold) => {
                let until = later(now, told.unwrap_or(untold));
                state.rests_until = Some(state.rests_until.map_or(until, |known| known.max(until)));
            }
            Effect::OutForLongerPrompts => {
                let from = state
                    .too_long_at(now)
                    .map_or(prompt_bytes, |known| known.min(prompt_bytes));
                let until = self.settings.look_again.map(|time| later(now, time));
                state.too_long_from = Some((from, until));
            }
            Effect::OutFor(time) => state.out = Some(Out::Until(later(now, time))),
            Effect::Out => {
                state.out = Some(
                    self.settings
                        .look_again
                        .map_or(Out::ForGood, |time| Out::ProbeAt(later(now, time))),
                );
            }
        }
        if !rule.breaks {
            if probed {
                // It answered, if only to refuse: it is up.
                state.open_until = None;
                if rule.effect != Effect::Out && matches!(state.out, Some(Out::ProbeAt(_))) {
                    state.out = None;
                }
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

    /// An attempt ended without an outcome (it was cancelled, or no money was left): the next may
    /// probe.
    pub fn released(&self) {
        self.lock().probing = false;
    }

    /// Whether it became so slow that others are asked first. When its pause is over, one caller is
    /// told that it is not, and what that one measures decides.
    pub fn is_slow(&self, now: Instant) -> bool {
        let Some(settings) = self.settings.spike else {
            return false;
        };
        let mut state = self.lock();
        state
            .spike
            .as_mut()
            .is_some_and(|spike| spike.holds(&settings, now))
    }

    /// Moving average of how long an answer takes; `None`: not measured yet.
    pub fn pace(&self, kind: Kind) -> Option<Duration> {
        self.lock().paces.of(kind)
    }

    /// Whether an attempt at it ever ended.
    pub fn was_asked(&self) -> bool {
        let state = self.lock();
        state.answered + state.failed > 0
    }

    /// What it is doing.
    pub fn snapshot(&self, now: Instant) -> HealthSnapshot {
        let state = self.lock();
        let left = |until: Instant| until.saturating_duration_since(now);
        let running = |until: &Instant| *until > now;
        let (name, remaining) = match state.out {
            Some(Out::ForGood) => (HealthState::Out, None),
            Some(Out::Until(until)) if until > now => (HealthState::Out, Some(left(until))),
            Some(Out::ProbeAt(until)) => (HealthState::Out, Some(left(until))),
            _ => {
                if let Some(until) = state.rests_until.filter(running) {
                    (HealthState::Resting, Some(left(until)))
                } else if state.probing {
                    (HealthState::HalfOpen, None)
                } else if let Some(until) = state.open_until {
                    if until > now {
                        (HealthState::Open, Some(left(until)))
                    } else {
                        (HealthState::HalfOpen, None)
                    }
                } else if let Some(spike) = &state.spike {
                    (HealthState::Slow, Some(left(spike.until())))
                } else {
                    (HealthState::Closed, None)
                }
            }
        };
        HealthSnapshot {
            state: name,
            remaining,
            consecutive_errors: state.consecutive_errors,
            last_failure: state
                .last_failure
                .map(|(failure, at)| (failure, now.saturating_duration_since(at))),
            first_token: state.paces.of(Kind::FirstToken),
            whole: state.paces.of(Kind::Whole),
            answered: state.answered,
            failed: state.failed,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl State {
    /// Prompts of so many bytes and more are too long, as far as is known now.
    fn too_long_at(&self, now: Instant) -> Option<usize> {
        self.too_long_from
            .filter(|(_, until)| until.is_none_or(|until| now < until))
            .map(|(bytes, _)| bytes)
    }

    fn admission(&mut self, prompt_bytes: usize, now: Instant) -> Admission {
        let mut probe = false;
        match self.out {
            Some(Out::ForGood) => return Admission::Out,
            Some(Out::Until(until) | Out::ProbeAt(until)) if until > now => return Admission::Out,
            Some(Out::ProbeAt(_)) => probe = true,
            Some(Out::Until(_)) => self.out = None,
            None => {}
        }
        if self
            .too_long_at(now)
            .is_some_and(|limit| prompt_bytes >= limit)
        {
            return Admission::TooLong;
        }
        let mut at = now;
        if let Some(until) = self.open_until {
            // A target that has been down for long is not waited for.
            if until > now + LONGEST_BREAKER_WAIT {
                return Admission::Out;
            }
            probe = true;
            at = at.max(until);
        }
        if probe && self.probing {
            at = at.max(now + PROBE_POLL);
        }
        match self.rests_until {
            Some(until) if until > at => Admission::Rests(until),
            _ if at > now => Admission::Open(at),
            _ => Admission::Now { probe },
        }
    }
}

/// A header may ask for a rest longer than a clock can hold.
fn later(now: Instant, time: Duration) -> Instant {
    now + time.min(Duration::from_hours(24 * 365))
}

#[cfg(test)]
mod tests;
