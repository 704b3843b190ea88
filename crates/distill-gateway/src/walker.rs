//! The walk along a chain of targets as a state machine: who is asked next, and when to stop.
//!
//! No clock, no network: the caller says what time it is and what became of an attempt. Labelling and
//! the proxy walk by the same steps; what a failure means stands in [`crate::failover`].

use tokio::time::Instant;

use crate::{
    failover::{Failure, Then},
    health::{Admission, TargetHealth},
};

/// Whether a throttled target is waited for when no other is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Until the deadline: a job has time.
    WaitsForRests,
    /// Only for a breaker's probe: a caller who waits is told when to come again.
    TellsTheCaller,
}

/// Bounds of one request.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Attempts over the whole chain.
    pub max_attempts: u32,
    pub deadline: Instant,
    pub patience: Patience,
    /// Whether the rules' retries at the same target are made.
    pub retries: bool,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask the target at this place; a probe must be reported back whatever happens.
    Ask {
        index: usize,
        probe: bool,
        /// Which attempt of the request this is, from 1.
        number: u32,
    },
    /// All that are left rest until then.
    WaitUntil(Instant),
    /// Nobody is left to ask, or the attempts are used up.
    Exhausted {
        /// When the first throttled or broken target is free again.
        free_at: Option<Instant>,
        /// Whether a target was passed over because it rests as its headers asked.
        throttled: bool,
        /// Whether a target was passed over because the prompt is too long for it.
        too_long: bool,
    },
    /// The time is used up.
    Late,
}

/// The walk of one request.
#[derive(Debug, Clone)]
pub struct Walker {
    bounds: Bounds,
    /// Places to ask, best first.
    order: Vec<usize>,
    /// Failed attempts by place.
    retries: Vec<u32>,
    /// Places that are not asked again for this request.
    spent: Vec<bool>,
    attempts: u32,
}

impl Walker {
    /// `order`: the places to ask, best first, each below `targets`.
    pub fn new(order: Vec<usize>, targets: usize, bounds: Bounds) -> Self {
        Self {
            bounds,
            order,
            retries: vec![0; targets],
            spent: vec![false; targets],
            attempts: 0,
        }
    }

