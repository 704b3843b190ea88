//! What a token costs: dated data, not code (`data/prices.json`, whose README says how it is made).

use distill_chat::Usage;

use crate::{Usd, vendor::Vendor};

mod import;
mod table;
#[cfg(test)]
mod tests;

pub use import::{ImportError, import};
pub use table::{
    BatchRates, Disagreement, PriceRow, PriceTable, PriceTableError, TableSource, TierRates,
};

/// Where a price comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceSource {
    /// A dated table: the project's, or one that the user named.
    Table,
    /// The user's own figure.
    Custom,
    /// Made up, like the answers it is charged for.
    Simulated,
    /// The user's own machine: tokens are free, time is not.
    Local,
}

impl PriceSource {
    /// As reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Custom => "custom",
            Self::Simulated => "simulated",
            Self::Local => "local",
        }
    }
}

/// Tokens that no single request has: a report of more is a mistake, and its cost would not fit the
/// ledger.
const MOST_TOKENS: u64 = 1_000_000_000;

/// A reported usage; nothing where it cannot be true, so that the reservation stands for the cost.
pub fn believable(usage: Usage) -> Usage {
    let counts = [
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    ];
    if counts
        .into_iter()
        .flatten()
        .any(|count| count > MOST_TOKENS)
    {
        return Usage::default();
    }
    usage
}

/// What one token of each class costs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rates {
    pub input: Usd,
    pub output: Usd,
    /// `None`: charged like other input, which is never less than the truth.
    pub cached_input: Option<Usd>,
    pub cache_write: Option<Usd>,
}

/// What a model's tokens cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    pub base: Rates,
    /// What all tokens of a request cost whose input is longer than so many tokens, shortest first.
    pub tiers: Vec<(u64, Rates)>,
    /// The day the price was read (`YYYY-MM-DD`); `None` where no table was, or it does not say.
    pub as_of: Option<String>,
    pub source: PriceSource,
    /// Which table, and what another says instead.
    pub note: Option<String>,
}

impl Price {
    /// A price per million tokens.
    pub fn per_million(input: f64, output: f64, cached: Option<f64>, source: PriceSource) -> Self {
        Self {
            base: Rates {
                input: Usd::per_token(input),
                output: Usd::per_token(output),
                cached_input: cached.map(Usd::per_token),
                cache_write: None,
            },
            tiers: Vec::new(),
            as_of: None,
            source,
            note: None,
        }
    }

    /// The price of a model in a table on a day (`YYYY-MM-DD`; `None`: the day the table was read).
    /// A dated snapshot costs what its alias costs.
    pub fn of(vendor: &Vendor, model: &str, table: &PriceTable, day: Option<&str>) -> Option<Self> {
        if vendor.local {
            return Some(Self::per_million(0.0, 0.0, None, PriceSource::Local));
        }
        if vendor.simulated {
            return Self::simulated(without_date(model));
        }
        table.find(vendor.name, model, day).map(PriceRow::price)
    }

    /// The made-up price of a simulated model.
    pub(crate) fn simulated(model: &str) -> Option<Self> {
        let (_, input, output) = SIMULATED.iter().find(|(name, _, _)| *name == model)?;
        Some(Self::per_million(
            *input,
            *output,
            None,
            PriceSource::Simulated,
        ))
    }

    /// What a reported usage costs. `None` when input or output were not reported.
    pub fn cost(&self, usage: &Usage) -> Option<Usd> {
        let input = usage.input_tokens?;
        let output = usage.output_tokens?;
        let cached = usage.cached_input_tokens.unwrap_or_default();
        let written = usage.cache_write_tokens.unwrap_or_default();
        let rates = self.rates(input + cached + written);
        Some(
            rates.input * input
                + rates.cached_input.unwrap_or(rates.input) * cached
                + rates.cache_write.unwrap_or(rates.input) * written
                + rates.output * (output + usage.reasoning_tokens.unwrap_or_default()),
        )
    }

    /// What tokens cost in a request with so much input, cached or not.
    pub fn rates(&self, input_tokens: u64) -> &Rates {
        self.tiers
            .iter()
            .rev()
            .find(|(above, _)| input_tokens > *above)
            .map_or(&self.base, |(_, rates)| rates)
    }

    /// The most that a request can cost: every token in the dearest class of its side, at the
    /// dearest length up to its own.
    pub fn worst_case(&self, input_tokens: u64, output_tokens: u64) -> Usd {
        let reached = self
            .tiers
            .iter()
            .filter(|(above, _)| input_tokens > *above)
            .map(|(_, rates)| rates);
        std::iter::once(&self.base)
            .chain(reached)
            .map(|rates| {
                let input = [
                    rates.input,
                    rates.cached_input.unwrap_or_default(),
                    rates.cache_write.unwrap_or_default(),
                ];
                let dearest = input.into_iter().max().unwrap_or_default();
                dearest * input_tokens + rates.output * output_tokens
            })
            .max()
            .unwrap_or_default()
    }

    /// Days between the day the price was read and `today` (days since 1970-01-01).
    pub fn age_in_days(&self, today: i64) -> Option<i64> {
        Some(today - days_of_date(self.as_of.as_deref()?)?)
    }
}

/// Made-up prices of the simulated models: dollars per million input and output tokens.
const SIMULATED: [(&str, f64, f64); 4] = [
    ("frontier", 2.5, 10.0),
    ("backup", 2.0, 8.0),
    ("cheap", 0.15, 0.6),
    ("judge", 1.0, 4.0),
];

/// Takes `-2025-04-14` or `-20250929` off the end of a model's name.
fn without_date(model: &str) -> &str {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let dashed = |text: &str| {
        text.len() == 11
            && text.bytes().enumerate().all(|(index, byte)| {
                if matches!(index, 0 | 5 | 8) {
                    byte == b'-'
                } else {
                    byte.is_ascii_digit()
                }
            })
    };
    if let Some(start) = model.len().checked_sub(11)
        && model.get(start..).is_some_and(dashed)
    {
        return &model[..start];
    }
    match model.rsplit_once('-') {
        Some((name, date)) if date.len() == 8 && digits(date) => name,
        _ => model,
    }
}

/// Days of a `YYYY-MM-DD` since 1970-01-01.
pub fn days_of_date(date: &str) -> Option<i64> {
    let mut parts = date.split('-');
    let mut next = || parts.next()?.parse::<i64>().ok();
    let (year, month, day) = (next()?, next()?, next()?);
    ((1..=12).contains(&month) && (1..=31).contains(&day) && parts.next().is_none())
        .then(|| days_since_epoch(year, month, day))
}

/// The `YYYY-MM-DD` of a number of days since 1970-01-01.
pub fn date_of_days(days: i64) -> String {
    // The inverse of [`days_since_epoch`], in eras of 400 years that run from March.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Days of a date of the Gregorian calendar since 1970-01-01.
pub(crate) fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Years run from March, so that the leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}
