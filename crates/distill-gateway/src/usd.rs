//! Money, exact to a millionth of a millionth of a dollar.
//!
//! Vendors quote dollars per million tokens with at most six decimals, so a price per token is a
//! whole number of pico-dollars: sums and comparisons with a bill carry no rounding. The largest
//! amount is nine million dollars, far above any budget of a labelling step.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign, Mul, Sub},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const PICO_PER_DOLLAR: f64 = 1e12;

/// An amount of United States dollars. Serialises as a number of dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(i64);

impl Usd {
    pub const ZERO: Self = Self(0);

    /// Rounds to the nearest pico-dollar; saturates far beyond any real amount.
    pub fn from_dollars(dollars: f64) -> Self {
        Self((dollars * PICO_PER_DOLLAR).round() as i64)
    }

    /// The price of one token, from a price per million tokens.
    pub(crate) fn per_token(dollars_per_million: f64) -> Self {
        Self((dollars_per_million * 1e6).round() as i64)
    }

    pub fn from_pico(pico: i64) -> Self {
        Self(pico)
    }

    pub fn pico(self) -> i64 {
        self.0
    }

    pub fn dollars(self) -> f64 {
        self.0 as f64 / PICO_PER_DOLLAR
    }
}

impl Add for Usd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Usd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// So many tokens at this price each.
impl Mul<u64> for Usd {
    type Output = Self;
    fn mul(self, tokens: u64) -> Self {
        Self(
            self.0
                .saturating_mul(i64::try_from(tokens).unwrap_or(i64::MAX)),
        )
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Usd {
    /// Cents for amounts that have them, more places for the small ones.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dollars = self.dollars();
        let places = match dollars.abs() {
            0.0 => 2,
            amount if amount >= 1.0 => 2,
            amount if amount >= 0.01 => 4,
            amount if amount >= 0.000_01 => 6,
            // What is not nothing must not look so.
            amount if amount >= 0.000_000_01 => 9,
            _ => 12,
        };
        write!(formatter, "${dollars:.places$}")
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.dollars())
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from_dollars(f64::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::Usd;

    #[test]
    fn a_price_per_million_is_exact_per_token() {
        let price = Usd::per_token(0.075);
        assert_eq!(price * 1_000_000, Usd::from_dollars(0.075));
        assert_eq!(
            (0..10).map(|_| Usd::from_dollars(0.1)).sum::<Usd>(),
            Usd::from_dollars(1.0)
        );
    }

    #[test]
    fn an_amount_shows_the_places_that_matter() {
        assert_eq!(Usd::from_dollars(12.345).to_string(), "$12.35");
        assert_eq!(Usd::from_dollars(0.0123).to_string(), "$0.0123");
        assert_eq!(Usd::from_dollars(0.000_012).to_string(), "$0.000012");
        assert_eq!(Usd::from_dollars(0.000_000_26).to_string(), "$0.000000260");
        assert_eq!(Usd::from_pico(3).to_string(), "$0.000000000003");
        assert_eq!(Usd::ZERO.to_string(), "$0.00");
    }

    #[test]
    fn dollars_survive_json() {
        let amount = Usd::from_dollars(0.001_234_567_89);
        let text = serde_json::to_string(&amount).unwrap();
        assert_eq!(serde_json::from_str::<Usd>(&text).unwrap(), amount);
    }
}