    /// Who is asked next.
    pub fn next<'a>(
        &mut self,
        health: impl Fn(usize) -> &'a TargetHealth,
        prompt_bytes: usize,
        now: Instant,
    ) -> Step {
        if now >= self.bounds.deadline {
            return Step::Late;
        }
        let mut free_at: Option<Instant> = None;
        let mut wait: Option<Instant> = None;
        let mut throttled = false;
        let mut too_long: Option<usize> = None;
        let sooner = |known: Option<Instant>, at: Instant| Some(known.map_or(at, |k| k.min(at)));
        let out_of_attempts = self.attempts >= self.bounds.max_attempts;
        for &index in &self.order {
            if out_of_attempts || self.spent[index] {
                continue;
            }
            match health(index).admit(prompt_bytes, now) {
                Admission::Now { probe } => {
                    self.attempts += 1;
                    return Step::Ask {
                        index,
                        probe,
                        number: self.attempts,
                    };
                }
                Admission::Rests(at) => {
                    throttled = true;
                    free_at = sooner(free_at, at);
                    if self.bounds.patience == Patience::WaitsForRests {
                        wait = sooner(wait, at);
                    }
                }
                Admission::Open(at) => {
                    free_at = sooner(free_at, at);
                    wait = sooner(wait, at);
                }
                Admission::TooLong => too_long = too_long.or(Some(index)),
                Admission::Out => {}
            }
        }
        // Bytes tell little of tokens: before a caller hears that its prompt is too long for everyone,
        // the target itself says so.
        if wait.is_none()
            && self.bounds.patience == Patience::TellsTheCaller
            && let Some(index) = too_long
            && let Admission::Now { probe } = health(index).admit(0, now)
        {
            self.attempts += 1;
            return Step::Ask {
                index,
                probe,
                number: self.attempts,
            };
        }
        match wait {
            Some(at) if at >= self.bounds.deadline => Step::Late,
            Some(at) => Step::WaitUntil(at),
            None => Step::Exhausted {
                free_at,
                throttled,
                too_long: too_long.is_some(),
            },
        }
    }

    /// An attempt failed. Says whether to go on.
    pub fn failed(&mut self, index: usize, failure: Failure) -> Then {
        let rule = failure.rule();
        // A throttled target rests instead of being spent, where its rest is waited for.
        if failure != Failure::RateLimited || self.bounds.patience == Patience::TellsTheCaller {
            self.retries[index] += 1;
            let permitted = if self.bounds.retries {
                rule.retries_here
            } else {
                0
            };
            self.spent[index] = self.retries[index] > permitted;
        }
        rule.then
    }

    /// This target is not to be asked for this request.
    pub fn skip(&mut self, index: usize) {
        self.spent[index] = true;
    }

    /// An attempt was begun beside the walk (a hedge).
    pub fn begun(&mut self) {
        self.attempts += 1;
    }

    /// The attempt that was just begun was not made: nothing was sent.
    pub fn unbegun(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
    }

    /// Whether somebody else could be asked now in place of this one.
    pub fn has_others<'a>(
        &self,
        index: usize,
        health: impl Fn(usize) -> &'a TargetHealth,
        prompt_bytes: usize,
        now: Instant,
    ) -> bool {
        self.attempts < self.bounds.max_attempts
            && self.order.iter().any(|&other| {
                other != index
                    && !self.spent[other]
                    && health(other).could_be_asked(prompt_bytes, now)
            })
    }

    /// Asks these first from now on, the others as before.
    pub fn prefer(&mut self, preferred: impl Fn(usize) -> bool) {
        self.order.sort_by_key(|&index| !preferred(index));
    }

    /// Attempts begun so far.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    pub fn deadline(&self) -> Instant {
        self.bounds.deadline
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Bounds, Patience, Step, Walker};
    use crate::{
        BreakerSettings,
        failover::{Failure, Then},
        health::TargetHealth,
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn targets(count: usize) -> Vec<TargetHealth> {
        (0..count)
            .map(|_| TargetHealth::new(BreakerSettings::default()))
            .collect()
    }

    fn walker(count: usize, patience: Patience, now: Instant) -> Walker {
        let bounds = Bounds {
            max_attempts: 4,
            deadline: now + 60 * SECOND,
            patience,
            retries: true,
        };
        Walker::new((0..count).collect(), count, bounds)
    }

    fn ask(index: usize, number: u32) -> Step {
        Step::Ask {
            index,
            probe: false,
            number,
        }
    }

    /// Fails the attempt at a place as both the walk and the target see it.
    fn fail(
        walker: &mut Walker,
        health: &[TargetHealth],
        index: usize,
        failure: Failure,
        told: Option<Duration>,
        now: Instant,
    ) -> Then {
        health[index].failed(&failure.rule(), told, 10, now);
        walker.failed(index, failure)
    }

    #[test]
    fn a_server_error_gets_one_retry_and_then_the_next_and_attempts_are_bounded() {
        let (health, now) = (targets(3), Instant::now());
        let mut walker = walker(3, Patience::TellsTheCaller, now);
        for (index, number) in [(0, 1), (0, 2), (1, 3), (1, 4)] {
            assert_eq!(walker.next(|at| &health[at], 10, now), ask(index, number));
            let then = fail(&mut walker, &health, index, Failure::ServerError, None, now);
            assert_eq!(then, Then::NextTarget);
        }
        assert_eq!(
            walker.next(|at| &health[at], 10, now),
            Step::Exhausted {
                free_at: None,
                throttled: false,
                too_long: false
            },
            "four attempts are all"
        );
    }

    #[test]
    fn throttling_moves_on_at_once_and_the_caller_is_told_when_to_come_again() {
        let (health, now) = (targets(2), Instant::now());
        let mut walker = walker(2, Patience::TellsTheCaller, now);
        for (index, rest) in [(0, 7), (1, 5)] {
            assert!(matches!(
                walker.next(|at| &health[at], 10, now),
                Step::Ask { index: asked, .. } if asked == index
            ));
            fail(
                &mut walker,
                &health,
                index,
                Failure::RateLimited,
                Some(rest * SECOND),
                now,
            );
        }
        assert!(matches!(
            walker.next(|at| &health[at], 10, now),
            Step::Exhausted { .. }
        ));
        let mut next = self::walker(2, Patience::TellsTheCaller, now);
        assert_eq!(
            next.next(|at| &health[at], 10, now),
            Step::Exhausted {
                free_at: Some(now + 5 * SECOND),
                throttled: true,
                too_long: false
            }
        );
    }

    #[test]
    fn a_job_waits_for_the_first_that_is_free_again() {
        let (health, now) = (targets(2), Instant::now());
        let mut walker = walker(2, Patience::WaitsForRests, now);
        for (index, rest) in [(0, 7), (1, 5)] {
            walker.next(|at| &health[at], 10, now);
            fail(
                &mut walker,
                &health,
                index,
                Failure::RateLimited,
                Some(rest * SECOND),
                now,
            );
        }
        assert_eq!(
            walker.next(|at| &health[at], 10, now),
            Step::WaitUntil(now + 5 * SECOND)
        );
        assert_eq!(
            walker.next(|at| &health[at], 10, now + 5 * SECOND),
            ask(1, 3)
        );
        assert_eq!(
            walker.next(|at| &health[at], 10, now + 60 * SECOND),
            Step::Late
        );
    }

    #[test]
    fn a_request_that_is_wrong_itself_stops_the_walk() {
        let (health, now) = (targets(2), Instant::now());
        let mut walker = walker(2, Patience::TellsTheCaller, now);
        walker.next(|at| &health[at], 10, now);
        assert_eq!(
            fail(&mut walker, &health, 0, Failure::RequestFault, None, now),
            Then::ReturnToCaller
        );
    }

    #[test]
    fn a_prompt_too_long_for_all_is_told_apart_from_an_outage() {
        let (health, now) = (targets(1), Instant::now());
        health[0].failed(&Failure::ContextTooLong.rule(), None, 100, now);
        let mut walker = walker(1, Patience::WaitsForRests, now);
        assert_eq!(
            walker.next(|at| &health[at], 100, now),
            Step::Exhausted {
                free_at: None,
                throttled: false,
                too_long: true
            }
        );
        assert_eq!(walker.next(|at| &health[at], 99, now), ask(0, 1));
    }

    #[test]
    fn a_caller_whose_prompt_may_be_too_long_is_told_so_by_the_target() {
        let (health, now) = (targets(2), Instant::now());
        health[0].failed(&Failure::ContextTooLong.rule(), None, 100, now);
        let mut walker = walker(2, Patience::TellsTheCaller, now);
        assert_eq!(walker.next(|at| &health[at], 100, now), ask(1, 1));
        walker.skip(1);
        assert_eq!(walker.next(|at| &health[at], 100, now), ask(0, 2));
        fail(&mut walker, &health, 0, Failure::ContextTooLong, None, now);
        assert!(matches!(
            walker.next(|at| &health[at], 100, now),
            Step::Exhausted { .. }
        ));
    }

    #[test]
    fn one_who_cannot_be_asked_is_no_other() {
        let (health, now) = (targets(2), Instant::now());
        let walker = walker(2, Patience::TellsTheCaller, now);
        assert!(walker.has_others(0, |at| &health[at], 10, now));
        health[1].failed(&Failure::KeyRefused.rule(), None, 10, now);
        assert!(!walker.has_others(0, |at| &health[at], 10, now));
    }

    #[test]
    fn preferred_targets_come_first_and_the_others_keep_their_order() {
        let (health, now) = (targets(3), Instant::now());
        let mut walker = walker(3, Patience::TellsTheCaller, now);
        walker.prefer(|index| index == 2);
        assert_eq!(walker.next(|at| &health[at], 10, now), ask(2, 1));
        walker.skip(2);
        assert_eq!(walker.next(|at| &health[at], 10, now), ask(0, 2));
    }
}
