//! What the pages show beside the ledger's own records.

use distill_gateway::HealthSnapshot;
use distill_ledger::{Dimension, Tokens, UsageRow};

/// All input, cached or not; `None` where none was reported.
pub(super) fn input(tokens: &Tokens) -> Option<u64> {
    sum([tokens.input, tokens.cached_input, tokens.cache_write])
}

/// All output, reasoning included.
pub(super) fn output(tokens: &Tokens) -> Option<u64> {
    sum([tokens.output, tokens.reasoning])
}

fn sum<const N: usize>(classes: [Option<u64>; N]) -> Option<u64> {
    classes
        .iter()
        .any(Option::is_some)
        .then(|| classes.into_iter().flatten().sum())
}

/// One bar of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Bucket {
    /// Seconds since 1970.
    pub(super) from: i64,
    pub(super) usage: UsageRow,
}

/// How far back a page looks, and in which steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Period {
    Hour,
    Day,
    Week,
    Month,
}

impl Period {
    pub(super) const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// As addresses and buttons name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
        }
    }

    pub(super) fn of(name: Option<&str>) -> Self {
        Self::ALL
            .into_iter()
            .find(|period| Some(period.name()) == name)
            .unwrap_or(Self::Day)
    }

    pub(super) fn seconds(self) -> i64 {
        match self {
            Self::Hour => 3600,
            Self::Day => 86_400,
            Self::Week => 7 * 86_400,
            Self::Month => 30 * 86_400,
        }
    }

    /// Seconds of a bar.
    pub(super) fn step(self) -> i64 {
        match self {
            Self::Hour => 60,
            Self::Day => 3600,
            Self::Week | Self::Month => 86_400,
        }
    }

    /// What the ledger tells the bars apart by.
    pub(super) fn dimension(self) -> Dimension {
        match self {
            Self::Hour => Dimension::Minute,
            Self::Day => Dimension::Hour,
            Self::Week | Self::Month => Dimension::Day,
        }
    }

    /// In words, after "US dollars".
    pub(super) fn per(self) -> &'static str {
        match self {
            Self::Hour => "a minute",
            Self::Day => "an hour",
            Self::Week | Self::Month => "a day",
        }
    }

    /// The beginning of the first bar, so that the bar under way is the last.
    pub(super) fn first(self, now: i64) -> i64 {
        let step = self.step();
        now.div_euclid(step) * step - self.seconds() + step
    }
}

/// How a target fares.
#[derive(Debug, Clone)]
pub struct TargetView {
    /// `vendor/model`.
    pub target: String,
    /// The routes that lead to it.
    pub routes: Vec<String>,
    pub simulated: bool,
    pub health: HealthSnapshot,
    /// What else is to be said of it: demoted, a sunset, a changed model.
    pub notes: Vec<String>,
}

/// Something that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertView {
    /// Seconds since 1970.
    pub at: i64,
    pub wording: String,
}

#[cfg(test)]
mod tests {
    use distill_ledger::Tokens;

    use super::{Period, input, output};

    #[test]
    fn what_was_not_reported_is_not_counted_as_nothing() {
        let mut tokens = Tokens::default();
        assert_eq!((input(&tokens), output(&tokens)), (None, None));
        tokens = Tokens {
            input: Some(10),
            cached_input: Some(5),
            output: Some(30),
            reasoning: Some(10),
            ..Tokens::default()
        };
        assert_eq!((input(&tokens), output(&tokens)), (Some(15), Some(40)));
    }

    #[test]
    fn the_bar_under_way_is_the_last_of_its_period() {
        let now = 1_769_879_109;
        for (period, bars) in Period::ALL.into_iter().zip([60, 24, 7, 30]) {
            let first = period.first(now);
            assert_eq!(first.rem_euclid(period.step()), 0);
            assert_eq!((now - first) / period.step() + 1, bars, "{period:?}");
            assert_eq!(Period::of(Some(period.name())), period);
        }
        assert_eq!(Period::of(Some("nonsense")), Period::Day);
    }
}
