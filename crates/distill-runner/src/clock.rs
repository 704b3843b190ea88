//! The clock, as a seam: the one place where the time of day is read.

use std::time::{SystemTime, UNIX_EPOCH};

use distill_pipeline::record::Timestamp;

/// Tells the time of day.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        // A clock before 1970 is broken; showing 1970 is as good as anything.
        let millis = since.map_or(0, |since| since.as_millis());
        Timestamp::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}
