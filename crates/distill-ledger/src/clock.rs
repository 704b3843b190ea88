//! What time it is, and which day and month of the calendar (UTC) that is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use distill_gateway::days_of_date;

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

/// The first millisecond of a day.
pub(crate) fn first_of_day(day: i64) -> i64 {
    day * DAY_MS
}

/// Months since year 0, of the Gregorian calendar.
pub(crate) fn month(at_ms: i64) -> i64 {
    // Counted in eras of 400 years that run from March, so that the leap day is the last of its year.
    let days = day(at_ms) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    (year_of_era + era * 400) * 12 + month_from_march + 2
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
    fn every_day_is_in_the_month_of_its_date() {
        for days in -1_000..60_000 {
            let date = distill_gateway::date_of_days(days);
            let mut parts = date.split('-').map(|part| part.parse::<i64>().unwrap());
            let (year, of_year) = (parts.next().unwrap(), parts.next().unwrap());
            assert_eq!(month(days * DAY_MS), year * 12 + of_year - 1, "{date}");
        }
    }

    #[test]
    fn days_and_months_are_those_of_utc() {
        // 2026-11-21 17:00:00
        let now = 1_795_280_400_000;
        assert_eq!(day(now), 20_778);
        assert_eq!(month(now), 2026 * 12 + 10);
        assert_eq!(until_next_day(now), Duration::from_hours(7));
        assert_eq!(until_next_month(now), Duration::from_hours(9 * 24 + 7));
        // The last moment of a year.
        let last = 20_819 * DAY_MS - 1;
        assert_eq!(month(last), 2026 * 12 + 11);
        assert_eq!(month(last + 1), 2027 * 12);
        assert_eq!(until_next_month(last), Duration::from_millis(1));
    }
}
