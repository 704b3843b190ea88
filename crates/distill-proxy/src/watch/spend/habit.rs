//! What somebody usually spends.

use std::{collections::HashMap, time::Duration};

use distill_gateway::{Usd, days_of_date};
use distill_ledger::UsageTable;

/// Hours of use from which a habit is one. Somebody newer is judged by the other rules.
const FEWEST_HOURS: u32 = 3;

/// A person's usual spend: the mean of the hours in which they spent anything. Idle hours are left
/// out, so that whoever works two hours a day is not held to a day's average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Habit {
    /// Hours in which anything was spent.
    pub(super) hours: u32,
    total: Usd,
}

impl Habit {
    /// The usual spend of a window in which the person works.
    pub(super) fn in_window(&self, window: Duration) -> Usd {
        let hours = window.as_secs_f64() / 3_600.0;
        Usd::from_dollars(self.total.dollars() / f64::from(self.hours) * hours)
    }
}

/// Habits from usage by user and hour.
pub(super) fn learn(table: &UsageTable) -> HashMap<String, Habit> {
    let mut habits: HashMap<String, Habit> = HashMap::new();
    for row in &table.rows {
        let Some(Some(user)) = row.group.first() else {
            continue;
        };
        // With the bounds of what nobody told the cost of, as what is held against it.
        let usd = row.usd.unwrap_or_default() + row.usd_unsettled;
        if usd <= Usd::ZERO {
            continue;
        }
        let habit = habits.entry(user.clone()).or_insert(Habit {
            hours: 0,
            total: Usd::ZERO,
        });
        habit.hours += 1;
        habit.total += usd;
    }
    habits.retain(|_, habit| habit.hours >= FEWEST_HOURS);
    habits
}

/// Milliseconds since 1970 of `2026-01-31T17:05`.
pub(super) fn milliseconds_of(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let (hour, minute) = time.split_once(':').unwrap_or((time, "0"));
    let minutes = days_of_date(date)? * 1_440
        + hour.parse::<i64>().ok()? * 60
        + minute.parse::<i64>().ok()?;
    Some(minutes * 60_000)
}
