//! How many in a minute.
//!
//! Two counters stand for a sliding window: the current minute of the clock, and of the minute
//! before the share that the last sixty seconds still cover, taken as evenly spread. That is the
//! sliding window counter of network rate limiters: constant memory, no burst of twice the limit at
//! the turn of a minute.

use std::time::Duration;

const MINUTE_MS: i64 = 60_000;

/// Minutes since 1970.
pub(super) fn minute(at_ms: i64) -> i64 {
    at_ms.div_euclid(MINUTE_MS)
}

#[derive(Debug, Clone, Default)]
pub(super) struct Minute {
    index: i64,
    now: i64,
    before: i64,
}

impl Minute {
    /// Moves on to the minute of a time; never back.
    pub(super) fn turn(&mut self, now_ms: i64) {
        let index = minute(now_ms);
        if index > self.index {
            self.before = if index == self.index + 1 { self.now } else { 0 };
            self.now = 0;
            self.index = index;
        }
    }

    /// Takes over a count from the store: of the current minute or the one before.
    pub(super) fn load(&mut self, index: i64, count: i64) {
        if index > self.index {
            self.before = if index == self.index + 1 { self.now } else { 0 };
            self.index = index;
            self.now = count;
        } else if index == self.index {
            self.now = count;
        } else if index + 1 == self.index {
            self.before = count;
        }
    }

    pub(super) fn charge(&mut self, count: i64) {
        self.now = self.now.saturating_add(count);
    }

    /// Corrects what was charged at a time.
    pub(super) fn correct(&mut self, delta: i64, at_ms: i64) {
        let index = minute(at_ms);
        if index == self.index {
            self.now = self.now.saturating_add(delta).max(0);
        } else if index + 1 == self.index {
            self.before = self.before.saturating_add(delta).max(0);
        }
    }

    /// How long until `needed` more fit under a limit; `None` where they fit now.
    pub(super) fn wait(&self, limit: u64, needed: u64, now_ms: i64) -> Option<Duration> {
        let (now, before) = (self.now as f64, self.before as f64);
        let (limit, needed) = (limit as f64, needed as f64);
        // Time that the clock was set back counts as none.
        let elapsed = (now_ms - self.index * MINUTE_MS).clamp(0, MINUTE_MS) as f64;
        let span = MINUTE_MS as f64;
        // A millionth for what the division rounds.
        if now + before * (span - elapsed) / span + needed <= limit + 1e-6 {
            return None;
        }
        let free = limit - needed;
        let at = if free < 0.0 {
            // It never fits; the next minute is as good an answer as any.
            span
        } else if now <= free {
            // Some of the minute before has to fall out of the window.
            span * (1.0 - (free - now) / before)
        } else {
            // So has some of this one, once it is the minute before.
            span + span * (1.0 - free / now)
        };
        let wait = (at - elapsed).ceil().max(1.0);
        Some(Duration::from_millis(wait as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Minute;

    #[test]
    fn the_minute_slides() {
        let mut minute = Minute::default();
        minute.turn(60_000);
        minute.charge(10);
        assert_eq!(minute.wait(10, 1, 60_000), Some(Duration::from_secs(66)));
        // Half of the minute before still counts after half a minute.
        minute.turn(150_000);
        assert_eq!(minute.wait(10, 5, 150_000), None);
        assert_eq!(minute.wait(10, 6, 150_000), Some(Duration::from_secs(6)));
        minute.turn(300_000);
        assert_eq!(minute.wait(10, 10, 300_000), None);
        assert_eq!(minute.wait(10, 11, 300_000), Some(Duration::from_mins(1)));
    }

    #[test]
    fn what_it_says_to_wait_is_enough() {
        for before in [0_i64, 3, 9, 30] {
            for now in [0_i64, 1, 9, 30] {
                for elapsed in [0_i64, 1, 30_000, 59_999] {
                    let mut minute = Minute::default();
                    minute.load(99, before);
                    minute.load(100, now);
                    let at = 6_000_000 + elapsed;
                    if let Some(wait) = minute.wait(10, 2, at) {
                        let later = at + i64::try_from(wait.as_millis()).unwrap();
                        minute.turn(later);
                        assert_eq!(minute.wait(10, 2, later), None, "{before} {now} {elapsed}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_afresh() {
        let mut minute = Minute::default();
        minute.turn(120_000);
        minute.charge(10);
        minute.turn(60_000);
        assert!(minute.wait(10, 1, 60_000).is_some());
        minute.correct(-10, 120_000);
        assert_eq!(minute.wait(10, 1, 60_000), None);
    }
}
