//! What somebody used of late, and which rules that meets.

use std::{collections::VecDeque, time::Duration};

use distill_gateway::Usd;

use super::{
    habit::Habit,
    wording::{count, span},
};
use crate::config::SpendConfig;

const MINUTE_MS: i64 = 60_000;

/// What was used in one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Minute {
    pub(super) usd: Usd,
    /// How much of it is the bound of attempts whose cost nobody told.
    pub(super) bound: Usd,
    pub(super) tokens: u64,
    pub(super) simulated: bool,
}

impl Minute {
    /// "spent $12.40"; a bound is never told as spent.
    fn spent(&self) -> String {
        let known = Usd::from_pico(self.usd.pico().saturating_sub(self.bound.pico()));
        if self.bound == Usd::ZERO {
            format!("spent {known}")
        } else {
            format!(
                "spent {known}, and at most {} more by attempts whose cost nobody told,",
                self.bound
            )
        }
    }
}

/// What one person used of late: the minutes in which they used anything, oldest first.
#[derive(Debug, Default)]
pub(super) struct Usage {
    minutes: VecDeque<(i64, Minute)>,
}

/// A rule that is met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Met {
    /// As the file names it.
    pub(super) rule: &'static str,
    /// What was found: "spent $12.40 in the last hour, …".
    pub(super) words: String,
}

impl Usage {
    pub(super) fn add(&mut self, at_ms: i64, more: Minute) {
        let minute = self.minute(at_ms);
        minute.usd += more.usd;
        minute.bound += more.bound;
        minute.tokens = minute.tokens.saturating_add(more.tokens);
        minute.simulated |= more.simulated;
    }

    /// Takes another count of a minute where it is the larger one.
    pub(super) fn at_least(&mut self, at_ms: i64, known: Minute) {
        let minute = self.minute(at_ms);
        if known.usd > minute.usd {
            (minute.usd, minute.bound) = (known.usd, known.bound);
        }
        minute.tokens = minute.tokens.max(known.tokens);
        minute.simulated |= known.simulated;
    }

    fn minute(&mut self, at_ms: i64) -> &mut Minute {
        let number = at_ms.div_euclid(MINUTE_MS);
        let place = self.minutes.partition_point(|(minute, _)| *minute < number);
        if self
            .minutes
            .get(place)
            .is_none_or(|(minute, _)| *minute != number)
        {
            self.minutes.insert(place, (number, Minute::default()));
        }
        &mut self.minutes[place].1
    }

    /// Drops what is older; whether anything is left.
    pub(super) fn trim(&mut self, since_ms: i64) -> bool {
        let first = since_ms.div_euclid(MINUTE_MS);
        while self
            .minutes
            .front()
            .is_some_and(|(minute, _)| *minute < first)
        {
            self.minutes.pop_front();
        }
        !self.minutes.is_empty()
    }

    pub(super) fn is_simulated(&self) -> bool {
        self.minutes.iter().any(|(_, minute)| minute.simulated)
    }

    /// What was used in a window that ends now. A window is whole minutes, the one under way among
    /// them.
    fn within(&self, window: Duration, now_ms: i64) -> Minute {
        let last = now_ms.div_euclid(MINUTE_MS);
        let minutes = (window.as_millis() as i64).div_euclid(MINUTE_MS).max(1);
        let mut sum = Minute::default();
        for (_, minute) in self
            .minutes
            .iter()
            .filter(|(number, _)| (last - minutes + 1..=last).contains(number))
        {
            sum.usd += minute.usd;
            sum.bound += minute.bound;
            sum.tokens = sum.tokens.saturating_add(minute.tokens);
        }
        sum
    }

    /// How long it has been used up to now without a longer break.
    fn stretch(&self, longest_break: Duration, now_ms: i64) -> Duration {
        let break_minutes = (longest_break.as_millis() as i64)
            .div_euclid(MINUTE_MS)
            .max(1);
        let now = now_ms.div_euclid(MINUTE_MS);
        let mut begin = now;
        for (minute, _) in self.minutes.iter().rev() {
            if begin - minute > break_minutes {
                break;
            }
            begin = *minute;
        }
        Duration::from_millis(u64::try_from((now - begin) * MINUTE_MS).unwrap_or(0))
    }
}

/// How far back the rules look.
pub(super) fn longest_ms(spend: &SpendConfig) -> i64 {
    [
        spend.rate.as_ref().map(|rule| rule.window),
        spend.tokens.as_ref().map(|rule| rule.window),
        spend.usd.as_ref().map(|rule| rule.window),
        spend.continuous.map(|length| length + spend.break_after),
    ]
    .into_iter()
    .flatten()
    .max()
    .map_or(0, |longest| longest.as_millis() as i64 + MINUTE_MS)
}

/// The rules that are met, the plainest first.
pub(super) fn met(
    usage: &Usage,
    spend: &SpendConfig,
    habit: Option<&Habit>,
    now_ms: i64,
) -> Vec<Met> {
    let mut met = Vec::new();
    if let Some(rule) = &spend.usd {
        let used = usage.within(rule.window, now_ms);
        if used.usd >= rule.usd {
            met.push(Met {
                rule: "usd",
                words: format!(
                    "{} in the last {}, at or above the line of {}",
                    used.spent(),
                    span(rule.window),
                    rule.usd
                ),
            });
        }
    }
    if let Some(rule) = &spend.tokens {
        let used = usage.within(rule.window, now_ms).tokens;
        if used >= rule.tokens {
            met.push(Met {
                rule: "tokens",
                words: format!(
                    "used {} tokens in the last {}, at or above the line of {}",
                    count(used),
                    span(rule.window),
                    count(rule.tokens)
                ),
            });
        }
    }
    if let (Some(rule), Some(habit)) = (&spend.rate, habit) {
        let spent = usage.within(rule.window, now_ms);
        let used = spent.usd;
        let usual = habit.in_window(rule.window);
        let times = used.dollars() / usual.dollars();
        if used >= rule.at_least && usual > Usd::ZERO && times >= rule.times {
            met.push(Met {
                rule: "rate",
                words: format!(
                    "{} in the last {}, {times:.1} times their usual {usual} (over {} hours of use in the last {})",
                    spent.spent(),
                    span(rule.window),
                    habit.hours,
                    span(rule.history)
                ),
            });
        }
    }
    if let Some(longest) = spend.continuous {
        let stretch = usage.stretch(spend.break_after, now_ms);
        if stretch >= longest {
            met.push(Met {
                rule: "continuous",
                words: format!(
                    "has been using it for {} without a break of {}",
                    span(stretch),
                    span(spend.break_after)
                ),
            });
        }
    }
    met
}
