//! What time it is, and which day and month of the calendar (UTC) that is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use distill_gateway::{date_of_days, days_of_date};

const DAY_MS: i64 = 86_400_000;

/// Where the time comes from. A clock set by hand lets a test pass midnight.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    #[default]
    System,
    /// Milliseconds since 1970, as whoever shares it says.
    ByHand(Arc<AtomicI64>),
}

impl Clock {
    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        match self {
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0)),
            Self::ByHand(now) => now.load(Ordering::Relaxed),
        }
    }
}

/// Days since 1970.
pub(crate) fn day(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY_MS)
}

/// Months since year 0.
pub(crate) fn month(at_ms: i64) -> i64 {
    let date = date_of_days(day(at_ms));
    let mut parts = date.split('-').map(|part| part.parse::<i64>().unwrap_or(0));
    let year = parts.next().unwrap_or(0);
    year * 12 + parts.next().unwrap_or(1) - 1
}

/// How long until the next day begins.
pub(crate) fn until_next_day(at_ms: i64) -> Duration {
    milliseconds((day(at_ms) + 1) * DAY_MS - at_ms)
}

/// How long until the next month begins.
pub(crate) fn until_next_month(at_ms: i64) -> Duration {
    let next = month(at_ms) + 1;
    let first = format!(
        "{:04}-{:02}-01",
        next.div_euclid(12),
        next.rem_euclid(12) + 1
    );
    let day = days_of_date(&first).unwrap_or_else(|| day(at_ms) + 1);
    milliseconds(day * DAY_MS - at_ms)
}

pub(crate) fn milliseconds(count: i64) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{DAY_MS, day, month, until_next_day, until_next_month};

    #[test]
    fn days_and_months_are_those_of_utc() {
        // 2026-11-21 17:00:00
        let now = 1_795_280_400_000;
        assert_eq!(day(now), 20_778);
        assert_eq!(month(now), 2026 * 12 + 10);
        assert_eq!(until_next_day(now), Duration::from_secs(7 * 3_600));
        assert_eq!(
            until_next_month(now),
            Duration::from_secs(9 * 86_400 + 7 * 3_600)
        );
        // The last moment of a year.
        let last = 20_819 * DAY_MS - 1;
        assert_eq!(month(last), 2026 * 12 + 11);
        assert_eq!(month(last + 1), 2027 * 12);
        assert_eq!(until_next_month(last), Duration::from_millis(1));
    }
}
